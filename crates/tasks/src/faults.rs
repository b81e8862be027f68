//! Faults that a test injects into a running part: a task panics or ends.
//!
//! Always: only in builds with debug assertions, and only if the variable below names a directory. There the part records which tasks it
//! has started (`started/NAME`). A file `panic/NAME` makes one task of that name panic, and `end/NAME` makes it end. The task removes the
//! file. A file `panic-at/ID` makes all work on the thing with this id panic, as long as the file exists; `abort-at/ID` ends the whole
//! process there, as a signal does. `panic-in-replay/ID` and `abort-in-replay/ID` do so when an event of this thing is read from the log. Other
//! builds do nothing.

#[cfg(debug_assertions)]
pub(crate) use on::{may_end, may_strike, note, strike_here};

/// Marks a place at which a test can make a thread panic. Does nothing in a release build.
#[inline]
pub fn fault_point(name: &'static str) {
    #[cfg(debug_assertions)]
    strike_here(name);
    #[cfg(not(debug_assertions))]
    let _nothing = name;
}

/// Marks a place at which a test can make the work on one thing panic, again and again. Does nothing in a release build.
#[inline]
pub fn fault_at(id: &str) {
    #[cfg(debug_assertions)]
    on::strike_at(id);
    #[cfg(not(debug_assertions))]
    let _nothing = id;
}

/// Marks the place at which an event of one thing is read from the log, with the same faults. Does nothing in a release build.
#[inline]
pub fn fault_in_replay(id: &str) {
    #[cfg(debug_assertions)]
    on::strike_in_replay(id);
    #[cfg(not(debug_assertions))]
    let _nothing = id;
}

#[cfg(debug_assertions)]
mod on {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::LazyLock;
    use std::time::Duration;

    use futures::future::{Either, select};

    /// The environment variable with the directory through which faults are injected.
    const VARIABLE: &str = "MAINSPRING_INJECT_FAULTS";
    const LOOK: Duration = Duration::from_millis(20);

    static DIRECTORY: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os(VARIABLE).map(PathBuf::from));

    pub(crate) fn note(name: &str) {
        if let Some(directory) = DIRECTORY.as_deref() {
            // The test owns the directory and notices if the file is missing.
            let _unseen = fs::write(directory.join("started").join(name), "");
        }
    }

    /// Returns whether the fault happens here. It happens only in the task that removes the file.
    fn is_struck(directory: &Path, fault: &str, name: &str) -> bool {
        fs::remove_file(directory.join(fault).join(name)).is_ok()
    }

    async fn struck(fault: &str, name: &str) {
        let Some(directory) = DIRECTORY.as_deref() else {
            return std::future::pending().await;
        };
        while !is_struck(directory, fault, name) {
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) fn strike_here(name: &str) {
        if let Some(directory) = DIRECTORY.as_deref()
            && is_struck(directory, "panic", name)
        {
            panic!("this panic was injected by a test");
        }
    }

    pub(crate) fn strike_at(id: &str) {
        strike(id, "panic-at", "abort-at");
    }

    pub(crate) fn strike_in_replay(id: &str) {
        strike(id, "panic-in-replay", "abort-in-replay");
    }

    fn strike(id: &str, panics: &str, aborts: &str) {
        let Some(directory) = DIRECTORY.as_deref() else {
            return;
        };
        if id.contains('/') {
            return;
        }
        if directory.join(aborts).join(id).exists() {
            std::process::abort();
        }
        let panics = directory.join(panics).join(id).exists();
        assert!(!panics, "this panic was injected by a test");
    }

    /// Runs the work, and panics when a test requests it.
    pub(crate) async fn may_strike<F: Future>(name: &'static str, work: F) -> F::Output {
        note(name);
        strike_here(name);
        if DIRECTORY.is_none() {
            return work.await;
        }
        match select(Box::pin(work), Box::pin(struck("panic", name))).await {
            Either::Left((done, _)) => done,
            Either::Right(((), _)) => panic!("this panic was injected by a test"),
        }
    }

    /// Runs the work, and ends without a result when a test requests it.
    pub(crate) async fn may_end<F: Future>(name: &'static str, work: F) -> Option<F::Output> {
        if DIRECTORY.is_none() {
            return Some(work.await);
        }
        match select(Box::pin(work), Box::pin(struck("end", name))).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(((), _)) => None,
        }
    }
}

#[cfg(not(debug_assertions))]
mod off {
    #[inline]
    pub(crate) fn note(_name: &str) {}

    #[inline]
    pub(crate) fn may_strike<F: Future>(_name: &'static str, work: F) -> F {
        work
    }

    #[inline]
    pub(crate) async fn may_end<F: Future>(_name: &'static str, work: F) -> Option<F::Output> {
        Some(work.await)
    }
}

#[cfg(not(debug_assertions))]
pub(crate) use off::{may_end, may_strike, note};
