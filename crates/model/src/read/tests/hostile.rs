//! Texts that somebody wrote to do harm: bounded time, bounded answers, no panic.

use super::{around, faults_of, told};
use crate::read::{Faults, Format, Origin, item};
use proptest::prelude::*;

#[test]
fn deep_nesting_is_refused() {
    assert_eq!(
        told(&"[".repeat(1_000_000)),
        ": values are nested deeper than 120 levels"
    );
    assert_eq!(
        told(&"{\"a\":".repeat(1_000_000)),
        ": values are nested deeper than 120 levels"
    );
    for text in [
        "[".repeat(100_000),
        "- ".repeat(100_000),
        "a: {".repeat(100_000),
        "? ".repeat(100_000),
    ] {
        assert!(item(&text, Format::Yaml, &Origin::default()).is_err());
    }
    let told = told(&around(&format!(
        r#"{{"TYPE":"Say","what":"{}"}}"#,
        "(".repeat(1_000_000)
    )));
    assert!(told.contains("not an expression"), "{told}");
    let list = "[".repeat(110) + &"]".repeat(110);
    assert!(
        super::told(&around(&format!(r#"{{"TYPE":"Say","what":{list}}}"#)))
            .contains("the value is nested deeper than 100 levels")
    );
}

#[test]
fn huge_numbers_are_refused() {
    for number in ["1e999999999", "-1e999999999", "99999999999999999999999999"] {
        let told = told(&around(&format!(
            r#"{{"TYPE":"Try","try":{{"instructions":[]}},"catch":{{"instructions":[]}},"maxTries":{number},"retryDelays":[{number}]}}"#
        )));
        assert_eq!(told.lines().count(), 2, "{told}");
    }
    let told = told(&around(&format!(
        r#"{{"TYPE":"Say","what":{}}}"#,
        "9".repeat(1_000_000)
    )));
    assert!(told.len() < 500, "{told}");
}

#[test]
fn a_text_of_ten_megabytes_is_read_in_one_go() {
    let long = "x".repeat(10_000_000);
    assert!(
        item(
            &around(&format!(r#"{{"TYPE":"Fail","message":"{long}"}}"#)),
            Format::Json,
            &Origin::default()
        )
        .is_ok()
    );
    let told = told(&format!(
        r#"{{"TYPE":"Workflow","path":"w","instructions":[],"{long}":1}}"#
    ));
    assert!(told.len() < 1_000, "{}", told.len());
    let faults = faults_of(&format!("{}{}", " ".repeat(10_000_000), "x"));
    assert_eq!(
        faults.iter().next().map(|fault| fault.column),
        Some(10_000_001)
    );
}

#[test]
fn no_answer_is_longer_than_a_hundred_faults() {
    let text = around(&vec![r#"{"TYPE":"Fail","messge":"x"}"#; 20_000].join(","));
    let faults = faults_of(&text);
    assert_eq!(
        (faults.iter().count(), faults.count()),
        (Faults::COUNT_MAX, 20_000)
    );
    assert!(faults.to_string().ends_with("\nand 19900 more faults"));
    let same = format!(
        r#"{{"TYPE":"Workflow","path":"w","instructions":[]{}}}"#,
        r#","a":1"#.repeat(50_000)
    );
    assert!(faults_of(&same).count() > 49_000);
}

#[test]
fn aliases_cannot_make_a_small_text_huge() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..10 {
        let aliases = vec![format!("*a{}", n - 1); 9].join(",");
        text = format!("{text}a{n}: &a{n} [{aliases}]\n");
    }
    let told = item(&text, Format::Yaml, &Origin::default())
        .unwrap_err()
        .to_string();
    assert!(told.contains("aliases repeat too much"), "{told}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_answered(text in "\\PC*", yaml: bool) {
        let format = if yaml { Format::Yaml } else { Format::Json };
        if let Err(faults) = item(&text, format, &Origin::default()) {
            prop_assert!(faults.count() > 0);
            prop_assert!(!faults.draw(&text, "x").contains("cannot be read"));
        }
    }

    #[test]
    fn a_good_text_with_a_slip_is_answered(at in 0..SAMPLE.len(), with in "\\PC|[{}\\[\\]\",:\\\\]", length in 0_usize..4) {
        let (from, to) = (SAMPLE.floor_char_boundary(at), SAMPLE.ceil_char_boundary((at + length).min(SAMPLE.len())));
        let text = format!("{}{with}{}", &SAMPLE[..from], &SAMPLE[to..]);
        for format in [Format::Json, Format::Yaml] {
            match item(&text, format, &Origin::default()) {
                Ok(read) => prop_assert_eq!(&item(&read.text, Format::Json, &Origin::default()).unwrap().body, &read.body),
                Err(faults) => prop_assert!(!faults.draw(&text, "x").contains("cannot be read")),
            }
        }
    }
}

const SAMPLE: &str = r#"{"TYPE":"Workflow","path":"w","timeZone":"Europe/Berlin","orderPreparation":{"parameters":{"p":{"type":"String","default":"ä"}}},
 "instructions":[{"TYPE":"If","predicate":"$p == \"x\\u00e4\"","then":{"instructions":[{"TYPE":"Execute.Named","jobName":"j","label":"l"}]}},
 {"TYPE":"Try","try":{"instructions":[{"TYPE":"Fail","message":"'x'"}]},"catch":{"instructions":[{"TYPE":"Retry"}]},"maxTries":3,"retryDelays":[1,2.5]}],
 "jobs":{"j":{"agentName":"A","executable":{"TYPE":"ShellScriptExecutable","script":"exit 0","returnCodeMeaning":{"success":"0,4..6"}}}}}"#;
