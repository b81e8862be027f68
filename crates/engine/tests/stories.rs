//! Stories of orders, told as events: a Controller and its Agents in one small world, without clock, network or processes.
//! The sequences are those that users of JS7 know; a case's name stands in the test that shows it.

#[path = "stories/as_in_js7.rs"]
mod as_in_js7;
#[path = "stories/autonomy.rs"]
mod autonomy;
#[path = "stories/bounds.rs"]
mod bounds;
#[path = "stories/branches.rs"]
mod branches;
#[path = "stories/control.rs"]
mod control;
#[path = "stories/definitions.rs"]
mod definitions;
#[path = "stories/failures.rs"]
mod failures;
#[path = "stories/forks.rs"]
mod forks;
#[path = "stories/guards.rs"]
mod guards;
#[path = "stories/interventions.rs"]
mod interventions;
#[path = "stories/laws.rs"]
mod laws;
#[path = "stories/owner.rs"]
mod owner;
#[path = "stories/preparing.rs"]
mod preparing;
#[path = "stories/steps.rs"]
mod steps;
#[path = "stories/sticky.rs"]
mod sticky;
#[path = "stories/waiting.rs"]
mod waiting;
#[path = "stories/world.rs"]
mod world;
