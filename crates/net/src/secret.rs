//! A text that must not be seen: a password, a token.
//! Always: neither `Debug` nor any other formatting shows it; whoever needs the text says `reveal`.

use serde::Deserialize;

/// A text that cannot be printed by accident.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes a text under cover.
    pub fn new(text: impl Into<Box<str>>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the one place that sends or checks it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_in_a_debug_line() {
        let shown = format!("{:?}", Some(Secret::new("open sesame")));
        assert_eq!(shown, "Some(Secret(…))");
    }
}
