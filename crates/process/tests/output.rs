//! What a job writes arrives whole, in order, and in pieces of whole characters.

#[path = "yard/yard.rs"]
#[expect(dead_code, reason = "each test program uses a part of it")]
mod yard;

use process::{Environment, Event, OutputSettings, Settings, Stream};
use std::time::{Duration, Instant};
use yard::{PATIENCE, Yard, finish};

#[tokio::test]
async fn a_script_runs_with_its_environment_in_its_directory_and_without_input() {
    let yard = Yard::open(Settings::default());
    let script = "#!/bin/sh\necho \"$GREETING from $(pwd)\"; read line || echo no input; echo oops >&2; exit 7";
    let mut launch = yard.launch(script);
    launch.env = Environment::Only(vec![("GREETING".into(), "hello".into())]);
    let run = finish(
        yard.ward
            .start(launch, OutputSettings::default())
            .await
            .expect("it starts"),
    )
    .await;
    let dir = yard.dir.path().canonicalize().expect("it is there");
    assert_eq!(
        run.stdout,
        format!("hello from {}\nno input\n", dir.display())
    );
    assert_eq!(run.stderr, "oops\n");
    assert_eq!(run.status.expect("ended").code, Some(7));
    assert_eq!(run.status.expect("ended").signal, None);
}

#[tokio::test]
async fn a_script_without_a_shebang_runs_in_the_shell_and_the_environment_is_complete() {
    let yard = Yard::open(Settings::default());
    let run = yard
        .run("env | cut -d= -f1 | sort | tr '\\n' ' '")
        .await
        .expect("it starts");
    assert_eq!(
        run.stdout, "MAINSPRING_JOB_MARK PATH PWD ",
        "nothing of ours leaks into the job"
    );
}

#[tokio::test]
async fn an_inherited_environment_is_ours_with_the_changes() {
    let yard = Yard::open(Settings::default());
    let own: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .collect();
    assert!(own.iter().any(|name| name == "PATH" || name == "HOME"));
    let mut launch = yard.launch("env | cut -d= -f1");
    let removed = own[0].clone();
    launch.env = Environment::Inherited(vec![
        (removed.clone().into(), None),
        ("GREETING".into(), Some("hello".into())),
    ]);
    let run = finish(
        yard.ward
            .start(launch, OutputSettings::default())
            .await
            .expect("it starts"),
    )
    .await;
    let names: Vec<&str> = run.stdout.lines().collect();
    assert!(!names.contains(&removed.as_str()), "{names:?}");
    for name in own[1..]
        .iter()
        .map(String::as_str)
        .chain(["GREETING", "MAINSPRING_JOB_MARK"])
    {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
}

#[tokio::test]
async fn pf_01_ten_megabytes_arrive_whole_and_in_order() {
    let yard = Yard::open(Settings::default());
    let run = yard
        .run("seq -w 1000000 1999999 | head -c 10000000; seq 5 >&2")
        .await
        .expect("it starts");
    let expected: String = (1_000_000..2_000_000)
        .flat_map(|n: u32| [n.to_string(), "\n".to_owned()])
        .collect();
    assert_eq!(run.stdout.len(), 8_000_000);
    assert!(
        run.stdout == expected,
        "the lines are all there, each once, in order"
    );
    assert_eq!(run.stderr, "1\n2\n3\n4\n5\n");
    assert!(
        run.pieces
            .iter()
            .all(|(_, text)| text.chars().count() <= 8 * 1024)
    );
}

#[tokio::test]
async fn s47_characters_of_many_bytes_survive_every_border() {
    let yard = Yard::open(Settings::default());
    // 1 + 3 + 4 bytes per round put the borders of reads and pieces everywhere; 'printf' of single bytes cuts the writes.
    let script = r#"#!/bin/sh
awk 'BEGIN { for (i = 0; i < 60000; i++) printf "x€😀" }'
for i in 1 2 3; do printf '\342'; sleep 0.05; printf '\202'; sleep 0.05; printf '\254'; done
printf '\377end\342\202'
"#;
    let settings = OutputSettings {
        max_characters: 1000,
        max_delay: Duration::from_millis(20),
    };
    let run = finish(
        yard.ward
            .start(yard.launch(script), settings)
            .await
            .expect("it starts"),
    )
    .await;
    let expected = format!("{}€€€\u{FFFD}end\u{FFFD}", "x€😀".repeat(60000));
    assert!(
        run.stdout == expected,
        "{} characters",
        run.stdout.chars().count()
    );
    assert!(
        run.pieces
            .iter()
            .all(|(_, text)| text.chars().count() <= 1000)
    );
}

#[tokio::test]
async fn text_is_given_out_while_the_job_still_runs_but_not_letter_by_letter() {
    let yard = Yard::open(Settings::default());
    let mut running = yard
        .start("printf a; sleep 0.05; printf b; sleep 0.05; printf c; exec sleep 60")
        .await;
    let begin = Instant::now();
    let first = running.next().await;
    assert_eq!(
        first,
        Some(Event::Output {
            stream: Stream::Stdout,
            text: "abc".to_owned()
        })
    );
    assert!(
        begin.elapsed() >= Duration::from_millis(300),
        "it is collected for a while"
    );
    running.kill();
    assert_eq!(finish(running).await.code(), Some(137));
}

#[tokio::test]
async fn the_output_of_a_job_that_writes_without_a_pause_is_given_out() {
    let yard = Yard::open(Settings::default());
    let settings = OutputSettings {
        max_characters: 1_000_000,
        max_delay: Duration::from_millis(200),
    };
    let launch = yard.launch("while :; do printf x; sleep 0.01; done");
    let mut running = yard.ward.start(launch, settings).await.expect("it starts");
    for _ in 0..2 {
        let next = tokio::time::timeout(PATIENCE, running.next()).await;
        assert!(
            matches!(next, Ok(Some(Event::Output { ref text, .. })) if text.starts_with('x')),
            "{next:?}"
        );
    }
    running.kill();
    assert_eq!(finish(running).await.code(), Some(137));
}

#[tokio::test]
async fn a_flood_on_one_output_does_not_starve_the_other() {
    let yard = Yard::open(Settings::default());
    let mut running = yard.start("yes & echo important >&2; wait").await;
    let mut found = false;
    while !found {
        let event = tokio::time::timeout(PATIENCE, running.next())
            .await
            .expect("in time");
        found = matches!(event, Some(Event::Output { stream: Stream::Stderr, ref text }) if text == "important\n");
    }
    running.kill();
    assert_eq!(finish(running).await.code(), Some(137));
}

#[tokio::test]
async fn a_job_that_closes_its_outputs_is_waited_for() {
    let yard = Yard::open(Settings::default());
    let run = yard
        .run("exec >&- 2>&-; sleep 0.3; exit 3")
        .await
        .expect("it starts");
    assert_eq!(run.code(), Some(3));
}

#[tokio::test]
async fn it_is_told_once_who_holds_the_output_of_a_job_whose_main_process_has_ended() {
    let yard = Yard::open(Settings {
        // By then all output has been given out, so that nothing else wakes the one who waits.
        worry_after_exit: Duration::from_millis(700),
        ..Settings::default()
    });
    let mut running = yard.start("sleep 1000 & echo $!; exit 4").await;
    let (mut text, mut holders) = (String::new(), None);
    loop {
        let next = tokio::time::timeout(PATIENCE, running.next()).await;
        let Some(event) = next.expect("in time") else {
            break;
        };
        match event {
            Event::Output { text: more, .. } => text += &more,
            Event::OutputHeld { processes } => {
                assert_eq!(holders.replace(processes), None, "once");
                running.kill();
            }
            Event::Ended(status) => assert_eq!(status.code, Some(4)),
        }
    }
    let child = text.trim().parse().expect("the pid of the child");
    assert_eq!(holders, Some(vec![child]));
}

#[tokio::test]
async fn a_grandchild_that_holds_the_output_keeps_the_job_running() {
    let yard = Yard::open(Settings::default());
    let begin = Instant::now();
    let run = yard
        .run("(sleep 0.5; echo late) & exit 4")
        .await
        .expect("it starts");
    assert_eq!((run.stdout.as_str(), run.code()), ("late\n", Some(4)));
    assert!(begin.elapsed() >= Duration::from_millis(500));
}
