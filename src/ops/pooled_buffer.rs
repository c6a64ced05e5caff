//! Scratch memory that is used again. A step needs tens of megabytes for as long as it lasts; asked for anew, all of it would be
//! zeroed once a step before it is written.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Free vectors that are kept; more than a step of the study's network uses at a time.
const KEPT: usize = 64;

static FREE: Mutex<Vec<Vec<f32>>> = Mutex::new(vec![]);

fn free() -> MutexGuard<'static, Vec<Vec<f32>>> {
    // The list is whole whatever panicked while it was locked: a vector is in it or not.
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A slice of f32 whose memory goes to the next buffer of about its size.
#[derive(Debug, Default)]
pub struct PooledBuffer(Vec<f32>);

impl PooledBuffer {
    /// `len` numbers that an earlier buffer left behind: for what is written before it is read.
    pub fn stale(len: usize) -> Self {
        let mut free = free();
        let fitting = free.iter().enumerate().filter(|(_, vec)| (len..=2 * len).contains(&vec.capacity()));
        let best = fitting.min_by_key(|(_, vec)| vec.capacity()).map(|(position, _)| position);
        let mut vec = best.map(|position| free.swap_remove(position)).unwrap_or_default();
        drop(free);
        vec.resize(len, 0.0);
        Self(vec)
    }

    pub fn zeros(len: usize) -> Self {
        let mut buffer = Self::stale(len);
        buffer.fill(0.0);
        buffer
    }

    /// The sum of no numbers for each of `len` sums: -0, which changes no number that it is added to, as 0 does -0.
    pub fn nothing(len: usize) -> Self {
        let mut buffer = Self::stale(len);
        buffer.fill(-0.0);
        buffer
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        let vec = std::mem::take(&mut self.0);
        let mut free = free();
        if vec.capacity() > 0 && free.len() < KEPT {
            free.push(vec);
        }
    }
}

impl Deref for PooledBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for PooledBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_zeros_are_zeros() {
        // Of a size that no other test asks for, nor for more than half of it.
        const LEN: usize = 20_000_000;
        let mut buffer = PooledBuffer::stale(LEN);
        buffer.fill(7.0);
        let position = buffer.as_ptr();
        drop(buffer);
        let buffer = PooledBuffer::zeros(LEN);
        assert_eq!(buffer.as_ptr(), position);
        assert!(buffer.len() == LEN && buffer.iter().all(|&value| value == 0.0));
    }
}
