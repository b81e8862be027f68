//! A page of figures in the text form 0.0.4 of Prometheus, computed when somebody asks.
//!
//! Always: the values of a metric stand together, under its meaning and its kind; each carries the label `node`. Never here: what is
//! counted as it happens; see `metrics`.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use crate::histogram::Durations;
use crate::names::{ALL, Kind};

/// The content type of a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// The figures of one node.
#[derive(Clone, Debug)]
pub struct Page {
    node: String,
    values: BTreeMap<&'static str, String>,
}

impl Page {
    /// Nothing yet, of the node with this name.
    pub fn new(node: &str) -> Page {
        Page {
            node: escaped(node),
            values: BTreeMap::new(),
        }
    }

    /// One value of a metric of [`crate::names`], told apart by labels.
    pub fn put(&mut self, name: &'static str, labels: &[(&str, &str)], value: impl Display) {
        let own = self.own_labels(labels);
        let text = self.values.entry(name).or_default();
        // Writing to a String does not fail.
        let _infallible = writeln!(text, "{name}{{{own}}} {value}");
    }

    /// Adds the durations of a metric of [`crate::names`] as a histogram.
    pub fn put_durations(
        &mut self,
        name: &'static str,
        labels: &[(&str, &str)],
        durations: &Durations,
    ) {
        let own = self.own_labels(labels);
        let text = self.values.entry(name).or_default();
        for (bound, count) in durations.buckets() {
            let _infallible = writeln!(text, "{name}_bucket{{{own},le=\"{bound}\"}} {count}");
        }
        let count = durations.count();
        let _infallible = writeln!(text, "{name}_bucket{{{own},le=\"+Inf\"}} {count}");
        let _infallible = writeln!(text, "{name}_sum{{{own}}} {}", durations.sum());
        let _infallible = writeln!(text, "{name}_count{{{own}}} {count}");
    }

    /// Returns the label `node` and these labels.
    fn own_labels(&self, labels: &[(&str, &str)]) -> String {
        let mut own = format!("node=\"{}\"", self.node);
        for (label, word) in labels {
            // Writing to a String does not fail.
            let _infallible = write!(own, ",{label}=\"{}\"", escaped(word));
        }
        own
    }

    /// The text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (name, values) in &self.values {
            if let Some(metric) = ALL.iter().find(|metric| metric.name == *name) {
                let kind = match metric.kind {
                    Kind::Counter => "counter",
                    Kind::Gauge => "gauge",
                    Kind::Histogram => "histogram",
                };
                let _infallible = writeln!(text, "# HELP {name} {}", metric.meaning);
                let _infallible = writeln!(text, "# TYPE {name} {kind}");
            }
            text.push_str(values);
        }
        text
    }
}

/// A label's value as it stands between its quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names;

    #[test]
    fn the_values_of_a_metric_stand_together_under_its_meaning_and_kind() {
        let mut page = Page::new("C");
        page.put(names::ORDERS, &[("state", "Fresh")], 2);
        page.put(names::JOURNAL_SYNCS, &[], 7_u64);
        page.put(names::ORDERS, &[("state", "say \"hi\"\\\n")], 1);
        let expected = r#"# HELP mainspring_journal_syncs_total Flushes to disk.
# TYPE mainspring_journal_syncs_total counter
mainspring_journal_syncs_total{node="C"} 7
# HELP mainspring_orders Orders, by label state.
# TYPE mainspring_orders gauge
mainspring_orders{node="C",state="Fresh"} 2
mainspring_orders{node="C",state="say \"hi\"\\\n"} 1
"#;
        assert_eq!(page.render(), expected);
    }
}
