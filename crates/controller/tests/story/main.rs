//! Stories of a Controller in the operator's words, played by pure machines.

mod agents;
mod items;
mod orders;
mod world;
