//! How a cluster looks: one line for each member, the active one first, and what would happen if that failed now.
//!
//! Always: what the active member says counts; what it does not know of another, such as that it was removed, that one says itself. Never
//! here: asking.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Timestamp;
use net::ClientError;
use serde_json::{Value, json};

use crate::moment;
use crate::screen::{Paint, Tone};
use crate::table::{Cell, Table};

/// What a member has answered.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) url: String,
    pub(super) answer: Result<Value, NoAnswer>,
}

/// Why a member has told nothing of itself.
#[derive(Clone, Debug)]
pub(super) struct NoAnswer {
    /// In the place of its role.
    in_short: &'static str,
    reason: String,
}

impl NoAnswer {
    /// Its connection stands, and nothing comes.
    pub(super) fn hangs(within: Duration) -> NoAnswer {
        NoAnswer {
            in_short: "hangs",
            reason: format!("no answer within {within:?}: it hangs"),
        }
    }

    pub(super) fn of(error: &ClientError) -> NoAnswer {
        let in_short = match error {
            ClientError::Unreachable { .. } => "not reached",
            ClientError::Untrusted { .. } => "not trusted",
            ClientError::Refused { status, .. } if matches!(status.as_u16(), 401 | 403) => {
                "refuses"
            }
            ClientError::Refused { .. }
            | ClientError::Broken { .. }
            | ClientError::Misused { .. } => "no answer",
        };
        NoAnswer {
            in_short,
            reason: error.to_string(),
        }
    }
}

impl Seen {
    fn told(&self) -> Option<&Value> {
        self.answer.as_ref().ok()
    }
}

/// The answer of the active member, else of one that belongs to the cluster, else of any.
fn best(seen: &[Seen]) -> Option<&Value> {
    let told = || seen.iter().filter_map(Seen::told);
    let belongs = |told: &Value| !is_outside(told);
    told()
        .find(|told| told["mayAnswer"] == true)
        .or_else(|| told().find(|told| told.get("setting").is_some() && belongs(told)))
        .or_else(|| told().find(|told| belongs(told)))
        .or_else(|| told().next())
}

fn active_of(seen: &[Seen]) -> Option<&Value> {
    let mut told = seen.iter().filter_map(Seen::told);
    told.find(|told| told["mayAnswer"] == true)
}

/// It was removed, or is not taken in yet.
fn is_outside(told: &Value) -> bool {
    matches!(told["standing"].as_str(), Some("removed" | "joining"))
}

/// For programs: as the active member says, and what each one says of itself.
pub(super) fn as_json(seen: &[Seen]) -> Value {
    let mut told = best(seen).cloned().unwrap_or_default();
    let members: Vec<Value> = seen
        .iter()
        .map(|seen| match &seen.answer {
            Ok(answer) => json!({
                "url": seen.url, "id": answer["nodeId"], "standing": answer["standing"], "epoch": answer["epoch"],
                "committedEventId": answer["committedEventId"], "advice": answer["advice"],
            }),
            Err(silence) => json!({"url": seen.url, "problem": silence.reason}),
        })
        .collect();
    // TYPE and the rest are what a member has read last, should nobody be active.
    let active = active_of(seen).map(|told| &told["nodeId"]);
    told["activeMember"] = json!(active);
    told["members"] = json!(members);
    told
}

/// For people.
pub(super) fn draw(seen: &[Seen], paint: Paint) -> String {
    let Some(best) = best(seen) else {
        return "no member answers\n".to_owned();
    };
    let active = active_of(seen);
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let state = text(&best["TYPE"]);
    // What a member has read last that belongs to the cluster no more, or not yet, says nothing of it.
    let is_outside = active.is_none() && is_outside(best);
    let (tone, in_words) = if is_outside {
        (
            Tone::Bad,
            "unknown: no member that belongs to it answers".to_owned(),
        )
    } else if active.is_none() {
        let reader = text(&best["nodeId"]);
        (
            Tone::Waiting,
            format!("nobody is active; {reader} has read last: {state}"),
        )
    } else {
        (tone_of(&state), in_words(&state).to_owned())
    };
    let mut drawn = format!(
        "{} {}\n",
        paint.put(Tone::Strong, "Cluster"),
        paint.put(tone, &in_words)
    );
    drawn += &match active {
        Some(active) => {
            let since = serde_json::from_value::<Timestamp>(active["activeSince"].clone());
            let since = since.map_or(String::new(), |at| {
                let ago = moment::span(moment::now().since(at));
                format!(" since {} ({ago} ago)", moment::full(at))
            });
            format!(
                "{} is active{since}, epoch {}\n",
                text(&active["nodeId"]),
                active["epoch"]
            )
        }
        None if is_outside => format!("{}\n", paint.put(Tone::Bad, "nobody is active")),
        // The first line says so.
        None => String::new(),
    };
    drawn += &format!("\n{}", members(seen, best, active.is_some()).draw(paint));
    let silent: Vec<String> = seen
        .iter()
        .filter_map(|seen| {
            let reason = &seen.answer.as_ref().err()?.reason;
            // Most reasons name the member themselves.
            Some(if reason.contains(&seen.url) {
                reason.clone()
            } else {
                format!("{}: {reason}", seen.url)
            })
        })
        .collect();
    if !silent.is_empty() {
        drawn += &format!("\n{}\n", paint.put(Tone::Bad, &silent.join("\n")));
    }
    for told in seen.iter().filter_map(Seen::told) {
        if let Some(advice) = told["advice"].as_str() {
            drawn += &format!("\n{}\n", paint.put(Tone::Bad, advice));
        }
    }
    if is_outside {
        return drawn;
    }
    let what_if = match active {
        Some(active) => text(&active["ifTheActiveMemberFailed"]),
        None => {
            "as soon as a majority is connected, one that has every event becomes active".to_owned()
        }
    };
    let tone = if what_if.starts_with("nobody") {
        Tone::Bad
    } else {
        Tone::Good
    };
    let head = if active.is_some() {
        "If the active member failed now:"
    } else {
        "What follows:"
    };
    drawn + &format!("\n{head} {}\n", paint.put(tone, &what_if))
}

fn in_words(state: &str) -> &str {
    match state {
        "Empty" => "Empty: a single Controller",
        "NodesAppointed" => "NodesAppointed: the members are not yet coupled",
        "PreparedToBeCoupled" => "PreparedToBeCoupled: the members are being coupled",
        "Coupled" => "Coupled: every member has every event",
        "PassiveLost" => "PassiveLost: the active member goes on without one that is lost",
        "SwitchedOver" => "SwitchedOver: not yet coupled again",
        "FailedOver" => "FailedOver: not yet coupled again",
        other => other,
    }
}

fn tone_of(state: &str) -> Tone {
    match state {
        "Coupled" => Tone::Good,
        "PassiveLost" | "FailedOver" => Tone::Bad,
        _ => Tone::Waiting,
    }
}

fn members(seen: &[Seen], best: &Value, is_active_known: bool) -> Table {
    let mut table = Table::new(&["MEMBER", "ROLE", "EPOCH", "EVENTS", "LAST HEARD", "AT"]);
    let own: BTreeMap<&str, (&Seen, &Value)> = seen
        .iter()
        .filter_map(|seen| Some((seen.told()?["nodeId"].as_str()?, (seen, seen.told()?))))
        .collect();
    let setting = best["setting"]["idToUri"].as_object();
    let mut names: Vec<&str> = setting
        .into_iter()
        .flatten()
        .map(|(id, _)| id.as_str())
        .collect();
    names.extend(
        own.keys()
            .copied()
            .filter(|id| !names.contains(id))
            .collect::<Vec<_>>(),
    );
    let others = || best["others"].as_array().into_iter().flatten();
    names.sort_by_key(|id| best["nodeId"].as_str() != Some(id));
    for name in names {
        let other = others().find(|other| other["id"] == name && other["isWatch"] == false);
        let told = own.get(name);
        let appointed = setting.and_then(|setting| setting.get(name)?.as_str());
        let url = told.map(|(seen, _)| seen.url.as_str()).or(appointed);
        let is_best = best["nodeId"].as_str() == Some(name);
        let silence = seen
            .iter()
            .find(|seen| Some(seen.url.as_str()) == url)
            .and_then(|seen| seen.answer.as_ref().err());
        let role = match (told, silence) {
            (Some((_, told)), _) => role_cell(told["standing"].as_str().unwrap_or("-")),
            (None, Some(silence)) => Cell::toned(Tone::Bad, silence.in_short),
            (None, None) => Cell::toned(Tone::Bad, "not reached"),
        };
        let epoch = told.map_or_else(|| "-".to_owned(), |(_, told)| told["epoch"].to_string());
        let (events, heard) = match (is_active_known, is_best) {
            (true, true) => (Cell::toned(Tone::Good, "all"), "-".to_owned()),
            (true, false) => (events_cell(other), heard(other)),
            // Only the active member hears who has what.
            (false, _) => ("-".into(), heard(other)),
        };
        let at = url.unwrap_or("-").to_owned();
        table.row([
            Cell::toned(Tone::Strong, name),
            role,
            epoch.into(),
            events,
            heard.into(),
            at.into(),
        ]);
    }
    for watch in others().filter(|other| other["isWatch"] == true) {
        let name = watch["id"].as_str().unwrap_or("-");
        let role = match (watch["hasVote"] == true, watch["isConnected"] == true) {
            (true, true) => Cell::toned(Tone::Good, "watch"),
            (true, false) => Cell::toned(Tone::Bad, "watch, not connected"),
            (false, true) => Cell::toned(Tone::Waiting, "watch without a vote"),
            (false, false) => continue,
        };
        table.row([
            Cell::toned(Tone::Strong, name),
            role,
            "-".into(),
            "none".into(),
            heard(Some(watch)).into(),
            "-".into(),
        ]);
    }
    table
}

fn role_cell(standing: &str) -> Cell {
    let tone = match standing {
        "active" | "standby" => Tone::Good,
        "removed" => Tone::Bad,
        _ => Tone::Waiting,
    };
    Cell::toned(tone, standing)
}

fn events_cell(other: Option<&Value>) -> Cell {
    // Nobody tells it anything unless it belongs to the members.
    let belongs = |other: &&Value| other["hasVote"] == true || other["isLearning"] == true;
    let Some(other) = other.filter(belongs) else {
        return "-".into();
    };
    let is_slow = other["isSlow"] == true && other["isConnected"] == true;
    match (other["isInSync"] == true, other["batchesBehind"].as_u64()) {
        (false, Some(behind)) if is_slow => Cell::toned(
            Tone::Bad,
            format!("slow: {behind} batches behind, not waited for"),
        ),
        (true, None | Some(0)) => Cell::toned(Tone::Good, "all"),
        (true, Some(behind)) => Cell::toned(Tone::Good, format!("all but {behind} under way")),
        (false, Some(behind)) if other["isConnected"] == true => {
            Cell::toned(Tone::Waiting, format!("{behind} batches behind"))
        }
        (false, _) => Cell::toned(Tone::Bad, "lacks some"),
    }
}

fn heard(other: Option<&Value>) -> String {
    let silent = other.and_then(|other| other["silentFor"].as_f64());
    silent.map_or_else(
        || "-".to_owned(),
        |seconds| {
            let silent = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            format!("{} ago", moment::span(silent))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Vec<Seen> {
        let setting = json!({"idToUri": {"Backup": "http://127.0.0.1:2", "Primary": "http://127.0.0.1:1"}, "activeId": "Backup"});
        let active = json!({
            "TYPE": "Coupled", "setting": setting, "nodeId": "Backup", "standing": "active", "epoch": 7, "mayAnswer": true,
            "activeSince": 1_800_000_000_000_i64, "ifTheActiveMemberFailed": "Primary follows",
            "others": [
                {"id": "Primary", "isWatch": false, "isConnected": true, "isInSync": true, "hasVote": true, "silentFor": 0.04, "batchesBehind": 0},
                {"id": "watch", "isWatch": true, "isConnected": true, "isInSync": true, "hasVote": true, "silentFor": 0.03},
            ],
        });
        let standby = json!({"TYPE": "Coupled", "nodeId": "Primary", "standing": "standby", "epoch": 7, "mayAnswer": false, "others": []});
        let seen = |url: &str, answer| Seen {
            url: url.to_owned(),
            answer: Ok(answer),
        };
        vec![
            seen("http://127.0.0.1:1", standby),
            seen("http://127.0.0.1:2", active),
        ]
    }

    #[test]
    fn a_coupled_pair_is_shown_with_its_active_member_first_whoever_was_asked() {
        let drawn = draw(&pair(), Paint { is_on: false });
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines[0].starts_with("Cluster Coupled"), "{drawn}");
        assert!(
            lines[1].starts_with("Backup is active since ") && lines[1].ends_with("epoch 7"),
            "{drawn}"
        );
        assert!(
            lines[4].starts_with("Backup   active   7      all"),
            "{drawn}"
        );
        assert!(
            lines[5].starts_with("Primary  standby  7      all"),
            "{drawn}"
        );
        assert!(lines[6].starts_with("watch    watch"), "{drawn}");
        assert!(
            drawn.ends_with("If the active member failed now: Primary follows\n"),
            "{drawn}"
        );
    }

    #[test]
    fn a_member_that_hangs_or_is_gone_is_named_as_such() {
        let mut seen = pair();
        seen[0].answer = Err(NoAnswer::hangs(Duration::from_secs(1)));
        let drawn = draw(&seen, Paint { is_on: false });
        assert!(drawn.contains("Primary  hangs"), "{drawn}");
        assert!(
            drawn.contains("\nhttp://127.0.0.1:1: no answer within 1s: it hangs\n"),
            "{drawn}"
        );
        seen[0].answer = Err(NoAnswer::of(&ClientError::Unreachable {
            peer: "http://127.0.0.1:1".into(),
            outage: net::Outage::Connect(std::io::ErrorKind::ConnectionRefused.into()),
        }));
        let drawn = draw(&seen, Paint { is_on: false });
        assert!(drawn.contains("Primary  not reached"), "{drawn}");
        assert!(
            drawn.contains("\ncannot reach http://127.0.0.1:1: cannot connect: "),
            "{drawn}"
        );
    }

    #[test]
    fn a_member_that_answers_with_a_refusal_is_not_called_unreached_and_its_reason_is_shown() {
        let mut seen = pair();
        let mut told = |error: &ClientError| {
            seen[0].answer = Err(NoAnswer::of(error));
            draw(&seen, Paint { is_on: false })
        };
        let drawn = told(&ClientError::Refused {
            peer: "http://127.0.0.1:1".into(),
            path: "/controller/api/cluster".to_owned(),
            status: net::Problem::new("X", "").default_status(),
            problem: net::Problem::new("X", "it is upset"),
        });
        assert!(drawn.contains("Primary  no answer"), "{drawn}");
        assert!(drawn.contains("it is upset"), "{drawn}");
        let drawn = told(&ClientError::Untrusted {
            peer: "http://127.0.0.1:1".into(),
            what: "its certificate has expired".to_owned(),
        });
        assert!(drawn.contains("Primary  not trusted"), "{drawn}");
        assert!(
            drawn.contains("\ncannot trust http://127.0.0.1:1: its certificate has expired\n"),
            "{drawn}"
        );
    }

    #[test]
    fn where_nobody_is_active_the_last_state_that_was_read_is_not_shown_as_the_present_one() {
        let mut seen = pair();
        seen[1].answer = Err(NoAnswer::hangs(Duration::from_secs(1)));
        let standby = seen[0].answer.as_mut().expect("it has answered");
        standby["setting"] =
            json!({"idToUri": {"Primary": "http://127.0.0.1:1", "Backup": "http://127.0.0.1:2"}});
        standby["others"] = json!([
            {"id": "Backup", "isWatch": false, "isConnected": false, "isInSync": false, "hasVote": true},
        ]);
        let row = "\nBackup   hangs    -      -       ";
        let plain = draw(&seen, Paint { is_on: false });
        assert!(
            plain.contains(row),
            "it cannot know what that one lacks: {plain}"
        );
        let drawn = draw(&seen, Paint { is_on: true });
        let head = Paint { is_on: true }.put(
            Tone::Waiting,
            "nobody is active; Primary has read last: Coupled",
        );
        assert!(drawn.lines().next().unwrap().ends_with(&head), "{drawn}");
        assert!(
            drawn.contains("nobody is active") && !drawn.contains("every member has every event"),
            "{drawn}"
        );
        let told = as_json(&seen);
        assert_eq!(told["TYPE"], "Coupled");
        assert_eq!(told["activeMember"], Value::Null);
        assert_eq!(as_json(&pair())["activeMember"], "Backup");
    }

    #[test]
    fn r12_a_member_that_is_too_slow_to_be_waited_for_is_shown_as_slow() {
        let mut seen = pair();
        let active = seen[1].answer.as_mut().expect("it has answered");
        active["TYPE"] = json!("PassiveLost");
        active["others"][0]["isInSync"] = json!(false);
        active["others"][0]["isSlow"] = json!(true);
        active["others"][0]["batchesBehind"] = json!(12);
        let drawn = draw(&seen, Paint { is_on: false });
        assert!(
            drawn.contains("Primary  standby  7      slow: 12 batches behind, not waited for"),
            "{drawn}"
        );
        assert_eq!(as_json(&seen)["others"][0]["isSlow"], true);
        seen[1].answer.as_mut().expect("it has answered")["others"][0]["isConnected"] =
            json!(false);
        let gone = draw(&seen, Paint { is_on: false });
        assert!(!gone.contains("slow"), "who is away is not slow: {gone}");
    }

    fn removed() -> Value {
        json!({
            "TYPE": "Empty", "nodeId": "Primary", "standing": "removed", "epoch": 7, "mayAnswer": false,
            "others": [], "ifTheActiveMemberFailed": "ask the active member",
            "advice": "Primary was removed from this Controller's cluster: stop it",
        })
    }

    #[test]
    fn a_removed_member_is_shown_as_such_with_what_to_do() {
        let mut seen = pair();
        seen[0].answer = Ok(removed());
        let drawn = draw(&seen, Paint { is_on: false });
        assert!(drawn.contains("Primary  removed"), "{drawn}");
        assert!(
            drawn.contains("\nPrimary was removed from this Controller's cluster: stop it\n"),
            "{drawn}"
        );
        let told = as_json(&seen);
        assert_eq!(told["members"][0]["advice"], removed()["advice"]);
    }

    #[test]
    fn a_removed_member_alone_does_not_speak_for_the_cluster() {
        let mut seen = pair();
        seen.pop();
        seen[0].answer = Ok(removed());
        let drawn = draw(&seen, Paint { is_on: false });
        assert!(drawn.contains("stop it"), "{drawn}");
        assert!(
            !drawn.contains("single Controller") && !drawn.contains("becomes active"),
            "{drawn}"
        );
    }

    #[test]
    fn programs_get_the_active_members_answer_and_what_each_says_of_itself() {
        let told = as_json(&pair());
        assert_eq!(told["nodeId"], "Backup");
        assert_eq!(told["members"][0]["standing"], "standby");
        assert_eq!(told["members"][1]["url"], "http://127.0.0.1:2");
    }
}
