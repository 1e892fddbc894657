use proptest::prelude::*;

use super::*;

/// A wish in one line.
fn told(wanted: &Wanted) -> String {
    let mut text = String::new();
    if let Some(session) = wanted.session {
        text.push_str(if session == session_hash("7") { "session 7 " } else { "another session " });
    }
    if let Some(filter) = &wanted.filter {
        for country in filter.countries() {
            text.push_str(&format!("{country} "));
        }
        for tag in filter.tags() {
            text.push_str(&format!("{tag} "));
        }
    }
    text.trim_end().to_owned()
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

#[test]
fn a_user_name_says_what_is_wanted() {
    for (name, wanted) in [
        ("", ""),
        ("anna", ""),
        ("anna-session-7", "session 7"),
        ("-sid-7", "session 7"),
        ("anna-sessid-7-country-de", "session 7 DE"),
        ("anna-SessionID-7-CC-DE", "session 7 DE"),
        ("anna-country-de-country-fr", "DE FR"),
        ("anna-country-fr,de", "DE FR"),
        ("anna-tag-fast-tag-source:user", "fast source:user"),
        ("anna-session-7-session-7", "session 7"),
    ] {
        assert_eq!(told(&Wanted::by_user(name).unwrap()), wanted, "{name}");
    }
}

#[test]
fn a_key_or_value_that_cannot_be_is_named() {
    for (name, named) in [
        ("anna-counrty-de", "\"counrty\""),
        ("anna-session", "\"session\" without a value"),
        ("anna-country-germany", "\"germany\""),
        ("anna-session-", "1 to 256 bytes"),
        ("anna-session-a-session-b", "one session"),
        ("anna-tag-a b", "\"a b\""),
        ("my-company", "\"company\""),
    ] {
        let Err(Mistake::User(why)) = Wanted::by_user(name) else { unreachable!("{name} was taken") };
        assert!(why.contains(named), "{name}: {why}");
    }
}

#[test]
fn fields_say_it_too_and_go_no_further() {
    let user = basic("anna-session-8-country-us:secret");
    let mut fields = headers(&[
        ("Host", "example.com"),
        ("proxywhirl-session", "7"),
        ("ProxyWhirl-Country", "de, fr"),
        ("PROXYWHIRL-TAG", "fast"),
        ("ProxyWhirl-Tag", "eu"),
        ("Proxy-Authorization", &user),
    ]);
    assert_eq!(told(&Wanted::by_fields(&mut fields).unwrap()), "session 7 DE FR eu fast");
    assert_eq!(fields.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["Host"]);
}

#[test]
fn what_fields_do_not_say_the_user_name_does() {
    let mut fields =
        headers(&[("Proxy-Authorization", &basic("anna-session-7-country-us")), ("ProxyWhirl-Country", "de")]);
    assert_eq!(told(&Wanted::by_fields(&mut fields).unwrap()), "session 7 DE");
    assert!(fields.is_empty());
}

#[test]
fn a_request_that_says_nothing_is_left_as_it_is() {
    let mut fields = headers(&[("Host", "example.com"), ("Proxy-Connection", "keep-alive")]);
    assert_eq!(Wanted::by_fields(&mut fields).unwrap(), Wanted::default());
    assert_eq!(fields.len(), 2);
}

#[test]
fn whose_mistake_it_is_decides_the_answer() {
    let by = |name: &str, value: &str| Wanted::by_fields(&mut headers(&[(name, value)])).unwrap_err();
    assert!(matches!(by("ProxyWhirl-Sesion", "7"), Mistake::Field(why) if why.contains("ProxyWhirl-Sesion")));
    assert!(matches!(by("ProxyWhirl-Country", "Germany"), Mistake::Field(_)));
    assert!(matches!(by("ProxyWhirl-", ""), Mistake::Field(_)));
    assert!(
        matches!(by("Proxy-Authorization", &basic("a-sesion-7")), Mistake::User(why) if why.contains("\"sesion\""))
    );
    assert!(matches!(by("Proxy-Authorization", "Digest a=b"), Mistake::User(why) if why.contains("Digest")));
    assert!(matches!(by("Proxy-Authorization", "Basic !"), Mistake::User(_)));
}

#[test]
fn the_hash_of_a_session_never_changes() {
    // What is stored depends on this number: it must be the same in every version.
    assert_eq!(session_hash("7"), session_hash("7"));
    assert_ne!(session_hash("7"), session_hash("8"));
    assert_eq!(session_hash("checkout"), 515_878_789_929_431_076);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_every_key_is_known_or_named(name in ".{0,200}") {
        if let Err(mistake) = Wanted::by_user(&name) {
            prop_assert!(!mistake.to_string().is_empty());
        }
    }

    #[test]
    fn what_is_written_is_read(session in "[a-z0-9_.]{1,40}", country in "[A-Z]{2}", tag in "[a-z:.]{1,20}") {
        let wanted = Wanted::by_user(&format!("x-session-{session}-country-{country}-tag-{tag}")).unwrap();
        prop_assert_eq!(wanted.session, Some(session_hash(&session)));
        let filter = wanted.filter.unwrap();
        prop_assert_eq!(filter.countries(), &[country.parse().unwrap()][..]);
        prop_assert_eq!(filter.tags(), &[tag.parse().unwrap()][..]);
    }

    #[test]
    fn no_field_makes_it_panic(name in "[Pp]roxy[Ww]hirl-[A-Za-z]{0,12}", value in "[ -~]{0,80}") {
        let mut fields = headers(&[(&name, &value)]);
        if Wanted::by_fields(&mut fields).is_ok() {
            prop_assert!(fields.is_empty());
        }
    }
}
