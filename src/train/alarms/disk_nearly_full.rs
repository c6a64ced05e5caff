//! Little room is left for checkpoints and the log.

use super::hysteresis::{Hysteresis, Level};
use crate::format;

#[derive(Debug)]
pub struct DiskNearlyFull {
    bytes: u64,
    hysteresis: Hysteresis,
}

impl DiskNearlyFull {
    /// Less than so many free bytes are alarming.
    pub fn new(bytes: u64) -> Self {
        Self { bytes, hysteresis: Hysteresis::default() }
    }

    /// Takes the bytes that are free; gives what to say if they are few.
    pub fn observe(&mut self, free: u64) -> Option<String> {
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

    #[test]
    fn it_is_told_once_until_there_is_a_quarter_more_room() {
        let mut detector = DiskNearlyFull::new(1000);
        let told = [5000, 999, 10, 1200, 999, 1250, 999].map(|free| detector.observe(free).is_some());
        assert_eq!(told, [false, true, false, false, false, false, true]);
        assert!(DiskNearlyFull::new(u64::MAX).observe(5).is_some(), "no threshold overflows");
    }
}
