//! A whole store, above its name space: assembling it, recovering it, and the work in its background.
//!
//! Start with [`OpenStore`], which opens and closes a store. [`Runtime`] has the calls for operating one: health, workers, reclaim,
//! draining a set, rebalancing sets. `recover` brings index and log to the same state; `crew` starts the background threads.

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
