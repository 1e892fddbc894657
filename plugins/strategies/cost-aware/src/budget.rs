//! What was spent in the last hour, minute by minute.

use crate::options::Budget;
use proxywhirl_plugin_ranking::window::{Parts, Ring};
use proxywhirl_plugin_ranking::wire::{Reader, Writer};
use std::fmt;

/// Minutes that are remembered: the 60 that are over, and the one that is not.
const MINUTES: usize = 61;

/// What is spent, against what may be.
#[derive(Debug)]
pub(crate) struct Spending {
    budget: Budget,
    hour: Ring<f64, MINUTES>,
    is_spent: bool,
}

/// That the dear tiers have closed or opened; for the log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct News {
    budget: Budget,
    spent: f64,
    closed: bool,
}

/// What a predecessor spent.
#[derive(Debug)]
pub(crate) struct Spent<'a> {
    currency: &'a str,
    minutes: Vec<(u64, f64)>,
}

impl Spending {
    /// Microseconds of a minute: after so long, something more is forgotten.
    pub(crate) const MINUTE: u64 = 60_000_000;

    pub(crate) fn new(budget: Budget) -> Self {
        let is_spent = budget.per_hour <= 0.0;
        Self { budget, hour: Ring::new(), is_spent }
    }

    /// Whether nothing more may be spent now.
    pub(crate) const fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// Counts what was spent. Tells when that makes a difference.
    pub(crate) fn spend(&mut self, cost: f64, now: u64) -> Option<News> {
        let minute = Self::minute(now);
        if cost > 0.0 {
            self.hour.add(minute, cost);
        }
        let spent = self.hour.total(minute);
        let is_spent = spent >= self.budget.per_hour;
        let changed = std::mem::replace(&mut self.is_spent, is_spent) != is_spent;
        changed.then(|| News { budget: self.budget.clone(), spent, closed: is_spent })
    }

    fn minute(now: u64) -> u64 {
        Parts::of(Self::MINUTE, 1).number(now)
    }

    pub(crate) fn save(&self, writer: &mut Writer) {
        writer.text(&self.budget.currency);
        let minutes: Vec<_> = self.hour.iter().collect();
        writer.u32(u32::try_from(minutes.len()).unwrap_or(0));
        // The oldest first, as they are read into a ring again.
        for (minute, spent) in minutes.into_iter().rev() {
            writer.u64(minute);
            writer.f64(spent);
        }
    }

    /// What [`Spending::save`] writes where there is no budget.
    pub(crate) fn save_nothing(writer: &mut Writer) {
        writer.text("");
        writer.u32(0);
    }

    pub(crate) fn restore<'a>(reader: &mut Reader<'a>) -> Option<Spent<'a>> {
        let currency = reader.text()?;
        let count = usize::try_from(reader.u32()?).ok().filter(|&count| count <= MINUTES)?;
        let minutes = (0..count).map(|_| reader.u64().zip(reader.f64())).collect::<Option<_>>()?;
        Some(Spent { currency, minutes })
    }

    /// Counts what a predecessor spent in the same currency; what it says of the future counts as now.
    pub(crate) fn adopt(&mut self, spent: Spent<'_>, now: u64) {
        if spent.currency != self.budget.currency {
            return;
        }
        for (minute, amount) in spent.minutes {
            self.hour.add(minute.min(Self::minute(now)), amount.clamp(0.0, 1e15));
        }
        self.is_spent = self.hour.total(Self::minute(now)) >= self.budget.per_hour;
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Budget { per_hour, currency } = &self.budget;
        let spent = self.spent;
        if self.closed {
            write!(f, "the budget of {per_hour} {currency} an hour is spent ({spent:.4}): only free members are used")
        } else {
            write!(f, "{spent:.4} of {per_hour} {currency} an hour are spent: members that cost are used again")
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spending(per_hour: f64) -> Spending {
        Spending::new(Budget { per_hour, currency: "EUR".to_owned() })
    }

    #[test]
    fn the_budget_closes_when_it_is_spent_and_opens_when_the_hour_has_moved_on() {
        let mut spending = spending(1.0);
        assert_eq!(spending.spend(0.6, 0), None);
        let news = spending.spend(0.5, Spending::MINUTE).unwrap().to_string();
        assert_eq!(news, "the budget of 1 EUR an hour is spent (1.1000): only free members are used");
        assert_eq!(spending.spend(0.0, 60 * Spending::MINUTE), None);
        let news = spending.spend(0.0, 61 * Spending::MINUTE).unwrap().to_string();
        assert_eq!(news, "0.5000 of 1 EUR an hour are spent: members that cost are used again");
    }

    #[test]
    fn a_budget_of_nothing_is_spent_from_the_beginning() {
        assert!(spending(0.0).is_spent());
    }

    #[test]
    fn what_was_spent_in_another_currency_is_not_counted() {
        let mut old = spending(1.0);
        drop(old.spend(5.0, 0));
        let mut writer = Writer::new(1);
        old.save(&mut writer);
        let bytes = writer.finish();
        for (currency, is_spent) in [("EUR", true), ("USD", false)] {
            let mut new = Spending::new(Budget { per_hour: 1.0, currency: currency.to_owned() });
            new.adopt(Spending::restore(&mut Reader::new(&bytes, 1).unwrap()).unwrap(), 0);
            assert_eq!(new.is_spent(), is_spent, "{currency}");
        }
    }

    proptest! {
        /// In no 60 minutes is more spent than the budget and the one spending that exceeded it.
        #[test]
        fn no_hour_costs_more_than_the_budget(
            steps in prop::collection::vec((0_u64..400_000_000, 0.0_f64..0.3), 1..200),
        ) {
            let (mut spending, mut now, mut all) = (spending(1.0), 0, Vec::new());
            for (wait, cost) in steps {
                now += wait;
                drop(spending.spend(0.0, now));
                if !spending.is_spent() {
                    drop(spending.spend(cost, now));
                    all.push((now, cost));
                }
                let hour: f64 = all.iter().filter(|(at, _)| at + 60 * Spending::MINUTE > now).map(|(_, cost)| cost).sum();
                prop_assert!(hour < 1.3);
            }
        }
    }
}
