//! From the bytes of a pipe to pieces of text.
//! Always: nothing is lost or reordered; a piece never ends inside a character, wherever the reads were cut; what is not
//! UTF-8 becomes U+FFFD. At most one read and one piece are held.
//! Never here: the clock and the pipe; see `running`.

use std::collections::VecDeque;
use std::time::Duration;

/// One of the two outputs of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Standard output, descriptor 1.
    Stdout,
    /// Standard error, descriptor 2.
    Stderr,
}

/// How output is cut into events.
#[derive(Clone, Copy, Debug)]
pub struct OutputSettings {
    /// A piece has at most so many characters.
    pub max_characters: usize,
    /// A piece is given out at most so long after its first character arrived.
    pub max_delay: Duration,
}

impl Default for OutputSettings {
    fn default() -> Self {
        Self {
            max_characters: 8 * 1024,
            max_delay: Duration::from_millis(400),
        }
    }
}

/// Collects the text of one stream.
#[derive(Debug)]
pub(crate) struct Chunker {
    max_characters: usize,
    text: String,
    characters: usize,
    /// The bytes of a character of which the rest has not arrived yet.
    torn: [u8; 4],
    torn_length: usize,
}

impl Chunker {
    pub(crate) fn new(max_characters: usize) -> Self {
        Self {
            max_characters: max_characters.max(1),
            text: String::new(),
            characters: 0,
            torn: [0; 4],
            torn_length: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.torn_length == 0
    }

    /// Takes bytes and gives out the pieces that are full.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], full: &mut VecDeque<String>) {
        // Byte by byte until the torn character is whole or turns out to be none.
        while self.torn_length > 0
            && let Some((first, rest)) = bytes.split_first()
        {
            self.torn[self.torn_length] = *first;
            let candidate = self.torn;
            match std::str::from_utf8(&candidate[..=self.torn_length]) {
                Ok(character) => {
                    self.torn_length = 0;
                    bytes = rest;
                    self.push(character, full);
                }
                Err(error) if error.error_len().is_none() => {
                    self.torn_length += 1;
                    bytes = rest;
                }
                // The new byte does not continue the character and is looked at again as the first of the next one.
                Err(_) => {
                    self.torn_length = 0;
                    self.push("\u{FFFD}", full);
                }
            }
        }
        while !bytes.is_empty() {
            match std::str::from_utf8(bytes) {
                Ok(text) => {
                    self.push(text, full);
                    return;
                }
                Err(error) => {
                    let (valid, rest) = bytes.split_at(error.valid_up_to());
                    self.push(
                        std::str::from_utf8(valid).expect("the decoder has just said so"),
                        full,
                    );
                    let Some(bad) = error.error_len() else {
                        self.torn[..rest.len()].copy_from_slice(rest);
                        self.torn_length = rest.len();
                        return;
                    };
                    self.push("\u{FFFD}", full);
                    bytes = &rest[bad..];
                }
            }
        }
    }

    /// Gives out what is there, but not the beginning of a character.
    pub(crate) fn flush(&mut self) -> Option<String> {
        self.characters = 0;
        (!self.text.is_empty()).then(|| std::mem::take(&mut self.text))
    }

    /// Gives out everything: no more bytes will come, so a torn character will never be whole.
    pub(crate) fn finish(&mut self, full: &mut VecDeque<String>) {
        if self.torn_length > 0 {
            self.torn_length = 0;
            self.push("\u{FFFD}", full);
        }
        full.extend(self.flush());
    }

    fn push(&mut self, mut text: &str, full: &mut VecDeque<String>) {
        while !text.is_empty() {
            let room = self.max_characters - self.characters;
            let (characters, cut) = split_point(text, room);
            let (head, tail) = text.split_at(cut);
            self.text.push_str(head);
            self.characters += characters;
            text = tail;
            if self.characters == self.max_characters {
                full.extend(self.flush());
            }
        }
    }
}

/// How many characters, at most `room`, and how many bytes they take.
fn split_point(text: &str, room: usize) -> (usize, usize) {
    if text.is_ascii() {
        let count = text.len().min(room);
        return (count, count);
    }
    match text.char_indices().nth(room) {
        Some((index, _)) => (room, index),
        None => (text.chars().count(), text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(max: usize, reads: &[&[u8]]) -> Vec<String> {
        let mut chunker = Chunker::new(max);
        let mut full = VecDeque::new();
        for read in reads {
            chunker.feed(read, &mut full);
        }
        chunker.finish(&mut full);
        full.into()
    }

    #[test]
    fn a_character_is_never_cut_wherever_the_reads_and_pieces_end() {
        let text = "aé€😀z".repeat(7);
        for read_length in 1..=9 {
            for max in 1..=6 {
                let reads: Vec<_> = text.as_bytes().chunks(read_length).collect();
                let pieces = pieces(max, &reads);
                assert_eq!(
                    pieces.concat(),
                    text,
                    "reads of {read_length}, pieces of {max}"
                );
                assert!(pieces.iter().all(|piece| piece.chars().count() <= max));
            }
        }
    }

    #[test]
    fn what_is_not_utf8_becomes_the_same_text_however_it_is_read() {
        let samples: [&[u8]; 6] = [
            b"a\xFFb",
            b"\xE2\x82",
            b"\xE2\x82\x41",
            b"\xF0\x9F\x98\xE2\x82\xAC",
            b"\xC3\xC3\xA9",
            b"\xED\xA0\x80x",
        ];
        for sample in samples {
            let expected = String::from_utf8_lossy(sample);
            for read_length in 1..=sample.len() {
                let reads: Vec<_> = sample.chunks(read_length).collect();
                assert_eq!(
                    pieces(100, &reads).concat(),
                    expected,
                    "{sample:?} in reads of {read_length}"
                );
            }
        }
    }

    #[test]
    fn a_flush_keeps_the_beginning_of_a_character_for_the_next_piece() {
        let mut chunker = Chunker::new(10);
        let mut full = VecDeque::new();
        chunker.feed(b"x\xE2\x82", &mut full);
        assert_eq!(chunker.flush().as_deref(), Some("x"));
        assert!(!chunker.is_empty());
        chunker.feed(b"\xAC", &mut full);
        assert_eq!(chunker.flush().as_deref(), Some("€"));
        assert!(chunker.is_empty());
    }
}
