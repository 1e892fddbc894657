//! What a page's scripts write into it, as far as that can be told without running them.
//!
//! Some pages hide their ports from those who only read them: `document.write(":" + (a1^b2) + (c3^d4))`,
//! with `a1 = 7^b9;` and so on in a script before, or `document.write(Base64.decode("ODA4MA=="))`.
//! Here assignments and calls of `document.write` are understood whose values are made of numbers,
//! texts, variables, `+ - * / % & | ^ ~ ( )`, `atob`, `Base64.decode`, `parseInt`, `Number`, `String`,
//! `String.fromCharCode` and `unescape`; and the usual way of packing a script (see [`packed`]).
//! Everything else is passed over. No engine for JavaScript: nothing here branches, loops or calls, so
//! that a script takes a time in proportion to its length, and a text in it cannot grow beyond
//! [`MAX_TEXT`].

mod call;
mod lexer;
mod packed;
#[cfg(test)]
mod tests;
mod value;

use lexer::Lexer;
use std::collections::HashMap;
use value::Value;

/// The longest text that an expression makes. A variable is copied where it is used.
const MAX_TEXT: usize = 512;

/// The longest text that a script writes.
const MAX_WRITTEN: usize = 4096;

/// Variables of a page that are remembered.
const MAX_VARIABLES: usize = 10_000;

/// What all packed scripts of a page may unpack to: a word that is long and comes often makes much of
/// little.
const MAX_UNPACKED: usize = 262_144;

/// Expressions within expressions.
const MAX_DEPTH: u32 = 32;

/// The operators of two sides, those that bind loosest first.
const OPERATORS: [&[u8]; 5] = [b"|", b"^", b"&", b"+-", b"*/%"];

/// The scripts of a page.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    variables: HashMap<Vec<u8>, Value>,
    unpacked: usize,
}

impl Scripts {
    /// Runs a script, and answers with what it writes into the page.
    pub(crate) fn run(&mut self, code: &[u8]) -> String {
        let mut written = String::new();
        self.statements(code, &mut written);
        written
    }

    fn statements(&mut self, code: &[u8], written: &mut String) {
        let mut lexer = Lexer::new(code);
        while let Some(first) = lexer.peek() {
            let before = lexer.place();
            if lexer::begins_name(first) {
                self.statement(&mut lexer, written);
            }
            if lexer.place() == before {
                lexer.pass_token();
            }
        }
    }

    /// An assignment, or a call of `document.write`; as far as the first thing that is neither.
    fn statement(&mut self, lexer: &mut Lexer<'_>, written: &mut String) {
        match lexer.name() {
            b"eval" => {
                if let Some(code) = packed::unpack(lexer, MAX_UNPACKED.saturating_sub(self.unpacked)) {
                    self.unpacked(&code, written);
                }
            }
            b"document.write" | b"document.writeln" if lexer.pass(b'(') => {
                if let Some(value) = self.expression(lexer, 0, 0).filter(|_| lexer.pass(b')')) {
                    let room = MAX_WRITTEN.saturating_sub(written.len());
                    written.extend(value.into_text().chars().take(room));
                }
            }
            name if lexer.pass_assignment() => {
                let name = name.to_owned();
                match self.expression(lexer, 0, 0).filter(|_| lexer.ends_statement()) {
                    Some(value) if self.variables.len() < MAX_VARIABLES => _ = self.variables.insert(name, value),
                    // What is not understood is not what it was before either.
                    Some(_) | None => _ = self.variables.remove(&name),
                }
            }
            _ => {}
        }
    }

    /// A script that was packed may not hold another one.
    fn unpacked(&mut self, code: &[u8], written: &mut String) {
        self.unpacked += code.len();
        let is_nested = memchr::memmem::find(code, b"eval(").is_some();
        if !is_nested {
            self.statements(code, written);
        }
    }

    /// An expression of operators that bind at least as tight as this level's.
    fn expression(&self, lexer: &mut Lexer<'_>, level: usize, depth: u32) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        let Some(operators) = OPERATORS.get(level) else { return self.unary(lexer, depth) };
        let mut left = self.expression(lexer, level + 1, depth)?;
        while let Some(operator) = lexer.pass_operator(operators) {
            let right = self.expression(lexer, level + 1, depth)?;
            left = left.with(operator, right)?;
        }
        Some(left)
    }

    fn unary(&self, lexer: &mut Lexer<'_>, depth: u32) -> Option<Value> {
        let first = lexer.peek()?;
        match first {
            b'-' | b'+' | b'~' => {
                lexer.pass(first);
                // A minus is an operator of its own, and deep: `- - - 1`.
                let number = self.nested(lexer, depth)?.number()?;
                Some(Value::Number(match first {
                    b'-' => number.checked_neg()?,
                    b'~' => i64::from(!value::word(number)),
                    _ => number,
                }))
            }
            b'(' => {
                lexer.pass(b'(');
                let value = self.expression(lexer, 0, depth + 1)?;
                lexer.pass(b')').then_some(value)
            }
            b'"' | b'\'' => lexer.text().map(Value::Text),
            b'0'..=b'9' => lexer.number().map(Value::Number),
            _ if lexer::begins_name(first) => {
                let name = lexer.name();
                if lexer.pass(b'(') { self.call(name, lexer, depth) } else { self.variables.get(name).cloned() }
            }
            _ => None,
        }
    }

    fn nested(&self, lexer: &mut Lexer<'_>, depth: u32) -> Option<Value> {
        if depth >= MAX_DEPTH { None } else { self.unary(lexer, depth + 1) }
    }

    /// The call of a function that is known, from after its parenthesis on.
    fn call(&self, name: &[u8], lexer: &mut Lexer<'_>, depth: u32) -> Option<Value> {
        let mut arguments = Vec::new();
        while !lexer.pass(b')') {
            if !arguments.is_empty() && !lexer.pass(b',') {
                return None;
            }
            arguments.push(self.expression(lexer, 0, depth + 1)?);
        }
        call::call(name, arguments)
    }
}
