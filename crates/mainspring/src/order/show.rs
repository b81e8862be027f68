//! `order show`: where an order stands, why it waits, what happened.

use model::{Mark, OrderState, Timestamp};

use super::list;
use crate::call::{Controller, OrderSeen};
use crate::exit::Exit;
use crate::moment;
use crate::screen::{Paint, Screen, Tone};
use crate::stage;
use crate::telling::harmless;

pub(crate) async fn run(
    id: &str,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    if screen.json {
        screen.say_json(&controller.order_as_told(id).await?)?;
        return Ok(Exit::Done);
    }
    let seen = controller.order(id).await?;
    let mut text = head(&seen, moment::now(), screen.paint);
    match controller.workflow(&seen.order.workflow_id).await {
        Ok(workflow) => {
            text += &format!(
                "\n{}",
                stage::draw(&workflow, Some(&seen.order), screen.paint)
            );
        }
        Err(error) => screen.warn(&format!("the workflow cannot be drawn: {error:#}")),
    }
    screen.say(&text)?;
    if let Some(next) = next_step(&seen) {
        screen.remark(&next);
    }
    Ok(Exit::Done)
}

fn head(seen: &OrderSeen, now: Timestamp, paint: Paint) -> String {
    let order = &seen.order;
    let mut text = String::new();
    let mut field = |name: &str, value: String| {
        text += &format!(
            "{} {value}\n",
            paint.put(Tone::Faint, &format!("{name:10}"))
        );
    };
    field("order", paint.put(Tone::Strong, order.id.as_str()));
    field(
        "workflow",
        format!(
            "{} {}",
            order.workflow_id.path,
            paint.put(
                Tone::Faint,
                &format!("version {}", order.workflow_id.version_id)
            )
        ),
    );
    field(
        "state",
        paint.put(stage::tone_of_state(order), &list::state(order)),
    );
    field("position", order.position.to_string());
    if let Some(attached) = &order.attached_state {
        field(
            "agent",
            format!(
                "{} ({})",
                attached.agent_path(),
                attached.type_name().to_lowercase()
            ),
        );
    }
    let process = seen.waiting.process.as_ref();
    if let Some(id) = process.and_then(|process| process.subagent_id.as_ref()) {
        field("subagent", id.to_string());
    }
    if order.attempts > 0 {
        field("attempt", order.attempts.to_string());
    }
    let times = [
        ("scheduled", order.scheduled_for),
        ("added", order.added_at),
        ("started", order.started_at),
        ("since", order.state_since),
    ];
    for (name, at) in times {
        if let Some(at) = at {
            field(name, format!("{} ({})", moment::full(at), moment::zone()));
        }
    }
    if let Some(took) = list::took(order, now) {
        let name = if order.is_terminated() {
            "took"
        } else {
            "runs for"
        };
        field(name, moment::span(took));
    }
    if let OrderState::Broken {
        problem: Some(problem),
    } = &order.state
    {
        field("broken", problem.to_string());
    }
    // If something holds up the job, the obstacle is shown instead.
    let is_free = seen.waiting.obstacles.is_empty();
    if let Some(process) = seen.waiting.process.as_ref().filter(|_| is_free) {
        let job = process.job_name.as_ref();
        let job = job.map_or_else(|| "its job".to_owned(), |name| format!("job {name}"));
        let subagent = process.subagent_id.as_ref();
        let subagent = subagent.map_or_else(String::new, |id| format!(" on Subagent {id}"));
        let since = process.since;
        let since = since.map_or_else(String::new, |at| format!(" since {}", moment::full(at)));
        let told = format!("{job} is running{subagent}{since}");
        field("now", paint.put(Tone::Busy, &told));
    }
    for obstacle in &seen.waiting.obstacles {
        field("now", paint.put(Tone::Waiting, &list::in_words(obstacle)));
    }
    if let Some(problem) = &seen.waiting.agent_problem {
        field("refused", paint.put(Tone::Bad, &problem.to_string()));
    }
    if let Some(mark) = &order.mark {
        let told = match **mark {
            Mark::Cancelling { .. } => "to be cancelled",
            Mark::Suspending { .. } => "to be suspended",
            Mark::Resuming { .. } => "to be resumed",
            Mark::Go { .. } => "to go on at once",
        };
        field("marked", told.to_owned());
    }
    if let OrderState::Forked { children } = &order.state {
        for child in children {
            field("child", child.order_id.to_string());
        }
    }
    for (name, value) in &order.arguments {
        field("argument", harmless(&format!("{name} = {value}")));
    }
    let omitted: u64 = order.omitted_outcomes.iter().map(|place| place.count).sum();
    if omitted > 0 {
        let told = "outcomes of earlier tries were counted and are no longer kept one by one";
        field("omitted", format!("{omitted} {told}"));
    }
    let results = order
        .historic_outcomes
        .iter()
        .rev()
        .flat_map(|entry| entry.outcome.named_values());
    let mut told = Vec::new();
    for (name, value) in results {
        // The newest value of a name is the one that counts.
        if !told.contains(&name) {
            field("variable", harmless(&format!("{name} = {value}")));
            told.push(name);
        }
    }
    text
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only these wait for a person"
)]
fn next_step(seen: &OrderSeen) -> Option<String> {
    let order = &seen.order;
    let id = &order.id;
    match &order.state {
        _ if order.is_suspended => Some(format!(
            "go on at {} with: mainspring order resume {id}",
            order.position
        )),
        OrderState::Failed | OrderState::Stopped | OrderState::Broken { .. } => {
            let see = match seen.waiting.output_lost_until {
                Some(until) => format!(
                    "what its jobs wrote until {} is no longer kept\n",
                    moment::full(until.timestamp())
                ),
                None if order.attempts == 0 => String::new(),
                None => format!("see why with:  mainspring order log {id}\n"),
            };
            let mut behind = order.position.clone();
            behind.nr += 1;
            Some(format!(
                "{see}go on at {}:    mainspring order resume {id}\ngo on behind:  mainspring order resume {id} --position {behind}\nor give it up: mainspring order cancel {id}",
                order.position
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_shows_why_it_waits_and_what_it_knows() {
        let seen = OrderSeen::read(
            br#"{"id":"O","workflowId":{"path":"w","versionId":"1"},"position":[1],"state":{"TYPE":"Ready"},
              "attachedState":{"TYPE":"Attached","agentPath":"A"},"arguments":{"day":"monday"},
              "historicOutcomes":[{"position":[0],"outcome":{"TYPE":"Succeeded","namedValues":{"rows":1}}},
                {"position":[0],"outcome":{"TYPE":"Succeeded","namedValues":{"rows":2}}}],
              "obstacles":[{"TYPE":"AgentNotConnected","message":"Agent A is unreachable"},"waits until 2027-01-15T08:00:01.000Z"],
              "process":{"subagentId":"S","jobName":"J","since":1800000001000},"attempts":2,"startedAt":1800000000000,"stateSince":1800000001000,"agentProblem":{"message":"too many"}}"#,
        )
        .unwrap();
        let now = Timestamp::from_millis(1_800_000_090_000);
        let text = head(&seen, now, Paint { is_on: false });
        for expected in [
            "A (attached)",
            "now        Agent A is unreachable",
            "subagent   S",
            "too many",
            "day = 'monday'",
            "rows = 2",
            "attempt    2",
            "runs for   1 min 30 s",
            &format!(
                "since      {} (",
                moment::full(Timestamp::from_millis(1_800_000_001_000))
            ),
            &format!(
                "waits until {}",
                moment::full(Timestamp::from_millis(1_800_000_001_000))
            ),
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        let free = OrderSeen::read(
            br#"{"id":"O","workflowId":{"path":"w","versionId":"1"},"position":[1],"state":{"TYPE":"Processing"},
              "obstacles":[],"process":{"subagentId":"S","jobName":"J","since":1800000001000}}"#,
        )
        .unwrap();
        let free = head(&free, now, Paint { is_on: false });
        assert!(
            free.contains("now        job J is running on Subagent S since "),
            "{free}"
        );
        assert!(
            !text.contains("rows = 1"),
            "an older value of the same name does not count\n{text}"
        );
    }
}
