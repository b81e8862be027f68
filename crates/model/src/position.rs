//! Where an order stands in its workflow: `[0, "then", 1]`, printed `0/then:1` (`engine.md` 2.2).
//!
//! Always: a number in the outermost block, then per level the branch entered and the number in it.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeSeq};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Which block of an instruction is entered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Branch {
    /// `then`, `then+2`, …: the n-th case of an If, counted from 1.
    Then(u32),
    /// `else`.
    Else,
    /// `try+N`: the N-th retry; `try` where the number does not matter.
    Try(Option<u32>),
    /// `catch+N`.
    Catch(Option<u32>),
    /// `fork+ID`.
    Fork(Arc<str>),
    /// `fork` of a `ForkList`.
    ForkList,
    /// `options`.
    Options,
    /// `lock`.
    Lock,
    /// `consumeNotices`.
    ConsumeNotices,
    /// `stickySubagent`.
    StickySubagent,
    /// `admissionTime`.
    AdmissionTime,
    /// `cycle`, with the cycle's state while cycling.
    Cycle(Arc<str>),
}

impl Branch {
    /// The branch without the counters of try, catch and cycle.
    #[must_use]
    pub fn normalized(&self) -> Branch {
        match self {
            Branch::Try(_) => Branch::Try(None),
            Branch::Catch(_) => Branch::Catch(None),
            Branch::Cycle(_) => Branch::Cycle("".into()),
            same @ (Branch::Then(_)
            | Branch::Else
            | Branch::Fork(_)
            | Branch::ForkList
            | Branch::Options
            | Branch::Lock
            | Branch::ConsumeNotices
            | Branch::StickySubagent
            | Branch::AdmissionTime) => same.clone(),
        }
    }

    /// Whether an order may be put into or taken out of such a block from outside.
    pub fn is_open(&self) -> bool {
        match self {
            Branch::Then(_)
            | Branch::Else
            | Branch::Try(_)
            | Branch::Catch(_)
            | Branch::Cycle(_)
            | Branch::Options
            | Branch::AdmissionTime => true,
            Branch::Fork(_)
            | Branch::ForkList
            | Branch::Lock
            | Branch::ConsumeNotices
            | Branch::StickySubagent => false,
        }
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Branch::Then(1) => f.write_str("then"),
            Branch::Then(n) => write!(f, "then+{n}"),
            Branch::Else => f.write_str("else"),
            Branch::Try(None) => f.write_str("try"),
            Branch::Try(Some(n)) => write!(f, "try+{n}"),
            Branch::Catch(None) => f.write_str("catch"),
            Branch::Catch(Some(n)) => write!(f, "catch+{n}"),
            Branch::Fork(id) => write!(f, "fork+{id}"),
            Branch::ForkList => f.write_str("fork"),
            Branch::Options => f.write_str("options"),
            Branch::Lock => f.write_str("lock"),
            Branch::ConsumeNotices => f.write_str("consumeNotices"),
            Branch::StickySubagent => f.write_str("stickySubagent"),
            Branch::AdmissionTime => f.write_str("admissionTime"),
            Branch::Cycle(state) if state.is_empty() => f.write_str("cycle"),
            Branch::Cycle(state) => write!(f, "cycle+{state}"),
        }
    }
}

impl FromStr for Branch {
    type Err = String;
    fn from_str(text: &str) -> Result<Branch, String> {
        let unknown = || format!("unknown branch {text:?} in a position");
        let number = |n: &str| n.parse::<u32>().map_err(|_not_a_number| unknown());
        match text.split_once('+') {
            None => match text {
                "then" => Ok(Branch::Then(1)),
                "else" => Ok(Branch::Else),
                "try" => Ok(Branch::Try(None)),
                "catch" => Ok(Branch::Catch(None)),
                "fork" => Ok(Branch::ForkList),
                "options" => Ok(Branch::Options),
                "lock" => Ok(Branch::Lock),
                "consumeNotices" => Ok(Branch::ConsumeNotices),
                "stickySubagent" => Ok(Branch::StickySubagent),
                "admissionTime" => Ok(Branch::AdmissionTime),
                "cycle" => Ok(Branch::Cycle("".into())),
                _ => Err(unknown()),
            },
            Some(("then", n)) => Ok(Branch::Then(number(n)?)),
            Some(("try", n)) => Ok(Branch::Try(Some(number(n)?))),
            Some(("catch", n)) => Ok(Branch::Catch(Some(number(n)?))),
            Some(("fork", id)) if !id.is_empty() => Ok(Branch::Fork(id.into())),
            Some(("cycle", state)) => Ok(Branch::Cycle(state.into())),
            Some(_) => Err(unknown()),
        }
    }
}

/// One level above the innermost: the instruction and the branch of it that was entered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step {
    /// The number of the instruction in its block.
    pub nr: u32,
    /// The block entered.
    pub branch: Branch,
}

/// A place in a workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The blocks around, outermost first.
    pub parents: Vec<Step>,
    /// The number of the instruction in the innermost block.
    pub nr: u32,
}

impl Position {
    /// The place `nr` in the outermost block.
    pub const fn top(nr: u32) -> Position {
        Position {
            parents: Vec::new(),
            nr,
        }
    }

    /// The first place in `branch` of the instruction here.
    #[must_use]
    pub fn enter(&self, branch: Branch) -> Position {
        let mut parents = Vec::with_capacity(self.parents.len() + 1);
        parents.extend_from_slice(&self.parents);
        parents.push(Step {
            nr: self.nr,
            branch,
        });
        Position { parents, nr: 0 }
    }

    /// The place behind this one in the same block.
    #[must_use]
    pub fn next(&self) -> Position {
        Position {
            parents: self.parents.clone(),
            nr: self.nr + 1,
        }
    }

    /// The instruction whose block this is in, and the branch.
    pub fn parent(&self) -> Option<(Position, &Branch)> {
        let (last, rest) = self.parents.split_last()?;
        Some((
            Position {
                parents: rest.to_vec(),
                nr: last.nr,
            },
            &last.branch,
        ))
    }

    /// The same place without the counters of try, catch and cycle.
    #[must_use]
    pub fn normalized(&self) -> Position {
        let parents = self
            .parents
            .iter()
            .map(|step| Step {
                nr: step.nr,
                branch: step.branch.normalized(),
            })
            .collect();
        Position {
            parents,
            nr: self.nr,
        }
    }

    /// Whether this place lies in the block `block` (a list of steps) or below it.
    pub fn is_in(&self, block: &[Step]) -> bool {
        self.parents.len() >= block.len() && self.parents[..block.len()] == *block
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.parents {
            write!(f, "{}/{}:", step.nr, step.branch)?;
        }
        write!(f, "{}", self.nr)
    }
}

impl FromStr for Position {
    type Err = String;
    /// Reads the printed form `0/then:1`.
    fn from_str(text: &str) -> Result<Position, String> {
        let mut parents = Vec::new();
        let mut rest = text;
        let number = |n: &str| {
            n.parse::<u32>()
                .map_err(|_not_a_number| format!("{text:?} is not a position"))
        };
        while let Some((nr, behind)) = rest.split_once('/') {
            // A fork's id may hold a colon: the instruction number behind it is the last before the next slash.
            let end = behind.find('/').unwrap_or(behind.len());
            let colon = behind[..end]
                .rfind(':')
                .ok_or_else(|| format!("{text:?} is not a position"))?;
            parents.push(Step {
                nr: number(nr)?,
                branch: behind[..colon].parse()?,
            });
            rest = &behind[colon + 1..];
        }
        Ok(Position {
            parents,
            nr: number(rest)?,
        })
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.parents.len() * 2 + 1))?;
        for step in &self.parents {
            seq.serialize_element(&step.nr)?;
            seq.serialize_element(&format_args!("{}", step.branch))?;
        }
        seq.serialize_element(&self.nr)?;
        seq.end()
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Position, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Position;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a position such as [0, \"then\", 1]")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Position, A::Error> {
                let mut parents = Vec::new();
                let mut nr: u32 = seq
                    .next_element()?
                    .ok_or_else(|| de::Error::invalid_length(0, &self))?;
                while let Some(branch) = seq.next_element::<std::borrow::Cow<'de, str>>()? {
                    let branch = branch.parse().map_err(de::Error::custom)?;
                    parents.push(Step { nr, branch });
                    nr = seq.next_element()?.ok_or_else(|| {
                        de::Error::invalid_length(parents.len() * 2, &"an odd number of elements")
                    })?;
                }
                Ok(Position { parents, nr })
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written() {
        for text in [
            "0",
            "1/then:0",
            "0/then+2:0/else:3",
            "2/try+1:0/catch+1:4",
            "0/fork+a:b:1/try:0",
            "0/cycle+end=1,i=2:0",
        ] {
            let position: Position = text.parse().unwrap();
            assert_eq!(position.to_string(), text);
            let json = serde_json::to_string(&position).unwrap();
            assert_eq!(
                serde_json::from_str::<Position>(&json).unwrap(),
                position,
                "{json}"
            );
        }
        assert!("0/nowhere:1".parse::<Position>().is_err());
        assert!(serde_json::from_str::<Position>("[0,\"then\"]").is_err());
    }
}
