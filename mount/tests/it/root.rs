//! Tests that need root.

mod doors;
mod files;
mod life;
mod locks;
mod model;
mod names;
mod programs;
