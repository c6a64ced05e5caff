//! Which of the ranks a process is.

use super::halves::Share;

/// Which of how many ranks a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 0.
    pub rank: usize,
    /// The number of ranks, a power of two.
    pub size: usize,
}

impl Place {
    /// Of a process that trains by itself.
    pub const ALONE: Self = Self { rank: 0, size: 1 };

    /// Its images of a batch.
    pub fn share(self, batch: usize) -> Share {
        Share::of(batch, self.rank, self.size)
    }
}
