//! The kill test.

pub mod markers;
