//! The decoders against hostile bytes, and what they make of good ones.

use proptest::prelude::*;
use strata_namespace::{HoldOwner, RangeSpace};

use super::*;
use crate::operations::DOOR;

fn lock(offset: u64, len: u64) -> Lock {
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    Lock { caller: text("host"), handle: text("handle"), owner: text("7@host"), svid: 7, offset, len }
}

#[test]
fn numbers_are_those_of_the_protocol() {
    assert_eq!([Stat::Granted as u32, Stat::Blocked as u32, Stat::Grace as u32, Stat::ReadOnly as u32], [0, 3, 4, 6]);
    assert_eq!([Stat::StaleHandle as u32, Stat::TooBig as u32, Stat::Failed as u32], [7, 8, 9]);
    assert_eq!((Stat::of(1), Stat::of(5), Stat::of(77)), (Stat::Denied, Stat::Failed, Stat::Failed));
}

#[test]
fn bytes_that_no_file_has_are_refused_and_the_last_one_is_the_end() {
    for (offset, len, range) in [
        (0, 0, Some(0..u64::MAX)),
        (10, 5, Some(10..15)),
        (LAST_BYTE, 0, Some(LAST_BYTE..u64::MAX)),
        (LAST_BYTE, 1, Some(LAST_BYTE..u64::MAX)),
        (0, LAST_BYTE, Some(0..LAST_BYTE)),
        (0, LAST_BYTE + 1, Some(0..u64::MAX)),
        (1, LAST_BYTE + 1, None),
        (LAST_BYTE + 1, 0, None),
        (5, u64::MAX, None),
    ] {
        assert_eq!(lock(offset, len).range(), range, "{offset} {len}");
    }
}

#[test]
fn who_is_in_the_way_is_told_with_the_number_of_its_process_and_its_bytes() {
    let owner = HoldOwner { door: DOOR.number, client: 1, owner: 2, pid: 40 };
    let held = |range| HeldRange { owner, space: RangeSpace::Bytes, kind: RangeKind::Write, range, lease: None };
    for (range, told) in [(3..10, (3, 7)), (3..u64::MAX, (3, 0))] {
        let mut out = Encoder::default();
        Answered::Held(held(range)).encode(b"cook", &mut out);
        let mut input = Decoder::new(Bytes::from(out.into_vec()));
        assert_eq!(input.opaque(4).unwrap(), "cook");
        assert_eq!([input.u32().unwrap(), input.u32().unwrap(), input.u32().unwrap()], [1, 1, 40]);
        assert_eq!(input.opaque(0).unwrap(), "");
        assert_eq!((input.u64().unwrap(), input.u64().unwrap()), told);
        assert!(input.rest().is_empty());
    }
}

fn encoded(cookie: &[u8], flags: &[bool], lock: &Lock, behind: &[u32]) -> Bytes {
    let mut out = Encoder::default();
    out.opaque(cookie);
    flags.iter().for_each(|flag| out.bool(*flag));
    lock.encode(&mut out);
    behind.iter().for_each(|word| out.u32(*word));
    Bytes::from(out.into_vec())
}

proptest! {
    #[test]
    fn no_bytes_whatever_make_reading_panic(number in 0u32..30, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(Request::decode(number, Bytes::from(bytes.clone())));
        drop(notice(Bytes::from(bytes)));
    }

    #[test]
    fn what_a_client_encodes_is_decoded(
        cookie in proptest::collection::vec(any::<u8>(), 0..40),
        caller in proptest::collection::vec(any::<u8>(), 0..80),
        owner in proptest::collection::vec(any::<u8>(), 0..80),
        (svid, offset, len) in any::<(u32, u64, u64)>(),
        (block, exclusive, reclaim) in any::<(bool, bool, bool)>(),
    ) {
        let lock = Lock { caller: caller.into(), owner: owner.into(), svid, offset, len, ..lock(0, 0) };
        let told = Bytes::from(cookie);
        let decoded = Request::decode(procedure::LOCK, encoded(&told, &[block, exclusive], &lock, &[u32::from(reclaim), 9])).unwrap();
        prop_assert_eq!(decoded, (told.clone(), Request::Lock { block, exclusive, lock: lock.clone(), reclaim }));
        let decoded = Request::decode(procedure::TEST, encoded(&told, &[exclusive], &lock, &[])).unwrap();
        prop_assert_eq!(decoded, (told.clone(), Request::Test { exclusive, lock: lock.clone() }));
        let decoded = Request::decode(procedure::CANCEL, encoded(&told, &[block, exclusive], &lock, &[])).unwrap();
        prop_assert_eq!(decoded, (told.clone(), Request::Cancel { exclusive, lock: lock.clone() }));
        let decoded = Request::decode(procedure::UNLOCK, encoded(&told, &[], &lock, &[])).unwrap();
        prop_assert_eq!(decoded, (told, Request::Unlock { lock: lock.clone() }));
        prop_assert_eq!(lock.kept(), lock);
    }

    #[test]
    fn what_is_longer_than_the_protocol_allows_is_refused(over in 1usize..50) {
        let long = Lock { owner: vec![0; NETOBJ_LEN_MAX + over].into(), ..lock(0, 0) };
        prop_assert!(Request::decode(procedure::UNLOCK, encoded(b"", &[], &long, &[])).is_err());
        let long = Lock { caller: vec![b'h'; HOST_LEN_MAX + over].into(), ..lock(0, 0) };
        prop_assert!(Request::decode(procedure::UNLOCK, encoded(b"", &[], &long, &[])).is_err());
        prop_assert!(Request::decode(procedure::UNLOCK, encoded(&vec![0; NETOBJ_LEN_MAX + over], &[], &lock(0, 0), &[])).is_err());
    }
}
