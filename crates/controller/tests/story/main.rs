//! Stories of a Controller in the operator's words, played by pure machines.

#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::wildcard_enum_match_arm,
    clippy::needless_pass_by_value,
    clippy::default_trait_access,
    reason = "a story that cannot be set up fails at that line, and looks at a few events of many"
)]

mod agents;
mod bounds;
mod delivery;
mod items;
mod obstacles;
mod orders;
mod reset;
mod subagents;
mod world;
