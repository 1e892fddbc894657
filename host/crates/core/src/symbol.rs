//! Texts as numbers, so that plugins and picks compare integers.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The number of a text; [`Symbol::NONE`] for no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Symbol(pub u32);

impl Symbol {
    /// No text.
    pub const NONE: Self = Self(0);
}

/// The table of all texts that have a number.
///
/// It only grows, up to [`Symbols::MAX`] texts: a text that comes after has no number, which costs a
/// strategy that one distinction and nobody anything else.
#[derive(Debug, Default)]
pub struct Symbols {
    /// Written by whoever meets a new tag or country, which is rare; read by plugins.
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Symbols {
    /// How many texts can have a number: 65,536 tags of 64 characters are 4 MB.
    pub const MAX: usize = 65_536;

    /// The number of a text, which it gets if it has none; [`Symbol::NONE`] when the table is full.
    pub fn intern(&self, text: &str) -> Symbol {
        if let Some(number) = self.table.read().unwrap_or_else(PoisonError::into_inner).numbers.get(text) {
            return Symbol(*number);
        }
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = table.numbers.get(text) {
            return Symbol(*number);
        }
        if table.texts.len() >= Self::MAX {
            return Symbol::NONE;
        }
        let text: Arc<str> = text.into();
        table.texts.push(Arc::clone(&text));
        let number = u32::try_from(table.texts.len()).unwrap_or(0);
        table.numbers.insert(text, number);
        Symbol(number)
    }

    /// The text of a number.
    #[must_use]
    pub fn resolve(&self, symbol: Symbol) -> Option<Arc<str>> {
        let index = usize::try_from(symbol.0).ok()?.checked_sub(1)?;
        self.table.read().unwrap_or_else(PoisonError::into_inner).texts.get(index).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_equal_numbers() {
        let symbols = Symbols::default();
        let eu = symbols.intern("eu");
        assert_ne!(eu, symbols.intern("us"));
        assert_eq!(eu, symbols.intern("eu"));
        assert_eq!(symbols.resolve(eu).as_deref(), Some("eu"));
        assert_eq!(symbols.resolve(Symbol::NONE), None);
        assert_eq!(symbols.resolve(Symbol(99)), None);
    }

    #[test]
    fn a_full_table_gives_no_number_and_keeps_the_old_ones() {
        let symbols = Symbols::default();
        for n in 0..Symbols::MAX {
            symbols.intern(&n.to_string());
        }
        assert_eq!(symbols.intern("one more"), Symbol::NONE);
        assert_eq!(symbols.intern("0"), Symbol(1));
    }
}
