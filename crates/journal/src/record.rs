//! The frame around one batch: a header of 48 bytes, then the body as it came.
//!
//! Always: the checksum covers everything of the record but the magic and itself; unknown kinds are refused.
//! `back` says how many records of the same group (one write, one sync) stand before this one. It lets recovery
//! tell a torn write from damage: a record of a *later* group proves that all earlier groups had been synced.

use bytes::Bytes;

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 48;
/// First bytes of each record: three letters and the version of the format.
pub(crate) const MAGIC: [u8; 4] = *b"MSJ\x01";
/// Largest body accepted: more is a bug of the caller, or a damaged length.
pub const BODY_BYTES_MAX: usize = 256 << 20;

/// What a record's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: a leader's first entry of its term.
    Blank,
    /// JSON lines of one batch of events.
    Events,
    /// Who belongs to the cluster from here on (JSON).
    Membership,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Blank => 0,
            Self::Events => 1,
            Self::Membership => 2,
        }
    }

    fn of_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Blank),
            1 => Some(Self::Events),
            2 => Some(Self::Membership),
            _ => None,
        }
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Place in the log, from 0, without gaps.
    pub index: u64,
    /// Term of the leader that made it.
    pub term: u64,
    /// Last `EventId` of the body, 0 when the record has no events.
    pub key: u64,
    /// What the body is.
    pub kind: Kind,
    /// The body, opaque.
    pub body: Bytes,
}

impl Record {
    /// Bytes this record takes on disk.
    pub fn disk_bytes(&self) -> u64 {
        (HEADER_BYTES + self.body.len()) as u64
    }

    /// Appends the record's bytes to `out`.
    pub(crate) fn encode(&self, back: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.index.to_le_bytes());
        out.extend_from_slice(&self.term.to_le_bytes());
        out.extend_from_slice(&self.key.to_le_bytes());
        let length =
            u32::try_from(self.body.len()).expect("the intake refuses bodies above BODY_BYTES_MAX");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&back.to_le_bytes());
        out.push(self.kind.code());
        out.extend_from_slice(&[0; 7]);
        out.extend_from_slice(&self.body);
        let crc = crc32fast::hash(&out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }
}

/// A header as read, not yet checked against its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) crc: u32,
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) key: u64,
    pub(crate) length: usize,
    pub(crate) back: u32,
    pub(crate) kind: Kind,
}

impl Header {
    /// Reads a header; the error says what is wrong with it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err("the header is cut off");
        };
        if bytes[..4] != MAGIC {
            return Err("no record starts here (wrong magic)");
        }
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let length = u32_at(32) as usize;
        if length > BODY_BYTES_MAX {
            return Err("the length is impossible");
        }
        let Some(kind) = Kind::of_code(bytes[40]) else {
            return Err("the kind is unknown");
        };
        Ok(Self {
            crc: u32_at(4),
            index: u64_at(8),
            term: u64_at(16),
            key: u64_at(24),
            length,
            back: u32_at(36),
            kind,
        })
    }

    /// Whether header and body (given together, from the header's first byte) carry the right checksum.
    pub(crate) fn is_intact(&self, record: &[u8]) -> bool {
        crc32fast::hash(&record[8..HEADER_BYTES + self.length]) == self.crc
    }

    /// Index of the first record of this record's group.
    pub(crate) fn group_start(&self) -> u64 {
        self.index.saturating_sub(u64::from(self.back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed() {
        let record = Record {
            index: 7,
            term: 3,
            key: 1_735_560_000_000_001,
            kind: Kind::Events,
            body: Bytes::from_static(b"{\"eventId\":1735560000000001}\n"),
        };
        let mut bytes = Vec::new();
        record.encode(2, &mut bytes);
        let header = Header::parse(&bytes).expect("a fresh record parses");
        assert!(header.is_intact(&bytes));
        assert_eq!(header.group_start(), 5);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let accepted = Header::parse(&flipped)
                .is_ok_and(|h| flipped.len() == HEADER_BYTES + h.length && h.is_intact(&flipped));
            assert!(!accepted, "R7: flipped bit {bit} is accepted");
        }
    }
}
