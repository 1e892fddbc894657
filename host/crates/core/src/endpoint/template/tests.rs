use proptest::prelude::*;

use super::*;

fn credentials(username: &str, password: &str) -> Credentials {
    Credentials::new(username, password).unwrap()
}

fn filled(username: &str, filling: &Filling<'_>) -> String {
    credentials(username, "").filled(filling).username.into()
}

const NOTHING: Filling<'_> = Filling { session: None, seed: 7, country: None, state: None, city: None, asn: None };

fn everything() -> Filling<'static> {
    let country = "US".parse().ok();
    Filling { session: Some(1), seed: 7, country, state: Some("new-york"), city: Some("New York"), asn: Some("7922") }
}

/// As vendors want it: a template, what everything makes of it, and what a request makes of it that names nothing. `~8`
/// stands for eight letters and digits of the session, `~4d` for four digits.
const VENDORS: [(&str, &str, &str); 8] = [
    (
        "brd-customer-C-zone-Z[-country-{country}][-state-{state=}][-city-{city=}][-asn-{asn}][-session-{session=8}]",
        "brd-customer-C-zone-Z-country-us-state-newyork-city-newyork-asn-7922-session-~8",
        "brd-customer-C-zone-Z",
    ),
    (
        "customer-U[-cc-{COUNTRY}][-st-{country}_{state}][-city-{city}]-sessid-{session}",
        "customer-U-cc-US-st-us_new_york-city-new_york-sessid-~10",
        "customer-U-sessid-~10",
    ),
    (
        "groups-RESIDENTIAL[,session-{session=4}][,country-{COUNTRY}]",
        "groups-RESIDENTIAL,session-~4,country-US",
        "groups-RESIDENTIAL",
    ),
    ("package-1[-country-{country}][-city-{city=+}]", "package-1-country-us-city-new+york", "package-1"),
    ("U-us-{session=4d}", "U-us-~4d", "U-us-~4d"),
    ("U-res-any-sid-{{session=9d}}", "U-res-any-sid-~9d", "U-res-any-sid-~9d"),
    ("u[x]-{SESSION=8}", "u[x]-~8", "u[x]-~8"),
    ("u{}", "u{}", "u{}"),
];

/// What the session's part of a text is, from `~` on.
fn drawn(expected: &str, filling: &Filling<'_>) -> String {
    let Some((before, rest)) = expected.split_once('~') else { return expected.to_owned() };
    let end = rest.find(|sign: char| !sign.is_ascii_digit() && sign != 'd').unwrap_or(rest.len());
    format!("{before}{}{}", filled(&format!("{{session={}}}", &rest[..end]), filling), &rest[end..])
}

#[test]
fn vendors_get_what_they_want() {
    for (template, all, nothing) in VENDORS {
        for (filling, expected) in [(everything(), all), (NOTHING, nothing)] {
            let (got, wanted) = (filled(template, &filling), drawn(expected, &filling));
            assert_eq!(got.to_lowercase(), wanted.to_lowercase(), "{template}");
        }
    }
    assert_eq!(filled("{SESSION}", &NOTHING), filled("{session}", &NOTHING).to_uppercase());
    let number = filled("{session=4d}", &everything()).parse::<u32>().unwrap();
    assert!((1_000..10_000).contains(&number), "{number}");
    assert_eq!(filled("{session=8}", &everything()).len(), 8);
    assert!(filled("{uint32}", &NOTHING).parse::<u32>().is_ok());
}

#[test]
fn a_session_is_itself_and_chance_is_always_another() {
    let of = |session, seed| filled("{session}", &Filling { session, seed, ..NOTHING });
    assert_eq!(of(Some(1), 1), of(Some(1), 2));
    assert_ne!(of(Some(1), 1), of(Some(2), 1));
    assert_ne!(of(None, 1), of(None, 2), "without a session, it is one for each attempt");
    let rand = |seed| filled("{rand}", &Filling { session: Some(1), seed, ..NOTHING });
    assert_ne!(rand(1), rand(2));
    let all: std::collections::HashSet<String> = (0..100_000).map(|session| of(Some(session), 0)).collect();
    assert_eq!(all.len(), 100_000);
}

#[test]
fn a_password_has_blanks_too_and_braces_of_its_own() {
    let login = credentials("me", "pass[_country-{country}]_session-{session=8}_lifetime-10m").filled(&everything());
    assert!(login.password.expose().starts_with("pass_country-us_session-"), "{}", login.password.expose());
    assert!(login.password.expose().ends_with("_lifetime-10m"));
    for own in ["p{a}b[c]{", "{}", "[session]", "{{SECRET}}", "{session=99}", "}{"] {
        assert_eq!(credentials("me", own).filled(&everything()).password.expose(), own);
        assert_eq!(credentials("me", own).blanks().next(), None, "{own}");
    }
}

#[test]
fn what_cannot_always_be_filled_is_refused_and_not_repeated() {
    let refused = |username: &str, password: &str| Credentials::new(username, password).unwrap_err().to_string();
    for username in [
        "u-{sesion}",
        "u[-{country}-{hunter2}]",
        "{session=0}",
        "{session=33}",
        "{country=x}",
        "{city=/}",
        "[-{city=-}]",
    ] {
        let error = refused(username, "");
        assert!(error.contains("none of {session}") && !error.contains("hunter2"), "{username}: {error}");
    }
    assert!(refused("u-{country}", "").contains("in brackets"));
    assert!(refused("u", "hunter2-{city}").contains("in brackets"));
    let long = format!("{}{{session=32}}", "x".repeat(Credentials::MAX - 25));
    assert!(refused(&long, "").contains("once its blanks are filled"));
    assert_eq!(filled(&long[10..], &NOTHING).len(), Credentials::MAX - 3);
}

#[test]
fn a_chain_fills_every_hop_and_stays_the_member_that_it_is() {
    let chain: Endpoint = "socks5://a-{session}:p@a.example -> http://b[-{country}]:p@b.example".parse().unwrap();
    assert!(chain.is_template() && chain.has_blank(Blank::Country) && !chain.has_blank(Blank::City));
    let filled = chain.filled(&everything());
    assert_eq!(filled.credentials.as_ref().unwrap().username.as_ref(), "b-us");
    assert!(!filled.is_template() && filled.key() != chain.key());
    assert_eq!(chain.to_string(), "socks5://a-{session}:***@a.example:1080 -> http://b[-{country}]:***@b.example:80");
    assert_eq!(chain.to_string().replace("***", "p").parse::<Endpoint>().unwrap(), chain);
    assert_eq!(chain.to_url().parse::<Endpoint>().unwrap(), chain);
}

#[test]
fn who_comes_out_elsewhere_at_each_attempt_is_known() {
    for (login, without, within) in [
        ("me[-session-{session}]:p", true, false),
        ("me-{session}:p", true, false),
        ("me-{rand}:p", true, true),
        ("me-{session}-{rand}:p", true, false),
        ("me[-country-{country}]:p", false, false),
        ("me:p", false, false),
    ] {
        let endpoint: Endpoint = format!("http://{login}@h:1").parse().unwrap();
        assert_eq!((endpoint.is_drawn_anew(false), endpoint.is_drawn_anew(true)), (without, within), "{login}");
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_nobody_says_more_than_the_blank(
        template in "[a-z{}\\[\\]=-]{0,8}(\\[-\\{(country|city|state=\\+|asn)\\}\\]|\\{session\\}|\\{(rand|x)=4d?\\}){0,3}[}\\]a-z]{0,4}",
        named in "\\PC{0,80}",
        session in prop::option::of(any::<u64>()),
        seed in any::<u64>(),
    ) {
        if let Ok(login) = Credentials::new(&template, &template) {
            let filling = Filling {
                session,
                seed,
                country: "DE".parse().ok(),
                state: Some(&named),
                city: Some(&named),
                asn: Some(&named),
            };
            let filled = login.filled(&filling);
            prop_assert!(Credentials::new("", filled.password.expose()).is_ok());
            prop_assert!(filled.username.len() <= Credentials::MAX);
            let is_own = |sign: char| template.contains(sign);
            prop_assert!(filled.username.chars().all(|sign| sign.is_ascii_alphanumeric() || sign == '_' || is_own(sign)));
        }
    }
}

#[test]
fn an_autonomous_system_is_a_number() {
    let of = |asn| filled("me[-asn-{asn}]", &Filling { asn: Some(asn), ..NOTHING });
    assert_eq!(of("7922"), "me-asn-7922");
    for other in ["", "AS7922", "79-22", "12345678901"] {
        assert_eq!(of(other), "me", "{other}");
    }
}
