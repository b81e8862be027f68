//! Tests each route and each command with each permission missing. A route or a command that is added without an entry here fails the test.

use crate::world::{Answer, Controller, settings};
use controller_node::{Permission, UserSettings};
use hyper::Method;
use model::ControllerCommand;
use net::{
    Client, ClientSettings, Passwords, Role, Secret, TlsClient, TlsFiles, TokenHash, create_ca,
    issue,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

const SOURCES: [&str; 3] = [
    include_str!("../../src/api.rs"),
    include_str!("../../src/front.rs"),
    include_str!("../../../node/src/front.rs"),
];

/// The callers that may use a route.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Access {
    /// All callers.
    All,
    /// All authenticated users.
    Users,
    /// The users with this permission.
    Permitted(Permission),
    /// Other members of the cluster.
    Members,
}

/// A route, and the callers that may use it.
#[derive(Clone, Copy)]
struct Route {
    method: &'static str,
    /// The path, as it is in the source.
    path: &'static str,
    /// The query of a request for the route.
    query: &'static str,
    body: &'static str,
    who: Access,
}

impl Route {
    const fn new(method: &'static str, path: &'static str, who: Access) -> Route {
        Route {
            method,
            path,
            query: "",
            body: "",
            who,
        }
    }

    const fn query(mut self, query: &'static str) -> Route {
        self.query = query;
        self
    }

    const fn body(mut self, body: &'static str) -> Route {
        self.body = body;
        self
    }
}

const fn get(path: &'static str, who: Access) -> Route {
    Route::new("GET", path, who)
}

const fn post(path: &'static str, who: Access) -> Route {
    Route::new("POST", path, who)
}

const ROUTES: [Route; 22] = {
    use Access::{All, Members, Permitted, Users};
    use Permission as P;
    const DELETE: &str = "/controller/api/order/DeleteOrdersWhenTerminated";
    const NO_OPERATION: &str = r#"{"TYPE":"NoOperation"}"#;
    const LOGOUT: &str = r#"{"TYPE":"Logout"}"#;
    [
        get("/controller/api", All),
        // The permission depends on the command: see the table below.
        post("/controller/api/command", Users).body(NO_OPERATION),
        post("/controller/api/session", All).body(LOGOUT),
        get("/controller/api/session", Permitted(P::Administer)),
        get("/controller/api/item", Permitted(P::View)),
        post("/controller/api/item", Permitted(P::UpdateItem)),
        get("/controller/api/item/{*key}", Permitted(P::View)),
        get("/controller/api/order", Permitted(P::View)),
        post("/controller/api/order", Permitted(P::AddOrder)).body("[]"),
        post(DELETE, Permitted(P::ControlOrder)).body("[]"),
        get("/controller/api/order/{id}", Permitted(P::View)),
        get("/controller/api/order/{id}/log", Permitted(P::View)),
        get("/controller/api/agent", Permitted(P::View)),
        get("/controller/api/event", Permitted(P::ReadEvents)).query("?after=0&timeout=0"),
        get("/controller/api/snapshot", Permitted(P::View)),
        get("/controller/api/journalInfo", Permitted(P::Administer)),
        get("/metrics", Permitted(P::ReadMetrics)),
        get("/controller/api/cluster", Users),
        get("path", Members),
        get("/health", All),
        get("/health/active", All),
        // No route has this path.
        get("/controller/UNKNOWN", All),
    ]
};

/// Each command with the permissions that it requires. `ShutDown` is the last one, because it succeeds for a user with its permission.
fn commands() -> Vec<(Value, Vec<Permission>)> {
    use Permission as P;
    let command = |kind: &str, mut fields: Value, needed: &[Permission]| {
        fields["TYPE"] = json!(kind);
        (fields, needed.to_vec())
    };
    let order = json!({ "id": "A", "workflowPath": "MISSING" });
    let cancel = json!({ "TYPE": "CancelOrders", "orderIds": [] });
    let release = json!({ "TYPE": "ReleaseEvents", "untilEventId": 0 });
    vec![
        command(
            "Batch",
            json!({ "commands": [cancel, { "TYPE": "Batch", "commands": [release] }] }),
            &[P::ControlOrder, P::ReleaseEvents],
        ),
        command("AddOrder", json!({ "order": order }), &[P::AddOrder]),
        command("AddOrders", json!({ "orders": [] }), &[P::AddOrder]),
        command(
            "CancelOrders",
            json!({ "orderIds": [] }),
            &[P::ControlOrder],
        ),
        command(
            "SuspendOrders",
            json!({ "orderIds": [] }),
            &[P::ControlOrder],
        ),
        command("ResumeOrder", json!({ "orderId": "A" }), &[P::ControlOrder]),
        command(
            "ResumeOrders",
            json!({ "orderIds": [] }),
            &[P::ControlOrder],
        ),
        command(
            "DeleteOrdersWhenTerminated",
            json!({ "orderIds": [] }),
            &[P::ControlOrder],
        ),
        command(
            "ConfirmSubagentLoss",
            json!({ "subagentId": "S" }),
            &[P::Administer],
        ),
        command(
            "ResetAgent",
            json!({ "agentPath": "A" }),
            &[P::ControlAgent],
        ),
        command(
            "ResetSubagent",
            json!({ "subagentId": "S" }),
            &[P::ControlAgent],
        ),
        command(
            "ClusterAppointNodes",
            json!({ "idToUri": {}, "activeId": "Primary" }),
            &[P::Administer],
        ),
        command(
            "ClusterRemoveNode",
            json!({ "nodeId": "Backup" }),
            &[P::Administer],
        ),
        command(
            "ClusterSwitchOver",
            json!({ "agentPath": "A" }),
            &[P::Administer],
        ),
        command(
            "ReleaseEvents",
            json!({ "untilEventId": 0 }),
            &[P::ReleaseEvents],
        ),
        command("TakeSnapshot", json!({}), &[P::Administer]),
        command("NoOperation", json!({}), &[]),
        command("ShutDown", json!({}), &[P::Administer]),
    ]
}

/// Returns the routes in the source: `.route(PATH, get(…).post(…))`.
fn routes_of(source: &str) -> Vec<(String, String)> {
    let mut routes = Vec::new();
    for rest in source.split(".route(").skip(1) {
        let mut depth = 1;
        let end = rest.char_indices().find(|(_, letter)| {
            depth += match letter {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            depth == 0
        });
        let route = &rest[..end.expect("the parenthesis ends").0];
        let (path, methods) = route.split_once(',').expect("a path and its methods");
        let path = path.trim().trim_matches('"').to_owned();
        for method in ["get", "post", "put", "delete", "patch", "any"] {
            let is_there = methods.match_indices(&format!("{method}(")).any(|(at, _)| {
                !methods[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
            });
            if is_there {
                routes.push((method.to_uppercase(), path.clone()));
            }
        }
    }
    routes
}

#[test]
fn every_route_of_the_source_is_in_the_table() {
    let mut found: Vec<_> = SOURCES
        .iter()
        .flat_map(|source| routes_of(source))
        .collect();
    let mut listed: Vec<_> = ROUTES
        .iter()
        .filter(|route| !route.path.ends_with("UNKNOWN"))
        .map(|route| (route.method.to_owned(), route.path.to_owned()))
        .collect();
    found.sort();
    // Each member answers `/metrics`, even while it is not active, so the path is listed twice.
    found.dedup();
    listed.sort();
    assert_eq!(found, listed, "each route says here who may use it");
    let mut types: Vec<_> = commands()
        .iter()
        .map(|(command, _)| command["TYPE"].as_str().unwrap().to_owned())
        .collect();
    let mut known = ControllerCommand::TYPES.to_vec();
    types.sort();
    known.sort_unstable();
    assert_eq!(types, known, "each command says here who may give it");
}

/// A Controller with two users for each permission: one with all other permissions, and one with this one only.
struct World {
    controller: Controller,
    tokens: BTreeMap<String, String>,
}

impl World {
    async fn start(data: &Path) -> World {
        let mut settings = settings(data);
        let mut tokens = BTreeMap::new();
        let mut user = |name: String, permissions: Vec<Permission>| {
            let token = net::new_token();
            let user = UserSettings {
                token_hashes: vec![TokenHash::of(&token).to_string()],
                permissions,
                ..UserSettings::default()
            };
            tokens.insert(name.clone(), format!("Bearer {}", token.reveal()));
            settings.users.insert(name, user);
        };
        user("nothing".to_owned(), Vec::new());
        user("everything".to_owned(), Permission::ALL.to_vec());
        for permission in Permission::ALL {
            let others = Permission::ALL
                .into_iter()
                .filter(|other| *other != permission);
            user(format!("without-{permission:?}"), others.collect());
            user(format!("only-{permission:?}"), vec![permission]);
        }
        World {
            controller: Controller::start_with(settings).await,
            tokens,
        }
    }

    async fn call(&self, user: Option<&str>, method: &str, path: &str, body: &str) -> Answer {
        let mut headers = Vec::new();
        if method == "POST" {
            headers.push(("content-type", "application/json"));
        }
        if let Some(user) = user {
            let token = self.tokens.get(user).map_or("Bearer wrong", String::as_str);
            headers.push(("authorization", token));
        }
        let method = method.parse::<Method>().unwrap();
        let body = body.as_bytes().to_vec();
        self.controller.call(method, path, &headers, body).await
    }
}

fn example(path: &str) -> String {
    // In the source, the path for members is a variable.
    if path == "path" {
        return "/controller/api/cluster/member".to_owned();
    }
    path.replace("{*key}", "Lock:L").replace("{id}", "A")
}

fn is_denied(answer: &Answer) -> bool {
    matches!(answer.status, 401 | 403)
}

/// Returns the differences between a route and the table; empty if there are none.
async fn faults_of_route(world: &World, route: Route) -> Vec<String> {
    let Route {
        method, body, who, ..
    } = route;
    let path = format!("{}{}", example(route.path), route.query);
    let mut faults = Vec::new();
    let mut check = |caller: &str, is_right: bool, answer: &Answer| {
        if !is_right {
            faults.push(format!("{method} {path} by {caller}: {answer:?}"));
        }
    };
    let call = async |user: Option<&str>| world.call(user, method, &path, body).await;
    let stranger = call(None).await;
    let wrong = call(Some("wrong")).await;
    if who == Access::All {
        check("a stranger", !is_denied(&stranger), &stranger);
    } else {
        check("a stranger", stranger.status == 401, &stranger);
        check("a wrong token", wrong.status == 401, &wrong);
    }
    for permission in Permission::ALL {
        let names = [
            format!("without-{permission:?}"),
            format!("only-{permission:?}"),
        ];
        let without = call(Some(&names[0])).await;
        let only = call(Some(&names[1])).await;
        match who {
            Access::Permitted(needed) if needed == permission => {
                let names_it = without.status == 403
                    && without.code() == "PermissionDenied"
                    && without.json()["arguments"]["permission"] == format!("{permission:?}");
                check(&names[0], names_it, &without);
                check(&names[1], !is_denied(&only), &only);
            }
            Access::Permitted(_) => {
                check(&names[0], !is_denied(&without), &without);
                check(&names[1], only.status == 403, &only);
            }
            Access::All | Access::Users => {
                check(&names[0], !is_denied(&without), &without);
                check(&names[1], !is_denied(&only), &only);
            }
            // Users are not members.
            Access::Members => {
                check(&names[0], without.status == 401, &without);
                check(&names[1], only.status == 401, &only);
            }
        }
    }
    if method == "POST" {
        let token = world.tokens["everything"].as_str();
        let forms = [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
        ];
        for kind in forms {
            let mut headers = vec![("authorization", token)];
            headers.extend(kind.map(|kind| ("content-type", kind)));
            let body = body.as_bytes().to_vec();
            let answer = world
                .controller
                .call(Method::POST, &path, &headers, body)
                .await;
            let is_refused = answer.status == 403 && answer.code() == "FormIsRefused";
            check(&format!("a form as {kind:?}"), is_refused, &answer);
        }
    }
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_requires_exactly_its_permission() {
    let data = tempfile::tempdir().unwrap();
    let world = World::start(data.path()).await;
    let walked = ROUTES.map(|route| faults_of_route(&world, route));
    let faults = futures::future::join_all(walked).await.concat();
    assert!(faults.is_empty(), "{faults:#?}");
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_requires_exactly_its_permissions() {
    let data = tempfile::tempdir().unwrap();
    let world = World::start(data.path()).await;
    for (command, needed) in commands() {
        let body = command.to_string();
        let call = async |user: &str| {
            let answer = world
                .call(Some(user), "POST", "/controller/api/command", &body)
                .await;
            (is_denied(&answer), answer)
        };
        if !needed.is_empty() {
            let (denied, answer) = call("nothing").await;
            assert!(denied, "{command}: {answer:?}");
        }
        for permission in Permission::ALL {
            let is_needed = needed.contains(&permission);
            if is_needed {
                let (denied, answer) = call(&format!("without-{permission:?}")).await;
                assert!(denied, "{command} without {permission:?}: {answer:?}");
                assert!(
                    answer.text.contains(&format!("{permission:?}")),
                    "{answer:?}"
                );
            }
            if needed == [permission] && command["TYPE"] != "ShutDown" {
                let (denied, answer) = call(&format!("only-{permission:?}")).await;
                assert!(!denied, "{command} with {permission:?}: {answer:?}");
            } else if !needed.is_empty() && !is_needed {
                let (denied, answer) = call(&format!("only-{permission:?}")).await;
                assert!(denied, "{command} with {permission:?} only: {answer:?}");
            }
        }
    }
    world.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_after_its_lifetime() {
    let data = tempfile::tempdir().unwrap();
    let mut settings = settings(data.path());
    let password_hash = Some(Passwords::default().hash(Secret::new("P")).await);
    let user = UserSettings {
        password_hash,
        permissions: vec![Permission::View],
        ..UserSettings::default()
    };
    settings.users.insert("U".into(), user);
    settings.session_lifetime = ::settings::Duration::from_secs(0);
    let controller = Controller::start_with(settings).await;
    let login = json!({ "TYPE": "Login", "userAndPassword": { "userId": "U", "password": "P" } });
    let json_type = [("content-type", "application/json")];
    let path = "/controller/api/session";
    let body = login.to_string().into_bytes();
    let answer = controller.call(Method::POST, path, &json_type, body).await;
    let token = answer.json()["sessionToken"].as_str().unwrap().to_owned();
    let session = [("x-js7-session", token.as_str())];
    let answer = controller
        .call(Method::GET, "/controller/api/order", &session, Vec::new())
        .await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "InvalidSessionToken")
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_node_does_not_log_in_a_user() {
    let (data, ca) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    create_ca(ca.path(), "Test CA").unwrap();
    let certificate = |name: &str, role: Role| {
        let dir = ca.path().join(format!("{name}-{role}"));
        let issued = issue(ca.path(), name, role, &["127.0.0.1".to_owned()], &dir).unwrap();
        TlsFiles {
            ca: issued.ca,
            certificate: issued.certificate,
            key: issued.key,
        }
    };
    let mut settings = settings(data.path());
    settings.tls = Some(certificate("controller", Role::Controller));
    let controller = Controller::start_with(settings).await;
    for role in Role::ALL {
        let client = Client::new(ClientSettings {
            tls: Some(TlsClient::load(&certificate("admin", role)).unwrap()),
            ..ClientSettings::new(format!("https://{}", controller.addr))
        });
        let answer = client
            .unwrap()
            .get_json::<Value>("/controller/api/order")
            .await;
        assert_eq!(answer.is_ok(), role == Role::User, "{role}: {answer:?}");
    }
    controller.stop().await;
}
