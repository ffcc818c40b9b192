use std::cell::UnsafeCell;
use std::sync::Arc;

use napi::Env;
use napi::bindgen_prelude::{BufferSlice, Float64ArraySlice, Int32ArraySlice, Result};

use super::batch::{Batch, Ended, MAX_BATCH, MAX_ENDED};
use super::item::{DOUBLES, INTS, at};

/// Bytes of text of one batch: more than the largest item, whose heads are bounded.
pub(super) const INPUT: usize = 2 * 1024 * 1024;
const RECORDS: usize = 4 * MAX_BATCH;

/// Memory that JS has views of. Only the JS thread touches it: in [`Memory::fill`] and
/// [`Memory::records`], which are called from there alone, and through the views.
pub(super) struct Memory {
    input: Area<u8>,
    items: Area<i32>,
    numbers: Area<f64>,
    records: Area<i32>,
}

struct Area<T>(UnsafeCell<Box<[T]>>);

// SAFETY: see `Memory`: one thread touches it. Other threads only hold and drop it.
unsafe impl<T: Send> Sync for Area<T> {}

impl<T: Copy + Default> Area<T> {
    fn new(length: usize) -> Self {
        Area(UnsafeCell::new(vec![T::default(); length].into_boxed_slice()))
    }

    fn start(&self) -> (*mut T, usize) {
        // SAFETY: no reference to the contents outlives the calls below, all on one thread.
        let contents = unsafe { &mut *self.0.get() };
        (contents.as_mut_ptr(), contents.len())
    }

    fn write(&self, offset: usize, values: &[T]) {
        // SAFETY: as above; slices are checked.
        let contents = unsafe { &mut *self.0.get() };
        if let Some(place) = contents.get_mut(offset..offset + values.len()) {
            place.copy_from_slice(values);
        }
    }
}

/// What JS sees of it.
pub(super) type Views<'env> =
    (BufferSlice<'env>, Int32ArraySlice<'env>, Float64ArraySlice<'env>, Int32ArraySlice<'env>);

impl Memory {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Memory {
            input: Area::new(INPUT),
            // Behind the items: how many requests have ended, and which, behind how many items.
            items: Area::new(MAX_BATCH * INTS + 1 + 2 * MAX_ENDED),
            numbers: Area::new(MAX_BATCH * DOUBLES),
            records: Area::new(RECORDS * millrace_records::INTS),
        })
    }

    pub(super) fn views<'env>(self: &Arc<Self>, env: &'env Env) -> Result<Views<'env>> {
        let ((input, input_len), (items, items_len)) = (self.input.start(), self.items.start());
        let ((numbers, numbers_len), (records, records_len)) =
            (self.numbers.start(), self.records.start());
        // SAFETY: each view holds the memory through its finalizer's hint.
        unsafe {
            Ok((
                BufferSlice::from_external(env, input, input_len, self.clone(), |_, _| {})?,
                Int32ArraySlice::from_external(env, items, items_len, self.clone(), |_, _| {})?,
                Float64ArraySlice::from_external(
                    env,
                    numbers,
                    numbers_len,
                    self.clone(),
                    |_, _| {},
                )?,
                Int32ArraySlice::from_external(env, records, records_len, self.clone(), |_, _| {})?,
            ))
        }
    }

    /// JS thread: lays a batch out for JS; how many items it has. It fits: [`super::Crossing::begin`]
    /// saw to that.
    pub(super) fn fill(&self, batch: &mut Batch, ended: &[Ended]) -> usize {
        let (heads, text) = batch.given();
        let mut offset = 0;
        for (index, head) in heads.iter_mut().enumerate() {
            head.ints[at::OFFSET] = offset as i32;
            self.items.write(index * INTS, &head.ints);
            self.numbers.write(index * DOUBLES, &head.doubles);
            offset += head.text;
        }
        self.input.write(0, text);
        self.items.write(MAX_BATCH * INTS, &[ended.len() as i32]);
        for (index, ended) in ended.iter().enumerate() {
            self.items.write(MAX_BATCH * INTS + 1 + 2 * index, &ended.ints());
        }
        heads.len()
    }

    /// JS thread: the records JS has written.
    pub(super) fn records(&self, count: usize) -> Vec<i32> {
        // SAFETY: as above; copied before JS runs again.
        let contents = unsafe { &*self.records.0.get() };
        contents.get(..count * millrace_records::INTS).map(<[i32]>::to_vec).unwrap_or_default()
    }
}
