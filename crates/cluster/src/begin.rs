//! Before a log begins: whether somebody has it already.
//!
//! Always: only a directory without a log asks, and only for a short time: the first member of a new cluster begins without the
//! others being there. Never here: dialling; the caller brings connections that are trusted already.

use std::time::Duration;

use futures::future::join_all;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

use crate::link::ask_who;
use crate::member::{Hello, number_of};
use crate::options::Options;
use crate::rules;

/// So long the others may take to answer, all together.
const ASK_WITHIN: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);

/// Asks the others who they are, if this directory is empty and was told to begin alone. If one of them has this log already, this
/// member joins instead: a second log of the same name must not come into being. `dial` gives a connection, or nothing.
pub async fn join_if_begun<D, S, F>(options: &mut Options, others: &[D], dial: impl Fn(&D) -> F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Option<S>>,
{
    if options.joins
        || others.is_empty()
        || journal::inspect::has_begun(&options.dir).unwrap_or(true)
    {
        return;
    }
    let met = ask_all(options, others, dial).await;
    if let Some(known) = rules::must_join(&met) {
        tracing::warn!(
            dir = %options.dir.display(),
            "this directory is empty, but {known} has this log already, with the members {:?}: this one joins instead of beginning another log; set cluster.join=true, or remove the member from cluster.members to begin anew",
            known.members
        );
        options.joins = true;
    }
}

/// Returns whether another member has the log to which the member of this directory belongs. This is for a member whose own log is damaged
/// and cannot be opened. `dial` returns a connection, or `None` if there is none.
pub async fn others_have<D, S, F>(options: &Options, others: &[D], dial: impl Fn(&D) -> F) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Option<S>>,
{
    let Ok(number) = number_of(&options.dir, true) else {
        return false;
    };
    let met = ask_all(options, others, dial).await;
    rules::have_log_of(number, &met)
}

/// Returns whether the member at the other end of this trusted connection has the log to which the member of this directory belongs. This
/// is for a member whose own log is damaged and that is dialled by the other members.
pub async fn caller_has(options: &Options, io: impl AsyncRead + AsyncWrite + Unpin) -> bool {
    let Ok(number) = number_of(&options.dir, true) else {
        return false;
    };
    let met = ask_who(io, &nobody(options)).await;
    met.is_ok_and(|hello| rules::have_log_of(number, [&hello]))
}

/// Returns the introduction of a member that has no log and only asks.
fn nobody(options: &Options) -> Hello {
    Hello {
        cluster: options.identity.clone(),
        member: Hello::NOBODY,
        name: options.name.clone(),
        part: options.part,
        timing: options.timing,
        url: None,
        members: Vec::new(),
        members_since: None,
        run: None,
    }
}

/// Returns the introductions of those members that answer within a short time.
async fn ask_all<D, S, F>(options: &Options, others: &[D], dial: impl Fn(&D) -> F) -> Vec<Hello>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Option<S>>,
{
    let me = nobody(options);
    let asked = others.iter().map(|other| {
        let (me, dial) = (&me, &dial);
        let asking = async move {
            loop {
                if let Some(io) = dial(other).await
                    && let Ok(hello) = ask_who(io, me).await
                {
                    return hello;
                }
                sleep(PAUSE).await;
            }
        };
        timeout(ASK_WITHIN, asking)
    });
    join_all(asked).await.into_iter().flatten().collect()
}
