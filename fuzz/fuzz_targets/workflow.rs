//! The reader of workflows and other items, in JSON and YAML: no text makes it panic, hang or eat memory.
//! Always: it ends in an item or in at least one fault that can be drawn; what was YAML reads as the same item from the JSON made of
//! it; a workflow that is printed reads again, and prints the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::ItemBody;
use model::read::{Format, Origin, item, print};

// The first byte says the format: `Y` is YAML, all others JSON.
fuzz_target!(|input: &str| {
    let mut letters = input.chars();
    let format = if letters.next() == Some('Y') {
        Format::Yaml
    } else {
        Format::Json
    };
    let text = letters.as_str();
    let origin = Origin {
        name: Some("fuzz"),
        version: None,
    };
    let read = match item(text, format, &origin) {
        Ok(read) => read,
        Err(faults) => {
            assert!(faults.count() > 0, "refused without a reason");
            drop(faults.draw(text, "fuzz"));
            return;
        }
    };
    if format == Format::Yaml {
        let again = item(&read.text, Format::Json, &origin);
        let again = again.unwrap_or_else(|faults| {
            panic!("{}", faults.draw(&read.text, "JSON made of the YAML"))
        });
        assert_eq!(again.body, read.body);
    }
    let ItemBody::Workflow(workflow) = &read.body else {
        return;
    };
    let printed = print::workflow(workflow).to_string();
    let again = item(&printed, Format::Json, &origin);
    let again = again.unwrap_or_else(|faults| panic!("{}", faults.draw(&printed, "printed")));
    let ItemBody::Workflow(again) = &again.body else {
        panic!("a workflow became another item: {printed}")
    };
    // Not compared with the first reading: numbers are printed with the precision of a double.
    assert_eq!(
        print::workflow(again).to_string(),
        printed,
        "printing is not stable"
    );
});
