//! A wall clock of one process that a test can set.
//!
//! Always: the program is unchanged. A small library that is loaded before it adds a number of seconds, which the test writes into a file, to
//! each reading of the wall clock. The clock that only measures durations is not touched.

use anyhow::{Result, ensure};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;
use testkit::world::Node;

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *seconds;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("TEST_CLOCK_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(0, sizeof *seconds, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) seconds = page;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    long failed = syscall(SYS_clock_gettime, id, now);
    if (!failed && seconds && id == CLOCK_REALTIME) now->tv_sec += *seconds;
    return (int)failed;
}
"#;

/// The wall clock of one node, from its next start on.
pub(crate) struct Clock(PathBuf);

impl Clock {
    /// Gives this node a clock of its own.
    pub(crate) fn of(node: &mut Node) -> Result<Clock> {
        let dir = node.data.join("..").join(format!("clock-{}", node.name));
        fs::create_dir_all(&dir)?;
        let dir = dir.canonicalize()?;
        let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
        fs::write(&source, SOURCE)?;
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .output()?;
        ensure!(built.status.success(), "{built:?}");
        let clock = Clock(dir.join("seconds"));
        fs::write(&clock.0, 0_i64.to_ne_bytes())?;
        let mut set = |name: &str, value: &PathBuf| {
            let value = value.display().to_string();
            node.environment.push((name.to_owned(), value));
        };
        set("LD_PRELOAD", &library);
        set("TEST_CLOCK_FILE", &clock.0);
        Ok(clock)
    }

    /// Sets the clock to so many seconds after the true time.
    pub(crate) fn jump(&self, seconds: i64) -> Result<()> {
        let file = fs::File::options().write(true).open(&self.0)?;
        Ok(file.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }
}
