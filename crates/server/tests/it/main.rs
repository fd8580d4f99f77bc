//! The binary as its users see it: real servers on temporary folders and free ports, reached by clients that know
//! nothing of the inside.
//!
//! `server` starts and stops them; `http`, `s3`, `webdav`, `nfs` and `drive` are the smallest clients that will do;
//! `doors` puts them all behind one interface.

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic with its place is the report")]

mod bad_input;
mod bad_requests;
mod bound;
mod buckets;
mod clients;
mod commands;
mod descriptors;
mod disks;
mod doors;
mod drive;
mod earlier;
mod engine;
mod first_start;
mod greeting;
mod http;
mod keys;
mod life;
mod listing;
mod locks;
mod matrix;
mod nfs;
mod portmap;
mod private;
mod s3;
mod server;
mod sets;
mod watch;
mod webdav;
mod workers;
mod xdr;
