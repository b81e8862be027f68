//! Commands among members that are active or not, hang, break and come back: which member is asked, and what is asked twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use model::{ControllerCommand, FreshOrder, OrderId};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a member does with a request, except the question how it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Answers,
    /// Takes the request and never answers.
    Hangs,
    /// Takes the request and breaks the connection.
    Breaks,
    /// Answers after another member has become active, and been seen to be.
    AnswersLate,
    /// Says that it is not active.
    Refuses,
    /// Takes the request and says that another one has followed it meanwhile.
    IsDeposed,
}

/// A member that plays its part on the loopback.
struct Member {
    url: String,
    /// What it has got, besides questions how it stands.
    requests: Arc<AtomicUsize>,
}

impl Member {
    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

/// `cluster` is what it says of itself and the others; nothing: it does not even say that.
async fn member(
    cluster: impl Fn(usize) -> Option<Value> + Send + Sync + 'static,
    does: Does,
) -> Member {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let (counted, cluster) = (Arc::clone(&requests), Arc::new(cluster));
    tokio::spawn(async move {
        let asked = Arc::new(AtomicUsize::new(0));
        while let Ok((stream, _)) = listener.accept().await {
            let (counted, cluster, asked) = (
                Arc::clone(&counted),
                Arc::clone(&cluster),
                Arc::clone(&asked),
            );
            tokio::spawn(async move { serve(stream, &*cluster, does, &counted, &asked).await });
        }
    });
    Member { url, requests }
}

async fn serve(
    mut stream: TcpStream,
    cluster: &(impl Fn(usize) -> Option<Value> + Sync),
    does: Does,
    counted: &AtomicUsize,
    asked: &AtomicUsize,
) {
    while let Some(head) = request(&mut stream).await {
        let (status, answer) = if head.contains(CLUSTER) {
            match cluster(asked.fetch_add(1, Ordering::Relaxed)) {
                Some(told) => ("200 OK", told),
                None => std::future::pending().await,
            }
        } else {
            counted.fetch_add(1, Ordering::Relaxed);
            match does {
                Does::Answers => (
                    "200 OK",
                    json!({"TYPE": "AddOrder.Response", "ignoredBecauseDuplicate": true}),
                ),
                Does::AnswersLate => {
                    tokio::time::sleep(Duration::from_millis(1200)).await;
                    ("200 OK", json!({"TYPE": "Accepted"}))
                }
                Does::Hangs => std::future::pending().await,
                Does::Breaks => return,
                Does::Refuses => refusal(NOT_ACTIVE),
                Does::IsDeposed => refusal("ClusterNodeIsNoLongerActive"),
            }
        };
        let answer = answer.to_string();
        let length = answer.len();
        let text = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{answer}"
        );
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn refusal(code: &str) -> (&'static str, Value) {
    let problem = json!({"TYPE": "Problem", "code": code, "message": "not active"});
    ("503 Service Unavailable", problem)
}

/// Reads one request and gives its head.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.trim().parse().unwrap()) {
                return Some(head.to_owned());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn active(name: &str) -> impl Fn(usize) -> Option<Value> + Send + Sync + 'static + use<> {
    let told = json!({"nodeId": name, "mayAnswer": true});
    move |_| Some(told.clone())
}

fn standby(
    name: &str,
    others: &[(&str, &str)],
) -> impl Fn(usize) -> Option<Value> + Send + Sync + 'static + use<> {
    let others: serde_json::Map<String, Value> = others
        .iter()
        .map(|(id, url)| ((*id).to_owned(), json!(url)))
        .collect();
    let told = json!({"nodeId": name, "mayAnswer": false, "setting": {"idToUri": others}});
    move |_| Some(told.clone())
}

fn controller(members: &[&Member]) -> Controller {
    let urls: Vec<String> = members.iter().map(|member| member.url.clone()).collect();
    Controller::at(ClientSettings::new(String::new()), &urls).unwrap()
}

fn order() -> FreshOrder {
    FreshOrder::new(OrderId::new("A"), "W".into())
}

fn add() -> ControllerCommand {
    ControllerCommand::AddOrder { order: order() }
}

/// What must not happen twice.
fn resume() -> ControllerCommand {
    ControllerCommand::ResumeOrders {
        order_ids: vec![OrderId::new("A")],
        as_succeeded: false,
        restart_killed_job: None,
    }
}

/// The standby at the first question, the active one from the second on.
async fn follower() -> Member {
    let told = |asked| Some(json!({"nodeId": "Backup", "mayAnswer": asked >= 1}));
    member(told, Does::Answers).await
}

/// A member that was active at the first question and hangs since, and the one that follows it.
async fn hung_and_followed() -> (Member, Member) {
    let told = |asked| (asked == 0).then(|| json!({"nodeId": "Primary", "mayAnswer": true}));
    (member(told, Does::Hangs).await, follower().await)
}

#[tokio::test]
async fn the_active_one_of_several_is_asked_and_one_that_only_the_standby_knows_too() {
    let one = member(active("Primary"), Does::Answers).await;
    let two = member(standby("Backup", &[("Primary", &one.url)]), Does::Refuses).await;
    controller(&[&two, &one]).command(&add()).await.unwrap();
    controller(&[&two]).command(&add()).await.unwrap();
    assert_eq!((one.requests(), two.requests()), (2, 0));
}

#[tokio::test]
async fn somebody_who_becomes_active_soon_is_waited_for() {
    let told = |asked| Some(json!({"nodeId": "Backup", "mayAnswer": asked >= 2}));
    let one = member(told, Does::Answers).await;
    controller(&[&one]).command(&add()).await.unwrap();
    assert_eq!(one.requests(), 1);
}

#[tokio::test]
async fn a_member_that_does_not_even_say_how_it_stands_costs_a_moment_only() {
    let hung = member(|_| None, Does::Hangs).await;
    let one = member(active("Primary"), Does::Answers).await;
    let begun = Instant::now();
    controller(&[&hung, &one]).command(&add()).await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn s30_a_member_that_takes_a_request_and_hangs_is_left_as_soon_as_another_is_active() {
    let (hung, other) = hung_and_followed().await;
    let asked = controller(&[&hung, &other]);
    let (_, is_repeated) = asked.command_maybe_twice(&add()).await.unwrap();
    assert!(is_repeated, "nobody knows what the first one has done");
    assert_eq!((hung.requests(), other.requests()), (1, 1));

    let (hung, other) = hung_and_followed().await;
    let told = controller(&[&hung, &other])
        .command(&resume())
        .await
        .unwrap_err();
    assert!(told.to_string().starts_with("nobody knows"), "{told:#}");
    assert_eq!(
        other.requests(),
        0,
        "what must not happen twice is not asked twice"
    );
}

#[tokio::test]
async fn an_order_that_is_forgotten_at_its_end_is_not_added_a_second_time() {
    let breaking = member(active("Primary"), Does::Breaks).await;
    let command = ControllerCommand::AddOrder {
        order: FreshOrder {
            delete_when_terminated: true,
            ..order()
        },
    };
    let told = controller(&[&breaking])
        .command(&command)
        .await
        .unwrap_err();
    assert!(told.to_string().starts_with("nobody knows"), "{told:#}");
    assert_eq!(breaking.requests(), 1);
    let again = controller(&[&breaking]).command(&add()).await.unwrap_err();
    assert_eq!(
        breaking.requests(),
        2 + MOVES_MAX,
        "a kept one is tried again, but not for ever: {again:#}"
    );
}

#[tokio::test]
async fn what_a_standby_refuses_was_not_done_and_goes_to_another_member() {
    // It was active when it was asked how it stands, and is no more.
    let refusing = member(
        |asked| Some(json!({"nodeId": "Primary", "mayAnswer": asked == 0})),
        Does::Refuses,
    )
    .await;
    let other = follower().await;
    let (_, is_repeated) = controller(&[&refusing, &other])
        .command_maybe_twice(&resume())
        .await
        .unwrap();
    assert!(!is_repeated, "it cannot have been done before");
    assert_eq!((refusing.requests(), other.requests()), (1, 1));
}

#[tokio::test]
async fn what_was_under_way_at_a_member_that_was_followed_is_unknown_and_goes_on_at_the_follower() {
    let was_active = |asked| Some(json!({"nodeId": "Primary", "mayAnswer": asked == 0}));
    let deposed = member(was_active, Does::IsDeposed).await;
    let other = follower().await;
    let asked = controller(&[&deposed, &other]);
    let (_, is_repeated) = asked.command_maybe_twice(&add()).await.unwrap();
    assert!(is_repeated, "it may have been done before");
    assert_eq!((deposed.requests(), other.requests()), (1, 1));

    let deposed = member(was_active, Does::IsDeposed).await;
    let other = follower().await;
    let asked = controller(&[&deposed, &other]);
    let told = asked.command(&resume()).await.unwrap_err();
    assert!(told.to_string().starts_with("nobody knows"), "{told:#}");
    assert_eq!(
        other.requests(),
        0,
        "what must not happen twice is not asked twice"
    );
}

#[tokio::test]
async fn s30_a_switch_over_is_not_given_up_because_the_other_member_is_active_as_was_asked_for() {
    let told = |asked| Some(json!({"nodeId": "Primary", "mayAnswer": asked == 0}));
    let leaving = member(told, Does::AnswersLate).await;
    let other = follower().await;
    let command = ControllerCommand::ClusterSwitchOver { agent_path: None };
    let asked = controller(&[&leaving, &other]);
    asked.command(&command).await.unwrap();
    assert_eq!((leaving.requests(), other.requests()), (1, 0));
}

#[tokio::test]
async fn a_look_at_members_of_whom_nobody_is_active_waits_for_nobody() {
    let one = member(standby("Primary", &[]), Does::Refuses).await;
    let two = member(standby("Backup", &[("Primary", &one.url)]), Does::Refuses).await;
    let asked = controller(&[&two]);
    let begun = Instant::now();
    asked.look().await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    let known: Vec<String> = asked
        .members()
        .iter()
        .map(|member| member.peer().to_owned())
        .collect();
    assert_eq!(known, [two.url, one.url]);
}

#[tokio::test]
async fn a_controller_that_is_alone_and_away_is_told_at_once() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let alone = Controller::at(ClientSettings::new(String::new()), &[url]).unwrap();
    let begun = Instant::now();
    assert!(alone.command(&add()).await.is_err());
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}
