//! The members that keep one Controller: which of them are known, and which one is active.
//!
//! Always: all are asked at once, and one that hangs is left as soon as another one is active; every wait has a bound and is told. What
//! one member says of another's address is good for this command only. Never here: what may be asked a second time; see `call`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use net::{Client, ClientError, ClientSettings, Outage};
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::screen::Screen;

/// Where a member tells how the cluster stands, whether it is active or not.
pub(crate) const CLUSTER: &str = "/controller/api/cluster";
/// A member that is not active says so with this code, and has done nothing.
pub(super) const NOT_ACTIVE: &str = "ClusterNodeIsNotActive";
/// How long to wait for the status of a member. A member answers a wrong token only after a second.
const ANSWER_WITHIN: Duration = Duration::from_millis(1700);
/// When one has answered, the others are waited for no longer than this.
const GRACE: Duration = Duration::from_millis(150);
/// Pauses between two looks; the last one is repeated.
const PAUSES: [Duration; 9] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(6),
    Duration::from_secs(10),
];
/// From this pause on, waiting is told each time.
const LONG_PAUSE: Duration = Duration::from_secs(1);
/// So long somebody has to become active while members answer.
const ELECTION: Duration = Duration::from_secs(30);
/// So long any of several members has to answer at all.
const RESTART: Duration = Duration::from_secs(10);
/// An answer that is late for so long makes us ask whether another member is active.
const DOUBT: Duration = Duration::from_millis(300);

/// The members of a Controller.
#[derive(Debug)]
pub(super) struct Members {
    /// How members are called whose address is learnt later.
    settings: ClientSettings,
    known: Mutex<Vec<Client>>,
    seat: Mutex<Option<Seat>>,
    screen: Screen,
}

/// The member that is asked.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) client: Client,
    /// What it is called, if it told.
    name: Option<String>,
}

/// What a member says of itself and the others.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Standing {
    node_id: Option<String>,
    may_answer: bool,
    setting: Setting,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Setting {
    id_to_uri: BTreeMap<String, String>,
}

/// What came of asking all members.
enum Look {
    Active(Seat),
    /// Nobody is active, but somebody answers.
    Waiting(ClientError),
    /// Nobody answers, and each member is one that we were told.
    Silent(ClientError),
}

impl Members {
    /// At least one address.
    pub(super) fn new(settings: ClientSettings, urls: &[String]) -> Result<Members, ClientError> {
        let members = Members {
            settings,
            known: Mutex::default(),
            seat: Mutex::default(),
            screen: Screen::new(false),
        };
        for url in urls {
            members.add(url)?;
        }
        Ok(members)
    }

    /// The address of the member that is asked, or would be first.
    pub(super) fn url(&self) -> String {
        let seat = lock(&self.seat).as_ref().map(|seat| seat.client.clone());
        let client = seat.or_else(|| lock(&self.known).first().cloned());
        client.map_or_else(String::new, |client| client.peer().to_owned())
    }

    /// All that are known by now.
    pub(super) fn all(&self) -> Vec<Client> {
        lock(&self.known).clone()
    }

    /// The active member; who it is, is found out if nobody knows.
    pub(super) async fn active(&self) -> Result<Seat, ClientError> {
        if let Some(seat) = lock(&self.seat).clone() {
            return Ok(seat);
        }
        let begun = Instant::now();
        let mut is_told = false;
        let mut pauses = PAUSES
            .iter()
            .chain(std::iter::repeat(&PAUSES[PAUSES.len() - 1]));
        loop {
            let (error, bound) = match self.look().await {
                Look::Active(seat) => {
                    if is_told {
                        self.screen
                            .remark(&format!("{} is active", seat.client.peer()));
                    }
                    *lock(&self.seat) = Some(seat.clone());
                    return Ok(seat);
                }
                Look::Waiting(error) => (error, ELECTION),
                Look::Silent(error) if lock(&self.known).len() > 1 => (error, RESTART),
                Look::Silent(error) => return Err(error),
            };
            let left = bound.saturating_sub(begun.elapsed());
            // The last attempt takes place when the time is up.
            let pause = pauses.next().copied().unwrap_or_default().min(left);
            if !error.is_transient() || left.is_zero() {
                return Err(error);
            }
            if !is_told || pause >= LONG_PAUSE {
                self.screen.warn(&format!(
                    "no member is active ({error}); trying again for {:.0} s at most",
                    left.as_secs_f64()
                ));
                is_told = true;
            }
            sleep(pause).await;
        }
    }

    /// This member is asked no more, unless it is found to be active again. Who it says is active is asked, too.
    pub(super) fn leave(&self, seat: &Seat, error: &ClientError) {
        let mut current = lock(&self.seat);
        if current
            .as_ref()
            .is_some_and(|now| now.client.peer() == seat.client.peer())
        {
            *current = None;
        }
        drop(current);
        let told = error.problem();
        if let Some(url) = told.and_then(|problem| problem.arguments.get("activeUri")) {
            self.learn(url);
        }
    }

    /// Resolves when another member than this one is active: then this one hangs or is cut off, and its answer is not worth waiting for.
    pub(super) async fn succeeded(&self, seat: &Seat) -> ClientError {
        loop {
            sleep(DOUBT).await;
            if let Some(error) = self.successor(seat).await {
                return error;
            }
        }
    }

    /// Whether another member than this one is active now: that one is asked from now on, and this says why.
    pub(super) async fn successor(&self, seat: &Seat) -> Option<ClientError> {
        let mut asked = JoinSet::new();
        for client in self.all() {
            if client.peer() != seat.client.peer() {
                asked.spawn(ask(client));
            }
        }
        while let Some(answer) = asked.join_next().await {
            let Ok((client, Ok(standing))) = answer else {
                continue;
            };
            // One member may be known by two addresses.
            if standing.may_answer && (seat.name.is_none() || standing.node_id != seat.name) {
                *lock(&self.seat) = Some(Seat {
                    client,
                    name: standing.node_id,
                });
                return Some(ClientError::Unreachable {
                    peer: seat.client.peer().into(),
                    outage: Outage::Silent(DOUBT),
                });
            }
        }
        None
    }

    /// Learns from whoever answers which members there are; an error if nobody does.
    pub(super) async fn look_once(&self) -> Result<(), ClientError> {
        match self.look().await {
            Look::Active(_) | Look::Waiting(_) => Ok(()),
            Look::Silent(error) => Err(error),
        }
    }

    /// Asks all members at once, and those that they know of.
    async fn look(&self) -> Look {
        let mut asked = JoinSet::new();
        let mut met = Vec::new();
        let mut ask_new = |asked: &mut JoinSet<_>| {
            for client in self.all() {
                if !met.contains(&client.peer().to_owned()) {
                    met.push(client.peer().to_owned());
                    asked.spawn(ask(client));
                }
            }
        };
        ask_new(&mut asked);
        let (mut waiting, mut silent, mut refused) = (None, None, None);
        while !asked.is_empty() {
            let patience = if waiting.is_some() {
                GRACE
            } else {
                ANSWER_WITHIN * 2
            };
            let Ok(Some(Ok((client, answer)))) = timeout(patience, asked.join_next()).await else {
                break;
            };
            match answer {
                Ok(standing) if standing.may_answer => {
                    self.learn_all(&standing);
                    return Look::Active(Seat {
                        client,
                        name: standing.node_id,
                    });
                }
                Ok(standing) => {
                    self.learn_all(&standing);
                    ask_new(&mut asked);
                    let name = standing.node_id.unwrap_or_default();
                    let told = format!("{name} at {} is not active", client.peer());
                    let problem = net::Problem::new(NOT_ACTIVE, told);
                    waiting = Some(ClientError::Refused {
                        peer: client.peer().into(),
                        path: CLUSTER.to_owned(),
                        status: problem.default_status(),
                        problem,
                    });
                }
                // Whoever does not say how a cluster stands may still be the one who answers.
                Err(ClientError::Refused { status, .. })
                    if matches!(status.as_u16(), 403 | 404) =>
                {
                    return Look::Active(Seat { client, name: None });
                }
                Err(error) if error.is_transient() => silent = Some(error),
                Err(error) => refused = Some(error),
            }
        }
        match (waiting, refused, silent) {
            (Some(error), _, _) => Look::Waiting(error),
            // Trying again helps nobody who has the wrong token.
            (None, Some(error), _) | (None, None, Some(error)) => Look::Silent(error),
            (None, None, None) => Look::Silent(ClientError::Unreachable {
                peer: self.url().into(),
                outage: Outage::RequestTimeout(ANSWER_WITHIN),
            }),
        }
    }

    fn learn_all(&self, standing: &Standing) {
        for url in standing.setting.id_to_uri.values() {
            self.learn(url);
        }
    }

    /// An address that cannot be called, such as https without a CA, is of no use here.
    fn learn(&self, url: &str) {
        let _useless = self.add(url);
    }

    fn add(&self, url: &str) -> Result<(), ClientError> {
        let url = url.trim().trim_end_matches('/');
        let mut known = lock(&self.known);
        if known.iter().all(|client| client.peer() != url) {
            known.push(Client::new(ClientSettings {
                url: url.to_owned(),
                ..self.settings.clone()
            })?);
        }
        Ok(())
    }
}

async fn ask(client: Client) -> (Client, Result<Standing, ClientError>) {
    let answer = timeout(ANSWER_WITHIN, client.get_json(CLUSTER)).await;
    let answer = answer.unwrap_or_else(|_elapsed| {
        Err(ClientError::Unreachable {
            peer: client.peer().into(),
            outage: Outage::RequestTimeout(ANSWER_WITHIN),
        })
    });
    (client, answer)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
