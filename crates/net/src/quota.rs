//! Shares of a scarce resource: a total, and a bound for each caller so that none takes everything.
//!
//! Always: a share is returned when it is dropped; waiting for one is bounded in time. Never here: what the resource is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::connections::Caller;
use crate::problem::{Problem, Refusal};

/// A resource that is divided into shares. Clones share the same total.
#[derive(Clone, Debug)]
pub struct Quota(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    what: &'static str,
    sum: usize,
    each: usize,
    taken: Mutex<Taken>,
    returned: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    sum: usize,
    by_caller: BTreeMap<Caller, usize>,
}

/// A share of a quota. Dropping it returns it to the quota.
#[derive(Debug)]
pub struct Share {
    quota: Quota,
    caller: Caller,
    amount: usize,
}

/// The bound that would be exceeded.
enum Bound {
    Caller,
    Total,
}

impl Quota {
    /// Creates a quota of `sum` of `what` in total, and `each` for one caller. `what` appears in the messages of refusals, such as `event
    /// streams`.
    pub fn new(what: &'static str, sum: usize, each: usize) -> Quota {
        Quota(Arc::new(Inner {
            what,
            sum,
            each: each.min(sum),
            taken: Mutex::default(),
            returned: Notify::new(),
        }))
    }

    /// A quota of which one caller gets a quarter.
    pub fn quarters(what: &'static str, sum: usize) -> Quota {
        Quota::new(what, sum.max(1), (sum / 4).max(1))
    }

    /// Takes a share, or refuses at once. The other components together are bounded by the total only.
    pub fn take(&self, caller: &Caller, amount: usize) -> Result<Share, Refusal> {
        self.try_take(caller, amount)
            .map_err(|bound| self.refusal(&bound))
    }

    /// Takes a share, waiting up to `patience` for others to return theirs.
    pub async fn wait(
        &self,
        caller: &Caller,
        amount: usize,
        patience: Duration,
    ) -> Result<Share, Refusal> {
        let until = Instant::now() + patience;
        loop {
            let returned = self.0.returned.notified();
            let bound = match self.try_take(caller, amount) {
                Ok(share) => return Ok(share),
                Err(bound) => bound,
            };
            if timeout_at(until, returned).await.is_err() {
                return Err(self.refusal(&bound));
            }
        }
    }

    fn try_take(&self, caller: &Caller, amount: usize) -> Result<Share, Bound> {
        let mut taken = self.lock();
        let own = taken.by_caller.get(caller).copied().unwrap_or(0);
        let each = if matches!(caller, Caller::Part) {
            self.0.sum
        } else {
            self.0.each
        };
        // An amount above the total would never fit, so it is granted if nothing else is taken.
        if own > 0 && own + amount > each {
            return Err(Bound::Caller);
        }
        if taken.sum > 0 && taken.sum + amount > self.0.sum {
            return Err(Bound::Total);
        }
        taken.sum += amount;
        *taken.by_caller.entry(caller.clone()).or_default() += amount;
        Ok(Share {
            quota: self.clone(),
            caller: caller.clone(),
            amount,
        })
    }

    fn refusal(&self, bound: &Bound) -> Refusal {
        let Inner {
            what, sum, each, ..
        } = &*self.0;
        let (limit, status, message) = match bound {
            Bound::Caller => (
                each,
                StatusCode::TOO_MANY_REQUESTS,
                format!(
                    "you have as many {what} as one caller may have ({each}); end some, or try again later"
                ),
            ),
            Bound::Total => (
                sum,
                StatusCode::SERVICE_UNAVAILABLE,
                format!(
                    "there are as many {what} as this server has room for ({sum}); try again later"
                ),
            ),
        };
        Problem::new("TooManyRequests", message)
            .with("limit", limit.to_string())
            .status(status)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Keeps the share until the returned bytes and all slices of them are dropped.
    pub fn hold(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        struct Held<T>(
            T,
            #[expect(dead_code, reason = "dropping it is its use")] Share,
        );
        impl<T: AsRef<[u8]>> AsRef<[u8]> for Held<T> {
            fn as_ref(&self) -> &[u8] {
                self.0.as_ref()
            }
        }
        Bytes::from_owner(Held(bytes, self))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.quota.lock();
        taken.sum -= self.amount;
        if let Some(own) = taken.by_caller.get_mut(&self.caller) {
            *own -= self.amount;
            if *own == 0 {
                taken.by_caller.remove(&self.caller);
            }
        }
        drop(taken);
        self.quota.0.returned.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Caller {
        Caller::User(name.into())
    }

    fn status(taken: Result<Share, Refusal>) -> Result<Share, u16> {
        taken.map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn shares_are_bounded_for_each_caller_and_in_total() {
        let quota = Quota::new("things", 3, 2);
        let anna = (quota.take(&user("anna"), 1), quota.take(&user("anna"), 1));
        assert!(anna.0.is_ok() && anna.1.is_ok());
        assert_eq!(status(quota.take(&user("anna"), 1)).unwrap_err(), 429);
        let bob = quota.take(&user("bob"), 1);
        assert!(bob.is_ok());
        assert_eq!(status(quota.take(&user("carl"), 1)).unwrap_err(), 503);
        drop(bob);
        assert!(quota.take(&user("carl"), 1).is_ok());
    }

    #[test]
    fn a_caller_gets_a_quarter_and_the_other_components_everything() {
        let quota = Quota::quarters("things", 100);
        let share = |caller: &Caller, amount| status(quota.take(caller, amount)).map(drop);
        let own = quota.take(&user("anna"), 10).unwrap();
        assert_eq!(share(&user("anna"), 15), Ok(()), "just as much as one gets");
        assert_eq!(share(&user("anna"), 16), Err(429));
        let parts = quota.take(&Caller::Part, 30).unwrap();
        assert_eq!(share(&Caller::Part, 60), Ok(()), "all that is left");
        assert_eq!(share(&Caller::Part, 61), Err(503));
        drop((own, parts));
        assert!(quota.lock().by_caller.is_empty());
        assert_eq!(quota.lock().sum, 0);

        let smallest = Quota::quarters("things", 0);
        let only = smallest.take(&user("anna"), 1);
        assert!(only.is_ok());
        assert_eq!(status(smallest.take(&user("bob"), 1)).unwrap_err(), 503);
    }

    #[test]
    fn a_returned_share_leaves_the_other_ones_of_its_caller_counted() {
        let quota = Quota::new("things", 10, 5);
        let (first, _second) = (
            quota.take(&user("anna"), 3).unwrap(),
            quota.take(&user("anna"), 2).unwrap(),
        );
        assert!(quota.take(&user("anna"), 1).is_err());
        drop(first);
        assert!(quota.take(&user("anna"), 4).is_err());
        assert!(quota.take(&user("anna"), 3).is_ok());
    }

    #[test]
    fn an_amount_above_the_total_is_granted_alone() {
        let quota = Quota::new("bytes", 10, 5);
        let great = quota.take(&user("anna"), 100).unwrap();
        assert_eq!(status(quota.take(&user("bob"), 1)).unwrap_err(), 503);
        drop(great);
        assert!(quota.take(&user("bob"), 1).is_ok());
    }

    #[tokio::test]
    async fn a_share_can_be_waited_for_and_is_held_by_bytes() {
        let quota = Quota::new("things", 1, 1);
        let bytes = quota.take(&user("anna"), 1).unwrap().hold(vec![1, 2, 3]);
        let hour = Duration::from_hours(1);
        let waiting = tokio::spawn({
            let quota = quota.clone();
            async move { quota.wait(&user("bob"), 1, hour).await.is_ok() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let part = bytes.slice(1..);
        drop(bytes);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "a slice holds it, too");
        drop(part);
        assert!(waiting.await.unwrap());
        let held = quota.take(&user("anna"), 1).unwrap();
        let moment = Duration::from_millis(1);
        let refused = quota.wait(&user("bob"), 1, moment).await;
        assert_eq!(status(refused).unwrap_err(), 503);
        drop(held);
    }
}
