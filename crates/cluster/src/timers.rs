//! The timers of consensus: when the active member sends a heartbeat, and when a member that receives none asks for votes.
//!
//! The consensus library has its own clock, which ticks five times per heartbeat in every member. It is switched off. Instead, a member is
//! woken only when there is something to do. An active member wakes once per heartbeat, see [`crate::beats`], any other one about twice a second.
//!
//! Always: no member asks for votes before the active member has been silent for [`rules::campaign_after`]. A hint of a broken connection
//! may shorten this, see `Log::serve`. Never here: which candidate gets the votes.

mod alarm;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::alias::VoteOf;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::type_config::alias::AsyncRuntimeOf;
use tokio::time::{Instant, sleep_until};

pub(crate) use alarm::Alarm;

use crate::member::Timing;
use crate::peers::Peers;
use crate::raft::{Raft, Types};
use crate::respond::Responder;
use crate::rules;

/// Starts the timers. They end with consensus. This member does not ask for votes before `not_before`.
pub(crate) fn begin(
    raft: Raft,
    peers: Arc<Peers>,
    responder: Arc<Responder>,
    timing: Timing,
    not_before: Instant,
) -> io::Result<()> {
    let alarm = Arc::new(Alarm::new()?);
    peers.set_beat_alarm(Arc::clone(&alarm));
    let timers = Timers {
        alarm,
        beats: false,
        peers,
        vote: raft.server_metrics().borrow_watched().vote,
        drawn: draw(&raft),
        raft,
        responder,
        timing,
        campaign_from: not_before,
    };
    tasks::spawn("consensus-timers", timers.run());
    Ok(())
}

struct Timers {
    raft: Raft,
    responder: Arc<Responder>,
    timing: Timing,
    vote: VoteOf<Types>,
    /// When this member begins to ask for votes, provided that no active member is heard.
    campaign_from: Instant,
    /// The part of each wait that differs between the members, so that they seldom ask at the same time.
    drawn: Duration,
    alarm: Arc<Alarm>,
    /// Whether this member sends heartbeats.
    beats: bool,
    peers: Arc<Peers>,
}

/// What this member waits for.
enum Next {
    Heartbeat,
    Campaign,
    /// A change of its role.
    Nothing,
}

/// Consensus has ended, or the timer cannot be used.
struct Stopped;

fn draw(raft: &Raft) -> Duration {
    Duration::from_millis(
        raft.config()
            .new_rand_election_timeout::<AsyncRuntimeOf<Types>>(),
    )
}

impl Timers {
    async fn run(mut self) {
        let mut changes = self.raft.server_metrics();
        loop {
            let next = self.look();
            let is_leading = matches!(next, Next::Heartbeat);
            self.let_beat(is_leading);
            let campaign_at = self.campaign_at();
            let done = tokio::select! {
                changed = changes.changed() => changed.map_err(|_closed| Stopped),
                rung = self.alarm.rings(), if is_leading => match rung {
                    Ok(()) => self.send_heartbeat().await,
                    Err(_) => Err(Stopped),
                },
                () = sleep_until(campaign_at), if matches!(next, Next::Campaign) => {
                    self.campaign().await
                }
            };
            if let Err(Stopped) = done {
                return;
            }
        }
    }

    /// Determines from the role of this member what to wait for next.
    fn look(&mut self) -> Next {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        if metrics.vote != self.vote {
            // This includes a vote for another member, which gets the time to win.
            self.vote = metrics.vote;
            self.campaign_from = self.campaign_from.max(Instant::now() + self.drawn);
        }
        match metrics.state {
            ServerState::Leader => {
                // A single member has no other member to send heartbeats to, so an idle log wakes nothing.
                let members = metrics.membership_config.membership().nodes();
                if members.count() > 1 {
                    Next::Heartbeat
                } else {
                    Next::Nothing
                }
            }
            ServerState::Follower | ServerState::Candidate => Next::Campaign,
            ServerState::Learner | ServerState::Shutdown => Next::Nothing,
        }
    }

    fn campaign_at(&self) -> Instant {
        let heard = self.responder.heard_at();
        let after_silence = heard.map(|at| at + rules::campaign_after(&self.timing, self.drawn));
        self.campaign_from
            .max(after_silence.unwrap_or(self.campaign_from))
    }

    /// Starts or stops the heartbeats. The first one is sent at once.
    fn let_beat(&mut self, beats: bool) {
        if self.beats == beats {
            return;
        }
        self.beats = beats;
        self.set_alarm(beats.then_some(Duration::ZERO));
    }

    fn set_alarm(&self, wait: Option<Duration>) {
        let set = match wait {
            Some(wait) => self.alarm.ring_after(wait),
            None => self.alarm.stop(),
        };
        if let Err(error) = set {
            // Without heartbeats another member becomes active.
            tracing::error!(%error, "the timer of the heartbeats cannot be set");
        }
    }

    async fn send_heartbeat(&self) -> Result<(), Stopped> {
        self.set_alarm(Some(self.peers.begin_beat()));
        let sent = self.raft.trigger().heartbeat().await;
        sent.map_err(|_fatal| Stopped)
    }

    async fn campaign(&mut self) -> Result<(), Stopped> {
        let now = Instant::now();
        if self.campaign_at() > now {
            // The active member was heard meanwhile.
            return Ok(());
        }
        self.campaign_from = now + self.drawn;
        self.drawn = draw(&self.raft);
        let asked = self.raft.trigger().elect(true).await;
        asked.map_err(|_fatal| Stopped)
    }
}
