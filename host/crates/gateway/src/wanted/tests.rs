use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proxywhirl_core::{Anonymity, Scheme};
use proxywhirl_net::http1::Headers;

use super::*;

const LIMITS: Limits = Limits { attempts: 5, deadline: Duration::from_mins(2) };

/// What is wanted, in one line.
fn told(wanted: &Wanted) -> String {
    let mut words: Vec<String> = Vec::new();
    if let Some(session) = wanted.session {
        let names = ["7", "X", "abc", "my_1", "sgn34f3e", "1234", "947045456", "37", "Account"];
        let name = names.into_iter().find(|name| session_hash(name) == session);
        words.push(format!("session {}", name.unwrap_or("another")));
    }
    let Stick { lifetime, idle, strict, renew, .. } = wanted.stick;
    words.extend(lifetime.map(|life| format!("life {life:?}")));
    words.extend(idle.map(|idle| format!("idle {idle:?}")));
    words.extend(strict.map(|strict| if strict { "strict".to_owned() } else { "flexible".to_owned() }));
    words.extend(renew.then(|| "rotate".to_owned()));
    words.extend(wanted.attempts.map(|attempts| format!("attempts {attempts}")));
    words.extend(wanted.deadline.map(|deadline| format!("within {deadline:?}")));
    if let Some(filter) = &wanted.filter {
        words.extend(filter.countries().iter().map(ToString::to_string));
        words.extend(filter.tags().iter().map(ToString::to_string));
        words.extend(filter.schemes().iter().map(|scheme| scheme.as_str().to_owned()));
        words.extend(filter.names().iter().map(ToString::to_string));
        if filter.anonymity() != Anonymity::Unknown {
            words.push(filter.anonymity().as_str().to_owned());
        }
        words.extend(filter.unwanted().map(|unwanted| format!("not {unwanted}")));
    }
    words.join(" ")
}

fn headers(fields: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in fields {
        headers.append(name, value).unwrap();
    }
    headers
}

fn basic(user: &str) -> String {
    format!("Basic {}", STANDARD.encode(user))
}

fn by_user(name: &str) -> Result<Wanted, Mistake> {
    Grammar::default().introduce(name, "", LIMITS).map(|introduced| introduced.wanted)
}

fn by_fields(headers: &mut Headers) -> Result<Wanted, Mistake> {
    take_fields(headers, &Grammar::default(), LIMITS).map(|introduced| introduced.wanted)
}

/// A real example of each vendor's row: dialect, user name, password, who that is (with the password, where that is not `p`),
/// and what it wants.
const VENDORS: &[(Dialect, &str, &str, &str, &str)] = &[
    (
        Dialect::BrightData,
        "brd-customer-hl_1-zone-dc-country-us-state-ny-session-X-dns-remote",
        "p",
        "hl_1",
        "session X US datacenter state NY",
    ),
    (
        Dialect::BrightData,
        "brd-customer-hl_1-zone-Z-country-us-city-sanfrancisco-asn-56386",
        "p",
        "hl_1",
        "US Z asn:56386 city sanfrancisco",
    ),
    (
        Dialect::Oxylabs,
        "customer-U-cc-US-st-us_california-city-st_petersburg-sessid-abc-sesstime-10",
        "p",
        "U",
        "session abc life 600s US city st-petersburg state CA",
    ),
    (Dialect::Oxylabs, "customer-U-cc-DE-sessid_oneip-abc", "p", "U", "session abc strict DE"),
    (
        Dialect::Decodo,
        "user-U-country-us-city-new_york-session-X-sessionduration-30",
        "p",
        "U",
        "session X life 1800s US city new-york",
    ),
    (Dialect::Apify, "groups-RESIDENTIAL,session-my_1,country-US", "p", "auto", "session my_1 US residential"),
    (Dialect::Apify, "auto", "p", "auto", ""),
    (
        Dialect::IpRoyal,
        "anna",
        "pass_country-br_session-sgn34f3e_lifetime-10m",
        "anna pass",
        "session sgn34f3e life 600s BR",
    ),
    (Dialect::IpRoyal, "anna", "pass_country-de,fr_lifetime-7d", "anna pass", "life 604800s DE FR"),
    (
        Dialect::Soax,
        "package-ID-country-us-region-new+york-city-new+york-isp-verizon-sessionid-X-sessionlength-90",
        "p",
        "ID",
        "session X life 90s US city new-york isp verizon state NY",
    ),
    (Dialect::Webshare, "U-us-fr-1234", "p", "U", "session 1234 FR US"),
    (Dialect::Webshare, "U-us-rotate", "p", "U", "rotate US"),
    (Dialect::Webshare, "U-us-city_los_angeles", "p", "U", "US city los-angeles"),
    (Dialect::NetNut, "U-res-any-sid-947045456", "p", "U", "session 947045456 residential"),
    (Dialect::NetNut, "U-mob-nl", "p", "U", "NL mobile"),
    (Dialect::Geonode, "U-country-us-session-X-lifetime-5", "p", "U", "session X life 300s US"),
    (Dialect::Geonode, "U-hardsession-X", "p", "U", "session X strict"),
    (Dialect::Geonode, "U-session-37-sessionttl-30-sessionmode-flex", "p", "U", "session 37 life 1800s flexible"),
    (Dialect::Geonode, "U-session-37-sessionttl-30-sessionmode-norotate", "p", "U", "session 37 life 1800s strict"),
    (Dialect::Geonode, "U-sessid-X-sesstime-7", "p", "U", "session X life 420s"),
    (Dialect::WebScrapingApi, "username=U+country=us", "p", "U", "US"),
    (
        Dialect::Rama,
        "john-country-us-residential-!mobile-pool-x-asn-123",
        "p",
        "john",
        "US asn:123 residential x not mobile",
    ),
    (Dialect::Resin, "Platform.Account", "TOKEN", "Platform TOKEN", "session Account Platform"),
    (Dialect::Resin, "Default.Account", "TOKEN", "Default TOKEN", "session Account"),
    (Dialect::G3, "user+sticky=60s+session_id=abc+rotate=1", "p", "user", "session abc idle 60s rotate"),
];

#[test]
fn every_vendor_is_understood() {
    for (dialect, user, password, base, wanted) in VENDORS.iter().copied() {
        let introduced = dialect.grammar().introduce(user, password, LIMITS).unwrap();
        assert_eq!(told(&introduced.wanted), wanted, "{dialect}: {user}");
        let who = if introduced.password.expose() == "p" {
            introduced.user.to_string()
        } else {
            format!("{} {}", introduced.user, introduced.password.expose())
        };
        assert_eq!(who, base, "{dialect}: {user}");
    }
}

#[test]
fn the_default_takes_every_vendor_that_writes_dashes() {
    for (name, base, wanted) in [
        ("", "", ""),
        ("anna", "anna", ""),
        ("anna-session-7", "anna", "session 7"),
        ("-sid-7", "", "session 7"),
        ("anna-SessionID-7-CC-DE", "anna", "session 7 DE"),
        ("anna-country-de-country-fr", "anna", "DE FR"),
        ("anna-country-fr,de", "anna", "DE FR"),
        ("anna-tag-fast-tag-source:user", "anna", "fast source:user"),
        ("anna-session-7-session-7", "anna", "session 7"),
        ("brd-customer-hl_1-zone-Z-session-7", "hl_1", "session 7 Z"),
        ("customer-U-cc-us", "U", "US"),
        ("user-country-us", "user", "US"),
        ("customer", "customer", ""),
        ("anna-strict-session-7-rotate-1", "anna", "session 7 strict rotate"),
        ("anna-session-7-!strict-rotate-no", "anna", "session 7 flexible"),
        ("anna-!country-us,gb-!tag-slow-!mobile", "anna", "not GB not US not mobile not slow"),
        ("anna-country-!us", "anna", "not US"),
        ("anna-country-uk", "anna", "GB"),
        ("anna-country-us-!city-new_york-city-!Rome", "anna", "US not new-york not rome"),
        ("anna-isp-Verizon_Business-zip-SW1A 1AA-!os-iOS", "anna", "isp verizon-business zip sw1a-1aa not ios"),
        ("anna-state-us_california-!state-ny", "anna", "US state CA not NY"),
        ("anna-anonymity-high-protocol-socks5", "anna", "socks5 elite"),
        ("anna-!protocol-socks", "anna", "http https"),
        ("anna-asn-AS13335-attempts-2-timeout-10", "anna", "attempts 2 within 10s asn:13335"),
        ("anna-timeout-250ms", "anna", "within 250ms"),
        ("anna-state-ny,New York-asn-1-asn-AS1", "anna", "asn:1 state NY"),
        ("anna-!state-ny,ca-!asn-1,2", "anna", "not asn:1 not asn:2 not CA not NY"),
    ] {
        let introduced = Grammar::default().introduce(name, "", LIMITS).unwrap();
        assert_eq!((&*introduced.user, told(&introduced.wanted).as_str()), (base, wanted), "{name}");
    }
    let european = by_user("anna-country-eu").unwrap().filter.unwrap();
    assert_eq!(european.countries().len(), 27);
}

#[test]
fn a_key_or_value_that_cannot_be_is_named() {
    for (name, named) in [
        ("anna-counrty-de", "\"counrty\""),
        ("anna-session", "\"session\": it stands without a value"),
        ("anna-country-germany", "\"germany\""),
        ("anna-session-", "1 to 256 bytes"),
        ("anna-session-a-session-b", "one session"),
        ("anna-tag-a b", "\"a b\""),
        ("my-company", "\"company\""),
        ("anna-session-my-1", "\"1\""),
        ("anna-!session-7", "\"!session\": it cannot be negated"),
        ("anna-!country-!us", "negated twice"),
        ("anna-attempts-6", "\"6\" is not in 1 to 5"),
        ("anna-attempts-0", "\"0\" is not in 1 to 5"),
        ("anna-timeout-3m", "up to 120 s"),
        ("anna-timeout-0", "up to 120 s"),
        ("anna-lifetime-31d", "from 1s to 30d"),
        ("anna-lifetime-soon", "\"soon\" is no time"),
        ("anna-asn-x", "\"x\""),
        ("anna-protocol-ftp", "unknown scheme ftp"),
        ("anna-anonymity-low", "\"low\" is none of"),
        ("anna-sessionmode-x", "none of flex, strict and norotate"),
        ("anna-city-paris-city-rome", "\"city\": a proxy has one city"),
        ("anna-state-ny-st-ca", "\"st\": a proxy has one state"),
        ("anna-asn-1,2", "\"asn\": a proxy has one asn"),
        ("anna-isp-a-carrier-b", "\"carrier\": a proxy has one isp"),
        ("anna-zip-1,2", "a proxy has one zip"),
        ("anna-os-ios,android", "a proxy has one os"),
        ("anna-!city-_", "\"_\" is no city"),
        ("anna-isp-+", "\"+\" is no isp"),
        ("anna-state-._", "\"._\" is no state"),
        ("anna-dns-local", "only remote"),
        ("brd-customer-hl_1-zone-Z-direct", "the key \"direct\": no client can ask to go without a proxy"),
    ] {
        let Err(Mistake::User(why)) = by_user(name) else { unreachable!("{name} was taken") };
        assert!(why.contains(named), "{name}: {why}");
    }
    let other = |dialect: Dialect, user: &str| dialect.grammar().introduce(user, "pass_sesion-1", LIMITS).unwrap_err();
    for (dialect, user, named) in [
        (Dialect::Webshare, "U-germany", "\"germany\""),
        (Dialect::IpRoyal, "anna", "the proxy password has the key \"sesion\""),
        (Dialect::G3, "anna+stickie=1", "\"stickie\""),
        (Dialect::Apify, "anna", "\"anna\""),
        (Dialect::NetNut, "U-res-nowhere", "\"nowhere\""),
    ] {
        let why = other(dialect, user).to_string();
        assert!(why.contains(named) && !why.contains("pass_"), "{dialect}: {why}");
    }
}

#[test]
fn what_there_is_one_of_is_said_once_in_each_place() {
    for (words, named) in [
        ("attempts-2-attempts-3", "\"attempts\""),
        ("timeout-10-timeout-11", "\"timeout\""),
        ("session-7-ttl-1h-lifetime-10m", "\"lifetime\""),
        ("session-7-lifetime-10m-sessionlength-0", "\"sessionlength\""),
        ("session-7-sticky-10-sticky-11", "\"sticky\""),
        ("session-7-strict-!strict", "\"!strict\""),
        ("hardsession-7-!strict", "\"!strict\""),
        ("sessionmode-flex-hardsession-7", "\"hardsession\""),
        ("session-7-sessionmode-flex-oneip", "\"oneip\""),
        ("session-7-!rotate-rotate", "\"rotate\""),
        ("hedge-no-hedge-yes", "\"hedge\""),
        ("explain-!explain", "\"!explain\""),
        ("anonymity-elite-anonymity-anonymous", "\"anonymity\""),
    ] {
        let Err(Mistake::User(why)) = by_user(&format!("anna-{words}")) else { unreachable!("{words} was taken") };
        let told = format!("the key {named}: it was said before with another value");
        assert!(why.contains(&told), "{words}: {why}");
    }
    for (words, wanted) in [
        ("attempts-2-attempts-2", "attempts 2"),
        ("timeout-10-timeout-10s", "within 10s"),
        ("session-7-ttl-1h-lifetime-60", "session 7 life 3600s"),
        ("hardsession-7-strict-oneip-yes", "session 7 strict"),
        ("session-7-sessionlength-0-rotate", "session 7 rotate"),
        ("anonymity-high-anonymity-elite", "elite"),
    ] {
        assert_eq!(told(&by_user(&format!("anna-{words}")).unwrap()), wanted, "{words}");
    }
    let by = |one: &str, two: &str| {
        let user = basic("anna-attempts-1-lifetime-5m-rotate-anonymity-high");
        by_fields(&mut headers(&[
            ("Proxy-Authorization", &user),
            ("ProxyWhirl-Attempts", one),
            ("ProxyWhirl-Attempts", two),
        ]))
    };
    assert!(
        matches!(by("2", "3"), Err(Mistake::Field(why)) if why.contains("ProxyWhirl-Attempts: it was said before"))
    );
    assert_eq!(told(&by("2", "2").unwrap()), "life 300s rotate attempts 2 elite");
    let twice = Wanted::by_words([("lifetime", "10m"), ("ttl", "1h")], LIMITS).unwrap_err();
    assert!(twice.starts_with("ttl: it was said before"), "{twice}");
}

#[test]
fn a_field_goes_before_the_user_name_also_where_it_says_no() {
    let user = basic("anna-session-7-rotate-strict-hedge-lifetime-5m-anonymity-elite");
    let fields = [
        ("Proxy-Authorization", user.as_str()),
        ("ProxyWhirl-Rotate", "no"),
        ("ProxyWhirl-Strict", "no"),
        ("ProxyWhirl-Lifetime", "10m"),
        ("ProxyWhirl-Anonymity", "anonymous"),
    ];
    assert_eq!(told(&by_fields(&mut headers(&fields)).unwrap()), "session 7 life 600s flexible anonymous");
}

#[test]
fn signs_can_be_chosen() {
    let grammar = Grammar::default().with_signs(';', '=');
    let introduced = grammar.introduce("team-a;country=de;strict;session=7", "", LIMITS).unwrap();
    assert_eq!((&*introduced.user, told(&introduced.wanted).as_str()), ("team-a", "session 7 strict DE"));
    let grammar = Grammar::default().with_signs('_', '_').at(Place::Password);
    let introduced = grammar.introduce("team-a", "secret_cc_de", LIMITS).unwrap();
    assert_eq!((&*introduced.user, introduced.password.expose()), ("team-a", "secret"));
    assert!(!format!("{introduced:?}").contains("secret"));
}

#[test]
fn a_name_is_one_however_it_is_written() {
    let said = |key: &str, name: &str| {
        let user = basic(&format!("anna-{key}-{name}-session-7"));
        let field = format!("ProxyWhirl-{key}");
        let by_user = take_fields(&mut headers(&[("Proxy-Authorization", &user)]), &Grammar::default(), LIMITS);
        let fields = [(field.as_str(), name), ("ProxyWhirl-Session", "7")];
        let by_field = take_fields(&mut headers(&fields), &Grammar::default(), LIMITS);
        [by_user, by_field].map(|introduced| introduced.unwrap()).map(|it| (it.session(), it.wanted.filter))
    };
    for key in ["City", "State", "Isp", "Carrier", "Zip", "Os"] {
        for sign in ["", "!"] {
            let said = |name: &str| said(key, &format!("{sign}{name}"));
            let [own, field] = said("new_haven");
            assert_eq!(own, field, "{sign}{key}");
            for other in ["New Haven", "newhaven", "NEW.HAVEN"] {
                assert_eq!(said(other), [own.clone(), own.clone()], "{key}: {sign}{other}");
            }
            assert_ne!(said("haven")[0], own, "{sign}{key}");
        }
    }
    assert_eq!(by_user("anna-city-new_york-city-NewYork"), by_user("anna-city-newyork"));
    assert_eq!(by_user("anna-!city-rome"), by_user("anna-city-!Rome"));
    assert_eq!(by_user("anna-state-us_ny"), by_user("anna-country-us-st-New York"));
}

#[test]
fn a_name_of_another_kind_takes_nothing_away() {
    let user = basic("anna-city-new_york-isp-a-tag-fast");
    let told = |field: &str, value: &str| {
        told(&by_fields(&mut headers(&[("Proxy-Authorization", &user), (field, value)])).unwrap())
    };
    assert_eq!(told("ProxyWhirl-City", "Rome"), "fast city rome isp a");
    assert_eq!(told("ProxyWhirl-Isp", "b"), "fast city new-york isp b");
    assert_eq!(told("ProxyWhirl-City", "!Rome"), "fast city new-york isp a not rome");
    assert_eq!(told("ProxyWhirl-Tag", "slow"), "slow city new-york isp a");
}

#[test]
fn fields_say_it_too_and_go_no_further() {
    let user = basic("anna-session-8-country-us:secret");
    let mut fields = headers(&[
        ("Host", "example.com"),
        ("proxywhirl-session", "7"),
        ("ProxyWhirl-Country", "de, fr"),
        ("PROXYWHIRL-TAG", "fast"),
        ("ProxyWhirl-Tag", "eu, !slow"),
        ("ProxyWhirl-City", "New York"),
        ("ProxyWhirl-Rotate", ""),
        ("ProxyWhirl-Mobile", ""),
        ("ProxyWhirl-!DC", " "),
        ("Proxy-Authorization", &user),
    ]);
    let introduced = take_fields(&mut fields, &Grammar::default(), LIMITS).unwrap();
    assert_eq!(told(&introduced.wanted), "session 7 rotate DE FR eu fast mobile city new-york not datacenter not slow");
    assert_eq!((&*introduced.user, introduced.password.expose()), ("anna", "secret"));
    assert_eq!(fields.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["Host"]);
}

#[test]
fn what_fields_do_not_say_the_user_name_does() {
    let mut fields =
        headers(&[("Proxy-Authorization", &basic("anna-session-7-country-us")), ("ProxyWhirl-Country", "de")]);
    assert_eq!(told(&by_fields(&mut fields).unwrap()), "session 7 DE");
    assert!(fields.is_empty());
}

#[test]
fn a_request_that_says_nothing_is_left_as_it_is() {
    let mut fields = headers(&[("Host", "example.com"), ("Proxy-Connection", "keep-alive")]);
    assert_eq!(by_fields(&mut fields).unwrap(), Wanted::default());
    assert_eq!(fields.len(), 2);
}

#[test]
fn whose_mistake_it_is_decides_the_answer() {
    let by = |name: &str, value: &str| by_fields(&mut headers(&[(name, value)])).unwrap_err();
    assert!(matches!(by("ProxyWhirl-Sesion", "7"), Mistake::Field(why) if why.contains("ProxyWhirl-Sesion")));
    assert!(matches!(by("ProxyWhirl-Country", "Germany"), Mistake::Field(_)));
    assert!(matches!(by("ProxyWhirl-Country", ""), Mistake::Field(_)));
    assert!(matches!(by("ProxyWhirl-", ""), Mistake::Field(_)));
    assert!(
        matches!(by("Proxy-Authorization", &basic("a-sesion-7")), Mistake::User(why) if why.contains("\"sesion\""))
    );
    assert!(matches!(by("Proxy-Authorization", "Digest a=b"), Mistake::User(why) if why.contains("Digest")));
    assert!(matches!(by("Proxy-Authorization", "Basic !"), Mistake::User(_)));
}

#[test]
fn credentials_are_said_once() {
    let [one, other] = ["anna:secret", "berta:secret"].map(basic);
    for (first, second) in [(&one, &other), (&one, &one), (&other, &"Basic !".to_owned())] {
        let fields = [("Proxy-Authorization", first.as_str()), ("proxy-authorization", second.as_str())];
        let why = by_fields(&mut headers(&fields)).unwrap_err();
        assert_eq!(why, Mistake::Field("the field Proxy-Authorization is there more than once".to_owned()));
    }
}

#[test]
fn behind_a_door_only_what_both_want() {
    let words = |words: &[(&str, &str)]| Wanted::by_words(words.iter().copied(), LIMITS).unwrap();
    let door = words(&[("country", "de,us"), ("session", "7"), ("strict", ""), ("attempts", "2")]);
    let both = |own: &[(&str, &str)]| words(own).behind(&door).map(|wanted| told(&wanted));
    assert_eq!(both(&[]).unwrap(), "session 7 strict attempts 2 DE US");
    let own = [("country", "us,fr"), ("session", "X"), ("lifetime", "5m"), ("attempts", "1")];
    assert_eq!(both(&own).unwrap(), "session X life 300s strict attempts 1 US");
    assert_eq!(both(&[("country", "fr")]), None);
    let member: proxywhirl_core::Endpoint = "http://10.0.0.1:80".parse().unwrap();
    assert!(Wanted::default().only(member.key()).filter.is_some());
    assert!(Wanted::by_words([("contry", "de")], LIMITS).unwrap_err().contains("contry: nobody knows it"));
}

#[test]
fn the_hash_of_a_session_never_changes() {
    // What is stored depends on this number: it must be the same in every version.
    assert_eq!(session_hash("7"), session_hash("7"));
    assert_ne!(session_hash("7"), session_hash("8"));
    let session = |user: &str| Grammar::default().introduce(user, "", LIMITS).unwrap().session();
    assert_eq!(session("anna-session-7"), Some(session_hash("7")));
    assert_eq!(session("anna-country-de-session-7-attempts-2"), session("anna-session-7-country-DE"));
    assert_eq!(session("anna-country-de-tag-a-session-7"), session("anna-tag-a-session-7-country-de"));
    assert_ne!(session("anna-country-de-session-7"), session("anna-country-fr-session-7"));
    assert_ne!(session("anna-!mobile-session-7"), session("anna-mobile-session-7"));
    assert_ne!(session("anna-city-paris-session-7"), session("anna-!city-paris-session-7"));
    assert_eq!(session("anna-state-us_ny-session-7"), session("anna-cc-us-state-New York-session-7"));
    assert_ne!(session("anna-state-us_by-session-7"), session("anna-state-de_by-session-7"));
    assert_eq!(session_hash("checkout"), 515_878_789_929_431_076);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_every_key_is_known_or_named(name in ".{0,200}", dialect in 0..Dialect::ALL.len()) {
        let grammar = Dialect::ALL[dialect].grammar();
        for (user, password) in [(name.as_str(), ""), ("anna", name.as_str()), (&name, &name)] {
            if let Err(mistake) = grammar.introduce(user, password, LIMITS) {
                prop_assert!(!mistake.to_string().is_empty());
                prop_assert!(mistake.to_string().len() < 2_000);
            }
        }
    }

    #[test]
    fn no_words_make_it_panic(words in proptest::collection::vec("!?(country|cc|st|city|asn|strict|rotate|sid|lifetime|tag|dc|[a-z0-9_,!]{0,9})", 0..300), dialect in 0..Dialect::ALL.len()) {
        let grammar = Dialect::ALL[dialect].grammar();
        let name = words.join(&grammar.signs().0.to_string());
        if let Ok(introduced) = grammar.introduce(&name, &name, LIMITS) {
            // What a client can make the gateway keep is bounded.
            let filter = introduced.wanted.filter.unwrap_or_default();
            let kept = filter.countries().len() + filter.tags().len() + filter.names().len();
            prop_assert!(kept + filter.unwanted().count() <= 6 * 64);
        }
    }

    #[test]
    fn what_is_written_is_read(session in "[a-z0-9_.]{1,40}", country in "[A-Z]{2}", tag in "[a-z:.]{1,20}") {
        prop_assume!(country != "EU" && super::keys::label(&tag).is_none());
        let wanted = by_user(&format!("x-session-{session}-country-{country}-tag-{tag}")).unwrap();
        prop_assert_eq!(wanted.session, Some(session_hash(&session)));
        let filter = wanted.filter.unwrap();
        prop_assert_eq!(filter.countries(), &[country.parse().unwrap()][..]);
        prop_assert_eq!(filter.tags(), &[tag.parse().unwrap()][..]);
        prop_assert_eq!(filter.schemes(), &[] as &[Scheme]);
    }

    #[test]
    fn no_field_makes_it_panic(name in "[Pp]roxy[Ww]hirl-[A-Za-z]{0,12}", value in "[ -~]{0,80}") {
        let mut fields = headers(&[(&name, &value)]);
        if by_fields(&mut fields).is_ok() {
            prop_assert!(fields.is_empty());
        }
    }
}
