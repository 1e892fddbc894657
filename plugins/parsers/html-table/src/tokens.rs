//! The tokens of a page, borrowed from it: tags, the text between them, and what is in scripts.
//!
//! Written by hand, and `html5gum`, which is the tokenizer of the standard, is only what it is tested
//! against: it takes and copies each letter, which was nine tenths of the time that a page is read in.
//! Of the standard (<https://html.spec.whatwg.org/multipage/parsing.html#tokenization>) it leaves out
//! what no list needs: the values of attributes, scripts within comments within scripts, and the two
//! thousand names of letters but for a few (see [`text`](super::text)). It looks at each byte once and
//! never goes back, so a page of any bytes takes a time in proportion to its length.

#[cfg(test)]
mod tests;

use proxywhirl_plugin_sdk::bytes;

/// The elements that mean something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    /// `table`.
    Table,
    /// `tr`.
    Row,
    /// `td` and `th`.
    Cell,
    /// `dl`.
    Definitions,
    /// `dt`.
    Term,
    /// `dd`.
    Definition,
    /// `script`.
    Script,
    /// `img`.
    Image,
    /// Text that is no part of the page: `style`, `title`, `textarea` and the like.
    Hidden,
    /// A line of its own: `p`, `li`, `div`, `br`, `pre` and the like.
    Block,
    /// Any other; it does not break the text that it is in.
    Inline,
}

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'b> {
    /// The beginning of an element, and where it is.
    Start(Tag, usize),
    /// Its end.
    End(Tag),
    /// Text, in which letters may be written by name or number.
    Text(&'b [u8]),
    /// What is in a script.
    Script(&'b [u8]),
}

/// The tokens of a page.
#[derive(Debug)]
pub(crate) struct Tokens<'b> {
    body: &'b [u8],
    at: usize,
    /// The name of the element that nothing but its end tag ends.
    raw: Option<(Tag, &'b [u8])>,
}

impl<'b> Tokens<'b> {
    pub(crate) const fn new(body: &'b [u8]) -> Self {
        Self { body, at: 0, raw: None }
    }

    /// Where the next token begins.
    pub(crate) const fn place(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'b [u8] {
        self.body.get(self.at..).unwrap_or_default()
    }

    /// Passes so many bytes.
    fn take(&mut self, length: usize) -> &'b [u8] {
        let taken = self.rest().get(..length).unwrap_or_default();
        self.at += length;
        taken
    }

    /// What is in an element that holds no tags; hidden text is passed.
    fn raw(&mut self, tag: Tag, name: &[u8]) -> Option<Token<'b>> {
        let rest = self.rest();
        let is_end = |&start: &usize| {
            let after = rest.get(start..).and_then(|end| end.strip_prefix(b"</")).unwrap_or_default();
            let (found, next) = after.split_at_checked(name.len()).unwrap_or_default();
            found.eq_ignore_ascii_case(name) && next.first().is_some_and(|&byte| ends_name(byte))
        };
        let end = memchr::memchr_iter(b'<', rest).find(is_end).unwrap_or(rest.len());
        let text = self.take(end);
        (tag == Tag::Script).then_some(Token::Script(text))
    }

    /// What begins with `<`; none when it is a comment.
    fn markup(&mut self) -> Option<Token<'b>> {
        let start = self.at;
        match self.rest() {
            [b'<', b'a'..=b'z' | b'A'..=b'Z', ..] => {
                let name = self.name(1);
                let tag = tag(name);
                self.attributes()?;
                self.raw = matches!(tag, Tag::Script | Tag::Hidden).then_some((tag, name));
                Some(Token::Start(tag, start))
            }
            [b'<', b'/', b'a'..=b'z' | b'A'..=b'Z', ..] => {
                let name = self.name(2);
                self.attributes()?;
                Some(Token::End(tag(name)))
            }
            [b'<', b'!', b'-', b'-', rest @ ..] => {
                self.at += 4 + comment(rest);
                None
            }
            [b'<', b'!' | b'?' | b'/', rest @ ..] => {
                self.at += 2 + memchr::memchr(b'>', rest).map_or(rest.len(), |end| end + 1);
                None
            }
            rest => {
                let length = 1 + memchr::memchr(b'<', rest.get(1..).unwrap_or_default()).unwrap_or(rest.len() - 1);
                Some(Token::Text(self.take(length)))
            }
        }
    }

    fn name(&mut self, marks: usize) -> &'b [u8] {
        self.at += marks;
        let rest = self.rest();
        self.take(rest.iter().position(|&byte| ends_name(byte)).unwrap_or(rest.len()))
    }

    /// Passes the attributes, and the end of the tag; none when the page ends before.
    fn attributes(&mut self) -> Option<()> {
        loop {
            if let Some(b'>' | b'/' | b' ' | b'\t' | b'\n' | b'\r' | b'\x0c') = self.rest().first() {
                if self.take(1) == b">" {
                    return Some(());
                }
                continue;
            }
            // A name may begin with `=`.
            let rest = self.rest().get(1..)?;
            self.at += 1 + rest.iter().take_while(|&&byte| !ends_name(byte) && byte != b'=').count();
            let spaces = self.rest().iter().take_while(|&&byte| is_space(byte)).count();
            if self.rest().get(spaces) == Some(&b'=') {
                self.at += spaces + 1;
                self.value();
            }
        }
    }

    /// Passes the value of an attribute.
    fn value(&mut self) {
        self.at += self.rest().iter().take_while(|&&byte| is_space(byte)).count();
        match self.rest() {
            [quote @ (b'"' | b'\''), rest @ ..] => {
                self.at += 1 + memchr::memchr(*quote, rest).map_or(rest.len(), |end| end + 1);
            }
            rest => self.at += rest.iter().take_while(|&&byte| !is_space(byte) && byte != b'>').count(),
        }
    }
}

impl<'b> Iterator for Tokens<'b> {
    type Item = Token<'b>;

    fn next(&mut self) -> Option<Token<'b>> {
        loop {
            let token = if let Some((tag, name)) = self.raw.take() {
                self.raw(tag, name)
            } else {
                match self.rest() {
                    [] => return None,
                    [b'<', ..] => self.markup(),
                    rest => Some(Token::Text(self.take(bytes::find_any(rest, [b'<'])))),
                }
            };
            if token.is_some() {
                return token;
            }
        }
    }
}

/// How long a comment is from after `<!--` on.
fn comment(text: &[u8]) -> usize {
    for short in [&b">"[..], b"->"] {
        if text.starts_with(short) {
            return short.len();
        }
    }
    let end = memchr::memmem::find_iter(text, b"--").find_map(|dashes| match text.get(dashes + 2..) {
        Some([b'>', ..]) => Some(dashes + 3),
        Some([b'!', b'>', ..]) => Some(dashes + 4),
        // Of three dashes the last two end it.
        Some([b'-', b'>', ..]) => Some(dashes + 4),
        _ => None,
    });
    end.unwrap_or(text.len())
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\x0c')
}

const fn ends_name(byte: u8) -> bool {
    is_space(byte) || matches!(byte, b'/' | b'>')
}

/// The longest name that means something.
const MAX_NAME: usize = 10;

fn tag(name: &[u8]) -> Tag {
    let mut room = [0; MAX_NAME];
    let Some(letters) = room.get_mut(..name.len()) else { return Tag::Inline };
    for (letter, byte) in letters.iter_mut().zip(name) {
        *letter = byte.to_ascii_lowercase();
    }
    match &*letters {
        b"td" | b"th" => Tag::Cell,
        b"tr" => Tag::Row,
        b"table" => Tag::Table,
        b"dl" => Tag::Definitions,
        b"dt" => Tag::Term,
        b"dd" => Tag::Definition,
        b"img" => Tag::Image,
        b"script" => Tag::Script,
        b"style" | b"title" | b"textarea" | b"iframe" | b"xmp" | b"noembed" | b"noframes" => Tag::Hidden,
        b"br" | b"p" | b"div" | b"li" | b"ul" | b"ol" | b"pre" | b"hr" | b"h1" | b"h2" | b"h3" | b"h4" | b"h5"
        | b"h6" | b"section" | b"article" | b"option" | b"blockquote" => Tag::Block,
        _ => Tag::Inline,
    }
}
