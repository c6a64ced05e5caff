//! How often the screen is drawn.

use std::time::Duration;

use tokio::time::Instant;

/// When the last frame was drawn, and when the next is due.
pub struct Frames {
    last: Instant,
    next: Option<Instant>,
}

impl Frames {
    pub fn due_in(delay: Duration) -> Self {
        let now = Instant::now();
        Self { last: now, next: Some(now + delay) }
    }

    /// Asks for a frame, at the earliest `interval` after the last.
    pub fn request(&mut self, interval: Duration) {
        let due = self.last + interval;
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
    }

    pub fn drawn(&mut self) {
        self.last = Instant::now();
        self.next = None;
    }

    pub async fn wait(&self) {
        match self.next {
            Some(next) => tokio::time::sleep_until(next).await,
            None => std::future::pending().await,
        }
    }
}
