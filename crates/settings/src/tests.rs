//! Settings as an operator writes them, and the answer to each mistake.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sample {
    name: String,
    #[serde(default = "default_port")]
    port: u16,
    data: Option<PathBuf>,
    #[serde(default)]
    watched: bool,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    peers: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    journal: Journal,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Quiet,
    VeryLoud,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Journal {
    sync_delay: Duration,
    segment_size: ByteSize,
    factor: f64,
}

impl Default for Journal {
    fn default() -> Journal {
        Journal {
            sync_delay: Duration::from_millis(1),
            segment_size: ByteSize::mebibytes(64),
            factor: 1.0,
        }
    }
}

fn default_port() -> u16 {
    4444
}

fn written(file: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("a.toml");
    std::fs::write(&path, file).unwrap();
    (dir, path)
}

fn read(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Sample, String> {
    let (dir, path) = written(file);
    let environment = environment
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()));
    let flags: Vec<_> = flags
        .iter()
        .map(|&(key, value)| (key, value.to_owned()))
        .collect();
    load_from(Some(&path), "MAINSPRING_", environment, &flags).map_err(|error| {
        error
            .to_string()
            .replace(&format!("{}/", dir.path().display()), "")
    })
}

fn fault(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    read(file, environment, flags).unwrap_err()
}

#[test]
fn what_nobody_has_set_has_its_default() {
    let sample = read("name = 'A'", &[], &[]).unwrap();
    assert_eq!(sample.port, 4444);
    assert_eq!(sample.data, None);
    assert_eq!(sample.journal, Journal::default());
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = "name = 'file'\nport = 1\nwatched = true\n[journal]\nsync-delay = '2ms'\nsegment-size = '1MiB'\nfactor = 2\n";
    let environment = [
        ("MAINSPRING_NAME", "environment"),
        ("MAINSPRING_PORT", "2"),
        ("MAINSPRING_JOURNAL__SYNC_DELAY", "3ms"),
        ("PATH", "x"),
    ];
    let sample = read(
        file,
        &environment,
        &[("name", "flag"), ("journal.sync_delay", "4ms")],
    )
    .unwrap();
    assert_eq!(
        (sample.name.as_str(), sample.port, sample.watched),
        ("flag", 2, true)
    );
    let journal = Journal {
        sync_delay: Duration::from_millis(4),
        segment_size: ByteSize::mebibytes(1),
        factor: 2.0,
    };
    assert_eq!(sample.journal, journal);
}

#[test]
fn a_text_of_the_environment_becomes_what_is_wanted() {
    let environment = [
        ("MAINSPRING_NAME", "123"),
        ("MAINSPRING_WATCHED", "true"),
        ("MAINSPRING_DATA", "/var/lib"),
        ("MAINSPRING_MODE", "very-loud"),
        ("MAINSPRING_PEERS", "a, b"),
        ("MAINSPRING_LABELS__ROOM", "7"),
        ("MAINSPRING_JOURNAL__SEGMENT_SIZE", "1000"),
        ("MAINSPRING_JOURNAL__FACTOR", "0.5"),
    ];
    let sample = read("", &environment, &[]).unwrap();
    assert_eq!(
        (sample.name.as_str(), sample.watched, sample.mode),
        ("123", true, Mode::VeryLoud)
    );
    assert_eq!(sample.data, Some(PathBuf::from("/var/lib")));
    assert_eq!(sample.peers, ["a", "b"]);
    assert_eq!(sample.labels["room"], "7");
    assert_eq!(
        (sample.journal.segment_size, sample.journal.factor),
        (ByteSize(1000), 0.5)
    );
}

#[test]
fn a_misspelt_key_is_an_error_with_its_line_and_the_nearest_known_key() {
    assert_eq!(
        fault("name = 'A'\n\nprot = 1\n", &[], &[]),
        "a.toml:3: unknown key prot; did you mean port?"
    );
    assert_eq!(
        fault("name = 'A'\n[journal]\n# why\nsync_delay = 1\n", &[], &[]),
        "a.toml:4: unknown key journal.sync_delay; did you mean sync-delay?"
    );
    assert_eq!(
        fault("name = 'A'\n[journal]\ncolour = 1\n", &[], &[]),
        "a.toml:3: unknown key journal.colour; known here are sync-delay, segment-size, factor"
    );
}

#[test]
fn a_value_that_does_not_fit_is_an_error_with_its_line_and_key() {
    let wrong_type = fault("name = 'A'\nport = 'x'\n", &[], &[]);
    assert!(
        wrong_type.starts_with("a.toml:2: port: invalid type: string \"x\", expected u16"),
        "{wrong_type}"
    );
    let too_large = fault("name = 'A'\nport = 70000\n", &[], &[]);
    assert!(
        too_large.starts_with("a.toml:2: port: invalid value: integer `70000`"),
        "{too_large}"
    );
    let duration = fault(
        "name = 'A'\njournal = { sync-delay = '1 fortnight' }\n",
        &[],
        &[],
    );
    assert!(
        duration.starts_with("a.toml:2: journal.sync-delay: \"1 fortnight\" is no duration"),
        "{duration}"
    );
    let item = fault("name = 'A'\npeers = [\n 'a',\n 7\n]\n", &[], &[]);
    assert!(item.starts_with("a.toml:4: peers: invalid type"), "{item}");
    let variant = fault("name = 'A'\nmode = 'shrill'\n", &[], &[]);
    assert!(
        variant.starts_with("a.toml:2: mode: unknown variant `shrill`"),
        "{variant}"
    );
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_its_line() {
    assert!(fault("name = 'A'\nport = = 1\n", &[], &[]).starts_with("a.toml:2: "));
    let twice = fault("name = 'A'\nport = 1\nport = 2\n", &[], &[]);
    assert!(twice.starts_with("a.toml:3: duplicate key"), "{twice}");
}

#[test]
fn a_setting_that_is_missing_is_named() {
    assert_eq!(
        fault("port = 1\n", &[], &[]),
        "a.toml:1: name: this setting is missing"
    );
}

#[test]
fn a_bad_variable_or_flag_is_named() {
    let variable = fault("name = 'A'\nport = 1\n", &[("MAINSPRING_PORT", "x")], &[]);
    assert!(
        variable
            .starts_with("environment variable MAINSPRING_PORT: port: \"x\" is no whole number"),
        "{variable}"
    );
    let flag = fault("name = 'A'", &[], &[("journal.sync-delay", "x")]);
    assert!(
        flag.starts_with("flag for journal.sync-delay: journal.sync-delay: \"x\" is no duration"),
        "{flag}"
    );
    let below = fault(
        "name = 'A'\nport = 1\n",
        &[("MAINSPRING_PORT__X", "x")],
        &[],
    );
    assert!(below.contains("MAINSPRING_PORT__X"), "{below}");
}

#[test]
fn a_misspelt_variable_is_an_error_and_a_foreign_one_is_left_alone() {
    let file = "name = 'A'";
    assert!(
        read(
            file,
            &[
                ("MAINSPRING_RETURN_VALUES", "/tmp/x"),
                ("MAINSPRING_VERSION", "1")
            ],
            &[]
        )
        .is_ok()
    );
    assert_eq!(
        fault(file, &[("MAINSPRING_PROT", "1")], &[]),
        "environment variable MAINSPRING_PROT: unknown key prot; did you mean port?"
    );
    assert!(
        fault(file, &[("MAINSPRING_JOURNAL__COLOUR", "1")], &[])
            .contains("unknown key journal.colour")
    );
    assert!(
        fault(file, &[], &[("return_values", "1")]).contains("unknown key return_values"),
        "a flag is never foreign"
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = load_from::<Sample>(Some("/nowhere/a.toml".as_ref()), "X_", [], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the settings in /nowhere/a.toml"
    );
}

#[test]
fn without_a_file_the_rest_is_enough() {
    let sample: Sample =
        load_from(None, "X_", [("X_NAME".to_owned(), "A".to_owned())], &[]).unwrap();
    assert_eq!(sample.name, "A");
    let error = load_from::<Sample>(None, "X_", [], &[]).unwrap_err();
    assert_eq!(error.to_string(), "settings: name: this setting is missing");
}
