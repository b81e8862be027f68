//! Where answers go: standard output for what was asked, standard error for everything about it.
//!
//! Always: colours only on a terminal and never against `NO_COLOR`; with `--json` standard output carries JSON and nothing else.
//! Never here: what is shown.

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
}

/// The two outputs.
#[derive(Debug)]
pub(crate) struct Screen {
    /// Whether JSON is wanted.
    pub(crate) json: bool,
    /// Colours for standard output.
    pub(crate) paint: Paint,
    error_paint: Paint,
}

#[expect(
    clippy::unused_self,
    reason = "whoever speaks has a screen, whether or not it is asked how to look"
)]
impl Screen {
    pub(crate) fn new(json: bool) -> Screen {
        let is_forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let wanted = !is_forbidden && !is_dumb;
        Screen {
            json,
            paint: Paint {
                is_on: wanted && !json && io::stdout().is_terminal(),
            },
            error_paint: Paint {
                is_on: wanted && io::stderr().is_terminal(),
            },
        }
    }

    /// Lines that were asked for.
    pub(crate) fn say(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    /// Bytes that were asked for, as they are.
    pub(crate) fn pass(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
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
        if self.json {
            let mut error = problem.unwrap_or_else(|| serde_json::json!({"message": message}));
            error["TYPE"] = "Problem".into();
            return self.to_stderr(&format!("{error}\n"));
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
        self.to_stderr(&text);
    }

    /// Standard error gone is no reason to fail: there is nobody left to tell.
    fn to_stderr(&self, text: &str) {
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
    pub(crate) fn spinner(&self, what: String) -> ProgressBar {
        let bar = self.progress(0, "");
        bar.set_style(ProgressStyle::default_spinner());
        bar.set_message(what);
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
}
