//! Items on their way to JS: put in a row by the runtimes, taken as a whole by the JS thread.

use super::buffers::INPUT;
use super::item::{Head, Item};

/// The most items of one call.
pub(super) const MAX_BATCH: usize = 256;
/// The most requests whose end is told in one call.
pub(super) const MAX_ENDED: usize = 1024;

/// A request that has ended without anything to run or to tell, as most do.
pub(super) struct Ended {
    /// How many items were queued before.
    behind: usize,
    pub(super) slot: u32,
    /// It was the last of its connection.
    last: bool,
}

impl Ended {
    /// As JS reads it.
    pub(super) fn ints(&self) -> [i32; 2] {
        [self.behind as i32, (self.slot * 2) as i32 + i32::from(self.last)]
    }
}

/// Items in a row, and their texts.
#[derive(Default)]
pub(super) struct Items {
    heads: Vec<Head>,
    text: Vec<u8>,
    ended: Vec<Ended>,
}

impl Items {
    pub(super) fn end(&mut self, slot: u32, last: bool) {
        self.ended.push(Ended { behind: self.heads.len(), slot, last });
    }

    pub(super) fn push(&mut self, item: &mut Item) {
        let waiter = item.head.waiter.take();
        let Head { ints, doubles, .. } = item.head;
        self.heads.push(Head { ints, doubles, waiter, text: item.text.len() });
        self.text.extend_from_slice(&item.text);
    }

    pub(super) fn len(&self) -> usize {
        self.heads.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.heads.is_empty() && self.ended.is_empty()
    }

    fn clear(&mut self) {
        self.heads.clear();
        self.text.clear();
        // A burst of large heads is not kept room for.
        self.text.shrink_to(2 * INPUT);
    }
}

/// What JS has taken from the queue. The JS thread's own.
#[derive(Default)]
pub(super) struct Batch {
    items: Items,
    /// The items and the bytes that JS has had, and those it is given now.
    had: (usize, usize),
    given: (usize, usize),
    /// Requests whose end is not yet told.
    ended: Vec<Ended>,
}

impl Batch {
    /// The items of this call, and their texts in a row.
    pub(super) fn given(&mut self) -> (&mut [Head], &[u8]) {
        let ((head, byte), (heads, bytes)) = (self.had, self.given);
        (&mut self.items.heads[head..head + heads], &self.items.text[byte..byte + bytes])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.given.0 == 0
    }

    /// Takes all of `items`, and leaves empty ones in their place.
    pub(super) fn refill(&mut self, items: &mut Items) {
        self.items.clear();
        std::mem::swap(items, &mut self.items);
        self.ended.iter_mut().for_each(|ended| ended.behind = 0);
        self.ended.append(&mut self.items.ended);
        (self.had, self.given) = ((0, 0), (0, 0));
        self.advance();
    }

    /// Goes on to the items that follow, as far as they fit in a call.
    pub(super) fn advance(&mut self) {
        self.had.0 += self.given.0;
        self.had.1 += self.given.1;
        let mut bytes = 0;
        let fits = self.items.heads[self.had.0..].iter().take(MAX_BATCH).take_while(|head| {
            let fits = bytes + head.text <= INPUT;
            bytes += if fits { head.text } else { 0 };
            fits
        });
        self.given = (fits.count(), bytes);
    }

    /// The requests whose end is told in this call, each behind the items that were queued before.
    pub(super) fn take_ended(&mut self) -> Vec<Ended> {
        let (from, to) = (self.had.0, self.had.0 + self.given.0);
        let all = self.left() == 0;
        let due = self.ended.iter().take(MAX_ENDED);
        let due = due.take_while(|ended| all || ended.behind < to).count();
        let mut due: Vec<Ended> = self.ended.drain(..due).collect();
        due.iter_mut().for_each(|ended| ended.behind = ended.behind.saturating_sub(from));
        due
    }

    /// Whether there is nothing left to give in a further call.
    pub(super) fn is_done(&self) -> bool {
        self.left() == 0 && self.ended.is_empty()
    }

    /// How many are not yet given.
    pub(super) fn left(&self) -> usize {
        self.items.heads.len() - self.had.0 - self.given.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    fn items(texts: &[usize]) -> Items {
        let mut items = Items::default();
        for (index, length) in texts.iter().enumerate() {
            let mut item = Item::new(index as u32, 0, Kind::Run, 0, 0);
            item.text.resize(*length, index as u8);
            items.push(&mut item);
        }
        items
    }

    /// The slots and the length of the text of each call.
    fn calls(texts: &[usize]) -> Vec<(Vec<i32>, usize)> {
        let mut batch = Batch::default();
        batch.refill(&mut items(texts));
        let mut calls = Vec::new();
        while !batch.is_empty() {
            let (heads, text) = batch.given();
            calls.push((heads.iter().map(|head| head.ints[0]).collect(), text.len()));
            batch.advance();
        }
        assert_eq!(batch.left(), 0);
        calls
    }

    #[test]
    fn a_call_gets_as_many_items_as_it_may_and_the_next_one_those_that_follow() {
        let counts: Vec<_> = calls(&[1; 600]).iter().map(|(slots, _)| slots.len()).collect();
        assert_eq!(counts, [MAX_BATCH, MAX_BATCH, 600 - 2 * MAX_BATCH]);
        let half = INPUT / 2;
        assert_eq!(
            calls(&[half, half, 1, half, half]),
            [(vec![0, 1], 2 * half), (vec![2, 3], half + 1), (vec![4], half)]
        );
    }

    #[test]
    fn ends_are_told_where_they_came_and_all_of_them() {
        let told = |batch: &mut Batch| -> Vec<[i32; 2]> {
            batch.take_ended().iter().map(Ended::ints).collect()
        };
        let mut queued = items(&[1; 2]);
        queued.end(7, false);
        (0..MAX_BATCH)
            .for_each(|slot| queued.push(&mut Item::new(slot as u32, 0, Kind::Run, 0, 0)));
        queued.end(8, true);
        let mut batch = Batch::default();
        batch.refill(&mut queued);
        assert_eq!(told(&mut batch), [[2, 14]]);
        assert!(!batch.is_done());
        batch.advance();
        assert_eq!(told(&mut batch), [[2, 17]]);
        assert!(batch.is_done());

        let mut queued = items(&[]);
        (0..=MAX_ENDED as u32).for_each(|slot| queued.end(slot, false));
        batch.refill(&mut queued);
        assert_eq!(told(&mut batch).len(), MAX_ENDED);
        assert!(!batch.is_done());
        batch.refill(&mut items(&[]));
        assert_eq!(told(&mut batch), [[0, 2 * MAX_ENDED as i32]]);
    }

    #[test]
    fn texts_stay_with_their_items() {
        let mut batch = Batch::default();
        let mut first = items(&[3, 0, 2]);
        batch.refill(&mut first);
        let (heads, text) = batch.given();
        assert_eq!(heads.iter().map(|head| head.text).collect::<Vec<_>>(), [3, 0, 2]);
        assert_eq!(text, [0, 0, 0, 2, 2]);
        // What was given is gone, also from the buffers that go back to the queue.
        batch.refill(&mut items(&[1]));
        assert_eq!(batch.given().1, [0]);
        assert!(first.is_empty() && first.text.is_empty());
    }
}
