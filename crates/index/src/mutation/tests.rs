//! A batch reads back as it was, and nothing else reads as a batch.

use super::*;
use proptest::prelude::*;

fn any_mutation() -> impl Strategy<Value = Mutation> {
    let key =
        (1_u8.., proptest::collection::vec(any::<u8>(), 0..20)).prop_map(|(first, rest)| [vec![first], rest].concat());
    let value = proptest::collection::vec(any::<u8>(), 0..40);
    (key, value, any::<i64>(), 0..4).prop_map(|(key, value, delta, kind)| match kind {
        0 => Mutation::Put { key, value },
        1 => Mutation::Delete { key },
        2 => Mutation::Count { key, delta },
        _ => Mutation::SetTail { key, tail: value },
    })
}

proptest! {
    #[test]
    fn batches_read_back(mutations in proptest::collection::vec(any_mutation(), 0..20)) {
        let batch = Batch(mutations);
        let record = batch.encode();
        prop_assert!(record.len() <= batch.encoded_len_max());
        prop_assert_eq!(&Batch::decode(&record).unwrap(), &batch);
        for len in 0..record.len() {
            prop_assert!(Batch::decode(&record[..len]).is_err());
        }
    }

    #[test]
    fn events_read_back_and_change_nothing_of_their_batch(
        mutations in proptest::collection::vec(any_mutation(), 0..8),
        events in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
    ) {
        let batch = Batch(mutations);
        let record = batch.encode_with(&events);
        prop_assert_eq!(&Batch::decode(&record).unwrap(), &batch);
        prop_assert_eq!(events_of(&record).unwrap(), events.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert_eq!(events.is_empty(), record == batch.encode());
        for len in 0..record.len() {
            prop_assert!(Batch::decode(&record[..len]).is_err());
        }
    }

    #[test]
    fn whatever_decodes_encodes_to_the_same_bytes(
        version in VERSION..=VERSION_WITH_EVENTS,
        count in 0_u8..3, tail in proptest::collection::vec(prop_oneof![0_u8..5, any::<u8>()], 0..30),
    ) {
        let record = [vec![version, count], tail].concat();
        if let Ok(batch) = Batch::decode(&record) {
            let events: Vec<Vec<u8>> = events_of(&record).unwrap().into_iter().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(batch.encode_with(&events), record);
        }
    }
}

#[test]
fn a_batch_has_the_bytes_the_format_page_gives() {
    let mut batch = Batch::new();
    batch.put("ab", "xyz");
    batch.delete("ab");
    batch.count("c", -2);
    batch.set_tail("c", [0xff]);
    assert_eq!(batch.encode(), b"\x01\x04\x01\x02ab\x03xyz\x02\x02ab\x03\x01c\x03\x04\x01c\x01\xff");
    let mut told = Batch::new();
    told.delete("ab");
    assert_eq!(told.encode_with(&[b"xy".to_vec(), Vec::new()]), b"\x02\x02\x02xy\x00\x01\x02\x02ab");
}

#[test]
fn empty_and_reserved_keys_unknown_kinds_and_oversized_parts_are_refused() {
    for record in [
        &b"\x01\x01\x02\x00"[..],
        b"\x01\x01\x02\x01\x00",
        b"\x01\x01\x05\x01a",
        b"\x02\x00\x00",
        b"\x03\x00",
        b"\x01\x00\x00",
    ] {
        assert!(Batch::decode(record).is_err());
    }
    let mut long_key = Batch::new();
    long_key.delete(vec![1; KEY_LEN_MAX + 1]);
    assert!(long_key.check().is_err());
    let mut long_value = Batch::new();
    long_value.put("k", vec![0; VALUE_LEN_MAX + 1]);
    assert!(long_value.check().is_err());
}

#[test]
fn a_forged_count_reserves_no_memory() {
    assert!(Batch::decode(b"\x01\x80\x80\x40").is_err());
}

#[test]
fn a_cell_is_absent_with_a_count_of_zero_and_an_empty_tail() {
    assert_eq!(Cell::default().to_value(), None);
    for cell in
        [Cell { count: -1, tail: vec![] }, Cell { count: 0, tail: vec![0] }, Cell { count: 7, tail: vec![1, 2] }]
    {
        assert_eq!(Cell::from_value(&cell.to_value().unwrap()), cell);
    }
    assert_eq!(Cell::from_value(b"short"), Cell::default());
}
