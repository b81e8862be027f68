//! A real Controller over HTTP on the loopback, with real Agents where one is needed.

#![expect(
    clippy::unwrap_used,
    clippy::format_collect,
    reason = "a world that cannot be set up fails the test at that line"
)]

mod access;
mod agents;
mod bounds;
mod documentation;
mod permissions;
mod restart;
mod web;
mod world;
