//! The fields of one object while it is read.
//!
//! Always: each field is asked for under all its names, the author's first; null counts as left out; whatever nobody asked
//! for is unknown in the end, and the nearest known name is told.

use super::names::nearest;
use super::node::{Entry, Node, Shape, glimpse};
use super::reading::Reading;
use std::ops::Range;

/// The fields of one object while it is read.
pub(super) struct Fields<'n, 't> {
    entries: &'n [Entry<'t>],
    span: Range<usize>,
    /// Every name that was asked for.
    known: Vec<&'static str>,
    /// The author's name of each, to be told.
    told: Vec<&'static str>,
    /// All names of each field that must be there and is not.
    absent: Vec<Vec<&'static str>>,
}

impl<'n, 't> Fields<'n, 't> {
    /// The fields of `node`; a fault if it is no object. `what` names it in that fault.
    pub(super) fn of(
        reading: &mut Reading<'_>,
        node: &'n Node<'t>,
        what: &str,
    ) -> Option<Fields<'n, 't>> {
        let Shape::Object(entries) = &node.shape else {
            reading.fault(
                &node.span,
                format!("{what} must be an object, but is {}", node.describe()),
            );
            return None;
        };
        // The brace alone is marked when something is missing: the whole object may be long.
        let span = node.span.start..(node.span.start + 1).min(node.span.end);
        Some(Fields {
            entries,
            span,
            known: Vec::new(),
            told: Vec::new(),
            absent: Vec::new(),
        })
    }

    /// Where the object begins.
    pub(super) fn span(&self) -> &Range<usize> {
        &self.span
    }

    fn ask(&mut self, names: &[&'static str]) {
        if let Some(first) = names.first().filter(|first| !self.told.contains(first)) {
            self.told.push(first);
        }
    }

    /// The field that goes by one of `names`.
    pub(super) fn find(
        &mut self,
        reading: &mut Reading<'_>,
        names: &[&'static str],
    ) -> Option<&'n Entry<'t>> {
        self.ask(names);
        self.find_untold(reading, names)
    }

    /// The same for a field that nobody should be told about.
    pub(super) fn find_untold(
        &mut self,
        reading: &mut Reading<'_>,
        names: &[&'static str],
    ) -> Option<&'n Entry<'t>> {
        self.known.extend(names);
        let mut found = self
            .entries
            .iter()
            .filter(|entry| names.contains(&&*entry.name) && !entry.node.is_null());
        let first = found.next()?;
        for other in found.filter(|other| other.name != first.name) {
            let message = format!("{:?} and {:?} mean the same", first.name, other.name);
            let hint = Some("give only one of them".to_owned());
            reading.at(&other.name, |reading| {
                reading.fault_with_hint(&other.name_span, message, hint);
            });
        }
        Some(first)
    }

    /// Whether a field of one of these names stands there, null or not; it counts as known.
    pub(super) fn has(&mut self, names: &[&'static str]) -> bool {
        self.ask(names);
        self.known.extend(names);
        self.entries
            .iter()
            .any(|entry| names.contains(&&*entry.name) && !entry.node.is_null())
    }

    /// Fields that have a meaning elsewhere: in the Cockpit, or only in answers.
    pub(super) fn keep(&mut self, names: &[&'static str]) {
        self.known.extend(names);
    }

    /// Reads a field that may be left out.
    pub(super) fn optional<T>(
        &mut self,
        reading: &mut Reading<'t>,
        names: &[&'static str],
        read: impl FnOnce(&mut Reading<'t>, &'n Node<'t>) -> Option<T>,
    ) -> Option<T> {
        let entry = self.find(reading, names)?;
        reading.at(&entry.name, |reading| read(reading, &entry.node))
    }

    /// Reads a field that must be there.
    pub(super) fn required<T>(
        &mut self,
        reading: &mut Reading<'t>,
        names: &[&'static str],
        read: impl FnOnce(&mut Reading<'t>, &'n Node<'t>) -> Option<T>,
    ) -> Option<T> {
        let Some(entry) = self.find(reading, names) else {
            self.missing(names);
            return None;
        };
        reading.at(&entry.name, |reading| read(reading, &entry.node))
    }

    /// Reads the field `TYPE`, on which it depends what the others may be.
    pub(super) fn tag<T>(
        &mut self,
        reading: &mut Reading<'t>,
        read: impl FnOnce(&mut Reading<'t>, &'n Node<'t>) -> Option<T>,
    ) -> Option<T> {
        if let Some(entry) = self.find(reading, &["TYPE"]) {
            return reading.at(&entry.name, |reading| read(reading, &entry.node));
        }
        let misspelt = self
            .entries
            .iter()
            .find(|entry| nearest(&entry.name, ["TYPE"]).is_some());
        match misspelt {
            Some(entry) => unknown(reading, entry, "did you mean \"TYPE\"?".to_owned()),
            None => reading.fault(&self.span, "the field \"TYPE\" is missing"),
        }
        None
    }

    /// A field that must be there is not; told in the end, and not where it is only misspelt.
    pub(super) fn missing(&mut self, names: &[&'static str]) {
        self.absent.push(names.to_vec());
    }

    /// Every field that nobody asked for is a fault, and every field that is missing.
    pub(super) fn finish(self, reading: &mut Reading<'_>) {
        let is_unknown = |entry: &&Entry<'_>| !self.known.iter().any(|known| *known == entry.name);
        for names in &self.absent {
            let is_misspelt =
                |entry: &Entry<'_>| nearest(&entry.name, names.iter().copied()).is_some();
            if !self.entries.iter().filter(is_unknown).any(is_misspelt) {
                let name = names.first().copied().unwrap_or_default();
                reading.fault(&self.span, format!("the field {name:?} is missing"));
            }
        }
        for entry in self.entries.iter().filter(is_unknown) {
            if reading.only_counts() {
                continue;
            }
            let meant = MEANT
                .iter()
                .find(|(other, meant)| entry.name == *other && self.known.contains(meant))
                .map(|(_, meant)| *meant);
            let near = meant.or_else(|| nearest(&entry.name, self.known.iter().copied()));
            let hint = near.map_or_else(
                || format!("known here: {}", self.told.join(", ")),
                |name| format!("did you mean {name:?}?"),
            );
            unknown(reading, entry, hint);
        }
    }
}

/// Field names of other notations, each with the name of the same field here.
const MEANT: &[(&str, &str)] = &[
    ("when", "predicate"),
    ("condition", "predicate"),
    ("command", "script"),
];

fn unknown(reading: &mut Reading<'_>, entry: &Entry<'_>, hint: String) {
    let name = glimpse(&entry.name);
    let message = format!("unknown field {name:?}");
    reading.at(&name, |reading| {
        reading.fault_with_hint(&entry.name_span, message, Some(hint));
    });
}
