//! What a member's priority in a Subagent Cluster may depend on: how busy its machine is, and how many processes run.
//!
//! Always: what has not been measured is no value, so a priority that asks for it fails and leaves the member out. The
//! counts are of the cluster whose priority it is, not of all clusters together. Never here: who measures.

use crate::processes::Processes;
use expr::{Answer, EvalError, Number, Scope, Value};
use model::{BundleId, Metering, SubagentId};

/// The scope of a member's priority.
pub(crate) struct PriorityScope<'a> {
    pub(crate) bundle_id: &'a BundleId,
    pub(crate) subagent_id: &'a SubagentId,
    pub(crate) metering: Option<&'a Metering>,
    pub(crate) processes: &'a Processes,
}

impl PriorityScope<'_> {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "it is what a scope answers for a name that it knows"
    )]
    fn measured(&self, value: impl FnOnce(&Metering) -> Option<Value>) -> Answer {
        let not_yet = || {
            let message = format!("Subagent {} has not been measured yet", self.subagent_id);
            EvalError::new(message)
        };
        Some(self.metering.and_then(value).ok_or_else(not_yet))
    }
}

impl Scope for PriorityScope<'_> {
    fn named_value(&self, name: &str) -> Answer {
        let count = |count: usize| Some(Ok(Value::from(i64::try_from(count).unwrap_or(i64::MAX))));
        let bytes = |bytes: u64| Some(Value::from(i64::try_from(bytes).unwrap_or(i64::MAX)));
        match name {
            "js7CpuLoad" => {
                self.measured(|metering| Some(Value::from(Number::from_f64(metering.cpu_load?)?)))
            }
            "js7CommittedVirtualMemorySize" => {
                self.measured(|metering| bytes(metering.committed_virtual_memory_size))
            }
            "js7FreeMemorySize" => self.measured(|metering| bytes(metering.free_memory_size)),
            "js7TotalMemorySize" => self.measured(|metering| bytes(metering.total_memory_size)),
            "js7SubagentProcessCount" => count(self.processes.at(self.subagent_id)),
            "js7ClusterProcessCount" => count(self.processes.by(self.bundle_id)),
            "js7ClusterSubagentProcessCount" => {
                count(self.processes.by_at(self.bundle_id, self.subagent_id))
            }
            _ => None,
        }
    }
}
