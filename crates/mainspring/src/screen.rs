//! Where answers go: standard output for what was asked, standard error for everything about it.
//!
//! Always: colours only on a terminal and never against `NO_COLOR`; with `--json` standard output carries JSON and nothing else.
//! Text from outside cannot control the terminal: all control characters except those of our own colours are replaced.
//! Never here: what is shown.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// A meaning that has a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Busy,
    Waiting,
    Faint,
    Strong,
}

impl Tone {
    const ALL: [Tone; 6] = [
        Tone::Good,
        Tone::Bad,
        Tone::Busy,
        Tone::Waiting,
        Tone::Faint,
        Tone::Strong,
    ];

    fn code(self) -> &'static str {
        match self {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Busy => "36",
            Tone::Waiting => "33",
            Tone::Faint => "2",
            Tone::Strong => "1",
        }
    }
}

/// Puts colours on texts, or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    pub(crate) is_on: bool,
}

impl Paint {
    pub(crate) fn put(self, tone: Tone, text: &str) -> String {
        if self.is_on && !text.is_empty() {
            format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code())
        } else {
            text.to_owned()
        }
    }

    /// Returns the length of the escape sequence of one of our own colours at the beginning of the text, if there is one.
    fn colour_at(self, text: &str) -> Option<usize> {
        let code = text.strip_prefix("\u{1b}[").filter(|_| self.is_on)?;
        let codes = Tone::ALL.iter().map(|tone| tone.code()).chain(["0"]);
        let ours = codes.filter(|ours| {
            code.strip_prefix(ours)
                .is_some_and(|rest| rest.starts_with('m'))
        });
        ours.map(|ours| ours.len() + 3).next()
    }

    /// Replaces all control characters except line ends, tabs and those of our own colours.
    pub(crate) fn harmless(self, text: &str) -> Cow<'_, str> {
        if !text.contains(is_control) {
            return Cow::Borrowed(text);
        }
        let mut safe = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let length = self.colour_at(rest).unwrap_or(c.len_utf8());
            let (taken, left) = rest.split_at(length);
            match c {
                // A carriage return before a line feed ends a line in texts from Windows.
                '\r' if left.starts_with('\n') => {}
                c if is_control(c) && length == c.len_utf8() => safe.push('\u{fffd}'),
                _ => safe.push_str(taken),
            }
            rest = left;
        }
        Cow::Owned(safe)
    }
}

fn is_control(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
}

/// Escapes the control characters that JSON allows in strings. The value stays the same.
fn harmless_json(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_control(c) {
            safe += &format!("\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// The two outputs.
#[derive(Debug)]
pub(crate) struct Screen {
    /// Whether JSON is wanted.
    pub(crate) json: bool,
    /// Colours for standard output.
    pub(crate) paint: Paint,
    error_paint: Paint,
    /// Whether standard output is a terminal.
    is_terminal: bool,
}

/// The error that standard output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the output cannot be written: {0}")]
pub(crate) struct Unwritten(io::Error);

/// Marks an error as one of standard output, to distinguish it from errors of files.
pub(crate) fn unwritten(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), Unwritten(error))
}

fn write_out(pieces: &[&[u8]]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for piece in pieces {
        out.write_all(piece)?;
    }
    out.flush()
}

impl Screen {
    pub(crate) fn new(json: bool) -> Screen {
        let is_forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let wanted = !is_forbidden && !is_dumb;
        let is_terminal = io::stdout().is_terminal();
        Screen {
            json,
            is_terminal,
            paint: Paint {
                is_on: wanted && !json && is_terminal,
            },
            error_paint: Paint {
                is_on: wanted && io::stderr().is_terminal(),
            },
        }
    }

    /// Lines that were asked for.
    pub(crate) fn say(&self, text: &str) -> io::Result<()> {
        let text = if self.json {
            harmless_json(text)
        } else {
            self.paint.harmless(text)
        };
        let end: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
        write_out(&[text.as_bytes(), end]).map_err(unwritten)
    }

    /// Writes lines to standard output. Writes nothing if the text is empty.
    pub(crate) fn say_some(&self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            Ok(())
        } else {
            self.say(text)
        }
    }

    /// Writes the output of a job. On a terminal, control characters are replaced, unless `is_raw` is set.
    pub(crate) fn pass(&self, bytes: &[u8], tone: Option<Tone>, is_raw: bool) -> io::Result<()> {
        if is_raw || !self.is_terminal {
            return write_out(&[bytes]).map_err(unwritten);
        }
        let text = String::from_utf8_lossy(bytes);
        let safe = Paint { is_on: false }.harmless(&text);
        let painted = tone.map_or_else(|| safe.to_string(), |tone| self.paint.put(tone, &safe));
        write_out(&[painted.as_bytes()]).map_err(unwritten)
    }

    /// One JSON value on one line.
    pub(crate) fn say_json(&self, value: &impl Serialize) -> anyhow::Result<()> {
        Ok(self.say(&serde_json::to_string(value)?)?)
    }

    /// A remark about what is shown. Not an answer; silent with `--json`.
    pub(crate) fn remark(&self, text: &str) {
        if !self.json {
            self.to_stderr(&format!("{}\n", self.error_paint.put(Tone::Faint, text)));
        }
    }

    /// Suggests what to do next. Prints nothing if standard error is not a terminal, so that cron does not mail it.
    pub(crate) fn hint(&self, text: &str) {
        if io::stderr().is_terminal() {
            self.remark(text);
        }
    }

    /// A warning: the command goes on.
    pub(crate) fn warn(&self, text: &str) {
        self.to_stderr(&format!(
            "{} {text}\n",
            self.error_paint.put(Tone::Waiting, "warning:")
        ));
    }

    /// Why the command has failed.
    pub(crate) fn error(
        &self,
        message: &str,
        hint: Option<&str>,
        problem: Option<serde_json::Value>,
    ) {
        self.to_stderr(&self.error_text(message, hint, problem));
    }

    /// Returns the text of an error, including the line end.
    pub(crate) fn error_text(
        &self,
        message: &str,
        hint: Option<&str>,
        problem: Option<serde_json::Value>,
    ) -> String {
        if self.json {
            let mut error = problem.unwrap_or_else(|| serde_json::json!({"message": message}));
            error["TYPE"] = "Problem".into();
            return format!("{error}\n");
        }
        let mut text = if message.starts_with("error") {
            format!("{message}\n")
        } else {
            format!("{} {message}\n", self.error_paint.put(Tone::Bad, "error:"))
        };
        if let Some(hint) = hint {
            text = format!(
                "{text}{} {hint}\n",
                self.error_paint.put(Tone::Busy, "hint:")
            );
        }
        text
    }

    /// Standard error gone is no reason to fail: there is nobody left to tell.
    fn to_stderr(&self, text: &str) {
        let text = if self.json && text.starts_with('{') {
            harmless_json(text)
        } else {
            self.error_paint.harmless(text)
        };
        let _nobody_listens = io::stderr().lock().write_all(text.as_bytes());
    }

    /// A bar for long work; invisible where nobody looks.
    pub(crate) fn progress(&self, count: u64, what: &'static str) -> ProgressBar {
        let target = if self.json || !io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(Some(count), target);
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {per_sec} {eta}")
            .expect("the template is a constant that has been tried");
        bar.set_style(style);
        bar.set_message(what);
        bar
    }

    /// A sign of life while something is waited for; invisible where nobody looks.
    pub(crate) fn spinner(&self, what: &str) -> ProgressBar {
        let bar = self.progress(0, "");
        bar.set_style(ProgressStyle::default_spinner());
        bar.set_message(Paint { is_on: false }.harmless(what).into_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_put_only_where_they_are_wanted() {
        assert_eq!(Paint { is_on: false }.put(Tone::Bad, "x"), "x");
        assert_eq!(
            Paint { is_on: true }.put(Tone::Bad, "x"),
            "\u{1b}[31mx\u{1b}[0m"
        );
        assert_eq!(Paint { is_on: true }.put(Tone::Bad, ""), "");
    }

    #[test]
    fn no_text_but_our_own_colours_reaches_the_terminal_as_more_than_text() {
        let (on, off) = (Paint { is_on: true }, Paint { is_on: false });
        let ours = on.put(Tone::Waiting, "waits\tfor\nLönd");
        assert_eq!(on.harmless(&ours), ours);
        for evil in [
            "\u{1b}[2J",
            "\u{1b}]0;title\u{7}",
            "\u{1b}[8m",
            "\u{1b}[31",
            "\u{9b}2J",
            "a\u{8}b",
            "a\rb",
            "\u{7f}",
        ] {
            for (paint, text) in [
                (on, evil.to_owned()),
                (off, evil.to_owned()),
                (on, on.put(Tone::Bad, evil)),
            ] {
                let shown = paint
                    .harmless(&text)
                    .replace("\u{1b}[31m", "")
                    .replace("\u{1b}[0m", "");
                assert!(
                    !shown.contains(is_control),
                    "{evil:?} is shown as {shown:?}"
                );
            }
        }
        assert_eq!(
            off.harmless(&ours),
            "\u{fffd}[33mwaits\tfor\nLönd\u{fffd}[0m"
        );
        assert_eq!(off.harmless("a\r\nb"), "a\nb");
    }

    #[test]
    fn json_says_the_same_without_control_characters() {
        let value = "\u{9b}2J\u{7f}\u{1b}ä\n";
        let text = serde_json::to_string(value).unwrap();
        let safe = harmless_json(&text);
        assert!(!safe.contains(is_control), "{safe:?}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), value);
    }
}
