//! The fields of a request in which its client says who it is and what it wants.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proxywhirl_core::secret::Zeroizing;
use proxywhirl_net::http1::Headers;

use super::draft::Draft;
use super::{Grammar, Introduced, Limits, Mistake, shown};

/// What every field that is meant for the gateway begins with.
const PREFIX: &str = "proxywhirl-";

/// The field with the client's name and password (RFC 9110 §11.7.2).
pub(crate) const CREDENTIALS: &str = "proxy-authorization";

/// Reads the fields of a request, and takes those off that are meant for the gateway.
///
/// # Errors
/// When one has a name that nobody knows, or a value that cannot be; it is named.
pub(crate) fn take_fields(headers: &mut Headers, grammar: &Grammar, limits: Limits) -> Result<Introduced, Mistake> {
    let nothing = || Draft::new(limits);
    if !headers.names().any(is_ours) {
        return Ok(nothing().introduced("", ""));
    }
    let credentials = headers.get(CREDENTIALS).map(basic).transpose().map_err(Mistake::User)?;
    let (user, password) =
        credentials.as_deref().map_or(("", ""), |both: &String| both.split_once(':').unwrap_or((both, "")));
    let (user, password, said) = grammar.read(user, password, limits)?;
    // What a field says is said for this request, a user name for a whole client: the field goes first.
    let mut fields = nothing();
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

/// User name and password of `Basic` credentials (RFC 7617), with a colon between.
fn basic(credentials: &[u8]) -> Result<Zeroizing<String>, String> {
    let text = std::str::from_utf8(credentials).map_err(|_| "the proxy credentials are not UTF-8".to_owned())?;
    let (scheme, encoded) = text.trim().split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(format!("proxy credentials of the scheme {}: the gateway reads Basic", shown(scheme)));
    }
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| "the proxy credentials are not base64".to_owned())?;
    String::from_utf8(decoded).map(Zeroizing::new).map_err(|_| "the proxy user name is not UTF-8".to_owned())
}

fn is_ours(name: &[u8]) -> bool {
    has_prefix(name) || name.eq_ignore_ascii_case(CREDENTIALS.as_bytes())
}

/// Whether a field has the name of one that is meant for the gateway.
fn has_prefix(name: &[u8]) -> bool {
    name.get(..PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX.as_bytes()))
}
