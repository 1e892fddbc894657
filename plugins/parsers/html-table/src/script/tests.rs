#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;

fn written(code: &str) -> String {
    Scripts::default().run(code.as_bytes())
}

fn value(expression: &str) -> String {
    written(&format!("document.write({expression})"))
}

#[test]
fn expressions_are_what_javascript_makes_of_them() {
    for (expression, expected) in [
        ("8080", "8080"),
        ("0x1F", "31"),
        ("'a' + \"b\"", "ab"),
        ("1 + 2 * 3 - 4 / 2", "5"),
        ("'p' + 1 + 2", "p12"),
        ("1 + 2 + 'p'", "3p"),
        ("'80' * 1", "80"),
        ("(5^3) + '' + (9^1)", "68"),
        ("1^2+3", "4"),
        ("6&3|8", "10"),
        ("~5", "-6"),
        ("-(-7) % 4", "3"),
        ("4294967296 ^ 5", "5"),
        ("'\\x38\\u0030<\\/b>\\'\"'", "80</b>'\""),
        ("atob('ODA4MA==')", "8080"),
        ("window.atob(\"ODA\")", "80"),
        ("Base64.decode('MS4yLjMuNA==')", "1.2.3.4"),
        ("String.fromCharCode(56, 48)", "80"),
        ("parseInt('1f', 16) + parseInt('8px')", "39"),
        ("unescape('%38%30')", "80"),
        ("/* a */ 80 /* b */", "80"),
    ] {
        assert_eq!(value(expression), expected, "{expression}");
    }
}

#[test]
fn what_is_not_understood_writes_nothing() {
    for expression in [
        "",
        "x",
        "1/2",
        "1/0",
        "f(1)",
        "a.b",
        "'open",
        "1 &&",
        "1+",
        "(1",
        "1.5",
        "9223372036854775807*2",
        "'x'*2",
        "[1]",
        "atob('!')",
        "atob('/w==')",
        "parseInt('x')",
        "parseInt('1', 99)",
        "String.fromCharCode(-1)",
        "unescape('%é')",
    ] {
        assert_eq!(value(expression), "", "{expression}");
    }
}

#[test]
fn variables_are_known_in_later_scripts_until_they_are_set_to_something_else() {
    let mut scripts = Scripts::default();
    assert_eq!(scripts.run(b"<!--\nvar a1=5^3, b2 = a1^9;let c='x'\nd = function(){ return 1 };//-->"), "");
    assert_eq!(scripts.run(b"document.write(\":\" + (a1^b2) + c)"), ":9x");
    assert_eq!(scripts.run(b"a1 = window.x; if (a1 == 2) { c += 1 } document.write(b2); document.write(a1)"), "15");
}

#[test]
fn a_packed_script_is_unpacked() {
    let packed = r"eval(function(p,r,o,x,y,s){y=function(c){return(c<r?'':y(parseInt(c/r)))+((c=c%r)>35?String.fromCharCode(c+29):c.toString(36))};if(!''.replace(/^/,String)){while(o--){s[y(o)]=x[o]||y(o)}x=[function(y){return s[y]}];y=function(){return'\\w+'};o=1};while(o--){if(x[o]){p=p.replace(new RegExp('\\b'+y(o)+'\\b','g'),x[o])}}return p}('a=3^0;b=1^a;',60,12,'40^8^^^^^^^^^Port^Xor'.split('\u005e'),0,{})) document.write(Port+':'+Xor)";
    assert_eq!(written(packed), "43:35");
}

#[test]
fn depth_and_length_are_bounded() {
    assert_eq!(value(&format!("{}1{}", "(".repeat(20), ")".repeat(20))), "1");
    for mark in ["(", "-", "~", "atob("] {
        assert_eq!(value(&mark.repeat(100_000)), "");
    }
    let doubling = format!("a='x'; {} document.write(a)", "a=a+a;".repeat(64));
    assert_eq!(written(&doubling), "");
    assert_eq!(written(&"document.write('0123456789')\n".repeat(10_000)).len(), MAX_WRITTEN);
}

proptest! {
    #[test]
    fn bytes_of_any_kind_never_panic(code in any::<Vec<u8>>()) {
        Scripts::default().run(&code);
    }

    #[test]
    fn words_in_any_order_never_panic(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "var ", "a", "=", "1", "9223372036854775807", "'x'", "\"", "'", "+", "-", "*", "/", "%", "^", "&", "|", "~",
                "(", ")", ",", ";", "atob(", "parseInt(", "String.fromCharCode(", "document.write(", "eval(", "function(",
                "}(", "0x", "\\", "é", "\n", ".split(",
            ]),
            0..60,
        ),
    ) {
        Scripts::default().run(words.concat().as_bytes());
    }

    #[test]
    fn a_port_survives_being_hidden_by_xor(port in 1_u16.., keys in any::<[u16; 4]>()) {
        let digits: Vec<_> = port.to_string().bytes().map(|digit| digit - b'0').collect();
        let mut script: String = (0..4).map(|place| format!("v{place}={};", keys[place])).collect();
        script += "document.write(':'";
        for (place, digit) in digits.iter().enumerate() {
            let key = place % 4;
            script += &format!("+(v{key}^{})", keys[key] ^ u16::from(*digit));
        }
        prop_assert_eq!(written(&(script + ")")), format!(":{port}"));
    }
}
