//! What the nodes are given to do: items, random workflows, and a model that foretells how each ends.
//!
//! Always: a workflow's end follows from the workflow and the order's argument alone, whatever breaks meanwhile.

use crate::place::Place;
use crate::rng::Rng;
use cluster::Part;
use serde_json::{Value, json};

/// How many Agents and Subagents there are.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Agents, each with a Subagent of its own.
    pub agents: usize,
    /// Further Subagents of each Agent.
    pub remote: usize,
    /// Members of the Controller: one, or two with a watch.
    pub controllers: usize,
    /// Directors of each Agent: one, or two with a watch.
    pub directors: usize,
    /// Whether the third vote of a pair of Directors is a watch. Otherwise it is a witness at the Controller.
    pub is_watch_apart: bool,
}

impl Layout {
    /// All Subagents by index: the Agent of each, and whether it is the Agent's own.
    pub fn subagents(self) -> Vec<(usize, bool)> {
        let own = (0..self.agents * self.directors).map(|director| (director % self.agents, true));
        let remote = (0..self.remote * self.agents).map(|i| (i % self.agents, false));
        own.chain(remote).collect()
    }

    /// Returns whether the third votes of pairs of Directors are witnesses.
    pub fn has_witnesses(self) -> bool {
        self.directors > 1 && !self.is_watch_apart
    }

    /// Returns the kind of the third vote of a pair of Directors.
    pub fn third_of_directors(self) -> Part {
        if self.has_witnesses() {
            Part::Witness
        } else {
            Part::Watch
        }
    }

    /// Returns the logs that are kept by two data members.
    pub fn pairs(self) -> Vec<usize> {
        let controller = (self.controllers > 1).then_some(0);
        let agents = (self.directors > 1).then_some(1..=self.agents);
        controller
            .into_iter()
            .chain(agents.into_iter().flatten())
            .collect()
    }

    /// The watches: of which log, where, and for how many data members.
    pub fn votes(self) -> Vec<(usize, Place, usize)> {
        let mut votes = Vec::new();
        if self.controllers > 1 {
            votes.push((0, Place::Watch(0), self.controllers));
        }
        if self.directors > 1 && self.is_watch_apart {
            let watch = Place::Watch(0);
            votes.extend((1..=self.agents).map(|cluster| (cluster, watch, self.directors)));
        }
        votes
    }

    /// The items that describe the Agents, as lines of a change.
    pub fn items(self, process_limit: Option<u64>) -> Vec<String> {
        let mut lines = Vec::new();
        for (index, (agent, is_own)) in self.subagents().into_iter().enumerate() {
            let uri = if is_own {
                format!("http://agent-{index}.sub-{index}:4445")
            } else {
                format!("http://sub-{index}:4446")
            };
            let item = json!({"TYPE": "SubagentItem", "id": format!("S{index}"), "agentPath": format!("A{agent}"), "uri": uri});
            lines.push(simple(&item));
        }
        for agent in 0..self.agents {
            lines.push(self.agent_item(agent, process_limit));
        }
        lines
    }

    /// The line that adds or changes an Agent.
    pub fn agent_item(self, agent: usize, process_limit: Option<u64>) -> String {
        let directors: Vec<String> = (0..self.directors)
            .map(|member| format!("S{}", agent + member * self.agents))
            .collect();
        let mut item =
            json!({"TYPE": "AgentRef", "path": format!("A{agent}"), "directors": directors});
        if let Some(limit) = process_limit {
            item["processLimit"] = json!(limit);
        }
        simple(&item)
    }
}

/// The line that adds or changes an item.
pub fn simple(item: &Value) -> String {
    json!({"TYPE": "AddOrChangeSimple", "item": item}).to_string()
}

fn number_after(text: &str, mark: &str) -> Option<usize> {
    let rest = text.split_once(mark)?.1;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The Agent at an address.
pub fn agent_of(uri: &str) -> Option<usize> {
    number_after(uri, "agent-")
}

/// The Subagent at an address.
pub fn subagent_of(uri: &str) -> Option<usize> {
    number_after(uri, "sub-")
}

/// How an order ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It comes to its end.
    Finished,
    /// It fails and waits for an operator.
    Failed,
    /// It stops where it failed and waits for an operator.
    Stopped,
}

#[derive(Clone, Debug)]
enum Exit {
    Well,
    Badly,
    /// Badly before this try.
    FromTry(u32),
    /// Never; it is ended by its timeout.
    Hangs,
}

#[derive(Clone, Debug)]
enum Node {
    Job {
        name: String,
        exit: Exit,
    },
    If {
        above: i64,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    /// Tries a block so often.
    Retry {
        block: Vec<Node>,
        tries: u32,
        delays: Vec<u64>,
    },
    Try {
        block: Vec<Node>,
        catch: Vec<Node>,
    },
    Fork {
        branches: Vec<Vec<Node>>,
        join_if_failed: bool,
    },
    Sleep(u64),
    Fail {
        uncatchable: bool,
    },
    Finish,
    StopOnFailure(Vec<Node>),
}

/// A random workflow.
#[derive(Clone, Debug)]
pub struct RandomWorkflow {
    /// Its name.
    pub path: String,
    block: Vec<Node>,
    jobs: Vec<(String, usize, Exit, u64)>,
    resource: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Next,
    Failed { stop: bool, uncatchable: bool },
    Blocked,
    Finished,
}

struct Growing<'a> {
    rng: &'a mut Rng,
    layout: Layout,
    jobs: Vec<(String, usize, Exit, u64)>,
    /// Where the next job is likely to be.
    agent: usize,
}

impl RandomWorkflow {
    /// Grows one.
    pub fn grow(rng: &mut Rng, layout: Layout, path: &str) -> RandomWorkflow {
        let agent = rng.index(layout.agents);
        let mut growing = Growing {
            rng,
            layout,
            jobs: Vec::new(),
            agent,
        };
        let mut block = growing.block(3, false, None);
        if growing.rng.per_mille(150) {
            block = vec![Node::StopOnFailure(growing.jobs_only())];
        }
        let jobs = growing.jobs;
        let resource = rng.per_mille(300);
        RandomWorkflow {
            path: path.to_owned(),
            block,
            jobs,
            resource,
        }
    }

    /// Its JSON. Versions with different titles mean the same.
    pub fn json(&self, title: &str) -> Value {
        let mut jobs = serde_json::Map::new();
        for (name, agent, exit, limit) in &self.jobs {
            let mut env = serde_json::Map::new();
            let code = match exit {
                Exit::Well | Exit::Hangs => "'0'".to_owned(),
                Exit::Badly => "'1'".to_owned(),
                Exit::FromTry(number) => format!("if $js7TryCount >= {number} then '0' else '1'"),
            };
            env.insert("EXIT".into(), json!(code));
            env.insert("RESULT".into(), json!("'r'"));
            let mut job = json!({
                "agentPath": format!("A{agent}"),
                "executable": {"TYPE": "ShellScriptExecutable", "script": "#!/bin/sh\nexit $EXIT\n"},
                "processLimit": limit,
            });
            if matches!(exit, Exit::Hangs) {
                env.insert("HANG".into(), json!("'1'"));
                job["timeout"] = json!(20);
                job["sigkillDelay"] = json!(5);
            }
            job["executable"]["env"] = Value::Object(env);
            if self.resource {
                job["jobResourcePaths"] = json!(["Common"]);
            }
            jobs.insert(name.clone(), job);
        }
        json!({"TYPE": "Workflow", "path": self.path, "title": title, "instructions": instructions(&self.block), "jobs": jobs})
    }

    /// How an order with this argument ends.
    pub fn expected(&self, n: i64) -> Expected {
        match run(&self.block, n, 1) {
            Flow::Next | Flow::Finished => Expected::Finished,
            Flow::Failed { stop: true, .. } => Expected::Stopped,
            Flow::Failed { stop: false, .. } | Flow::Blocked => Expected::Failed,
        }
    }
}

impl Growing<'_> {
    fn block(&mut self, depth: u32, in_fork: bool, tries: Option<u32>) -> Vec<Node> {
        let len = self.rng.between(1, 3);
        let mut nodes = Vec::new();
        for _ in 0..len {
            let node = self.node(depth, in_fork, tries);
            nodes.push(node);
        }
        nodes
    }

    fn jobs_only(&mut self) -> Vec<Node> {
        (0..self.rng.between(1, 3))
            .map(|_| self.job(None))
            .collect()
    }

    fn job(&mut self, tries: Option<u32>) -> Node {
        if self.rng.per_mille(250) {
            self.agent = self.rng.index(self.layout.agents);
        }
        let exit = match self.rng.below(100) {
            0..75 => Exit::Well,
            75..82 => Exit::Badly,
            82..85 => Exit::Hangs,
            _ => tries.map_or(Exit::Well, |tries| {
                Exit::FromTry(u32::try_from(self.rng.between(1, u64::from(tries) + 1)).unwrap_or(1))
            }),
        };
        let name = format!("job{}", self.jobs.len());
        self.jobs.push((
            name.clone(),
            self.agent,
            exit.clone(),
            self.rng.between(1, 4),
        ));
        Node::Job { name, exit }
    }

    fn node(&mut self, depth: u32, in_fork: bool, tries: Option<u32>) -> Node {
        let deeper = depth.saturating_sub(1);
        let kind = if depth == 0 { 0 } else { self.rng.below(100) };
        match kind {
            0..50 => self.job(tries),
            50..58 => Node::If {
                above: i64::try_from(self.rng.below(10)).unwrap_or(5),
                then: self.block(deeper, in_fork, tries),
                otherwise: self.block(deeper, in_fork, tries),
            },
            58..68 => {
                let tries = u32::try_from(self.rng.between(1, 4)).unwrap_or(2);
                let delays = (0..self.rng.below(3)).map(|_| self.rng.below(40)).collect();
                Node::Retry {
                    block: self.block(deeper, in_fork, Some(tries)),
                    tries,
                    delays,
                }
            }
            68..75 => Node::Try {
                block: self.block(deeper, in_fork, None),
                catch: self.block(deeper, in_fork, None),
            },
            75..87 => {
                let branches = (0..self.rng.between(1, 3))
                    .map(|_| self.block(deeper, true, None))
                    .collect();
                Node::Fork {
                    branches,
                    join_if_failed: self.rng.per_mille(800),
                }
            }
            87..93 => Node::Sleep(self.rng.between(0, 60)),
            93..96 => Node::Fail {
                uncatchable: !in_fork && self.rng.per_mille(300),
            },
            96..98 => Node::Finish,
            _ => self.job(tries),
        }
    }
}

fn instructions(block: &[Node]) -> Vec<Value> {
    block.iter().map(instruction).collect()
}

fn inner(block: &[Node]) -> Value {
    json!({"instructions": instructions(block)})
}

fn instruction(node: &Node) -> Value {
    match node {
        Node::Job { name, .. } => json!({"TYPE": "Execute.Named", "jobName": name}),
        Node::If {
            above,
            then,
            otherwise,
        } => json!({
            "TYPE": "If", "ifThens": [{"predicate": format!("$n > {above}"), "then": inner(then)}], "else": inner(otherwise),
        }),
        Node::Retry {
            block,
            tries,
            delays,
        } => json!({
            "TYPE": "Try", "try": inner(block), "catch": {"instructions": [{"TYPE": "Retry"}]},
            "maxTries": tries, "retryDelays": delays,
        }),
        Node::Try { block, catch } => {
            json!({"TYPE": "Try", "try": inner(block), "catch": inner(catch)})
        }
        Node::Fork {
            branches,
            join_if_failed,
        } => {
            let branches: Vec<Value> = branches
                .iter()
                .enumerate()
                .map(|(i, block)| json!({"id": format!("b{i}"), "workflow": inner(block)}))
                .collect();
            json!({"TYPE": "Fork", "branches": branches, "joinIfFailed": join_if_failed})
        }
        Node::Sleep(seconds) => json!({"TYPE": "Sleep", "duration": seconds.to_string()}),
        Node::Fail { uncatchable } => {
            json!({"TYPE": "Fail", "message": "'failed on purpose'", "uncatchable": uncatchable})
        }
        Node::Finish => json!({"TYPE": "Finish"}),
        Node::StopOnFailure(block) => {
            json!({"TYPE": "Options", "stopOnFailure": true, "block": inner(block)})
        }
    }
}

const FAILED: Flow = Flow::Failed {
    stop: false,
    uncatchable: false,
};

fn run(block: &[Node], n: i64, number: u32) -> Flow {
    for node in block {
        let flow = step(node, n, number);
        if flow != Flow::Next {
            return flow;
        }
    }
    Flow::Next
}

fn step(node: &Node, n: i64, number: u32) -> Flow {
    match node {
        Node::Job {
            exit: Exit::Well, ..
        }
        | Node::Sleep(_) => Flow::Next,
        Node::Job {
            exit: Exit::Badly | Exit::Hangs,
            ..
        } => FAILED,
        Node::Job {
            exit: Exit::FromTry(from),
            ..
        } => {
            if number >= *from {
                Flow::Next
            } else {
                FAILED
            }
        }
        Node::If {
            above,
            then,
            otherwise,
        } => run(if n > *above { then } else { otherwise }, n, number),
        Node::Retry { block, tries, .. } => {
            let mut flow = FAILED;
            for number in 1..=*tries {
                flow = run(block, n, number);
                if !matches!(
                    flow,
                    Flow::Failed {
                        uncatchable: false,
                        ..
                    }
                ) {
                    break;
                }
            }
            flow
        }
        Node::Try { block, catch } => match run(block, n, 1) {
            Flow::Failed {
                uncatchable: false, ..
            } => run(catch, n, 1),
            flow @ (Flow::Next | Flow::Failed { .. } | Flow::Blocked | Flow::Finished) => flow,
        },
        Node::Fork {
            branches,
            join_if_failed,
        } => {
            let flows: Vec<Flow> = branches.iter().map(|branch| run(branch, n, 1)).collect();
            let failed = flows.iter().any(|flow| matches!(flow, Flow::Failed { .. }));
            if flows.contains(&Flow::Blocked) || (failed && !join_if_failed) {
                Flow::Blocked
            } else if failed {
                FAILED
            } else {
                Flow::Next
            }
        }
        Node::Fail { uncatchable } => Flow::Failed {
            stop: false,
            uncatchable: *uncatchable,
        },
        Node::Finish => Flow::Finished,
        Node::StopOnFailure(block) => match run(block, n, number) {
            Flow::Failed { uncatchable, .. } => Flow::Failed {
                stop: true,
                uncatchable,
            },
            flow @ (Flow::Next | Flow::Blocked | Flow::Finished) => flow,
        },
    }
}
