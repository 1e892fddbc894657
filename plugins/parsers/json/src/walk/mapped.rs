//! The walk when the options say where things are. Fields without a path are known by their names
//! among the item's own keys.

use super::{Here, Place, Walker, store, store_number};
use crate::paths::Live;
use crate::scan::Broken;
use proxywhirl_plugin_sdk::fields::{Field, Fields};

impl<'b> Walker<'_, 'b> {
    /// The value at this level of the path to the list.
    pub(super) fn root(&mut self, here: Here, level: usize) -> Result<(), Broken> {
        let paths = self.paths;
        let Some(wanted) = paths.to_root(level) else { return self.list_of_items(here) };
        let mut first = true;
        match self.scan.peek() {
            Some(b'{') => {
                self.scan.enter(here.depth)?;
                while self.scan.next_key(&mut first)? {
                    let (key, _) = self.scan.key()?;
                    self.root_or_not(here, level, &*key == wanted)?;
                }
                Ok(())
            }
            Some(b'[') => {
                self.scan.enter(here.depth)?;
                let mut place = 0_usize;
                while self.scan.next_element(&mut first)? {
                    self.root_or_not(here, level, place.to_string().as_bytes() == wanted)?;
                    place += 1;
                }
                Ok(())
            }
            Some(_) | None => self.scan.skip(here.depth),
        }
    }

    fn root_or_not(&mut self, here: Here, level: usize, is_wanted: bool) -> Result<(), Broken> {
        if is_wanted { self.root(here.inside(here.place), level + 1) } else { self.scan.skip(here.depth + 1) }
    }

    fn list_of_items(&mut self, here: Here) -> Result<(), Broken> {
        self.found_root = true;
        if self.paths.has_no_fields() {
            return self.value(Here { place: Place::Root, ..here });
        }
        if self.scan.peek() != Some(b'[') {
            return self.item(here);
        }
        self.scan.enter(here.depth)?;
        let mut first = true;
        while self.scan.next_element(&mut first)? {
            self.item(here.inside(Place::Element))?;
        }
        Ok(())
    }

    fn item(&mut self, here: Here) -> Result<(), Broken> {
        self.scan.peek();
        let line = self.scan.line();
        let mut fields = Fields::default();
        match self.scan.peek() {
            Some(b'{' | b'[') => self.part(&mut fields, here.depth, 0, Live::MAX)?,
            Some(_) | None => return self.value(Here { place: Place::Element, ..here }),
        }
        fields.collect(line, here.section, self.default, self.collector);
        Ok(())
    }

    /// An object or array within an item, at this level of the paths that lead through it.
    fn part(&mut self, fields: &mut Fields<'b>, depth: u32, level: usize, live: Live) -> Result<(), Broken> {
        let mut first = true;
        if self.scan.peek() == Some(b'{') {
            self.scan.enter(depth)?;
            while self.scan.next_key(&mut first)? {
                let (key, _) = self.scan.key()?;
                self.step(fields, depth + 1, level, live, &key)?;
            }
        } else {
            self.scan.enter(depth)?;
            let mut place = 0_usize;
            while self.scan.next_element(&mut first)? {
                self.step(fields, depth + 1, level, live, place.to_string().as_bytes())?;
                place += 1;
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        fields: &mut Fields<'b>,
        depth: u32,
        level: usize,
        live: Live,
        key: &[u8],
    ) -> Result<(), Broken> {
        let paths = self.paths;
        let (next, ends) = paths.follow(live, level, key);
        let by_name = || {
            let field = std::str::from_utf8(key).ok().and_then(Field::named);
            field.filter(|&field| level == 0 && next == 0 && !paths.say(field))
        };
        match (ends.or_else(by_name), self.scan.peek()) {
            (Some(field), Some(b'"')) => store(fields, field, self.scan.string()?),
            (Some(field), Some(b'-' | b'0'..=b'9')) => store_number(fields, field, self.scan.number()?),
            (Some(field @ Field::Scheme), Some(b'[')) => self.list(field, fields, depth)?,
            (_, Some(b'{' | b'[')) if next != 0 => self.part(fields, depth, level + 1, next)?,
            _ => self.scan.skip(depth)?,
        }
        Ok(())
    }
}
