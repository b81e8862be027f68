//! All cases, several at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::case::{Case, cases};
use super::driver::Drive;
use super::outcome::{How, Judged, Verdict};
use super::{expressions, scenarios};

const NOT_YET: &str = include_str!("../../conformance/not-yet.yaml");
const PASSING: &str = include_str!("../../conformance/passing.yaml");
const REPLACED: &str = include_str!("../../conformance/replaced.yaml");
/// Far more than any case takes.
const TIME_LIMIT: Duration = Duration::from_mins(2);

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Suite {
    pub(crate) judged: Vec<Judged>,
}

impl Suite {
    /// How many cases passed, failed, and are not yet supported.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |is: fn(&Verdict) -> bool| {
            self.judged
                .iter()
                .filter(|judged| is(&judged.verdict))
                .count()
        };
        (
            count(|verdict| matches!(verdict, Verdict::Passed)),
            count(|verdict| matches!(verdict, Verdict::Failed(_))),
            count(|verdict| matches!(verdict, Verdict::NotYet(_))),
        )
    }

    /// The cases that passed, in the order of the cases.
    pub fn passed(&self) -> Vec<&str> {
        let passed = self
            .judged
            .iter()
            .filter(|judged| judged.verdict == Verdict::Passed);
        passed.map(|judged| judged.id.as_str()).collect()
    }

    /// How many of the passed cases show what happens instead of what they claim.
    pub fn replaced(&self) -> usize {
        self.judged
            .iter()
            .filter(|judged| judged.verdict == Verdict::Passed && judged.replaced.is_some())
            .count()
    }

    /// The failed cases with what was wrong.
    pub fn failures(&self) -> Vec<(&str, &str)> {
        self.judged
            .iter()
            .filter_map(|judged| match &judged.verdict {
                Verdict::Failed(why) => Some((judged.id.as_str(), why.as_str())),
                Verdict::Passed | Verdict::NotYet(_) => None,
            })
            .collect()
    }
}

/// The cases that must pass, in the order of the cases.
pub fn passing() -> Result<Vec<String>> {
    serde_saphyr::from_str(PASSING).context("conformance/passing.yaml cannot be read")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    reason: String,
    cases: Vec<String>,
}

/// Why cases are not supported yet, by case.
fn not_yet() -> Result<BTreeMap<String, String>> {
    let reasons: Vec<Reason> =
        serde_saphyr::from_str(NOT_YET).context("conformance/not-yet.yaml cannot be read")?;
    let mut by_case = BTreeMap::new();
    for Reason { reason, cases } in reasons {
        for case in cases {
            if by_case.insert(case.clone(), reason.clone()).is_some() {
                bail!("not-yet.yaml names {case} twice");
            }
        }
    }
    Ok(by_case)
}

/// What happens instead of what cases claim, with the reason, by case.
fn replaced() -> Result<BTreeMap<String, String>> {
    serde_saphyr::from_str(REPLACED).context("conformance/replaced.yaml cannot be read")
}

/// Runs all cases whose id begins with one of `wanted` (all if there is none), so many at a time.
pub async fn run(wanted: &[String], at_a_time: usize) -> Result<Suite> {
    let cases = cases()?;
    let mut reasons = not_yet()?;
    let mut replaced = replaced()?;
    check_names(&cases, &reasons)?;
    if let Some(id) = replaced
        .keys()
        .find(|id| !scenarios::ids().contains(&id.as_str()))
    {
        bail!("replaced.yaml names {id}, which has no scenario");
    }
    let is_wanted = |case: &Case| {
        wanted.is_empty()
            || wanted
                .iter()
                .any(|begin| case.id.starts_with(begin.as_str()))
    };
    let gate = Arc::new(Semaphore::new(at_a_time));
    let mut running = JoinSet::new();
    for (index, case) in cases.into_iter().enumerate() {
        if !is_wanted(&case) {
            continue;
        }
        let reason = reasons.remove(&case.id);
        let replaced = replaced.remove(&case.id);
        let gate = gate.clone();
        running.spawn(async move {
            let _turn = gate.acquire().await;
            let begin = Instant::now();
            let (how, verdict) = match reason {
                Some(reason) => (How::Not, Verdict::NotYet(reason)),
                None => judge(&case).await,
            };
            let judged = Judged {
                id: case.id,
                level: case.level,
                title: case.title,
                how,
                verdict,
                replaced,
                took: begin.elapsed(),
            };
            (index, judged)
        });
    }
    let mut judged = running.join_all().await;
    judged.sort_by_key(|(index, _)| *index);
    Ok(Suite {
        judged: judged.into_iter().map(|(_, judged)| judged).collect(),
    })
}

/// A reason or a scenario for a case that does not exist is a slip.
fn check_names(cases: &[Case], reasons: &BTreeMap<String, String>) -> Result<()> {
    let is_known = |id: &str| cases.iter().any(|case| case.id == id);
    if let Some(id) = reasons.keys().find(|id| !is_known(id)) {
        bail!("not-yet.yaml names {id}, which is no case");
    }
    for id in scenarios::ids() {
        if !is_known(id) {
            bail!("the scenarios name {id}, which is no case");
        }
        if reasons.contains_key(*id) {
            bail!("{id} has a scenario and stands in not-yet.yaml, too");
        }
    }
    Ok(())
}

async fn judge(case: &Case) -> (How, Verdict) {
    let (how, outcome) = if expressions::is_table(case) {
        (How::Expressions, Ok(expressions::judge(case)))
    } else if let Some(scenario) = scenarios::of(case) {
        (
            How::Scenario,
            tokio::time::timeout(TIME_LIMIT, scenario).await,
        )
    } else {
        (
            How::Processes,
            tokio::time::timeout(TIME_LIMIT, as_told(case)).await,
        )
    };
    let verdict = match outcome {
        Ok(Ok(())) => Verdict::Passed,
        Ok(Err(error)) => Verdict::Failed(format!("{error:#}")),
        Err(_elapsed) => Verdict::Failed(format!("not done after {TIME_LIMIT:?}")),
    };
    (how, verdict)
}

/// The case as it stands in the file.
async fn as_told(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.check_readable()?;
    drive.all_steps().await?;
    drive.judge().await
}
