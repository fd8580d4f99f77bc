//! An event reads back as it was, nothing else reads as one, and it is small.

use proptest::prelude::*;

use super::*;

fn any_text(len: std::ops::Range<usize>) -> impl Strategy<Value = Arc<str>> {
    proptest::collection::vec(proptest::char::range('a', 'z'), len)
        .prop_map(|text| text.into_iter().collect::<String>().into())
}

fn any_key() -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..30))
}

fn any_tag() -> impl Strategy<Value = Option<ContentTag>> {
    let hex = proptest::collection::vec(proptest::sample::select(b"0123456789abcdef".to_vec()), 32..33);
    let hex = hex.prop_map(|digits| String::from_utf8(digits).unwrap());
    proptest::option::of(
        prop_oneof![
            hex.clone(),
            (hex.clone(), any::<u64>()).prop_map(|(hex, count)| format!("{hex}-{count}")),
            hex.prop_map(|hex| format!("{hex}-007")),
            any_text(0..40).prop_map(|text| text.to_string()),
        ]
        .prop_map(tag::read),
    )
}

fn any_what() -> impl Strategy<Value = What> {
    let made = proptest::sample::select(vec![Made::Put, Made::Copy, Made::Upload, Made::Write, Made::Edit]);
    let before = (any::<u64>(), proptest::option::of(any_text(0..10)), any_key(), any::<bool>());
    let before = before.prop_map(|(parent, bucket, key, exchange)| What::Renamed {
        from: Before { parent: Ino(parent), bucket, key },
        exchange,
    });
    prop_oneof![
        Just(What::Created),
        (made, any::<bool>(), any::<u32>()).prop_map(|(made, new, dirs)| What::Content { made, new, dirs }),
        Just(What::Linked),
        (any::<bool>(), any::<u32>()).prop_map(|(last, dirs)| What::Removed { last, dirs }),
        before,
        Just(What::Attributes),
        Just(What::BucketMade),
        Just(What::BucketRemoved),
        Just(What::BucketChanged),
        Just(What::Repaired),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    let kinds = [NodeKind::File, NodeKind::Directory, NodeKind::Symlink, NodeKind::Fifo, NodeKind::Socket];
    let doors: Vec<DoorNumber> = (1..=DoorNumber::MAX).map(DoorNumber::new).collect();
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>(), any::<i64>());
    let names = (any_text(0..20), any_key(), any_tag(), proptest::option::of(any_text(0..20)));
    let rest = (proptest::sample::select(kinds.to_vec()), proptest::sample::select(doors), any::<bool>());
    (any_what(), numbers, names, rest).prop_map(|(what, numbers, (bucket, key, tag, user), (kind, door, relaxed))| {
        let (ino, parent, change, version, size, uid, at) = numbers;
        let (ino, parent, at) = (Ino(ino), Ino(parent), Timestamp(at));
        Event { what, ino, kind, parent, bucket, key, change, version, size, tag, uid, user, door, at, relaxed }
    })
}

proptest! {
    #[test]
    fn events_read_back(event in any_event()) {
        let record = event.encode();
        prop_assert_eq!(&Event::decode(&record).unwrap(), &event);
        for len in 0..record.len() {
            prop_assert!(Event::decode(&record[..len]).is_err());
        }
        prop_assert!(Event::decode(&[&record[..], &[0]].concat()).is_err());
    }

    #[test]
    fn whatever_decodes_encodes_to_the_same_bytes(event in any_event(), at: prop::sample::Index, byte: u8) {
        let mut record = event.encode();
        let at = at.index(record.len());
        record[at] = byte;
        if let Ok(other) = Event::decode(&record) {
            prop_assert_eq!(other.encode(), record);
        }
    }
}

fn put() -> Event {
    Event {
        what: What::Content { made: Made::Put, new: true, dirs: 2 },
        ino: Ino(70_001),
        kind: NodeKind::File,
        parent: Ino(70_000),
        bucket: "photos".into(),
        key: Some(b"2026/11/a.jpg".to_vec()),
        change: 1,
        version: 1,
        size: 4096,
        tag: Some(ContentTag::Nothing),
        uid: 1000,
        user: Some("ada".into()),
        door: DoorNumber::new(1),
        at: Timestamp(1_764_500_000_123_456_789),
        relaxed: false,
    }
}

#[test]
fn a_put_has_the_bytes_the_format_page_gives() {
    let record = put().encode();
    let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "01020e11150d89c166c37c18f1a204f0a20401018020e8070361646106\
         70686f746f730d323032362f31312f612e6a706701d41d8cd98f00b204e9800998ecf8427e0102"
    );
    assert!(record.len() <= 80, "an event is small: {} bytes", record.len());
}

#[test]
fn what_an_event_is_about_is_told_by_its_name_now_and_the_one_before() {
    let event = put();
    assert!(event.concerns("photos", b"") && event.concerns("photos", b"2026/"));
    assert!(!event.concerns("photos", b"2025/") && !event.concerns("other", b""));
    let from = Before { parent: Ino(5), bucket: None, key: Some(b"2025/a.jpg".to_vec()) };
    let renamed = Event { what: What::Renamed { from, exchange: false }, ..event.clone() };
    assert!(renamed.concerns("photos", b"2025/") && renamed.concerns("photos", b"2026/"));
    assert!(!renamed.concerns("photos", b"2024/"));
    // What is below a folder goes with it: out of a prefix, or into one.
    let from = Before { parent: Ino(5), bucket: None, key: Some(b"2025/".to_vec()) };
    let what = What::Renamed { from, exchange: false };
    let folder = Event { what, kind: NodeKind::Directory, key: Some(b"2026/".to_vec()), ..event.clone() };
    assert!(folder.concerns("photos", b"2025/11/") && folder.concerns("photos", b"2026/11/"));
    assert!(!folder.concerns("photos", b"2024/11/") && !folder.concerns("other", b"2025/11/"));
    // The same holds for a move into the trash: linked in the trash, removed where it was.
    for what in [What::Linked, What::Removed { last: true, dirs: 0 }] {
        let thrown = Event { what, kind: NodeKind::Directory, key: Some(b"2026/".to_vec()), ..event.clone() };
        assert!(thrown.concerns("photos", b"2026/11/") && thrown.concerns("photos", b""));
        assert!(!thrown.concerns("photos", b"2025/"));
    }
    let bucket = Event { what: What::BucketRemoved, kind: NodeKind::Directory, key: Some(Vec::new()), ..event.clone() };
    assert!(bucket.concerns("photos", b"2026/") && !bucket.concerns("other", b""));
    let file = Event { what: What::Linked, key: Some(b"2026".to_vec()), ..event.clone() };
    assert!(!file.concerns("photos", b"2026/11/"));
    let nameless = Event { key: None, ..event.clone() };
    assert!(nameless.concerns("photos", b"") && !nameless.concerns("photos", b"2"));
    let repaired = Event { what: What::Repaired, bucket: "".into(), key: None, ..event };
    assert!(repaired.concerns("photos", b"2024/"), "everybody is told to look again");
}

#[test]
fn unknown_kinds_and_flags_are_refused() {
    let record = put().encode();
    for (at, byte) in [(0, 2), (1, 0), (1, 11), (2, 0x4e), (2, 0x1e), (3, 0x01), (3, 0x18)] {
        let mut other = record.clone();
        other[at] = byte;
        assert!(Event::decode(&other).is_err(), "byte {at} as {byte:#x}");
    }
}

#[test]
fn a_door_that_this_build_does_not_know_is_told_by_its_number() {
    let mut record = put().encode();
    record[3] = 0xf1;
    assert_eq!(Event::decode(&record).unwrap().door.get(), 15);
}
