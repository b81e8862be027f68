//! What each instruction makes of an order: one file per instruction, with the same questions in the same order: what
//! next, why waiting, what when its block is left at the end or by a failure.
//!
//! Always: an instruction only answers; [`crate::next`] decides with the order's state and place what comes of it.

use crate::scope::OrderScope;
use crate::{Site, State};
use expr::EvalError;
use model::{
    AgentPath, Branch, Instruction, Obstacle, Order, OrderEvent, Outcome, Position, PositionStep,
    Problem, Timestamp, Workflow,
};

pub(crate) mod empty;
pub(crate) mod end;
pub(crate) mod execute;
pub(crate) mod fail;
pub(crate) mod finish;
pub(crate) mod fork;
#[path = "instructions/if.rs"]
pub(crate) mod if_;
pub(crate) mod options;
pub(crate) mod retry;
pub(crate) mod say;
pub(crate) mod sleep;
pub(crate) mod sticky_subagent;
pub(crate) mod stop;
#[path = "instructions/try.rs"]
pub(crate) mod try_;

/// An order before an instruction: where it stands, or where it will come to at once.
#[derive(Clone, Copy)]
pub(crate) struct Here<'a> {
    pub(crate) state: &'a State,
    pub(crate) workflow: &'a Workflow,
    pub(crate) order: &'a Order,
    pub(crate) position: &'a Position,
    pub(crate) now: Timestamp,
    /// Whether the order has been started: only then may it look at the clock or at job resources.
    pub(crate) started: bool,
}

/// What an instruction makes of an order that has come to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Doing {
    /// Only the position changes. This may be anticipated, also before the order is started.
    Goes(Position),
    /// The order enters a block by this event, where it is. This may be anticipated, also before the order is started.
    Enters(OrderEvent),
    /// This happens where the order is.
    Happens(Vec<OrderEvent>),
    /// This happens, but only at the Controller.
    AtController(Vec<OrderEvent>),
    /// The order must be at this Agent.
    AtAgent(AgentPath),
    /// A job is to run at this Agent.
    Job(AgentPath),
    /// The branch of a fork is at its end.
    Joins,
    /// Nothing can be said before the order is started.
    NeedsStart,
    /// Where to go cannot be told.
    Faulty(Problem),
    /// The instruction fails with a new outcome.
    Fails(Outcome),
    /// The instruction fails with the outcome that is there already.
    FailsAgain,
}

/// What comes behind a block that has been left at its end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OnReturn {
    /// The instruction behind.
    Behind,
    /// The instruction behind, by this event.
    Leaves(OrderEvent),
    /// The order waits for its siblings.
    Joins,
}

/// What a block makes of a failure inside.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OnFailure {
    /// It passes.
    Passes,
    /// The order goes on in this branch of the same instruction.
    Caught(Branch),
    /// It goes no further outwards.
    Barrier,
}

impl<'a> Here<'a> {
    pub(crate) fn scope(&self) -> OrderScope<'a> {
        OrderScope::new(self.state, self.workflow, self.order, self.now).at(self.position)
    }

    pub(crate) fn site(&self) -> &'a Site {
        &self.state.site
    }

    pub(crate) fn at(&self, position: &'a Position) -> Here<'a> {
        Here { position, ..*self }
    }

    /// The problem of an expression that cannot be computed.
    pub(crate) fn problem(error: &EvalError) -> Problem {
        Problem::plain(error.message())
    }
}

/// What `instruction` makes of the order.
pub(crate) fn next(instruction: &Instruction, here: &Here<'_>) -> Doing {
    match instruction {
        Instruction::Execute(_) => execute::next(here),
        Instruction::If { cases, otherwise } => if_::next(cases, otherwise.as_ref(), here),
        Instruction::Try(_) => try_::next(here),
        Instruction::Retry => retry::next(here),
        Instruction::Fail {
            message,
            named_values,
            uncatchable,
        } => fail::next(message.as_ref(), named_values, *uncatchable, here),
        Instruction::Finish { outcome, message } => {
            finish::next(outcome.as_ref(), message.as_ref(), here)
        }
        Instruction::Fork(fork) => fork::next(fork, here),
        Instruction::Options { .. } => options::next(here),
        Instruction::StickySubagent {
            agent,
            subagent_bundle,
            ..
        } => sticky_subagent::next(agent, subagent_bundle.as_ref(), here),
        Instruction::Sleep { duration } => sleep::next(duration, here),
        Instruction::Stop => stop::next(here),
        Instruction::Say { what } => say::next(what, here),
        Instruction::Empty => empty::next(here),
        Instruction::ImplicitEnd => end::next(here),
    }
}

/// Why the order waits at `instruction`, as far as the instruction knows.
pub(crate) fn waiting(instruction: &Instruction, here: &Here<'_>) -> Option<Obstacle> {
    match instruction {
        Instruction::Execute(_) => execute::waiting(here),
        Instruction::Retry => retry::waiting(here),
        Instruction::Fork(_) => fork::waiting(here),
        Instruction::Sleep { .. } => sleep::waiting(here),
        Instruction::ImplicitEnd => end::waiting(here),
        Instruction::If { .. }
        | Instruction::Try(_)
        | Instruction::Fail { .. }
        | Instruction::Finish { .. }
        | Instruction::Options { .. }
        | Instruction::StickySubagent { .. }
        | Instruction::Stop
        | Instruction::Say { .. }
        | Instruction::Empty => None,
    }
}

/// What comes behind `branch` of `instruction` when its end is reached.
pub(crate) fn on_return(instruction: &Instruction) -> OnReturn {
    match instruction {
        Instruction::If { .. } => if_::on_return(),
        Instruction::Try(_) => try_::on_return(),
        Instruction::Fork(_) => fork::on_return(),
        Instruction::Options { .. } => options::on_return(),
        Instruction::StickySubagent { .. } => sticky_subagent::on_return(),
        Instruction::Execute(_)
        | Instruction::Retry
        | Instruction::Fail { .. }
        | Instruction::Finish { .. }
        | Instruction::Sleep { .. }
        | Instruction::Stop
        | Instruction::Say { .. }
        | Instruction::Empty
        | Instruction::ImplicitEnd => OnReturn::Behind,
    }
}

/// What `instruction` makes of a failure inside of its branch `step.branch`.
pub(crate) fn on_failure(instruction: &Instruction, step: &PositionStep) -> OnFailure {
    match instruction {
        Instruction::If { .. } => if_::on_failure(),
        Instruction::Try(instruction) => try_::on_failure(instruction, &step.branch),
        Instruction::Fork(_) => fork::on_failure(),
        Instruction::Options { .. } => options::on_failure(),
        Instruction::StickySubagent { .. } => sticky_subagent::on_failure(),
        Instruction::Execute(_)
        | Instruction::Retry
        | Instruction::Fail { .. }
        | Instruction::Finish { .. }
        | Instruction::Sleep { .. }
        | Instruction::Stop
        | Instruction::Say { .. }
        | Instruction::Empty
        | Instruction::ImplicitEnd => OnFailure::Passes,
    }
}
