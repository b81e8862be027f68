//! The values that a job writes into the file that its return-values variable names: lines `NAME=VALUE`, both trimmed. A line without a
//! name continues the value before it, so a value can have several lines, such as the output of a program.
//! Always: at most `MAX_RETURN_VALUES_BYTES` are read; a later value replaces an earlier one of the same name.
//! Never: a bad line is not skipped but reported to the job's author.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// A file with more bytes than this is refused.
pub const MAX_RETURN_VALUES_BYTES: u64 = 1024 * 1024;
/// So much of a bad line is shown.
const SHOWN_CHARACTERS: usize = 80;

/// Why a job's return values cannot be taken. Its text names the line for the job's author.
#[derive(Debug, thiserror::Error)]
pub enum BadReturnValues {
    /// The line is not an assignment, and there is no value before it to continue.
    #[error(
        "return values, line {number}: there is no = in {line:?}; each line must be NAME=VALUE"
    )]
    NoEqualSign {
        /// The number of the line, counted from 1.
        number: usize,
        /// The beginning of the line, at most 80 characters.
        line: String,
    },
    /// There is no name before the equal sign, and there is no value before it to continue.
    #[error(
        "return values, line {number}: there is no name before the = in {line:?}; each line must be NAME=VALUE"
    )]
    NoName {
        /// The number of the line, counted from 1.
        number: usize,
        /// The beginning of the line, at most 80 characters.
        line: String,
    },
    /// The file exceeds [`MAX_RETURN_VALUES_BYTES`].
    #[error("return values: the file has more than {MAX_RETURN_VALUES_BYTES} bytes")]
    TooLong,
    /// The file contains bytes that are no text.
    #[error("return values: the file is not UTF-8 (at byte {at})")]
    NotUtf8 {
        /// The number of good bytes before the first bad one.
        at: usize,
    },
    /// The file is there, but reading it failed.
    #[error("return values: the file {} cannot be read", path.display())]
    Unreadable {
        /// The file that the job was given.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The job has put a link, a pipe or a directory where the file should be.
    #[error("return values: {} is not a regular file", path.display())]
    NoRegularFile {
        /// The path that the job was given.
        path: PathBuf,
    },
}

impl BadReturnValues {
    /// Returns whether the cause is a temporary shortage of the machine, and not the job.
    pub fn is_shortage(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if crate::is_shortage(source))
    }
}

/// Parses the content of the file. A bad line makes all values invalid.
pub fn parse_return_values(bytes: &[u8]) -> Result<BTreeMap<String, String>, BadReturnValues> {
    if bytes.len() as u64 > MAX_RETURN_VALUES_BYTES {
        return Err(BadReturnValues::TooLong);
    }
    let text = str::from_utf8(bytes).map_err(|error| BadReturnValues::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    let mut values = BTreeMap::new();
    let mut last: Option<(String, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let shown = || line.chars().take(SHOWN_CHARACTERS).collect();
        let assigned = line.split_once('=');
        let named = assigned.filter(|(name, _)| !name.trim().is_empty());
        match (named, &mut last, assigned) {
            (Some((name, value)), _, _) => {
                values.extend(last.take().map(trimmed));
                last = Some((name.to_owned(), value.to_owned()));
            }
            (None, Some((_, value)), _) => {
                value.push('\n');
                value.push_str(line);
            }
            (None, None, Some(_)) => {
                return Err(BadReturnValues::NoName {
                    number,
                    line: shown(),
                });
            }
            (None, None, None) => {
                return Err(BadReturnValues::NoEqualSign {
                    number,
                    line: shown(),
                });
            }
        }
    }
    values.extend(last.map(trimmed));
    Ok(values)
}

fn trimmed((name, value): (String, String)) -> (String, String) {
    (name.trim().to_owned(), value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_trimmed_and_the_last_one_wins() {
        let values = parse_return_values(" a = 1 \r\nb==x= y\nempty=\na=2".as_bytes())
            .expect("all lines are good");
        let expected = [("a", "2"), ("b", "=x= y"), ("empty", "")];
        assert_eq!(
            values,
            expected
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into()
        );
        assert!(
            parse_return_values(b"")
                .expect("an empty file is good")
                .is_empty()
        );
    }

    #[test]
    fn a_file_of_exactly_the_maximum_length_is_good() {
        let length = usize::try_from(MAX_RETURN_VALUES_BYTES).expect("a small number");
        let text = format!("a={}", "x".repeat(length - 2));
        let values = parse_return_values(text.as_bytes()).expect("not too long");
        assert_eq!(values["a"].len(), length - 2);
        let one_more = parse_return_values(format!("{text}x").as_bytes());
        assert!(matches!(one_more, Err(BadReturnValues::TooLong)));
    }

    #[test]
    fn a_value_may_have_several_lines() {
        let text = b"found=  one\r\ntwo  \n\n=== three\n\nempty=\nn = 4\n\n";
        let values = parse_return_values(text).expect("all lines belong to a value");
        let expected = [
            ("found", "one\ntwo  \n\n=== three"),
            ("empty", ""),
            ("n", "4"),
        ];
        assert_eq!(
            values,
            expected
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into()
        );
    }

    #[test]
    fn a_shortage_of_descriptors_is_not_the_jobs_fault() {
        let unreadable = |errno: rustix::io::Errno| BadReturnValues::Unreadable {
            path: "x".into(),
            source: errno.into(),
        };
        assert!(unreadable(rustix::io::Errno::MFILE).is_shortage());
        assert!(!unreadable(rustix::io::Errno::IO).is_shortage());
        assert!(!BadReturnValues::TooLong.is_shortage());
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, expected) in [
            (
                "nonsense\na=1",
                "return values, line 1: there is no = in \"nonsense\"; each line must be NAME=VALUE",
            ),
            (
                "\na=1",
                "return values, line 1: there is no = in \"\"; each line must be NAME=VALUE",
            ),
            (
                " =1",
                "return values, line 1: there is no name before the = in \" =1\"; each line must be NAME=VALUE",
            ),
        ] {
            let error = parse_return_values(text.as_bytes()).expect_err("a bad line");
            assert_eq!(error.to_string(), expected);
        }
        assert!(matches!(
            parse_return_values(b"a=\xFF"),
            Err(BadReturnValues::NotUtf8 { at: 2 })
        ));
    }
}
