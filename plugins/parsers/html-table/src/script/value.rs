//! Numbers and texts, and what operators make of them.

use super::MAX_TEXT;

/// A value. Numbers are whole: ports and parts of addresses are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Number(i64),
    Text(String),
}

impl Value {
    /// What an operator makes of two values; none when that is no whole number, or too long a text.
    pub(super) fn with(self, operator: u8, right: Self) -> Option<Self> {
        let (left, right) = match (operator, self, right) {
            (_, Self::Number(left), Self::Number(right)) => (left, right),
            (b'+', left, right) => {
                let text = left.into_text() + &right.into_text();
                return (text.len() <= MAX_TEXT).then_some(Self::Text(text));
            }
            (_, left, right) => (left.number()?, right.number()?),
        };
        let number = match operator {
            b'+' => left.checked_add(right)?,
            b'-' => left.checked_sub(right)?,
            b'*' => left.checked_mul(right)?,
            b'/' if left.checked_rem(right)? == 0 => left.checked_div(right)?,
            b'%' => left.checked_rem(right)?,
            b'&' => i64::from(word(left) & word(right)),
            b'|' => i64::from(word(left) | word(right)),
            b'^' => i64::from(word(left) ^ word(right)),
            _ => return None,
        };
        Some(Self::Number(number))
    }

    /// The number that it is or that its text says.
    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
        }
    }

    pub(super) fn into_text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// The 32 bits that operators on bits take of a number, in JavaScript.
#[expect(clippy::cast_possible_truncation, reason = "the bits above are what is left out")]
pub(super) const fn word(number: i64) -> i32 {
    number as i32
}
