//! Which Director leads the Subagent, and whether it is connected.
//!
//! Always: a Director counts as connected while a stream of events of one of its couplings is open. Never here: which Director may couple.

use model::MemberRun;
use std::collections::BTreeMap;

/// The Director that was coupled last, and the open streams.
#[derive(Debug, Default)]
pub(crate) struct Directors {
    /// The process and its first coupling. `None` if the Director has not identified itself.
    coupled: Option<(MemberRun, u64)>,
    /// The number of open streams of each coupling.
    open: BTreeMap<u64, usize>,
}

impl Directors {
    /// Records that this process was coupled under this number.
    pub(crate) fn coupled(&mut self, from: Option<MemberRun>, coupling: u64) {
        let since = self
            .coupled
            .as_ref()
            .filter(|(known, _)| {
                from.as_ref()
                    .is_some_and(|from| from.run_id == known.run_id)
            })
            .map_or(coupling, |(_, since)| *since);
        self.coupled = from.map(|from| (from, since));
    }

    pub(crate) fn opened(&mut self, coupling: u64) {
        *self.open.entry(coupling).or_default() += 1;
    }

    pub(crate) fn closed(&mut self, coupling: u64) {
        if let Some(count) = self.open.get_mut(&coupling) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&coupling);
            }
        }
    }

    /// Returns the Director that is coupled and has an open stream.
    pub(crate) fn living(&self) -> Option<&MemberRun> {
        let (run, since) = self.coupled.as_ref()?;
        let newest = self.open.last_key_value().map(|(coupling, _)| *coupling)?;
        (newest >= *since).then_some(run)
    }

    /// Describes for messages which Director is refused and which was coupled last.
    pub(crate) fn both_addresses(&self, from: Option<&MemberRun>) -> String {
        match (from, &self.coupled) {
            (Some(from), Some((coupled, _))) => {
                format!(
                    " (refused is the Director at {from}; coupled is, or was last, the one at {coupled})"
                )
            }
            _ => String::new(),
        }
    }
}
