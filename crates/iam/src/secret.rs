//! Secret keys: drawn, compared in constant time, and never shown by accident.

use std::fmt;

use sha2::{Digest, Sha256};
use strata_seam::Entropy;
use subtle::ConstantTimeEq;

/// Length of a drawn access key in characters: 100 bits.
pub(crate) const ACCESS_KEY_LEN: usize = 20;
/// Length of a drawn secret key in characters: 238 bits.
pub(crate) const SECRET_KEY_LEN: usize = 40;

const ACCESS_KEY_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const SECRET_KEY_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A user's secret key. `Debug` shows nothing of it; [`SecretKey::expose`] does.
#[derive(Clone)]
pub struct SecretKey {
    plain: String,
    digest: [u8; 32],
}

impl SecretKey {
    /// Wraps a secret.
    #[must_use]
    pub fn new(plain: impl Into<String>) -> Self {
        let plain = plain.into();
        let digest = Sha256::digest(plain.as_bytes()).into();
        Self { plain, digest }
    }

    /// Draws a new one: 40 letters and digits.
    #[must_use]
    pub fn draw(entropy: &dyn Entropy) -> Self {
        Self::new(draw(entropy, SECRET_KEY_ALPHABET, SECRET_KEY_LEN))
    }

    /// The secret itself, for signing and for showing it once to its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.plain
    }

    /// Whether `given` is this secret. Takes the same time wherever the two differ, and whatever their lengths are
    /// takes no longer than hashing `given`: digests are compared, not the strings.
    #[must_use]
    pub fn matches(&self, given: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(given.as_bytes()).into();
        self.digest.ct_eq(&given).into()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// Draws a new access key: 20 capital letters and digits.
pub(crate) fn draw_access_key(entropy: &dyn Entropy) -> String {
    draw(entropy, ACCESS_KEY_ALPHABET, ACCESS_KEY_LEN)
}

/// Each character is equally likely: bytes beyond the last whole multiple of the alphabet are drawn again.
fn draw(entropy: &dyn Entropy, alphabet: &[u8], len: usize) -> String {
    let fair = 256 - 256 % alphabet.len();
    let mut out = String::with_capacity(len);
    let mut bytes = [0; 64];
    while out.len() < len {
        entropy.fill(&mut bytes);
        let picks = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        let missing = len - out.len();
        out.extend(picks.take(missing).map(|byte| char::from(alphabet[byte % alphabet.len()])));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use strata_seam::SystemEntropy;

    #[test]
    fn debug_shows_nothing_of_the_secret() {
        assert_eq!(format!("{:?}", SecretKey::new("canary-secret")), "SecretKey(..)");
    }

    #[test]
    fn only_the_very_same_string_matches() {
        let key = SecretKey::new("canary-secret");
        assert!(key.matches("canary-secret"));
        for other in ["", "canary-secre", "canary-secret ", "Canary-secret"] {
            assert!(!key.matches(other), "{other:?}");
        }
    }

    #[test]
    fn drawn_keys_have_their_length_and_alphabet_and_differ() {
        let (a, b) = (draw_access_key(&SystemEntropy), draw_access_key(&SystemEntropy));
        assert!(a != b && a.len() == ACCESS_KEY_LEN && a.bytes().all(|c| ACCESS_KEY_ALPHABET.contains(&c)));
        let secret = SecretKey::draw(&SystemEntropy);
        assert!(secret.expose().len() == SECRET_KEY_LEN && secret.expose().bytes().all(|c| c.is_ascii_alphanumeric()));
    }
}
