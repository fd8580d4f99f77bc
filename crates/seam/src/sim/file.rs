//! One simulated file: what is on the medium, what is only in memory, and what a crash makes of the difference.
//!
//! Invariants: `cached` is `None` exactly when reads and the medium agree and nothing is pending. `pending` is in the
//! order of the calls; replaying all of it onto `durable` gives `cached`, except after a failed sync (`diverged`).

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::entropy::SimRng;
use super::pages::Pages;

/// A write that has not reached the medium.
#[derive(Clone, Debug)]
struct Pending {
    offset: u64,
    data: Arc<[u8]>,
}

impl Pending {
    fn overlaps(&self, offset: u64, len: u64) -> bool {
        self.offset < offset + len && offset < self.offset + self.data.len() as u64
    }
}

/// A file of a simulated disk.
#[derive(Clone, Default, Debug)]
pub(super) struct SimFile {
    /// Length in bytes.
    pub(super) len: u64,
    /// Whether a name leads to it; without one it lives as long as its handles.
    pub(super) linked: bool,
    /// Open handles.
    pub(super) handles: u32,
    durable: Pages,
    cached: Option<Pages>,
    diverged: bool,
    pending: Vec<Pending>,
    previous: Pages,
}

impl SimFile {
    /// A file of zeros.
    pub(super) fn zeros(len: u64) -> Self {
        Self { len, linked: true, ..Self::default() }
    }

    /// A file with this durable content, in place of `old`, which stale reads then show.
    pub(super) fn with_content(content: &[u8], old: Option<&Self>) -> Self {
        let mut file = Self::zeros(content.len() as u64);
        file.durable.write(0, content);
        if let Some(old) = old {
            file.previous = old.view().clone();
        }
        file
    }

    fn view(&self) -> &Pages {
        self.cached.as_ref().unwrap_or(&self.durable)
    }

    /// Whether `len` bytes at `offset` lie in the file.
    pub(super) fn holds(&self, offset: u64, len: u64) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len)
    }

    /// Fills `buf` with what the operating system would return.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) {
        self.view().read(offset, buf);
    }

    /// Fills `buf` with what each page held before its last write.
    pub(super) fn read_stale(&self, offset: u64, buf: &mut [u8]) {
        self.previous.read(offset, buf);
    }

    fn remember(&mut self, offset: u64, len: usize) {
        let view = self.cached.as_ref().unwrap_or(&self.durable);
        self.previous.share(view, offset, len);
    }

    /// A write into memory.
    pub(super) fn write_buffered(&mut self, offset: u64, data: &[u8]) {
        self.remember(offset, data.len());
        self.cached.get_or_insert_with(|| self.durable.clone()).write(offset, data);
        self.pending.push(Pending { offset, data: data.into() });
    }

    /// A write to the medium. Pending writes below it are written back first, as a kernel does before direct I/O.
    pub(super) fn write_durable(&mut self, offset: u64, data: &[u8]) {
        self.remember(offset, data.len());
        if let Some(last) = self.pending.iter().rposition(|old| old.overlaps(offset, data.len() as u64)) {
            for old in self.pending.drain(..=last) {
                self.durable.write(old.offset, &old.data);
            }
        }
        self.durable.write(offset, data);
        if let Some(cached) = &mut self.cached {
            cached.write(offset, data);
        }
        self.settle_cache();
    }

    fn settle_cache(&mut self) {
        if self.pending.is_empty() && !self.diverged {
            self.cached = None;
        }
    }

    /// Brings everything pending to the medium.
    pub(super) fn sync(&mut self) {
        if self.diverged {
            for write in self.pending.drain(..) {
                self.durable.write(write.offset, &write.data);
            }
        } else if let Some(cached) = self.cached.take() {
            self.durable = cached;
            self.pending.clear();
        }
    }

    /// Loses everything pending; reads show it further on unless `revert`.
    pub(super) fn lose_pending(&mut self, revert: bool) {
        if self.pending.is_empty() {
            return;
        }
        self.pending.clear();
        self.diverged = !revert;
        if revert {
            self.cached = None;
        }
    }

    /// Puts bytes on the medium and into memory without an I/O, as rot or a misled head does.
    pub(super) fn overwrite(&mut self, offset: u64, data: &[u8]) {
        self.durable.write(offset, data);
        if let Some(cached) = &mut self.cached {
            cached.write(offset, data);
        }
    }

    /// Cuts or extends the file without an I/O; the bytes past the new end are gone.
    pub(super) fn set_len(&mut self, len: u64) {
        self.pending.clear();
        for pages in [Some(&mut self.durable), self.cached.as_mut()].into_iter().flatten() {
            pages.truncate(len);
        }
        self.len = len;
        self.settle_cache();
    }

    /// What a power cut leaves: each pending write is kept, lost or torn as `fate` says, in order.
    pub(super) fn power_cut(&mut self, fate: &mut Fate) {
        for write in std::mem::take(&mut self.pending) {
            fate.apply(&mut self.durable, &write);
        }
        self.cached = None;
        self.diverged = false;
    }

    /// Feeds what the medium holds, as far as it differs from `base`, to `hasher`.
    pub(super) fn hash_change(&self, base: Option<&Self>, hasher: &mut impl Hasher) {
        self.len.hash(hasher);
        let none = Pages::default();
        self.durable.each_change(base.map_or(&none, |base| &base.durable), |page, bytes| {
            page.hash(hasher);
            bytes.hash(hasher);
        });
    }

    /// Whether a power cut would change nothing.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.cached.is_none()
    }
}

/// The choices of one power cut.
pub(super) enum Fate {
    /// Nothing unsynced survives.
    Nothing,
    /// Everything unsynced survives.
    Everything,
    /// Each write is kept, lost or torn by chance; `keep_of_8` sets how often it is kept whole, so that seeds differ
    /// in character and not only in detail.
    Chance {
        /// The source of the choices.
        rng: SimRng,
        /// Writes kept whole, of eight.
        keep_of_8: u64,
    },
}

impl Fate {
    /// Seed 0 loses everything unsynced, seed 1 keeps it, any other seed mixes.
    pub(super) fn new(seed: u64) -> Self {
        match seed {
            0 => Self::Nothing,
            1 => Self::Everything,
            _ => {
                let mut rng = SimRng::new(seed);
                let keep_of_8 = 1 + rng.below(6);
                Self::Chance { rng, keep_of_8 }
            }
        }
    }

    /// One of `n` outcomes, the first being "as before" and the last "as asked".
    pub(super) fn outcome(&mut self, n: u64) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Everything => n - 1,
            Self::Chance { rng, .. } => rng.below(n),
        }
    }

    /// A length below `len`, a multiple of 4 KiB where there is one.
    pub(super) fn shorter(&mut self, len: u64) -> u64 {
        match self {
            Self::Nothing | Self::Everything => 0,
            Self::Chance { rng, .. } => rng.below(len.div_ceil(4096)) * 4096,
        }
    }

    fn apply(&mut self, pages: &mut Pages, write: &Pending) {
        let (rng, keep_of_8) = match self {
            Self::Nothing => return,
            Self::Everything => return pages.write(write.offset, &write.data),
            Self::Chance { rng, keep_of_8 } => (rng, *keep_of_8),
        };
        if rng.below(8) < keep_of_8 {
            return pages.write(write.offset, &write.data);
        }
        if rng.one_in(2) {
            return; // lost whole
        }
        let granule = if rng.one_in(2) { 512 } else { 4096 };
        let parts = cut(write.offset, write.data.len(), granule);
        // either the head went down in the middle, or the drive wrote its sectors in an order of its own
        let prefix = rng.one_in(2).then(|| rng.below(parts.len() as u64) as usize);
        for (number, (start, end)) in parts.into_iter().enumerate() {
            let kept = prefix.map_or_else(|| rng.one_in(2), |prefix| number < prefix);
            if kept {
                pages.write(write.offset + start as u64, &write.data[start..end]);
            }
        }
    }
}

/// The parts of a write between multiples of `granule` on the medium, as ranges of its data.
pub(super) fn cut(offset: u64, len: usize, granule: usize) -> Vec<(usize, usize)> {
    let lead = granule - (offset % granule as u64) as usize;
    let mut parts = Vec::with_capacity(len / granule + 2);
    let (mut start, mut end) = (0, lead.min(len));
    while start < len {
        parts.push((start, end));
        (start, end) = (end, (end + granule).min(len));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each byte may be after a power cut: its durable value first, then every later unsynced one.
    type Allowed = Vec<Vec<u8>>;

    fn step(rng: &mut SimRng, file: &mut SimFile, allowed: &mut Allowed, value: u8) {
        let offset = rng.below(allowed.len() as u64);
        let len = 1 + rng.below((allowed.len() as u64 - offset).min(9000));
        let range = offset as usize..(offset + len) as usize;
        let data = vec![value; len as usize];
        match rng.below(5) {
            0 => {
                file.write_durable(offset, &data);
                allowed[range].iter_mut().for_each(|values| *values = vec![value]);
            }
            1 => {
                file.sync();
                allowed.iter_mut().for_each(|values| *values = values.split_off(values.len() - 1));
            }
            _ => {
                file.write_buffered(offset, &data);
                allowed[range].iter_mut().for_each(|values| values.push(value));
            }
        }
    }

    #[test]
    fn every_byte_is_after_a_power_cut_one_that_was_durable_or_still_unsynced() {
        const LEN: usize = 5 * 4096;
        for seed in 0..60 {
            let mut rng = SimRng::new(seed);
            let mut file = SimFile::zeros(LEN as u64);
            let mut allowed: Allowed = vec![vec![0]; LEN];
            for value in 1..=1 + rng.below(20) as u8 {
                step(&mut rng, &mut file, &mut allowed, value);
            }
            let mut bytes = vec![0; LEN];
            file.read(0, &mut bytes);
            assert!(bytes.iter().zip(&allowed).all(|(byte, values)| Some(byte) == values.last()), "seed {seed}: reads");
            for choices in 0..20 {
                let mut survivor = file.clone();
                survivor.power_cut(&mut Fate::new(choices));
                survivor.read(0, &mut bytes);
                let legal = bytes.iter().zip(&allowed).all(|(byte, values)| values.contains(byte));
                assert!(legal, "seed {seed}, choices {choices}");
                let newest = bytes.iter().zip(&allowed).all(|(byte, values)| Some(byte) == values.last());
                assert!(choices != 1 || newest, "seed {seed}: everything kept");
            }
        }
    }
}
