//! Where memory comes from: mimalloc, which keeps what is freed for what is allocated next, in huge pages where there are any.
//! A training step with large batches allocates and frees gigabytes; the system's allocator would give every large block back,
//! and have it zeroed anew, page by page, by the kernel.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set, mi_option_t};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, 3.x.
const PURGE_DELAY: mi_option_t = 15;
/// Not at all.
const NEVER: c_long = -1;

/// From now on freed memory is never given back to the system: for a process that computes, whose steps are all alike. By default
/// it is given back after a second, and a step may last longer.
pub fn keep_freed_memory() {
    set_purge_delay(NEVER);
}

fn set_purge_delay(millis: c_long) {
    // SAFETY: it stores a number, atomically.
    unsafe { mi_option_set(PURGE_DELAY, millis) }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;

    use super::*;

    /// Faults of this thread that were served without reading a file: proc(5), `minflt` of stat.
    fn page_faults() -> u64 {
        let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
        let after_name = stat.rsplit_once(')').unwrap().1;
        after_name.split_whitespace().nth(7).unwrap().parse().unwrap()
    }

    /// Of some attempts: other tests may take what was freed, or leave as much.
    fn faults_of_allocating_again() -> impl Iterator<Item = u64> {
        (0..10).map(|_| {
            drop(vec![1u8; 100_000_000]);
            let before = page_faults();
            drop(vec![1u8; 100_000_000]);
            page_faults() - before
        })
    }

    #[test]
    fn what_is_freed_is_kept_where_that_is_asked_for() {
        set_purge_delay(0);
        // 48 huge pages, if they are huge.
        assert!(faults_of_allocating_again().any(|faults| faults >= 40));
        keep_freed_memory();
        assert!(faults_of_allocating_again().any(|faults| faults < 10));
    }
}
