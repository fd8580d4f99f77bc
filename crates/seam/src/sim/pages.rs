//! Sparse file content in shared pages: a copy costs a few reference counts, zero pages cost nothing.
//!
//! Two levels: pages of 4 KiB in groups of 1 MiB. A write after a copy duplicates the table of groups (one entry per
//! 1 MiB in use), one group (256 references) and the pages it touches, whatever the size of the file.
//! Invariant: a page that is present is not all zero unless it was cleared by a partial write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bytes per page.
pub(super) const PAGE_LEN: usize = 4096;
const GROUP_PAGES: u64 = 256;

type Page = [u8; PAGE_LEN];
type Group = Vec<Option<Arc<Page>>>;

/// The bytes of a file; what was never written reads as zero.
#[derive(Clone, Default, Debug)]
pub(super) struct Pages {
    groups: BTreeMap<u64, Arc<Group>>,
}

/// One page's share of a byte range.
struct Piece {
    page: u64,
    /// Where in the page it starts.
    within: usize,
    /// Where in the caller's buffer it starts.
    at: usize,
    len: usize,
}

fn pieces(offset: u64, len: usize) -> impl Iterator<Item = Piece> {
    let mut at = 0;
    std::iter::from_fn(move || {
        (at < len).then(|| {
            let position = offset + at as u64;
            let within = (position % PAGE_LEN as u64) as usize;
            let piece = Piece { page: position / PAGE_LEN as u64, within, at, len: (PAGE_LEN - within).min(len - at) };
            at += piece.len;
            piece
        })
    })
}

impl Pages {
    fn page(&self, page: u64) -> Option<&Arc<Page>> {
        self.groups.get(&(page / GROUP_PAGES))?[(page % GROUP_PAGES) as usize].as_ref()
    }

    fn slot(&mut self, page: u64) -> &mut Option<Arc<Page>> {
        let group = self.groups.entry(page / GROUP_PAGES).or_insert_with(|| Arc::new(vec![None; GROUP_PAGES as usize]));
        &mut Arc::make_mut(group)[(page % GROUP_PAGES) as usize]
    }

    /// Fills `buf` from `offset`.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) {
        for piece in pieces(offset, buf.len()) {
            let target = &mut buf[piece.at..piece.at + piece.len];
            match self.page(piece.page) {
                Some(page) => target.copy_from_slice(&page[piece.within..piece.within + piece.len]),
                None => target.fill(0),
            }
        }
    }

    /// Puts `data` at `offset`.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        for piece in pieces(offset, data.len()) {
            let source = &data[piece.at..piece.at + piece.len];
            let zero = source.iter().all(|byte| *byte == 0);
            if zero && (piece.len == PAGE_LEN || self.page(piece.page).is_none()) {
                if self.page(piece.page).is_some() {
                    *self.slot(piece.page) = None;
                }
                continue;
            }
            let page = self.slot(piece.page).get_or_insert_with(|| Arc::new([0; PAGE_LEN]));
            Arc::make_mut(page)[piece.within..piece.within + piece.len].copy_from_slice(source);
        }
    }

    /// Hands every page that differs from `base` to `each`, in order, with its number; `None` for zeros.
    pub(super) fn each_change(&self, base: &Self, mut each: impl FnMut(u64, Option<&Page>)) {
        let groups: BTreeSet<u64> = self.groups.keys().chain(base.groups.keys()).copied().collect();
        for group in groups {
            let (now, then) = (self.groups.get(&group), base.groups.get(&group));
            if let (Some(now), Some(then)) = (now, then)
                && Arc::ptr_eq(now, then)
            {
                continue;
            }
            for page in 0..GROUP_PAGES {
                let at = |group: Option<&Arc<Group>>| group.and_then(|group| group[page as usize].clone());
                let zeros = |page: Option<Arc<Page>>| page.filter(|page| page.iter().any(|byte| *byte != 0));
                let (now, then) = (at(now), at(then));
                let same = match (&now, &then) {
                    (Some(now), Some(then)) => Arc::ptr_eq(now, then) || now == then,
                    (None, None) => true,
                    _ => zeros(now.clone()).is_none() && zeros(then).is_none(),
                };
                if !same {
                    each(group * GROUP_PAGES + page, zeros(now).as_deref());
                }
            }
        }
    }

    /// Makes everything from `len` on zero.
    pub(super) fn truncate(&mut self, len: u64) {
        let last = len / PAGE_LEN as u64;
        let rest = (len % PAGE_LEN as u64) as usize;
        if rest > 0 && self.page(last).is_some() {
            self.write(len, &[0; PAGE_LEN][rest..]);
        }
        let end = len.div_ceil(PAGE_LEN as u64);
        self.groups.retain(|group, _| *group <= end / GROUP_PAGES);
        for page in end..(end / GROUP_PAGES + 1) * GROUP_PAGES {
            if self.page(page).is_some() {
                *self.slot(page) = None;
            }
        }
    }

    /// Takes over the pages of `other` that the range touches, by reference.
    pub(super) fn share(&mut self, other: &Self, offset: u64, len: usize) {
        for piece in pieces(offset, len) {
            let page = other.page(piece.page).cloned();
            if page.is_some() || self.page(piece.page).is_some() {
                *self.slot(piece.page) = page;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimRng;

    #[test]
    fn pages_agree_with_a_plain_vector_and_copies_stay_as_they_were() {
        let mut rng = SimRng::new(1);
        let mut model = vec![0; 3 << 20];
        let mut pages = Pages::default();
        let mut kept = None;
        for round in 0..400 {
            let offset = rng.below(model.len() as u64);
            let len = rng.below(20_000).min(model.len() as u64 - offset) as usize;
            let fill = rng.below(3) as u8;
            model[offset as usize..offset as usize + len].fill(fill);
            pages.write(offset, &vec![fill; len]);
            if round == 200 {
                kept = Some((pages.clone(), model.clone()));
            }
        }
        for (pages, model) in [(pages, model), kept.unwrap()] {
            let mut read = vec![9; model.len()];
            pages.read(0, &mut read);
            assert!(read == model);
        }
    }

    #[test]
    fn zeros_take_no_memory() {
        let mut pages = Pages::default();
        pages.write(0, &[0; 1 << 16]);
        assert!(pages.groups.is_empty());
        pages.write(4096, &[1; 4096]);
        pages.write(4096, &[0; 4096]);
        assert!(pages.page(1).is_none());
    }
}
