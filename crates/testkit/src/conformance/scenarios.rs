//! Steps for cases that tell theirs in prose, or that look at more than events.
//!
//! Always: a scenario does what its case says and judges what its case claims; where it takes another way, it says why.

mod agents;
mod basics;
mod control;
mod controller_pairs;
mod director_pairs;
mod items;
mod jobs;
mod journals;
mod output;
mod pair_set_up;
mod pair_stage;
mod recovery;
mod resources;
mod security;
mod subagents;
mod watches;
mod web;

use std::pin::Pin;

use anyhow::Result;

use super::case::Case;

type Scenario = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Makes a table of scenarios by case id.
macro_rules! scenarios {
    ($($id:literal => $function:path,)*) => {
        const IDS: &[&str] = &[$($id),*];

        /// The scenario of a case, if it has one.
        pub(crate) fn of(case: &Case) -> Option<Scenario> {
            let case = case.clone();
            match case.id.as_str() {
                $($id => Some(Box::pin(async move { $function(&case).await })),)*
                _ => None,
            }
        }
    };
}

scenarios! {
    "WI-01" => basics::an_empty_workflow,
    "WI-06" => basics::an_impure_predicate,
    "WI-08" => basics::a_choice,
    "WI-13" => basics::a_stuck_fork,
    "WI-21" => basics::retry_delays,
    "WI-30" => basics::stopped_while_fresh,
    "WI-45" => basics::a_sleep,
    "EX-06" => basics::the_scope_of_an_order,
    "OP-03" => resources::a_final_parameter,
    "OP-05" => resources::a_legacy_environment,
    "OP-06" => resources::special_variables,
    "OP-08" => resources::changes_of_a_job_resource,
    "OP-11" => jobs::fail_on_err_written,
    "OP-13" => jobs::executables,
    "IT-01" => items::workflow_versions,
    "IT-05" => items::an_unused_version,
    "IT-06" => items::revisions,
    "OC-01" => control::a_fresh_order,
    "OC-05" => control::a_deaf_script,
    "OC-08" => control::a_swarm,
    "OC-10" => control::a_predicate,
    "OC-13" => control::a_timeout,
    "OC-18" => control::a_resume_while_suspending,
    "OC-23" => control::a_changed_history,
    "SA-01" => subagents::a_bundle,
    "SA-03" => subagents::in_turn,
    "SA-05" => subagents::a_lost_process,
    "SA-06" => subagents::a_director_restart,
    "SA-08" => subagents::a_deleted_subagent,
    "SA-10" => subagents::a_forced_reset,
    "SA-11" => subagents::an_orderly_shutdown,
    "AG-01" => agents::a_shutdown_with_kill,
    "AG-05" => agents::a_journal_that_does_not_fit,
    "AG-06" => agents::adding_and_deleting,
    "RC-01" => recovery::crashes,
    "RC-03" => recovery::a_torn_journal,
    "RC-05" => recovery::leftovers,
    "SA-15" => director_pairs::a_moved_director,
    "CC-01" => controller_pairs::coupling,
    "CC-03" => controller_pairs::replication,
    "CC-05" => controller_pairs::unacknowledged,
    "CC-06" => controller_pairs::a_cut_link,
    "CC-08" => controller_pairs::lost_five_times,
    "CC-10" => pair_set_up::appointed_late,
    "CC-11" => pair_set_up::wrong_roles,
    "CC-13" => watches::fail_over_with_a_watch_that_knows_nothing,
    "CC-15" => watches::passive_lost_with_a_watch_that_knows_nothing,
    "CC-16" => watches::another_watch,
    "CC-18" => watches::no_confirmation,
    "CC-20" => pair_set_up::long_lines,
    "CC-21" => pair_set_up::items_over_restarts_and_tls,
    "AC-02" => director_pairs::a_job_at_the_survivor,
    "AC-04" => director_pairs::a_second_director,
    "AC-05" => director_pairs::both_reset,
    "AC-07" => director_pairs::both_shut_down,
    "JN-01" => journals::release,
    "JN-03" => journals::the_event_stream,
    "JN-05" => journals::snapshot_and_events,
    "WA-01" => web::orders_by_post,
    "WA-03" => web::login,
    "WA-05" => web::streams_of_orders,
    "WA-06" => web::a_size_limit,
    "WA-08" => web::metrics,
    "SE-05" => security::mutual_tls,
    "SE-06" => security::a_wrong_token,
    "PX-03" => journals::small_parts,
    "PF-01" => output::ten_megabytes,
    "PF-03" => output::parallelism,
    "PF-05" => output::many_orders,
}

/// The cases that have a scenario.
pub(crate) fn ids() -> &'static [&'static str] {
    IDS
}
