//! The door from end to end: over TCP, with a client of its own, against a store on disks in a temporary folder.

#![allow(clippy::unwrap_used, reason = "what fails here is the report")]

mod access;
mod client;
mod directories;
mod durability;
mod host;
mod locks;
mod nfs;
mod nlm;
mod nlm_calls;
mod nlm_deadlocks;
mod nlm_v6;
mod nlm_waits;
mod procedures;
mod retransmission;
mod support;
mod wire;
