//! What offsets of an open directory promise.

use proptest::prelude::*;

use super::*;

fn cursor(n: u64) -> Vec<u8> {
    format!("entry-{n:08}").into_bytes()
}

fn after(n: u64) -> Option<Position> {
    Some(Position { after: cursor(n), skip: 0 })
}

/// Positions after `count` entries were handed out; entry `n` has the cursor `n`.
fn positions(count: u64) -> Positions {
    let mut positions = Positions::new();
    for _ in 0..count {
        let next = positions.next();
        positions.push(cursor(next));
    }
    positions
}

#[test]
fn entries_are_numbered_behind_dot_and_dot_dot() {
    let positions = positions(3);
    assert_eq!(positions.next(), 6);
    assert_eq!(positions.resolve(DOT_DOT), Some(Position { after: Vec::new(), skip: 0 }));
    assert_eq!(positions.resolve(4), after(4));
}

#[test]
fn an_offset_never_given_out_leads_nowhere() {
    assert_eq!(positions(3).resolve(6), None);
    assert_eq!(positions(0).resolve(u64::MAX), None);
}

#[test]
fn a_position_stays_valid_when_the_listing_went_on_from_an_earlier_one() {
    let mut positions = positions(10);
    // seekdir back to entry 5, read on: the same entries are handed out again under new numbers.
    assert_eq!(positions.resolve(5), after(5));
    positions.push(cursor(6));
    positions.push(cursor(7));
    assert_eq!(positions.resolve(12), after(12));
    assert_eq!(positions.resolve(13), after(6));
    assert_eq!(positions.resolve(14), after(7));
}

#[test]
fn rewinding_numbers_from_the_start() {
    let mut positions = positions(10);
    positions.rewind();
    assert_eq!((positions.next(), positions.resolve(5)), (3, None));
}

#[test]
fn memory_of_a_huge_directory_is_bounded_and_recent_positions_stay_exact() {
    let count = 400_000;
    let positions = positions(count);
    assert!(positions.bytes <= CURSOR_BYTES_MAX);
    for back in [1, 100, RECENT / 2] {
        assert_eq!(positions.resolve(positions.next() - back), after(positions.next() - back));
    }
    // Far back the nearest kept cursor and a count of entries lead to the same place.
    for offset in [3, 1000, 123_457, 250_001] {
        let position = positions.resolve(offset).expect("was given out");
        let base = if position.after.is_empty() {
            DOT_DOT
        } else {
            String::from_utf8_lossy(&position.after)[6..].parse().expect("a number")
        };
        assert_eq!(base + position.skip, offset);
    }
}

#[test]
fn cursors_of_the_longest_length_do_not_break_the_bound() {
    let mut positions = Positions::new();
    for _ in 0..20_000 {
        positions.push(vec![7; 1100]);
        assert!(positions.bytes <= CURSOR_BYTES_MAX);
    }
    assert!(positions.resolve(positions.next() - 1).is_some_and(|p| p.skip == 0));
}

proptest! {
    #[test]
    fn every_offset_given_out_resolves_to_its_own_entry(count in 1_u64..2000, pick in any::<prop::sample::Index>()) {
        let positions = positions(count);
        let offset = 3 + pick.index(count as usize) as u64;
        prop_assert_eq!(positions.resolve(offset), after(offset));
    }
}
