//! Steps for cases that tell theirs in prose, or that look at more than events.
//!
//! Always: a scenario does what its case says and judges what its case claims; where the case takes another way here, it says why.

mod basics;

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
}

/// The cases that have a scenario.
pub(crate) fn ids() -> &'static [&'static str] {
    IDS
}
