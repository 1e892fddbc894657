//! `[[users]]` and `[access]`: who may use the gateway, to reach what, and how much.

use std::collections::BTreeSet;

use proxywhirl_gateway::access::{self, Access, Destinations, Login, Rule, Secret, UserConfig, UserLimits};
use proxywhirl_gateway::wanted::{Grammar, Limits};
use schemars::JsonSchema;
use serde::Deserialize;

use super::environment::Environment;
use super::file::{LASTING, Span};
use super::size::Size;

/// The longest user name: SOCKS has room for no longer one.
const MAX_NAME: usize = 255;

/// `[[users]]`, as it was written.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserSection {
    /// Its name.
    #[schemars(length(min = 1, max = MAX_NAME))]
    pub name: String,
    /// A hash of its password.
    pub password_hash: Option<String>,
    /// The environment variable that holds its password.
    pub password_env: Option<String>,
    /// Requests in a second.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub rate: Option<f64>,
    /// Requests that may come at once.
    #[schemars(range(min = 1))]
    pub burst: Option<u32>,
    /// Requests at the same time.
    #[schemars(range(min = 1))]
    pub concurrency: Option<u32>,
    /// Bytes within a period.
    pub quota: Option<Size>,
    /// That period.
    #[schemars(extend("pattern" = LASTING))]
    pub quota_period: Option<Span>,
}

/// `[access]`, as it was written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessSection {
    /// Networks whose clients are served.
    #[serde(default)]
    pub clients: Vec<String>,
    /// Destinations that may be reached.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Destinations that may not.
    #[serde(default)]
    pub deny: Vec<String>,
    /// For how long a client of HTTP has logged in.
    #[serde(default)]
    pub login: LoginSection,
}

/// `access.login`, as it was written.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LoginSection {
    /// Until its connection ends.
    #[default]
    Connection,
    /// For one request.
    Request,
}

/// Who may use the gateway, to reach what, and how much.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AccessSettings {
    /// Its users; empty when nobody is asked.
    pub users: Vec<UserConfig>,
    /// Networks whose clients are served; empty for all.
    pub clients: Vec<ipnet::IpNet>,
    /// Which destinations may be reached.
    pub destinations: Destinations,
    /// For how long a client of HTTP has logged in.
    pub login: Login,
}

impl AccessSettings {
    /// As the gateway has it.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn access(&self) -> Result<Access, String> {
        let access = Access::new(self.users.clone(), self.clients.clone(), self.destinations.clone())?;
        Ok(access.with_login(self.login))
    }

    /// Whether each user can say its name somewhere, as clients say it there.
    ///
    /// # Errors
    /// When a name is read as something else everywhere, as `team-a` is where words stand between dashes.
    pub(super) fn can_log_in(&self, grammars: &[Grammar], limits: Limits) -> Result<(), String> {
        let is_read = |name: &str, grammar: &Grammar| {
            grammar.introduce(name, "x", limits).is_ok_and(|introduced| *introduced.user == *name)
        };
        let lost = self.users.iter().find(|user| !grammars.iter().any(|grammar| is_read(&user.name, grammar)));
        lost.map_or(Ok(()), |user| {
            Err(format!(
                "user {:?}: name: nobody can log in with it, as no listener reads this as a name alone",
                user.name
            ))
        })
    }
}

impl AccessSection {
    /// What both mean.
    ///
    /// # Errors
    /// When a value is none, or a user has no password.
    pub fn meaning(self, users: Vec<UserSection>) -> Result<AccessSettings, String> {
        let mut names = BTreeSet::new();
        let users = users
            .into_iter()
            .map(|user| {
                let name = user.name.clone();
                if !names.insert(name.clone()) {
                    return Err(format!("there are two users {name:?}"));
                }
                user.meaning().map_err(|why| format!("user {name:?}: {why}"))
            })
            .collect::<Result<_, _>>()?;
        let rules = |key: &str, rules: &[String]| {
            let rule = |rule: &String| rule.parse::<Rule>().map_err(|why| format!("access.{key}: {why}"));
            rules.iter().map(rule).collect::<Result<Vec<_>, _>>()
        };
        Ok(AccessSettings {
            users,
            clients: self.clients.iter().map(|text| network(text)).collect::<Result<_, _>>()?,
            destinations: Destinations { allow: rules("allow", &self.allow)?, deny: rules("deny", &self.deny)? },
            login: match self.login {
                LoginSection::Connection => Login::Connection,
                LoginSection::Request => Login::Request,
            },
        })
    }
}

impl UserSection {
    fn meaning(self) -> Result<UserConfig, String> {
        if self.name.is_empty()
            || self.name.len() > MAX_NAME
            || self.name.contains(|c: char| c == ':' || c.is_control())
        {
            return Err(format!("name must have 1 to {MAX_NAME} bytes, no colon and no control character"));
        }
        let hash = |hash: &String| {
            Secret::hash(hash).map_err(|why| format!("password_hash: {why}; `proxywhirl user hash` makes one"))
        };
        let hash = self.password_hash.as_ref().map(hash).transpose()?;
        let password = self.password_env.as_deref().map(from_environment).transpose()?;
        let default = UserLimits::default();
        let positive = |key: &str, value: Option<u32>| match value {
            Some(0) => Err(format!("{key} must be at least 1")),
            value => Ok(value),
        };
        if self.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return Err("rate must be more than 0".to_owned());
        }
        let given = positive("burst", self.burst)?;
        if given.is_some() && self.rate.is_none() {
            return Err("burst means nothing without rate".to_owned());
        }
        if self.quota_period.is_some_and(|period| period.0.is_zero()) {
            return Err("quota_period must be more than 0".to_owned());
        }
        // As many as come in a second, so that a rate alone is enough.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped, and more than 0")]
        let burst = self.rate.map_or(default.burst, |rate| rate.ceil().clamp(1.0, 1e9) as u32);
        let limits = UserLimits {
            rate: self.rate,
            burst: given.unwrap_or(burst),
            concurrency: positive("concurrency", self.concurrency)?,
            quota: self.quota.map(|quota| quota.0),
            period: self.quota_period.map_or(default.period, |period| period.0),
        };
        // Last, since it is about the whole of a user.
        let ((Some(secret), None) | (None, Some(secret))) = (hash, password) else {
            return Err("it needs either password_hash (`proxywhirl user hash` makes one) or password_env".to_owned());
        };
        Ok(UserConfig { name: self.name, secret, limits })
    }
}

fn from_environment(variable: &str) -> Result<Secret, String> {
    let environment = Environment::read().map_err(|error| error.to_string())?;
    match environment.get(variable).filter(|password| !password.is_empty()) {
        Some(password) => Ok(Secret::Password(proxywhirl_core::Secret::new(password))),
        None => Err(format!("password_env: the environment has no {variable}")),
    }
}

fn network(text: &str) -> Result<ipnet::IpNet, String> {
    let wrong = |why: &str| format!("access.clients: {text:?} is no network such as 10.0.0.0/8{why}");
    match access::network(text) {
        Some(network) => network.map_err(|why| wrong(&format!(": {why}"))),
        None => Err(wrong("")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proxywhirl_gateway::access::Login;

    use super::super::settings::tests::settings;

    fn error(text: &str) -> String {
        settings(text).unwrap_err().to_string()
    }

    #[test]
    fn users_have_a_password_and_limits() {
        let hash = proxywhirl_gateway::access::hash_password("secret").unwrap();
        let text = format!(
            "[[users]]\nname = \"anna\"\npassword_hash = \"{hash}\"\nrate = 2.5\nconcurrency = 3\nquota = \"1GB\"\n\
             quota_period = \"1h\"\n[access]\nclients = [\"10.0.0.0/8\", \"::1\"]\ndeny = [\"*:25\"]\n\
             login = \"request\"\n"
        );
        let access = settings(&text).unwrap().access;
        assert_eq!((access.login, settings("").unwrap().access.login), (Login::Request, Login::Connection));
        let anna = &access.users[0];
        assert_eq!((anna.name.as_str(), anna.limits.burst, anna.limits.quota), ("anna", 3, Some(1_000_000_000)));
        assert_eq!((access.clients.len(), access.destinations.deny.len()), (2, 1));
        let within = settings("[access]\nclients = [\"::ffff:127.0.0.0/104\", \"::ffff:10.1.2.3\"]\n").unwrap().access;
        assert_eq!(
            within.clients,
            ["127.0.0.0/8", "10.1.2.3/32"].map(|network| network.parse::<ipnet::IpNet>().unwrap())
        );
        assert!(!format!("{access:?}").contains("argon2"), "a secret is never shown");
    }

    #[test]
    fn what_cannot_be_a_user_or_a_rule_is_told() {
        let user = |rest: &str| error(&format!("[[users]]\nname = \"anna\"\n{rest}"));
        insta::assert_snapshot!(user(""), @r#"configuration /etc/proxywhirl/proxywhirl.toml: user "anna": it needs either password_hash (`proxywhirl user hash` makes one) or password_env"#);
        let told = user("password_hash = \"secret\"\n");
        assert!(told.contains("user \"anna\": password_hash: ") && told.contains("proxywhirl user hash"), "{told}");
        assert!(!told.contains("secret"), "{told}");
        insta::assert_snapshot!(user("password_env = \"PROXYWHIRL_NO_SUCH\"\n"), @r#"configuration /etc/proxywhirl/proxywhirl.toml: user "anna": password_env: the environment has no PROXYWHIRL_NO_SUCH"#);
        insta::assert_snapshot!(user("password_env = \"PATH\"\nrate = 0\n"), @r#"configuration /etc/proxywhirl/proxywhirl.toml: user "anna": rate must be more than 0"#);
        insta::assert_snapshot!(user("password_env = \"PATH\"\n[[users]]\nname = \"anna\"\npassword_env = \"PATH\"\n"), @r#"configuration /etc/proxywhirl/proxywhirl.toml: there are two users "anna""#);
        assert!(error("[[users]]\nname = \"team-a\"\npassword_env = \"PATH\"\n").contains("nobody can log in"));
        let elsewhere = "[[listeners]]\naddress = \"a:1\"\nseparator = \";\"\n[[users]]\nname = \"team-a\"\npassword_env = \"PATH\"\n";
        assert!(settings(elsewhere).is_ok());
        insta::assert_snapshot!(error("[access]\nclients = [\"here\"]\n"), @r#"configuration /etc/proxywhirl/proxywhirl.toml: access.clients: "here" is no network such as 10.0.0.0/8"#);
        insta::assert_snapshot!(error("[access]\nclients = [\"::ffff:10.0.0.0/8\"]\n"), @r#"configuration /etc/proxywhirl/proxywhirl.toml: access.clients: "::ffff:10.0.0.0/8" is no network such as 10.0.0.0/8: of IPv4 within IPv6, a length is from 96 on, as in ::ffff:10.0.0.0/104"#);
        insta::assert_snapshot!(error("[access]\nlogin = \"once\"\n"), @r#"configuration /etc/proxywhirl/proxywhirl.toml:2:9: access.login: "once" is not one of connection, request"#);
        insta::assert_snapshot!(error("[access]\nallow = [\"a b\"]\n"), @r#"configuration /etc/proxywhirl/proxywhirl.toml: access.allow: "a b" is no destination such as example.com, 10.0.0.0/8 or *:25: its host is neither a name nor a network"#);
    }
}
