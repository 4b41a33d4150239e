//! Whatever one side says is understood, or refused, the same way however it is cut into pieces.

use pgharness::statement::Random;
use pgharness::wire::{Batches, Framer, HEAD_MAX, Head, Malformed, Piece, Prepared, Side};

/// What a stream holds: its heads, with the bytes that follow each.
type Messages = (Vec<(Head, usize)>, Option<Malformed>);

/// A sentence about what is wrong, if anything is.
pub(super) fn understand(side: Side, bytes: &[u8], random: &mut Random) -> Option<String> {
    let whole = frame(side, bytes, || bytes.len().max(1));
    let pieces = frame(side, bytes, || 1 + random.below(50));
    if whole != pieces {
        return Some(format!("{side:?}: in one piece {whole:?}, in many {pieces:?}"));
    }
    let (messages, malformed) = whole;
    let framed: usize = messages.iter().map(|(head, rest)| head.bytes().len() + rest).sum();
    if framed > bytes.len() {
        return Some(format!("{side:?}: {framed} bytes out of {}", bytes.len()));
    }
    if malformed.is_none() && framed + HEAD_MAX < bytes.len() {
        return Some(format!("{side:?}: {} bytes are kept back", bytes.len() - framed));
    }
    let (mut batches, mut prepared) = (Batches::default(), Prepared::default());
    for (head, rest) in &messages {
        if head.bytes().len() > HEAD_MAX || (head.bytes().len() + rest) as u64 > head.length() {
            return Some(format!("{side:?}: {head:?} has {} bytes and {rest} more", head.bytes().len()));
        }
        // Both, whoever said it: none of them may rely on the side.
        batches.begins(head);
        batches.frontend(head);
        batches.backend(head);
        prepared.frontend(head);
        let _ =
            (head.statement(), head.portal(), head.target(), head.tag(), head.pid(), head.parameter("user"));
    }
    None
}

fn frame(side: Side, mut bytes: &[u8], mut step: impl FnMut() -> usize) -> Messages {
    let (mut framer, mut messages) = (Framer::new(side), Vec::new());
    while !bytes.is_empty() {
        let (now, later) = bytes.split_at(step().min(bytes.len()));
        bytes = later;
        let fed = framer.feed(now, |piece| match piece {
            Piece::Head(head) => messages.push((head, 0)),
            Piece::Body(body) => {
                if let Some((_, rest)) = messages.last_mut() {
                    *rest += body.len();
                }
            }
        });
        if let Err(malformed) = fed {
            return (messages, Some(malformed));
        }
    }
    (messages, None)
}
