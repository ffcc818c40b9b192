//! Counts what the addon takes from the heap, for `npm run bench -- costs`: only in builds with the
//! feature `bench`. What V8 and Node allocate is not counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use napi_derive::napi;

#[global_allocator]
static ALLOCATOR: Counting = Counting { times: AtomicU64::new(0), bytes: AtomicU64::new(0) };

struct Counting {
    times: AtomicU64,
    bytes: AtomicU64,
}

impl Counting {
    fn count(&self, bytes: usize) {
        self.times.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }
}

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: as asked.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: as asked.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count(size);
        // SAFETY: as asked.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as asked.
        unsafe { System.dealloc(place, layout) }
    }
}

/// Since the process began.
#[napi(object, object_from_js = false)]
pub struct Allocations {
    /// New pieces of memory, and pieces made larger.
    pub times: f64,
    /// Their size in bytes.
    pub bytes: f64,
}

/// What the addon has allocated so far.
#[napi(catch_unwind)]
pub fn allocations() -> Allocations {
    Allocations {
        times: ALLOCATOR.times.load(Relaxed) as f64,
        bytes: ALLOCATOR.bytes.load(Relaxed) as f64,
    }
}
