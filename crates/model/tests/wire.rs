//! What is written on the wire and in the log: a golden line for every event and command.
//!
//! Always: what stands here stays readable and is written as it stands.

use model::{
    AgentAnswer, AgentCommand, AgentEvent, AgentOwnEvent, ClusterEvent, ControllerAnswer,
    ControllerCommand, ControllerEvent, DisruptedReason, HistoryOperation, ItemEvent,
    ItemOperation, JournalEvent, Mark, Order, OrderEvent, OrderState, Outcome, Place, Stamped,
    SubagentAnswer, SubagentCommand, SubagentEvent, SubagentStateEvent,
};
use std::collections::BTreeSet;

/// The `TYPE`s of the lines must be all of `types`, and each line must survive `again`.
fn golden(types: &[&str], lines: &[&str], again: impl Fn(&str) -> String) {
    let mut missing: BTreeSet<&str> = types.iter().copied().collect();
    for line in lines {
        assert_eq!(again(line), *line);
        let start = line.find("\"TYPE\":\"").expect("every line has a TYPE") + 8;
        let tag = line[start..].split('"').next().expect("the TYPE ends");
        missing.remove(tag);
    }
    assert!(missing.is_empty(), "no golden line for {missing:?}");
}

/// Reads and writes a line of a type that serde knows.
fn again<T: serde::Serialize + serde::de::DeserializeOwned>(line: &str) -> String {
    let read: T = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    serde_json::to_string(&read).expect("what is read can be written")
}

fn event_again(line: &str) -> String {
    Stamped::from_json(line)
        .unwrap_or_else(|error| panic!("{line}: {error}"))
        .to_json()
}

/// The body of an order's event with the head that it has in a log.
fn order_event_again(body: &str) -> String {
    let head = r#"{"eventId":1735560000000001,"Key":"A|b","#;
    let line = event_again(&body.replacen('{', head, 1));
    line.replacen(head, "{", 1)
}

#[test]
fn the_metering_of_a_subagent() {
    for line in [
        "{\"TYPE\":\"ServerMeteringEvent\",\"cpuLoad\":0.25,\"committedVirtualMemorySize\":1,\"freeMemorySize\":2,\"totalMemorySize\":3}\n",
        "{\"TYPE\":\"ServerMeteringEvent\",\"committedVirtualMemorySize\":1,\"freeMemorySize\":2,\"totalMemorySize\":3}\n",
    ] {
        let metering = model::Metering::from_line(line.as_bytes()).expect("a metering");
        assert_eq!(metering.to_line(), line);
    }
}

#[test]
fn events_of_orders() {
    golden(
        OrderEvent::TYPES,
        &[
            r#"{"TYPE":"OrderAdded","workflowId":{"path":"w","versionId":"1"}}"#,
            r#"{"TYPE":"OrderAdded","workflowId":{"path":"w","versionId":"1"},"arguments":{"l":[1,null],"n":1.10,"t":"ä"},"planId":["DailyPlan","2026-11-21"],"scheduledFor":1735560000000,"externalOrderKey":{"orderWatchPath":"f","name":"x"},"priority":-1.5,"deleteWhenTerminated":true,"forceAdmission":true,"innerBlock":[0,"then"],"startPosition":[0,"then",1],"stopPositions":[[2]]}"#,
            r#"{"TYPE":"OrderStarted"}"#,
            r#"{"TYPE":"OrderFinished"}"#,
            r#"{"TYPE":"OrderFinished","outcome":{"TYPE":"Failed","message":"no"}}"#,
            r#"{"TYPE":"OrderCancelled"}"#,
            r#"{"TYPE":"OrderDeletionMarked"}"#,
            r#"{"TYPE":"OrderDeleted"}"#,
            r#"{"TYPE":"OrderBroken","problem":{"code":"X","message":"m","arguments":{"a":"b"}}}"#,
            r#"{"TYPE":"OrderMoved","to":[1,"try+2",0],"reason":{"TYPE":"NoNotice"}}"#,
            r#"{"TYPE":"OrderAwoke"}"#,
            r#"{"TYPE":"OrderStickySubagentEntered","agentPath":"A","subagentBundleId":"B"}"#,
            r#"{"TYPE":"OrderStickySubagentEntered","agentPath":"A"}"#,
            r#"{"TYPE":"OrderStickySubagentLeaved"}"#,
            r#"{"TYPE":"OrderForked","children":[{"orderId":"A|b|c","branchId":"c","arguments":{"x":1}}]}"#,
            r#"{"TYPE":"OrderJoined","outcome":{"TYPE":"Succeeded","namedValues":{"x":1}}}"#,
            r#"{"TYPE":"OrderRetrying","delayedUntil":1735560000000}"#,
            r#"{"TYPE":"OrderSleeping","until":1735560000000,"cause":"SleepInstruction"}"#,
            r#"{"TYPE":"OrderProcessingStarted","subagentId":"S","subagentBundleId":"B","stick":true}"#,
            r#"{"TYPE":"OrderStdoutWritten","chunk":"a\nb"}"#,
            r#"{"TYPE":"OrderStderrWritten","chunk":"\u0000"}"#,
            r#"{"TYPE":"OrderProcessed","outcome":{"TYPE":"TimedOut","outcome":{"TYPE":"Killed","outcome":{"TYPE":"Caught"}}}}"#,
            r#"{"TYPE":"OrderProcessingHeld"}"#,
            r#"{"TYPE":"OrderProcessingHeld","hold":{"TYPE":"MachineIsShort","since":1800000000000,"message":"no process"}}"#,
            r#"{"TYPE":"OrderProcessingHeld","hold":{"TYPE":"OutputIsHeld","since":1800000000000,"pid":7,"processes":[8]}}"#,
            r#"{"TYPE":"OrderProcessingKilled"}"#,
            r#"{"TYPE":"OrderOutcomeAdded","outcome":{"TYPE":"Disrupted","reason":{"TYPE":"ProcessLost","problem":{"message":"gone"}},"uncatchable":true}}"#,
            r#"{"TYPE":"OrderFailed","movedTo":[0]}"#,
            r#"{"TYPE":"OrderFailedInFork","movedTo":[0,"fork+a",1]}"#,
            r#"{"TYPE":"OrderCaught","movedTo":[0,"catch+0",0]}"#,
            r#"{"TYPE":"OrderStopped"}"#,
            r#"{"TYPE":"OrderAttachable","agentPath":"A"}"#,
            r#"{"TYPE":"OrderAttachedToAgent","order":{"id":"A|b","workflowId":{"path":"w","versionId":"1"},"position":[0],"state":{"TYPE":"Fresh"},"attachedState":{"TYPE":"Attached","agentPath":"A"}}}"#,
            r#"{"TYPE":"OrderAttached","agentPath":"A"}"#,
            r#"{"TYPE":"OrderDetachable"}"#,
            r#"{"TYPE":"OrderDetached"}"#,
            r#"{"TYPE":"OrderCancellationMarked","mode":{"TYPE":"FreshOrStarted","kill":{"immediately":true}}}"#,
            r#"{"TYPE":"OrderCancellationMarkedOnAgent"}"#,
            r#"{"TYPE":"OrderStateReset"}"#,
            r#"{"TYPE":"OrderSuspensionMarked","mode":{"resetState":true,"kill":{}}}"#,
            r#"{"TYPE":"OrderSuspensionMarkedOnAgent"}"#,
            r#"{"TYPE":"OrderSuspended"}"#,
            r#"{"TYPE":"OrderResumptionMarked","position":[1],"historyOperations":[{"TYPE":"Delete","position":[0]}],"asSucceeded":true,"restartKilledJob":true}"#,
            r#"{"TYPE":"OrderResumed"}"#,
            r#"{"TYPE":"OrderSaid","value":-1.111222333444555666777888999}"#,
            r#"{"TYPE":"OrderAgentProblem","problem":{"message":"refused"}}"#,
        ],
        order_event_again,
    );
}

#[test]
fn events_of_items() {
    golden(
        ItemEvent::TYPES,
        &[
            r#"{"eventId":1,"TYPE":"VersionAdded","versionId":"1"}"#,
            r#"{"eventId":1,"TYPE":"VersionedItemAdded","signed":{"string":"{ \"TYPE\":\"Workflow\" }\n"}}"#,
            r#"{"eventId":1,"TYPE":"VersionedItemChanged","signed":{"string":"{}","signature":{"TYPE":"PGP","signatureString":"x"}}}"#,
            r#"{"eventId":1,"TYPE":"VersionedItemRemoved","path":"w"}"#,
            r#"{"eventId":1,"TYPE":"UnsignedSimpleItemAdded","item":{"string":"{}"},"itemRevision":0}"#,
            r#"{"eventId":1,"TYPE":"UnsignedSimpleItemChanged","item":{"string":"{}"},"itemRevision":1}"#,
            r#"{"eventId":1,"TYPE":"SignedItemAdded","signed":{"string":"{}"},"itemRevision":0}"#,
            r#"{"eventId":1,"TYPE":"SignedItemChanged","signed":{"string":"{}"},"itemRevision":1}"#,
            r#"{"eventId":1,"TYPE":"ItemDeletionMarked","key":"Lock:l"}"#,
            r#"{"eventId":1,"TYPE":"ItemDeleted","key":"Lock:l"}"#,
            r#"{"eventId":1,"TYPE":"ItemAttachable","key":"Workflow:w~1","delegateId":"A"}"#,
            r#"{"eventId":1,"TYPE":"ItemAttached","key":"Agent:A","itemRevision":3,"delegateId":"A"}"#,
            r#"{"eventId":1,"TYPE":"ItemDetachable","key":"Workflow:w~1","delegateId":"A"}"#,
            r#"{"eventId":1,"TYPE":"ItemDetached","key":"Workflow:w~1","delegateId":"A"}"#,
            r#"{"eventId":1,"TYPE":"ItemAttachedToMe","item":{"string":"{}"},"key":"Workflow:w~1"}"#,
            r#"{"eventId":1,"TYPE":"ItemDetachingFromMe","key":"Workflow:w~1"}"#,
            r#"{"eventId":1,"TYPE":"ItemAgentProblem","key":"Workflow:w~1","delegateId":"A","problem":{"message":"no"}}"#,
        ],
        event_again,
    );
}

#[test]
fn events_of_components() {
    golden(
        AgentEvent::TYPES,
        &[
            r#"{"eventId":1,"Key":"A","TYPE":"AgentDedicated","agentRunId":"r","agentEventId":7}"#,
            r#"{"eventId":1,"Key":"A","TYPE":"AgentCoupled"}"#,
            r#"{"eventId":1,"Key":"A","TYPE":"AgentCouplingFailed","problem":{"message":"no"}}"#,
            r#"{"eventId":1,"timestamp":5,"Key":"A","TYPE":"AgentReady","timezone":"UTC","platformInfo":{"version":"1","hostname":"h","system":"s"}}"#,
            r#"{"eventId":1,"Key":"A","TYPE":"AgentEventsObserved","untilEventId":7}"#,
            r#"{"eventId":1,"Key":"A","TYPE":"AgentMirroredEvent","keyedEvent":{"TYPE":"ClusterCoupled","activeId":"Primary"}}"#,
            r#"{"eventId":1,"Key":"A","TYPE":"AgentWitnessUpdated","witness":{"member":13,"term":2,"votedFor":11,"isElected":true,"newest":[2,7],"members":[11,12,13],"membersSince":[1,3]}}"#,
            r#"{"eventId":1,"Key":"A","TYPE":"AgentShutDown"}"#,
            r#"{"eventId":1,"Key":"A","TYPE":"AgentResetStarted","force":true}"#,
            r#"{"eventId":1,"Key":"A","TYPE":"AgentReset"}"#,
            r#"{"eventId":1,"Key":"A","TYPE":"AgentOtherControllerRefused","other":{"member":7,"runId":"r","address":"http://two:1"},"coupled":{"member":7,"runId":"q","address":"http://one:1"}}"#,
            r#"{"eventId":1,"Key":"A","TYPE":"AgentOtherControllerGone"}"#,
            r#"{"eventId":1,"Key":"A","TYPE":"AgentEventRejected","agentEventId":7,"event":"{}","problem":{"message":"no"}}"#,
        ],
        event_again,
    );
    golden(
        AgentOwnEvent::TYPES,
        &[
            r#"{"eventId":1,"TYPE":"AgentDedicated","agentPath":"A","directors":["S"],"agentRunId":"r","controllerId":"c","controllerRunId":"q"}"#,
            r#"{"eventId":1,"TYPE":"AgentReady","timezone":"UTC"}"#,
            r#"{"eventId":1,"TYPE":"AgentControllerEpochRaised","epoch":4}"#,
            r#"{"eventId":1,"TYPE":"AgentOtherControllerRefused","other":{"member":7,"runId":"r","address":"http://two:1"},"coupled":{"member":7,"runId":"q","address":"http://one:1"}}"#,
            r#"{"eventId":1,"TYPE":"AgentOtherControllerGone"}"#,
            r#"{"eventId":1,"TYPE":"AgentShutDown"}"#,
        ],
        event_again,
    );
    golden(
        SubagentStateEvent::TYPES,
        &[
            r#"{"eventId":1,"Key":"S","TYPE":"SubagentDedicated","subagentRunId":"r"}"#,
            r#"{"eventId":1,"Key":"S","TYPE":"SubagentCoupled"}"#,
            r#"{"eventId":1,"Key":"S","TYPE":"SubagentCouplingFailed","problem":{"message":"no"}}"#,
            r#"{"eventId":1,"Key":"S","TYPE":"SubagentEventsObserved","untilEventId":7}"#,
            r#"{"eventId":1,"Key":"S","TYPE":"SubagentLeaseOffered","lease":60}"#,
            r#"{"eventId":1,"Key":"S","TYPE":"SubagentLossConfirmed","userId":"anna"}"#,
            r#"{"eventId":1,"Key":"S","TYPE":"SubagentLost"}"#,
            r#"{"eventId":1,"Key":"S","TYPE":"SubagentRestarted"}"#,
            r#"{"eventId":1,"Key":"S","TYPE":"SubagentReset"}"#,
            r#"{"eventId":1,"Key":"S","TYPE":"SubagentResetStartedByController","force":true}"#,
            r#"{"eventId":1,"Key":"S","TYPE":"SubagentResetStarted"}"#,
            r#"{"eventId":1,"Key":"S","TYPE":"SubagentShutdownStarted"}"#,
            r#"{"eventId":1,"Key":"S","TYPE":"SubagentShutdown"}"#,
        ],
        event_again,
    );
    golden(
        ControllerEvent::TYPES,
        &[
            r#"{"eventId":1,"TYPE":"ControllerInitialized","controllerId":"c","initiallyStartedAt":5}"#,
            r#"{"eventId":1,"TYPE":"ControllerReady","timezone":"UTC"}"#,
            r#"{"eventId":1,"TYPE":"ControllerShutDown"}"#,
        ],
        event_again,
    );
    golden(
        JournalEvent::TYPES,
        &[
            r#"{"eventId":1,"TYPE":"SnapshotTaken"}"#,
            r#"{"eventId":1,"TYPE":"JournalEventsReleased","userId":"u","untilEventId":7}"#,
        ],
        event_again,
    );
    golden(
        SubagentEvent::TYPES,
        &[
            r#"{"TYPE":"OrderStdoutWritten","attempt":{"orderId":"A","number":1},"chunk":"x"}"#,
            r#"{"TYPE":"OrderStderrWritten","attempt":{"orderId":"A","number":1},"chunk":"x"}"#,
            r#"{"TYPE":"OrderProcessingHeld","attempt":{"orderId":"A","number":1},"hold":{"TYPE":"OutputIsHeld","since":1800000000000,"pid":7}}"#,
            r#"{"TYPE":"OrderProcessed","attempt":{"orderId":"A","number":1},"outcome":{"TYPE":"Succeeded"}}"#,
            r#"{"TYPE":"SubagentShutdownStarted"}"#,
            r#"{"TYPE":"SubagentShutdown"}"#,
        ],
        again::<SubagentEvent>,
    );
}

const ORDER: &str = r#"{"id":"A|b","workflowId":{"path":"w","versionId":"1"},"position":[0],"state":{"TYPE":"Ready"}}"#;

#[test]
fn commands_and_answers_of_a_controller() {
    golden(
        ControllerCommand::TYPES,
        &[
            r#"{"TYPE":"Batch","commands":[{"TYPE":"NoOperation"}]}"#,
            r#"{"TYPE":"AddOrder","order":{"id":"A","workflowPath":"w","planId":["DailyPlan","x"],"arguments":{"n":1.10},"scheduledFor":5,"priority":1,"deleteWhenTerminated":true,"forceAdmission":true,"innerBlock":[0,"then"],"startPosition":"label","stopPositions":[[1],"end"]}}"#,
            r#"{"TYPE":"AddOrders","orders":[{"id":"A","workflowPath":"w"}]}"#,
            r#"{"TYPE":"CancelOrders","orderIds":["A"],"mode":{"TYPE":"FreshOnly"}}"#,
            r#"{"TYPE":"CancelOrders","orderIds":"id => $id matches 'A.*'","mode":{"TYPE":"FreshOrStarted"}}"#,
            r#"{"TYPE":"SuspendOrders","orderIds":["A"],"mode":{}}"#,
            r#"{"TYPE":"ResumeOrder","orderId":"A","position":[1],"historyOperations":[{"TYPE":"Append","position":[0],"outcome":{"TYPE":"Succeeded"}}],"asSucceeded":true,"restartKilledJob":true}"#,
            r#"{"TYPE":"ResumeOrders","orderIds":["A"]}"#,
            r#"{"TYPE":"DeleteOrdersWhenTerminated","orderIds":["A"]}"#,
            r#"{"TYPE":"ResetAgent","agentPath":"A","force":true}"#,
            r#"{"TYPE":"ResetSubagent","subagentId":"S","force":true}"#,
            r#"{"TYPE":"ConfirmSubagentLoss","subagentId":"S"}"#,
            r#"{"TYPE":"ClusterAppointNodes","idToUri":{"Backup":"http://b","Primary":"http://a"},"activeId":"Primary"}"#,
            r#"{"TYPE":"ClusterRemoveNode"}"#,
            r#"{"TYPE":"ClusterRemoveNode","nodeId":"Backup"}"#,
            r#"{"TYPE":"ClusterSwitchOver"}"#,
            r#"{"TYPE":"ClusterSwitchOver","agentPath":"A"}"#,
            r#"{"TYPE":"ReleaseEvents","untilEventId":7}"#,
            r#"{"TYPE":"TakeSnapshot"}"#,
            r#"{"TYPE":"ShutDown","restart":true}"#,
            r#"{"TYPE":"NoOperation","duration":0.5}"#,
        ],
        again::<ControllerCommand>,
    );
    golden(
        ControllerAnswer::TYPES,
        &[
            r#"{"TYPE":"BatchResponse","responses":[{"TYPE":"Accepted"}]}"#,
            r#"{"TYPE":"Accepted"}"#,
            r#"{"TYPE":"AddOrder.Response","ignoredBecauseDuplicate":false}"#,
            r#"{"TYPE":"AddOrders.Response","eventId":7}"#,
            r#"{"TYPE":"Problem","code":"X","message":"m","arguments":{"a":"b"}}"#,
        ],
        again::<ControllerAnswer>,
    );
}

#[test]
fn a_command_may_leave_out_what_has_a_default() {
    let read = |text: &str| {
        ControllerCommand::from_json(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    assert_eq!(
        read(r#"{"TYPE":"CancelOrders","orderIds":["A"]}"#),
        read(r#"{"TYPE":"CancelOrders","orderIds":["A"],"mode":{"TYPE":"FreshOrStarted"}}"#)
    );
    assert_eq!(
        read(
            r#"{"TYPE":"AddOrder","order":{"id":"A","workflowName":"w","scheduledFor":"2024-12-30T12:00:00Z"}}"#
        ),
        read(
            r#"{"TYPE":"AddOrder","order":{"id":"A","workflowPath":"w","planId":[],"scheduledFor":1735560000000}}"#
        )
    );
    for (text, told) in [
        (
            r#"{"TYPE":"AddOrdr"}"#,
            "unknown TYPE \"AddOrdr\", expected one of Batch, AddOrder, ",
        ),
        (r#"{"TYPE":"AddOrder"}"#, "missing field `order`"),
        (
            r#"{"TYPE":"AddOrder","order":{"id":"A","workflowPath":"w","argments":{}}}"#,
            "unknown field `argments`",
        ),
        (r#"{"order":{}}"#, "missing field `TYPE`"),
    ] {
        let error = ControllerCommand::from_json(text)
            .expect_err(text)
            .to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn commands_and_answers_of_an_agent() {
    let with_order = format!(r#"{{"TYPE":"AttachOrder","order":{ORDER}}}"#);
    golden(
        AgentCommand::TYPES,
        &[
            r#"{"TYPE":"Batch","commands":[{"TYPE":"NoOperation"}]}"#,
            r#"{"TYPE":"DedicateAgentDirector","agentPath":"A","directors":["S"],"controllerId":"c","controllerRunId":"r"}"#,
            r#"{"TYPE":"CoupleController","agentPath":"A","agentRunId":"r","eventId":7,"controllerRunId":"q"}"#,
            r#"{"TYPE":"CoupleController","agentPath":"A","agentRunId":"r","eventId":7,"controllerRunId":"q","epoch":3}"#,
            r#"{"TYPE":"CoupleController","agentPath":"A","agentRunId":"r","eventId":7,"controllerRunId":"q","epoch":3,"from":{"member":7,"runId":"r","address":"http://one:1"}}"#,
            r#"{"TYPE":"ClusterSwitchOver"}"#,
            r#"{"TYPE":"AttachItem","item":{"string":"{}"},"key":"Lock:l","itemRevision":1}"#,
            r#"{"TYPE":"DetachItem","key":"Lock:l"}"#,
            &with_order,
            r#"{"TYPE":"DetachOrder","orderId":"A"}"#,
            r#"{"TYPE":"ResetSubagent","subagentId":"S"}"#,
            r#"{"TYPE":"MarkOrder","orderId":"A","mark":{"TYPE":"Cancelling","mode":{"TYPE":"FreshOnly"}}}"#,
            r#"{"TYPE":"ConfirmSubagentLoss","subagentId":"S","userId":"anna"}"#,
            r#"{"TYPE":"ReleaseEvents","untilEventId":7}"#,
            r#"{"TYPE":"Reset","agentRunId":"r"}"#,
            r#"{"TYPE":"TakeSnapshot"}"#,
            r#"{"TYPE":"ShutDown","processSignal":"SIGTERM","restart":true,"suppressSnapshot":true}"#,
            r#"{"TYPE":"NoOperation"}"#,
        ],
        again::<AgentCommand>,
    );
    golden(
        AgentAnswer::TYPES,
        &[
            r#"{"TYPE":"Accepted"}"#,
            r#"{"TYPE":"DedicateAgentDirector.Response","agentRunId":"r","agentEventId":7}"#,
            r#"{"TYPE":"CoupleController.Response","orderIds":["A"],"coupling":3}"#,
            r#"{"TYPE":"CoupleController.Response","orderIds":["A"],"coupling":3,"hasStream":true}"#,
            r#"{"TYPE":"Batch.Response","responses":[{"TYPE":"Accepted"}]}"#,
            r#"{"TYPE":"Problem","message":"m"}"#,
        ],
        again::<AgentAnswer>,
    );
}

#[test]
fn commands_and_answers_of_a_subagent() {
    let with_order = format!(
        r#"{{"TYPE":"StartOrderProcess","attempt":{{"orderId":"A","number":2}},"order":{ORDER},"defaultArguments":{{"x":1}}}}"#
    );
    golden(
        SubagentCommand::TYPES,
        &[
            r#"{"TYPE":"Batch","commands":[{"TYPE":"NoOperation"}]}"#,
            r#"{"TYPE":"DedicateSubagent","subagentId":"S","agentPath":"A","agentRunId":"r","controllerId":"c"}"#,
            r#"{"TYPE":"DedicateSubagent","subagentId":"S","agentPath":"A","agentRunId":"r","controllerId":"c","from":{"member":7,"runId":"r","address":"http://one:1"}}"#,
            r#"{"TYPE":"CoupleDirector","subagentId":"S","subagentRunId":"r","eventId":7,"coupling":2,"lease":60}"#,
            r#"{"TYPE":"CoupleDirector","subagentId":"S","subagentRunId":"r","eventId":7,"coupling":2,"lease":60,"epoch":3}"#,
            r#"{"TYPE":"AttachItem","item":{"string":"{}"},"key":"JobResource:r"}"#,
            &with_order,
            r#"{"TYPE":"KillProcess","attempt":{"orderId":"A","number":2},"immediately":true}"#,
            r#"{"TYPE":"ReleaseEvents","untilEventId":7}"#,
            r#"{"TYPE":"ShutDown","processSignal":"SIGKILL","restart":true}"#,
            r#"{"TYPE":"NoOperation"}"#,
        ],
        again::<SubagentCommand>,
    );
    golden(
        SubagentAnswer::TYPES,
        &[
            r#"{"TYPE":"Accepted"}"#,
            r#"{"TYPE":"DedicateSubagent.Response","subagentRunId":"r","subagentEventId":7,"coupling":2}"#,
            r#"{"TYPE":"CoupleDirector.Response","attempts":[{"orderId":"A","number":2}],"version":"1"}"#,
            r#"{"TYPE":"Batch.Response","responses":[{"TYPE":"Accepted"}]}"#,
            r#"{"TYPE":"Problem","message":"m"}"#,
        ],
        again::<SubagentAnswer>,
    );
}

#[test]
fn states_marks_and_outcomes_of_orders() {
    golden(
        OrderState::TYPES,
        &[
            r#"{"TYPE":"Fresh"}"#,
            r#"{"TYPE":"Ready"}"#,
            r#"{"TYPE":"Processing","subagentId":"S","subagentBundleId":"B"}"#,
            r#"{"TYPE":"Processed"}"#,
            r#"{"TYPE":"ProcessingKilled"}"#,
            r#"{"TYPE":"DelayingRetry","until":5}"#,
            r#"{"TYPE":"Forked","children":[{"orderId":"A|b"}]}"#,
            r#"{"TYPE":"Sleeping","until":5,"cause":"Throttle"}"#,
            r#"{"TYPE":"Broken","problem":{"message":"m"}}"#,
            r#"{"TYPE":"Failed"}"#,
            r#"{"TYPE":"FailedWhileFresh"}"#,
            r#"{"TYPE":"FailedInFork"}"#,
            r#"{"TYPE":"Stopped"}"#,
            r#"{"TYPE":"StoppedWhileFresh"}"#,
            r#"{"TYPE":"Finished"}"#,
            r#"{"TYPE":"Cancelled"}"#,
            r#"{"TYPE":"Deleted"}"#,
        ],
        again::<OrderState>,
    );
    golden(
        Mark::TYPES,
        &[
            r#"{"TYPE":"Cancelling","mode":{"TYPE":"FreshOrStarted"}}"#,
            r#"{"TYPE":"Suspending","mode":{"kill":{"workflowPosition":{"workflowId":{"path":"w","versionId":"1"},"position":[0]}}}}"#,
            r#"{"TYPE":"Resuming","position":[1]}"#,
            r#"{"TYPE":"Go","position":[1]}"#,
        ],
        again::<Mark>,
    );
    golden(
        HistoryOperation::TYPES,
        &[
            r#"{"TYPE":"Replace","position":[0],"outcome":{"TYPE":"Succeeded"}}"#,
            r#"{"TYPE":"Insert","before":[1],"position":[0],"outcome":{"TYPE":"Succeeded"}}"#,
            r#"{"TYPE":"Delete","position":[0]}"#,
            r#"{"TYPE":"Append","position":[0],"outcome":{"TYPE":"Caught"}}"#,
        ],
        again::<HistoryOperation>,
    );
    golden(
        Outcome::TYPES,
        &[
            r#"{"TYPE":"Succeeded","namedValues":{"n":12345678901234567890.123456789}}"#,
            r#"{"TYPE":"Caught"}"#,
            r#"{"TYPE":"Failed","message":"m","namedValues":{"returnCode":7},"uncatchable":true}"#,
            r#"{"TYPE":"TimedOut","outcome":{"TYPE":"Failed"}}"#,
            r#"{"TYPE":"Killed","outcome":{"TYPE":"Failed"}}"#,
            r#"{"TYPE":"Disrupted","reason":{"TYPE":"Other","problem":{"message":"m"}}}"#,
        ],
        again::<Outcome>,
    );
    golden(
        DisruptedReason::TYPES,
        &[
            r#"{"TYPE":"ProcessLost","problem":{"code":"ProcessLostDueToRestart","message":"m"}}"#,
            r#"{"TYPE":"Other","problem":{"message":"m"}}"#,
        ],
        again::<DisruptedReason>,
    );
    let order = r#"{"id":"A|b","workflowId":{"path":"w","versionId":"1"},"position":[0,"fork+b",1],"state":{"TYPE":"Ready"},"arguments":{"x":1.50},"planId":["p","k"],"scheduledFor":5,"attachedState":{"TYPE":"Detaching","agentPath":"A"},"parent":"A","priority":2,"mark":{"TYPE":"Go","position":[0]},"isSuspended":true,"deleteWhenTerminated":true,"forceAdmission":true,"isResumed":true,"stickySubagents":[{"agentPath":"A","subagentBundleId":"B","stuckSubagentId":"S"}],"innerBlock":[0,"fork+b"],"stopPositions":[[3]],"historicOutcomes":[{"position":[0],"outcome":{"TYPE":"Succeeded"}}],"attempts":3}"#;
    assert_eq!(again::<Order>(order), order);
    assert_eq!(again::<Place>(r#""label""#), r#""label""#);
    assert_eq!(again::<Place>(r#"[0,"then",1]"#), r#"[0,"then",1]"#);
}

#[test]
fn changes_of_items() {
    for line in [
        r#"{"TYPE":"AddOrChangeSimple","item":{ "TYPE":"Lock",  "path":"l" }}"#,
        r#"{"TYPE":"AddOrChangeSigned","signed":{"string":"{ }"}}"#,
        r#"{"TYPE":"AddVersion","versionId":"1"}"#,
        r#"{"TYPE":"DeleteSimple","path":"Lock:l"}"#,
        r#"{"TYPE":"RemoveVersioned","path":"w"}"#,
    ] {
        assert_eq!(
            ItemOperation::from_json(line).unwrap().to_json(),
            line,
            "the item's bytes are kept"
        );
    }
    let signed =
        ItemOperation::from_json(r#"{"TYPE":"AddOrChangeSigned","signedString":{"string":"{ }"}}"#)
            .unwrap();
    assert_eq!(
        signed.to_json(),
        r#"{"TYPE":"AddOrChangeSigned","signed":{"string":"{ }"}}"#
    );
    for (line, told) in [
        (
            r#"{"TYPE":"DeleteSimple","path":"l"}"#,
            "DeleteSimple needs the field path in the form Type:path, such as Lock:L",
        ),
        (
            r#"{"TYPE":"AddVersion"}"#,
            "AddVersion needs the field versionId",
        ),
        (
            r#"{"TYPE":"Add"}"#,
            "unknown TYPE \"Add\", expected one of AddOrChangeSimple, ",
        ),
    ] {
        let error = ItemOperation::from_json(line).expect_err(line).to_string();
        assert!(error.starts_with(told), "{error}");
    }
}

#[test]
fn a_text_that_nests_without_end_is_refused() {
    for depth in [1_000, 100_000] {
        let commands = r#"{"TYPE":"Batch","commands":["#.repeat(depth);
        assert!(ControllerCommand::from_json(&commands).is_err());
        let closed = commands + &"]}".repeat(depth);
        let error = ControllerCommand::from_json(&closed)
            .expect_err("nested too deeply")
            .to_string();
        assert!(
            error.starts_with("nested deeper than 200 levels"),
            "{error}"
        );
        for closed in [
            serde_json::from_str::<AgentCommand>(&closed).map(drop),
            serde_json::from_str::<SubagentCommand>(&closed).map(drop),
            serde_json::from_slice::<AgentCommand>(closed.as_bytes()).map(drop),
        ] {
            closed.expect_err("nested too deeply");
        }
        let deep = "[".repeat(depth) + &"]".repeat(depth);
        let order =
            format!(r#"{{"TYPE":"AttachOrder","order":{{"id":"A","arguments":{{"a":{deep}}}}}}}"#);
        serde_json::from_str::<AgentCommand>(&order).expect_err("nested too deeply");
        let outcome = r#"{"TYPE":"Killed","outcome":"#.repeat(depth)
            + r#"{"TYPE":"Caught"}"#
            + &"}".repeat(depth);
        assert!(serde_json::from_str::<Outcome>(&outcome).is_err());
        let event =
            format!(r#"{{"eventId":1,"Key":"A","TYPE":"OrderProcessed","outcome":{outcome}}}"#);
        assert!(Stamped::from_json(&event).is_err());
    }
}

#[test]
fn events_and_states_of_a_cluster() {
    golden(
        ClusterEvent::TYPES,
        &[
            r#"{"eventId":1,"TYPE":"ClusterNodesAppointed","setting":{"idToUri":{"Backup":"http://b","Primary":"http://a"},"activeId":"Primary"}}"#,
            r#"{"eventId":2,"TYPE":"ClusterWatchRegistered","clusterWatchId":"watch"}"#,
            r#"{"eventId":3,"TYPE":"ClusterCouplingPrepared","activeId":"Primary"}"#,
            r#"{"eventId":4,"TYPE":"ClusterCoupled","activeId":"Primary"}"#,
            r#"{"eventId":5,"TYPE":"ClusterPassiveLost","id":"Backup"}"#,
            r#"{"eventId":6,"TYPE":"ClusterSettingUpdated","passiveUri":"http://c"}"#,
            r#"{"eventId":6,"TYPE":"ClusterSettingUpdated","passiveUri":"http://c","id":"Primary"}"#,
            r#"{"eventId":6,"TYPE":"ClusterNodeRemoved","id":"Backup"}"#,
            r#"{"eventId":7,"TYPE":"ClusterSwitchedOver","activatedId":"Backup"}"#,
            r#"{"eventId":8,"TYPE":"ClusterFailedOver","failedActiveId":"Backup","activatedId":"Primary"}"#,
            r#"{"eventId":9,"TYPE":"ClusterActiveNodeShutDown"}"#,
            r#"{"eventId":10,"TYPE":"ClusterActiveNodeRestarted"}"#,
        ],
        |line| {
            let read = Stamped::from_json(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            read.to_json()
        },
    );
}

#[test]
fn a_field_that_a_command_does_not_have_is_refused_by_name() {
    for (text, told) in [
        (
            r#"{"TYPE":"CancelOrders","orderIds":["A"],"mod":{"TYPE":"FreshOnly"}}"#,
            r#"unknown field "mod": known are orderIds, mode"#,
        ),
        (
            r#"{"TYPE":"CancelOrders","orderIds":["A"],"mode":{"TYPE":"FreshOrStarted","kil":{}}}"#,
            r#"unknown field "kil": known are kill"#,
        ),
        (
            r#"{"TYPE":"Batch","commands":[{"TYPE":"TakeSnapshot","now":true}]}"#,
            r#"unknown field "now": there are none here"#,
        ),
        (
            r#"{"TYPE":"SuspendOrders","orderIds":["A"],"mode":{"kill":{"immediatly":true}}}"#,
            "unknown field `immediatly`",
        ),
        (
            r#"{"TYPE":"ResumeOrder","orderId":"A","historyOperations":[{"TYPE":"Delete","position":[0],"x":1}]}"#,
            r#"unknown field "x""#,
        ),
    ] {
        let error = ControllerCommand::from_json(text).unwrap_err().to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
    for text in [
        r#"{"TYPE":"ShutDown","restart":true,"clusterAction":"Switchover","dontNotifyActiveNode":true}"#,
        r#"{"TYPE":"ResumeOrder","orderId":"A","historicOperations":[]}"#,
    ] {
        ControllerCommand::from_json(text).unwrap();
    }
}

#[test]
fn events_are_also_read_in_the_forms_of_js7() {
    for (of_js7, ours) in [
        (
            r#"{"eventId":1,"TYPE":"VersionedItemRemoved","path":"Workflow:w"}"#,
            r#"{"eventId":1,"TYPE":"VersionedItemRemoved","path":"w"}"#,
        ),
        (
            r#"{"eventId":1,"TYPE":"ItemAttachable","key":"Workflow:w~1","delegateId":"Agent:A"}"#,
            r#"{"eventId":1,"TYPE":"ItemAttachable","key":"Workflow:w~1","delegateId":"A"}"#,
        ),
        (
            r#"{"eventId":1,"TYPE":"ItemAttached","key":"Agent:A","itemRevision":3,"delegateId":"Agent:A"}"#,
            r#"{"eventId":1,"TYPE":"ItemAttached","key":"Agent:A","itemRevision":3,"delegateId":"A"}"#,
        ),
        (
            r#"{"eventId":1,"TYPE":"ItemDetached","key":"Workflow:w~1","delegateId":"Agent:A"}"#,
            r#"{"eventId":1,"TYPE":"ItemDetached","key":"Workflow:w~1","delegateId":"A"}"#,
        ),
        (
            r#"{"eventId":1,"Key":"O","TYPE":"OrderSleeping","until":1735560000000,"cause":{"TYPE":"SleepInstruction"}}"#,
            r#"{"eventId":1,"Key":"O","TYPE":"OrderSleeping","until":1735560000000,"cause":"SleepInstruction"}"#,
        ),
    ] {
        assert_eq!(Stamped::from_json(of_js7).unwrap().to_json(), ours);
    }
}
