//! A standalone as an operator meets it: the built program, real directories, real jobs, real signals.
//! Always: every process that is started is ended, however the test ends; ports are free ones.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of a test fail where they stand"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_mins(1);

#[expect(
    clippy::disallowed_methods,
    reason = "the program itself is what is tried here"
)]
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainspring"));
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MAINSPRING_"))
    {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// A running part; dropped, it is gone.
struct Part(Child);

impl Drop for Part {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Part {
    fn standalone(data: &Path) -> Part {
        // The URL of a dead predecessor must not be taken for that of this one.
        let _none_yet = fs::remove_file(data.join("controller/private/url"));
        let child = program()
            .args([
                "standalone",
                "--listen",
                "127.0.0.1:0",
                "--agent-listen",
                "127.0.0.1:0",
                "--data",
            ])
            .arg(data)
            .stdout(Stdio::null())
            .stderr(
                fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(data.with_extension("log"))
                    .unwrap(),
            )
            .spawn()
            .unwrap();
        let mut part = Part(child);
        until("the standalone is ready", || {
            assert!(
                part.0.try_wait().unwrap().is_none(),
                "{}",
                fs::read_to_string(data.with_extension("log")).unwrap()
            );
            data.join("controller/private/url").exists()
        });
        until("its Agent is known", || {
            ask(data, &["item", "show", "Agent:Agent"]).status.success()
        });
        part
    }

    fn signal(&self, name: &str) {
        #[expect(
            clippy::disallowed_methods,
            reason = "a signal as an operator sends it"
        )]
        // The shell's own `kill`: a bare Debian has no program of that name.
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -s {name} {}", self.0.id())])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(begin.elapsed() < PATIENCE, "the process does not end");
            sleep(Duration::from_millis(20));
        }
    }
}

/// Creates a standalone with a new data directory in a temporary one.
fn standalone() -> (TempDir, PathBuf, Part) {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let part = Part::standalone(&data);
    (dir, data, part)
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(
            begin.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        sleep(Duration::from_millis(50));
    }
}

fn ask(data: &Path, args: &[&str]) -> Output {
    program()
        .arg("--data")
        .arg(data)
        .args(args)
        .output()
        .unwrap()
}

/// Standard output of a command that must end with this code.
fn told(data: &Path, code: i32, args: &[&str]) -> String {
    let output = ask(data, args);
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
    format!("{out}{err}")
}

fn write(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

/// Writes the marks `start` and `end` into a file, and waits in between for `go`.
fn patient_workflow(dir: &TempDir) -> PathBuf {
    let script = format!(
        "echo start >>{0}/marks; n=0; while [ ! -e {0}/go ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); done; echo end >>{0}/marks; echo said it; echo answer=42 >>\"$MAINSPRING_RETURN_VALUES\"",
        dir.path().display()
    );
    let workflow = serde_json::json!({
        "TYPE": "Workflow",
        "instructions": [
            {"TYPE": "Execute.Named", "jobName": "wait", "label": "waiting"},
            {"TYPE": "If", "predicate": "$answer == '42'", "then": {"instructions": []},
                "else": {"instructions": [{"TYPE": "Fail", "message": "'the answer is lost'"}]}}
        ],
        "jobs": {"wait": {"agentName": "Agent", "executable": {"TYPE": "ShellScriptExecutable", "script": script}}}
    });
    write(dir, "patient.json", &workflow.to_string())
}

#[test]
fn an_order_survives_kill_9_in_the_middle_of_its_job_and_finishes_after_the_restart() {
    let (dir, data, mut part) = standalone();
    let workflow = patient_workflow(&dir);
    let deployed = told(&data, 0, &["deploy", workflow.to_str().unwrap()]);
    assert!(
        deployed.contains("added") && deployed.contains("Workflow:patient"),
        "{deployed}"
    );
    assert!(told(&data, 0, &["deploy", workflow.to_str().unwrap()]).contains("unchanged"));

    told(&data, 0, &["order", "add", "patient", "--id", "A"]);
    let marks = dir.path().join("marks");
    until("the job runs", || marks.exists());
    let shown = told(&data, 0, &["order", "show", "A"]);
    assert!(
        shown.contains("Processing") && shown.contains("▶  0  waiting: job wait"),
        "{shown}"
    );

    part.0.kill().unwrap();
    part.0.wait().unwrap();
    let away = told(&data, 3, &["order", "show", "A"]);
    assert!(
        away.contains("cannot reach") && away.contains("mainspring standalone"),
        "{away}"
    );

    let mut part = Part::standalone(&data);
    until("the job runs again", || {
        fs::read_to_string(&marks).unwrap() == "start\nstart\n"
    });
    fs::write(dir.path().join("go"), "").unwrap();
    let watched = told(
        &data,
        0,
        &["order", "watch", "A", "--until-ended", "--summary"],
    );
    assert!(
        watched.contains("said it") && watched.contains("finished"),
        "{watched}"
    );
    // The first process was ended before it could write its end; the second one wrote both.
    assert_eq!(fs::read_to_string(&marks).unwrap(), "start\nstart\nend\n");
    assert_eq!(told(&data, 0, &["order", "log", "A"]), "said it\n");
    let json: serde_json::Value =
        serde_json::from_str(&told(&data, 0, &["order", "show", "A", "--json"])).unwrap();
    assert_eq!(json["state"]["TYPE"], "Finished");

    part.signal("TERM");
    assert_eq!(part.exit_code(), Some(0), "SIGTERM is an orderly end");
    for node in ["controller", "agent"] {
        let report = told(
            &data,
            0,
            &[
                "journal",
                "verify",
                data.join(node).join("state").to_str().unwrap(),
            ],
        );
        assert!(report.starts_with("whole"), "{report}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_reason_and_its_exit_code() {
    let (dir, data, _part) = standalone();

    let again = told(
        &data,
        1,
        &[
            "standalone",
            "--listen",
            "127.0.0.1:0",
            "--agent-listen",
            "127.0.0.1:0",
        ],
    );
    assert!(again.contains("in use by"), "{again}");
    let url = fs::read_to_string(data.join("controller/private/url")).unwrap();
    let (_, port) = url.trim().rsplit_once("//").unwrap();
    let other = dir.path().join("other");
    let taken = told(
        &other,
        1,
        &[
            "standalone",
            "--listen",
            port,
            "--agent-listen",
            "127.0.0.1:0",
        ],
    );
    assert!(taken.contains("port is in use"), "{taken}");
    let config = write(
        &dir,
        "mainspring.toml",
        "[agent]\nname = \"A\"\n\n[controller]\nlissten = \"127.0.0.1:1\"\n",
    );
    let wrong = told(
        &other,
        2,
        &["standalone", "--config", config.to_str().unwrap()],
    );
    assert!(
        wrong.contains("mainspring.toml:5") && wrong.contains("did you mean listen?"),
        "{wrong}"
    );
    let open = told(
        &other,
        2,
        &[
            "standalone",
            "--listen",
            "0.0.0.0:0",
            "--agent-listen",
            "127.0.0.1:0",
        ],
    );
    assert!(open.contains("loopback"), "{open}");

    let bad = write(
        &dir,
        "bad.yaml",
        "TYPE: Workflow\ninstructions:\n  - {TYPE: Execute.Named, jobName: nowhere}\n",
    );
    let faults = told(&data, 1, &["deploy", bad.to_str().unwrap()]);
    assert!(faults.contains("bad.yaml:3:"), "{faults}");
    assert!(told(&data, 1, &["order", "add", "nowhere"]).contains("nowhere"));
    assert!(told(&data, 1, &["order", "show", "nobody"]).contains("There is no Order:nobody"));
    assert!(told(&data, 1, &["order", "log", "nobody"]).contains("There is no Order:nobody"));
    assert!(
        told(&data, 2, &["order", "add", "w", "--at", "soon"]).contains("cannot read the time")
    );

    let token = write(&dir, "token", "not-the-token\n");
    let refused = told(
        &data,
        1,
        &["--token-file", token.to_str().unwrap(), "order", "list"],
    );
    assert!(refused.contains("InvalidLogin"), "{refused}");
}

#[test]
fn a_failed_order_shows_in_the_exit_code_of_who_waits_for_it() {
    let (dir, data, _part) = standalone();
    let workflow = write(
        &dir,
        "choosy.yaml",
        "TYPE: Workflow\ninstructions:\n  - TYPE: If\n    predicate: $good\n    then: {instructions: []}\n    else: {instructions: [{TYPE: Fail, message: '\"no good\"'}]}\n",
    );
    told(&data, 0, &["deploy", workflow.to_str().unwrap()]);
    assert!(
        told(
            &data,
            0,
            &[
                "order",
                "add",
                "choosy",
                "--id",
                "G",
                "--arg",
                "good=true",
                "--count",
                "3",
                "--wait"
            ]
        )
        .contains("G-3  finished")
    );
    assert!(
        told(
            &data,
            4,
            &[
                "order",
                "add",
                "choosy",
                "--id",
                "B",
                "--arg",
                "good=false",
                "--wait"
            ]
        )
        .contains("B  failed")
    );
    assert!(told(&data, 0, &["order", "list", "--state", "failed"]).contains('B'));
    told(&data, 0, &["order", "cancel", "B"]);
    until("the order is cancelled", || {
        told(&data, 0, &["order", "list", "--state", "cancelled"]).contains('B')
    });
    let late = told(
        &data,
        4,
        &[
            "order",
            "add",
            "choosy",
            "--id",
            "L",
            "--arg",
            "good=true",
            "--at",
            "+1h",
            "--wait",
            "--timeout",
            "1s",
        ],
    );
    assert!(late.contains("have not ended in time"), "{late}");
    assert!(told(&data, 0, &["undeploy", "choosy", "--dry-run"]).contains("would be removed"));
}

#[test]
fn many_orders_are_changed_at_once_after_they_were_shown_and_events_tell_who_wanted_it() {
    let (dir, data, _part) = standalone();
    let workflow = write(
        &dir,
        "w.yaml",
        "TYPE: Workflow\ninstructions:\n  - TYPE: If\n    predicate: $good\n    then: {instructions: []}\n    else: {instructions: [{TYPE: Fail, message: '\"no good\"'}]}\n",
    );
    told(
        &data,
        0,
        &[
            "deploy",
            workflow.to_str().unwrap(),
            "--reason",
            "a new start",
        ],
    );
    let add = |code, id: &str, more: &[&str]| {
        let mut args = vec!["order", "add", "w", "--id", id, "--arg", "good=false"];
        args.extend_from_slice(more);
        told(&data, code, &args)
    };
    add(
        0,
        "later",
        &["--count", "3", "--at", "2099-01-01T00:00:00Z"],
    );
    add(4, "failed", &["--wait"]);

    // Adding the same order again succeeds. Adding a different order with the same id fails.
    add(0, "later-1", &["--at", "2099-01-01T00:00:00Z"]);
    assert!(add(1, "later-1", &["--at", "2098-01-01T00:00:00Z"]).contains("another order later-1"));
    assert!(add(1, "failed", &["--arg", "more=1"]).contains("no argument more"));
    let other = add(1, "later", &["--count", "3"]);
    assert!(
        other.contains("another order later-1") && other.contains("nothing was added"),
        "{other}"
    );

    // A list in JSON has pages.
    let list = |args: &[&str]| {
        let mut all = vec!["--json", "order", "list"];
        all.extend_from_slice(args);
        serde_json::from_str::<serde_json::Value>(&told(&data, 0, &all)).unwrap()
    };
    let page = list(&["--limit", "2"]);
    assert_eq!(
        (
            page["orders"].as_array().unwrap().len(),
            &page["hasMore"],
            &page["next"]
        ),
        (2, &true.into(), &"later-1".into()),
        "{page}"
    );
    let all = list(&["--all"]);
    assert_eq!(
        (all["orders"].as_array().unwrap().len(), &all["hasMore"]),
        (4, &false.into())
    );
    assert!(!all.to_string().contains("arguments"), "{all}");
    assert!(
        list(&["--fields", "arguments"])
            .to_string()
            .contains("\"good\":false")
    );

    // The list is sorted and bounded by the time of the last change.
    let ids = |args: &[&str]| -> Vec<String> {
        let page = list(args);
        let orders = page["orders"].as_array().unwrap().iter();
        orders
            .map(|order| order["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let by_id = ["failed", "later-1", "later-2", "later-3"];
    assert_eq!(ids(&["--sort", "id"]), by_id);
    assert_eq!(ids(&["--sort", "scheduled"]), by_id, "it has no time");
    let added_first = ["later-1", "later-2", "later-3", "failed"];
    assert_eq!(ids(&["--sort", "added"]), added_first);
    assert_eq!(ids(&["--sort", "started", "--reverse"])[0], "failed");
    let newest = list(&["--sort", "changed", "--reverse", "--limit", "1"]);
    assert_eq!(
        (&newest["orders"][0]["id"], &newest["hasMore"]),
        (&"failed".into(), &true.into())
    );
    let changed = newest["orders"][0]["stateSince"].as_i64().unwrap();
    let at = |millis| {
        let at = jiff::Timestamp::from_millisecond(millis).unwrap();
        at.to_string()
    };
    assert_eq!(ids(&["--since", &at(changed)]), ["failed"]);
    assert_eq!(ids(&["--until", &at(changed)]), by_id);
    assert_eq!(ids(&["--until", &at(changed - 1)]), added_first[..3]);
    assert_eq!(ids(&["--since", "-1h"]), by_id);
    assert!(ids(&["--until", "-1h"]).is_empty());
    assert!(told(&data, 2, &["order", "list", "--since", "yesterday"]).contains("yesterday"));

    // A misspelt name is not just unknown.
    assert!(told(&data, 1, &["order", "show", "latr-1"]).contains("did you mean the order later-"));
    assert!(told(&data, 1, &["order", "cancel", "faild"]).contains("the order failed?"));
    assert!(told(&data, 1, &["item", "show", "Agent:Agnt"]).contains("Agent:Agent?"));
    assert!(told(&data, 1, &["agent", "reset", "agent"]).contains("the Agent Agent?"));
    assert!(told(&data, 1, &["subagent", "show", "Agent_0"]).contains("did you mean the Subagent"));
    assert!(told(&data, 0, &["order", "list", "--workflow", "W"]).contains("the workflow w?"));

    // A token in the environment is taken as one in a file is: with the line feed of that file.
    let token = fs::read_to_string(data.join("controller/private/admin-token")).unwrap();
    let asked = program()
        .args(["--data", data.to_str().unwrap(), "status"])
        .env("MAINSPRING_TOKEN", format!("{}\n", token.trim()))
        .status();
    assert!(asked.unwrap().success());

    // A shell asks for the names that complete a line.
    let names = |words: &[&str]| {
        let told = told(&data, 0, &[&["names", "--"], words].concat());
        told.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&["order", "show", "lat"]), added_first[..3]);
    assert_eq!(names(&["order", "add", ""]), ["w"]);
    assert!(names(&["order", "list", ""]).is_empty());

    // A reference to what does not exist is shown in its file, with what may have been meant, and nothing is sent.
    let wrong = write(
        &dir,
        "wrong.yaml",
        "TYPE: Workflow\npath: wrong\ninstructions:\n  - TYPE: Execute.Anonymous\n    job:\n      agentName: agent\n      executable: {TYPE: ShellScriptExecutable, script: exit}\n",
    );
    let refused = told(&data, 1, &["deploy", wrong.to_str().unwrap()]);
    for part in [
        "wrong.yaml:6",
        "6 |       agentName: agent",
        "did you mean \"Agent\"?",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    assert!(!told(&data, 0, &["item", "list"]).contains("wrong"));

    // Beside a data directory, `deploy .` reads the workflows and neither that nor what is hidden.
    fs::write(dir.path().join(".swap"), "").unwrap();
    fs::remove_file(&wrong).unwrap();
    let deployed = told(
        &data,
        0,
        &["deploy", "--dry-run", dir.path().to_str().unwrap()],
    );
    assert!(
        !deployed.contains(".swap") && !deployed.contains("segment"),
        "{deployed}"
    );

    // Selected orders are shown. They are changed only after a confirmation.
    let cancel = |code, args: &[&str]| {
        let mut all = vec!["order", "cancel"];
        all.extend_from_slice(args);
        told(&data, code, &all)
    };
    assert!(cancel(2, &[]).contains("which orders?"));
    assert!(cancel(2, &["later-1", "--all"]).contains("cannot be used with"));
    let shown = cancel(0, &["--pattern", "later-*", "--dry-run"]);
    assert!(
        shown.contains("later-3") && shown.contains("would cancel 3 orders"),
        "{shown}"
    );
    assert!(cancel(2, &["--pattern", "later-*"]).contains("would cancel 3 orders"));
    let chosen = [
        "--workflow",
        "w",
        "--scheduled-from",
        "2099-01-01T00:00:00Z",
        "--yes",
    ];
    let done = cancel(0, &[&chosen[..], &["--reason", "not needed"]].concat());
    assert!(
        done.contains("later-1  to be cancelled") && !done.contains("failed"),
        "{done}"
    );
    until("they are cancelled", || {
        told(&data, 0, &["order", "list", "--state", "cancelled"]).contains("later-3")
    });
    assert!(
        cancel(0, &chosen).contains("no orders to cancel"),
        "none is open any more"
    );

    // The order resumes where it stands, with another value.
    let shown = told(&data, 0, &["order", "show", "failed"]);
    assert!(shown.contains("--position 0/else:1"), "{shown}");
    let resume = |code, more: &[&str]| {
        let mut args = vec!["order", "resume", "failed"];
        args.extend_from_slice(more);
        told(&data, code, &args)
    };
    assert!(resume(1, &["--arg", "good=true"]).contains("has brought along good"));
    resume(0, &["--position", "0/else:1", "--arg", "note=mended"]);
    until("it has ended well", || {
        told(&data, 0, &["order", "list", "--state", "finished"]).contains("failed")
    });

    assert!(told(&data, 0, &["order", "show", "failed"]).contains("note = 'mended'"));

    let events = told(&data, 0, &["--json", "events", "--no-follow"]);
    let said = |event: &str, reason: &str| {
        events
            .lines()
            .any(|line| line.contains(event) && line.contains(reason))
    };
    assert!(
        said(
            "VersionedItemAdded",
            r#""by":{"user":"admin","reason":"a new start"}"#
        ),
        "{events}"
    );
    assert!(
        said("later-2", r#""by":{"user":"admin","reason":"not needed"}"#),
        "{events}"
    );
    assert!(said("OrderResumed", r#""by":{"user":"admin"}"#), "{events}");

    // A typing error is refused and not answered with an empty list.
    assert!(told(&data, 2, &["events", "--return", "NoSuchEvent"]).contains("NoSuchEvent"));
    assert!(told(&data, 2, &["item", "list", "--type", "Workfow"]).contains("Workfow"));
    assert!(told(&data, 0, &["item", "list", "--type", "agentref"]).contains("Agent"));
}
