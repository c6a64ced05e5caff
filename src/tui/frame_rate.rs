//! How often the screen is drawn: at once for who presses a key, and for news from the trainer as often as the bytes that they
//! cost let it. Over a slow link a frame that waits is better than a queue of them.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes a second that news may cost on average.
const NEWS_RATE: f64 = 15_000.0;
/// Bytes that may be written at once after a silence.
const MOST_SAVED: f64 = 15_000.0;
/// Bytes beyond them that are waited for; more are forgiven, or a page that was opened would stand still for long.
const MOST_OWED: f64 = 22_500.0;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Somebody did something.
    Prompt,
    /// The trainer, or another process, has told something, or the clock has moved on.
    News,
}

impl Occasion {
    /// The shortest time between two frames.
    fn interval(self) -> Duration {
        match self {
            Self::Prompt => Duration::from_millis(100),
            Self::News => Duration::from_millis(200),
        }
    }
}

/// When the last frame was drawn, and when the next is due.
pub struct Frames {
    last: Instant,
    next: Option<Instant>,
    /// Bytes that news may cost at the time of the last frame; owed where it is negative.
    saved: f64,
}

impl Frames {
    /// The first is due soon: a log of ordinary length is read before it, which therefore is not empty.
    pub fn first_due(now: Instant) -> Self {
        Self { last: now, next: Some(now + Occasion::Prompt.interval() / 2), saved: MOST_SAVED }
    }

    /// Asks for a frame.
    pub fn request(&mut self, occasion: Occasion) {
        let owed = Duration::from_secs_f64((-self.saved).max(0.0) / NEWS_RATE);
        let due = match occasion {
            Occasion::Prompt => self.last + occasion.interval(),
            Occasion::News => self.last + occasion.interval().max(owed),
        };
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
    }

    /// One of so many bytes was drawn.
    pub fn drawn(&mut self, now: Instant, bytes: u64) {
        let earned = (now - self.last).as_secs_f64() * NEWS_RATE;
        self.saved = ((self.saved + earned).min(MOST_SAVED) - bytes as f64).max(-MOST_OWED);
        (self.last, self.next) = (now, None);
    }

    pub async fn wait(&self) {
        match self.next {
            Some(next) => tokio::time::sleep_until(next).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws frames of so many bytes for news that never end; how many in how many seconds.
    fn drawn_for_news(bytes: u64, secs: f64) -> u32 {
        let start = Instant::now();
        let (mut frames, mut now, mut count) = (Frames::first_due(start), start, 0);
        while (now - start).as_secs_f64() < secs {
            frames.drawn(now, bytes);
            count += 1;
            frames.request(Occasion::News);
            now = frames.next.unwrap();
        }
        count
    }

    #[test]
    fn news_cost_no_more_than_the_link_has_room_for() {
        assert_eq!(drawn_for_news(1000, 20.0), 100, "five a second");
        for bytes in [4000, 8000, 15_000] {
            let a_second = f64::from(drawn_for_news(bytes, 20.0)) * bytes as f64 / 20.0;
            assert!((14_000.0..17_000.0).contains(&a_second), "{a_second} bytes a second in frames of {bytes}");
        }
    }

    #[test]
    fn who_presses_a_key_does_not_wait_for_them() {
        let start = Instant::now();
        let mut frames = Frames::first_due(start);
        frames.drawn(start, 100_000);
        frames.request(Occasion::News);
        assert_eq!(frames.next, Some(start + Duration::from_millis(1500)), "and what is owed has an end");
        frames.request(Occasion::Prompt);
        assert_eq!(frames.next, Some(start + Duration::from_millis(100)));
    }
}
