//! The way to the phases and back. Requests queue items; the JS thread takes all that wait in one
//! call, and hands its answers back in one call. Nothing is shared between the threads: items are
//! copied into buffers that only the JS thread touches.

mod batch;
mod buffers;
mod cell;
mod handle;
mod item;
mod queue;
mod router;
mod text;

pub(crate) use cell::{Client, Flight, Lease};
pub(crate) use handle::{CrossingStats, NativeCrossing};
pub(crate) use item::{Item, Kind};
pub(crate) use millrace_records::{Outcome, Reply};
pub(crate) use queue::{Crossing, Full, UNLOGGED};
pub(crate) use router::Router;
pub(crate) use text::Section;
