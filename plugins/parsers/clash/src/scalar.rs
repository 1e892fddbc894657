//! Scalars of YAML: plain, in single quotes, in double quotes (YAML 1.2, 7.3).

use std::borrow::Cow;

/// Reads the scalar that a text begins with, and what follows it. A plain one ends with its line, with a
/// comment, and, `in_flow`, with a comma or a bracket.
pub(crate) fn read(text: &str, in_flow: bool) -> (Cow<'_, str>, &str) {
    match text.chars().next() {
        Some('\'') => single_quoted(text),
        Some('"') => double_quoted(text),
        _ => {
            let (plain, rest) = text.split_at_checked(end_of_plain(text, in_flow)).unwrap_or((text, ""));
            (plain.trim_end().into(), rest)
        }
    }
}

fn end_of_plain(text: &str, in_flow: bool) -> usize {
    let mut before = ' ';
    for (at, letter) in text.char_indices() {
        let ends = match letter {
            '\n' => true,
            '#' => before.is_whitespace(),
            ',' | '}' | ']' => in_flow,
            _ => false,
        };
        if ends {
            return at;
        }
        before = letter;
    }
    text.len()
}

/// `''` stands for one quote.
fn single_quoted(text: &str) -> (Cow<'_, str>, &str) {
    let inner = text.get(1..).unwrap_or_default();
    let mut from = 0;
    while let Some(found) = inner.get(from..).and_then(|rest| rest.find('\'')) {
        let end = from + found;
        let after = inner.get(end + 1..).unwrap_or_default();
        if after.starts_with('\'') {
            from = end + 2;
            continue;
        }
        let content = inner.get(..end).unwrap_or_default();
        let content = if from == 0 { content.into() } else { content.replace("''", "'").into() };
        return (content, after);
    }
    (inner.into(), "")
}

fn double_quoted(text: &str) -> (Cow<'_, str>, &str) {
    let inner = text.get(1..).unwrap_or_default();
    let mut content = String::new();
    let mut letters = inner.chars();
    let mut has_escapes = false;
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                let rest = letters.as_str();
                let plain = inner.get(..inner.len() - rest.len() - 1).unwrap_or_default();
                return (if has_escapes { content.into() } else { plain.into() }, rest);
            }
            '\\' => {
                has_escapes = true;
                let Some(escape) = letters.next() else { break };
                content.extend(escaped(escape, &mut letters));
            }
            letter => content.push(letter),
        }
    }
    (content.into(), "")
}

/// What an escape stands for; nothing for one that is none.
fn escaped(escape: char, letters: &mut std::str::Chars<'_>) -> Option<char> {
    let digits = match escape {
        'n' => return Some('\n'),
        't' => return Some('\t'),
        'r' => return Some('\r'),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        other => return Some(other),
    };
    let text = letters.as_str();
    let code = text.get(..digits).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    *letters = text.get(digits..).unwrap_or_default().chars();
    code.and_then(char::from_u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_end_where_yaml_says() {
        for (text, in_flow, content, rest) in [
            ("a b # c", false, "a b", "# c"),
            ("a#b, c", false, "a#b, c", ""),
            ("a#b, c", true, "a#b", ", c"),
            ("a}", true, "a", "}"),
            ("'it''s, #1', x", true, "it's, #1", ", x"),
            ("'open", true, "open", ""),
            (r#""a\"b\\\u00e9\x41\n" y"#, false, "a\"b\\é\u{41}\n", " y"),
            (r#""a\uD83D""#, false, "a", ""),
            (r#""\u12"#, false, "", ""),
            (r#""a"#, false, "a", ""),
            ("", true, "", ""),
        ] {
            assert_eq!(read(text, in_flow), (content.into(), rest), "{text}");
        }
    }
}
