//! Ranks that are threads of a test.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use super::communicator::{Communicator, LostRank, Result, Transport};

pub struct Threads {
    rank: usize,
    /// To each rank.
    to: Vec<Sender<Vec<u8>>>,
    /// From each rank.
    from: Vec<Mutex<Receiver<Vec<u8>>>>,
}

impl Threads {
    fn hear_into(&self, rank: usize, bytes: &mut [u8]) -> Result<()> {
        let received = self.receive(rank, &|| {})?;
        assert_eq!(received.len(), bytes.len(), "rank {} from rank {rank}", self.rank);
        bytes.copy_from_slice(&received);
        Ok(())
    }
}

impl Transport for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn exchange(&self, partner: usize, sent: &[u8], received: &mut [u8]) -> Result<()> {
        self.send(partner, sent)?;
        self.hear_into(partner, received)
    }

    fn send(&self, to: usize, message: &[u8]) -> Result<()> {
        self.to[to].send(message.to_vec()).map_err(|error| LostRank(error.to_string()))
    }

    fn receive(&self, from: usize, _while_waiting: &dyn Fn()) -> Result<Vec<u8>> {
        let from = self.from[from].lock().map_err(|error| LostRank(error.to_string()))?;
        from.recv().map_err(|error| LostRank(error.to_string()))
    }

    fn abort(&self, code: u8) {
        panic!("rank {} ends all ranks with {code}", self.rank);
    }

    fn gather(&self, own: &[u8], lens: &[usize], all: &mut [u8]) -> Result<()> {
        assert_eq!(own.len(), lens[self.rank], "rank {}", self.rank);
        for rank in 0..self.size() {
            self.send(rank, own)?;
        }
        let mut rest = all;
        for (rank, &len) in lens.iter().enumerate() {
            let (part, others) = rest.split_at_mut(len);
            self.hear_into(rank, part)?;
            rest = others;
        }
        Ok(())
    }
}

/// What `f` gives on each of so many ranks.
pub fn on_ranks<T: Send>(ranks: usize, f: impl Fn(Arc<Communicator>) -> T + Sync) -> Vec<T> {
    let mut to: Vec<Vec<Sender<Vec<u8>>>> = (0..ranks).map(|_| vec![]).collect();
    let mut from: Vec<Vec<Mutex<Receiver<Vec<u8>>>>> = (0..ranks).map(|_| vec![]).collect();
    for to in &mut to {
        for from in &mut from {
            let (send, receive) = channel();
            to.push(send);
            from.push(Mutex::new(receive));
        }
    }
    let transports = to.into_iter().zip(from).enumerate().map(|(rank, (to, from))| Threads { rank, to, from });
    let communicators: Vec<Arc<Communicator>> =
        transports.map(|threads| Arc::new(Communicator::new(threads))).collect();
    std::thread::scope(|scope| {
        let f = &f;
        // Each computes on a thread of its own: one that waits for the others must not keep one of them from computing.
        let computing = |communicator| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
            pool.install(|| f(communicator))
        };
        let threads: Vec<_> =
            communicators.into_iter().map(|communicator| scope.spawn(move || computing(communicator))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no rank panics")).collect()
    })
}
