//! Reading a Controller's events for as long as it takes, over lost connections and restarts.
//!
//! Always: in order, each event once; a lost connection is told and tried again from the last event seen, at whichever member is active.

use std::time::{Duration, Instant};

use net::{Backoff, ClientError, NdjsonStream};
use tokio::time::timeout;

use super::members::Seat;
use super::{Controller, segment};
use crate::screen::Screen;

const HEARTBEAT_SECONDS: u32 = 5;
/// A Controller that has not shown a sign of life for so long is asked anew.
const PATIENCE: Duration = Duration::from_secs(20);
/// When nothing has happened for so long, the other members are asked whether one of them is active now.
const DOUBT: Duration = Duration::from_millis(700);

/// What to read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Followed {
    /// Behind this event; the newest if nothing is said.
    pub(crate) after: Option<u64>,
    /// From the oldest event that is kept.
    pub(crate) from_oldest: bool,
    /// Only these types and groups.
    pub(crate) types: Option<String>,
    /// End where the events end now.
    pub(crate) is_bounded: bool,
}

/// An open reading.
pub(crate) struct Following<'a> {
    controller: &'a Controller,
    screen: &'a Screen,
    followed: Followed,
    stream: Option<(Seat, NdjsonStream)>,
    /// The newest event that was there when a bounded reading began.
    end: Option<u64>,
}

impl<'a> Following<'a> {
    /// Opens the stream; from here on nothing is missed.
    pub(crate) async fn open(
        controller: &'a Controller,
        screen: &'a Screen,
        mut followed: Followed,
    ) -> anyhow::Result<Following<'a>> {
        if followed.from_oldest {
            followed.after = Some(0);
        }
        // Without a number a reconnection would begin behind what happened meanwhile.
        let newest = controller.last_event_id().await?;
        followed.after.get_or_insert(newest);
        let end = followed.is_bounded.then_some(newest);
        let mut following = Following {
            controller,
            screen,
            followed,
            stream: None,
            end,
        };
        following.connect().await?;
        Ok(following)
    }

    /// A bounded reading goes on behind its end, for as long as it takes.
    pub(crate) fn go_on(&mut self) {
        self.end = None;
        // From now on the Controller chooses.
        self.stream = None;
    }

    /// The next event as its line; nothing at the end of a bounded reading.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<model::Stamped>> {
        let mut backoff = Backoff::new();
        let began = Instant::now();
        loop {
            if self
                .end
                .is_some_and(|end| self.followed.after.is_some_and(|after| after >= end))
            {
                return Ok(None);
            }
            let Some((seat, stream)) = &mut self.stream else {
                match self.connect().await {
                    Ok(()) => {}
                    Err(error) if error.is_transient() => {
                        tokio::time::sleep(backoff.failed(began.elapsed(), 0.5)).await;
                    }
                    Err(error) => return Err(error.into()),
                }
                continue;
            };
            let Ok(line) = timeout(DOUBT, stream.next_line()).await else {
                // A member that hangs keeps its connections, and one that is cut off from the others even beats.
                if let Some(error) = self.controller.members.successor(seat).await {
                    self.screen
                        .warn(&format!("{error}; going on at another member"));
                    self.stream = None;
                }
                continue;
            };
            match line {
                Ok(Some(line)) => {
                    let stamped = model::Stamped::from_json(std::str::from_utf8(&line)?)?;
                    self.followed.after = Some(stamped.event_id.0);
                    if self.is_wanted(&stamped) {
                        return Ok(Some(stamped));
                    }
                }
                // The member ends, or is no longer active.
                Ok(None) => self.stream = None,
                Err(error) if error.is_transient() => {
                    self.screen.warn(&format!("{error}; trying again"));
                    self.leave(&error);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn leave(&mut self, error: &ClientError) {
        if let Some((seat, _)) = self.stream.take() {
            self.controller.members.leave(&seat, error);
        }
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let seat = self.controller.members.active().await?;
        let opened = seat.client.get_stream(&self.query(), PATIENCE).await;
        let opened = match opened {
            Err(error) if self.followed.from_oldest && self.followed.after == Some(0) => {
                let torn = error
                    .problem()
                    .and_then(|problem| problem.arguments.get("tornEventId")?.parse().ok());
                match torn {
                    Some(torn) => {
                        self.followed.after = Some(torn);
                        seat.client.get_stream(&self.query(), PATIENCE).await
                    }
                    None => Err(error),
                }
            }
            opened => opened,
        };
        match opened {
            Ok(stream) => {
                self.stream = Some((seat, stream));
                Ok(())
            }
            Err(error) => {
                if error.is_transient() {
                    self.controller.members.leave(&seat, &error);
                }
                Err(error)
            }
        }
    }

    /// A bounded reading must see every event to find its end, so it chooses by itself.
    fn is_wanted(&self, stamped: &model::Stamped) -> bool {
        let (Some(_), Some(types)) = (self.end, &self.followed.types) else {
            return true;
        };
        let names = [
            "Event",
            stamped.event.group_name(),
            stamped.event.type_name(),
        ];
        types
            .split(',')
            .any(|wanted| names.contains(&wanted.trim()))
    }

    fn query(&self) -> String {
        let after = self.followed.after.unwrap_or_default();
        let mut query = format!("/controller/api/event?after={after}");
        if let (Some(types), None) = (&self.followed.types, self.end) {
            query += &format!("&return={}", segment(types));
        }
        query + &format!("&heartbeat={HEARTBEAT_SECONDS}")
    }
}
