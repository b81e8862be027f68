//! Starts Controllers and Agents in this process, and speaks plain HTTP to them.

use agent_node::AgentSettings;
use bytes::Bytes;
use controller_node::{ControllerSettings, Exit, RunError};
use http_body_util::{BodyExt as _, Full};
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running Controller.
pub(crate) struct Controller {
    pub(crate) addr: String,
    pub(crate) token: String,
    stop: CancellationToken,
    task: JoinHandle<Result<Exit, RunError>>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

pub(crate) fn settings(data: &Path) -> ControllerSettings {
    ControllerSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        data: data.to_owned(),
        ..ControllerSettings::default()
    }
}

impl Controller {
    pub(crate) async fn start(data: &Path) -> Controller {
        Controller::start_with(settings(data)).await
    }

    pub(crate) async fn start_with(settings: ControllerSettings) -> Controller {
        let data = settings.data.clone();
        let stop = CancellationToken::new();
        let (ready, is_ready) = oneshot::channel();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            controller_node::run(settings, stopped, |url| {
                ready.send(url.to_owned()).unwrap();
            })
            .await
        });
        let Ok(url) = is_ready.await else {
            panic!("the Controller does not start: {:?}", task.await)
        };
        let token = std::fs::read_to_string(data.join("private/admin-token")).unwrap();
        let addr = url.split_once("://").unwrap().1.to_owned();
        Controller {
            addr,
            token: token.trim().to_owned(),
            stop,
            task,
        }
    }

    pub(crate) async fn stop(self) -> Exit {
        self.stop.cancel();
        self.task.await.unwrap().unwrap()
    }

    /// It ends by itself.
    pub(crate) async fn ended(self) -> Exit {
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        call(&self.addr, method, path, headers, body).await
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(
            Method::GET,
            path,
            &[("authorization", &self.bearer())],
            Vec::new(),
        )
        .await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_as(path, "application/json", body.to_string())
            .await
    }

    pub(crate) async fn post_as(&self, path: &str, kind: &str, body: String) -> Answer {
        let headers = [
            ("authorization", &*self.bearer()),
            (CONTENT_TYPE.as_str(), kind),
        ];
        self.call(Method::POST, path, &headers, body.into_bytes())
            .await
    }

    pub(crate) async fn command(&self, command: Value) -> Answer {
        self.post("/controller/api/command", &command).await
    }

    pub(crate) async fn items(&self, operations: &[Value]) -> Answer {
        let lines = operations
            .iter()
            .map(|operation| format!("{operation}\n"))
            .collect::<String>();
        self.post_as("/controller/api/item", "application/x-ndjson", lines)
            .await
    }

    pub(crate) async fn deploy(&self, items: &[Value]) {
        let operations: Vec<Value> = items.iter().map(simple).collect();
        let answer = self.items(&operations).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    pub(crate) async fn add(&self, id: &str, workflow: &str) -> Answer {
        self.post(
            "/controller/api/order",
            &json!({ "id": id, "workflowPath": workflow }),
        )
        .await
    }

    /// All events by now.
    pub(crate) async fn events(&self) -> Vec<Value> {
        let answer = self.get("/controller/api/event?after=0&timeout=0").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
            .text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The names of an order's events by now.
    pub(crate) async fn story(&self, id: &str) -> Vec<String> {
        let own = self
            .events()
            .await
            .into_iter()
            .filter(|event| event["Key"] == id);
        own.map(|event| event["TYPE"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until the order's newest event is this one.
    pub(crate) async fn wait_for(&self, id: &str, last: &str) -> Vec<String> {
        let mut story = Vec::new();
        let begin = tokio::time::Instant::now();
        while begin.elapsed() < PATIENCE {
            story = self.story(id).await;
            if story.last().is_some_and(|event| event == last) {
                return story;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{id} never comes to {last}: {story:?}")
    }
}

pub(crate) async fn call(
    addr: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Answer {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .unwrap();
    let driving = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", addr);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender
        .send_request(request.body(Full::from(body)).unwrap())
        .await
        .unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    driving.abort();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        text,
    }
}

pub(crate) fn simple(item: &Value) -> Value {
    json!({ "TYPE": "AddOrChangeSigned", "signed": { "string": item.to_string() } })
}

/// A running Agent.
pub(crate) struct Agent {
    pub(crate) url: String,
    pub(crate) token_file: PathBuf,
    stop: CancellationToken,
    task: JoinHandle<Result<agent_node::Exit, agent_node::RunError>>,
}

impl Agent {
    pub(crate) async fn start(name: &str, data: &Path) -> Agent {
        Agent::start_at(name, data, "127.0.0.1:0").await
    }

    pub(crate) async fn start_at(name: &str, data: &Path, listen: &str) -> Agent {
        let settings = AgentSettings {
            name: name.to_owned(),
            listen: listen.parse().unwrap(),
            data: data.to_owned(),
            ..AgentSettings::default()
        };
        let stop = CancellationToken::new();
        let (ready, is_ready) = oneshot::channel();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            agent_node::run(settings, stopped, |url| {
                ready.send(url.to_owned()).unwrap();
            })
            .await
        });
        let Ok(url) = is_ready.await else {
            panic!("the Agent does not start: {:?}", task.await)
        };
        Agent {
            url,
            token_file: data.join("private/token"),
            stop,
            task,
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// An Agent with its Subagent.
pub(crate) fn agent_items(path: &str, uri: &str) -> [Value; 2] {
    let subagent = format!("{path}-0");
    [
        json!({ "TYPE": "AgentRef", "path": path, "directors": [subagent] }),
        json!({ "TYPE": "SubagentItem", "id": subagent, "agentPath": path, "uri": uri }),
    ]
}

/// A workflow of shell scripts at these Agents.
pub(crate) fn workflow(path: &str, jobs: &[(&str, &str)]) -> Value {
    let instructions: Vec<Value> = jobs
        .iter()
        .map(|(agent, script)| {
            let executable = json!({ "TYPE": "ShellScriptExecutable", "script": script });
            json!({ "TYPE": "Execute.Anonymous", "job": { "agentPath": agent, "executable": executable } })
        })
        .collect();
    json!({ "TYPE": "Workflow", "path": path, "instructions": instructions })
}

pub(crate) fn empty(path: &str) -> Value {
    workflow(path, &[])
}
