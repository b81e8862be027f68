//! What a Director and a Subagent must agree on about a lease without saying it.

use std::time::Duration;

/// When a lease of this length has ended, a job may take so long to end after SIGTERM, whatever its own grace time is.
pub fn lease_grace(lease: Duration) -> Duration {
    lease / 4
}
