//! All that a run's directory tells.

use std::fs;

use anyhow::{Context, Result};

use super::folder::Source;
use crate::config::Values;
use crate::metrics::Confusion;
use crate::run::comparison::configuration;
use crate::run::dir::RunDir;
use crate::run::event::{EpochDone, Event};
use crate::run::lock::{Liveness, liveness};
use crate::run::probe::Probe;
use crate::run::replay::replay_each;
use crate::run::state::RunState;
use crate::run::system_sample::SystemSample;

pub struct RecordedRun {
    pub dir: RunDir,
    pub state: RunState,
    pub configuration: Values,
    /// All that are in the log.
    pub samples: Vec<TimedSample>,
    pub is_live: bool,
}

pub struct TimedSample {
    pub time_ms: u64,
    pub step: u64,
    pub sample: SystemSample,
}

impl RecordedRun {
    /// # Errors
    /// The configuration or the log cannot be read.
    pub fn read(dir: &RunDir) -> Result<Self> {
        let mut samples = vec![];
        let state = replay_each(dir, |record| {
            if let Event::SystemSampled { step, sample } = &record.event {
                samples.push(TimedSample { time_ms: record.time_ms, step: *step, sample: (**sample).clone() });
            }
        })?;
        let configuration = configuration(dir, &state)?;
        let is_live = !matches!(liveness(dir), Liveness::Dead);
        Ok(Self { dir: dir.clone(), state, configuration, samples, is_live })
    }

    pub fn name(&self) -> String {
        self.dir.name()
    }

    pub fn source(&self) -> Source {
        Source { run: self.name(), first_started_ms: self.state.first_started_ms }
    }

    /// The names of its classes, as far as the log tells.
    pub fn classes(&self) -> &[String] {
        self.state.started.as_ref().map_or(&[], |started| &started.dataset.classes)
    }

    /// The best epoch, or else the last one, among those whose confusion matrix is known.
    pub fn detailed_epoch(&self) -> Option<(&EpochDone, &Confusion)> {
        let detail = |epoch: &'_ EpochDone| epoch.confusion.is_some();
        let best = self.state.best().filter(|best| detail(best));
        let epoch = best.or_else(|| self.state.epochs.iter().rev().find(|epoch| detail(epoch)))?;
        Some((epoch, epoch.confusion.as_ref()?))
    }

    /// The probe of that file; `None` where it is not on the disk any more.
    ///
    /// # Errors
    /// It cannot be read, or is no probe.
    pub fn probe(&self, file: &str) -> Result<Option<Probe>> {
        let path = self.dir.probes().join(file);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(Probe::from_bytes(&bytes).with_context(|| path.display().to_string())?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// The probe of the best epoch, or else the last one that is on the disk.
    ///
    /// # Errors
    /// As [`RecordedRun::probe`].
    pub fn best_probe(&self) -> Result<Option<Probe>> {
        let best_step = self.state.best().map(|best| best.step);
        let saved = || self.state.probes.iter().rev();
        let of_best = saved().filter(|probe| Some(probe.saved.step) == best_step);
        for probe in of_best.chain(saved()) {
            if let Some(probe) = self.probe(&probe.saved.file)? {
                return Ok(Some(probe));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
impl RecordedRun {
    /// A run of a log among the fixtures, such as `training`, and the folder that it lies in.
    pub fn example(log: &str) -> (tempfile::TempDir, Self) {
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir::at(folder.path().join("run"));
        fs::create_dir(dir.path()).unwrap();
        dir.write_config(&crate::config::Config::default()).unwrap();
        let fixture = format!("{}/tests/fixtures/logs/{log}.jsonl", env!("CARGO_MANIFEST_DIR"));
        fs::copy(fixture, dir.events()).unwrap();
        let run = Self::read(&dir).unwrap();
        (folder, run)
    }
}
