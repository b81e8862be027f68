//! One reading of one text: where it is just now, and the faults found so far.
//!
//! Always: a fault never ends the reading, so that all of them are found; what is read beside a fault is thrown away.

use super::fault::{Fault, Faults};
use super::node::{Node, place_inside};
use std::fmt::{Display, Write as _};
use std::ops::Range;

/// A longer name is cut in paths, so that faults stay short.
const SEGMENT_MAX: usize = 100;

/// One reading of one text.
pub(super) struct Reading<'t> {
    text: &'t str,
    /// The path of the value that is being read.
    path: String,
    faults: Vec<Fault>,
    omitted: usize,
}

impl<'t> Reading<'t> {
    pub(super) fn new(text: &'t str) -> Reading<'t> {
        Reading {
            text,
            path: String::new(),
            faults: Vec::new(),
            omitted: 0,
        }
    }

    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    /// Goes to a field or element of the present value; [`Self::leave`] takes what this returns.
    pub(super) fn enter(&mut self, segment: &impl Display) -> usize {
        let length = self.path.len();
        // Writing to a String does not fail.
        let _infallible = write!(self.path, "/{segment}");
        if self.path.len() - length > SEGMENT_MAX {
            self.path
                .truncate(self.path.floor_char_boundary(length + SEGMENT_MAX));
            self.path.push('…');
        }
        if self.path[length + 1..].contains(['~', '/']) {
            let escaped = self.path[length + 1..]
                .replace('~', "~0")
                .replace('/', "~1");
            self.path.replace_range(length + 1.., &escaped);
        }
        length
    }

    pub(super) fn leave(&mut self, length: usize) {
        self.path.truncate(length);
    }

    /// Reads inside of a field or element.
    pub(super) fn at<T>(&mut self, segment: &impl Display, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.enter(segment);
        let result = read(self);
        self.leave(length);
        result
    }

    /// Back to the whole text.
    pub(super) fn clear_path(&mut self) {
        self.path.clear();
    }

    pub(super) fn fault(&mut self, span: &Range<usize>, message: impl Into<String>) {
        self.fault_with_hint(span, message, None);
    }

    pub(super) fn fault_with_hint(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        if self.faults.len() == Faults::COUNT_MAX {
            self.omitted += 1;
            return;
        }
        self.faults.push(Fault {
            path: self.path.clone(),
            line: 0,
            column: 0,
            message: message.into(),
            hint,
            span: span.clone(),
        });
    }

    /// Whether enough faults have been told: a further one is only counted, so its hint need not be looked for.
    pub(super) fn only_counts(&mut self) -> bool {
        let is_full = self.faults.len() == Faults::COUNT_MAX;
        self.omitted += usize::from(is_full);
        is_full
    }

    /// A fault inside of the text that `node` holds.
    pub(super) fn fault_inside(
        &mut self,
        node: &Node<'_>,
        value: &str,
        inner: &Range<usize>,
        message: String,
    ) {
        self.fault_inside_with_hint(node, value, inner, message, None);
    }

    /// Records a fault inside of the text that `node` holds, with an optional hint.
    pub(super) fn fault_inside_with_hint(
        &mut self,
        node: &Node<'_>,
        value: &str,
        inner: &Range<usize>,
        message: String,
        hint: Option<String>,
    ) {
        let span = place_inside(self.text, &node.span, value, inner);
        self.fault_with_hint(&span, message, hint);
    }

    /// The line of a byte, counted from 1. Costs its distance from the start: for faults only.
    pub(super) fn line_of(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    /// What was read if nothing is wrong.
    pub(super) fn finish<T>(mut self, read: Option<T>) -> Result<T, Faults> {
        match read {
            Some(read) if self.faults.is_empty() => Ok(read),
            _ => {
                if self.faults.is_empty() {
                    // What cannot be read has a fault; if ever it has none, the text is refused all the same.
                    self.clear_path();
                    self.fault(&(0..0), "the text cannot be read");
                }
                Err(Faults::locate(self.faults, self.omitted, self.text))
            }
        }
    }
}
