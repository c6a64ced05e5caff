//! Channels whose ReLU is active for no image: the network has lost them.

use super::detector::{Detector, EpochResult, Settings};
use super::hysteresis::{Hysteresis, Level};

pub fn detector(settings: &Settings) -> Option<Box<dyn Detector>> {
    let channels = settings.config.alarms.dead_channels;
    (channels > 0).then(|| Box::new(DeadChannels::new(channels)) as _)
}

/// Channels of a block that are named.
const NAMED: usize = 8;

struct DeadChannels {
    channels: usize,
    hysteresis: Hysteresis,
}

impl DeadChannels {
    /// This many of the network are alarming.
    fn new(channels: usize) -> Self {
        Self { channels, hysteresis: Hysteresis::default() }
    }

    fn observe(&mut self, dead: &[Vec<usize>]) -> Option<String> {
        let level = match dead.iter().map(Vec::len).sum() {
            0 => Level::Calm,
            count if count >= self.channels => Level::Alarming,
            _ => Level::Uneasy,
        };
        self.hysteresis.raises(level).then(|| {
            let blocks = dead.iter().enumerate().filter(|(_, channels)| !channels.is_empty());
            let blocks: Vec<String> = blocks.map(|(block, channels)| describe(block, channels)).collect();
            format!("never active in the evaluation: {} (alarms.dead_channels)", blocks.join("; "))
        })
    }
}

impl Detector for DeadChannels {
    fn after_epoch(&mut self, epoch: &EpochResult) -> Option<String> {
        self.observe(epoch.dead_channels)
    }
}

fn describe(block: usize, channels: &[usize]) -> String {
    let named: Vec<String> = channels.iter().take(NAMED).map(usize::to_string).collect();
    let more = match channels.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let word = if channels.len() == 1 { "channel" } else { "channels" };
    format!("block {}, {word} {}{more}", block + 1, named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_named_once_until_all_are_active_again() {
        let mut detector = DeadChannels::new(2);
        let none = [vec![], vec![], vec![]];
        let one = [vec![], vec![3], vec![]];
        let many = [vec![4], vec![], (0..10).collect()];
        assert_eq!((detector.observe(&none), detector.observe(&one)), (None, None));
        let told = detector.observe(&many).expect("an alarm");
        assert!(
            told.contains("block 1, channel 4; block 3, channels 0, 1, 2, 3, 4, 5, 6, 7 and 2 more (alarms"),
            "{told}"
        );
        assert_eq!((detector.observe(&many), detector.observe(&one), detector.observe(&many)), (None, None, None));
        detector.observe(&none);
        assert!(detector.observe(&many).is_some());
    }
}
