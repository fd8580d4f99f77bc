//! The superblock's bytes are pinned, and damage or a newer writer never passes for a superblock.

use proptest::prelude::*;

use super::*;

fn sample() -> Superblock {
    let mut history = History::default();
    history.push(Opening { epoch: Epoch(1), opening: 0xaaaa, first_lsn: Lsn(1) });
    history.push(Opening { epoch: Epoch(4), opening: 0xbbbb, first_lsn: Lsn(1000) });
    Superblock {
        features: 0,
        ro_compat: 0,
        compat: 0,
        codec: 1,
        index: DiskIndex(2),
        geometry: Geometry { data_shards: 4, parity_shards: 2 },
        set: SetId(*b"0123456789abcdef"),
        created: Timestamp(1_577_836_800_000_000_000),
        segment_len: 64 << 20,
        generation: 9,
        durable_lsn: Lsn(999),
        active: 0b11_1011,
        whole: 0b11_1001,
        checkpoint: [0; 128],
        appending: true,
        history,
        sound: [Lsn(0); DISKS_MAX],
        roster: None,
        checkpoint_version: 0,
    }
}

fn slot() -> Vec<u8> {
    let mut slot = vec![0xff; SLOT_LEN];
    sample().encode(&mut slot);
    slot
}

#[test]
fn the_superblock_of_format_1_is_what_it_was() {
    let text = include_str!("../../fixtures/superblock-v1.hex");
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    let golden: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    let (slot, split) = (slot(), 304);
    let shown = |bytes: &[u8]| {
        bytes
            .chunks(32)
            .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n")
            .collect::<String>()
    };
    let kept = [&slot[..split], &slot[SLOT_LEN - 4..]].concat();
    assert_eq!(kept, golden, "{}", shown(&kept));
    assert!(slot[split..SLOT_LEN - 4].iter().all(|byte| *byte == 0));
    assert_eq!(Superblock::decode(&slot), Slot::Valid(Box::new(sample())));
}

#[test]
fn what_a_disk_holds_soundly_is_kept_behind_the_history() {
    let mut superblock = sample();
    superblock.sound = std::array::from_fn(|index| Lsn(0x0101 * index as u64));
    let mut slot = vec![0; SLOT_LEN];
    superblock.encode(&mut slot);
    assert_eq!(slot[3328 + 8 * 19..3328 + 8 * 20], (0x0101_u64 * 19).to_le_bytes());
    assert_eq!(Superblock::decode(&slot), Slot::Valid(Box::new(superblock.clone())));
    // Disk 1 is not whole in the sample, disk 2 neither: its own word is the lower of the two.
    assert_eq!(superblock.own_sound(), Lsn(0x0202).min(superblock.durable_lsn));
    superblock.whole |= 1 << 2;
    assert_eq!(superblock.own_sound(), superblock.durable_lsn);
}

#[test]
fn the_sets_of_a_store_lie_behind_what_the_disks_hold_and_are_flagged() {
    let mut superblock = sample();
    let alone = superblock.roster();
    let both = alone.with(SetId(*b"the second one.."), SetState::Active);
    superblock.roster = Some(both.with_state(superblock.set, SetState::Draining));
    superblock.checkpoint_version = 7;
    let mut slot = vec![0; SLOT_LEN];
    superblock.encode(&mut slot);
    assert_eq!(slot[8], 2, "a version that does not know sets refuses it");
    assert_eq!(slot[3488..3504], superblock.set.0);
    assert_eq!((slot[3504], slot[3512], slot[3520], slot[3522]), (2, 7, 2, 2));
    assert_eq!(slot[3528..3552], *b"0123456789abcdef\0\0\x02\0\0\0\0\0");
    assert_eq!(slot[3552..3576], *b"the second one..\x01\0\x01\0\0\0\0\0");
    assert_eq!(Superblock::decode(&slot), Slot::Valid(Box::new(superblock.clone())));
    // A list without the set it is found in proves nothing.
    superblock.roster = superblock.roster.map(|roster| roster.without(superblock.set));
    superblock.encode(&mut slot);
    assert_eq!(Superblock::decode(&slot), Slot::Blank);
}

#[test]
fn a_mark_of_a_feature_is_a_bit_that_is_kept_beside_those_of_other_fields() {
    let mut superblock = sample();
    superblock.features = Feature::Domains.bit();
    superblock.checkpoint[0] = 1;
    let mut slot = vec![0; SLOT_LEN];
    superblock.encode(&mut slot);
    assert_eq!(slot[8..12], [5, 0, 0, 0], "a version that does not know domains refuses it");
    assert_eq!(Superblock::decode(&slot), Slot::Valid(Box::new(superblock)));
}

#[test]
fn every_bit_of_a_slot_is_covered() {
    for bit in 0..SLOT_LEN * 8 {
        let mut slot = slot();
        slot[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Superblock::decode(&slot), Slot::Blank, "bit {bit}");
    }
}

fn with(change: impl FnOnce(&mut [u8])) -> Slot {
    let mut slot = slot();
    change(&mut slot);
    let crc = crc32c(&slot[..at::CRC]);
    put_u32(&mut slot, at::CRC, crc);
    Superblock::decode(&slot)
}

#[test]
fn an_unknown_incompatible_feature_is_told_from_damage() {
    assert_eq!(with(|slot| put_u32(slot, at::INCOMPAT, 0x8001)), Slot::Newer(0x8000));
    let Slot::Valid(superblock) = with(|slot| put_u32(slot, at::RO_COMPAT, 4)) else { panic!("may be read") };
    assert_eq!(superblock.unknown_ro_compat(), 4);
    let Slot::Valid(superblock) = with(|slot| put_u32(slot, at::COMPAT, 4)) else { panic!("may be written") };
    // And is kept when it is.
    assert_eq!((superblock.unknown_ro_compat(), superblock.compat), (0, 4));
}

#[test]
fn the_highest_superblock_is_the_one_that_may_have_written() {
    let older = sample();
    let mut opened = sample();
    opened.history.push(Opening { epoch: Epoch(5), opening: 1, first_lsn: Lsn(2000) });
    opened.appending = false;
    let mut wrote = opened.clone();
    (wrote.appending, wrote.generation) = (true, 3);
    assert!(older.rank() < opened.rank() && opened.rank() < wrote.rank());
}

proptest! {
    #[test]
    fn arbitrary_fields_are_decoded_or_refused_without_a_panic(offset in 8_usize..4000, bytes in proptest::collection::vec(any::<u8>(), 1..64)) {
        let slot = with(|slot| {
            let end = (offset + bytes.len()).min(at::CRC);
            slot[offset..end].copy_from_slice(&bytes[..end - offset]);
        });
        if let Slot::Valid(superblock) = slot {
            prop_assert!(usize::from(superblock.index.0) < superblock.disks());
            let mut again = vec![0; SLOT_LEN];
            superblock.encode(&mut again);
            prop_assert_eq!(Superblock::decode(&again), Slot::Valid(superblock));
        }
    }
}
