//! Which engines there are, and which one a folder has.
//!
//! Sled's files lie in the index's folder itself, those of any other engine in a folder of the engine's name within it. So what
//! lies there says whose it is, and nothing has to be kept beside it that could be lost or wrong.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use crate::engine::{EngineError, OrderedKv};
use crate::fjall_engine::FjallEngine;
use crate::sled_engine::SledEngine;

/// An engine of the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EngineKind {
    /// Sled, the default.
    #[default]
    Sled,
    /// Fjall: for stores of many millions of objects.
    Fjall,
}

impl EngineKind {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Sled, Self::Fjall];

    /// The word for it in settings, and the name of its folder.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Fjall => "fjall",
        }
    }

    /// Whose files lie in the index's folder `dir`; `None` where none do. Anything that is not another engine's is taken for Sled's, as it
    /// was where there was no other.
    #[must_use]
    pub fn of(dir: &Path) -> Option<Self> {
        let other = Self::ALL.iter().find(|kind| **kind != Self::Sled && dir.join(kind.word()).exists());
        other.copied().or_else(|| {
            let holds_something = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
            holds_something.then_some(Self::Sled)
        })
    }

    /// Opens the database of this engine in the index's folder `dir`, or makes one. `cache_capacity` is in bytes.
    ///
    /// # Errors
    /// Whatever the engine says or panics with; [`EngineError::InUse`].
    pub fn open(self, dir: &Path, cache_capacity: u64) -> Result<Arc<dyn OrderedKv>, EngineError> {
        Ok(match self {
            Self::Sled => Arc::new(SledEngine::open(dir, cache_capacity)?),
            Self::Fjall => Arc::new(FjallEngine::open(&dir.join(self.word()), cache_capacity)?),
        })
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A word that names no engine.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no index engine `{0}`; there are sled and fjall")]
pub struct UnknownEngine(String);

impl FromStr for EngineKind {
    type Err = UnknownEngine;

    fn from_str(word: &str) -> Result<Self, UnknownEngine> {
        Self::ALL.iter().copied().find(|kind| kind.word() == word).ok_or_else(|| UnknownEngine(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_tells_whose_it_is() {
        for kind in EngineKind::ALL {
            let parent = tempfile::tempdir().unwrap();
            let dir = parent.path().join("index");
            assert_eq!(EngineKind::of(&dir), None);
            kind.open(&dir, 1 << 20).unwrap().write(vec![(vec![1], Some(vec![2]))]).unwrap();
            assert_eq!(EngineKind::of(&dir), Some(*kind));
            assert_eq!(kind.word().parse(), Ok(*kind));
        }
        assert!("redis".parse::<EngineKind>().is_err());
    }
}
