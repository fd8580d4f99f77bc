//! A fingerprint of pairs that is kept up to date with every change of one of them.
//!
//! It is the sum of a hash of each pair. Adding and removing a pair is one hash; order does not matter; and a lost, stale or
//! changed pair changes the sum, but for a chance of 2^-128.

/// Sum of the hashes of some pairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sum(pub(crate) u128);

impl Sum {
    /// With this pair put in.
    #[must_use]
    pub(crate) fn with(self, key: &[u8], value: &[u8]) -> Self {
        Self(self.0.wrapping_add(hash(key, value)))
    }

    /// With this pair taken out.
    #[must_use]
    pub(crate) fn without(self, key: &[u8], value: &[u8]) -> Self {
        Self(self.0.wrapping_sub(hash(key, value)))
    }

    /// Of what both are sums of.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// Without what `other` is the sum of.
    #[must_use]
    pub(crate) fn less(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }
}

fn hash(key: &[u8], value: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes()).update(key).update(value);
    let mut half = [0; 16];
    hasher.finalize_xof().fill(&mut half);
    u128::from_le_bytes(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn putting_in_and_taking_out_gives_the_sum_of_what_is_left() {
        let left = Sum::default().with(b"a", b"1").with(b"c", b"3");
        let other = Sum::default().with(b"c", b"3").with(b"b", b"2").with(b"a", b"1").without(b"b", b"2");
        assert_eq!(left, other);
        assert_eq!(left.less(Sum::default().with(b"a", b"1")), Sum::default().with(b"c", b"3"));
        assert_eq!(Sum::default().with(b"a", b"1").and(Sum::default().with(b"c", b"3")), left);
    }

    #[test]
    fn where_a_key_ends_and_its_value_begins_counts() {
        assert_ne!(Sum::default().with(b"ab", b"c"), Sum::default().with(b"a", b"bc"));
    }
}
