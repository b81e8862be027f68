//! Real `mainspring` processes under test: a world of them, the conformance cases, the kill test.
//!
//! Always: everything is driven through what users have too: command line, HTTP, signals, files. What was started is ended when the
//! world goes, jobs included. Never here: the simulated world. See `sim`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod world;

pub mod conformance;

pub mod chaos;

pub mod trial;
