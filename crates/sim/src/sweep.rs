//! Many worlds from many seeds, in threads, each world in one of them.
//!
//! Always: every seed is begun once, in order; which thread has it does not matter to its world. Never here: what a world is, and
//! what people are told of it.

use crate::fault::Counts;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// So much news may wait to be heard.
const NEWS_MAX: usize = 64;

/// What is heard of the worlds while they run.
#[derive(Debug)]
pub enum News<T> {
    /// The world of this seed is begun.
    Begun(u64),
    /// It has come to its end.
    Ended(u64, T),
    /// Nothing was heard for the time that the listener wants to wait.
    Silence,
}

/// Runs the worlds of all seeds, so many at once, and tells of them as they go.
pub fn sweep<T: Send>(
    seeds: RangeInclusive<u64>,
    threads: usize,
    patience: Duration,
    world: impl Fn(u64) -> T + Sync,
    mut hear: impl FnMut(News<T>),
) {
    let (first, last) = seeds.into_inner();
    let next = AtomicU64::new(first);
    let (say, heard) = sync_channel(NEWS_MAX);
    let work = |say: std::sync::mpsc::SyncSender<News<T>>| {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > last || say.send(News::Begun(seed)).is_err() {
                return;
            }
            if say.send(News::Ended(seed, world(seed))).is_err() {
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let (say, work) = (say.clone(), &work);
            scope.spawn(move || work(say));
        }
        drop(say);
        loop {
            match heard.recv_timeout(patience) {
                Ok(news) => hear(news),
                Err(RecvTimeoutError::Timeout) => hear(News::Silence),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    });
}

/// The faults of the worlds of all seeds, if none of them fails; else how many fail, and what is said of the first one.
pub fn all_hold(
    seeds: RangeInclusive<u64>,
    threads: usize,
    world: impl Fn(u64) -> (Counts, Option<String>) + Sync,
) -> Result<Counts, String> {
    let mut counts = Counts::default();
    let mut failures = BTreeMap::new();
    let of = format!("the seeds {} to {}", seeds.start(), seeds.end());
    sweep(seeds, threads, Duration::MAX, world, |news| {
        if let News::Ended(seed, (more, failure)) = news {
            counts.add(&more);
            failures.extend(failure.map(|failure| (seed, failure)));
        }
    });
    match failures.first_key_value() {
        None => Ok(counts),
        Some((_, first)) => Err(format!(
            "{} of {of} fail, the first:\n{first}",
            failures.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;
    use std::collections::BTreeSet;

    fn one(fault: Fault) -> Counts {
        let mut counts = Counts::default();
        counts.count(fault);
        counts
    }

    #[test]
    fn every_seed_is_run_once_whatever_the_number_of_threads() {
        for threads in [0, 1, 3] {
            let (mut begun, mut ended) = (Vec::new(), BTreeSet::new());
            sweep(
                5..=24,
                threads,
                Duration::MAX,
                |seed| seed * 2,
                |news| match news {
                    News::Begun(seed) => begun.push(seed),
                    News::Ended(seed, double) => {
                        assert_eq!(double, seed * 2);
                        assert!(ended.insert(seed), "{seed} has ended twice");
                    }
                    News::Silence => panic!("there is always news"),
                },
            );
            begun.sort_unstable();
            assert_eq!(begun, (5..=24).collect::<Vec<_>>());
            assert_eq!(ended, (5..=24).collect());
        }
    }

    #[test]
    fn silence_is_heard_while_a_world_takes_its_time() {
        let (wake, sleeps) = sync_channel(1);
        let sleeps = std::sync::Mutex::new(sleeps);
        let world = |_| sleeps.lock().unwrap().recv().unwrap();
        let mut silences = 0;
        sweep(1..=1, 1, Duration::from_millis(1), world, |news| {
            if let News::Silence = news {
                silences += 1;
                // Once is enough; the world may have ended by the next time.
                if silences == 1 {
                    wake.send(()).unwrap();
                }
            }
        });
        assert!(silences > 0);
    }

    #[test]
    fn all_hold_tells_the_first_failing_seed_and_sums_faults() {
        let well = all_hold(1..=4, 2, |_| (one(Fault::Pause), None));
        assert_eq!(well.unwrap().of(Fault::Pause), 4);
        let fails = |seed| {
            (
                Counts::default(),
                (seed > 2).then(|| format!("seed {seed}")),
            )
        };
        assert_eq!(
            all_hold(1..=4, 2, fails).unwrap_err(),
            "2 of the seeds 1 to 4 fail, the first:\nseed 3"
        );
    }
}
