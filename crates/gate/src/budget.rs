//! One budget of bytes for the bodies that are on their way, in and out.
//!
//! Nobody waits for it: waiting would let slow readers stop everybody. Where it is used up, bodies go on in small
//! pieces, which need none ([`Budget::piece`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// Length of a piece that needs no part of the budget.
const SMALL: u64 = 64 << 10;

/// Bytes that bodies may hold together beyond one small piece each.
#[derive(Debug)]
pub struct Budget {
    free: AtomicU64,
}

/// Some bytes of a budget, given back when dropped.
#[derive(Debug)]
pub struct Part {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { free: AtomicU64::new(bytes) })
    }

    /// Takes `bytes` from the budget, or `None` if fewer are free.
    #[must_use]
    pub fn take(self: &Arc<Self>, bytes: u64) -> Option<Part> {
        let taken = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| free.checked_sub(bytes));
        taken.ok().map(|_| Part { budget: Arc::clone(self), bytes })
    }

    /// Room for the next piece of an answer: `wanted` bytes if these are free, or a quarter of it, or else a small piece that takes
    /// nothing from the budget.
    #[must_use]
    pub fn piece(self: &Arc<Self>, wanted: u64) -> Piece {
        let fits = |len: u64| len > SMALL;
        let taken =
            [wanted, wanted / 4].into_iter().filter(|len| fits(*len)).find_map(|len| Some((len, self.take(len)?)));
        match taken {
            Some((len, part)) => Piece { len, kind: Kind::Counted(part) },
            None if fits(wanted) => Piece { len: SMALL, kind: Kind::Copied },
            None => Piece { len: wanted, kind: Kind::Small },
        }
    }
}

/// Room for a piece of an answer.
#[derive(Debug)]
pub struct Piece {
    len: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// All of a short answer.
    Small,
    /// A small piece of a long one: copied, so that it does not keep the block alive that it is a slice of.
    Copied,
    Counted(Part),
}

impl Piece {
    /// How many bytes the piece may have.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether none are wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Wraps the bytes of the piece, so that they are returned to the budget when the last clone is dropped.
    #[must_use]
    pub fn of(self, bytes: Bytes) -> Bytes {
        match self.kind {
            Kind::Small => bytes,
            Kind::Copied => Bytes::copy_from_slice(&bytes),
            Kind::Counted(part) => part.around(bytes),
        }
    }
}

impl Part {
    /// Wraps `bytes`, which need not be as many as the piece, so that the piece is returned to the budget when the last clone is dropped.
    #[must_use]
    pub fn around(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Counted { bytes, _part: self })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.budget.free.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

struct Counted {
    bytes: Bytes,
    _part: Part,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_small_where_the_budget_is_used_up_and_large_again_when_it_is_given_back() {
        let budget = Budget::new(1 << 20);
        let piece = budget.piece(1 << 20);
        assert_eq!(piece.len(), 1 << 20);
        let on_its_way = piece.of(Bytes::from_static(b"bytes"));
        let slice = on_its_way.slice(1..);
        drop(on_its_way);
        let small = budget.piece(1 << 20);
        assert_eq!(small.len(), SMALL);
        assert_eq!(small.of(Bytes::from_static(b"bytes")), "bytes");
        assert_eq!(budget.piece(10).len(), 10);
        drop(slice);
        assert_eq!(budget.piece(1 << 20).len(), 1 << 20);
    }
}
