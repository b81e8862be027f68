//! What an operator can set for a Subagent.

use serde::{Deserialize, Serialize};
use settings::{ByteSize, Duration};
use std::path::PathBuf;

/// How jobs are run. The same for a Subagent of its own and for a Director's.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct JobSettings {
    /// The working directory of jobs. Default: the directory the Subagent was started in. Since 0.1.
    pub working_directory: Option<PathBuf>,
    /// Where relative executables are. Default: `executables` in the data directory. Since 0.1.
    pub executables: Option<PathBuf>,
    /// SIGKILL so long after SIGTERM where a job does not say (JS7: sigkill-delay). Since 0.1.
    pub grace_timeout: Duration,
    /// A piece of output is passed on at most so long after its first character. Since 0.1.
    pub output_delay: Duration,
    /// A piece of output has at most so many characters. Since 0.1.
    pub output_characters: usize,
    /// Output that the Director has not confirmed; when it is reached, jobs wait in their next write. Since 0.1.
    pub output_buffer: ByteSize,
    /// Control groups: used where the host has them; `false` never uses them. Since 0.1.
    pub cgroups: bool,
    /// The program of the guard, which ends the jobs when this process cannot. Not an operator's to set.
    #[serde(skip)]
    pub guard: Option<process::GuardProgram>,
}

impl Default for JobSettings {
    fn default() -> Self {
        JobSettings {
            working_directory: None,
            executables: None,
            grace_timeout: std::time::Duration::from_secs(15).into(),
            output_delay: std::time::Duration::from_millis(400).into(),
            output_characters: 8 * 1024,
            output_buffer: ByteSize(16 * 1024 * 1024),
            cgroups: true,
            guard: None,
        }
    }
}

/// A Subagent of its own.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SubagentSettings {
    /// Where it listens. Since 0.1.
    pub listen: std::net::SocketAddr,
    /// Its directory: temporary files only. Since 0.1.
    pub data: PathBuf,
    /// Certificates; without them it listens on loopback only. Since 0.1.
    pub tls: Option<net::TlsFiles>,
    /// A file with the token that Directors must show. Without it the certificate must be a Director's. Since 0.1.
    pub token_file: Option<PathBuf>,
    /// Maximum number of connections. Unauthenticated clients get a quarter of them. Connections of the Directors do not count. Since 0.1.
    pub connections_max: usize,
    /// How jobs are run.
    pub jobs: JobSettings,
}

impl Default for SubagentSettings {
    fn default() -> Self {
        SubagentSettings {
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 4446)),
            data: PathBuf::from("data/subagent"),
            tls: None,
            token_file: None,
            connections_max: 2000,
            jobs: JobSettings::default(),
        }
    }
}
