//! The difference between a deployed item and the item that replaces it, line by line.
//!
//! Always: both are compared as indented JSON with sorted fields, so that white space and the order of fields make no difference.

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::json::Json;
use crate::screen::{Paint, Tone};

/// The number of equal lines that are shown before and after a change.
const CONTEXT: usize = 2;
/// The maximum number of lines that are compared, because the cost is the product of both numbers. Longer items are shown as removed and
/// added as a whole.
const LINES_MAX: usize = 3_000;

/// The lines of a difference, each with its sign: `-`, `+` or a blank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference(Vec<(char, String)>);

impl Difference {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares two items.
    pub(super) fn of(old: &Json, new: &Json) -> Difference {
        let (old, new) = (lines_of(old), lines_of(new));
        Difference(shortened(compared(&old, &new)))
    }

    pub(super) fn draw(&self, title: &str, paint: Paint) -> String {
        let mut drawn = String::new();
        for (n, (sign, line)) in self.0.iter().enumerate() {
            if n == 0 {
                drawn += &format!("{}\n", paint.put(Tone::Strong, title));
            }
            let tone = match sign {
                '-' => Tone::Bad,
                '+' => Tone::Good,
                _ => Tone::Faint,
            };
            drawn += &format!("{}\n", paint.put(tone, &format!("{sign} {line}")));
        }
        drawn
    }
}

impl Serialize for Difference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(sign, line)| format!("{sign} {line}")))
    }
}

fn lines_of(item: &Json) -> Vec<String> {
    let mut lines = Vec::new();
    write(item, 0, "", "", &mut lines);
    lines
}

/// Writes indented JSON, with each line of a string, such as a script, on a line of its own.
fn write(value: &Json, depth: usize, before: &str, behind: &str, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    match value {
        Json::Object(fields) if !fields.is_empty() => {
            lines.push(format!("{indent}{before}{{"));
            for (n, (name, field)) in fields.iter().enumerate() {
                let comma = if n + 1 < fields.len() { "," } else { "" };
                let title = format!("{}: ", Value::from(name.as_str()));
                write(field, depth + 1, &title, comma, lines);
            }
            lines.push(format!("{indent}}}{behind}"));
        }
        Json::Array(elements) if !elements.is_empty() => {
            lines.push(format!("{indent}{before}["));
            for (n, element) in elements.iter().enumerate() {
                let comma = if n + 1 < elements.len() { "," } else { "" };
                write(element, depth + 1, "", comma, lines);
            }
            lines.push(format!("{indent}]{behind}"));
        }
        Json::Text(text) if text.trim_end().contains('\n') => {
            lines.push(format!("{indent}{before}|"));
            let own = text
                .lines()
                .map(|line| format!("{indent}  {}", crate::telling::harmless(line)));
            lines.extend(own);
        }
        Json::Text(text) => {
            let text = Value::from(text.as_str());
            lines.push(format!("{indent}{before}{text}{behind}"));
        }
        Json::Literal(literal) => lines.push(format!("{indent}{before}{literal}{behind}")),
        Json::Object(_) => lines.push(format!("{indent}{before}{{}}{behind}")),
        Json::Array(_) => lines.push(format!("{indent}{before}[]{behind}")),
    }
}

/// Returns a shortest edit script from the old lines to the new ones.
fn compared(old: &[String], new: &[String]) -> Vec<(char, String)> {
    let same = |(a, b): &(&String, &String)| a == b;
    let head = old.iter().zip(new).take_while(same).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = old_rest
        .iter()
        .rev()
        .zip(new_rest.iter().rev())
        .take_while(same)
        .count();
    let (old_middle, new_middle) = (
        &old_rest[..old_rest.len() - tail],
        &new_rest[..new_rest.len() - tail],
    );
    let mut lines: Vec<(char, String)> =
        old[..head].iter().map(|line| (' ', line.clone())).collect();
    lines.extend(middle(old_middle, new_middle));
    lines.extend(
        old[old.len() - tail..]
            .iter()
            .map(|line| (' ', line.clone())),
    );
    lines
}

fn middle(old: &[String], new: &[String]) -> Vec<(char, String)> {
    let removed = |line: &String| ('-', line.clone());
    let added = |line: &String| ('+', line.clone());
    if old.len() > LINES_MAX || new.len() > LINES_MAX {
        return old
            .iter()
            .map(removed)
            .chain(new.iter().map(added))
            .collect();
    }
    // For each pair of positions, the length of the longest common subsequence of the lines after them.
    let width = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < old.len() && j < new.len() {
        if old[i] == new[j] {
            lines.push((' ', old[i].clone()));
            (i, j) = (i + 1, j + 1);
        } else if common[(i + 1) * width + j] >= common[i * width + j + 1] {
            lines.push(removed(&old[i]));
            i += 1;
        } else {
            lines.push(added(&new[j]));
            j += 1;
        }
    }
    lines.extend(old[i..].iter().map(removed));
    lines.extend(new[j..].iter().map(added));
    lines
}

/// Removes the equal lines that are far from every change.
fn shortened(lines: Vec<(char, String)>) -> Vec<(char, String)> {
    let is_changed: Vec<bool> = lines.iter().map(|(sign, _)| *sign != ' ').collect();
    let is_near = |n: usize| {
        let end = (n + CONTEXT + 1).min(is_changed.len());
        is_changed[n.saturating_sub(CONTEXT)..end].contains(&true)
    };
    let mut short = Vec::new();
    let mut has_gap = false;
    for (n, line) in lines.into_iter().enumerate() {
        if is_near(n) {
            if has_gap && !short.is_empty() {
                short.push((' ', "…".to_owned()));
            }
            has_gap = false;
            short.push(line);
        } else {
            has_gap = true;
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown_with_a_few_lines_around_it() {
        let old = r##"{"TYPE":"Workflow","path":"w","versionId":"1","jobs":{"a":{"script":"#!/bin/sh\necho one\necho two"}},"instructions":[1,2,3,4,5,6,7]}"##;
        let new = r##"{"path":"w","TYPE":"Workflow","instructions":[1,2,3,4,5,6,8],"jobs":{"a":{"script":"#!/bin/sh\necho one\necho 2"}}}"##;
        let [old, new] = [old, new].map(|text| Json::of_item(text).unwrap());
        let drawn = Difference::of(&old, &new).draw("Workflow:w", Paint { is_on: false });
        let expected = r#"Workflow:w
      5,
      6,
-     7
+     8
    ],
    "jobs": {
…
        #!/bin/sh
        echo one
-         echo two
+         echo 2
      }
    },
"#;
        let drawn: Vec<&str> = drawn.lines().map(str::trim_end).collect();
        let expected: Vec<&str> = expected.lines().map(str::trim_end).collect();
        assert_eq!(
            drawn
                .iter()
                .map(|line| line.trim_start())
                .collect::<Vec<_>>(),
            expected
                .iter()
                .map(|line| line.trim_start())
                .collect::<Vec<_>>()
        );
        assert!(Difference::of(&old, &old).is_empty());
    }
}
