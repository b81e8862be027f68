//! The command line as clap reads it.
//!
//! Always: whatever says where data, certificates and tokens are is written the same way for parts and for operator's commands.
//! Never here: what the commands do.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::exit;

/// Runs jobs on time, in order, on the machines where they belong, and through every crash.
#[derive(Debug, Parser)]
#[command(name = "mainspring", version, after_help = exit::HELP, max_term_width = 110)]
pub(crate) struct Arguments {
    /// Answer in JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) access: Access,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the Controller is, who asks, and where things are on disk.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct Access {
    /// The Controller to ask, any of its members or all, separated by commas; default: the one whose data directory is found
    #[arg(
        long,
        global = true,
        value_name = "URL",
        value_delimiter = ',',
        env = "MAINSPRING_CONTROLLER_URL"
    )]
    pub(crate) controller: Vec<String>,
    /// The data directory: of the part to run, or of the local Controller to ask [default: ./data]
    #[arg(long, global = true, value_name = "DIR", env = "MAINSPRING_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// File with the token to show or, for an Agent or Subagent, to demand (a command takes `MAINSPRING_TOKEN`, too)
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "MAINSPRING_TOKEN_FILE"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// Certificate of the CA, for https
    #[arg(long, global = true, value_name = "FILE", env = "MAINSPRING_TLS__CA")]
    pub(crate) ca: Option<PathBuf>,
    /// Own certificate
    #[arg(long, global = true, value_name = "FILE", env = "MAINSPRING_TLS__CERTIFICATE", requires_all = ["key", "ca"])]
    pub(crate) certificate: Option<PathBuf>,
    /// Key of the own certificate
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "MAINSPRING_TLS__KEY",
        requires = "certificate"
    )]
    pub(crate) key: Option<PathBuf>,
    /// The reason for the change; the events of the change carry it
    #[arg(long, global = true, value_name = "TEXT", env = "MAINSPRING_REASON")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run Controller, Agent and Subagent as one process
    Standalone(StandaloneArgs),
    /// Run a Controller
    Controller(ControllerArgs),
    /// Run the third vote of a pair: a few megabytes, on a machine of its own
    Watch(WatchPartArgs),
    /// Run an Agent with its own Subagent, or look at the Agents (`agent list`)
    Agent(AgentArgs),
    /// Run a Subagent, or look after the Subagents of all Agents (`subagent list`)
    Subagent(SubagentArgs),
    /// Names the commands that list something
    #[command(hide = true)]
    List,
    /// Guard the jobs of a Subagent; parts that run jobs start it themselves
    #[command(hide = true)]
    Guard(GuardArgs),
    /// Deploy workflows and other items from files and folders
    Deploy(DeployArgs),
    /// Remove items
    Undeploy(UndeployArgs),
    /// Add orders and look after them
    #[command(subcommand)]
    Order(OrderCommand),
    /// Show what happens, as it happens
    Events(EventsArgs),
    /// Show Controller, Agents, Subagents, counts of orders and the journal
    Status,
    /// Look at deployed items
    #[command(subcommand)]
    Item(ItemCommand),
    /// Look at and change the members that keep a Controller's log
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Look into a journal directory; needs no running part
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Make a private CA, and certificates for nodes and users
    #[command(subcommand)]
    Certs(CertsCommand),
    /// Prepare users
    #[command(subcommand)]
    User(UserCommand),
    /// Check the settings of a part
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the names that complete a command line; the completions of a shell ask for them
    #[command(hide = true)]
    Names {
        /// The words of the command line behind the program, the one to complete last
        #[arg(last = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Write the manual pages, one for each command
    Man {
        /// Where to, such as /usr/local/share/man/man1
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

impl Command {
    /// Whether this command runs a part until the part is stopped.
    pub(crate) fn is_part(&self) -> bool {
        match self {
            Command::Standalone(_)
            | Command::Controller(_)
            | Command::Watch(_)
            | Command::Guard(_) => true,
            Command::Agent(args) => args.command.is_none(),
            Command::Subagent(args) => args.command.is_none(),
            Command::Deploy(_)
            | Command::Undeploy(_)
            | Command::Order(_)
            | Command::Events(_)
            | Command::Item(_)
            | Command::Status
            | Command::List
            | Command::Cluster(_)
            | Command::Journal(_)
            | Command::Certs(_)
            | Command::User(_)
            | Command::Config(_)
            | Command::Completions { .. }
            | Command::Names { .. }
            | Command::Man { .. } => false,
        }
    }
}

/// What every part takes.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PartArgs {
    /// Settings as TOML; environment (`MAINSPRING_…`) and flags are laid over it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Any other setting, such as `jobs.grace-timeout=5s`
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub(crate) settings: Vec<(String, String)>,
    /// How log lines look on standard error
    #[arg(long, value_name = "FORMAT", env = "MAINSPRING_LOG_FORMAT", default_value = "text", value_parser = ["text", "json"])]
    pub(crate) log_format: String,
    /// Which log lines: error, warn, info, debug, trace, or per part such as info,net=debug [default: info]
    #[arg(long, value_name = "FILTER", env = "MAINSPRING_LOG_LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Append the log to a file instead
    #[arg(long, value_name = "FILE", env = "MAINSPRING_LOG_FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// Print all effective settings as TOML, defaults included, and start nothing
    #[arg(long)]
    pub(crate) print_config: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the settings of a part without starting it; if one is invalid, show its place and exit with code 2
    Check(ConfigCheckArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ConfigCheckArgs {
    /// The part whose settings are checked
    #[arg(value_name = "PART")]
    pub(crate) kind: PartKind,
    #[command(flatten)]
    pub(crate) part: PartArgs,
}

/// A part that has settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PartKind {
    Standalone,
    Controller,
    Watch,
    Agent,
    Subagent,
}

#[derive(Debug, Args)]
pub(crate) struct ControllerArgs {
    #[command(flatten)]
    pub(crate) part: PartArgs,
    /// Name of the Controller
    #[arg(long, visible_alias = "name", value_name = "NAME")]
    pub(crate) id: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show who is active, who is in sync, and what would happen if the active member failed now
    Status,
    /// Make a running Controller a cluster: it takes the others in as soon as they (and, for a pair, a watch) are connected.
    /// Given again with other addresses, it notes that members have moved
    Appoint(AppointArgs),
    /// Go back to a single Controller, which is the active member; or remove one of several members
    Remove {
        /// The member; all but the active one if none is named
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// Make the other member the active one; nothing is lost
    SwitchOver {
        /// Hand over between the two Directors of this Agent, instead of the members of the Controller
        #[arg(long, value_name = "NAME")]
        agent: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AppointArgs {
    /// A member with its address, such as `Primary=https://host:4444`; once for each, the running one too
    #[arg(long = "member", value_name = "NAME=URL", value_parser = key_and_value, required = true)]
    pub(crate) members: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct WatchPartArgs {
    #[command(flatten)]
    pub(crate) part: PartArgs,
    /// Name of the watch
    #[arg(long, visible_alias = "name", value_name = "NAME")]
    pub(crate) id: Option<String>,
    /// Watch the Directors of this Agent, instead of the members of the Controller
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: Option<String>,
    /// A member to look at, such as `Primary=https://host:4444`; once for each
    #[arg(long = "member", value_name = "NAME=URL", value_parser = key_and_value)]
    pub(crate) members: Vec<(String, String)>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AgentArgs {
    #[command(subcommand)]
    pub(crate) command: Option<AgentCommand>,
    #[command(flatten)]
    pub(crate) part: PartArgs,
    /// Name of the Agent: its data directory belongs to it
    #[arg(long, visible_alias = "id", value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// List the Agents of the Controller with their connections
    List,
    /// Let an Agent end its jobs, forget everything and begin anew: its items are sent again, its started orders fail
    Reset(ResetAgentArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ResetAgentArgs {
    /// The Agent
    #[arg(value_name = "NAME")]
    pub(crate) agent: String,
    /// Give up at once what it has, also while it cannot be reached; take it even from another Controller
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SubagentCare {
    /// List the Subagents of all Agents
    List,
    /// Show a Subagent: its state, what runs there, its clusters
    Show {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Let Subagents be chosen for jobs again
    Enable {
        /// Their names
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Do not choose Subagents for jobs any more; what runs there goes on
    Disable {
        /// Their names
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Let a Subagent kill its jobs and begin anew; its jobs are repeated where they may be
    Reset {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// Whoever has it, and also while it cannot be reached: say so only if its machine is off, or of no concern
        #[arg(long)]
        force: bool,
    },
    /// Disable Subagents and wait until nothing runs there any more
    Drain {
        /// Their names
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        /// Wait no longer than this; exit code 4
        #[arg(long, value_name = "DURATION")]
        timeout: Option<settings::Duration>,
    },
    /// Say that the machine of a Subagent that is away is off for sure: its jobs are repeated without waiting for its lease to end
    ConfirmLost {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct GuardArgs {
    /// Where the ledger of the running processes is
    pub(crate) work_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SubagentCommand {
    #[command(flatten)]
    Care(SubagentCare),
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct SubagentArgs {
    #[command(subcommand)]
    pub(crate) command: Option<SubagentCommand>,
    #[command(flatten)]
    pub(crate) part: PartArgs,
    /// Name for the log; a Subagent is told its id by its Agent
    #[arg(long, visible_alias = "id", value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StandaloneArgs {
    #[command(flatten)]
    pub(crate) part: PartArgs,
    /// Name of the Agent in it
    #[arg(long, visible_alias = "id", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Where the Agent in it listens; port 0 takes a free one and keeps it
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) agent_listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// JSON or YAML files, folders to search for them, and `-` for standard input; a file may hold several items
    #[arg(value_name = "FILE|DIR")]
    pub(crate) paths: Vec<PathBuf>,
    /// Also remove these items, such as Workflow:NAME or just NAME for a workflow
    #[arg(long, value_name = "NAME")]
    pub(crate) remove: Vec<String>,
    /// The version of new workflows [default: made by the Controller]
    #[arg(long, value_name = "VERSION")]
    pub(crate) version_id: Option<String>,
    /// Check and show what would change, line by line, but change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UndeployArgs {
    /// Items to remove, such as Workflow:NAME or just NAME for a workflow
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// Say what would change, but change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OrderCommand {
    /// Add one or many orders to a workflow
    Add(AddArgs),
    /// List orders
    List(ListArgs),
    /// Show an order: where it stands, why it waits, what happened
    Show {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Cancel orders; a running job ends first, unless it is killed
    Cancel(CancelArgs),
    /// Suspend orders: they stand still until they are resumed
    Suspend(SuspendArgs),
    /// Let suspended, stopped, failed or broken orders go on
    Resume(ResumeArgs),
    /// Forget orders as soon as they have ended
    Delete(Selection),
    /// Show what the jobs of an order wrote to stdout and stderr
    Log(LogArgs),
    /// Follow orders live; all orders if none is named
    Watch(WatchArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Name of the workflow
    #[arg(value_name = "WORKFLOW")]
    pub(crate) workflow: String,
    /// Id of the order [default: made from workflow and time]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// An argument, read as the type that the workflow declares; without a type, a JSON value or else a text
    #[arg(long = "arg", short = 'a', value_name = "NAME=VALUE", value_parser = key_and_value)]
    pub(crate) arguments: Vec<(String, String)>,
    /// When it starts: 2027-01-31T18:00, 18:00, 18:00[Europe/Berlin], 18:00+09:00, +90s, +5m, +2h [default: at once]
    #[arg(long, value_name = "TIME|+DURATION", allow_hyphen_values = true)]
    pub(crate) at: Option<String>,
    /// Where it starts: a label or a position such as 0/then:1
    #[arg(long, value_name = "LABEL")]
    pub(crate) start: Option<String>,
    /// Where it ends early: labels or positions
    #[arg(long, value_name = "LABEL")]
    pub(crate) stop: Vec<String>,
    /// Orders with a higher one go first
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(crate) priority: Option<i64>,
    /// Forget the order when it has ended
    #[arg(long)]
    pub(crate) delete_when_terminated: bool,
    /// How many orders, at most a million; their ids get -1, -2, …
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) count: u32,
    /// Wait until all have ended; exit code 4 if one has not ended well
    #[arg(long)]
    pub(crate) wait: bool,
    /// Wait no longer than this; exit code 4
    #[arg(long, value_name = "DURATION", requires = "wait")]
    pub(crate) timeout: Option<settings::Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) filter: OrderFilter,
    /// List at most N orders
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
    /// List all orders
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
    /// Sort the orders by this key
    #[arg(long, value_name = "KEY", value_enum, default_value_t = SortKey::Id)]
    pub(crate) sort: SortKey,
    /// Sort in reverse; with --sort changed, the most recently changed come first
    #[arg(long)]
    pub(crate) reverse: bool,
    /// With --json: include these fields, which can be long: arguments, historicOutcomes
    #[arg(long, value_name = "NAMES")]
    pub(crate) fields: Option<String>,
}

/// The conditions that orders must meet to be listed or changed.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct OrderFilter {
    /// Only orders in this state, such as Failed, or `ended`, `open`
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<String>,
    /// Only orders of this workflow
    #[arg(long, value_name = "WORKFLOW")]
    pub(crate) workflow: Option<String>,
    /// Only orders whose id begins so
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
    /// Only orders whose id matches: `*` is any text, `?` any character
    #[arg(long, value_name = "PATTERN")]
    pub(crate) pattern: Option<String>,
    /// Only orders that are scheduled for this time or later
    #[arg(long, value_name = "TIME")]
    pub(crate) scheduled_from: Option<String>,
    /// Only orders that are scheduled for a time before this one
    #[arg(long, value_name = "TIME")]
    pub(crate) scheduled_before: Option<String>,
    /// Only orders whose state has changed since this time: -2h, 18:00, 2027-01-31T18:00
    #[arg(long, value_name = "TIME|-DURATION", allow_hyphen_values = true)]
    pub(crate) since: Option<String>,
    /// Only orders whose state has not changed after this time
    #[arg(long, value_name = "TIME|-DURATION", allow_hyphen_values = true)]
    pub(crate) until: Option<String>,
}

/// Orders that are named by their ids, or all orders that match a filter.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Selection {
    /// Their ids; without ids, the orders that the options select
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: OrderFilter,
    /// All orders
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    /// Show the orders that would be changed, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

/// The key by which orders are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SortKey {
    /// Their ids
    Id,
    /// When they were added
    Added,
    /// When they were started
    Started,
    /// When their state changed last
    Changed,
    /// When they are scheduled to start
    Scheduled,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    pub(crate) orders: Selection,
    /// Kill the running job: SIGTERM and, after its grace time, SIGKILL
    #[arg(long)]
    pub(crate) kill: bool,
    /// SIGKILL at once
    #[arg(long, requires = "kill")]
    pub(crate) immediately: bool,
    /// Refuse if an order has been started
    #[arg(long, conflicts_with = "kill")]
    pub(crate) fresh_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SuspendArgs {
    #[command(flatten)]
    pub(crate) orders: Selection,
    /// Kill the running job: SIGTERM and, after its grace time, SIGKILL
    #[arg(long)]
    pub(crate) kill: bool,
    /// SIGKILL at once
    #[arg(long, requires = "kill")]
    pub(crate) immediately: bool,
    /// Give up what the order waits for
    #[arg(long)]
    pub(crate) reset_state: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) orders: Selection,
    /// Go on from this position, such as 2 or 0/then:1 (one order only)
    #[arg(long, value_name = "POSITION", conflicts_with = "as_succeeded")]
    pub(crate) position: Option<String>,
    /// Go on as if the failed instruction had succeeded
    #[arg(long)]
    pub(crate) as_succeeded: bool,
    /// Set a value as if the current step of the order had returned it; the arguments that the order was added with cannot be changed
    #[arg(long = "arg", short = 'a', value_name = "NAME=VALUE", value_parser = key_and_value)]
    pub(crate) arguments: Vec<(String, String)>,
    /// Whether the job that was killed runs again [default: yes, unless its workflow says isNotRestartable]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) restart_killed_job: Option<bool>,
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Its id
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Go on as more is written, until the order has ended
    #[arg(long, short = 'f')]
    pub(crate) follow: bool,
    /// Write control characters to a terminal as they are; by default they are replaced there, but not in a file or pipe
    #[arg(long)]
    pub(crate) raw: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Their ids; their children belong to them
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// From this event on, `0` for the oldest kept [default: with ids from the oldest, else from now]
    #[arg(long, value_name = "EVENT-ID")]
    pub(crate) after: Option<u64>,
    /// End when all of the named orders have ended; exit code 4 if one has not ended well
    #[arg(long, requires = "ids")]
    pub(crate) until_ended: bool,
    /// At the end, draw what each order did when
    #[arg(long, requires = "until_ended")]
    pub(crate) summary: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// From this event on, `0` for the oldest kept [default: from now]
    #[arg(long, value_name = "EVENT-ID")]
    pub(crate) after: Option<u64>,
    /// Only these types, such as `OrderFailed` or the group `OrderEvent`; comma-separated
    #[arg(long = "return", value_name = "TYPES")]
    pub(crate) types: Option<String>,
    /// End after so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Show what there is and end
    #[arg(long)]
    pub(crate) no_follow: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ItemCommand {
    /// List the items
    List {
        /// Only of this type, such as Workflow
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
    },
    /// Print an item's text
    Show {
        /// Such as Workflow:NAME or just NAME for a workflow
        #[arg(value_name = "NAME")]
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// Print the events, one line each
    Cat {
        /// The journal, such as data/controller/state
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Only events after this one
        #[arg(long, value_name = "EVENT-ID", default_value_t = 0)]
        after: u64,
    },
    /// Check every checksum; exit code 1 if something is damaged
    Verify {
        /// The journal, such as data/controller/state
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Show whose it is, its segments and snapshots
    Info {
        /// The journal, such as data/controller/state
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertsCommand {
    /// Make a private CA: DIR/ca.pem for everybody, DIR/ca.key to lock away
    Ca {
        /// Where to
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Its name
        #[arg(long, default_value = "Mainspring CA")]
        name: String,
    },
    /// Issue a certificate for a node or a user
    Issue {
        /// The directory of the CA
        #[arg(value_name = "CA-DIR")]
        ca_dir: PathBuf,
        /// Name of the node or user
        #[arg(value_name = "NAME")]
        name: String,
        /// What part it plays
        #[arg(long, value_parser = ["controller", "agent", "subagent", "user"])]
        role: String,
        /// Host names and addresses under which it is reached
        #[arg(long = "for", value_name = "HOST|IP", value_delimiter = ',')]
        addresses: Vec<String>,
        /// Where to
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Read a password from standard input and print its hash for the settings
    HashPassword,
    /// Print a new token and its hash for the settings
    NewToken,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not of the form NAME=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn agent_runs_the_part_and_agent_list_asks_the_controller() {
        let Command::Agent(args) = parse("mainspring agent --name A --listen 127.0.0.1:0")
            .unwrap()
            .command
        else {
            panic!("not the part")
        };
        assert_eq!(
            (args.name.as_deref(), args.command.is_none()),
            (Some("A"), true)
        );
        let Command::Agent(args) = parse("mainspring agent list --json").unwrap().command else {
            panic!("not agent")
        };
        assert!(matches!(args.command, Some(AgentCommand::List)));
        let Command::Agent(args) = parse("mainspring agent reset A --force").unwrap().command
        else {
            panic!("not agent")
        };
        let Some(AgentCommand::Reset(reset)) = args.command else {
            panic!("not reset")
        };
        assert_eq!((reset.agent.as_str(), reset.force), ("A", true));
        assert!(
            parse("mainspring agent reset").is_err(),
            "which Agent, must be said"
        );
    }

    #[test]
    fn access_can_be_told_before_and_behind_the_command() {
        for line in [
            "mainspring --data D order list",
            "mainspring order list --data D",
        ] {
            assert_eq!(
                parse(line).unwrap().access.data,
                Some(PathBuf::from("D")),
                "{line}"
            );
        }
    }

    #[test]
    fn an_argument_may_hold_further_equal_signs() {
        let Command::Order(OrderCommand::Add(args)) =
            parse("mainspring order add w --arg a=b=c -a n=1")
                .unwrap()
                .command
        else {
            panic!("not order add")
        };
        assert_eq!(
            args.arguments,
            [
                ("a".to_owned(), "b=c".to_owned()),
                ("n".to_owned(), "1".to_owned())
            ]
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_as_usage() {
        for line in [
            "mainspring order add w --arg novalue",
            "mainspring order add w --count 0",
            "mainspring order cancel A --all",
            "mainspring order cancel A --immediately",
            "mainspring order watch --until-ended",
            "mainspring controller --listen nowhere",
            "mainspring certs issue ca name --role king",
            "mainspring frobnicate",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
