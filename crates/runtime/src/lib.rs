//! A store as one, above its name space: put together, recovered, and kept tidy in the background.
//!
//! Start with [`OpenStore`], which opens a store and closes it. [`Runtime`] is what whoever operates one asks of it: how it is doing, who works in
//! it, giving space back, emptying a set, making sets equally full. `recover` brings index and log together; `crew` has the threads that work by
//! themselves.

mod assemble;
mod balance;
mod crew;
mod drain;
mod health;
mod mover;
mod recover;
mod runtime;
mod sets;
mod truth;
mod upgrade;

pub use assemble::{OpenStore, StoreConfig};
pub use balance::Imbalance;
pub use drain::{DrainStatus, DrainStep};
pub use health::Health;
pub use mover::SpaceWatch;
pub use runtime::Runtime;
pub use sets::{Sets, in_use, is_taken_out, store_on};
pub use truth::{BroughtUp, TruthReport, compare_indexes};
pub use upgrade::{is_of_earlier_version, upgrade_plan};

pub use strata_content::{
    CheckpointCounts, EVENTS_KEPT_DEFAULT, MoverReport, MoverStatus, Phase, StoreSettings as ContentSettings,
    TrafficCounts,
};
pub use strata_index::EngineKind;
pub use strata_ledger::{
    DiskState, DiskStatus, Geometry, LedgerError, Options as LedgerOptions, PassOptions, Progress, Refusing, Rejoined,
    Report, SetState, SetStatus, Status,
};
pub use strata_namespace::Durability;
