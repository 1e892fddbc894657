//! Logins that commands set: they are put in force, kept where the pool is kept, and taken back; and what others have set in a store
//! that is shared is taken over.

use std::collections::BTreeMap;
use std::time::Duration;

use proxywhirl_core::{Credentials, Timestamp};
use proxywhirl_engine::LoginSet;
use proxywhirl_engine::logins::Covered;
use proxywhirl_store::{StoredLogin, UnreadLogin};

use super::{Keeping, Kept, Read, kept};
use crate::control::api::CredentialsSet;
use crate::exit::{Exit, Failure};

impl Keeping {
    /// Sets credentials of a name. Those of a section that is read from somewhere hold until it is read again; others are kept.
    ///
    /// # Errors
    /// When there are none of that name.
    pub async fn set(&self, name: &str, credentials: Credentials) -> Result<CredentialsSet, Failure> {
        let (covered, supply, hidden) = {
            let state = self.state();
            let own = state.settings.iter().find(|one| one.name == name);
            let covered = state.ad_hoc.iter().find(|(own, _)| own == name).map(|(_, covered)| covered.clone());
            let hidden = own.and_then(|own| hiding(&state.ad_hoc, &own.covered)).filter(|_| covered.is_none());
            let hidden = hidden.map(|first| format!("; not used: {first} goes first"));
            (covered, own.and_then(|own| own.supply.as_ref().map(ToString::to_string)), hidden.unwrap_or_default())
        };
        let set = self.set_of(name, covered, credentials, supply).await?;
        Ok(CredentialsSet { lasts: set.lasts + &hidden, ..set })
    }

    /// Sets credentials of whom the configuration says nothing, or something else.
    ///
    /// # Errors
    /// When they cannot be put in force.
    pub async fn set_for(&self, covered: Covered, credentials: Credentials) -> Result<CredentialsSet, Failure> {
        self.set_of(&covered.in_words(), Some(covered), credentials, None).await
    }

    async fn set_of(
        &self,
        name: &str,
        covered: Option<Covered>,
        credentials: Credentials,
        supply: Option<String>,
    ) -> Result<CredentialsSet, Failure> {
        let _turn = self.turn.lock().await;
        let at = {
            let state = self.state();
            after_all(state.stored.iter().flatten().chain(&state.unkept), self.engine.now())
        };
        let login = kept::stored(name, covered.as_ref(), &credentials, at);
        if let Some(covered) = covered {
            let mut state = self.state();
            state.ad_hoc.retain(|(own, _)| *own != name);
            state.ad_hoc.insert(0, (name.to_owned(), covered));
            drop(state);
            self.put_in_force();
        }
        let LoginSet { is_new, members } =
            self.engine.set_login(name, credentials).ok_or_else(|| self.unknown(name))?;
        {
            let mut state = self.state();
            *state.commanded.entry(name.to_owned()).or_default() += 1;
            state.by_command.insert(name.to_owned());
        }
        self.note(name, None);
        let (lasts, problem) = match (supply, &self.kept) {
            (Some(supply), _) => (format!("until {supply} is read again"), None),
            (None, None) => ("until the gateway ends".to_owned(), None),
            (None, Some(kept)) => {
                let problem = kept.keep(login.clone()).await.err();
                let mut state = self.state();
                state.unkept.retain(|other| !is_same(other, &login));
                if problem.is_some() {
                    state.unkept.insert(0, login);
                    (format!("until the gateway ends, or {} can keep it", kept.place), problem)
                } else {
                    let stored = state.stored.get_or_insert_default();
                    stored.retain(|other| !is_same(other, &login));
                    stored.insert(0, login);
                    (format!("kept in {}", kept.place), None)
                }
            }
        };
        Ok(CredentialsSet { name: name.to_owned(), changed: is_new, proxies: members, lasts, problem })
    }

    /// Takes back what a command has set, so that proxies are used with what the configuration says, or with what they came with.
    ///
    /// # Errors
    /// When there is nothing of that name that a command has set, or the store cannot be written: then all is as before.
    pub async fn unset(&self, name: &str) -> Result<CredentialsSet, Failure> {
        let _turn = self.turn.lock().await;
        let (is_ad_hoc, is_section, supply, is_unread) = {
            let state = self.state();
            let own = state.settings.iter().find(|one| one.name == name);
            let supply = own.and_then(|one| one.supply.as_ref().map(ToString::to_string));
            let is_ad_hoc = state.ad_hoc.iter().any(|(own, _)| own == name);
            (is_ad_hoc, own.is_some(), supply, state.unread.iter().any(|unread| unread.name == name))
        };
        if let Some(supply) = supply.filter(|_| !is_ad_hoc) {
            return Err(Failure::new(Exit::Usage, format!("credentials {name} are read from {supply}"))
                .hint(format!("`proxywhirl credentials refresh {name}` puts in force what stands there")));
        }
        if !is_ad_hoc && !is_section && !is_unread {
            return Err(self.unknown(name));
        }
        if let Some(kept) = &self.kept {
            for has_covers in [true, false] {
                kept.forget(name, has_covers).await.map_err(|problem| {
                    Failure::new(Exit::Environment, format!("credentials {name} stay as they are: {problem}"))
                })?;
            }
        }
        let set = self.engine.unset_login(name);
        {
            let mut state = self.state();
            *state.commanded.entry(name.to_owned()).or_default() += 1;
            state.ad_hoc.retain(|(own, _)| own != name);
            state.stored.get_or_insert_default().retain(|other| other.name != name);
            state.unkept.retain(|other| other.name != name);
            state.unread.retain(|other| other.name != name);
            state.by_command.remove(name);
            state.read.remove(name);
        }
        self.put_in_force();
        let (changed, proxies) = set.map_or((true, 0), |set| (set.is_new, set.members));
        Ok(CredentialsSet { name: name.to_owned(), changed, proxies, lasts: String::new(), problem: None })
    }

    /// Reads what is kept of commands, and puts in force what is new of it. At the start it is told what cannot be read.
    pub(super) async fn read_kept(&self, is_told: bool) {
        let Some(kept) = &self.kept else { return };
        let _turn = self.turn.lock().await;
        match kept.all().await {
            Ok((mut stored, unread)) => {
                self.keep_unkept(kept, &mut stored).await;
                self.take_over(stored, unread);
            }
            // It is away, and what is in force stays so.
            Err(problem) if is_told => {
                tracing::warn!(reason = problem, "logins that commands have set cannot be read now");
            }
            Err(_) => {}
        }
    }

    /// Keeps what could not be kept before, unless somebody has set something newer meanwhile, which goes before it.
    async fn keep_unkept(&self, kept: &Kept, stored: &mut Vec<StoredLogin>) {
        let unkept = {
            let mut state = self.state();
            state.unkept.retain(|login| !stored.iter().any(|other| is_same(other, login) && other.at >= login.at));
            state.unkept.clone()
        };
        for login in unkept.into_iter().rev() {
            if kept.keep(login.clone()).await.is_ok() {
                tracing::info!(credentials.name = login.name, "a login that a command has set is kept now");
                self.state().unkept.retain(|other| !is_same(other, &login));
                stored.retain(|other| !is_same(other, &login));
                stored.insert(0, login);
            }
        }
    }

    /// Puts in force what is kept, or is newer and could not be kept, and nothing else that was kept before.
    fn take_over(&self, stored: Vec<StoredLogin>, mut unread: Vec<UnreadLogin>) {
        let mut fresh = Vec::new();
        let mut covers = Vec::new();
        let (before, unkept, settings) = {
            let state = self.state();
            (state.stored.clone().unwrap_or_default(), state.unkept.clone(), state.settings.clone())
        };
        let kept = stored.iter().filter(|login| !unkept.iter().any(|newer| is_same(newer, login)));
        let mut meant: Vec<&StoredLogin> = unkept.iter().chain(kept).collect();
        meant.sort_by_key(|login| std::cmp::Reverse(login.at));
        for login in &meant {
            match kept::said(login) {
                Ok((covered, credentials)) => {
                    covers.extend(covered.map(|covered| (login.name.clone(), covered)));
                    fresh.push((*login, credentials));
                }
                Err(reason) => unread.push(UnreadLogin { name: login.name.clone(), reason }),
            }
        }
        let gone = before.iter().filter(|old| !meant.iter().any(|new| is_same(old, new)));
        let is_read = |login: &StoredLogin| {
            let mut sections = settings.iter().filter(|one| one.name == login.name);
            login.covers.is_none() && sections.any(|one| one.supply.is_some())
        };
        // Of a section that is read from somewhere nothing is kept; it was read from nowhere when this was.
        for login in gone.filter(|login| !is_read(login)) {
            self.engine.unset_login(&login.name);
            tracing::info!(credentials.name = login.name, "a login that a command has set is taken back");
        }
        {
            let mut state = self.state();
            state.ad_hoc.retain(|(name, _)| {
                !before.iter().any(|old| old.name == *name) && !covers.iter().any(|(own, _)| own == name)
            });
            state.ad_hoc.extend(covers);
            for unread in unread.iter().filter(|new| !state.unread.contains(new)) {
                tracing::error!(
                    credentials.name = unread.name,
                    reason = unread.reason,
                    "a login that a command has set cannot be used"
                );
            }
            state.unread = unread;
        }
        self.put_in_force();
        for (login, credentials) in fresh.into_iter().filter(|(login, _)| !is_read(login)) {
            if let Some(set) = self.engine.set_login(&login.name, credentials).filter(|set| set.is_new) {
                tracing::info!(
                    credentials.name = login.name,
                    pool.members = set.members,
                    "a login that a command has set is in force"
                );
                let mut state = self.state();
                state.read.insert(login.name.clone(), Read { at: login.at, problem: None });
                state.by_command.insert(login.name.clone());
            }
        }
        self.state().stored = Some(stored);
    }

    /// Tells of sections that are for the same proxies as a login of a command, which goes first.
    pub(super) fn tell_hidden(&self) {
        let state = self.state();
        for (one, name) in state.settings.iter().filter_map(|one| Some((one, hiding(&state.ad_hoc, &one.covered)?))) {
            tracing::warn!(
                credentials.name = one.name,
                credentials.first = name,
                "credentials of the configuration are not used: a command has set others for the same proxies, which go first; \
                 `proxywhirl credentials unset` takes them back"
            );
        }
    }

    /// Where each login came from, in words.
    pub(super) fn origins(&self) -> BTreeMap<String, String> {
        let state = self.state();
        let of_command = |name: &str| match &self.kept {
            Some(kept) if state.stored.iter().flatten().any(|login| login.name == name) => {
                format!("a command, kept in {}", kept.place)
            }
            _ => "a command, until the gateway ends".to_owned(),
        };
        let ad_hoc = state.ad_hoc.iter().map(|(name, _)| (name.clone(), of_command(name)));
        let sections = state.settings.iter().map(|one| {
            let is_of_command = state.by_command.contains(&one.name);
            let from = match &one.supply {
                Some(supply) if is_of_command => format!("a command, until {supply} is read again"),
                Some(supply) => supply.to_string(),
                None if is_of_command => of_command(&one.name),
                None => "nowhere yet".to_owned(),
            };
            (one.name.clone(), from)
        });
        sections.chain(ad_hoc).collect()
    }
}

/// When a login is set that goes before all that are known, whatever the clocks of those say who have set them.
fn after_all<'a>(known: impl Iterator<Item = &'a StoredLogin>, now: Timestamp) -> Timestamp {
    known.fold(now, |at, login| at.max(login.at + Duration::from_micros(1)))
}

/// Whether two logins that are kept are the one of a name.
fn is_same(one: &StoredLogin, other: &StoredLogin) -> bool {
    one.name == other.name && one.covers.is_some() == other.covers.is_some()
}

/// The login of a command that goes before another one for the same proxies.
pub(super) fn hiding<'a>(ad_hoc: &'a [(String, Covered)], covered: &Covered) -> Option<&'a str> {
    ad_hoc.iter().find(|(_, own)| own == covered).map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use proxywhirl_core::Secret;

    use super::*;

    #[test]
    fn what_is_set_last_goes_first_though_the_clock_is_behind() {
        let at = Timestamp::from_micros;
        let known =
            |at| kept::stored("gate", None, &Credentials { username: "me".into(), password: Secret::new("p") }, at);
        let (old, ahead) = (known(at(5)), known(at(90)));
        assert_eq!(after_all([&old].into_iter(), at(10)), at(10));
        assert_eq!(after_all([&ahead, &old].into_iter(), at(10)), at(91));
    }
}
