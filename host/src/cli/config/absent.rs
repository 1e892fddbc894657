//! What a configuration names that is not there, or lets others in: no mistake where it is written, perhaps one where it is used.

use std::net::IpAddr;
use std::path::Path;

use crate::bundle::BUNDLE;
use crate::config::nearest::nearest;
use crate::config::{Environment, KeyPlace, ListenerSettings, Settings, Supply};
use crate::control::place;

/// What is named and not there, each with its key.
pub(super) fn absent(settings: &Settings, environment: &Environment) -> Vec<String> {
    let files = files(settings).filter(|(_, path)| !path.exists());
    let files = files.map(|(key, path)| format!("{key}: {} is not there", path.display()));
    let all = files.chain(keys(settings)).chain(parsers(settings)).chain(exposed(settings));
    all.chain(control(settings)).chain(variables(settings, environment)).collect()
}

/// Variables with credentials, which may come to be while a gateway runs: `.env` is read each time.
fn variables(settings: &Settings, environment: &Environment) -> Vec<String> {
    let named = settings.credentials.iter().flat_map(|credentials| {
        let (password, username) = match &credentials.supply {
            Some(Supply::Environment { password, username }) => (Some(password), username.as_ref()),
            Some(Supply::File(_) | Supply::Url(..)) | None => (None, None),
        };
        let keys = [("password_env", password), ("username_env", username)];
        keys.into_iter().filter_map(move |(key, variable)| Some((&credentials.name, key, variable?)))
    });
    let missing = named.filter(|(.., variable)| environment.get(variable).is_none_or(str::is_empty));
    missing
        .map(|(name, key, variable)| format!("credentials {name:?}: {key}: the environment has no {variable}"))
        .collect()
}

/// A control socket where others could come in: `serve` takes none.
fn control(settings: &Settings) -> Option<String> {
    let error = place::exposed(settings.control.path()?)?;
    Some(format!("control.socket: `serve` does not start: {error}"))
}

/// Where other machines come in, and nobody has to log in: `serve` wants to be told that this is meant.
fn exposed(settings: &Settings) -> Option<String> {
    let listener =
        |listener: &ListenerSettings| (format!("listener {:?}", listener.name), listener.address.to_string());
    let listen = settings.listen.iter().map(|listen| ("listen".to_owned(), listen.clone()));
    let mut places = listen.chain(settings.listeners.iter().map(listener));
    let is_exposed = |address: &str| {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        host.parse::<IpAddr>().is_ok_and(|ip| !ip.to_canonical().is_loopback())
    };
    let (key, place) = places.find(|(_, address)| is_exposed(address)).filter(|_| settings.access.users.is_empty())?;
    Some(format!(
        "{key}: other machines can reach {place}, and nobody has to log in: `serve` starts with --insecure only"
    ))
}

/// A file of keys is made by a command, and not by who needs it.
fn keys(settings: &Settings) -> Option<String> {
    let Some(KeyPlace::File(path)) = &settings.store_keys else { return None };
    let path = (!path.exists()).then(|| path.display())?;
    Some(format!("store.key_file: {path} is not there; `proxywhirl secrets init {path}` makes one"))
}

fn files(settings: &Settings) -> impl Iterator<Item = (String, &Path)> {
    let of_sources =
        settings.sources.iter().filter(|source| source.location != "-" && !source.location.contains("://"));
    let of_credentials = settings.credentials.iter().filter_map(|credentials| match &credentials.supply {
        Some(Supply::File(file)) => Some((format!("credentials {:?}", credentials.name), file.as_path())),
        Some(Supply::Url(..) | Supply::Environment { .. }) | None => None,
    });
    let of_listeners = settings.listeners.iter().filter_map(|listener| Some((&listener.name, listener.tls.as_ref()?)));
    [
        ("upstream.ca_file", settings.upstream_ca.as_deref()),
        ("plugins.directory", settings.plugins.directory.as_deref()),
        ("browser.executable", settings.browser.executable.as_deref()),
        ("events.file", settings.events.as_ref().and_then(|events| folder(&events.file))),
    ]
    .into_iter()
    .filter_map(|(key, path)| Some((key.to_owned(), path?)))
    .chain(settings.geo.iter().map(|path| ("geo.databases".to_owned(), path.as_path())))
    .chain(of_sources.map(|source| (format!("source {:?}", source.name), Path::new(&source.location))))
    .chain(of_credentials)
    .chain(of_listeners.flat_map(|(name, tls)| {
        [&tls.certificate, &tls.key].map(|path| (format!("listener {name:?}"), path.as_path()))
    }))
}

/// Where a file is made: its folder has to be there.
fn folder(file: &Path) -> Option<&Path> {
    file.parent().filter(|folder| !folder.as_os_str().is_empty())
}

/// Parsers that the binary does not carry, each of which costs its source alone. With a directory, what is in it would have to be loaded.
fn parsers(settings: &Settings) -> Vec<String> {
    if settings.plugins.directory.is_some() {
        return Vec::new();
    }
    let known = || BUNDLE.iter().map(|(name, _)| *name);
    let parsers = settings.sources.iter().filter_map(|source| source.parser.as_deref());
    let unknown = parsers.filter(|name| known().all(|other| other != *name));
    let told = unknown.map(|name| {
        let meant = nearest(name, known()).map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"));
        format!("no parser named {name} is bundled, and there is no plugins.directory{meant}")
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::tests::settings;
    use crate::config::{EventLogSettings, Socket};

    /// Where the environment is empty.
    fn absent(settings: &Settings) -> Vec<String> {
        super::absent(settings, &Environment::default())
    }

    #[test]
    fn a_control_socket_where_others_come_in_is_told() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let told = |mode| {
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            absent(&Settings { control: Socket::At(folder.path().join("control.sock")), ..Settings::default() })
        };
        assert_eq!(told(0o700), Vec::<String>::new());
        let [warning] = &told(0o755)[..] else { unreachable!() };
        assert!(
            warning.starts_with("control.socket: `serve` does not start: ") && warning.contains("0700"),
            "{warning}"
        );
    }

    #[test]
    fn where_everybody_comes_in_is_told() {
        let told = |listen: &str| absent(&Settings { listen: Some(listen.to_owned()), ..Settings::default() });
        for open in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:8080"] {
            assert!(told(open)[0].contains("--insecure"), "{open}");
        }
        for closed in ["127.0.0.1:8080", "[::1]:8080", "localhost:8080"] {
            assert_eq!(told(closed), Vec::<String>::new(), "{closed}");
        }
    }

    #[test]
    fn a_file_of_credentials_that_is_not_there_is_told() {
        let text = "[[credentials]]\nname = \"vendor\"\nhost = \"gate.example\"\nfile = \"/nowhere/login\"\n\
                    [[credentials]]\nname = \"typed\"\nhost = \"other.example\"\n";
        let told = absent(&settings(text).unwrap());
        assert_eq!(told, ["credentials \"vendor\": /nowhere/login is not there"]);
    }

    #[test]
    fn a_variable_of_credentials_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let dot_env = folder.path().join(".env");
        std::fs::write(&dot_env, "LOGIN=me\nEMPTY=\n").unwrap();
        let environment = Environment::of(std::iter::empty(), &dot_env).unwrap();
        let text = "[[credentials]]\nname = \"a\"\ntag = \"a\"\npassword_env = \"NONE\"\nusername_env = \"LOGIN\"\n\
                    [[credentials]]\nname = \"b\"\ntag = \"b\"\npassword_env = \"LOGIN\"\nusername_env = \"EMPTY\"\n";
        let told = super::absent(&settings(text).unwrap(), &environment);
        assert_eq!(
            told,
            [
                "credentials \"a\": password_env: the environment has no NONE",
                "credentials \"b\": username_env: the environment has no EMPTY"
            ]
        );
    }

    #[test]
    fn a_file_of_keys_and_a_folder_that_are_not_there_are_told() {
        let settings = Settings {
            store_keys: Some(KeyPlace::File("/nowhere/keys".into())),
            events: Some(EventLogSettings::new("/nowhere/events.jsonl".into())),
            ..Settings::default()
        };
        let told = absent(&settings);
        assert_eq!(
            told,
            [
                "events.file: /nowhere is not there",
                "store.key_file: /nowhere/keys is not there; `proxywhirl secrets init /nowhere/keys` makes one"
            ]
        );
        let here = Settings { events: Some(EventLogSettings::new("events.jsonl".into())), ..Settings::default() };
        assert_eq!(absent(&here), Vec::<String>::new());
    }
}
