//! Tests about the workspace as a whole: the order of its layers (`tests/layers.rs`) and its form (`tests/tidy.rs`).
//! Nothing is exported. Tests of running servers and across doors live beside the binary, in `crates/server/tests`.
