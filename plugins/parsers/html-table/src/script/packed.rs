//! Scripts that were packed with Dean Edwards' packer, as `eval(function(p,a,c,k,e,d){…}('…',62,99,'…'.split('|'),0,{}))`:
//! a text in which each word is the number of a word in a list. Only the arguments are read; what the
//! function does is known.

use super::lexer::Lexer;

/// Words are numbered in this many digits at the most: 0–9, a–z, A–Z.
const MAX_RADIX: i64 = 62;

/// The script that is packed in the call of `eval` whose name was just passed, as far as there is room.
pub(super) fn unpack(lexer: &mut Lexer<'_>, room: usize) -> Option<Vec<u8>> {
    if !lexer.pass(b'(') || lexer.peek() != Some(b'f') || lexer.name() != b"function" {
        return None;
    }
    // The body of the function ends where its arguments begin, with a text.
    loop {
        match lexer.peek()? {
            b'}' => {
                lexer.pass(b'}');
                if lexer.pass(b'(') && matches!(lexer.peek(), Some(b'"' | b'\'')) {
                    break;
                }
            }
            _ => lexer.pass_token(),
        }
    }
    let code = lexer.text()?;
    let radix = number(lexer)?;
    let count = number(lexer)?;
    if !lexer.pass(b',') || !matches!(lexer.peek(), Some(b'"' | b'\'')) {
        return None;
    }
    let words = lexer.text()?;
    if lexer.peek() != Some(b'.') || lexer.name() != b".split" || !lexer.pass(b'(') {
        return None;
    }
    let separator = lexer.text().filter(|separator| !separator.is_empty())?;
    let words: Vec<&str> = words.split(separator.as_str()).take(usize::try_from(count).ok()?).collect();
    (2..=MAX_RADIX).contains(&radix).then(|| put_in(&code, radix, &words, room))
}

fn number(lexer: &mut Lexer<'_>) -> Option<i64> {
    if lexer.pass(b',') && lexer.peek()?.is_ascii_digit() { lexer.number() } else { None }
}

/// The code with the words in the place of their numbers.
fn put_in(code: &str, radix: i64, words: &[&str], room: usize) -> Vec<u8> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let mut unpacked = Vec::new();
    for part in code.as_bytes().chunk_by(|one, other| is_word(one) == is_word(other)) {
        let word = place(part, radix).and_then(|place| words.get(place)).filter(|word| !word.is_empty());
        let word = word.map_or(part, |word| word.as_bytes());
        if unpacked.len() + word.len() > room {
            break;
        }
        unpacked.extend(word);
    }
    unpacked
}

/// The place in the list that a number says.
fn place(digits: &[u8], radix: i64) -> Option<usize> {
    let number = digits.iter().try_fold(0_i64, |number, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'z' => digit - b'a' + 10,
            b'A'..=b'Z' => digit - b'A' + 36,
            _ => return None,
        };
        let value = i64::from(value);
        (value < radix).then(|| number.checked_mul(radix)?.checked_add(value))?
    });
    number.and_then(|number| usize::try_from(number).ok())
}
