//! Ranks that are processes of MPI. Where MPI finds that one of them is gone, it ends them all: it knows no other way.

use std::time::{Duration, Instant};

use mpi::Threading;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::point_to_point::{Destination, MatchedReceiveVec, Source, send_receive_into};
use mpi::topology::{Communicator as _, SimpleCommunicator};
use mpi::traits::CommunicatorCollectives;

use super::communicator::{Communicator, Result, Transport};
use super::launch::Launch;

/// MPI as it runs: it ends when this is dropped, by the thread that began it.
pub struct Mpi {
    _universe: Universe,
}

#[derive(Debug, thiserror::Error)]
pub enum MpiError {
    #[error(
        "{launched} processes were started together, but MPI sees {seen}: taper is built with {library}; start it with the \
         mpirun, or the srun plugin (srun --mpi=list), of that"
    )]
    NotTogether { launched: usize, seen: usize, library: String },
    #[error("this MPI cannot be used by a program with threads ({library})")]
    NoThreads { library: String },
    #[error("MPI has begun already")]
    Twice,
}

impl Mpi {
    /// Begins, as one of the processes that the launcher started.
    ///
    /// # Errors
    /// They do not find each other, or MPI is too old.
    pub fn begin(launch: Launch) -> std::result::Result<(Self, Communicator), MpiError> {
        // Of all threads one at a time speaks: the trainer's, or the compute thread that it waits for.
        let (universe, threading) = mpi::initialize_with_threading(Threading::Serialized).ok_or(MpiError::Twice)?;
        let library = mpi::environment::library_version().unwrap_or_default();
        let library = library.split([',', '\n']).next().unwrap_or_default().to_owned();
        if threading < Threading::Serialized {
            return Err(MpiError::NoThreads { library });
        }
        let world = SimpleCommunicator::world();
        let seen = world.size() as usize;
        if seen != launch.size {
            return Err(MpiError::NotTogether { launched: launch.size, seen, library });
        }
        let transport = MpiTransport { rank: world.rank() as usize, size: seen };
        Ok((Self { _universe: universe }, Communicator::new(transport)))
    }
}

struct MpiTransport {
    rank: usize,
    size: usize,
}

/// How long a message is looked for without a pause: longer than the others take for their part of a step.
const WITHOUT_PAUSE: Duration = Duration::from_millis(20);
/// The pause between two looks later on, as while the run is paused.
const PAUSE: Duration = Duration::from_millis(1);

impl Transport for MpiTransport {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn exchange(&self, partner: usize, sent: &[u8], received: &mut [u8]) -> Result<()> {
        let world = SimpleCommunicator::world();
        let partner = world.process_at_rank(partner as i32);
        send_receive_into(sent, &partner, received, &partner);
        Ok(())
    }

    fn gather(&self, own: &[u8], lens: &[usize], all: &mut [u8]) -> Result<()> {
        let counts: Vec<i32> = lens.iter().map(|&len| len as i32).collect();
        let starts: Vec<i32> = counts
            .iter()
            .scan(0, |start, &count| {
                let own = *start;
                *start += count;
                Some(own)
            })
            .collect();
        let mut parts = PartitionMut::new(all, counts, &starts[..]);
        SimpleCommunicator::world().all_gather_varcount_into(own, &mut parts);
        Ok(())
    }

    fn send(&self, to: usize, message: &[u8]) -> Result<()> {
        SimpleCommunicator::world().process_at_rank(to as i32).send(message);
        Ok(())
    }

    fn receive(&self, from: usize, while_waiting: &dyn Fn()) -> Result<Vec<u8>> {
        let world = SimpleCommunicator::world();
        let process = world.process_at_rank(from as i32);
        let began = Instant::now();
        loop {
            if let Some(message) = process.immediate_matched_probe() {
                return Ok(message.matched_receive_vec().0);
            }
            match began.elapsed() < WITHOUT_PAUSE {
                true => std::thread::yield_now(),
                false => {
                    while_waiting();
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    fn abort(&self, code: u8) {
        SimpleCommunicator::world().abort(code.into());
    }
}
