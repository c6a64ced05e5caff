//! Little room is left for checkpoints and the log.

use super::super::step_result::StepResult;
use super::detector::{Detector, EpochResult, Settings};
use super::hysteresis::{Hysteresis, Level};
use crate::format;
use crate::run::held_dir::HeldRunDir;
use crate::run::log::Room;

/// Training time between two looks at the disk within an epoch.
const INTERVAL_SECS: f64 = 30.0;
/// The room below which a disk is nearly full, unless the configuration says: for this many checkpoints, and at least
/// this many bytes.
const CHECKPOINTS_OF_ROOM: u64 = 3;
const LEAST_ROOM: u64 = 1 << 30;

pub fn detector(settings: &Settings) -> Option<Box<dyn Detector>> {
    let room_of_checkpoints = CHECKPOINTS_OF_ROOM * settings.checkpoint_bytes;
    let bytes = settings.config.alarms.disk_free_bytes.unwrap_or(LEAST_ROOM.max(room_of_checkpoints));
    // Looks before the first step.
    let dir = settings.dir.clone();
    let detector = DiskNearlyFull { dir, secs_since_look: INTERVAL_SECS, free_bytes: FreeBytes::new(bytes) };
    (bytes > 0).then(|| Box::new(detector) as _)
}

struct DiskNearlyFull {
    dir: HeldRunDir,
    secs_since_look: f64,
    free_bytes: FreeBytes,
}

impl DiskNearlyFull {
    fn look(&mut self) -> Option<String> {
        self.secs_since_look = 0.0;
        match self.dir.free_bytes() {
            Ok(free) => self.free_bytes.observe(free),
            Err(error) => {
                tracing::warn!("cannot tell how much room {} has: {error}", self.dir.path().display());
                None
            }
        }
    }
}

impl Detector for DiskNearlyFull {
    /// A log that is short of room is reason enough to look.
    fn after_step(&mut self, step: &StepResult, room: Room) -> Option<String> {
        self.secs_since_look += step.train_secs;
        if self.secs_since_look >= INTERVAL_SECS || room == Room::Short { self.look() } else { None }
    }

    fn after_epoch(&mut self, _epoch: &EpochResult) -> Option<String> {
        self.look()
    }
}

struct FreeBytes {
    /// Less is alarming.
    bytes: u64,
    hysteresis: Hysteresis,
}

impl FreeBytes {
    fn new(bytes: u64) -> Self {
        Self { bytes, hysteresis: Hysteresis::default() }
    }

    fn observe(&mut self, free: u64) -> Option<String> {
        let level = if free < self.bytes {
            Level::Alarming
        } else if free < self.bytes.saturating_add(self.bytes / 4) {
            Level::Uneasy
        } else {
            Level::Calm
        };
        self.hysteresis.raises(level).then(|| {
            let (free, bytes) = (format::bytes(free), format::bytes(self.bytes));
            format!("{free} are free where the run lies, less than {bytes} (alarms.disk_free_bytes)")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::run::dir::RunDir;
    use crate::run::step_time::StepTime;

    #[test]
    fn it_is_told_once_until_there_is_a_quarter_more_room() {
        let mut detector = FreeBytes::new(1000);
        let told = [5000, 999, 10, 1200, 999, 1250, 999].map(|free| detector.observe(free).is_some());
        assert_eq!(told, [false, true, false, false, false, false, true]);
        assert!(FreeBytes::new(u64::MAX).observe(5).is_some(), "no threshold overflows");
    }

    #[test]
    fn it_looks_before_the_first_step_and_at_once_when_the_log_is_short_of_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = HeldRunDir::hold(&RunDir::at(folder.path())).expect("held");
        let mut config = Config::default();
        config.alarms.disk_free_bytes = Some(1 << 60);
        let step = StepResult {
            epoch: 1,
            step: 1,
            loss: 1.0,
            gradient_norm: 1.0,
            correct: 0,
            samples: 64,
            time: StepTime::default(),
            train_secs: 0.01,
            moving_learning_rate: None,
            rank_secs: vec![],
        };
        let settings = Settings { config: &config, dir: &dir, checkpoint_bytes: 1, ranks: &[] };
        let mut first = detector(&settings).expect("a detector");
        assert!(first.after_step(&step, Room::Reserved).is_some(), "before the first step");
        let mut later = DiskNearlyFull { dir, secs_since_look: 0.0, free_bytes: FreeBytes::new(1 << 60) };
        assert_eq!(later.after_step(&step, Room::Reserved), None, "not yet");
        assert!(later.after_step(&step, Room::Short).is_some());
    }
}
