//! The mount as programs see it: a real store on files, the real kernel, real programs.
//!
//! Everything here mounts and so needs root and `/dev/fuse`; without them each test says so and passes. The tests lie
//! below the module `root`, by which the test runner finds those that need privileges.

mod root;
mod support;
