//! The language as tables and laws.

mod depth;
mod laws;
mod questions;
mod tables;
