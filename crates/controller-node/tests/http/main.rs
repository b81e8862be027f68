//! A real Controller over HTTP on the loopback, with real Agents where one is needed.

mod access;
mod agents;
mod documentation;
mod restart;
mod web;
mod world;
