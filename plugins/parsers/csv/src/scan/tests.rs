#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;

fn read(body: &[u8], delimiter: u8) -> Vec<Vec<Vec<u8>>> {
    let mut rows = Rows::new(body, delimiter);
    let mut read = Vec::new();
    while rows.next_row().is_some() {
        let mut row = Vec::new();
        loop {
            let cell = rows.next_cell();
            row.push(cell.text.into_owned());
            if !cell.more {
                break;
            }
        }
        read.push(row);
    }
    read
}

fn read_by_library(body: &[u8], delimiter: u8) -> Vec<Vec<Vec<u8>>> {
    let mut builder = csv::ReaderBuilder::new();
    builder.delimiter(delimiter).has_headers(false).flexible(true).comment(Some(b'#'));
    let rows = builder.from_reader(body).into_byte_records();
    rows.map(|row| row.unwrap().iter().map(<[u8]>::to_vec).collect()).collect()
}

/// The same rows, but for those of one empty field: the library makes one of a comment at the end that
/// has no line end.
fn agree(body: &[u8]) {
    let told = |mut rows: Vec<Vec<Vec<u8>>>| {
        rows.retain(|row| row.len() > 1 || row.iter().any(|field| !field.is_empty()));
        rows
    };
    for delimiter in [b',', b';', b'\t', b'|'] {
        let same = told(read(body, delimiter)) == told(read_by_library(body, delimiter));
        assert!(same, "{:?} by {:?}", String::from_utf8_lossy(body), char::from(delimiter));
    }
}

#[test]
fn corners_are_read_as_the_library_reads_them() {
    for text in [
        "",
        "\n\n",
        "a",
        "a,",
        ",",
        "a,b\r\nc\r\rd",
        "\"\"",
        "\"a\"\"b\",c",
        "\"a\nb\",c\n",
        "\"a\"b\"c,d",
        "a\"b\",c",
        "\"a",
        "\"a\"\"",
        "#x\na,#b\n #c",
        "#x\ra\nb",
        "a,\"\r\n\"\r\nb",
        "\"a\" ,b",
        "\r\n#\r\na",
        "12345678,12345678\n",
    ] {
        agree(text.as_bytes());
    }
}

#[test]
fn a_row_knows_the_line_that_it_begins_in() {
    let mut rows = Rows::new(b"# x\n\na,b\r\n\"c\n\nd\",e\nf", b',');
    let mut lines = Vec::new();
    while let Some(line) = rows.next_row() {
        lines.push(line);
        while rows.next_cell().more {}
    }
    assert_eq!(lines, [3, 4, 7]);
}

proptest! {
    #[test]
    fn what_is_skipped_is_the_rest_of_the_row(text in "[ab,\"#\r\n]{0,40}", cells in 0_usize..3) {
        let (mut read, mut skipped) = (Rows::new(text.as_bytes(), b','), Rows::new(text.as_bytes(), b','));
        loop {
            let line = read.next_row();
            prop_assert_eq!(skipped.next_row(), line);
            if line.is_none() {
                break;
            }
            let mut more = true;
            for _ in 0..cells {
                if more {
                    more = read.next_cell().more;
                    skipped.next_cell();
                }
            }
            if more {
                while read.next_cell().more {}
                skipped.skip_row();
            }
        }
    }

    #[test]
    fn marks_in_any_order_are_read_as_the_library_reads_them(text in "[ab,;\t|\"#\r\n]{0,40}") {
        agree(text.as_bytes());
    }

    #[test]
    fn bytes_of_any_kind_are_read_as_the_library_reads_them(bytes in any::<Vec<u8>>()) {
        // The library takes a byte order mark off, which the host has done already.
        prop_assume!(!bytes.starts_with(b"\xEF\xBB\xBF"));
        agree(&bytes);
    }
}
