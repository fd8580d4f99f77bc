//! The index's engine with which these tests run.

use std::cell::RefCell;
use std::path::PathBuf;

use strata_index::EngineKind;

/// The engine that the variable `STRATA_INDEX_ENGINE` asks the tests to run over.
pub(crate) fn engine() -> Option<EngineKind> {
    std::env::var("STRATA_INDEX_ENGINE").ok().map(|word| word.parse().expect("an engine of the index"))
}

/// Where a test that says nothing else has its index: in memory, or in a fresh folder, which goes with the test, if it is to
/// run over an engine.
pub(crate) fn index_dir() -> Option<PathBuf> {
    thread_local!(static FOLDERS: RefCell<Vec<tempfile::TempDir>> = const { RefCell::new(Vec::new()) });
    engine().map(|_| {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("index");
        FOLDERS.with_borrow_mut(|folders| folders.push(folder));
        dir
    })
}
