//! Numbers are stable and can be resolved, in bounded memory.

use proptest::prelude::*;

use super::*;

const KEY: [u8; 32] = [7; 32];

fn page(positions: &Positions, directory: u64, names: &[String]) -> Page {
    let mut page = Page::new(Ino(directory));
    for name in names {
        page.push(positions.of(Ino(directory), name.as_bytes()), name.as_bytes());
    }
    page
}

fn names(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|number| format!("name-{number:08}")).collect()
}

fn one(positions: &Positions) -> u64 {
    positions.of(Ino(1), b"name")
}

#[test]
fn a_number_is_the_same_after_a_restart_and_another_under_another_key() {
    let number = one(&Positions::new(KEY, 1000));
    assert_eq!(number, one(&Positions::new(KEY, 1000)));
    assert_ne!(number, one(&Positions::new([8; 32], 1000)));
    assert_ne!(Positions::new(KEY, 1).verifier(), Positions::new([8; 32], 1).verifier());
}

#[test]
fn every_entry_of_a_kept_page_is_found_in_its_own_directory_only() {
    let positions = Positions::new(KEY, 1 << 20);
    let listed = names(0, 500);
    positions.keep(page(&positions, 5, &listed));
    for name in &listed {
        let number = positions.of(Ino(5), name.as_bytes());
        assert_eq!(positions.find(Ino(5), number).as_deref(), Some(name.as_bytes()));
        assert_eq!(positions.find(Ino(6), number), None);
    }
}

#[test]
fn the_page_least_lately_used_goes_first() {
    let positions = Positions::new(KEY, 3 * 10 * 120);
    for directory in 1..=2 {
        positions.keep(page(&positions, directory, &names(0, 10)));
    }
    let first = positions.of(Ino(1), b"name-00000000");
    assert!(positions.find(Ino(1), first).is_some());
    for directory in 3..=4 {
        positions.keep(page(&positions, directory, &names(0, 10)));
        assert!(positions.find(Ino(1), first).is_some());
    }
    assert!(positions.find(Ino(2), first).is_none());
}

#[test]
fn listing_the_same_page_again_takes_no_more_room() {
    let positions = Positions::new(KEY, 1 << 20);
    positions.keep(page(&positions, 1, &names(0, 10)));
    let bytes = positions.known.lock().bytes;
    positions.keep(page(&positions, 1, &names(0, 10)));
    assert_eq!(positions.known.lock().bytes, bytes);
}

#[test]
fn what_a_reader_was_told_is_found_however_many_others_list_the_directory_as_it_has_become() {
    let positions = Positions::new(KEY, 1 << 20);
    let told = names(0, 100);
    positions.keep(page(&positions, 1, &told));
    for gone in 1..100 {
        // Other readers begin with the same entry; entries behind it, up to number `gone`, are removed.
        let left: Vec<String> = told[..1].iter().chain(&told[gone + 1..]).cloned().collect();
        positions.keep(page(&positions, 1, &left[..1 + (left.len() - 1) / 2]));
        // They also list entries elsewhere, page by page.
        positions.keep(page(&positions, 1, &names(gone * 1000, gone * 1000 + 10)));
    }
    for name in &told {
        let number = positions.of(Ino(1), name.as_bytes());
        assert_eq!(positions.find(Ino(1), number).as_deref(), Some(name.as_bytes()), "{name}");
    }
}

#[test]
fn a_number_given_out_long_ago_is_looked_for_near_its_entry_however_large_the_directory_has_become() {
    let positions = Positions::new(KEY, 8 << 20);
    let directory = Ino(1);
    let mut told = Vec::new();
    let total = PARTS_MAX * usize::try_from(PART_LEN).unwrap() * 3;
    for from in (0..total).step_by(4096) {
        let listed = names(from, from + 4096);
        let page = page(&positions, 1, &listed);
        told.push((from, page.entries[0].0));
        positions.keep(page);
        assert!(positions.known.lock().bytes <= 8 << 20);
    }
    for (at, number) in told {
        let start = positions.start(directory, number);
        let begin: usize = start.map_or(0, |start| String::from_utf8(start).unwrap()[5..].parse().unwrap());
        assert!(begin <= at && at - begin <= 4096 + 8 * usize::try_from(PART_LEN).unwrap(), "{at} from {begin}");
    }
}

#[test]
fn listing_a_directory_again_and_again_makes_no_more_parts() {
    let positions = Positions::new(KEY, 8 << 20);
    let parts = |positions: &Positions| positions.known.lock().directories[&Ino(1)].parts.starts.len();
    for _ in 0..20 {
        for from in (0..5000).step_by(500) {
            positions.keep(page(&positions, 1, &names(from, from + 500)));
        }
        assert_eq!(parts(&positions), 4);
    }
}

proptest! {
    #[test]
    fn numbers_are_positive_and_not_reserved(cursor in proptest::collection::vec(any::<u8>(), 0..64)) {
        let number = Positions::new(KEY, 0).of(Ino(1), &cursor);
        prop_assert!(number > RESERVED && i64::try_from(number).is_ok());
    }

    #[test]
    fn what_is_kept_stays_within_its_bound(pages in proptest::collection::vec((1u64..4, 0usize..1000, 0usize..40), 0..200)) {
        let positions = Positions::new(KEY, 8000);
        for (directory, start, len) in pages {
            positions.keep(page(&positions, directory, &names(start, start + len)));
            let inner = positions.known.lock();
            prop_assert!(inner.bytes <= 8000);
            let parts: usize = inner.directories.values().map(|directory| directory.parts.bytes).sum();
            prop_assert_eq!(inner.bytes, parts + inner.pages.values().map(|(_, page)| page.bytes()).sum::<usize>());
            prop_assert_eq!(inner.by_use.len(), inner.pages.len());
            prop_assert!(inner.by_use.iter().all(|(used, page)| inner.pages[page].0 == *used));
            prop_assert_eq!(inner.pages.len(), inner.directories.values().map(|known| known.pages).sum::<usize>());
            let entries: usize = inner.pages.values().map(|(_, page)| page.entries.len()).sum();
            prop_assert_eq!(inner.entries.len(), entries);
        }
    }
}
