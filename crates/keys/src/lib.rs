//! Layer 1: the store's master key, the form in which it is kept, and what is sealed with it. No I/O.
//!
//! Invariants:
//! - The key never appears in `Debug`, in an error or in a log, and its memory is cleared when it goes.
//! - Each purpose has a key of its own, derived from the master key: what is sealed for one opens for no other.
//! - What was sealed opens only with the very key and under the very name it was sealed with.
//!
//! `docs/format/master-key.md` is the page that goes with it.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use strata_seam::Entropy;
use zeroize::Zeroize;

/// The first 8 bytes of sha256("strata master key v1.0").
const MAGIC: [u8; 8] = [0x96, 0xb7, 0xc0, 0x99, 0xc4, 0xb0, 0x3c, 0xac];
const VERSION: u32 = 1;
const KEY_LEN: usize = 32;
/// Where the fields of the file begin.
mod at {
    pub(super) const VERSION: usize = 8;
    pub(super) const RESERVED: usize = 12;
    pub(super) const ID: usize = 16;
    pub(super) const KEY: usize = 32;
    pub(super) const CHECKSUM: usize = 64;
}
/// Bytes of the file.
pub const FILE_LEN: usize = 96;
const NONCE_LEN: usize = 24;
/// Bytes that sealing adds: the nonce before, the tag behind.
pub const SEAL_LEN: usize = NONCE_LEN + 16;

/// What is wrong with a key, or with what it is to open.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The bytes are none of a master key.
    #[error("it is no master key of a store")]
    NotAKey,
    /// A newer release wrote it.
    #[error("its version is {found}, this release knows {VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// Its checksum says otherwise.
    #[error("it is damaged: its checksum does not hold")]
    Damaged,
    /// Sealed with another key, under another name, or changed since.
    #[error("it was sealed with another key, or was changed since")]
    DoesNotOpen,
}

/// What something is sealed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Secret keys of users.
    UserSecret,
}

impl Purpose {
    /// On-disk format: another text is another key.
    fn context(self) -> &'static str {
        match self {
            Self::UserSecret => "strata 2026-11 master key: secret keys of users",
        }
    }
}

/// Which master key it is: random, and no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 16]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// The key that everything else is sealed with.
pub struct MasterKey {
    id: KeyId,
    key: [u8; KEY_LEN],
}

impl MasterKey {
    /// Draws a new one.
    #[must_use]
    pub fn draw(entropy: &dyn Entropy) -> Self {
        let (mut id, mut key) = ([0; 16], [0; KEY_LEN]);
        entropy.fill(&mut id);
        entropy.fill(&mut key);
        Self { id: KeyId(id), key }
    }

    /// Which one it is.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The bytes of its file. Secret.
    #[must_use]
    pub fn encode(&self) -> [u8; FILE_LEN] {
        let mut file = [0; FILE_LEN];
        file[..at::VERSION].copy_from_slice(&MAGIC);
        file[at::VERSION..at::RESERVED].copy_from_slice(&VERSION.to_le_bytes());
        file[at::ID..at::KEY].copy_from_slice(&self.id.0);
        file[at::KEY..at::CHECKSUM].copy_from_slice(&self.key);
        let checksum = blake3::hash(&file[..at::CHECKSUM]);
        file[at::CHECKSUM..].copy_from_slice(checksum.as_bytes());
        file
    }

    /// The key in the bytes of a file.
    ///
    /// # Errors
    /// [`KeyError::NotAKey`], [`KeyError::Version`], [`KeyError::Damaged`].
    pub fn decode(file: &[u8]) -> Result<Self, KeyError> {
        if file.get(..at::VERSION) != Some(&MAGIC) {
            return Err(KeyError::NotAKey);
        }
        let field = |from: usize, to: usize| file.get(from..to).ok_or(KeyError::Damaged);
        let version = <[u8; 4]>::try_from(field(at::VERSION, at::RESERVED)?).map_err(|_| KeyError::Damaged)?;
        let found = u32::from_le_bytes(version);
        if found > VERSION {
            return Err(KeyError::Version { found });
        }
        if file.len() != FILE_LEN || blake3::hash(&file[..at::CHECKSUM]).as_bytes()[..] != file[at::CHECKSUM..] {
            return Err(KeyError::Damaged);
        }
        let id = <[u8; 16]>::try_from(field(at::ID, at::KEY)?).map_err(|_| KeyError::Damaged)?;
        let key = <[u8; KEY_LEN]>::try_from(field(at::KEY, at::CHECKSUM)?).map_err(|_| KeyError::Damaged)?;
        Ok(Self { id: KeyId(id), key })
    }

    fn cipher(&self, purpose: Purpose) -> XChaCha20Poly1305 {
        let mut key = blake3::derive_key(purpose.context(), &self.key);
        let cipher = XChaCha20Poly1305::new(&key.into());
        key.zeroize();
        cipher
    }

    /// Seals `plain` under a name: a nonce drawn anew, then what was sealed, [`SEAL_LEN`] bytes longer than `plain`.
    #[must_use]
    pub fn seal(&self, purpose: Purpose, name: &[u8], plain: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
        let mut sealed = vec![0; NONCE_LEN];
        // 24 random bytes do not repeat however much is sealed.
        entropy.fill(&mut sealed);
        let nonce = XNonce::clone_from_slice(&sealed);
        let payload = Payload { msg: plain, aad: name };
        // Refused is only what is longer than 256 GiB.
        sealed.extend(self.cipher(purpose).encrypt(&nonce, payload).expect("what is sealed is short"));
        sealed
    }

    /// What was sealed under this name.
    ///
    /// # Errors
    /// [`KeyError::DoesNotOpen`].
    pub fn open(&self, purpose: Purpose, name: &[u8], sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or(KeyError::DoesNotOpen)?;
        let payload = Payload { msg: rest, aad: name };
        self.cipher(purpose).decrypt(XNonce::from_slice(nonce), payload).map_err(|_| KeyError::DoesNotOpen)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({}, ..)", self.id)
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use strata_seam::SystemEntropy;

    /// Counts up: for bytes that stay the same for ever.
    struct Counting;

    impl Entropy for Counting {
        fn fill(&self, buf: &mut [u8]) {
            buf.iter_mut().zip(0..).for_each(|(byte, at)| *byte = at);
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_file_and_what_is_sealed_have_these_bytes_for_ever() {
        let key = MasterKey::draw(&Counting);
        assert_eq!(hex(&key.encode()), include_str!("../fixtures/master-key-v1.hex").trim());
        let sealed = key.seal(Purpose::UserSecret, b"name", b"secret", &Counting);
        assert_eq!(hex(&sealed), include_str!("../fixtures/sealed-v1.hex").trim());
        assert_eq!(key.open(Purpose::UserSecret, b"name", &sealed).unwrap(), b"secret");
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_and_name_and_with_nothing_else() {
        let (key, other) = (MasterKey::draw(&SystemEntropy), MasterKey::draw(&SystemEntropy));
        let sealed = key.seal(Purpose::UserSecret, b"ada", b"canary", &SystemEntropy);
        assert_eq!(sealed.len(), b"canary".len() + SEAL_LEN);
        let again = MasterKey::decode(&key.encode()).unwrap();
        assert_eq!(
            (again.id(), again.open(Purpose::UserSecret, b"ada", &sealed).unwrap()),
            (key.id(), b"canary".to_vec())
        );
        assert_eq!(other.open(Purpose::UserSecret, b"ada", &sealed), Err(KeyError::DoesNotOpen));
        assert_eq!(key.open(Purpose::UserSecret, b"eve", &sealed), Err(KeyError::DoesNotOpen));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open(Purpose::UserSecret, b"ada", &changed), Err(KeyError::DoesNotOpen), "byte {at}");
            assert_eq!(key.open(Purpose::UserSecret, b"ada", &sealed[..at]), Err(KeyError::DoesNotOpen), "cut at {at}");
        }
        assert_ne!(sealed, key.seal(Purpose::UserSecret, b"ada", b"canary", &SystemEntropy), "never the same twice");
    }

    #[test]
    fn a_file_that_is_damaged_anywhere_is_no_key() {
        let file = MasterKey::draw(&SystemEntropy).encode();
        for at in 0..file.len() {
            let mut changed = file;
            changed[at] ^= 1;
            assert!(MasterKey::decode(&changed).is_err(), "byte {at}");
            assert!(MasterKey::decode(&file[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(MasterKey::decode(b"").err(), Some(KeyError::NotAKey));
        assert!(MasterKey::decode(&[&file[..], &[0]].concat()).is_err());
        let mut newer = file;
        newer[at::VERSION] = 2;
        assert_eq!(MasterKey::decode(&newer).err(), Some(KeyError::Version { found: 2 }));
    }

    #[test]
    fn debug_shows_which_key_it_is_and_nothing_of_it() {
        let key = MasterKey::draw(&SystemEntropy);
        assert_eq!(format!("{key:?}"), format!("MasterKey({}, ..)", key.id()));
    }

    proptest! {
        #[test]
        fn bytes_that_nobody_wrote_as_a_key_are_none(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            prop_assert!(MasterKey::decode(&bytes).is_err());
            prop_assert!(MasterKey::decode(&[&MAGIC[..], &bytes].concat()).is_err());
        }
    }
}
