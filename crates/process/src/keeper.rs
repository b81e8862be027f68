//! The ward's own thread for what must not hold up a start or an end: it moves jobs into control groups once they have
//! lived for an instant, has their exit watched from then on, clears the groups away, reaps adopted orphans and cuts the
//! ledger.
//! Always: asleep without a timer when no job runs and nothing is to be cleared. A busy ward does not wake it per job.
//! Never: it does not decide about any job.

use crate::adoption;
use crate::cgroup::{CgroupRoot, JobCgroup};
use crate::job::Job;
use crate::ledger::Ledger;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Jobs that end before this never pay for a control group.
const SETTLE_AFTER: Duration = Duration::from_millis(50);
/// Pauses between two looks at the orphans: short after a kill, longer after a normal end, which seldom leaves any, and the
/// longest while nothing changes.
const MIN_PAUSE: Duration = Duration::from_millis(20);
const CALM_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Inbox {
    young: VecDeque<(Instant, Weak<Job>)>,
    left: Vec<LeftCgroup>,
    /// Jobs have ended; look for what they have left after this time.
    look_after: Option<Duration>,
    is_asleep: bool,
    is_closed: bool,
}

/// The control group of a job that is over.
#[derive(Debug)]
struct LeftCgroup {
    cgroup: JobCgroup,
    was_killed: bool,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper {
    pub(crate) fn start(
        ledger: Weak<Ledger>,
        cgroups: Option<Arc<CgroupRoot>>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = tasks::spawn_thread("process-keeper", 256 * 1024, move || {
            crate::spare_from_child_signals();
            keep(&theirs, &ledger);
            // Now that the groups in it are gone its directory can be removed, too.
            drop(cgroups);
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    pub(crate) fn started(&self, job: &Arc<Job>) {
        let mut inbox = self.shared.inbox();
        inbox
            .young
            .push_back((Instant::now() + SETTLE_AFTER, Arc::downgrade(job)));
        self.wake_if_asleep(&mut inbox);
    }

    pub(crate) fn ended(&self, cgroup: Option<JobCgroup>, was_killed: bool) {
        let mut inbox = self.shared.inbox();
        let pause = if was_killed { MIN_PAUSE } else { CALM_PAUSE };
        inbox.look_after = Some(inbox.look_after.map_or(pause, |known| known.min(pause)));
        inbox
            .left
            .extend(cgroup.map(|cgroup| LeftCgroup { cgroup, was_killed }));
        if was_killed {
            // A killed tree leaves many orphans at once.
            self.shared.wake.notify_one();
        }
        self.wake_if_asleep(&mut inbox);
    }

    fn wake_if_asleep(&self, inbox: &mut Inbox) {
        if std::mem::take(&mut inbox.is_asleep) {
            self.shared.wake.notify_one();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.inbox().is_closed = true;
        self.shared.wake.notify_one();
        // It may itself have held the last job, and with it the ward.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            drop(thread.join());
        }
    }
}

/// Holds the ledger only for an instant at a time, because its lock must end with the ward.
fn keep(shared: &Shared, ledger: &Weak<Ledger>) {
    let mut remaining: Vec<LeftCgroup> = vec![];
    let mut strangers = 0;
    let mut pause = MIN_PAUSE;
    let mut next_sweep = Instant::now();
    let mut must_sweep = true;
    loop {
        tasks::fault_point("process-keeper");
        let (due, left, look_after, is_closed) = {
            let mut inbox = shared.inbox();
            let now = Instant::now();
            let count = inbox
                .young
                .iter()
                .take_while(|(due, _)| *due <= now)
                .count();
            let due: Vec<_> = inbox.young.drain(..count).map(|(_, job)| job).collect();
            (
                due,
                std::mem::take(&mut inbox.left),
                inbox.look_after.take(),
                inbox.is_closed,
            )
        };
        for job in due.iter().filter_map(Weak::upgrade) {
            job.settle();
        }
        for job in due.iter().filter_map(Weak::upgrade) {
            job.move_into_cgroup();
        }
        for group in &left {
            if !group.was_killed {
                group.cgroup.detach_all();
            }
        }
        remaining.extend(left);
        clear_away(&mut remaining);
        if let Some(look_after) = look_after {
            must_sweep = true;
            pause = look_after;
            next_sweep = next_sweep.min(Instant::now() + pause);
        }
        if Instant::now() >= next_sweep {
            let before = strangers;
            strangers = adoption::sweep();
            must_sweep = false;
            if let Some(ledger) = ledger.upgrade() {
                ledger.shrink();
            }
            pause = next_pause(pause, before, strangers);
            next_sweep = Instant::now() + pause;
        }
        if is_closed {
            for _ in 0..20 {
                if remaining.is_empty() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
                clear_away(&mut remaining);
            }
            // What is left now is found by the next one who opens the work directory.
            return;
        }
        let running = ledger.upgrade().map_or(0, |ledger| ledger.count());

        let mut inbox = shared.inbox();
        if inbox.is_closed || inbox.look_after.is_some() {
            // It came after we had looked, and nobody notifies us again. A burst of ends is taken together.
            let pause = inbox.look_after.filter(|_| !inbox.is_closed);
            drop(shared.wake.wait_timeout(inbox, pause.unwrap_or_default()));
            continue;
        }
        // For short jobs, which are gone by now, nobody needs to get up.
        while let Some((_, job)) = inbox.young.front()
            && job.strong_count() == 0
        {
            inbox.young.pop_front();
        }
        let next_young = inbox.young.front().map(|(due, _)| *due);
        if running == 0
            && strangers == 0
            && remaining.is_empty()
            && next_young.is_none()
            && !must_sweep
        {
            inbox.is_asleep = true;
            drop(
                shared
                    .wake
                    .wait_while(inbox, |inbox| inbox.is_asleep && !inbox.is_closed),
            );
            continue;
        }
        let next = next_young.map_or(next_sweep, |due| due.min(next_sweep));
        let wait = next
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        drop(shared.wake.wait_timeout(inbox, wait));
    }
}

/// Returns how long to wait before the next look at the orphans: the shortest time as long as they become fewer.
fn next_pause(pause: Duration, before: usize, now: usize) -> Duration {
    if now < before {
        MIN_PAUSE
    } else {
        pause.saturating_mul(2).min(MAX_PAUSE)
    }
}

/// Removes the groups in which nobody lives any more.
fn clear_away(groups: &mut Vec<LeftCgroup>) {
    groups.retain(|group| {
        if group.was_killed {
            group.cgroup.kill();
        }
        !group.cgroup.remove()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orphans_are_looked_at_less_and_less_often_until_one_ends() {
        let ms = Duration::from_millis;
        // The last pause, the number of orphans before and now, the next pause.
        let table = [
            (ms(20), 0, 0, ms(40)),
            (ms(100), 3, 3, ms(200)),
            (ms(100), 3, 4, ms(200)),
            (ms(100), 3, 2, MIN_PAUSE),
            (ms(499), 1, 1, ms(998)),
            (ms(501), 1, 1, MAX_PAUSE),
            (MAX_PAUSE, 1, 1, MAX_PAUSE),
            (MAX_PAUSE, 1, 0, MIN_PAUSE),
        ];
        for (pause, before, now, next) in table {
            assert_eq!(
                next_pause(pause, before, now),
                next,
                "{pause:?} {before} {now}"
            );
        }
    }
}
