//! Where a chunk lies: the tail of its cell. A tag says in which tier, and whether a dedup domain and a key follow.
//!
//! Everything lies in the ledger today. A chunk in another tier, or a sealed one, was put there by a later version. Reading it is
//! refused with an error that says so, and it is kept: it does not count as damaged, absent or garbage. Format:
//! `docs/format/records.md`.

use std::fmt;

use strata_chunk::{DedupDomain, KeyId};
use strata_ledger::Location;
use strata_seam::SegmentId;

/// Low half of the tag: in which tier.
const TIER_MASK: u8 = 0x0f;
const LEDGER: u8 = 1;
const REMOTE: u8 = 2;
const TAPE: u8 = 3;
const INLINE: u8 = 4;
/// High half: what follows the tag, in this order. The other bits are zero.
const HAS_DOMAIN: u8 = 0x10;
const HAS_KEY: u8 = 0x20;

/// Bytes of a place in the ledger: tag, six numbers of the location, three numbers, codec.
const LEDGER_LEN: usize = 1 + 6 * 4 + 3 * 4 + 1;
/// Bytes of a dedup domain and of a key, where they follow.
const DOMAIN_LEN: usize = 5;
const KEY_LEN: usize = 4;

/// Where the bytes of a chunk are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whereabouts {
    /// In a block of the ledger, which may be sealed.
    Ledger(Place),
    /// In a tier that this version cannot read, of this dedup domain, sealed with this key. What follows is that tier's.
    Elsewhere(Tier, DedupDomain, Option<KeyId>),
}

/// A tier that is not the ledger.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Tier {
    /// An object of a remote store.
    Remote,
    /// A tape.
    Tape,
    /// The index: the bytes are in the cell itself.
    Inline,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Remote => "an object of a remote store",
            Self::Tape => "a tape",
            Self::Inline => "the index itself",
        })
    }
}

/// Why this version cannot read a chunk that is not damaged: it lies in another tier, or is sealed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OutOfReach {
    /// The chunk is in another tier than the ledger.
    Tier(Tier),
    /// The chunk is sealed with this key.
    Sealed(KeyId),
}

impl fmt::Display for OutOfReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tier(tier) => write!(f, "lies in a tier that this version cannot read ({tier})"),
            Self::Sealed(key) => write!(f, "is sealed with key {}, which this version cannot open", key.get()),
        }
    }
}

/// A place in the ledger: the block and the chunk's part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The block.
    pub location: Location,
    /// The dedup domain that the chunk is named in, as its block has it: what it takes to prove the bytes by the name.
    pub domain: DedupDomain,
    /// The key that the block is sealed with.
    pub key: Option<KeyId>,
    /// Codec of the block.
    pub codec: u8,
    /// Length of the decoded block.
    pub raw_len: u32,
    /// Offset of the chunk in the decoded block.
    pub offset: u32,
    /// Length of the chunk.
    pub len: u32,
}

impl Whereabouts {
    /// Reads the tail of a cell; `None` for what no version wrote.
    #[must_use]
    pub fn decode(tail: &[u8]) -> Option<Self> {
        let (&tag, mut rest) = tail.split_first()?;
        if tag & !(TIER_MASK | HAS_DOMAIN | HAS_KEY) != 0 {
            return None;
        }
        let mut domain = DedupDomain::COMMON;
        if tag & HAS_DOMAIN != 0 {
            let (bytes, behind) = rest.split_first_chunk::<DOMAIN_LEN>()?;
            let [class, encryption @ ..] = *bytes;
            domain = DedupDomain::of(class, u32::from_le_bytes(encryption));
            // The common domain is encoded by leaving it out.
            if domain.is_common() {
                return None;
            }
            rest = behind;
        }
        let mut key = None;
        if tag & HAS_KEY != 0 {
            let (bytes, behind) = rest.split_first_chunk::<KEY_LEN>()?;
            key = Some(KeyId::new(u32::from_le_bytes(*bytes))?);
            rest = behind;
        }
        let tier = match tag & TIER_MASK {
            LEDGER => return Place::decode_in_ledger(rest, domain, key).map(Self::Ledger),
            REMOTE => Tier::Remote,
            TAPE => Tier::Tape,
            INLINE => Tier::Inline,
            _ => return None,
        };
        Some(Self::Elsewhere(tier, domain, key))
    }

    /// The place in the ledger, if that is where it is and it can be opened.
    ///
    /// # Errors
    /// Why this version cannot read it.
    pub fn within_reach(self) -> Result<Place, OutOfReach> {
        match self {
            Self::Ledger(Place { key: Some(key), .. }) => Err(OutOfReach::Sealed(key)),
            Self::Ledger(place) => Ok(place),
            Self::Elsewhere(tier, ..) => Err(OutOfReach::Tier(tier)),
        }
    }

    /// The dedup domain that the chunk is named in.
    #[must_use]
    pub fn domain(self) -> DedupDomain {
        match self {
            Self::Ledger(Place { domain, .. }) | Self::Elsewhere(_, domain, _) => domain,
        }
    }
}

impl Place {
    /// The chunk's part of its block's stored bytes.
    #[must_use]
    pub fn stored_share(&self) -> u64 {
        u64::from(self.location.len) * u64::from(self.len) / u64::from(self.raw_len.max(1))
    }

    /// The tail of the chunk's cell.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LEDGER_LEN + DOMAIN_LEN + KEY_LEN);
        out.push(LEDGER);
        if !self.domain.is_common() {
            out[0] |= HAS_DOMAIN;
            out.push(self.domain.class.0);
            out.extend_from_slice(&self.domain.encryption.0.to_le_bytes());
        }
        if let Some(key) = self.key {
            out[0] |= HAS_KEY;
            out.extend_from_slice(&key.get().to_le_bytes());
        }
        let location = &self.location;
        let numbers = [
            location.segment.0,
            location.sector,
            location.shard_len,
            location.offset,
            location.len,
            location.crc,
            self.raw_len,
            self.offset,
            self.len,
        ];
        numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        out.push(self.codec);
        out
    }

    /// The place if the tail says that the chunk is in the ledger, sealed or not.
    #[must_use]
    pub fn decode(tail: &[u8]) -> Option<Self> {
        match Whereabouts::decode(tail)? {
            Whereabouts::Ledger(place) => Some(place),
            Whereabouts::Elsewhere(..) => None,
        }
    }

    /// Reads what is behind tag, domain and key.
    fn decode_in_ledger(bytes: &[u8], domain: DedupDomain, key: Option<KeyId>) -> Option<Self> {
        let bytes: &[u8; LEDGER_LEN - 1] = bytes.try_into().ok()?;
        let number = |n: usize| {
            let at = n * 4;
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let place = Self {
            location: Location {
                segment: SegmentId(number(0)),
                sector: number(1),
                shard_len: number(2),
                offset: number(3),
                len: number(4),
                crc: number(5),
            },
            domain,
            key,
            codec: bytes[LEDGER_LEN - 2],
            raw_len: number(6),
            offset: number(7),
            len: number(8),
        };
        (u64::from(place.offset) + u64::from(place.len) <= u64::from(place.raw_len)).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place() -> Place {
        Place {
            location: Location { segment: SegmentId(7), sector: 9, shard_len: 64, offset: 5, len: 100, crc: 0xdead },
            domain: DedupDomain::COMMON,
            key: None,
            codec: 2,
            raw_len: 300,
            offset: 100,
            len: 200,
        }
    }

    fn numbers() -> Vec<u8> {
        [7_u32, 9, 64, 5, 100, 0xdead, 300, 100, 200].iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    #[test]
    fn a_place_of_the_common_domain_has_the_bytes_that_it_always_had() {
        let bytes = [&[1][..], &numbers(), &[2]].concat();
        assert_eq!(bytes.len(), 38);
        assert_eq!(place().encode(), bytes);
        assert_eq!(Place::decode(&bytes), Some(place()));
    }

    #[test]
    fn domain_and_key_follow_the_tag() {
        let of_domain = Place { domain: DedupDomain::of(3, 0x0102), ..place() };
        assert_eq!(of_domain.encode(), [&[0x11, 3, 2, 1, 0, 0][..], &numbers(), &[2]].concat());
        let sealed = Place { key: KeyId::new(9), ..of_domain };
        assert_eq!(sealed.encode(), [&[0x31, 3, 2, 1, 0, 0, 9, 0, 0, 0][..], &numbers(), &[2]].concat());
        for place in [of_domain, sealed] {
            assert_eq!(Place::decode(&place.encode()), Some(place));
        }
        assert_eq!(Whereabouts::Ledger(of_domain).within_reach(), Ok(of_domain));
        let refused = Whereabouts::Ledger(sealed).within_reach().unwrap_err();
        assert_eq!(refused.to_string(), "is sealed with key 9, which this version cannot open");
    }

    #[test]
    fn what_no_version_writes_is_no_place() {
        let good = place().encode();
        assert_eq!(Place::decode(&Place { len: 201, ..place() }.encode()), None, "outside of its block");
        assert_eq!(Whereabouts::decode(&[]), None);
        for tag in [0, 5, 0x0f, 0x41, 0x81, 0xff] {
            assert_eq!(Whereabouts::decode(&[&[tag], &good[1..]].concat()), None, "tag {tag:#x}");
        }
        for len in 0..good.len() {
            assert_eq!(Whereabouts::decode(&good[..len]), None, "{len} bytes");
        }
        assert_eq!(Whereabouts::decode(&[&good[..], &[0]].concat()), None, "a byte behind the end");
        // The common domain is encoded by leaving it out, and key 0 means none.
        assert_eq!(Whereabouts::decode(&[&[0x11, 0, 0, 0, 0, 0], &good[1..]].concat()), None);
        assert_eq!(Whereabouts::decode(&[&[0x21, 0, 0, 0, 0], &good[1..]].concat()), None);
    }

    #[test]
    fn other_tiers_are_named_whatever_follows() {
        for (tag, tier, name) in [
            (2, Tier::Remote, "an object of a remote store"),
            (3, Tier::Tape, "a tape"),
            (4, Tier::Inline, "the index itself"),
        ] {
            for rest in [&b""[..], b"\x00", b"whatever that tier needs"] {
                let found = Whereabouts::decode(&[&[tag], rest].concat()).unwrap();
                assert_eq!(found, Whereabouts::Elsewhere(tier, DedupDomain::COMMON, None));
                assert_eq!(Place::decode(&[&[tag], rest].concat()), None);
                let refused = found.within_reach().unwrap_err().to_string();
                assert_eq!(refused, format!("lies in a tier that this version cannot read ({name})"));
            }
        }
        let sealed = Whereabouts::decode(&[0x33, 2, 3, 0, 0, 0, 1, 0, 0, 0, 9, 9]).unwrap();
        assert_eq!(sealed, Whereabouts::Elsewhere(Tier::Tape, DedupDomain::of(2, 3), KeyId::new(1)));
        assert_eq!(sealed.domain(), DedupDomain::of(2, 3));
    }

    proptest! {
        #[test]
        fn whatever_decodes_as_a_place_encodes_to_the_same_bytes(
            tag in prop_oneof![Just(1_u8), Just(0x11), Just(0x21), Just(0x31), any::<u8>()],
            rest in proptest::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 30..50),
        ) {
            let tail = [&[tag], &rest[..]].concat();
            if let Some(place) = Place::decode(&tail) {
                prop_assert_eq!(place.encode(), tail);
            }
        }

        #[test]
        fn places_read_back(
            numbers in any::<[u32; 6]>(), codec in any::<u8>(), class in 0_u8..3, encryption in 0_u32..3, key in 0_u32..3,
            (raw_len, offset, len) in (0_u32..1 << 20, 0_u32..1 << 20, 0_u32..1 << 20),
        ) {
            let [segment, sector, shard_len, at, stored, crc] = numbers;
            let place = Place {
                location: Location { segment: SegmentId(segment), sector, shard_len, offset: at, len: stored, crc },
                domain: DedupDomain::of(class, encryption),
                key: KeyId::new(key),
                codec,
                raw_len,
                offset,
                len,
            };
            let fits = offset + len <= raw_len;
            prop_assert_eq!(Place::decode(&place.encode()), fits.then_some(place));
        }
    }
}
