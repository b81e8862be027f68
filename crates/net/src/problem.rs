//! The one form of a refusal over HTTP: a problem with a stable code, a sentence for people and arguments for programs.
//! Always: the code names the rule that was broken and decides the default status; the message can change, the code cannot.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde::{Deserialize, Serialize};

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "TYPE", rename = "Problem")]
pub struct Problem {
    /// Stable name of the broken rule, such as `UnknownKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Cow<'static, str>>,
    /// A sentence for people.
    pub message: String,
    /// The values the sentence speaks of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, String>,
}

impl Problem {
    /// A problem with a stable code.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Problem {
        Problem {
            code: Some(code.into()),
            message: message.into(),
            arguments: BTreeMap::new(),
        }
    }

    /// A problem that no program needs to recognise.
    pub fn uncoded(message: impl Into<String>) -> Problem {
        Problem {
            code: None,
            message: message.into(),
            arguments: BTreeMap::new(),
        }
    }

    /// The same problem with one more argument.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Problem {
        self.arguments.insert(name.to_owned(), value.into());
        self
    }

    /// The same problem with a status of its own.
    pub fn status(self, status: StatusCode) -> Refusal {
        Refusal {
            status,
            problem: self,
        }
    }

    /// Whether the code is this one.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Returns whether a named order does not exist. Older members send the code `UnknownOrder`.
    pub fn is_unknown_order(&self) -> bool {
        let is_order = self
            .arguments
            .get("type")
            .is_some_and(|kind| kind == "OrderId");
        self.is("UnknownOrder") || (self.is("UnknownKey") && is_order)
    }

    /// The status a code has unless the server gives another one: 503 for states that pass, 400 for the rest.
    pub fn default_status(&self) -> StatusCode {
        match self.code.as_deref() {
            Some(
                "ClusterNodeIsNotActive"
                | "ClusterNodeIsNoLongerActive"
                | "ClusterNodeIsNotReady"
                | "ClusterModuleShuttingDown"
                | "BackupClusterNodeNotAppointed"
                | "AgentIsShuttingDown"
                | "SubagentIsShuttingDown"
                | "ControllerIsShuttingDown"
                | "ControllerIsNotReady"
                | "NoDirector"
                | "PassiveClusterNode"
                | "NotReady"
                | "ShuttingDown",
            ) => StatusCode::SERVICE_UNAVAILABLE,
            Some(_) | None => StatusCode::BAD_REQUEST,
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{code}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// A problem with the status it is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body.
    pub problem: Problem,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        Refusal {
            status: problem.default_status(),
            problem,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.problem).expect("a problem consists of strings");
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        let mut response = (self.status, headers, body).into_response();
        if matches!(
            self.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            // The condition is temporary, but its duration is unknown.
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        Refusal::from(self).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_written_with_its_type_and_read_with_or_without() {
        let problem = Problem::new("UnknownKey", "no such order: A").with("key", "A");
        let text = r#"{"TYPE":"Problem","code":"UnknownKey","message":"no such order: A","arguments":{"key":"A"}}"#;
        assert_eq!(serde_json::to_string(&problem).unwrap(), text);
        assert_eq!(serde_json::from_str::<Problem>(text).unwrap(), problem);
        let bare: Problem = serde_json::from_str(r#"{"message":"no"}"#).unwrap();
        assert_eq!(bare, Problem::uncoded("no"));
    }

    #[test]
    fn a_node_that_is_not_active_answers_503_and_everything_else_400() {
        assert_eq!(
            Problem::new("ClusterNodeIsNotActive", "passive").default_status(),
            503
        );
        assert_eq!(
            Problem::new("UnknownKey", "no such order").default_status(),
            400
        );
        assert_eq!(Problem::uncoded("no").default_status(), 400);
    }
}
