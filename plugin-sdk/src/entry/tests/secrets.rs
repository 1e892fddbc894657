use super::lines::refusals;
use super::*;

#[test]
fn neither_reason_nor_excerpt_tells_a_password() {
    for text in [
        "http://me:secret@1.2.3.4:0",
        "http://me:secret@nowhere",
        "http://me:a@secret",
        "me:secret@1.2.3.4:x",
        "me:secret:1.2.3.4:0",
        "1.2.3.4:0@me:12345secret",
        "1.2.3.4:0:me:secret",
        "1.2.3.4:99999:me:secret:more",
        "vmess://me:secret@h.example:80",
        "http 1.2.3.4 0 me secret",
        "host:port:me:secret",
        "http://me:a@secret@nowhere",
        "gate:12secret:me:pass",
        "1.2.3.4:0@me:secret",
        "[::1:80:me:secret",
        "[::1]:0@me:secret",
        "[::1]x:me:secret",
        "http+socks5://h.example:0#me:secret",
        "ss://secretsecret@h.example:0",
        "vmess://secret",
        "aws://ID:\"secret\"@eu-west-1",
        "1.2.3.4:0[https://vendor.example/?k=secret]",
        "http://1.2.3.4:0/?secret",
        "export HTTP_PROXY=http://me:secret@1.2.3.4:0",
        "curl -x http://1.2.3.4:0 -U me:secret",
        "1.2.3.4;0;me;secret",
        "1.2.3.4\t0\tme\tsecret",
        "parent 1000 socks5 1.2.3.4 0 me secret",
        "cache_peer h.example parent 0 0 login=me:secret",
        "server: 1.2.3.4, password: secret",
    ] {
        let reason = refusals(text).join("; ");
        assert!(!reason.is_empty(), "{text}");
        assert!(!reason.contains("secret"), "{text}: {reason}");
        let excerpt = masked(text);
        assert!(!excerpt.contains("secret"), "{text}: {excerpt}");
        assert!(excerpt.contains("***"), "{text}: {excerpt}");
    }
}

#[test]
fn an_excerpt_shows_what_is_no_secret() {
    for text in [
        "1.2.3.4:70000",
        "Array",
        "1.2.3.4:80 US",
        "1.2.3.4:80:US",
        "a proxy list",
        "http 1.2.3.4 70000",
        "1.2.3.4;0",
        "1.2.3.4:0 US-H-S! +",
    ] {
        assert_eq!(masked(text), text);
    }
    assert_eq!(masked("1.2.3.4:0:me:secret"), "1.2.3.4:0:me:***");
    assert_eq!(masked("http://me:secret@1.2.3.4:0"), "http://me:***@1.2.3.4:0");
}

proptest! {
    #[test]
    fn a_password_is_hidden_in_every_form_that_is_refused(
        password in "[a-zA-Z0-9!#$&*+=_{}.~-]{3}S3CRET[a-zA-Z0-9!#$&*+=_{}.~-]{0,3}",
        form in 0_usize..10,
    ) {
        let text = match form {
            0 => format!("http://me:{password}@1.2.3.4:0"),
            1 => format!("me:{password}@h.example:70000"),
            2 => format!("1.2.3.4:0:me:{password}"),
            3 => format!("me:{password}:1.2.3.4:0"),
            4 => format!("1.2.3.4:0@me:{password}"),
            5 => format!("socks5://h.example:0:me:{password}"),
            6 => format!("socks5 1.2.3.4 0 me {password}"),
            7 => format!("http+socks5://1.2.3.4:0#me:{password}"),
            8 => format!("1.2.3.4|0|me|{password}"),
            _ => format!("ALL_PROXY='http://me:{password}@1.2.3.4:0'"),
        };
        let reasons = refusals(&text).join("; ");
        prop_assert!(!reasons.is_empty() && !reasons.contains("S3CRET"), "{}: {}", text, reasons);
        let excerpt = masked(&text);
        prop_assert!(!excerpt.contains("S3CRET"), "{}: {}", text, excerpt);
    }
}
