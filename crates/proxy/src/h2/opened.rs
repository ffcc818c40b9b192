//! The streams that a client has opened, as the frames of the connection show them: `h2` says
//! nothing of those that it refuses, nor of what it still holds of one that is over for us.

use tokio::time::Instant;

use super::hpack::Block;

/// Streams that were opened and are neither over nor refused. `h2` bounds them by what it is told of
/// streams and of errors; beyond that are only those that it ignores, as they came after a GOAWAY.
const MAX_OPENED: usize = 4096;

/// What is known of a request that was refused.
#[derive(Clone, Default)]
pub(super) struct Asked {
    /// Method and path, with a space between them.
    pub(super) line: Vec<u8>,
    pub(super) authority: Vec<u8>,
    /// Bytes of the head, as it would be in HTTP/1.1.
    pub(super) bytes: u64,
}

impl Asked {
    pub(super) fn of(block: &Block) -> Self {
        let line = [&block.method[..], &block.path].join(&b' ');
        Asked { line, authority: block.authority.clone(), bytes: block.bytes }
    }
}

/// What is wrong with a request's trailers.
#[derive(Clone, Copy, Default)]
pub(super) struct Trailers {
    /// They are more than is taken. Of far too many `h2` keeps only some.
    pub(super) are_too_large: bool,
    /// They hold pseudo-headers, which `h2` leaves out (RFC 9113 §8.1).
    pub(super) have_pseudo: bool,
}

/// Why `h2` refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It was reset, with this code.
    Reset(u32),
    /// Its head was answered with 431.
    TooLarge,
}

/// A stream.
pub(super) struct Open {
    id: u32,
    state: State,
    asked: Asked,
    /// What is wrong with its head and cannot be seen in what `h2` makes of it.
    pub(super) wrong: Option<&'static str>,
    /// What there is to say of its trailers, once they have come.
    pub(super) trailers: Trailers,
    /// What it holds of the body, and what its head holds.
    pub(super) unread: u64,
    pub(super) head: u64,
    /// The last frame of the response has gone, or the stream was reset.
    has_ended: bool,
}

enum State {
    /// Nobody has said what becomes of it.
    New,
    Refused(Why),
    /// It is served.
    Accepted,
    /// It was, up to then.
    Done(Instant),
}

impl Open {
    /// Whether anybody may still take its body.
    pub(super) fn is_wanted(&self) -> bool {
        !matches!(self.state, State::Done(_))
    }
}

/// The streams of a connection, oldest first.
#[derive(Default)]
pub(super) struct Opened {
    streams: Vec<Open>,
    /// The last that was opened.
    highest: u32,
    refused: usize,
    done: usize,
}

impl Opened {
    /// A head has come. Whether there is room for one more; what is no new stream is none.
    pub(super) fn open(&mut self, id: u32, block: &Block) -> bool {
        if id <= self.highest {
            return true;
        }
        self.highest = id;
        if self.streams.len() >= MAX_OPENED {
            return false;
        }
        self.streams.push(Open {
            id,
            state: State::New,
            asked: Asked::of(block),
            wrong: block.wrong(),
            trailers: Trailers::default(),
            unread: 0,
            head: 0,
            has_ended: false,
        });
        true
    }

    fn place(&self, id: u32) -> Option<usize> {
        self.streams.binary_search_by_key(&id, |open| open.id).ok()
    }

    pub(super) fn get(&mut self, id: u32) -> Option<&mut Open> {
        self.place(id).and_then(|place| self.streams.get_mut(place))
    }

    /// `h2` has handed it out.
    pub(super) fn accept(&mut self, id: u32) -> Option<&mut Open> {
        let place = self.place(id)?;
        let open = self.streams.get_mut(place)?;
        if matches!(open.state, State::Refused(_)) {
            self.refused -= 1;
        }
        open.state = State::Accepted;
        open.asked = Asked::default();
        Some(open)
    }

    /// `h2` has sent this for it. One that nobody was given will not be given to anybody.
    pub(super) fn answered(&mut self, id: u32, why: Why) {
        if let Some(open) = self.get(id)
            && matches!(open.state, State::New)
        {
            open.state = State::Refused(why);
            self.refused += 1;
        }
    }

    /// Nothing more is sent for it.
    pub(super) fn ended(&mut self, id: u32) {
        let Some(place) = self.place(id) else { return };
        let open = &mut self.streams[place];
        open.has_ended = true;
        if matches!(open.state, State::Done(_)) {
            self.done -= 1;
            self.streams.remove(place);
        }
    }

    /// It is over for us. What it held.
    pub(super) fn done(&mut self, id: u32) -> u64 {
        let Some(place) = self.place(id) else { return 0 };
        let open = &mut self.streams[place];
        let held = open.unread + open.head;
        (open.unread, open.head) = (0, 0);
        if open.has_ended {
            self.streams.remove(place);
        } else if !matches!(open.state, State::Done(_)) {
            open.state = State::Done(Instant::now());
            self.done += 1;
        }
        held
    }

    /// Since when the oldest response waits in `h2` that is over for us.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        if self.done == 0 {
            return None;
        }
        let since = |open: &Open| match open.state {
            State::Done(since) => Some(since),
            _ => None,
        };
        self.streams.iter().filter_map(since).min()
    }

    /// Takes out those that `h2` has refused, with what they held.
    pub(super) fn take_refused(&mut self) -> (Vec<(Asked, Why)>, u64) {
        if self.refused == 0 {
            return (Vec::new(), 0);
        }
        self.refused = 0;
        let mut refused = Vec::new();
        let mut held = 0;
        self.streams.retain_mut(|open| {
            let State::Refused(why) = open.state else { return true };
            refused.push((std::mem::take(&mut open.asked), why));
            held += open.unread;
            false
        });
        (refused, held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(count: u32) -> Opened {
        let mut opened = Opened::default();
        let block = Block { method: b"GET".to_vec(), path: b"/".to_vec(), ..Block::default() };
        (0..count).for_each(|n| assert!(opened.open(2 * n + 1, &block)));
        opened
    }

    #[tokio::test]
    async fn a_stream_is_kept_until_it_is_over_on_both_sides() {
        let mut opened = opened(4);
        for id in [1, 3, 5] {
            opened.accept(id).unwrap().unread = 10;
        }
        opened.ended(1);
        assert!(opened.get(1).is_some());
        assert_eq!(opened.done(1), 10);
        assert!(opened.get(1).is_none() && opened.waits_since().is_none());
        opened.done(5);
        assert_eq!(opened.done(3), 10);
        assert!(opened.waits_since().is_some());
        opened.ended(3);
        opened.ended(5);
        assert!(opened.waits_since().is_none());
        assert_eq!((opened.done(3), opened.streams.len()), (0, 1));
    }

    #[test]
    fn refused_is_what_was_answered_and_never_handed_out() {
        let mut opened = opened(3);
        opened.accept(1);
        opened.answered(1, Why::Reset(1));
        opened.answered(3, Why::Reset(1));
        opened.answered(5, Why::TooLarge);
        // Reset before anybody looked at it: it is handed out all the same.
        opened.accept(3);
        let (refused, _) = opened.take_refused();
        assert_eq!(refused.len(), 1);
        assert_eq!((&*refused[0].0.line, refused[0].1), (&b"GET /"[..], Why::TooLarge));
        assert!(opened.take_refused().0.is_empty() && opened.get(5).is_none());
    }

    #[test]
    fn there_is_a_bound() {
        let mut opened = opened(MAX_OPENED as u32);
        assert!(opened.open(1, &Block::default()));
        assert!(!opened.open(2 * MAX_OPENED as u32 + 1, &Block::default()));
    }
}
