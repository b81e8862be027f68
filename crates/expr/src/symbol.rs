//! The words that stand for something of the evaluating order without being variables: `orderId`, `tryCount`…
//! Always: each may be written with empty parentheses too. Most have a predefined variable of the same meaning.

/// A word with a meaning of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Symbol {
    /// The order's id.
    OrderId,
    /// The Controller's id.
    ControllerId,
    /// The path of the order's workflow.
    WorkflowPath,
    /// Path, version and position.
    WorkflowPosition,
    /// An object with the field `timezone`.
    Workflow,
    /// The label of the present instruction.
    Label,
    /// The name of the present job.
    Job,
    /// How often the present Retry block has been tried.
    TryCount,
    /// How often it may be tried.
    MaxTries,
    /// Whether the last job timed out.
    TimedOut,
}

impl Symbol {
    /// All symbols.
    pub const ALL: [Symbol; 10] = [
        Symbol::OrderId,
        Symbol::ControllerId,
        Symbol::WorkflowPath,
        Symbol::WorkflowPosition,
        Symbol::Workflow,
        Symbol::Label,
        Symbol::Job,
        Symbol::TryCount,
        Symbol::MaxTries,
        Symbol::TimedOut,
    ];

    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Symbol::OrderId => "orderId",
            Symbol::ControllerId => "controllerId",
            Symbol::WorkflowPath => "workflowPath",
            Symbol::WorkflowPosition => "workflowPosition",
            Symbol::Workflow => "workflow",
            Symbol::Label => "label",
            Symbol::Job => "job",
            Symbol::TryCount => "tryCount",
            Symbol::MaxTries => "maxTries",
            Symbol::TimedOut => "timedOut",
        }
    }

    /// The symbol of a word.
    pub fn of_name(name: &str) -> Option<Symbol> {
        Symbol::ALL.into_iter().find(|symbol| symbol.name() == name)
    }

    /// The predefined variable with the same meaning; it answers where a scope does not know the symbol.
    pub fn variable(self) -> Option<&'static str> {
        match self {
            Symbol::OrderId => Some("js7OrderId"),
            Symbol::ControllerId => Some("js7ControllerId"),
            Symbol::WorkflowPath => Some("js7WorkflowPath"),
            Symbol::WorkflowPosition => Some("js7WorkflowPosition"),
            Symbol::Label => Some("js7Label"),
            Symbol::Job => Some("js7JobName"),
            Symbol::TryCount => Some("js7TryCount"),
            Symbol::MaxTries => Some("js7MaxTries"),
            Symbol::Workflow | Symbol::TimedOut => None,
        }
    }
}
