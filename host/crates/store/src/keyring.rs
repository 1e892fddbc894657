//! Keys under which a store keeps passwords.
//!
//! A *key file* has a key a line, `proxywhirl-key-1:BASE64`: the first one seals, all of them open, so that a key can be
//! rotated while there is still something under the one before. A sealed password is `sealed-1:KEY:BASE64`: the first eight
//! hexadecimal digits of the key's SHA-256, and nonce and ciphertext of XChaCha20-Poly1305
//! (<https://datatracker.ietf.org/doc/html/draft-irtf-cfrg-xchacha>). Whose password it is goes into the tag, so that one
//! cannot be put in the place of another's.
//!
//! The nonce is synthetic, as in RFC 5297: an HMAC-SHA-256 of owner and password under a key of its own. So it is never there
//! twice for two texts, and a password that stays is the same sealed text at each save: a row that did not change is not
//! written again, and no other gateway is told of it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{Key, KeyInit as _, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use proxywhirl_core::Secret;
use proxywhirl_core::secret::{SEALED, Zeroizing};
use sha2::{Digest as _, Sha256};

/// What a line of a key file begins with.
const LINE: &str = "proxywhirl-key-1:";

/// Bytes of a key.
const KEY: usize = 32;

/// What the key of the nonces is made for.
const NONCES: &[u8] = b"proxywhirl-nonce-1";

/// Bytes of a nonce.
const NONCE: usize = 24;

/// Which key: the first bytes of its digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text is no key file. What is wrong is told without the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAKeyring {
    /// There is no key in it.
    #[error("there is no key in it; `proxywhirl secrets init` makes one")]
    Empty,
    /// A line is no key.
    #[error("line {0} is no key of the form proxywhirl-key-1:…")]
    Line(usize),
    /// There are more than anybody rotates.
    #[error("it has more than {} keys", Keyring::MOST)]
    Many,
}

/// Why a sealed password cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// It is under a key that is not there.
    #[error("it is sealed with the key {0}, which is not among those that there are")]
    Stranger(KeyId),
    /// It was changed, is another's, or is no sealed text at all.
    #[error("what is sealed was changed, or is the password of another proxy")]
    Forged,
}

/// Keys, of which the first one seals.
#[derive(Clone)]
pub struct Keyring {
    first: SealKey,
    others: Vec<SealKey>,
}

#[derive(Clone)]
struct SealKey {
    id: KeyId,
    // Overwrites its key when it is dropped.
    cipher: XChaCha20Poly1305,
    nonces: Zeroizing<[u8; KEY]>,
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl Keyring {
    /// The most keys of a file: one is rotated after the other.
    pub const MOST: usize = 16;

    /// Reads a key file.
    ///
    /// # Errors
    /// When it is none; the line is told, and nothing of it.
    pub fn parse(text: &str) -> Result<Self, NotAKeyring> {
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let keys = lines.map(|(number, line)| SealKey::parse(line).ok_or(NotAKeyring::Line(number)));
        let mut keys = keys.collect::<Result<Vec<_>, _>>()?.into_iter();
        let first = keys.next().ok_or(NotAKeyring::Empty)?;
        let others: Vec<_> = keys.collect();
        // One more is there while a rotation that forgets them is at work.
        if others.len() > Self::MOST {
            return Err(NotAKeyring::Many);
        }
        Ok(Self { first, others })
    }

    /// A line with a key that nobody else has.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn generate() -> Result<Zeroizing<String>, String> {
        let mut key = Zeroizing::new([0; KEY]);
        getrandom::fill(key.as_mut_slice()).map_err(|error| format!("the system has no random numbers: {error}"))?;
        let mut line = Zeroizing::new(String::with_capacity(LINE.len() + KEY * 2));
        line.push_str(LINE);
        URL_SAFE_NO_PAD.encode_string(key.as_slice(), &mut line);
        Ok(line)
    }

    /// Which keys there are, the one that seals first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        std::iter::once(&self.first).chain(&self.others).map(|key| key.id)
    }

    /// Seals a password of whom `owner` names.
    ///
    /// # Errors
    /// When it is longer than any cipher takes.
    pub fn seal(&self, password: &Secret, owner: &str) -> Result<Secret, String> {
        let nonce = self.first.nonce(password, owner);
        let payload = Payload { msg: password.expose().as_bytes(), aad: owner.as_bytes() };
        let sealed = self.first.cipher.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| "a password that is too long to be sealed".to_owned())?;
        let bytes = [&nonce[..], &sealed].concat();
        Ok(Secret::new(format!("{SEALED}{}:{}", self.first.id, URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// Opens what was sealed for whom `owner` names.
    ///
    /// # Errors
    /// When its key is not there, or it is not what was sealed.
    pub fn open(&self, sealed: &Secret, owner: &str) -> Result<Secret, Unopened> {
        let (id, bytes) = taken_apart(sealed.expose()).ok_or(Unopened::Forged)?;
        let mut keys = std::iter::once(&self.first).chain(&self.others);
        let key = keys.find(|key| key.id == id).ok_or(Unopened::Stranger(id))?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>().ok_or(Unopened::Forged)?;
        let payload = Payload { msg: sealed, aad: owner.as_bytes() };
        let opened = key.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| Unopened::Forged)?;
        let opened = Zeroizing::new(opened);
        std::str::from_utf8(&opened).map(Secret::new).map_err(|_| Unopened::Forged)
    }
}

/// Under which key a text is sealed; none when it is not.
#[must_use]
pub fn sealed_with(text: &Secret) -> Option<KeyId> {
    taken_apart(text.expose()).map(|(id, _)| id)
}

fn taken_apart(text: &str) -> Option<(KeyId, Vec<u8>)> {
    let (id, bytes) = text.strip_prefix(SEALED)?.split_once(':')?;
    let mut number = [0; 4];
    for (index, byte) in number.iter_mut().enumerate() {
        *byte = u8::from_str_radix(id.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    let key = KeyId(number);
    // As it is written, and in no other way.
    (key.to_string() == id).then_some(())?;
    Some((key, URL_SAFE_NO_PAD.decode(bytes).ok()?))
}

/// The HMAC-SHA-256 of texts that follow each other (RFC 2104).
fn digest_of(key: &[u8; KEY], texts: &[&[u8]]) -> [u8; KEY] {
    // Shorter than the block of the hash, it is filled with zeros.
    let mut block = Zeroizing::new([0; 64]);
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new(&(*block).into());
    texts.iter().for_each(|text| mac.update(text));
    mac.finalize().into_bytes().into()
}

impl SealKey {
    fn parse(line: &str) -> Option<Self> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(line.strip_prefix(LINE)?).ok()?);
        let key = Zeroizing::new(<[u8; KEY]>::try_from(bytes.as_slice()).ok()?);
        let digest: [u8; 32] = Sha256::digest(key.as_slice()).into();
        let [a, b, c, d, ..] = digest;
        let nonces = Zeroizing::new(digest_of(&key, &[NONCES]));
        Some(Self { id: KeyId([a, b, c, d]), cipher: XChaCha20Poly1305::new(&Key::from(*key)), nonces })
    }

    /// The nonce of this password of this owner.
    fn nonce(&self, password: &Secret, owner: &str) -> [u8; NONCE] {
        let length = (owner.len() as u64).to_be_bytes();
        let digest = digest_of(&self.nonces, &[&length, owner.as_bytes(), password.expose().as_bytes()]);
        let mut nonce = [0; NONCE];
        nonce.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring() -> Keyring {
        Keyring::parse(&Keyring::generate().unwrap()).unwrap()
    }

    #[test]
    fn what_is_sealed_is_opened_for_its_owner_alone() {
        let keys = keyring();
        let password = Secret::new("hunter2 \u{fc}");
        let sealed = keys.seal(&password, "http://me@h:1").unwrap();
        assert!(!sealed.expose().contains("hunter2") && sealed.expose().starts_with(SEALED));
        assert_eq!(sealed, keys.seal(&password, "http://me@h:1").unwrap(), "what stays is not written again");
        let nonce = |sealed: &Secret| taken_apart(sealed.expose()).unwrap().1[..NONCE].to_vec();
        for (other, owner) in
            [("hunter3", "http://me@h:1"), ("hunter2 \u{fc}", "http://you@h:1"), ("1hunter2 \u{fc}", "http://me@h:")]
        {
            assert_ne!(nonce(&sealed), nonce(&keys.seal(&Secret::new(other), owner).unwrap()), "no nonce twice");
        }
        assert_eq!(keys.open(&sealed, "http://me@h:1"), Ok(password));
        assert_eq!(keys.open(&sealed, "http://you@h:1"), Err(Unopened::Forged));
        assert_eq!(keyring().open(&sealed, "http://me@h:1"), Err(Unopened::Stranger(keys.ids().next().unwrap())));
    }

    #[test]
    fn no_changed_character_opens_and_none_panics() {
        let keys = keyring();
        let sealed = keys.seal(&Secret::new("hunter2"), "x").unwrap();
        let text = sealed.expose();
        for place in 0..text.len() {
            let other = if text.as_bytes()[place] == b'A' { "B" } else { "A" };
            let changed = [&text[..place], other, &text[place + 1..]].concat();
            // The last character has bits that mean nothing; then it is not as it would be written.
            assert!(keys.open(&Secret::new(changed), "x").is_err(), "{place}");
            assert!(keys.open(&Secret::new(&text[..place]), "x").is_err(), "{place}");
        }
    }

    #[test]
    fn the_first_key_seals_and_all_of_them_open() {
        let (old, new) = (Keyring::generate().unwrap(), Keyring::generate().unwrap());
        let before = Keyring::parse(&old).unwrap().seal(&Secret::new("a"), "x").unwrap();
        let both = Keyring::parse(&format!("# new\n{}\n\n{}\n", *new, *old)).unwrap();
        assert_eq!(both.open(&before, "x"), Ok(Secret::new("a")));
        let after = both.seal(&Secret::new("a"), "x").unwrap();
        assert_eq!(sealed_with(&after), Keyring::parse(&new).unwrap().ids().next());
        assert_eq!(sealed_with(&Secret::new("hunter2")), None);
    }

    #[test]
    fn what_is_no_key_file_is_told_without_its_text() {
        assert_eq!(Keyring::parse("# nothing\n").unwrap_err(), NotAKeyring::Empty);
        for wrong in ["hunter2", "proxywhirl-key-1:", "proxywhirl-key-1:AAAA", "proxywhirl-key-2:x"] {
            let error = Keyring::parse(&format!("\n{wrong}\n")).unwrap_err();
            assert_eq!(error, NotAKeyring::Line(2), "{wrong}");
        }
        let many =
            (0..Keyring::MOST + 2).map(|_| Keyring::generate().unwrap().to_string()).collect::<Vec<_>>().join("\n");
        assert_eq!(Keyring::parse(&many).unwrap_err(), NotAKeyring::Many);
        assert!(!format!("{:?}", keyring()).contains("key-1"));
    }
}
