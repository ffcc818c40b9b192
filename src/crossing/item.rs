/// Numbers of an item, as ints and as doubles.
pub(crate) const INTS: usize = 16;
pub(crate) const DOUBLES: usize = 8;

/// What an item asks of the JS thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Run the masked phases and answer.
    Run = 0,
    /// The request is over: run `logging` if it is in the mask, then free the slot.
    End = 1,
    /// The crossing `seq` is void; the signal of the request fires.
    Abort = 2,
    /// A connection has closed: its number is the text.
    Closed = 3,
    /// A piece of a body: run the masked phases on it and answer.
    Body = 4,
    /// The body of the request that the phase waits for is there, or the error in its place.
    Read = 5,
    /// The phases of this number have had their last request.
    Retired = 6,
    /// A connection is there for an app: its number and addresses are the text.
    Stream = 7,
}

/// One entry of a batch, while it is put together.
pub(crate) struct Item {
    pub(crate) head: Head,
    pub(crate) text: Vec<u8>,
}

/// What is of the same size for every item. The ints and doubles go to JS as they stand here; the
/// text goes beside them.
pub(crate) struct Head {
    pub(crate) ints: [i32; INTS],
    pub(crate) doubles: [f64; DOUBLES],
    /// The cell that waits for the answer, to be told that JS has begun.
    pub(crate) waiter: Option<std::sync::Arc<super::cell::Cell>>,
    pub(crate) text: usize,
}

/// Places of an item's ints; `ts/crossing` has the same list.
pub(crate) mod at {
    pub(crate) const SLOT: usize = 0;
    pub(crate) const PROXY: usize = 1;
    pub(crate) const KIND: usize = 2;
    pub(crate) const SEQ: usize = 3;
    pub(crate) const MASK: usize = 4;
    pub(crate) const OFFSET: usize = 5;
    pub(crate) const REQUEST: usize = 6;
    pub(crate) const TARGET: usize = 7;
    pub(crate) const METHOD: usize = 8;
    pub(crate) const HOST: usize = 9;
    pub(crate) const UPSTREAM: usize = 10;
    pub(crate) const HEAD: usize = 11;
    pub(crate) const STATUS: usize = 12;
    pub(crate) const ERROR: usize = 13;
    pub(crate) const ATTEMPT: usize = 14;
    pub(crate) const FLAGS: usize = 15;
}

impl Item {
    pub(crate) fn new(slot: u32, proxy: u32, kind: Kind, seq: u32, mask: u32) -> Self {
        let mut ints = [0; INTS];
        ints[at::SLOT] = slot as i32;
        ints[at::PROXY] = proxy as i32;
        ints[at::KIND] = kind as i32;
        ints[at::SEQ] = seq as i32;
        ints[at::MASK] = mask as i32;
        let head = Head { ints, doubles: [f64::NAN; DOUBLES], waiter: None, text: 0 };
        Item { head, text: SPARE.take() }
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        let mut text = std::mem::take(&mut self.text);
        if text.capacity() <= MOST_SPARE {
            text.clear();
            // None at the end of a thread: then it is simply dropped.
            let _ = SPARE.try_with(|spare| spare.replace(text));
        }
    }
}

/// What a thread keeps at most for the text of its next item.
const MOST_SPARE: usize = 64 * 1024;

thread_local! {
    /// The text of the last item of this thread, for the next one.
    static SPARE: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}
