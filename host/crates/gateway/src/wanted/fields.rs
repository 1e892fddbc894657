//! The fields of a request in which its client says who it is and what it wants.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proxywhirl_core::secret::Zeroizing;
use proxywhirl_net::http1::Headers;

use super::draft::Draft;
use super::{Grammar, Introduced, Limits, Mistake};

/// What every field that is meant for the gateway begins with.
const PREFIX: &str = "proxywhirl-";

/// The field with the client's name and password (RFC 9110 §11.7.2).
pub(crate) const CREDENTIALS: &str = "proxy-authorization";

/// Schemes that clients use, besides Basic.
const SCHEMES: [&str; 8] =
    ["Bearer", "Digest", "DPoP", "Kerberos", "Negotiate", "NTLM", "SCRAM-SHA-1", "SCRAM-SHA-256"];

/// Reads the fields of a request, and takes those off that are meant for the gateway.
///
/// # Errors
/// When one has a name that nobody knows, or a value that cannot be; it is named.
pub(crate) fn take_fields(headers: &mut Headers, grammar: &Grammar, limits: Limits) -> Result<Introduced, Mistake> {
    if !headers.names().any(is_ours) {
        return Ok(Introduced::silent());
    }
    let credentials = credentials(headers)?;
    let (user, password) =
        credentials.as_deref().map_or(("", ""), |both: &String| both.split_once(':').unwrap_or((both, "")));
    let (user, password, said) = grammar.read(user, password, limits)?;
    // What a field says is said for this request, a user name for a whole client: the field goes first.
    let mut fields = Draft::new(limits);
    for (name, value) in headers.iter() {
        let Some((_, key)) = name.split_at_checked(PREFIX.len()).filter(|_| has_prefix(name.as_bytes())) else {
            continue;
        };
        let value = std::str::from_utf8(value).map_err(|_| Mistake::Field(format!("the field {name} is not UTF-8")))?;
        fields.read(key, Some(value)).map_err(|why| Mistake::Field(format!("the field {name}: {why}")))?;
    }
    let introduced = said.overlaid_by(fields).introduced(user, password);
    let names: Vec<String> =
        headers.iter().filter(|(name, _)| is_ours(name.as_bytes())).map(|(name, _)| name.to_owned()).collect();
    for name in names {
        headers.remove(&name);
    }
    Ok(introduced)
}

/// The client's name and password, with a colon between.
fn credentials(headers: &Headers) -> Result<Option<Zeroizing<String>>, Mistake> {
    let mut said = headers.get_all(CREDENTIALS);
    let (first, second) = (said.next(), said.next());
    if second.is_some() {
        // Which one counts nobody can know (RFC 9110 §5.3): it would be another user for one program than for the next.
        return Err(Mistake::Field("the field Proxy-Authorization is there more than once".to_owned()));
    }
    first.map(basic).transpose().map_err(Mistake::User)
}

/// User name and password of `Basic` credentials (RFC 7617), with a colon between.
fn basic(credentials: &[u8]) -> Result<Zeroizing<String>, String> {
    let text = std::str::from_utf8(credentials).map_err(|_| "the proxy credentials are not UTF-8".to_owned())?;
    let text = text.trim();
    let (scheme, encoded) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        // Where the scheme was forgotten, what stands in its place may be a password.
        return Err(match SCHEMES.iter().find(|known| known.eq_ignore_ascii_case(scheme)) {
            Some(known) => format!("proxy credentials of the scheme {known}: the gateway reads Basic"),
            None => "the proxy credentials have no scheme that is known: the gateway reads Basic".to_owned(),
        });
    }
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| "the proxy credentials are not base64".to_owned())?;
    // What is no UTF-8 is Latin-1, in which some clients send their credentials; RFC 7617 §2 leaves that open.
    Ok(Zeroizing::new(
        String::from_utf8(decoded)
            .unwrap_or_else(|error| Zeroizing::new(error.into_bytes()).iter().copied().map(char::from).collect()),
    ))
}

fn is_ours(name: &[u8]) -> bool {
    has_prefix(name) || name.eq_ignore_ascii_case(CREDENTIALS.as_bytes())
}

/// Whether a field has the name of one that is meant for the gateway.
fn has_prefix(name: &[u8]) -> bool {
    name.get(..PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX.as_bytes()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_named_and_nothing_that_may_be_a_password() {
        let refused = |credentials: &str| basic(credentials.as_bytes()).unwrap_err();
        for (credentials, named) in [("NTLM TlRMTVNTUAAB", "NTLM"), ("bearer 7f000001", "Bearer")] {
            assert!(refused(credentials).contains(named), "{credentials}");
            assert!(!refused(credentials).contains("0") && !refused(credentials).contains("TlR"), "{credentials}");
        }
        // Basic was forgotten; that with a space in its password, too.
        for credentials in
            ["cXVvOnMzY3IzdHB3", "quo:s3cr3tpw", "quo:s3cr3t pw", "s3cr3t pw", "pw\ts3cr3t", "s3cr3tBasic pw"]
        {
            let why = refused(credentials);
            for part in ["quo", "s3cr3t", "pw", "cXV"] {
                assert!(!why.contains(part), "{credentials}: {why}");
            }
            assert!(why.contains("Basic"), "{why}");
        }
        assert_eq!(*basic(b" bAsic  cXVvOnMzY3IzdHB3 ").unwrap(), "quo:s3cr3tpw");
    }

    #[test]
    fn credentials_are_in_utf_8_or_in_latin_1() {
        for bytes in ["anna:p@w:\u{fc}".as_bytes(), b"anna:p@w:\xfc"] {
            let field = format!("Basic {}", STANDARD.encode(bytes));
            assert_eq!(*basic(field.as_bytes()).unwrap(), "anna:p@w:\u{fc}");
        }
    }
}
