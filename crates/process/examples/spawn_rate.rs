//! What the ward adds to a bare `posix_spawn` with two pipes, in one run: jobs per second and CPU per job of this process.
//! `spawn_rate [program] [jobs] [slots]…`; rounds of the two alternate, because machines are noisy.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use process::{AfterEnd, CgroupUse, Environment, Launch, OutputSettings, Settings, Ward};
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let program = args.next().unwrap_or_else(|| "/bin/true".to_owned());
    let jobs: u32 = args.next().map_or(Ok(3000), |arg| arg.parse())?;
    let mut slots: Vec<u32> = args.map(|arg| arg.parse()).collect::<Result<_, _>>()?;
    if slots.is_empty() {
        slots = vec![1, 2, 8];
    }
    let dir = std::env::temp_dir().join(format!("spawn-rate-{}", std::process::id()));
    let settings = Settings {
        cgroups: CgroupUse::Auto,
        after_end: AfterEnd::LeaveDaemons,
        ..Settings::default()
    };
    let (ward, _leftovers) = Ward::open(&dir, settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    for slots in slots {
        for round in 1..=3 {
            let bare = bare(&program, jobs / slots, slots)?;
            let (begin, cpu) = (Instant::now(), own_cpu()?);
            runtime.block_on(warded(&ward, &program, jobs / slots, slots))?;
            let warded = told(jobs, begin.elapsed(), own_cpu()?.saturating_sub(cpu));
            println!("{slots} slots, round {round}: bare {bare}; ward {warded}");
        }
    }
    for round in 1..=3 {
        let (cat, warded) = (flood_of_cat(&dir)?, runtime.block_on(flood_of_job(&ward))?);
        println!("a flood, round {round}: cat to a file {cat:.0} MB/s; ward {warded:.0} MB/s");
    }
    drop((ward, runtime));
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn told(jobs: u32, elapsed: Duration, cpu: Duration) -> String {
    let per_second = f64::from(jobs) / elapsed.as_secs_f64();
    format!(
        "{per_second:5.0}/s, {:4.0} us CPU",
        cpu.as_secs_f64() * 1e6 / f64::from(jobs)
    )
}

const FLOOD: &str = "yes 'a line of a log as jobs write them' | head -c 500000000";

fn flood_of_cat(dir: &std::path::Path) -> std::io::Result<f64> {
    let begin = Instant::now();
    let mut command = Command::new("/bin/sh");
    let script = format!("{FLOOD} | cat > {}", dir.join("flood").display());
    command.arg("-c").arg(script).status()?;
    Ok(500.0 / begin.elapsed().as_secs_f64())
}

async fn flood_of_job(ward: &Ward) -> Result<f64, Box<dyn std::error::Error>> {
    let begin = Instant::now();
    let launch = Launch {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), FLOOD.into()],
        env: Environment::Only(vec![("PATH".into(), "/usr/bin:/bin".into())]),
        dir: "/".into(),
        tag: "flood".to_owned(),
    };
    let mut running = ward.start(launch, OutputSettings::default()).await?;
    while running.next().await.is_some() {}
    Ok(500.0 / begin.elapsed().as_secs_f64())
}

/// User and system time of this process without its children, from the scheduler's nanoseconds of all threads.
fn own_cpu() -> Result<Duration, Box<dyn std::error::Error>> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        nanoseconds += text.split(' ').next().unwrap_or("0").parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

fn bare(program: &str, rounds: u32, slots: u32) -> Result<String, Box<dyn std::error::Error>> {
    let run = || -> std::io::Result<()> {
        let mut output = vec![];
        for _ in 0..rounds {
            let mut command = Command::new(program);
            command.env_clear().current_dir("/").process_group(0);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let mut child = command.spawn()?;
            if let Some(mut pipe) = child.stdout.take() {
                pipe.read_to_end(&mut output)?;
            }
            if let Some(mut pipe) = child.stderr.take() {
                pipe.read_to_end(&mut output)?;
            }
            child.wait()?;
        }
        Ok(())
    };
    // A thread's time leaves our sum with the thread, so they wait until it is taken.
    let is_done = Barrier::new(slots as usize + 1);
    let is_read = Barrier::new(slots as usize + 1);
    let (begin, cpu) = (Instant::now(), own_cpu()?);
    std::thread::scope(|scope| {
        for _ in 0..slots {
            scope.spawn(|| {
                run().expect("the program can be started");
                is_done.wait();
                is_read.wait();
            });
        }
        is_done.wait();
        let result =
            own_cpu().map(|now| told(rounds * slots, begin.elapsed(), now.saturating_sub(cpu)));
        is_read.wait();
        result
    })
}

async fn warded(ward: &Ward, program: &str, rounds: u32, slots: u32) -> Result<(), String> {
    let tasks: Vec<_> = (0..slots)
        .map(|_| {
            let (ward, program) = (ward.clone(), program.to_owned());
            tokio::spawn(async move {
                for _ in 0..rounds {
                    let launch = Launch {
                        program: program.clone().into(),
                        args: vec![],
                        env: Environment::Only(vec![]),
                        dir: "/".into(),
                        tag: "rate".to_owned(),
                    };
                    let mut running = ward
                        .start(launch, OutputSettings::default())
                        .await
                        .map_err(|error| error.to_string())?;
                    while running.next().await.is_some() {}
                }
                Ok::<(), String>(())
            })
        })
        .collect();
    for task in tasks {
        task.await.map_err(|error| error.to_string())??;
    }
    Ok(())
}
