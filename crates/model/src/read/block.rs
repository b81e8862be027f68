//! Blocks of instructions, and what is known around them.
//!
//! Always: a named job is defined in its block or in one around; a label stands once in a workflow; Retry stands in a catch
//! block; blocks are nested at most [`NESTING_MAX`] deep.

use super::fields::Fields;
use super::instruction::instruction;
use super::job::jobs;
use super::names::nearest;
use super::node::{Node, Shape};
use super::reading::Reading;
use super::value::{expressions, mismatch};
use crate::{Block, Label, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// How many blocks may stand in one another.
pub(super) const NESTING_MAX: usize = 15;

/// What surrounds the instruction that is being read.
#[derive(Default)]
pub(super) struct Around<'n> {
    /// The jobs of the blocks around, the outermost first.
    jobs: Vec<BTreeSet<&'n str>>,
    /// Where each label stands.
    labels: BTreeMap<&'n str, usize>,
    depth: usize,
    in_catch: bool,
    in_sticky: bool,
}

impl<'n> Around<'n> {
    /// Whether a Retry may stand here.
    pub(super) fn in_catch(&self) -> bool {
        self.in_catch
    }

    /// Reads a nested block; `in_catch` says whether a Retry may stand in it.
    pub(super) fn nested<'t>(
        &mut self,
        reading: &mut Reading<'t>,
        node: &'n Node<'t>,
        in_catch: bool,
    ) -> Option<Block> {
        if self.depth == NESTING_MAX {
            let span = node.span.start..(node.span.start + 1).min(node.span.end);
            let hint = Some("put the inner instructions into a workflow of their own".to_owned());
            reading.fault_with_hint(
                &span,
                format!("blocks are nested deeper than {NESTING_MAX} levels"),
                hint,
            );
            return None;
        }
        let outside = std::mem::replace(&mut self.in_catch, in_catch);
        self.depth += 1;
        let block = block(reading, self, node);
        self.depth -= 1;
        self.in_catch = outside;
        block
    }

    /// Whether a `StickySubagent` is around.
    pub(super) fn is_sticky(&self) -> bool {
        self.in_sticky
    }

    /// Reads the block of a `StickySubagent`.
    pub(super) fn sticky<'t>(
        &mut self,
        reading: &mut Reading<'t>,
        node: &'n Node<'t>,
        in_catch: bool,
    ) -> Option<Block> {
        let outside = std::mem::replace(&mut self.in_sticky, true);
        let block = self.nested(reading, node, in_catch);
        self.in_sticky = outside;
        block
    }

    /// Makes the jobs of a block known; [`Self::forget_jobs`] ends it.
    pub(super) fn know_jobs(&mut self, fields: &mut Fields<'n, '_>, reading: &mut Reading<'_>) {
        let names = match fields
            .find(reading, &["jobs"])
            .map(|entry| &entry.node.shape)
        {
            Some(Shape::Object(entries)) => entries.iter().map(|entry| &*entry.name).collect(),
            _ => BTreeSet::new(),
        };
        self.jobs.push(names);
    }

    pub(super) fn forget_jobs(&mut self) {
        self.jobs.pop();
    }

    /// Whether a job of this name is known here.
    pub(super) fn check_job(&self, reading: &mut Reading<'_>, name: &str, span: &Range<usize>) {
        if self.jobs.iter().any(|jobs| jobs.contains(name)) {
            return;
        }
        if reading.only_counts() {
            return;
        }
        let known = self.jobs.iter().flatten().copied();
        let hint = nearest(name, known.take(1_000)).map(|name| format!("did you mean {name:?}?"));
        reading.fault_with_hint(
            span,
            format!("the job {name:?} is not defined in this workflow"),
            hint,
        );
    }

    /// The label of an instruction, if it is not taken.
    pub(super) fn label(
        &mut self,
        reading: &mut Reading<'_>,
        name: &'n str,
        span: &Range<usize>,
    ) -> Option<Label> {
        if let Some(first) = self.labels.get(name) {
            if reading.only_counts() {
                return None;
            }
            let hint = Some(format!(
                "it stands first in line {}",
                reading.line_of(*first)
            ));
            reading.fault_with_hint(span, format!("the label {name:?} is used twice"), hint);
            return None;
        }
        self.labels.insert(name, span.start);
        Some(Label::new(name))
    }
}

/// `{instructions: […], jobs?, result?}`
fn block<'n, 't>(
    reading: &mut Reading<'t>,
    around: &mut Around<'n>,
    node: &'n Node<'t>,
) -> Option<Block> {
    let mut fields = Fields::of(reading, node, "a block")?;
    let block = content(reading, around, &mut fields);
    fields.finish(reading);
    block
}

/// What a workflow and a nested block have in common.
pub(super) fn content<'n, 't>(
    reading: &mut Reading<'t>,
    around: &mut Around<'n>,
    fields: &mut Fields<'n, 't>,
) -> Option<Block> {
    around.know_jobs(fields, reading);
    let jobs = fields.optional(reading, &["jobs"], jobs);
    let steps = fields.required(reading, &["instructions"], |reading, node| {
        steps(reading, around, node)
    });
    let result = fields.optional(reading, &["result"], expressions);
    around.forget_jobs();
    Some(Block {
        steps: steps?,
        jobs: jobs.unwrap_or_default(),
        result: result.unwrap_or_default(),
    })
}

/// A list of instructions.
pub(super) fn steps<'n, 't>(
    reading: &mut Reading<'t>,
    around: &mut Around<'n>,
    node: &'n Node<'t>,
) -> Option<Vec<Step>> {
    let Shape::List(nodes) = &node.shape else {
        mismatch(reading, node, "a list of instructions");
        return None;
    };
    let mut steps = Vec::with_capacity(nodes.len());
    let mut complete = true;
    for (n, node) in nodes.iter().enumerate() {
        let is_last = n + 1 == nodes.len();
        complete &= reading
            .at(&n, |reading| {
                instruction(reading, around, node, is_last, &mut steps)
            })
            .is_some();
    }
    complete.then_some(steps)
}
