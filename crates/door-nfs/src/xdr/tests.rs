//! The decoder against hostile bytes, and the two directions against each other.

use proptest::prelude::*;

use super::*;

#[test]
fn a_length_beyond_the_record_is_short_and_allocates_nothing() {
    let mut decoder = Decoder::new(Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 1, 2, 3, 4]));
    assert_eq!(decoder.opaque(usize::MAX), Err(XdrError::Short));
}

#[test]
fn a_length_above_the_limit_is_refused() {
    let mut decoder = Decoder::new(Bytes::from_static(&[0, 0, 0, 5, b'a', b'b', b'c', b'd', b'e', 0, 0, 0]));
    assert_eq!(decoder.opaque(4), Err(XdrError::TooLong { limit: 4 }));
}

#[test]
fn missing_padding_is_short() {
    let mut decoder = Decoder::new(Bytes::from_static(&[0, 0, 0, 1, b'a']));
    assert_eq!(decoder.opaque(4), Err(XdrError::Short));
}

#[test]
fn an_opaque_is_padded_to_four_bytes() {
    let mut encoder = Encoder::default();
    encoder.opaque(b"abcde");
    assert_eq!(encoder.into_vec(), [0, 0, 0, 5, b'a', b'b', b'c', b'd', b'e', 0, 0, 0]);
}

#[test]
fn an_opaque_is_a_slice_of_the_record() {
    let record = Bytes::from_static(&[0, 0, 0, 4, 9, 8, 7, 6]);
    let start = record.as_ptr();
    let data = Decoder::new(record).opaque(4).unwrap();
    assert_eq!(data.as_ptr(), start.wrapping_add(4));
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(word in any::<u32>(), long in any::<u64>(), flag in any::<bool>(),
                                  bytes in proptest::collection::vec(any::<u8>(), 0..300), fixed in any::<[u8; 8]>()) {
        let mut encoder = Encoder::default();
        encoder.u32(word);
        encoder.opaque(&bytes);
        encoder.u64(long);
        encoder.fixed(&fixed);
        encoder.bool(flag);
        prop_assert_eq!(encoder.len() % 4, 0);
        let mut decoder = Decoder::new(Bytes::from(encoder.into_vec()));
        prop_assert_eq!(decoder.u32().unwrap(), word);
        prop_assert_eq!(decoder.opaque(300).unwrap(), Bytes::from(bytes));
        prop_assert_eq!(decoder.u64().unwrap(), long);
        prop_assert_eq!(decoder.fixed::<8>().unwrap(), fixed);
        prop_assert_eq!(decoder.bool().unwrap(), flag);
        prop_assert!(decoder.rest().is_empty());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), limit in 0usize..64) {
        let mut decoder = Decoder::new(Bytes::from(bytes));
        while !decoder.rest().is_empty() {
            if decoder.clone().opaque(limit).is_ok() {
                let _ = decoder.opaque(limit);
            }
            let _ = decoder.clone().fixed_type::<nfsserve::nfs::sattr3>();
            let _ = decoder.clone().fixed::<9>();
            if decoder.u32().is_err() {
                break;
            }
        }
    }
}
