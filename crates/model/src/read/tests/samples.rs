//! Workflows and other items as they come from the engine: a sample of real ones.

use crate::read::{Format, Origin, item, print};
use crate::{Item, ItemBody};

/// One item per line.
const SAMPLES: &str = include_str!("samples.jsonl");

/// What the samples hold that this version does not carry out yet.
const NOT_YET: [&str; 14] = [
    "\"Lock\",\"demands\"",
    "\"Prompt\"",
    "\"PostNotices\"",
    "\"PostNotice\"",
    "\"ExpectNotices\"",
    "\"ConsumeNotices\"",
    "\"Cycle\"",
    "\"Break\"",
    "\"BreakOrder\"",
    "\"AddOrder\"",
    "\"ForkList\"",
    "\"StickySubagent\"",
    "\"AdmissionTime\"",
    "\"admissionTimeScheme\"",
];

#[test]
fn an_item_that_can_be_carried_out_is_read_and_the_others_are_told_as_not_supported() {
    let (mut read, mut refused) = (0, 0);
    for text in SAMPLES.lines() {
        let has_unsupported = NOT_YET.iter().any(|sign| text.contains(sign));
        match item(text, Format::Json, &Origin::default()) {
            Ok(item) => {
                assert!(!has_unsupported, "{text}");
                read += 1;
                printed_again(&item);
            }
            Err(faults) => {
                assert!(has_unsupported, "{}", faults.draw(text, "sample"));
                for fault in &faults {
                    assert!(
                        fault
                            .message
                            .ends_with(" is not supported by this version yet"),
                        "{fault}"
                    );
                }
                refused += 1;
            }
        }
    }
    assert!(read > 80 && refused > 30, "{read} read, {refused} refused");
}

fn printed_again(item: &Item) {
    let ItemBody::Workflow(workflow) = &item.body else {
        return;
    };
    let printed = print::workflow(workflow).to_string();
    let again = crate::read::item(&printed, Format::Json, &Origin::default());
    let again = again.unwrap_or_else(|faults| panic!("{}", faults.draw(&printed, "printed")));
    assert_eq!(again.body, item.body, "{printed}");
}
