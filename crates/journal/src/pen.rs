//! What changes the log's files, in the hand of one thread at a time.
//!
//! Always: a group is written with one write and made durable with one sync. After a failed write or sync nothing is written any
//! more: what is on disk is unknown, and only a restart finds out.

use std::sync::Arc;
use std::time::Instant;

use crate::fault::Fault;
use crate::hard_state::{HardState, Position};
use crate::marker::Marker;
use crate::record::Record;
use crate::seal;
use crate::segment::{self, Segment};
use crate::shared::Shared;
use crate::storage::write_all_at;
use crate::walk::Step;

/// Memory kept from group to group.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

pub(crate) struct Pen {
    pub(crate) shared: Arc<Shared>,
    pub(crate) marker: Marker,
    pub(crate) buffer: Vec<u8>,
}

impl Pen {
    pub(crate) fn write_group(&mut self, group: &[Record]) -> Result<(), Fault> {
        let Some(last) = group.last() else {
            return Ok(());
        };
        let mut rest = group;
        while !rest.is_empty() {
            let room = self
                .shared
                .options
                .segment_bytes
                .saturating_sub(self.shared.active_bytes());
            let fits = fitting(rest, room, self.shared.active_bytes() == 0);
            if fits == 0 {
                self.roll(rest[0].index)?;
                continue;
            }
            self.write(&rest[..fits])?;
            rest = &rest[fits..];
        }
        let path = self.shared.dir().join(crate::marker::MARKER_FILE);
        self.marker
            .set(&*self.shared.disk, last.index + 1)
            .map_err(|e| Fault::new("write", &path, e))
    }

    /// One write, one sync.
    fn write(&mut self, records: &[Record]) -> Result<(), Fault> {
        self.buffer.clear();
        for (back, record) in (0u32..).zip(records) {
            record.encode(back, &mut self.buffer);
        }
        let (path, file, offset) = self.shared.active();
        let disk = &*self.shared.disk;
        write_all_at(disk, &file, &self.buffer, offset)
            .map_err(|e| Fault::new("append to", &path, e))?;
        let started = Instant::now();
        disk.sync(&file).map_err(|e| Fault::new("sync", &path, e))?;
        self.shared.counters.on_synced(started.elapsed());
        self.shared
            .counters
            .on_appended(records.len() as u64, self.buffer.len() as u64);
        self.shared.on_synced(records);
        // A large group should not keep its memory while the node is idle.
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// Closes the active segment at its last record and begins the next one.
    fn roll(&mut self, first_index: u64) -> Result<(), Fault> {
        let (path, file, offset) = self.shared.active();
        let disk = &*self.shared.disk;
        disk.set_len(&file, offset)
            .map_err(|e| Fault::new("trim", &path, e))?;
        disk.sync(&file).map_err(|e| Fault::new("sync", &path, e))?;
        if let Some(closed) = self.shared.last_segment() {
            seal::write(disk, &closed);
        }
        let segment = begin_segment(&self.shared, first_index)?;
        self.shared.push_segment(segment);
        Ok(())
    }

    pub(crate) fn remember(
        &self,
        change: Box<dyn FnOnce(&mut HardState) + Send>,
    ) -> Result<(), Fault> {
        let mut state = self.shared.hard_state();
        change(&mut state);
        state.write(&*self.shared.disk, self.shared.dir())?;
        self.shared.set_hard_state(state);
        Ok(())
    }

    /// Takes back uncommitted records: whole segments from the end, then the rest of one.
    pub(crate) fn truncate(&self, from_index: u64) -> Result<(), Fault> {
        let disk = &*self.shared.disk;
        let dir = self.shared.dir();
        self.marker
            .lower(disk, from_index)
            .map_err(|e| Fault::new("write", &dir.join(crate::marker::MARKER_FILE), e))?;
        while let Some(path) = self.shared.pop_segment_from(from_index) {
            seal::remove(disk, &path);
            disk.remove(&path)
                .map_err(|e| Fault::new("remove", &path, e))?;
            disk.sync_directory(dir)
                .map_err(|e| Fault::new("sync the directory", dir, e))?;
        }
        let Some(segment) = self.shared.last_segment() else {
            return Ok(());
        };
        // It is going to be written to again: its seal must be gone before.
        seal::remove(disk, &segment.path);
        disk.sync_directory(dir)
            .map_err(|e| Fault::new("sync the directory", dir, e))?;
        let (mut walk, mut key_upto) = segment.walk_with_key(from_index);
        while walk.next_index < from_index {
            let step = walk
                .step()
                .map_err(|e| Fault::new("read", &segment.path, e))?;
            match step {
                Step::Record { record, .. } => key_upto = key_upto.max(record.key),
                Step::End => break,
                Step::Zeros | Step::Bad(_) => {
                    let error = std::io::Error::other(format!("damaged at byte {}", walk.offset));
                    return Err(Fault::new("truncate", &segment.path, error));
                }
            }
        }
        cut(&self.shared, &segment, walk.offset)?;
        self.shared.truncated(from_index, walk.offset, key_upto);
        Ok(())
    }

    /// Begins anew behind a place that a snapshot covers. First the memory of where the log begins, then the files: a crash in
    /// between leaves segments that end before that place, and the next opening removes them.
    pub(crate) fn restart(
        &mut self,
        place: Position,
        membership: Option<String>,
    ) -> Result<(), Fault> {
        let dir = self.shared.dir().to_owned();
        let disk = Arc::clone(&self.shared.disk);
        self.marker
            .lower(&*disk, 0)
            .map_err(|e| Fault::new("write", &dir.join(crate::marker::MARKER_FILE), e))?;
        let mut state = self.shared.hard_state();
        state.purged = Some(place);
        state.membership = membership.or(state.membership);
        state.write(&*disk, &dir)?;
        self.shared.set_hard_state(state);
        for path in self.shared.take_segments() {
            seal::remove(&*disk, &path);
            disk.remove(&path)
                .map_err(|e| Fault::new("remove", &path, e))?;
        }
        disk.sync_directory(&dir)
            .map_err(|e| Fault::new("sync the directory", &dir, e))?;
        let segment = begin_segment(&self.shared, place.index + 1)?;
        self.shared.push_segment(segment);
        Ok(())
    }

    /// Lets whole segments go. First the memory that they are gone, then the files.
    pub(crate) fn purge(&self, upto: Position, membership: Option<String>) -> Result<(), Fault> {
        let mut state = self.shared.hard_state();
        if state.purged.is_some_and(|p| p.index >= upto.index) {
            return Ok(());
        }
        state.purged = Some(upto);
        state.membership = membership.or(state.membership);
        state.write(&*self.shared.disk, self.shared.dir())?;
        self.shared.set_hard_state(state);
        let paths = self.shared.purge_segments(upto.index);
        for path in &paths {
            seal::remove(&*self.shared.disk, path);
            self.shared
                .disk
                .remove(path)
                .map_err(|e| Fault::new("remove", path, e))?;
        }
        if paths.is_empty() {
            return Ok(());
        }
        let dir = self.shared.dir();
        self.shared
            .disk
            .sync_directory(dir)
            .map_err(|e| Fault::new("sync the directory", dir, e))
    }
}

/// How many records fit into `room`; at least one when the segment is empty, however large it is.
fn fitting(records: &[Record], mut room: u64, is_empty: bool) -> usize {
    let mut count = 0;
    for record in records {
        let bytes = record.disk_bytes();
        if bytes > room && !(is_empty && count == 0) {
            break;
        }
        room = room.saturating_sub(bytes);
        count += 1;
    }
    count
}

/// Makes a segment file with its space reserved.
pub(crate) fn begin_segment(shared: &Shared, first_index: u64) -> Result<Segment, Fault> {
    let dir = shared.dir();
    let disk = &*shared.disk;
    let path = dir.join(segment::name_of(first_index));
    let file = disk
        .create(&path)
        .map_err(|e| Fault::new("create", &path, e))?;
    disk.allocate(&file, shared.options.segment_bytes)
        .map_err(|e| Fault::new("reserve space for", &path, e))?;
    disk.sync(&file).map_err(|e| Fault::new("sync", &path, e))?;
    disk.sync_directory(dir)
        .map_err(|e| Fault::new("sync the directory", dir, e))?;
    let key_before = shared.key_before(first_index);
    Ok(Segment::new(path, file, first_index, key_before))
}

/// Cuts a segment file back and reserves its space anew, so that zeros follow the last record:
/// a record taken back must not be found behind a new one of the same length.
pub(crate) fn cut(shared: &Shared, segment: &Segment, offset: u64) -> Result<(), Fault> {
    let disk = &*shared.disk;
    disk.set_len(&segment.file, offset)
        .map_err(|e| Fault::new("cut", &segment.path, e))?;
    disk.allocate(&segment.file, shared.options.segment_bytes)
        .map_err(|e| Fault::new("reserve space for", &segment.path, e))?;
    disk.sync(&segment.file)
        .map_err(|e| Fault::new("sync", &segment.path, e))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Journal, Kind, Options};

    #[test]
    fn the_memory_of_a_large_group_is_given_back_and_that_of_a_usual_one_is_used_again() {
        let record = |index, bytes| Record {
            index,
            term: 1,
            key: index + 1,
            kind: Kind::Events,
            body: Bytes::from(vec![b'x'; bytes]),
        };
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path(), "agent:A");
        let (journal, _) = Journal::open(options, |fault| panic!("{fault}")).unwrap();
        let mut pen = journal.pen.lock().unwrap();
        pen.buffer = Vec::with_capacity(BUFFER_BYTES_KEPT);
        let usual = pen.buffer.capacity();
        pen.write(&[record(0, 10)]).unwrap();
        assert_eq!(pen.buffer.capacity(), usual);
        pen.write(&[record(1, BUFFER_BYTES_KEPT)]).unwrap();
        assert!(pen.buffer.capacity() < BUFFER_BYTES_KEPT);
    }
}
