//! The fault catalogue, one sentence per test.
