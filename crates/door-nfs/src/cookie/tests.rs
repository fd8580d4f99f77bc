//! Cookies are stable, and the cache is bounded and finds what was lately listed.

use proptest::prelude::*;

use super::*;

const SECRET: [u8; 32] = [7; 32];

fn page(cookies: &Cookies, directory: u64, names: &[String]) -> Page {
    let mut page = Page::new(Ino(directory));
    for name in names {
        page.push(cookies.of(name.as_bytes()), name.as_bytes());
    }
    page
}

fn names(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|number| format!("name-{number}")).collect()
}

#[test]
fn a_cookie_is_the_same_after_a_restart_and_another_under_another_secret() {
    let cookie = Cookies::new(&SECRET, 1000).of(b"name");
    assert_eq!(cookie, Cookies::new(&SECRET, 1000).of(b"name"));
    assert_ne!(cookie, Cookies::new(&[8; 32], 1000).of(b"name"));
    assert_ne!(Cookies::new(&SECRET, 1).verifier(), Cookies::new(&[8; 32], 1).verifier());
}

#[test]
fn every_entry_of_a_kept_page_is_found_in_its_own_directory_only() {
    let cookies = Cookies::new(&SECRET, 1 << 20);
    let listed = names(0, 500);
    cookies.keep(page(&cookies, 5, &listed));
    for name in &listed {
        assert_eq!(cookies.find(Ino(5), cookies.of(name.as_bytes())).as_deref(), Some(name.as_bytes()));
        assert_eq!(cookies.find(Ino(6), cookies.of(name.as_bytes())), None);
    }
}

#[test]
fn the_page_least_lately_used_goes_first() {
    let cookies = Cookies::new(&SECRET, 3 * 10 * 40);
    for directory in 1..=2 {
        cookies.keep(page(&cookies, directory, &names(0, 10)));
    }
    let first = cookies.of(b"name-0");
    assert!(cookies.find(Ino(1), first).is_some());
    for directory in 3..=4 {
        cookies.keep(page(&cookies, directory, &names(0, 10)));
        assert!(cookies.find(Ino(1), first).is_some());
    }
    assert!(cookies.find(Ino(2), first).is_none());
}

#[test]
fn listing_the_same_page_again_takes_no_more_room() {
    let cookies = Cookies::new(&SECRET, 1 << 20);
    cookies.keep(page(&cookies, 1, &names(0, 10)));
    let bytes = cookies.pages.lock().bytes;
    cookies.keep(page(&cookies, 1, &names(0, 10)));
    assert_eq!(cookies.pages.lock().bytes, bytes);
}

proptest! {
    #[test]
    fn cookies_are_positive_and_not_reserved(cursor in proptest::collection::vec(any::<u8>(), 0..64)) {
        let cookie = Cookies::new(&SECRET, 0).of(&cursor);
        prop_assert!(cookie > COOKIE_DOT_DOT && i64::try_from(cookie).is_ok());
    }

    #[test]
    fn the_cache_stays_within_its_bound(pages in proptest::collection::vec((1u64..4, 0usize..1000, 0usize..40), 0..200)) {
        let cookies = Cookies::new(&SECRET, 8000);
        for (directory, start, len) in pages {
            cookies.keep(page(&cookies, directory, &names(start, start + len)));
            let inner = cookies.pages.lock();
            prop_assert!(inner.bytes <= 8000);
            prop_assert_eq!(inner.bytes, inner.by_use.values().map(Page::bytes).sum::<usize>());
            prop_assert_eq!(inner.by_use.len(), inner.by_directory.values().map(Vec::len).sum::<usize>());
            prop_assert!(inner.by_directory.values().all(|keys| keys.len() <= PAGES_PER_DIRECTORY_MAX));
        }
    }
}
