//! A log for tests in which an error is not a line but a failure.

use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Panics on each line of level *error* that this thread writes, as long as the guard lives.
#[must_use = "the watch ends when the guard is dropped"]
pub fn panic_on_error() -> DefaultGuard {
    tracing::subscriber::set_default(tracing_subscriber::registry().with(Watchdog))
}

struct Watchdog;

impl<S: Subscriber> Layer<S> for Watchdog {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if *event.metadata().level() == Level::ERROR {
            let mut text = Text::default();
            event.record(&mut text);
            panic!("an error was logged:{}", text.0);
        }
    }
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 = format!("{} {field}={value:?}", self.0);
    }
}

#[cfg(test)]
mod tests {
    use tracing::{error, warn};

    use super::*;

    #[test]
    fn a_warning_passes() {
        let _watch = panic_on_error();
        warn!("look tomorrow");
    }

    #[test]
    #[should_panic(expected = "an error was logged: message=the disk is full path=\"/var\"")]
    fn an_error_fails_the_test() {
        let _watch = panic_on_error();
        error!(path = "/var", "the disk is full");
    }
}
