//! What people write, and what they are told about it.

use super::*;

#[test]
fn a_small_workflow_is_read() {
    let text = r#"{"TYPE":"Workflow","path":"w","versionId":"1","instructions":[
        {"TYPE":"Execute.Named","jobName":"j","label":"l"}],
        "jobs":{"j":{"agentName":"A","executable":{"TYPE":"ShellScriptExecutable","script":"exit 0"}}}}"#;
    let item = item(text, Format::Json, &Origin::default()).unwrap();
    assert_eq!(item.key.as_str(), "Workflow:w~1");
}
