//! Keys: who may speak as what. Key files, the key ring, and everything that is derived from a key.
//!
//! A key file holds one line, besides comment lines that start with `#`:
//!
//! ```text
//! haystack-cluster-key-1 <64 hexadecimal digits>
//! haystack-client-key-1 <rights: some of r, w, a in this order> <64 hexadecimal digits>
//! ```
//!
//! The cluster key is 32 random bytes. The seven client keys, one per set of rights, are derived from it, so that
//! every daemon knows them and no client can turn one into another. Every derivation is HKDF-Expand (RFC 5869)
//! with SHA-256 and a label of its own, the key serving as pseudo-random key: it is uniformly random already.

use core::fmt;

use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk};
use thiserror::Error;

use crate::datagram::ConnectionId;
use crate::ids::NetworkId;

const CLUSTER_WORD: &str = "haystack-cluster-key-1";
const CLIENT_WORD: &str = "haystack-client-key-1";

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// Labels end with a zero byte, so that none is the beginning of another.
const LABEL_CLIENT: &[u8] = b"haystack 1 client\0";
const LABEL_ID: &[u8] = b"haystack 1 key id\0";
const LABEL_RESET: &[u8] = b"haystack 1 reset\0";

/// What a client may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rights {
    /// Read keys. Bit 1.
    pub read: bool,
    /// Write keys. Bit 2.
    pub write: bool,
    /// Administer the cluster. Bit 4.
    pub admin: bool,
}

impl Rights {
    /// No right at all.
    pub const NONE: Self = Self { read: false, write: false, admin: false };

    /// Every right.
    pub const ALL: Self = Self { read: true, write: true, admin: true };

    /// The rights as bits 1, 2 and 4.
    pub const fn bits(self) -> u8 {
        self.read as u8 | (self.write as u8) << 1 | (self.admin as u8) << 2
    }

    /// The rights whose bits are set in the lowest three bits.
    pub const fn from_bits(bits: u8) -> Self {
        Self { read: bits & 1 != 0, write: bits & 2 != 0, admin: bits & 4 != 0 }
    }

    /// Whether everything that `needed` allows is allowed.
    pub const fn covers(self, needed: Self) -> bool {
        needed.bits() & !self.bits() == 0
    }

    /// Rights as a key file writes them: some of `r`, `w`, `a`, at least one, in this order.
    pub fn from_letters(letters: &str) -> Option<Self> {
        (1..=7).map(Self::from_bits).find(|rights| rights.to_string() == letters)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(self.read, "r"), (self.write, "w"), (self.admin, "a")];
        letters.iter().filter(|(has, _)| *has).try_for_each(|(_, letter)| f.write_str(letter))
    }
}

/// What the process at one end of a link is, fixed for the life of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A daemon of the cluster.
    Peer,
    /// A client, with its rights.
    Client(Rights),
}

/// Names a key without telling it: four bytes derived from the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

impl KeyId {
    /// No key: the datagram is not sealed.
    pub const NONE: Self = Self(0);
}

/// Why a key file is of no use, and what to do about it. Never tells a digit of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// There is no key.
    #[error("the key file holds no key: make one with `haystackctl key new`")]
    Empty,
    /// There is more than one key.
    #[error("line {0} of the key file holds a second key: leave exactly one key in the file")]
    Several(usize),
    /// The line is neither kind of key.
    #[error(
        "line {0} of the key file starts with neither `haystack-cluster-key-1` nor `haystack-client-key-1`: copy the \
         file again, make a key with `haystackctl key new`, or update this program if the key was made by a newer one"
    )]
    Kind(usize),
    /// The line has too few or too many words.
    #[error(
        "line {0} of the key file has the wrong number of words: it must read `haystack-cluster-key-1 KEY` or \
         `haystack-client-key-1 RIGHTS KEY`; copy the file again"
    )]
    Words(usize),
    /// The client's rights mean nothing.
    #[error(
        "line {0} of the key file: rights are some of `r`, `w`, `a` in this order, such as `rw`; copy the file again"
    )]
    Rights(usize),
    /// The key is no 64 hexadecimal digits.
    #[error(
        "line {0} of the key file: the key is not 64 hexadecimal digits, so it was cut or changed; copy the file again"
    )]
    Digits(usize),
}

/// 32 secret bytes. Shows nothing of itself.
#[derive(Clone)]
pub(crate) struct Secret([u8; KEY_BYTES]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Secret {
    fn from_hex(digits: &str) -> Option<Self> {
        let mut bytes = [0; KEY_BYTES];
        let digits = digits.as_bytes();
        if digits.len() != 2 * KEY_BYTES {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = (high << 4 | low) as u8;
        }
        Some(Self(bytes))
    }

    fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// HKDF-Expand with `info` as the concatenated context, which starts with a label.
    pub(crate) fn derive<const N: usize>(&self, info: &[&[u8]]) -> [u8; N] {
        let mut out = [0; N];
        Prk::new_less_safe(HKDF_SHA256, &self.0)
            .expand(info, Length(N))
            .and_then(|okm| okm.fill(&mut out))
            .expect("HKDF gives up to 255 * 32 bytes, and the length is the buffer's");
        out
    }

    /// An AES-256-GCM key derived with `info`.
    pub(crate) fn derive_aead(&self, info: &[&[u8]]) -> LessSafeKey {
        let key = self.derive::<KEY_BYTES>(info);
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("AES-256 takes 32 bytes"))
    }

    fn id(&self) -> KeyId {
        match u32::from_be_bytes(self.derive(&[LABEL_ID])) {
            // Zero means that there is no key.
            0 => KeyId(1),
            id => KeyId(id),
        }
    }
}

/// One key of the ring.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) id: KeyId,
    /// Who speaks with this key; for a client's key, also a daemon that answers the client.
    pub(crate) role: Role,
    pub(crate) secret: Secret,
}

impl Key {
    fn new(role: Role, secret: Secret) -> Self {
        Self { id: secret.id(), role, secret }
    }
}

/// The keys a process holds: none, a cluster key with the seven client keys derived from it, or one client key.
///
/// The first key for a role is the active one, with which the process speaks; it listens to all of them. Rotation
/// adds further keys.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: Vec<Key>,
}

impl KeyRing {
    /// No keys: nothing is sealed.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// If the text is not exactly one key; the error says what to do.
    pub fn from_file_text(text: &str) -> Result<Self, KeyError> {
        let mut found = None;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if found.is_some() {
                return Err(KeyError::Several(number));
            }
            found = Some(parse_line(line, number)?);
        }
        let (role, secret) = found.ok_or(KeyError::Empty)?;
        let clients = match role {
            Role::Peer => (1..=7).map(Rights::from_bits).map(|rights| client_of(&secret, rights)).collect(),
            Role::Client(_) => Vec::new(),
        };
        let mut keys = vec![Key::new(role, secret)];
        keys.extend(clients);
        Ok(Self { keys })
    }

    /// Whether there is no key, and nothing is sealed.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether the ring holds the cluster key, and so may speak as a daemon.
    pub fn is_cluster(&self) -> bool {
        self.keys.first().is_some_and(|key| key.role == Role::Peer)
    }

    /// The role of a client that speaks with this ring: the rights of its client key, all rights with the cluster
    /// key or without keys.
    pub fn client_role(&self) -> Role {
        match self.keys.first() {
            Some(Key { role: Role::Client(rights), .. }) => Role::Client(*rights),
            _ => Role::Client(Rights::ALL),
        }
    }

    /// The key file's text for a client with `rights`. `None` if this is not a cluster's ring, or there are no
    /// rights to give.
    pub fn client_key(&self, rights: Rights) -> Option<String> {
        let key =
            self.keys.iter().find(|key| key.role == Role::Client(rights)).filter(|_| self.is_cluster())?;
        Some(format!("{CLIENT_WORD} {rights} {}\n", key.secret.to_hex()))
    }

    /// The key to speak with in this role: [`KeyId::NONE`] if the ring is empty, `None` if it has no such key.
    pub fn active(&self, role: Role) -> Option<KeyId> {
        if self.is_empty() {
            return Some(KeyId::NONE);
        }
        self.keys.iter().find(|key| key.role == role).map(|key| key.id)
    }

    pub(crate) fn find(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// What proves, to someone who was told it under the seal of a handshake, that a later RESET for this connection
    /// id comes from where the handshake came from. It is the same for every process with this ring, so that one
    /// which has forgotten the connection can still compute it. `None` without keys.
    ///
    /// Every process with this ring gives the token away to whoever asks with a datagram for this id: good enough
    /// for a hint, since ids are random and used once, and for nothing else.
    pub fn reset_token(&self, network: NetworkId, id: ConnectionId) -> Option<ResetToken> {
        let key = self.keys.first()?;
        Some(ResetToken(key.secret.derive(&[LABEL_RESET, &network.0, &id.0.to_be_bytes()])))
    }
}

/// Proof of a RESET. Compared in constant time, shown to nobody.
#[derive(Clone, Copy)]
pub struct ResetToken(pub(crate) [u8; 16]);

impl PartialEq for ResetToken {
    fn eq(&self, other: &Self) -> bool {
        let differences = self.0.iter().zip(&other.0).fold(0, |sum, (a, b)| sum | (a ^ b));
        core::hint::black_box(differences) == 0
    }
}

impl Eq for ResetToken {}

impl fmt::Debug for ResetToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResetToken(..)")
    }
}

fn client_of(cluster: &Secret, rights: Rights) -> Key {
    Key::new(Role::Client(rights), Secret(cluster.derive(&[LABEL_CLIENT, &[rights.bits()]])))
}

fn parse_line(line: &str, number: usize) -> Result<(Role, Secret), KeyError> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (role, digits) = match words[..] {
        [CLUSTER_WORD, digits] => (Role::Peer, digits),
        [CLIENT_WORD, letters, digits] => {
            (Role::Client(Rights::from_letters(letters).ok_or(KeyError::Rights(number))?), digits)
        }
        [CLUSTER_WORD | CLIENT_WORD, ..] => return Err(KeyError::Words(number)),
        _ => return Err(KeyError::Kind(number)),
    };
    Ok((role, Secret::from_hex(digits).ok_or(KeyError::Digits(number))?))
}

/// The key file's text for a cluster key of these random bytes, which the caller drew from the system.
pub fn new_cluster_key(random: [u8; KEY_BYTES]) -> String {
    format!("{CLUSTER_WORD} {}\n", Secret(random).to_hex())
}

#[cfg(test)]
mod tests;
