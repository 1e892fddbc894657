//! The string literals of a script in JavaScript.
//!
//! Only as much of the language as is needed to tell literals from comments (ECMA-262, 12.4 and 12.9.4).
//! A quote in a regular expression looks like a literal's beginning; since no literal goes over the end of
//! a line, the mistake ends there.

/// Calls with the line, counted from 1, and the content of each literal. Escapes stay as they are: an
/// address has none.
pub(crate) fn each(script: &str, read: &mut dyn FnMut(u32, &str)) {
    let mut line = 1_u32;
    let mut in_comment = false;
    for text in script.split('\n') {
        in_comment = literals_of_line(text, in_comment, &mut |literal| read(line, literal));
        line = line.saturating_add(1);
    }
}

/// Reads a line that may begin within a comment, and tells whether it ends within one.
fn literals_of_line(text: &str, in_comment: bool, read: &mut dyn FnMut(&str)) -> bool {
    let mut rest = text;
    if in_comment {
        match rest.split_once("*/") {
            Some((_, after)) => rest = after,
            None => return true,
        }
    }
    while let Some(at) = rest.find(['"', '\'', '`', '/']) {
        let (mark, after) = rest.get(at..).unwrap_or_default().split_at_checked(1).unwrap_or_default();
        rest = match mark {
            "/" if after.starts_with('/') => return false,
            "/" => match after.strip_prefix('*').map(|comment| comment.split_once("*/")) {
                Some(Some((_, after))) => after,
                Some(None) => return true,
                None => after,
            },
            quote => {
                let end = end_of_literal(after, quote);
                let (literal, after) = after.split_at_checked(end).unwrap_or((after, ""));
                read(literal);
                after.get(1..).unwrap_or_default()
            }
        };
    }
    false
}

/// Where the quote stands that ends a literal: no quote behind a backslash does.
fn end_of_literal(text: &str, quote: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().position(|byte| {
        let ends = !escaped && quote.as_bytes() == [byte];
        escaped = !escaped && byte == b'\\';
        ends
    });
    end.unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(script: &str) -> Vec<(u32, String)> {
        let mut literals = Vec::new();
        each(script, &mut |line, literal| literals.push((line, literal.to_owned())));
        literals
    }

    #[test]
    fn literals_are_told_from_comments_and_from_code() {
        let script = "a('x' + \"y'\"); // 'no'\n/* 'no'\n'no' */ b(`z`) /* \"no\" */ + 'http://q'\n1 / 2 / '\\'r'";
        let expected = [(1, "x"), (1, "y'"), (3, "z"), (3, "http://q"), (4, "\\'r")];
        assert_eq!(read(script), expected.map(|(line, text)| (line, text.to_owned())));
    }

    #[test]
    fn a_literal_without_an_end_ends_with_its_line() {
        assert_eq!(read("/'/.test(x)\n'y'"), [(1, "/.test(x)".to_owned()), (2, "y".to_owned())]);
    }
}
