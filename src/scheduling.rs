//! How the system schedules the JS thread. Woken by a runtime's thread, it would take the core from
//! it at once, twice for each batch; as a batch thread it waits for its turn, which saves several
//! microseconds for each request where the two share a core.

use std::sync::Arc;

use millrace_server::ThreadHook;

/// Makes the calling thread a batch thread, where the system has them.
pub(crate) fn batch() {
    #[cfg(target_os = "linux")]
    set(libc::SCHED_BATCH);
}

/// Makes the calling thread a usual one.
pub(crate) fn usual() {
    #[cfg(target_os = "linux")]
    set(libc::SCHED_OTHER);
}

/// For the threads of runtimes: they inherit what the JS thread is.
pub(crate) fn hook() -> ThreadHook {
    Arc::new(usual)
}

#[cfg(target_os = "linux")]
fn set(policy: libc::c_int) {
    // SAFETY: 0 is the calling thread, and the parameters are a plain struct that may be zero. It
    // needs no privilege; where it is refused all the same, nothing changes.
    unsafe {
        let parameters: libc::sched_param = std::mem::zeroed();
        libc::sched_setscheduler(0, policy, &parameters);
    }
}
