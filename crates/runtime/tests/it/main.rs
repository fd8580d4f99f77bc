//! The name space over simulated disks: what files doors and S3 see, crashes, and a model.

#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

mod adverse;
mod buckets;
mod checkpoint;
mod crash;
mod events;
mod faults;
mod files;
mod files_shared;
mod full;
mod guards;
mod holds;
mod inline;
mod list;
mod locks;
mod model;
mod objects;
mod pins;
mod random;
mod reclaim;
mod removal;
mod sets;
mod stalled;
mod stress;
mod support;
mod top;
mod trash;
