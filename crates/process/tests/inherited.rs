//! What a job inherits does not depend on the process that started its Subagent, except for the limits, which are passed on unchanged.

use std::path::PathBuf;
use std::process::Command;

/// The shell command that starts a small Subagent with one job.
const RUN: &str = r#""$SUBAGENT" "$WORK" "$SCRIPT""#;

/// Runs a job with `script` in a Subagent that this shell command starts, in which `$RUN` stands for the Subagent.
fn run(start: &str, script: &str) -> String {
    let me = std::env::current_exe().expect("our own path");
    let target: PathBuf = me
        .ancestors()
        .nth(2)
        .expect("target/<profile>/deps/<test>")
        .into();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ended = Command::new("/bin/sh")
        .args(["-c", &start.replace("$RUN", RUN)])
        .env("SUBAGENT", target.join("examples/inherited_state"))
        .env("WORK", dir.path().join("work"))
        .env("SCRIPT", script)
        .output()
        .expect("a shell can be started");
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{ended:?}");
    text
}

fn line<'a>(text: &'a str, name: &str) -> &'a str {
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    found
        .unwrap_or_else(|| panic!("no {name} in {text}"))
        .trim()
}

#[test]
fn the_exit_code_of_a_job_is_known_although_sigchld_was_ignored() {
    let text = run("exec env --ignore-signal=CHLD $RUN", "exit 3");
    assert_eq!(line(&text, "code:"), "Some(3)");
    assert_eq!(line(&text, "changed: SIGCHLD"), "was ignored");
}

#[test]
fn a_job_has_no_signal_blocked_or_ignored() {
    let state = "exec env --ignore-signal=HUP,INT,QUIT,PIPE,TERM,XFSZ,CHLD,USR2 --block-signal=TERM,USR1,CHLD,ALRM $RUN";
    let text = run(state, "cat /proc/self/status");
    for mask in ["SigBlk:", "SigIgn:"] {
        let signals = u64::from_str_radix(line(&text, mask), 16).expect("a mask");
        // The C library reserves 32 and 33 for its threads.
        assert_eq!(signals & !(0b11 << 31), 0, "{mask} {text}");
    }
    let blocked = line(&text, "changed: signals were blocked:");
    for name in ["SIGTERM", "SIGUSR1", "SIGCHLD", "SIGALRM"] {
        assert!(blocked.contains(name), "{blocked}");
    }
    assert!(!blocked.contains("SIGHUP"), "{blocked}");
    // A job that receives SIGTERM ends.
    let text = run(state, "kill -TERM $$; sleep 1000");
    assert_eq!(line(&text, "code:"), "None");
}

#[test]
fn a_job_has_only_its_standard_streams() {
    let script = "for f in /proc/$$/fd/*; do echo \"fd $f\"; done; readlink /proc/$$/fd/0";
    let text = run("exec 7</etc/passwd 9>/dev/null; exec $RUN", script);
    let mut numbers: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("fd ")?.rsplit('/').next())
        .collect();
    // These are Bash's own descriptors.
    numbers.retain(|number| !matches!(*number, "255" | "3" | "10"));
    assert_eq!(numbers, ["0", "1", "2"], "{text}");
    assert!(text.contains("/dev/null"), "{text}");
    let open = line(&text, "changed: descriptors were open:");
    // The process that runs the tests may have left more descriptors open.
    let open: Vec<_> = open.split(", ").collect();
    assert!(open.contains(&"7") && open.contains(&"9"), "{open:?}");
    for number in ["0", "1", "2", line(&text, "own:")] {
        assert!(!open.contains(&number), "{number} in {open:?}");
    }
}

#[test]
fn a_job_gets_the_limits_that_its_subagent_was_given() {
    let state = "ulimit -Sn 300; ulimit -Sf 12345; exec $RUN";
    let text = run(
        state,
        "cat /proc/$PPID/limits | sed s/^/own:/; cat /proc/$$/limits",
    );
    let soft = |name: &str| {
        let words = line(&text, name).split_whitespace();
        words.take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let own = soft("own:Max open files");
    assert_eq!(own[0], own[1], "a service needs what it may have");
    assert_eq!(soft("Max open files")[0], "300");
    assert_ne!(soft("own:Max file size")[0], soft("Max file size")[0]);
}

#[test]
fn a_job_keeps_the_umask() {
    let text = run("umask 027; exec $RUN", "umask");
    assert!(text.lines().any(|line| line == "0027"), "{text}");
    assert!(!text.contains("changed: the umask"), "{text}");
}

#[test]
fn a_umask_that_takes_permissions_from_the_owner_is_mended_and_told() {
    let text = run("umask 0327; exec $RUN", "umask");
    assert!(text.lines().any(|line| line == "0027"), "{text}");
    let told = line(&text, "changed: the umask");
    assert_eq!(told, "327 took permissions from the owner");
}

#[test]
fn a_raised_limit_and_a_low_one_are_told() {
    let text = run("ulimit -Sn 300; ulimit -Hn 4095; exec $RUN", "true");
    assert_eq!(
        line(&text, "changed: the limit of open files"),
        "was 300 and is 4095 now; jobs keep the former"
    );
    assert_eq!(
        line(&text, "doubtful: open files"),
        "is limited to 4095 (ulimit -H -n); raise it where this service is started"
    );
    let text = run("ulimit -n 4096; exec $RUN", "true");
    assert!(
        !text.contains("open files"),
        "enough, and as it was: {text}"
    );

    let text = run("exec prlimit --nproc=50000:60000 $RUN", "true");
    let raised = line(&text, "changed: the limit of processes of this user");
    assert!(raised.starts_with("was 50000 and is 60000 now"), "{raised}");
    assert!(
        !text.contains("doubtful: processes"),
        "that is usual: {text}"
    );

    let text = run("ulimit -Sf 12345; exec $RUN", "true");
    let raised = line(&text, "changed: the limit of the size of a file");
    assert!(raised.contains(" and is unlimited now;"), "{raised}");
    assert!(!text.contains("doubtful: the size"), "{text}");
    let text = run("ulimit -f 1000000; exec $RUN", "true");
    let low = line(&text, "doubtful: the size of a file");
    assert!(low.starts_with("is limited to "), "{low}");
}

#[test]
fn a_job_is_not_spared_when_memory_is_short_although_its_subagent_is() {
    let state = |adjusted: &str| {
        format!("echo {adjusted} >/proc/self/oom_score_adj || echo 'job: SKIPPED'; exec $RUN")
    };
    let job = "echo \"job: $(cat /proc/$$/oom_score_adj)\"; echo \"own: $(cat /proc/$PPID/oom_score_adj)\"";
    let text = run(&state("200"), job);
    assert_eq!(line(&text, "job:"), "200", "what is not protected stays");
    let text = run(&state("-500"), job);
    if line(&text, "job:") == "SKIPPED" {
        println!("no right to be spared");
        return;
    }
    assert_eq!(line(&text, "job:"), "0", "{text}");
    assert!(text.lines().any(|line| line == "own: -500"), "{text}");
}

#[test]
fn a_job_that_reads_the_terminal_fails_instead_of_waiting_forever() {
    // The program `script` gives its command a terminal.
    let start = "exec script -qec '$RUN' /dev/null";
    let job = "read -r line </dev/tty; echo \"tty: $?\"; read -ra s </proc/$$/stat; echo \"session: $(( s[5] - $$ ))\"";
    let text = run(start, job);
    assert_eq!(line(&text, "tty:"), "1", "{text}");
    assert_eq!(line(&text, "session:"), "0", "a session of its own");
}
