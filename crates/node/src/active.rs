//! The life of a member as the active one: from its taking over to an orderly end, or until another member is active.
//!
//! Always: requests come through from [`Active::open`] on, for as long as this member leads; when another one has followed it, nothing of
//! this life goes on. Never here: what the node answers, and for whose wish it ends.

use crate::pair::{self, Clustered, deposed, left_alone};
use crate::{End, Fault, Front, Handle, Limits, Node, Outside, Ready, SystemClock};
use axum::Router;
use cluster::Log;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

/// Where the drivers find the commit loop, which is what calls them: there as soon as it runs.
pub type LateHandle<M> = Arc<OnceLock<Handle<M>>>;

/// A member that leads.
pub struct Active<M: Clustered> {
    handle: Handle<M>,
    task: JoinHandle<Result<End, Fault>>,
    log: Log,
    front: Front,
    /// Keeps the cluster's state true.
    keeping: Option<AbortOnDropHandle<()>>,
}

/// Why a member leads no more, or is to lead no more.
#[derive(Debug)]
pub enum Over<W> {
    /// This came: it is to end.
    Wish(W),
    /// The loop has ended in order by itself.
    Ended,
    /// Another member is active, or becomes so: this one is to follow it.
    Deposed,
}

impl<M: Clustered> Active<M> {
    /// Leads with what was followed. Nothing, if another member does by now.
    pub async fn begin<O: Outside<M>>(
        followed: Ready<M>,
        log: &Log,
        front: &Front,
        limits: Limits,
        outside: impl FnOnce(LateHandle<M>) -> O,
    ) -> Result<Option<Active<M>>, Fault> {
        let late_handle = LateHandle::default();
        let outside = outside(Arc::clone(&late_handle));
        let clock = Arc::new(SystemClock);
        // Boxed, because the future is large and is part of that of the whole process.
        let leading = Box::pin(Node::lead(
            followed,
            log.clone(),
            clock,
            limits,
            outside,
            front.crashes(),
        ));
        let (handle, task) = match leading.await {
            Ok(started) => started,
            Err(fault) if fault.is_deposed() => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let _first = late_handle.set(handle.clone());
        handle.nudge();
        Ok(Some(Active {
            handle,
            task,
            log: log.clone(),
            front: front.clone(),
            keeping: None,
        }))
    }

    /// The way to the commit loop.
    pub fn handle(&self) -> &Handle<M> {
        &self.handle
    }

    /// Requests go to these routes from now on.
    pub fn open(&mut self, routes: Router) {
        self.front.open(routes);
        let keeping = pair::keep(self.handle.clone(), self.log.clone(), self.front.clone());
        self.keeping = Some(AbortOnDropHandle::new(tasks::spawn("pair", keeping)));
    }

    /// Leads until this wish comes, or longer is not possible. The wish may be dropped in its middle.
    pub async fn until<W>(&mut self, wish: impl Future<Output = W>) -> Result<Over<W>, Fault> {
        tokio::select! {
            ended = &mut self.task => match Fault::of_loop(ended) {
                Ok(_) => Ok(Over::Ended),
                Err(fault) if fault.is_deposed() => {
                    self.front.close();
                    self.handle.depose();
                    // The caller of a switch-over waits on this log for the end of the hand-over.
                    self.log.hand_over_settled().await;
                    Ok(Over::Deposed)
                }
                Err(fault) => Err(fault),
            },
            () = deposed(self.log.leadership()) => {
                self.front.close();
                self.break_off().await;
                // As above: so far this member may only know that another one has been elected.
                self.log.hand_over_settled().await;
                Ok(Over::Deposed)
            }
            wish = wish => Ok(Over::Wish(wish)),
        }
    }

    /// Ends in order. Another member that can takes over at once, instead of after a silence. `last_words` are what is still to be done
    /// before the loop ends, or towards the one that has taken over.
    pub async fn end(
        mut self,
        end: End,
        last_words: impl Future<Output = ()>,
    ) -> Result<(), Fault> {
        let mut last_words = pin!(last_words);
        let ending = async {
            match pair::switch_over(&self.handle, &self.log).await {
                Ok(()) => return Ok(true),
                Err(problem) => tracing::debug!(%problem, "no other member takes over"),
            }
            last_words.as_mut().await;
            // If the loop has ended by itself, its own result tells more.
            let _already = self.handle.shut_down(end).await;
            Fault::of_loop((&mut self.task).await).map(|_end| false)
        };
        let has_handed_over = tokio::select! {
            ended = ending => ended?,
            () = left_alone(&self.log) => {
                tracing::warn!(
                    "ending without the other members: what was not acknowledged is not committed"
                );
                self.task.abort();
                return Ok(());
            }
        };
        if has_handed_over {
            tracing::info!("the other member has taken over");
            self.break_off().await;
            last_words.await;
        }
        Ok(())
    }

    /// Ends the loop, whether or not there is another member.
    pub async fn stop(self, end: End) -> Result<(), Fault> {
        let _already = self.handle.shut_down(end).await;
        Fault::of_loop(self.task.await).map(drop)
    }

    /// Nothing of this life may speak to anybody any more.
    async fn break_off(&mut self) {
        self.handle.depose();
        self.task.abort();
        let _aborted = (&mut self.task).await;
    }
}
