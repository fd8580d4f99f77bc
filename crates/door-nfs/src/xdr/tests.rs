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
    fn an_opaque_of_any_bytes_is_within_its_limit_and_takes_its_padding_along(
        len in prop_oneof![0u32..80, any::<u32>()],
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        limit in 0usize..64,
    ) {
        let record = Bytes::from([&len.to_be_bytes()[..], &bytes].concat());
        let mut decoder = Decoder::new(record.clone());
        let padded = len as usize + padding(len as usize);
        match decoder.opaque(limit) {
            Ok(read) => {
                prop_assert!(len as usize <= limit && padded <= bytes.len());
                prop_assert_eq!(&read, &record.slice(4..4 + len as usize));
                prop_assert_eq!(decoder.rest(), &record.slice(4 + padded..));
            }
            Err(XdrError::TooLong { limit: told }) => prop_assert!(told == limit && len as usize > limit),
            Err(error) => prop_assert!(error == XdrError::Short && padded > bytes.len(), "{error}"),
        }
    }
}
