//! Which column of a table holds what: told by a header in any order, or guessed from the rows.

use crate::entry::{self, Host};
use crate::fields::{Field, Fields};
use crate::{Scheme, country, words};

/// Columns beyond this one are not looked at.
const MAX_COLUMNS: usize = 64;

/// The columns of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// Up to the last one that says something.
    fields: Vec<Option<Field>>,
}

impl Columns {
    /// From the cells of a header. None when no column would say where a proxy listens, and so it is
    /// not a header, or not of a table of proxies.
    #[must_use]
    pub fn from_header<T: AsRef<str>>(cells: &[T]) -> Option<Self> {
        let named = cells.iter().take(MAX_COLUMNS).map(|cell| Field::named(cell.as_ref()));
        let fields: Vec<_> = named.collect();
        let has = |field| fields.contains(&Some(field));
        (has(Field::Host) || has(Field::Endpoint)).then(|| Self::new(fields))
    }

    /// From the first rows of a table without a header: by what at least half of them hold. None
    /// when no column holds hosts.
    #[must_use]
    pub fn guess<T: AsRef<str>>(rows: &[Vec<T>]) -> Option<Self> {
        let width = rows.iter().map(Vec::len).max()?.min(MAX_COLUMNS);
        let most = |column: usize, fits: &dyn Fn(&str) -> bool| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.as_ref().trim());
            let (all, fit) = cells
                .filter(|cell| !cell.is_empty())
                .fold((0, 0), |(all, fit), cell| (all + 1, fit + usize::from(fits(cell))));
            fit > 0 && fit * 2 >= all
        };
        let mut fields = vec![None; width];
        let mut name = |column: usize, field| {
            if let Some(unnamed) = fields.get_mut(column).filter(|field| field.is_none()) {
                *unnamed = Some(field);
            }
        };
        let host = (0..width).find(|&column| most(column, &is_host));
        let port = host.and_then(|host| (host + 1..width).chain(0..host).find(|&column| most(column, &is_port)));
        match (host, port) {
            (Some(host), Some(port)) => {
                name(host, Field::Host);
                name(port, Field::Port);
            }
            _ => {
                let mut endpoints = (0..width).filter(|&column| most(column, &is_endpoint));
                name(endpoints.next()?, Field::Endpoint);
                // Several proxies in a row: no table, and all but the first would be lost.
                if endpoints.next().is_some() {
                    return None;
                }
            }
        }
        for column in 0..width {
            if most(column, &|cell| words::scheme(cell).is_some()) {
                name(column, Field::Scheme);
            } else if most(column, &is_country) {
                name(column, Field::Country);
            } else if most(column, &|cell| words::anonymity(cell).is_some()) {
                name(column, Field::Anonymity);
            }
        }
        // `host,port,user,password`, as vendors export it.
        if let [Some(Field::Host), Some(Field::Port), user @ None, password @ None] = fields.as_mut_slice() {
            (*user, *password) = (Some(Field::Username), Some(Field::Password));
        }
        Some(Self::new(fields))
    }

    fn new(mut fields: Vec<Option<Field>>) -> Self {
        while fields.pop_if(|field| field.is_none()).is_some() {}
        Self { fields }
    }

    /// How many columns there are up to the last one that says something.
    #[must_use]
    #[inline]
    pub const fn width(&self) -> usize {
        self.fields.len()
    }

    /// What a column holds, counted from 0; none when it says nothing.
    #[must_use]
    #[inline]
    pub fn field(&self, column: usize) -> Option<Field> {
        self.fields.get(column).copied().flatten()
    }

    /// The values of a row.
    #[must_use]
    pub fn read<'a>(&self, cells: impl Iterator<Item = &'a [u8]>) -> Fields<'a> {
        let mut values = Fields::default();
        for (field, cell) in self.fields.iter().zip(cells) {
            if let &Some(field) = field {
                values.set_bytes(field, cell);
            }
        }
        values
    }
}

fn is_host(cell: &str) -> bool {
    Host::parse(cell).is_some_and(|host| host.is_certain())
}

fn is_port(cell: &str) -> bool {
    entry::port(cell).is_ok()
}

fn is_endpoint(cell: &str) -> bool {
    entry::parse(cell.as_bytes(), Scheme::Other).is_ok_and(|entry| entry.host.is_certain())
}

fn is_country(cell: &str) -> bool {
    country::code(cell).is_some() && cell.bytes().all(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn guess(rows: &[&str]) -> Option<Vec<Option<Field>>> {
        let rows: Vec<Vec<&str>> = rows.iter().map(|row| row.split(',').collect()).collect();
        Columns::guess(&rows).map(|columns| columns.fields)
    }

    #[test]
    fn a_header_names_columns_in_any_order() {
        let header = Columns::from_header(&["Port", "Https", "IP Address"]).unwrap();
        assert_eq!(header.fields, [Some(Field::Port), None, Some(Field::Host)]);
        assert_eq!(Columns::from_header(&["1.2.3.4", "80"]), None);
    }

    #[test]
    fn without_a_header_columns_are_known_by_what_they_hold() {
        assert_eq!(
            guess(&["x,US,80,1.2.3.4,socks5", "y,,8080,1.2.3.5,http"]).unwrap(),
            [None, Some(Field::Country), Some(Field::Port), Some(Field::Host), Some(Field::Scheme)]
        );
        assert_eq!(guess(&["a,1.2.3.4:80"]).unwrap(), [None, Some(Field::Endpoint)]);
        assert_eq!(guess(&["1.2.3.4:80,1.2.3.5:80"]), None);
        assert_eq!(guess(&["a,b", "c,d"]), None);
        assert_eq!(guess(&[]), None);
    }

    #[test]
    fn the_number_column_before_the_host_is_not_the_port() {
        assert_eq!(guess(&["1,1.2.3.4,80", "2,1.2.3.5,81"]).unwrap(), [None, Some(Field::Host), Some(Field::Port)]);
    }

    #[test]
    fn two_unknown_columns_after_host_and_port_are_a_login() {
        assert_eq!(
            guess(&["1.2.3.4,80,me,secret"]).unwrap(),
            [Some(Field::Host), Some(Field::Port), Some(Field::Username), Some(Field::Password)]
        );
    }
}
