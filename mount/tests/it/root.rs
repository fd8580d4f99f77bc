//! Tests that need root.

mod doors;
mod files;
mod life;
mod model;
mod names;
mod programs;
