//! Starts that fail say why, and many starts leave nothing behind.

#[path = "yard/yard.rs"]
#[expect(dead_code, reason = "each test program uses a part of it")]
mod yard;

use process::{Launch, OutputSettings, Settings, StartError};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use yard::{Yard, eventually, finish, open_descriptors, zombies};

/// Counts the descriptors of this process, so it is for one test at a time, with its runtime.
fn alone(test: impl Future<Output = ()>) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(test);
}

async fn start_error(yard: &Yard, program: &Path) -> StartError {
    let launch = Launch {
        program: program.to_owned(),
        args: vec![],
        ..yard.launch("")
    };
    yard.ward
        .start(launch, OutputSettings::default())
        .await
        .expect_err("it cannot start")
}

#[test]
fn a_start_that_fails_names_the_program_and_the_cause() {
    alone(async {
        let yard = Yard::open(Settings::default());
        let dir = yard.dir.path();
        let plain = yard::write(&dir.join("plain"), "#!/bin/sh\n");
        std::fs::set_permissions(&plain, PermissionsExt::from_mode(0o644)).expect("it is ours");
        let orphan = yard::write(&dir.join("orphan"), "#!/no/such/shell -x\n");
        let foreign = yard::write(&dir.join("foreign"), "#!/bin/sh\r\necho a\r\n");
        let marked = yard::write(&dir.join("marked"), "\u{FEFF}#!/bin/sh\necho a\n");
        let garbage = yard::write(&dir.join("garbage"), "\u{1}\u{2}\u{3}");
        for path in [&orphan, &garbage, &foreign, &marked] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("it is ours");
        }
        let cases = [
            (dir.join("missing"), "there is no such file"),
            (plain.join("below"), "there is no such file"),
            (dir.to_owned(), "it is a directory"),
            (
                plain,
                "it is not executable; give it the permission with chmod +x",
            ),
            (
                orphan,
                "its interpreter /no/such/shell (first line, after #!) cannot be executed",
            ),
            (
                foreign,
                "its first line ends with a carriage return, which becomes part of the interpreter's name /bin/sh; save it with line feeds only",
            ),
            (
                marked,
                "it begins with a byte order mark; save it as UTF-8 without one",
            ),
            (
                garbage,
                "it is neither a program for this machine nor a script with a first line like #!/bin/sh",
            ),
            ("bin/true".into(), "the path is not absolute"),
        ];
        for (program, cause) in cases {
            let message = start_error(&yard, &program).await.to_string();
            assert_eq!(
                message,
                format!("{} cannot be started: {cause}", program.display())
            );
        }

        let launch = Launch {
            dir: dir.join("nowhere"),
            ..yard.launch("")
        };
        let error = yard
            .ward
            .start(launch, OutputSettings::default())
            .await
            .expect_err("no directory");
        assert!(
            matches!(error, StartError::NoWorkingDirectory { .. }),
            "{error}"
        );
        let launch = Launch {
            args: vec!["x".repeat(3_000_000).into()],
            ..yard.launch("")
        };
        let error = yard
            .ward
            .start(launch, OutputSettings::default())
            .await
            .expect_err("too long");
        assert!(matches!(error, StartError::TooLong { .. }), "{error}");
        assert!(
            error.to_string().ends_with(
                "argument 1 has 3000001 bytes, and the system allows 131072; pass a file instead"
            ),
            "{error}"
        );
        let big = |count: usize, length: usize| {
            let variables =
                (0..count).map(|i| (format!("BIG_{i}").into(), "x".repeat(length + i).into()));
            Launch {
                env: process::Environment::Only(variables.collect()),
                ..yard.launch("")
            }
        };
        let error = yard
            .ward
            .start(big(1, 200_000), OutputSettings::default())
            .await
            .expect_err("too long");
        assert!(
            error.to_string().contains(
                "the environment variable BIG_0 has 200007 bytes, and the system allows 131072"
            ),
            "{error}"
        );
        let error = yard
            .ward
            .start(big(99, 100_000), OutputSettings::default())
            .await
            .expect_err("too long");
        assert!(
            error
                .to_string()
                .contains("the longest is the environment variable BIG_98 with 100106"),
            "{error}"
        );
        assert!(!error.is_shortage(), "another try would not help");
        let launch = Launch {
            args: vec!["a\0b".into()],
            ..yard.launch("")
        };
        let error = yard
            .ward
            .start(launch, OutputSettings::default())
            .await
            .expect_err("a NUL");
        assert!(matches!(error, StartError::ContainsNul { .. }), "{error}");
        assert_eq!(yard.ward.running_count(), 0, "a failed start takes no slot");
        assert!(zombies().is_empty());
    });
}

#[test]
fn the_limit_of_processes_is_kept() {
    alone(async {
        let yard = Yard::open(Settings {
            process_limit: 2,
            ..Settings::default()
        });
        let first = yard.start("exec sleep 1000").await;
        let _second = yard.start("exec sleep 1000").await;
        let error = yard.run("true").await.expect_err("two are running");
        assert!(
            matches!(error, StartError::LimitReached { limit: 2, .. }),
            "{error}"
        );
        first.kill();
        finish(first).await;
        assert_eq!(
            yard.run("true")
                .await
                .expect("a place is free again")
                .code(),
            Some(0)
        );
    });
}

#[test]
fn jobs_leave_descriptors_for_ending_them() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    alone(async {
        let yard = Yard::open(Settings::default());
        let given = getrlimit(Resource::Nofile);
        let few = Rlimit {
            current: Some(80),
            ..given
        };
        setrlimit(Resource::Nofile, few).expect("a lower limit");
        let mut jobs = vec![];
        let error = loop {
            assert!(jobs.len() < 80, "they have two descriptors each");
            let launch = yard.launch("sleep 1000 & wait");
            match yard.ward.start(launch, OutputSettings::default()).await {
                Ok(job) => jobs.push(job),
                Err(error) => break error,
            }
        };
        assert!(error.is_shortage(), "{error}");
        let left = 80 - open_descriptors();
        for job in &jobs {
            job.kill();
        }
        for job in jobs {
            assert_eq!(finish(job).await.code(), Some(137));
        }
        setrlimit(Resource::Nofile, given).expect("as it was");
        assert!(left >= 5, "{left} are left");
        eventually("no orphan is left", || yard::children().is_empty()).await;
    });
}

#[test]
fn the_end_of_a_job_is_noticed_without_a_free_descriptor() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    alone(async {
        let yard = Yard::open(Settings {
            cgroups: process::CgroupUse::Off,
            ..Settings::default()
        });
        let go = yard.dir.path().join("go");
        let script = "exec >&- 2>&-; while [ ! -e go ]; do sleep 0.01; done; exit 3";
        let mut running = yard.start(script).await;
        let given = getrlimit(Resource::Nofile);
        let none = Rlimit {
            current: Some(3),
            ..given
        };
        setrlimit(Resource::Nofile, none).expect("a lower limit");
        let early = tokio::time::timeout(std::time::Duration::from_millis(300), running.next());
        let early = early.await;
        setrlimit(Resource::Nofile, given).expect("as it was");
        assert!(early.is_err(), "it has not ended: {early:?}");
        yard::write(&go, "");
        assert_eq!(finish(running).await.code(), Some(3));
    });
}

#[test]
fn five_hundred_jobs_one_after_another_leak_nothing() {
    alone(async {
        let yard = Yard::open(Settings::default());
        assert_eq!(yard.run("true").await.expect("it starts").code(), Some(0));
        let before = open_descriptors();
        for i in 0..500 {
            let run = yard
                .run("echo out; echo err >&2; exit 3")
                .await
                .expect("it starts");
            assert_eq!(
                (run.stdout.as_str(), run.stderr.as_str(), run.code()),
                ("out\n", "err\n", Some(3)),
                "job {i}"
            );
        }
        assert_eq!(open_descriptors(), before, "no descriptor is left");
        assert!(zombies().is_empty());
        let ledger = yard.dir.path().join("work/running");
        eventually("the ledger is empty again", || {
            std::fs::metadata(&ledger).is_ok_and(|meta| meta.len() == 128)
        })
        .await;
    });
}

#[test]
fn pf_03_129_jobs_at_a_time_leak_nothing() {
    alone(async {
        let yard = Arc::new(Yard::open(Settings::default()));
        assert_eq!(yard.run("true").await.expect("it starts").code(), Some(0));
        let before = open_descriptors();
        let mut tasks = vec![];
        for i in 0..129 {
            let yard = Arc::clone(&yard);
            // Half of them live long enough for a control group; each leaves an orphan that ends later.
            let script = format!(
                "(sleep 0.4 >/dev/null 2>&1 &); echo {i}; sleep 0.{}; exit {}",
                i % 3,
                i % 100
            );
            tasks.push(tokio::spawn(async move { yard.run(&script).await }));
        }
        for (i, task) in tasks.into_iter().enumerate() {
            let run = task.await.expect("it does not panic").expect("it starts");
            assert_eq!(run.stdout, format!("{i}\n"));
            assert_eq!(run.code(), i32::try_from(i % 100).ok());
        }
        assert_eq!(yard.ward.running_count(), 0);
        eventually("no descriptor is left", || open_descriptors() == before).await;
        eventually("no orphan is left, dead or alive", || {
            yard::children().is_empty()
        })
        .await;
    });
}

#[test]
fn a_script_that_is_being_written_is_waited_for_but_not_forever() {
    alone(async {
        let yard = Yard::open(Settings::default());
        let program = yard::write(&yard.dir.path().join("program"), "#!/bin/sh\nexit 3\n");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("it is ours");
        let open = || std::fs::OpenOptions::new().append(true).open(&program);
        let start = || {
            let launch = Launch {
                program: program.clone(),
                args: vec![],
                ..yard.launch("")
            };
            yard.ward.start(launch, OutputSettings::default())
        };
        let writer = open().expect("it is ours");
        let error = start().await.expect_err("it stays open");
        assert!(
            matches!(error, StartError::IsBeingWritten { .. }),
            "{error}"
        );
        let (started, ()) = tokio::join!(start(), async {
            // The other one has tried once by now, and waits.
            drop(writer);
        });
        let running = started.expect("it is written by now");
        assert_eq!(finish(running).await.code(), Some(3));
    });
}

#[test]
fn fresh_scripts_started_in_parallel_are_never_busy() {
    alone(async {
        let yard = Arc::new(Yard::open(Settings::default()));
        let tasks: Vec<_> = (0..4)
            .map(|task| {
                let yard = Arc::clone(&yard);
                tokio::spawn(async move {
                    for i in 0..100 {
                        let run = yard
                            .run(&format!("#!/bin/sh\necho {task} {i}"))
                            .await
                            .expect("it starts");
                        assert_eq!(run.stdout, format!("{task} {i}\n"));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("it does not panic");
        }
    });
}
