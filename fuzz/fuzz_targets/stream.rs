//! The decoder of event streams: any bytes, cut into any chunks, give the same lines as cutting the whole at its line ends.
//! Always: no line is longer than the bound, heartbeats are no lines, and what is not yet ended is known to be open.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use net::{LineDecoder, LineIsTooLong};

const MAX_LINE: usize = 64;

/// What a reader with the whole stream in hand would say, up to the first line that is too long.
fn expected(stream: &[u8]) -> (Vec<&[u8]>, Result<bool, LineIsTooLong>) {
    let mut lines = Vec::new();
    let mut pieces = stream.split(|byte| *byte == b'\n').peekable();
    while let Some(piece) = pieces.next() {
        if piece.len() > MAX_LINE {
            return (lines, Err(LineIsTooLong { max_line: MAX_LINE }));
        }
        if pieces.peek().is_none() {
            return (lines, Ok(!piece.is_empty()));
        }
        if !piece.is_empty() {
            lines.push(piece);
        }
    }
    (lines, Ok(false))
}

// The first byte says how many of the following bytes are sizes of chunks; they are used in turn.
fuzz_target!(|input: &[u8]| {
    let Some((&count, rest)) = input.split_first() else {
        return;
    };
    let Some((sizes, stream)) = rest.split_at_checked(usize::from(count % 8)) else {
        return;
    };
    let mut sizes = sizes.iter().map(|size| usize::from(*size)).cycle();

    let mut decoder = LineDecoder::new(MAX_LINE);
    let mut lines = Vec::new();
    let mut verdict = Ok(());
    let mut left = stream;
    'chunks: while !left.is_empty() {
        let size = sizes.next().unwrap_or(left.len()).clamp(1, left.len());
        let (chunk, tail) = left.split_at(size);
        left = tail;
        decoder.push(Bytes::copy_from_slice(chunk));
        loop {
            match decoder.next_line() {
                Ok(Some(line)) => lines.push(line),
                Ok(None) => break,
                Err(error) => {
                    verdict = Err(error);
                    break 'chunks;
                }
            }
        }
    }

    let (expected, end) = expected(stream);
    assert_eq!(lines, expected);
    assert_eq!(verdict, end.map(|_| ()));
    if let Ok(is_open) = end {
        assert_eq!(decoder.is_in_a_line(), is_open);
    }
});
