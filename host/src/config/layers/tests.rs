use super::super::schema::keys;
use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Environment::of(owned, Path::new("/nowhere/.env")).unwrap()
}

#[test]
fn several_tables_of_one_name_have_their_own_mistakes_and_hide_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxywhirl.toml");
    let ban = |keys: &str| format!("[[bans]]\nname = \"x\"\n{keys}\n");
    let users = "[[users]]\nname = \"a\"\npassword_env = \"N1\"\n[[users]]\nname = \"a\"\npassword_env = \"N2\"\n";
    let sites = "[[limits.sites]]\nsite = \"a.test\"\nrate = -1\n[[limits.sites]]\nsite = \"a.test\"\nrate = 0\n";
    for (text, lines) in [
        (ban("body = \"(\"\nban = \"1m\"") + &ban("body = \"[\"\nban = \"1m\""), vec![3, 7]),
        (ban("status = \"4xx\"\nban = \"10m\"") + &ban("ban = \"1m\""), vec![3, 5]),
        (ban("status = \"4x\"\nban = \"1m\"") + &ban("status = \"5x\"\nban = \"1m\""), vec![3, 7]),
        (ban("status = \"403\"\nban = \"1m\"") + &ban("status = \"5x\"\nban = \"1m\""), vec![7]),
        (
            ban("ban = \"0s\"\nstatus = \"403\"") + &ban("status = \"9\"\nban = \"1m\"") + &ban("ban = \"1m\""),
            vec![3, 7, 9],
        ),
        (users.to_owned(), vec![3, 6]),
        (sites.to_owned(), vec![3, 5, 6]),
    ] {
        let last = text.lines().count() + 2;
        std::fs::write(&file, format!("{text}[health]\nthreshold = -1\n")).unwrap();
        let layers = Layers::read(Some(&file), &environment(&[])).unwrap();
        let mistakes = layers.mistakes();
        let at = |mistake: &Mistake| match &mistake.origin {
            Some(Origin::File(_, spot)) => spot.line,
            _ => 0,
        };
        let told: Vec<usize> = mistakes.iter().map(at).collect();
        assert_eq!(told, [&lines[..], &[last]].concat(), "{text}: {mistakes:#?}");
    }
}

#[test]
fn every_key_is_set_by_the_file_and_by_its_variable() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxywhirl.toml");
    for key in keys() {
        let (value, _) = super::super::reference::shown(&key.steps()).unwrap();
        let text = value.as_str().map_or_else(|| serde_json::to_string(&value).unwrap(), str::to_owned);
        let mut alone = value;
        for name in key.path.iter().rev() {
            alone = Value::Table([(name.clone(), alone)].into_iter().collect());
        }
        std::fs::write(&file, toml::to_string(&alone).unwrap()).unwrap();
        let by_file = Layers::read(Some(&file), &environment(&[])).unwrap();
        let variable = key.variable();
        let by_variable = Layers::read(Some(Path::new("/dev/null")), &environment(&[(&variable, &text)])).unwrap();
        // What is said of a target means nothing without its URL, which is another key.
        let is_fine = |layers: &Layers| {
            layers.written().err().is_none_or(|error| error.reason == "check.target has no url, which it needs")
        };
        assert!(is_fine(&by_file) && is_fine(&by_variable), "{variable}");
        let said = |layers: &Layers| layers.said(key).map(|said| (said.value(), said.key_at.clone()));
        let (by_file, by_variable) = (said(&by_file), said(&by_variable));
        assert!(by_file.is_some() && by_variable.is_some(), "{variable}={text}: {by_file:?} {by_variable:?}");
        let ((file_value, at_file), (variable_value, at_variable)) = (by_file.unwrap(), by_variable.unwrap());
        assert!(matches!(at_file, Origin::File(..)) && matches!(at_variable, Origin::Variable(..)), "{variable}");
        // One text where there may be several; a path in a variable is relative to another folder.
        let one = Value::Array(vec![file_value.clone()]);
        let has_path = key.is_path || key.dotted() == "store.url";
        assert!(
            file_value == variable_value || one == variable_value || has_path,
            "{variable}: {file_value} {variable_value}"
        );
    }
}

#[test]
fn of_two_names_for_a_key_the_environment_goes_first_and_then_the_short_one() {
    let folder = tempfile::tempdir().unwrap();
    let dot_env = folder.path().join(".env");
    for (process, written, expected) in [
        ("PROXYWHIRL_STRATEGY", "PROXYWHIRL_STRATEGY_NAME", "process"),
        ("PROXYWHIRL_STRATEGY_NAME", "PROXYWHIRL_STRATEGY", "process"),
    ] {
        std::fs::write(&dot_env, format!("{written}=written\n")).unwrap();
        let variables = [(process.to_owned(), "process".to_owned())].into_iter();
        let layers = Layers::read(Some(Path::new("/dev/null")), &Environment::of(variables, &dot_env).unwrap());
        assert_eq!(layers.unwrap().settings().unwrap().strategy.name, expected, "{process}");
    }
    let both = [("PROXYWHIRL_STRATEGY", "short"), ("PROXYWHIRL_STRATEGY_NAME", "long")];
    let layers = Layers::read(Some(Path::new("/dev/null")), &environment(&both)).unwrap();
    assert_eq!(layers.settings().unwrap().strategy.name, "short", "as the command line has it");
}

#[test]
fn a_file_that_says_nothing_has_no_keys() {
    let has_keys = |text: &str, file: &str| Layers::of_text(text, Path::new(file)).unwrap().has_keys;
    for (text, file) in [
        ("", "p.toml"),
        (" \n\t\n", "p.toml"),
        ("# listen = \"127.0.0.1:1\"\n", "p.toml"),
        ("", "p.yaml"),
        ("# nothing\n", "p.yml"),
        ("{}", "p.json"),
        ("{\"$schema\": \"./proxywhirl.schema.json\"}", "p.json"),
    ] {
        assert!(!has_keys(text, file), "{file}: {text:?}");
    }
    assert!(has_keys("[gateway]\n", "p.toml") && has_keys("listen: a:1\n", "p.yaml"));
    // What variables say is not in the file.
    let set = [("PROXYWHIRL_GATEWAY_ATTEMPTS", "7")];
    assert!(!Layers::read(Some(Path::new("/dev/null")), &environment(&set)).unwrap().has_keys);
}

#[test]
fn a_file_may_name_its_schema() {
    let text = r#"{"$schema": "./proxywhirl.schema.json", "gateway": {"attempts": 7}}"#;
    let layers = Layers::of_text(text, Path::new("proxywhirl.json")).unwrap();
    assert_eq!(layers.settings().unwrap().gateway.attempts, 7);
}

#[test]
fn the_environment_goes_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxywhirl.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:1\"\n[gateway]\nattempts = 3\nconnect_timeout = \"2s\"\n").unwrap();
    let variables = [
        ("PROXYWHIRL_GATEWAY_ATTEMPTS", "7"),
        ("PROXYWHIRL_GATEWAY_RETRY_STATUS", "[502]"),
        ("PROXYWHIRL_CATALOGUE_ENABLE", "tag:github, geonode-http"),
        ("PROXYWHIRL_CONTROL", "off"),
        ("PROXYWHIRL_USERS", "[{\"name\": \"anna\", \"password_env\": \"PATH\"}]"),
        ("PROXYWHIRL_PLUGINS_WATCH", "no"),
    ];
    let layers = Layers::read(Some(&file), &environment(&variables)).unwrap();
    let settings = layers.settings().unwrap();
    assert_eq!(settings.gateway.attempts, 7);
    assert_eq!(settings.gateway.connect_timeout.as_secs(), 2);
    assert_eq!(settings.control, super::super::Socket::Off);
    assert_eq!((settings.access.users.len(), settings.plugins.watch), (1, false));
    let origin = |name: &str| {
        let key = keys().iter().find(|key| key.dotted() == name).unwrap();
        layers.said(key).unwrap().key_at.to_string()
    };
    assert_eq!(origin("gateway.attempts"), "environment variable PROXYWHIRL_GATEWAY_ATTEMPTS");
    assert_eq!(origin("gateway.connect_timeout"), format!("{}:4", file.display()));
    assert_eq!(origin("listen"), format!("{}:1", file.display()));
}

#[test]
fn a_variable_sets_lists_of_numbers_and_whole_tables() {
    let of = |variables: &[(&str, &str)]| {
        Layers::read(Some(Path::new("/dev/null")), &environment(variables)).unwrap().settings()
    };
    for text in ["500,501", "500, 501", "[500, 501]"] {
        let settings = of(&[("PROXYWHIRL_GATEWAY_RETRY_STATUS", text)]).unwrap();
        assert_eq!(settings, of(&[("PROXYWHIRL_GATEWAY_RETRY_STATUS", "[500,501]")]).unwrap(), "{text}");
    }
    assert_eq!(of(&[("PROXYWHIRL_GATEWAY_RETRY_STATUS", "500")]), of(&[("PROXYWHIRL_GATEWAY_RETRY_STATUS", "[500]")]));
    let table = of(&[("PROXYWHIRL_LIMITS_PER_PROXY", "{\"rate\": 6, \"burst\": 2}")]).unwrap();
    let keys = of(&[("PROXYWHIRL_LIMITS_PER_PROXY_RATE", "6"), ("PROXYWHIRL_LIMITS_PER_PROXY_BURST", "2")]).unwrap();
    assert_eq!(table, keys);
    let error = of(&[("PROXYWHIRL_LIMITS_PER_PROXY", "6")]).unwrap_err().to_string();
    assert!(error.contains("PROXYWHIRL_LIMITS_PER_PROXY: limits.per_proxy: "), "{error}");
}

#[test]
fn a_hint_names_the_variable_of_what_is_missing() {
    let set = [("PROXYWHIRL_CHECK_TARGET_STATUS", "200")];
    let layers = Layers::read(Some(Path::new("/dev/null")), &environment(&set)).unwrap();
    let hint = layers.settings().unwrap_err().hint.unwrap();
    assert!(hint.starts_with("for example PROXYWHIRL_CHECK_TARGET_URL=http"), "{hint}");
}

#[test]
fn who_lets_nobody_in_needs_no_passwords_of_users() {
    let text = "[[users]]\nname = \"anna\"\npassword_env = \"PROXYWHIRL_NO_SUCH\"\n[gateway]\nattempts = 3\n";
    let layers = Layers::of_text(text, Path::new("p.toml")).unwrap();
    assert!(layers.settings().unwrap_err().reason.contains("the environment has no PROXYWHIRL_NO_SUCH"));
    assert_eq!(layers.settings_without_users().unwrap().gateway.attempts, 3);
}

#[test]
fn where_the_gateway_is_can_be_read_whatever_is_wrong_elsewhere() {
    let text = "speed = 3\ncontrol.socket = \"run/a.sock\"\nstore.url = \"a.db\"\n[gateway]\nattempts = \"x\"\n";
    let layers = Layers::of_text(text, Path::new("/etc/p.toml")).unwrap();
    assert!(layers.settings().is_err());
    let settings = layers.settings_of_place().unwrap();
    assert_eq!(settings.control.path(), Some(Path::new("/etc/run/a.sock")));
    assert!(settings.store.is_some());
    let variables = [("PROXYWHIRL_CONTROL", "b.sock"), ("PROXYWHIRL_GATEWAY_ATTEMPTS", "x")];
    let layers = Layers::read(Some(Path::new("/dev/null")), &environment(&variables)).unwrap();
    assert!(layers.settings().is_err() && layers.settings_of_place().unwrap().control.path().is_some());
    let layers = Layers::of_text("control.soket = \"a.sock\"\n", Path::new("p.toml")).unwrap();
    assert!(layers.settings_of_place().unwrap_err().reason.contains("soket"));
}

#[test]
fn a_mistake_is_told_where_it_was_made() {
    let error = |variables: &[(&str, &str)]| {
        let layers = Layers::read(Some(Path::new("/dev/null")), &environment(variables)).unwrap();
        layers.settings().unwrap_err().to_string()
    };
    insta::assert_snapshot!(error(&[("PROXYWHIRL_GATEWAY_ATTEMPTS", "many")]), @r#"configuration in environment variable PROXYWHIRL_GATEWAY_ATTEMPTS: gateway.attempts: "many" is not a whole number from 1 to 4294967295"#);
    insta::assert_snapshot!(error(&[("PROXYWHIRL_GATEWAY_ATTEMPTS", "0")]), @"configuration in environment variable PROXYWHIRL_GATEWAY_ATTEMPTS: gateway.attempts must be at least 1");
    insta::assert_snapshot!(error(&[("PROXYWHIRL_GATEWAY_REQUEST_DEADLINE", "500000000000years")]), @r#"configuration in environment variable PROXYWHIRL_GATEWAY_REQUEST_DEADLINE: gateway.request_deadline: "500000000000years" is longer than ten years, the longest duration"#);
    insta::assert_snapshot!(error(&[("PROXYWHIRL_GATEWAY_CONNECT_TIMEOUT", "soon")]), @r#"configuration in environment variable PROXYWHIRL_GATEWAY_CONNECT_TIMEOUT: gateway.connect_timeout: "soon" is not a duration such as "5s" or "1m 30s""#);
    insta::assert_snapshot!(error(&[("PROXYWHIRL_SOURCES", "own.txt")]), @"configuration in environment variable PROXYWHIRL_SOURCES: sources: this is not a list of tables, written as JSON");
    let layers = Layers::read(
        Some(Path::new("/dev/null")),
        &environment(&[("PROXYWHIRL_GATEWAY_ATTEMPS", "1"), ("PROXYWHIRL_LOG", "x")]),
    )
    .unwrap();
    assert_eq!(
        layers.strangers,
        [("PROXYWHIRL_GATEWAY_ATTEMPS".to_owned(), Some("PROXYWHIRL_GATEWAY_ATTEMPTS".to_owned()))]
    );
}

#[test]
fn dot_env_goes_after_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    std::fs::write(&file, "# mine\nPROXYWHIRL_GATEWAY_ATTEMPTS=3\nexport PROXYWHIRL_LISTEN='127.0.0.1:9'\n").unwrap();
    let process = [("PROXYWHIRL_GATEWAY_ATTEMPTS".to_owned(), "4".to_owned())];
    let layers =
        Layers::read(Some(Path::new("/dev/null")), &Environment::of(process.into_iter(), &file).unwrap()).unwrap();
    let settings = layers.settings().unwrap();
    assert_eq!((settings.gateway.attempts, settings.listen.as_deref()), (4, Some("127.0.0.1:9")));
    std::fs::write(&file, "\u{feff}PROXYWHIRL_GATEWAY_ATTEMPTS=3\n").unwrap();
    let marked = Environment::of(std::iter::empty(), &file).unwrap();
    assert_eq!(marked.get("PROXYWHIRL_GATEWAY_ATTEMPTS"), Some("3"));
    std::fs::write(&file, "SECRET PASSWORD\n").unwrap();
    let error = Environment::of(std::iter::empty(), &file).unwrap_err().to_string();
    assert!(error.contains(".env") && !error.contains("SECRET"), "{error}");
}

#[test]
fn files_are_found_in_their_order() {
    let of = |variables: &[(&str, &str)]| {
        folders(&environment(variables)).iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(of(&[("HOME", "/home/anna")]), ["", "/home/anna/.config/proxywhirl", "/etc/proxywhirl"]);
    assert_eq!(of(&[("HOME", "/home/anna"), ("XDG_CONFIG_HOME", "/x")])[1], "/x/proxywhirl");
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let both = [one.path().to_owned(), two.path().to_owned()];
    assert_eq!(find(&both), None);
    for (folder, name) in [(&two, "proxywhirl.toml"), (&one, "proxywhirl.json"), (&one, "proxywhirl.yaml")] {
        let file = folder.path().join(name);
        std::fs::write(&file, "").unwrap();
        assert_eq!(find(&both), Some(file), "each goes before those that were there");
    }
}

#[test]
fn the_three_syntaxes_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let settings = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        Layers::read(Some(&file), &environment(&[])).and_then(|layers| layers.settings())
    };
    let toml = settings(
        "a.toml",
        "[gateway]\nattempts = 2\n[[sources]]\nname = \"own\"\nlocation = \"own.txt\"\ntrust = true\n",
    );
    let yaml = settings(
        "a.yaml",
        "gateway:\n  attempts: 2\nsources:\n  - name: own\n    location: own.txt\n    trust: true\n",
    );
    let json = settings(
        "a.json",
        "{\"gateway\": {\"attempts\": 2}, \"sources\": [{\"name\": \"own\", \"location\": \"own.txt\", \"trust\": true}]}",
    );
    let toml = toml.unwrap();
    assert_eq!(toml, yaml.unwrap());
    assert_eq!(toml, json.unwrap());
    let error = |name: &str, text: &str| {
        let error = settings(name, text).unwrap_err();
        let place = error.place.rsplit_once('/').unwrap().1;
        format!("{place}: {} / {}", error.reason, error.hint.unwrap_or_default())
    };
    insta::assert_snapshot!(error("b.yaml", "gateway:\n  attemps: 2\n"), @"b.yaml:2:3: unknown key gateway.attemps / did you mean attempts?");
    insta::assert_snapshot!(error("b.json", "{\"gateway\":\n {\"attemps\": 2}}"), @"b.json:2:3: unknown key gateway.attemps / did you mean attempts?");
    insta::assert_snapshot!(error("e.yaml", "gateway:\n  health: 2\n"), @"e.yaml:2:3: unknown key gateway.health / did you mean health at the top level?");
    insta::assert_snapshot!(error("c.yaml", "gateway: [\n"), @"c.yaml:1:10: unclosed bracket '[' /");
    let twice = "{\"gateway\": {\n  \"attempts\": 3,\n  \"attempts\": 4}}";
    insta::assert_snapshot!(error("d.json", twice), @"d.json:3:12: the key attempts is there twice /");
    insta::assert_snapshot!(error("c.json", "{"), @"c.json:1:1: EOF while parsing an object /");
}
