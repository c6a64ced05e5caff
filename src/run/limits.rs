//! What the limits of the process leave, asked for in advance where a library would panic.

use std::fs::File;
use std::io;
use std::sync::Mutex;
use std::thread;

use rustix::io::Errno;

/// For signals, sockets, the terminal, and the files of a run.
const DESCRIPTORS: usize = 16;

/// # Errors
/// Fewer files can be opened than a trainer or a dashboard has open at once. tokio panics where it cannot listen for signals.
pub fn check_descriptors() -> io::Result<()> {
    let opened: io::Result<Vec<File>> = (0..DESCRIPTORS).map(|_| File::open("/dev/null")).collect();
    opened.map(drop)
}

/// # Errors
/// That many more threads cannot be started.
pub fn check_threads(count: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let _closed = gate.lock();
        (0..count).try_for_each(|_| thread::Builder::new().spawn_scoped(scope, || drop(gate.lock())).map(drop))
    })
}

/// # Errors
/// Less memory can be had than training the default network takes. Where there is none in the middle of the work, the system's
/// allocator leaves no choice but to abort.
pub fn check_memory() -> io::Result<()> {
    const BYTES: usize = 384 << 20;
    // It is not touched, so that only limits count.
    Vec::<u8>::new().try_reserve_exact(BYTES).map_err(|_| Errno::NOMEM.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_found() {
        check_descriptors().unwrap();
        check_threads(8).unwrap();
        check_memory().unwrap();
    }
}
