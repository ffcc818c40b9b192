//! What stands between the two ends of a body: the filters that the phases ask for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use millrace_error::Result;
use millrace_message::Fields;

use crate::Body;

/// The most that a filter is given at once. What comes in smaller pieces is put together as far as
/// it is there already, as each call may be dear.
pub(crate) const PIECE: usize = 64 * 1024;

/// Sees the pieces of one body, in order, and says what goes on in their place. One is made for each
/// body, and only where a phase wants it: other bodies pass at no cost.
pub trait BodyFilter: Send {
    /// A piece; `end` says that it is the last, which may be empty. Not called again before its
    /// outcome is there, and that has been taken on.
    fn filter(&mut self, data: Bytes, end: bool) -> Filtering;

    /// Whether the head of a response waits for what this makes of the first of its body. Where that
    /// is all of it, its length is known, and where it fails, an error page can still be sent.
    /// Default: it does not wait.
    fn holds_head(&self) -> bool {
        false
    }

    /// The last outcome said that there is more to come before the next piece. Default: there is not.
    fn more(&mut self) -> Filtering {
        Filtering::Done(Ok(Filtered { data: Bytes::new(), end: false, more: false }))
    }
}

/// The outcome for a piece, now or later.
pub enum Filtering {
    /// Now.
    Done(Result<Filtered>),
    /// Later. Bodies do not wait for each other: the other direction goes on.
    Later(Pin<Box<dyn Future<Output = Result<Filtered>> + Send>>),
}

/// What goes on in the place of a piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filtered {
    /// The bytes; none drops the piece.
    pub data: Bytes,
    /// The body ends with them, whatever else comes.
    pub end: bool,
    /// There is more to come before the next piece: see [`BodyFilter::more`].
    pub more: bool,
}

impl Filtered {
    /// The piece as it is, or another in its place.
    pub fn piece(data: Bytes, end: bool) -> Self {
        Filtered { data, end, more: false }
    }
}

/// Filters one body: what is polled here is polled there.
pub(crate) struct Filter {
    filter: Box<dyn BodyFilter>,
    running: Option<Pin<Box<dyn Future<Output = Result<Filtered>> + Send>>>,
    /// What has come and was not filtered yet.
    gathered: Gathered,
    trailers: Option<Fields>,
    /// The body has come to its end; the filter has seen that.
    input_ended: bool,
    told_end: bool,
    more: bool,
    ended: bool,
}

impl Filter {
    pub(crate) fn new(filter: Box<dyn BodyFilter>) -> Self {
        Filter {
            filter,
            running: None,
            gathered: Gathered::default(),
            trailers: None,
            input_ended: false,
            told_end: false,
            more: false,
            ended: false,
        }
    }

    /// One that makes its body by itself.
    pub(crate) fn source(filter: Box<dyn BodyFilter>) -> Self {
        Filter { input_ended: true, told_end: true, more: true, ..Filter::new(filter) }
    }

    /// Whether a piece is with the filter, so that neither end of the body is waited for.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// The next piece of the filtered body, of what `input` is polled for.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut input: impl FnMut(&mut Context<'_>) -> Poll<Result<Body>>,
    ) -> Poll<Result<Body>> {
        loop {
            if self.ended {
                return Poll::Ready(Ok(match self.trailers.take() {
                    Some(trailers) => Body::Trailers(trailers),
                    None => Body::End,
                }));
            }
            let filtered = match &mut self.running {
                Some(running) => ready!(running.as_mut().poll(cx)),
                None => match ready!(self.start(cx, &mut input))? {
                    Filtering::Done(done) => done,
                    Filtering::Later(running) => {
                        self.running = Some(running);
                        continue;
                    }
                },
            };
            self.running = None;
            let Filtered { data, end, more } = filtered?;
            self.more = more && !end;
            self.ended = end || (self.told_end && !self.more);
            if self.ended && !self.input_ended {
                // The rest is not wanted, and what would have followed it neither.
                self.trailers = None;
            }
            if !data.is_empty() {
                return Poll::Ready(Ok(Body::Data(data)));
            }
        }
    }

    /// Gives the filter its next piece, when there is one.
    fn start(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut impl FnMut(&mut Context<'_>) -> Poll<Result<Body>>,
    ) -> Poll<Result<Filtering>> {
        if self.more {
            return Poll::Ready(Ok(self.filter.more()));
        }
        while !self.input_ended && self.gathered.len() < PIECE {
            match input(cx) {
                Poll::Ready(Ok(Body::Data(data))) => self.gathered.add(data),
                Poll::Ready(Ok(Body::Trailers(trailers))) => self.trailers = Some(trailers),
                Poll::Ready(Ok(Body::End)) => self.input_ended = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                // What is there is not kept waiting for what is not.
                Poll::Pending if self.gathered.len() == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        let piece = self.gathered.take(PIECE);
        self.told_end = self.input_ended && self.gathered.len() == 0;
        Poll::Ready(Ok(self.filter.filter(piece, self.told_end)))
    }
}

/// The filters of a response's body, in the order it passes them.
#[derive(Default)]
pub(crate) struct Filters {
    first: Option<Filter>,
    second: Option<Filter>,
}

impl Filters {
    pub(crate) fn new(
        first: Option<Box<dyn BodyFilter>>,
        second: Option<Box<dyn BodyFilter>>,
    ) -> Self {
        Filters { first: first.map(Filter::new), second: second.map(Filter::new) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    /// Whether the head waits for the first of the body.
    pub(crate) fn hold_head(&self) -> bool {
        self.all().any(|filter| filter.filter.holds_head())
    }

    /// Whether a piece is with one of them, so that the origin is not waited for.
    pub(crate) fn are_running(&self) -> bool {
        self.all().any(Filter::is_running)
    }

    /// Whether all of the body has come out, trailers aside.
    pub(crate) fn have_ended(&self) -> bool {
        self.second.as_ref().or(self.first.as_ref()).is_some_and(|last| last.ended)
    }

    /// The next piece, of what `input` is polled for.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut input: impl FnMut(&mut Context<'_>) -> Poll<Result<Body>>,
    ) -> Poll<Result<Body>> {
        match (&mut self.first, &mut self.second) {
            (Some(first), Some(second)) => second.poll(cx, |cx| first.poll(cx, &mut input)),
            (Some(one), None) | (None, Some(one)) => one.poll(cx, input),
            (None, None) => input(cx),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Filter> {
        self.first.iter().chain(&self.second)
    }
}

/// Bytes put together: the first piece as it came, copied only when another follows.
#[derive(Default)]
struct Gathered {
    first: Bytes,
    more: BytesMut,
}

impl Gathered {
    fn len(&self) -> usize {
        self.first.len() + self.more.len()
    }

    fn add(&mut self, data: Bytes) {
        if self.len() == 0 {
            self.first = data;
            return;
        }
        if !self.first.is_empty() {
            let first = std::mem::take(&mut self.first);
            self.more.extend_from_slice(&first);
        }
        self.more.extend_from_slice(&data);
    }

    fn take(&mut self, most: usize) -> Bytes {
        if !self.first.is_empty() {
            let most = most.min(self.first.len());
            return self.first.split_to(most);
        }
        let most = most.min(self.more.len());
        self.more.split_to(most).freeze()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::poll_fn;

    use super::*;

    /// Notes its pieces and answers as it is told; as it came where it is not.
    struct Told {
        seen: std::sync::Arc<parking_lot::Mutex<Seen>>,
        answers: VecDeque<Filtered>,
    }

    impl BodyFilter for Told {
        fn filter(&mut self, data: Bytes, end: bool) -> Filtering {
            self.seen.lock().push((data.to_vec(), end));
            let answer = self.answers.pop_front().unwrap_or(Filtered::piece(data, end));
            Filtering::Later(Box::pin(async { Ok(answer) }))
        }

        fn more(&mut self) -> Filtering {
            Filtering::Done(Ok(self.answers.pop_front().unwrap_or_default()))
        }
    }

    type Seen = Vec<(Vec<u8>, bool)>;

    /// What the filter saw and what came out, of a body in these pieces; none stands for a pause.
    async fn run(input: Vec<Option<Body>>, answers: Vec<Filtered>) -> (Seen, Vec<Body>) {
        let seen = std::sync::Arc::default();
        let told = Told { seen: std::sync::Arc::clone(&seen), answers: answers.into() };
        let mut filter = Filter::new(Box::new(told));
        let mut input = VecDeque::from(input);
        let mut out = Vec::new();
        loop {
            let next = poll_fn(|cx| {
                filter.poll(cx, |cx| match input.pop_front() {
                    Some(Some(body)) => Poll::Ready(Ok(body)),
                    Some(None) => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    None => Poll::Pending,
                })
            });
            match next.await.unwrap() {
                Body::End => break,
                body => out.push(body),
            }
        }
        let seen = seen.lock().clone();
        (seen, out)
    }

    fn data(bytes: &'static [u8]) -> Option<Body> {
        Some(Body::Data(Bytes::from_static(bytes)))
    }

    fn text(out: &[Body]) -> String {
        let text = out.iter().map(|body| match body {
            Body::Data(data) => String::from_utf8_lossy(data).into_owned(),
            Body::Trailers(_) => "|trailers".to_owned(),
            Body::End => String::new(),
        });
        text.collect()
    }

    #[tokio::test]
    async fn pieces_that_are_there_are_put_together_and_nothing_waits_for_those_that_are_not() {
        let input = vec![data(b"a"), data(b"bc"), None, data(b"d"), None, Some(Body::End)];
        let (seen, out) = run(input, Vec::new()).await;
        let expected = [(b"abc".to_vec(), false), (b"d".to_vec(), false), (Vec::new(), true)];
        assert_eq!(seen, expected);
        assert_eq!(text(&out), "abcd");
    }

    #[tokio::test]
    async fn a_large_piece_is_given_in_parts() {
        let large = Bytes::from(vec![7; PIECE * 2 + 1]);
        let (seen, _) = run(vec![Some(Body::Data(large)), Some(Body::End)], Vec::new()).await;
        let lengths: Vec<_> = seen.iter().map(|(piece, end)| (piece.len(), *end)).collect();
        assert_eq!(lengths, [(PIECE, false), (PIECE, false), (1, true)]);
    }

    #[tokio::test]
    async fn pieces_are_dropped_replaced_added_to_and_the_body_ended_early() {
        let piece = |text: &'static str, end, more| Filtered { data: text.into(), end, more };
        let input = || vec![data(b"a"), None, data(b"b"), None, data(b"c"), Some(Body::End)];
        let answers =
            vec![piece("", false, false), piece("B", false, true), piece("+", false, false)];
        assert_eq!(text(&run(input(), answers).await.1), "B+c");
        let answers = vec![piece("A", true, false)];
        let (seen, out) = run(input(), answers).await;
        assert_eq!((seen.len(), text(&out)), (1, "A".to_owned()));
    }

    #[tokio::test]
    async fn what_is_left_after_the_last_piece_still_comes_and_then_the_trailers() {
        let piece = |text: &'static str, more| Filtered { data: text.into(), end: false, more };
        let trailers = Some(Body::Trailers(Fields::default()));
        let answers = vec![piece("1", true), piece("", true), piece("2", false)];
        let (seen, out) = run(vec![data(b"a"), trailers, Some(Body::End)], answers).await;
        assert_eq!((seen.len(), text(&out)), (1, "12|trailers".to_owned()));
    }
}
