//! What guests may call: log, clock, random, symbols.

use proxywhirl_core::symbol::Symbol;

use crate::bindings::shared::proxywhirl::plugin::{clock, log, random, symbols, types};
use crate::logbook::LogLevel;
use crate::state::State;

impl types::Host for State {}

impl log::Host for State {
    fn write(&mut self, level: log::Level, message: String) {
        let level = match level {
            log::Level::Trace => LogLevel::Trace,
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        self.logbook.write(level, &message);
    }
}

impl clock::Host for State {
    fn now(&mut self) -> u64 {
        (self.clock)().as_micros()
    }
}

impl random::Host for State {
    fn next(&mut self) -> u64 {
        self.random.next()
    }
}

impl symbols::Host for State {
    fn intern(&mut self, text: String) -> u32 {
        self.vocabulary.intern(&text).0
    }

    fn resolve(&mut self, symbol: u32) -> Option<String> {
        self.vocabulary.resolve(Symbol(symbol)).map(|text| (*text).to_owned())
    }
}
