//! The committed batches after a snapshot, streamed from disk one chunk at a time.

use std::collections::VecDeque;

use crate::fault::ReadError;
use crate::record::{Kind, Record};
use crate::segment::Segment;
use crate::walk::Walk;

/// Yields records with events after a key, in order, up to where the log was committed when it was made.
#[derive(Debug)]
pub struct Replay {
    segments: VecDeque<Segment>,
    walk: Option<Walk>,
    after_key: u64,
    end_index: u64,
}

impl Replay {
    pub(crate) fn new(
        segments: impl Iterator<Item = Segment>,
        after_key: u64,
        end_index: u64,
    ) -> Self {
        let segments = segments
            .filter(|s| s.key_upto > after_key && s.first_index < end_index)
            .collect();
        Self {
            segments,
            walk: None,
            after_key,
            end_index,
        }
    }

    fn next_record(&mut self) -> Result<Option<Record>, ReadError> {
        loop {
            let Some(walk) = &mut self.walk else {
                let Some(segment) = self.segments.pop_front() else {
                    return Ok(None);
                };
                self.walk = Some(segment.walk_from_key(self.after_key));
                continue;
            };
            if walk.next_index >= self.end_index {
                return Ok(None);
            }
            match walk.record()? {
                Some(record) if record.kind == Kind::Events && record.key > self.after_key => {
                    return Ok(Some(record));
                }
                Some(_) => {}
                None => self.walk = None,
            }
        }
    }
}

impl Iterator for Replay {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_record();
        if next.is_err() {
            // One error is enough: nothing after a damaged place is trusted.
            self.segments.clear();
            self.end_index = 0;
        }
        next.transpose()
    }
}
