//! What the ranks tell each other. All of it is movement of bytes: whatever is computed of them is computed by taper, in an
//! order of its own.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pulp::bytemuck::{Pod, cast_slice, cast_slice_mut};

use super::halves::{Share, halved};
use super::place::Place;

/// Another rank cannot be reached any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other ranks cannot be reached: {0}")]
pub struct LostRank(pub String);

pub type Result<T> = std::result::Result<T, LostRank>;

/// What carries the bytes: MPI, or the channels of a test.
pub trait Transport: Send + Sync {
    /// From 0.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// Sends to `partner` what it receives, and receives what it sends.
    fn exchange(&self, partner: usize, sent: &[u8], received: &mut [u8]) -> Result<()>;

    /// What each rank has, `lens[rank]` bytes, one after another.
    fn gather(&self, own: &[u8], lens: &[usize], all: &mut [u8]) -> Result<()>;

    /// Messages from one rank to another arrive in their order.
    fn send(&self, to: usize, message: &[u8]) -> Result<()>;

    /// The next message from a rank, however long it takes; the processor is left to others meanwhile, and `while_waiting` called
    /// now and then.
    fn receive(&self, from: usize, while_waiting: &dyn Fn()) -> Result<Vec<u8>>;

    /// Ends all ranks at once, with that exit code.
    fn abort(&self, code: u8);
}

/// This process among the others. Every rank takes part in every call, in the same order.
pub struct Communicator {
    transport: Box<dyn Transport>,
    sent_bytes: AtomicU64,
    sent_messages: AtomicU64,
    /// In calls that all take part in, with waiting for the slowest.
    exchange_nanos: AtomicU64,
    /// The call that goes on, if one does.
    present: Mutex<Present>,
}

/// How long the calls take that all take part in.
#[derive(Default)]
struct Present {
    began: Option<Instant>,
    /// Of those that have ended.
    longest: Duration,
}

/// Within this time a rank that is there answers, and ten times as long as the slowest answer yet.
const PATIENCE: Duration = Duration::from_secs(60);
const TIMES_THE_LONGEST: u32 = 10;

impl Present {
    /// How long it has been waited for, if that is longer than any rank takes that is there.
    fn overdue(&self, now: Instant) -> Option<Duration> {
        let waited = now.duration_since(self.began?);
        (waited > PATIENCE.max(TIMES_THE_LONGEST * self.longest)).then_some(waited)
    }
}

impl fmt::Debug for Communicator {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.size())
    }
}

impl Communicator {
    /// Of a number of ranks that is a power of two.
    pub fn new(transport: impl Transport + 'static) -> Self {
        Self {
            transport: Box::new(transport),
            sent_bytes: AtomicU64::new(0),
            sent_messages: AtomicU64::new(0),
            exchange_nanos: AtomicU64::new(0),
            present: Mutex::default(),
        }
    }

    /// From 0.
    pub fn rank(&self) -> usize {
        self.transport.rank()
    }

    /// The number of ranks, a power of two.
    pub fn size(&self) -> usize {
        self.transport.size()
    }

    /// Bytes that this rank has sent, and in how many messages. What all gather counts as one message to each other rank.
    pub fn sent(&self) -> (u64, u64) {
        (self.sent_bytes.load(Ordering::Relaxed), self.sent_messages.load(Ordering::Relaxed))
    }

    /// Time that has gone into what all ranks take part in, with waiting for the slowest.
    pub fn exchange_secs(&self) -> f64 {
        self.exchange_nanos.load(Ordering::Relaxed) as f64 / 1e9
    }

    fn timed<T>(&self, exchange: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        self.present().began = Some(began);
        let result = exchange();
        let elapsed = began.elapsed();
        let mut present = self.present();
        (present.began, present.longest) = (None, present.longest.max(elapsed));
        self.exchange_nanos.fetch_add(elapsed.as_nanos() as u64, Ordering::Relaxed);
        result
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        // Whoever panicked had changed nothing.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long this rank has waited for the others, if that is longer than they take while they are there: a host is lost, of which
    /// MPI hears much later. For another thread to ask.
    pub fn overdue(&self) -> Option<Duration> {
        self.present().overdue(Instant::now())
    }

    fn count(&self, bytes: usize, messages: usize) {
        self.sent_bytes.fetch_add((bytes * messages) as u64, Ordering::Relaxed);
        self.sent_messages.fetch_add(messages as u64, Ordering::Relaxed);
    }

    pub fn place(&self) -> Place {
        Place { rank: self.rank(), size: self.size() }
    }

    /// This rank's images of a batch.
    pub fn share(&self, batch: usize) -> Share {
        self.place().share(batch)
    }

    /// What each rank has for its images, `row` numbers for one, in the order of the images.
    pub fn gather_rows<T: Pod>(&self, batch: usize, rows: &[T], row: usize) -> Result<Vec<T>> {
        let shares = (0..self.size()).map(|rank| Share::of(batch, rank, self.size()));
        let counts: Vec<usize> = shares.map(|share| share.images.len() * row).collect();
        self.gather(rows, &counts)
    }

    /// What each rank has, one after another; `counts` of them.
    pub fn gather<T: Pod>(&self, own: &[T], counts: &[usize]) -> Result<Vec<T>> {
        let mut all = vec![T::zeroed(); counts.iter().sum()];
        let lens: Vec<usize> = counts.iter().map(|count| count * size_of::<T>()).collect();
        self.count(size_of_val(own), self.size() - 1);
        self.timed(|| self.transport.gather(cast_slice(own), &lens, cast_slice_mut(&mut all)))?;
        Ok(all)
    }

    /// The sum over the ranks, as the upper levels of the tree of [`super::halves`] take it: neighbours first. A rank without
    /// images has -0, which changes no number that it is added to.
    ///
    /// Each level halves what a rank goes on with, and then what is summed comes back the same way (recursive halving and
    /// doubling, Thakur et al. 2005, section 4.3): a rank sends the numbers twice, less its part of them each time.
    pub fn sum(&self, numbers: &mut [f32]) -> Result<()> {
        let mut part = 0..numbers.len();
        let mut parts = vec![];
        let mut received = vec![];
        for level in 0..self.size().ilog2() {
            let partner = self.rank() ^ (1 << level);
            let [first, second] = halved(part);
            let (kept, sent) = if partner > self.rank() { (first, second) } else { (second, first) };
            received.resize(kept.len(), 0.0);
            self.exchange(partner, &numbers[sent.clone()], &mut received)?;
            numbers[kept.clone()].iter_mut().zip(&received).for_each(|(sum, other)| *sum += other);
            parts.push((partner, kept.clone(), sent));
            part = kept;
        }
        for (partner, own, others) in parts.into_iter().rev() {
            received.resize(others.len(), 0.0);
            self.exchange(partner, &numbers[own], &mut received)?;
            numbers[others].copy_from_slice(&received);
        }
        Ok(())
    }

    /// See [`Transport::send`].
    pub fn send(&self, to: usize, message: &[u8]) -> Result<()> {
        self.count(message.len(), 1);
        self.transport.send(to, message)
    }

    /// See [`Transport::receive`].
    pub fn receive(&self, from: usize, while_waiting: &dyn Fn()) -> Result<Vec<u8>> {
        self.transport.receive(from, while_waiting)
    }

    /// See [`Transport::abort`].
    pub fn abort(&self, code: u8) {
        self.transport.abort(code);
    }

    fn exchange(&self, partner: usize, sent: &[f32], received: &mut [f32]) -> Result<()> {
        self.count(size_of_val(sent), 1);
        self.timed(|| self.transport.exchange(partner, cast_slice(sent), cast_slice_mut(received)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::threads::on_ranks;

    /// Whose sums are rounded.
    fn real(seed: usize, len: usize) -> Vec<f32> {
        (0..len).map(|index| ((index * 7919 + seed * 104_729) % 1009) as f32 * 0.37 - 187.0).collect()
    }

    #[test]
    fn each_rank_has_what_all_gave() {
        for ranks in [1, 2, 4, 8] {
            for images in [1, 3, 16, 21] {
                let numbers = real(1, 5 * images);
                let gathered = on_ranks(ranks, |communicator| {
                    let share = communicator.share(images).images;
                    communicator.gather_rows(images, &numbers[5 * share.start..5 * share.end], 5).unwrap()
                });
                assert!(gathered.iter().all(|gathered| *gathered == numbers), "{ranks} {images}");
            }
        }
    }

    #[test]
    fn the_sum_of_the_ranks_is_that_of_the_tree() {
        for len in [0, 1, 2, 7, 64, 101] {
            let numbers: Vec<Vec<f32>> = (0..8).map(|rank| real(rank, len)).collect();
            for ranks in [1, 2, 4, 8] {
                let mut sums = numbers[..ranks].to_vec();
                while sums.len() > 1 {
                    let pairs = sums.chunks(2);
                    sums = pairs.map(|pair| pair[0].iter().zip(&pair[1]).map(|(a, b)| a + b).collect()).collect();
                }
                let ours = on_ranks(ranks, |communicator| {
                    let mut sum = numbers[communicator.rank()].clone();
                    communicator.sum(&mut sum).unwrap();
                    sum
                });
                assert!(ours.iter().all(|ours| *ours == sums[0]), "{len} {ranks}");
            }
        }
    }

    #[test]
    fn a_rank_is_lost_that_takes_much_longer_than_any_did() {
        let now = Instant::now() + Duration::from_secs(10_000);
        let overdue = |waited, longest| {
            let began = Some(now - Duration::from_secs(waited));
            Present { began, longest: Duration::from_secs(longest) }.overdue(now).is_some()
        };
        assert!(!overdue(59, 0) && overdue(61, 0) && overdue(61, 5));
        assert!(!overdue(299, 30) && overdue(301, 30), "a slow network");
        assert_eq!(Present::default().overdue(now), None, "it waits for nobody");
    }

    #[test]
    fn minus_zero_changes_no_number() {
        for number in [0.0f32, -0.0, 1e-45, -3.0, f32::INFINITY] {
            assert_eq!((number + -0.0).to_bits(), number.to_bits());
        }
    }
}
