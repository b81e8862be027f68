//! What an Agent is sent over its connection: in which requests, what is sent again, and what an answer does.

use crate::world::{World, add, cancel, jobs, order};
use controller::{AgentDelivery, DeliveryInput, DeliveryOutput};
use model::{AgentAnswer, AgentPath, ControllerCommand, EventId, Problem};
use std::time::Duration;

const COUPLING: u64 = 7;

struct Delivery {
    delivery: AgentDelivery,
    now: Duration,
}

/// What the caller must do, in short.
fn told(outputs: &[DeliveryOutput]) -> Vec<String> {
    let told = |output: &DeliveryOutput| match output {
        DeliveryOutput::Send { coupling, commands } => {
            format!("send {} in {coupling}", commands.len())
        }
        DeliveryOutput::Record { coupling, refusals } => {
            let things: Vec<_> = refusals
                .iter()
                .map(|(thing, _)| format!("{thing:?}"))
                .collect();
            format!("record {} in {coupling}", things.join(","))
        }
        DeliveryOutput::Look => "look".to_owned(),
        DeliveryOutput::Close(problem) => format!("close: {}", problem.message),
    };
    outputs.iter().map(told).collect()
}

impl Delivery {
    fn coupled() -> Delivery {
        let mut delivery = Delivery {
            delivery: AgentDelivery::new(AgentPath::from("ALFA")),
            now: Duration::from_secs(1),
        };
        assert!(delivery.delivery.is_idle());
        assert_eq!(delivery.couple(COUPLING), ["look"]);
        delivery
    }

    fn handle(&mut self, input: DeliveryInput<'_>) -> Vec<String> {
        let mut out = Vec::new();
        self.delivery.handle(self.now, input, &mut out);
        told(&out)
    }

    fn couple(&mut self, coupling: u64) -> Vec<String> {
        self.handle(DeliveryInput::Coupled {
            coupling,
            held: Vec::new(),
            since: EventId::BEFORE_FIRST,
        })
    }

    fn look(&mut self, world: &World) -> Vec<String> {
        self.handle(DeliveryInput::Committed(&world.state))
    }

    fn answer(&mut self, coupling: u64, answer: AgentAnswer) -> Vec<String> {
        self.handle(DeliveryInput::Answered { coupling, answer })
    }

    /// The Agent accepts all of `count` things.
    fn accept(&mut self, count: usize) -> Vec<String> {
        let responses = vec![AgentAnswer::Accepted; count];
        self.answer(COUPLING, AgentAnswer::Batch { responses })
    }

    /// The Agent accepts all things but the last of `count`.
    fn refuse_last(&mut self, count: usize) -> Vec<String> {
        let mut responses = vec![AgentAnswer::Accepted; count];
        responses[count - 1] = AgentAnswer::from(Problem::new("NoRoom", "the Agent has no room"));
        self.answer(COUPLING, AgentAnswer::Batch { responses })
    }

    fn recorded(&mut self, coupling: u64) -> Vec<String> {
        self.handle(DeliveryInput::Recorded { coupling })
    }

    fn wake_at(&mut self, now: Duration) -> Vec<String> {
        self.now = now;
        self.handle(DeliveryInput::Wake)
    }

    fn is_idle(&self) -> bool {
        self.delivery.is_idle()
    }
}

/// An Agent that has everything but the workflow `w` and its orders.
fn world() -> World {
    let mut world = World::new();
    world.agent("ALFA");
    world.deploy(&[&jobs("w", &["ALFA"])]);
    world.run();
    world
}

/// A delivery over which everything has been sent that came up so far.
fn up_to_date(world: &World) -> Delivery {
    let mut delivery = Delivery::coupled();
    let sent = delivery.look(world);
    if !sent.is_empty() {
        let count = world.state.outbox_len(&"ALFA".into());
        assert_eq!(sent, [format!("send {count} in {COUPLING}")]);
        delivery.accept(count);
    }
    delivery
}

#[test]
fn a_mass_is_sent_in_requests_of_500_and_the_next_one_is_ready_when_the_answer_comes() {
    let mut world = world();
    let mut delivery = up_to_date(&world);
    let orders = (0..1100).map(|n| order(&format!("{n:04}"), "w")).collect();
    world.tell(ControllerCommand::AddOrders { orders });
    // With the workflow.
    assert_eq!(world.state.outbox_len(&"ALFA".into()), 1101);
    assert_eq!(delivery.look(&world), ["send 500 in 7"]);
    assert!(delivery.look(&world).is_empty(), "one request at a time");
    assert_eq!(delivery.accept(500), ["send 500 in 7", "look"]);
    assert!(!delivery.is_idle());
    assert!(delivery.look(&world).is_empty());
    assert_eq!(delivery.accept(500), ["send 101 in 7", "look"]);
    assert!(delivery.look(&world).is_empty());
    assert!(!delivery.is_idle());
    assert!(delivery.accept(101).is_empty());
    assert!(delivery.is_idle());
    assert!(delivery.look(&world).is_empty(), "each is sent once");
}

#[test]
fn a_refused_order_is_recorded_first_and_sent_again_after_ten_seconds() {
    let mut world = world();
    let mut delivery = up_to_date(&world);
    world.add("A", "w");
    assert_eq!(delivery.look(&world), ["send 2 in 7"]);
    assert_eq!(
        delivery.refuse_last(2),
        ["record AttachOrder(OrderId:A) in 7"]
    );
    world.add("B", "w");
    assert!(
        delivery.look(&world).is_empty(),
        "first the refusal is recorded"
    );
    assert!(
        delivery.recorded(COUPLING - 1).is_empty(),
        "of an earlier coupling"
    );
    assert!(!delivery.is_idle());
    assert_eq!(delivery.recorded(COUPLING), ["send 1 in 7", "look"]);
    assert!(delivery.recorded(COUPLING).is_empty(), "repeated");
    assert!(!delivery.is_idle(), "B is in flight");
    assert!(delivery.accept(1).is_empty());

    let due = Duration::from_secs(11);
    assert_eq!(delivery.delivery.next_wakeup(), Some(due));
    assert!(delivery.wake_at(Duration::from_millis(10_999)).is_empty());
    assert_eq!(delivery.delivery.next_wakeup(), Some(due));
    assert_eq!(delivery.wake_at(due), ["look"]);
    assert_eq!(delivery.delivery.next_wakeup(), None);
    assert_eq!(delivery.look(&world), ["send 1 in 7"]);
    assert!(delivery.accept(1).is_empty());
    assert!(delivery.is_idle());
}

#[test]
fn what_was_refused_and_is_no_longer_to_be_sent_is_not_sent_again() {
    let mut world = world();
    let mut delivery = up_to_date(&world);
    world.add("A", "w");
    delivery.look(&world);
    delivery.refuse_last(2);
    world.tell(cancel(&["A"]));
    world.act(|state, out| {
        let thing = controller::Thing::AttachOrder("A".into());
        let problem = Problem::new("NoRoom", "the Agent has no room");
        state.agent_refused(&"ALFA".into(), &thing, problem, out)
    });
    delivery.recorded(COUPLING);
    delivery.look(&world);
    assert_eq!(delivery.wake_at(Duration::from_secs(11)), ["look"]);
    assert!(delivery.look(&world).is_empty());
}

#[test]
fn an_item_that_changes_after_its_refusal_is_sent_at_once_and_only_once() {
    let mut world = world();
    let mut delivery = up_to_date(&world);
    let move_to = |world: &mut World, port: u16| {
        let text = format!(
            r#"{{"TYPE":"SubagentItem","id":"ALFA-0","agentPath":"ALFA","uri":"http://ALFA:{port}"}}"#
        );
        world.change(&[add(&text)]).unwrap();
    };
    move_to(&mut world, 1);
    assert_eq!(delivery.look(&world), ["send 1 in 7"]);
    delivery.refuse_last(1);
    move_to(&mut world, 2);
    assert!(delivery.recorded(COUPLING).is_empty());
    assert_eq!(delivery.look(&world), ["send 1 in 7"]);
    delivery.accept(1);
    assert_eq!(delivery.wake_at(Duration::from_secs(11)), ["look"]);
    assert!(delivery.look(&world).is_empty());
}

#[test]
fn everything_is_sent_again_over_a_new_coupling_and_late_answers_of_the_old_one_do_nothing() {
    let mut world = world();
    let mut delivery = up_to_date(&world);
    world.add("A", "w");
    assert_eq!(delivery.look(&world), ["send 2 in 7"]);
    assert!(delivery.handle(DeliveryInput::Uncoupled).is_empty());
    assert!(delivery.look(&world).is_empty(), "there is no connection");
    assert!(delivery.is_idle());
    assert_eq!(delivery.couple(8), ["look"]);
    assert_eq!(delivery.look(&world), ["send 2 in 8"]);
    assert!(delivery.accept(2).is_empty());
    assert!(
        !delivery.is_idle(),
        "that was the answer to the old request"
    );
    let responses = vec![AgentAnswer::Accepted; 2];
    delivery.answer(8, AgentAnswer::Batch { responses });
    assert!(delivery.is_idle());
}

#[test]
fn an_answer_that_cannot_be_used_closes_the_connection() {
    let mut world = world();
    world.add("A", "w");
    let batch = |count| AgentAnswer::Batch {
        responses: vec![AgentAnswer::Accepted; count],
    };
    let refused = AgentAnswer::from(Problem::new("AgentNotDedicated", "the Agent is nobody's"));
    for answer in [batch(1), batch(3), AgentAnswer::Accepted, refused] {
        let mut delivery = Delivery::coupled();
        assert_eq!(delivery.look(&world), ["send 2 in 7"]);
        let closed = delivery.answer(COUPLING, answer);
        assert!(closed[0].starts_with("close: "), "{closed:?}");
        assert!(delivery.look(&world).is_empty());
    }
    let mut delivery = Delivery::coupled();
    let unasked = delivery.answer(COUPLING, batch(0));
    assert!(unasked[0].starts_with("close: "), "{unasked:?}");
}
