//! Walks through the records of a segment file, and looks at what is not one.
//!
//! Always: each record met has the right checksum and the expected index.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::fault::{Damage, Fault, ReadError};
use crate::record::{BODY_BYTES_MAX, HEADER_BYTES, Header, MAGIC, Record};

/// How much is read at a time: enough for a few large batches, little enough for many readers.
const CHUNK_BYTES: usize = 512 << 10;

/// The error code of the system for a sector that cannot be read.
const EIO: i32 = 5;

/// What a step of a walk meets.
#[derive(Debug)]
pub(crate) enum Step {
    /// A whole record with the right checksum and the expected index.
    Record { header: Header, record: Record },
    /// The end that was given.
    End,
    /// Zeros where a header should be.
    Zeros,
    /// Anything else.
    Bad(&'static str),
}

/// Goes from record to record. Bodies share the chunk they were read with.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) path: PathBuf,
    file: Arc<File>,
    /// Where the next record is expected.
    pub(crate) offset: u64,
    end: u64,
    pub(crate) next_index: u64,
    /// Index after the last record that must come before the end.
    end_index: u64,
    chunk: Bytes,
    chunk_offset: u64,
}

impl Walk {
    pub(crate) fn new(
        path: PathBuf,
        file: Arc<File>,
        offset: u64,
        end: u64,
        next_index: u64,
    ) -> Self {
        Self {
            path,
            file,
            offset,
            end,
            next_index,
            end_index: next_index,
            chunk: Bytes::new(),
            chunk_offset: 0,
        }
    }

    /// Requires that all records before this index come before the end.
    pub(crate) fn up_to(self, end_index: u64) -> Self {
        Self { end_index, ..self }
    }

    /// The next record, or why there is none. After anything but a record the walk stays where it is.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        if self.offset >= self.end {
            return Ok(Step::End);
        }
        let head = self.bytes_at(HEADER_BYTES)?;
        if head.iter().all(|b| *b == 0) {
            return Ok(Step::Zeros);
        }
        let header = match Header::parse(&head) {
            Ok(header) => header,
            Err(what) => return Ok(Step::Bad(what)),
        };
        let whole = HEADER_BYTES + header.length;
        if whole as u64 > self.end - self.offset {
            return Ok(Step::Bad("the record reaches beyond the end"));
        }
        let bytes = self.bytes_at(whole)?;
        if bytes.len() < whole {
            return Ok(Step::Bad("the record is cut off"));
        }
        if !header.is_intact(&bytes) {
            return Ok(Step::Bad("the checksum does not fit"));
        }
        if header.index != self.next_index {
            return Ok(Step::Bad("the record belongs elsewhere (wrong index)"));
        }
        self.offset += whole as u64;
        self.next_index += 1;
        let record = Record {
            index: header.index,
            term: header.term,
            key: header.key,
            kind: header.kind,
            body: bytes.slice(HEADER_BYTES..),
        };
        Ok(Step::Record { header, record })
    }

    /// Returns the next record, or `None` at the end. Anything else before the end is damage, including a sector that the disk can no
    /// longer read.
    pub(crate) fn record(&mut self) -> Result<Option<Record>, ReadError> {
        let what = match self.step() {
            Ok(Step::Record { record, .. }) => return Ok(Some(record)),
            Ok(Step::End) if self.next_index >= self.end_index => return Ok(None),
            Ok(Step::End) => "the last records of the segment are missing or damaged".to_owned(),
            Ok(Step::Zeros) => "zeros instead of a record".to_owned(),
            Ok(Step::Bad(what)) => what.to_owned(),
            Err(error) if error.raw_os_error() == Some(EIO) => {
                format!("the disk cannot read it any more: {error}")
            }
            Err(error) => return Err(Fault::new("read", &self.path, error).into()),
        };
        let damage = Damage::new(&self.path, self.offset, what);
        Err(damage.of_record(self.next_index).into())
    }

    /// Bytes from the current offset, fewer only at the end.
    fn bytes_at(&mut self, wanted: usize) -> io::Result<Bytes> {
        let wanted = wanted.min(usize::try_from(self.end - self.offset).unwrap_or(usize::MAX));
        let in_chunk = self
            .offset
            .checked_sub(self.chunk_offset)
            .and_then(|at| usize::try_from(at).ok());
        if let Some(at) = in_chunk
            && at + wanted <= self.chunk.len()
        {
            return Ok(self.chunk.slice(at..at + wanted));
        }
        let length = wanted
            .max(CHUNK_BYTES)
            .min(usize::try_from(self.end - self.offset).unwrap_or(usize::MAX));
        self.chunk = Bytes::from(read_at(&self.file, self.offset, length)?);
        self.chunk_offset = self.offset;
        Ok(self.chunk.slice(..wanted.min(self.chunk.len())))
    }
}

/// Reads up to `length` bytes, fewer at the end of the file.
pub(crate) fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// First byte from `offset` on that is not zero.
pub(crate) fn first_data_after(file: &File, mut offset: u64, end: u64) -> io::Result<Option<u64>> {
    while offset < end {
        match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(data) => offset = data.max(offset),
            Err(rustix::io::Errno::NXIO) => return Ok(None),
            // No holes known to this file system: look at all of it.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
        if offset >= end {
            return Ok(None);
        }
        let bytes = read_at(
            file,
            offset,
            CHUNK_BYTES.min(usize::try_from(end - offset).unwrap_or(CHUNK_BYTES)),
        )?;
        if bytes.is_empty() {
            return Ok(None);
        }
        // A comparison of whole slices is fast even in an unoptimised build.
        if bytes[..] != ZEROS[..bytes.len()]
            && let Some(at) = bytes.iter().position(|b| *b != 0)
        {
            return Ok(Some(offset + at as u64));
        }
        offset += bytes.len() as u64;
    }
    Ok(None)
}

static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// Returns the first intact record at or after `from` that has an event and whose index is in `indices`, with its offset.
pub(crate) fn next_intact(
    file: &File,
    from: u64,
    end: u64,
    indices: &std::ops::Range<u64>,
) -> io::Result<Option<(Header, u64)>> {
    let mut offset = from;
    while let Some((header, start)) = next_whole(file, offset, end)? {
        if header.key != 0 && indices.contains(&header.index) {
            return Ok(Some((header, start)));
        }
        offset = start + 1;
    }
    Ok(None)
}

/// Looks behind a bad place for a record that proves it was once whole: one of a group that began after
/// `missing_index`. Records of the same group prove nothing, since one group's bytes reach the disk in any order.
pub(crate) fn later_group(
    file: &File,
    from: u64,
    end: u64,
    missing_index: u64,
) -> io::Result<Option<u64>> {
    let mut offset = from;
    while let Some((header, start)) = next_whole(file, offset, end)? {
        if header.group_start() > missing_index {
            return Ok(Some(header.index));
        }
        offset = start + (HEADER_BYTES + header.length) as u64;
    }
    Ok(None)
}

/// Returns the first whole record with the right checksum at or after `from`, with its offset.
fn next_whole(file: &File, from: u64, end: u64) -> io::Result<Option<(Header, u64)>> {
    let mut offset = from;
    while let Some(data) = first_data_after(file, offset, end)? {
        let length = CHUNK_BYTES.min(usize::try_from(end - data).unwrap_or(CHUNK_BYTES));
        let bytes = read_at(file, data, length)?;
        let Some(at) = bytes.windows(MAGIC.len()).position(|w| w == MAGIC) else {
            // The magic may lie across the border of two chunks.
            offset = data + (bytes.len().saturating_sub(MAGIC.len() - 1)).max(1) as u64;
            continue;
        };
        let start = data + at as u64;
        offset = start + 1;
        let head = read_at(file, start, HEADER_BYTES)?;
        let Ok(header) = Header::parse(&head) else {
            continue;
        };
        let whole = HEADER_BYTES + header.length;
        if header.length > BODY_BYTES_MAX || start + whole as u64 > end {
            continue;
        }
        let record = read_at(file, start, whole)?;
        if record.len() < whole || !header.is_intact(&record) {
            continue;
        }
        return Ok(Some((header, start)));
    }
    Ok(None)
}
