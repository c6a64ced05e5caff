//! What rank 0 has the other ranks do, which train by its word alone: each call of its engine that changes something, or that all
//! compute together.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::cpu;
use crate::config::{Config, TestTimeAugmentation};
use crate::data::fingerprint::DataFingerprint;
use crate::ranks::Communicator;
use crate::run::event::RankStarted;
use crate::run::process;
use crate::simd::{self, SimdPath};
use crate::version;

/// Rank 0 owns the run.
pub const LEADER: usize = 0;

#[derive(Debug, Serialize, Deserialize)]
pub enum Call {
    /// Reads the data of this configuration; the answer is a [`Joined`].
    Join {
        config: Box<Config>,
        data: DataFingerprint,
    },
    /// An engine with the initial weights, in place of the one that there was.
    NewEngine,
    Prepare,
    /// The bytes of a model file follow; and of a companion's, where it is named.
    LoadWeights {
        companion: Option<String>,
    },
    /// The bytes follow.
    LoadOptimizer,
    /// From that batch of the epoch on.
    BeginEpoch {
        epoch: u64,
        first_batch: usize,
        first_step: u64,
    },
    Step {
        learning_rate: f64,
    },
    /// A share of these images of the evaluation's.
    Evaluate {
        images: Range<usize>,
        augmentation: TestTimeAugmentation,
    },
    /// The run has ended.
    End,
}

/// A rank that has read its data, or why not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    pub rank: RankStarted,
    pub program: Program,
    pub error: Option<String>,
}

/// What has to be the same on every rank, or they would not compute the same numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// With its commit, where that is known.
    pub version: String,
    /// Its vector instructions.
    pub simd: String,
}

impl Program {
    pub fn own() -> Self {
        let simd = simd::chosen().map_or(String::new(), |path| path.to_string());
        Self { version: version::VERSION.to_owned(), simd }
    }

    /// What keeps a rank with `other` from computing the same as one with this.
    fn difference(&self, other: &Self) -> Option<String> {
        if self.version != other.version {
            return Some(format!(
                "it is taper {}, and rank 0 is {}: install the same on every host",
                other.version, self.version
            ));
        }
        (self.simd != other.simd).then(|| {
            let (own, other) = (&self.simd, &other.simd);
            let width = |name: &&String| SimdPath::ALL.iter().position(|path| path.name() == name.as_str());
            let narrower = [own, other].into_iter().min_by_key(width).unwrap_or(own);
            format!("it computes with {other}, and rank 0 with {own}: set {}={narrower} on every rank", simd::VARIABLE)
        })
    }
}

/// What this process has: its CPU.
pub fn own_rank() -> RankStarted {
    RankStarted { host: process::host(), device: cpu::described("") }
}

/// Rank 0's hold on the others. Dropped, it ends them: in good order where they wait for a call, and at once where they may be in
/// the middle of one.
#[derive(Debug)]
pub struct Leader {
    pub communicator: Arc<Communicator>,
    /// The other ranks, once they have joined.
    joined: OnceLock<Vec<Joined>>,
    /// In a call that this rank has not come to the end of.
    is_within: AtomicBool,
    /// That all have taken together.
    steps: AtomicU64,
}

impl Leader {
    pub fn new(communicator: Arc<Communicator>) -> Self {
        Self { communicator, joined: OnceLock::new(), is_within: AtomicBool::new(false), steps: AtomicU64::new(0) }
    }

    /// Has the others read their data, and compares it with that of rank 0.
    ///
    /// # Errors
    /// One has no data, or other data: told by rank and host.
    pub fn join(&self, config: &Config, data: &DataFingerprint) -> Result<()> {
        self.tell(&Call::Join { config: Box::new(config.clone()), data: data.clone() }, &[])?;
        let mut joined: Vec<Joined> = vec![];
        for rank in 1..self.communicator.size() {
            let answer = self.communicator.receive(rank, &|| {})?;
            joined.push(serde_json::from_slice(&answer).with_context(|| format!("rank {rank}"))?);
        }
        let of_ranks = (1..).zip(&joined);
        let own = Program::own();
        let failed = of_ranks.filter_map(|(rank, joined)| {
            let error = joined.error.clone().or_else(|| own.difference(&joined.program))?;
            Some(format!("rank {rank} on {}: {error}", joined.rank.host))
        });
        let failed: Vec<String> = failed.collect();
        if !failed.is_empty() {
            bail!("{}", failed.join("; "))
        }
        self.joined.get_or_init(|| joined);
        Ok(())
    }

    /// All ranks, this one first.
    pub fn ranks(&self) -> Vec<RankStarted> {
        let others = self.joined.get().into_iter().flatten().map(|joined| joined.rank.clone());
        std::iter::once(own_rank()).chain(others).collect()
    }

    /// The hosts, each once, in the order of their ranks.
    pub fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<String> = vec![];
        for RankStarted { host, .. } in self.ranks() {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        hosts
    }

    /// Has the others do that, and gives them what follows the call.
    pub fn tell(&self, call: &Call, following: &[&[u8]]) -> Result<()> {
        let call = serde_json::to_vec(call).context("a call of the other ranks")?;
        for rank in 1..self.communicator.size() {
            for message in std::iter::once(&call[..]).chain(following.iter().copied()) {
                self.communicator.send(rank, message)?;
            }
        }
        Ok(())
    }

    /// Has all ranks do `call` together, this one by `own`.
    pub fn together<T>(&self, call: &Call, own: impl FnOnce() -> Result<T>) -> Result<T> {
        self.tell(call, &[])?;
        self.is_within.store(true, Ordering::SeqCst);
        let result = own()?;
        self.is_within.store(false, Ordering::SeqCst);
        if let Call::Step { .. } = call {
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
        Ok(result)
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let (bytes, messages) = self.communicator.sent();
        tracing::info!(
            "rank 0 sent {bytes} bytes in {messages} messages in {} steps",
            self.steps.load(Ordering::Relaxed)
        );
        if self.is_within.load(Ordering::SeqCst) || self.tell(&Call::End, &[]).is_err() {
            self.communicator.abort(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::source;
    use crate::ranks::threads::on_ranks;

    #[test]
    fn programs_that_compute_other_numbers_are_named() {
        let program = |version: &str, simd: &str| Program { version: version.to_owned(), simd: simd.to_owned() };
        let own = program("1.0", "avx512");
        assert_eq!(own.difference(&own), None);
        let of_version = own.difference(&program("1.1", "avx512")).expect("another version");
        assert_eq!(of_version, "it is taper 1.1, and rank 0 is 1.0: install the same on every host");
        for (ours, theirs, narrower) in [("avx512", "avx2", "avx2"), ("avx2", "portable", "portable")] {
            for (own, other) in [(ours, theirs), (theirs, ours)] {
                let of_path = program("1.0", own).difference(&program("1.0", other)).expect("another path");
                assert!(of_path.ends_with(&format!("set TAPER_SIMD={narrower} on every rank")), "{of_path}");
            }
        }
    }

    #[test]
    fn a_rank_that_cannot_join_is_named_with_its_host() -> Result<()> {
        let data = source::sample::read()?;
        let fingerprint = DataFingerprint {
            name: "sample".to_owned(),
            place: "built in".to_owned(),
            train_samples: data.0.len() as u64,
            validation_samples: 0,
            test_samples: data.1.len() as u64,
            sha256: String::new(),
        };
        let joined = on_ranks(4, |ranks| -> Result<()> {
            if ranks.rank() == LEADER {
                let leader = Leader::new(ranks);
                let joined = leader.join(&Config::default(), &fingerprint);
                assert!(leader.hosts().len() == 1, "none has joined");
                return joined;
            }
            assert!(matches!(serde_json::from_slice(&ranks.receive(LEADER, &|| {})?)?, Call::Join { .. }));
            let error = (ranks.rank() % 2 == 1).then(|| "no images".to_owned());
            let rank = RankStarted { host: format!("box{}", ranks.rank()), device: "cpu".to_owned() };
            let joined = Joined { rank, program: Program::own(), error };
            ranks.send(LEADER, &serde_json::to_vec(&joined)?)?;
            assert!(matches!(serde_json::from_slice(&ranks.receive(LEADER, &|| {})?)?, Call::End));
            Ok(())
        });
        let error = joined[0].as_ref().expect_err("two have no images").to_string();
        assert_eq!(error, "rank 1 on box1: no images; rank 3 on box3: no images");
        assert!(joined[1..].iter().all(Result::is_ok));
        Ok(())
    }
}
