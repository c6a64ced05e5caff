//! The pace at which clients are attended to: however many they are and whatever they send, they cost the machine little
//! that is to train.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What clients get: so many turns at once after a calm, for a key or a command is never to wait, and 100 a second where
/// there are always some who want one.
const TURNS: Rate = Rate { burst: 64, interval: Duration::from_millis(10) };
/// How often the thread wakes. Whatever a client sends wakes it, though it be nobody's turn, and on a core that is busy
/// with something else that costs more than the turn.
const WAKES: Rate = Rate { burst: 256, interval: Duration::from_millis(50) };

#[derive(Clone, Copy)]
struct Rate {
    burst: u32,
    /// Between two where the burst is used up.
    interval: Duration,
}

/// Gives turns in the order in which they are asked for.
pub(super) struct Pace {
    /// Locked by whoever has the next turn; the others queue up for the lock, and tokio's queue is a fair one.
    budget: tokio::sync::Mutex<Budget>,
}

impl Pace {
    pub fn new() -> Self {
        Self { budget: tokio::sync::Mutex::new(Budget::new(TURNS, Instant::now())) }
    }

    /// Returns when it is the caller's turn. May be cancelled; a turn that was waited for is spent then.
    pub async fn turn(&self) {
        let mut budget = self.budget.lock().await;
        let wait = budget.spend(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// Has a thread sleep on instead of waking for every byte.
pub(super) struct Slumber {
    budget: Mutex<Budget>,
}

impl Slumber {
    pub fn new() -> Self {
        Self { budget: Mutex::new(Budget::new(WAKES, Instant::now())) }
    }

    /// To be called by the thread that has just woken.
    pub fn sleep_on(&self) {
        let wait = self.budget.lock().unwrap_or_else(PoisonError::into_inner).spend(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }
}

/// What is left of the burst, told by when it will be whole again.
struct Budget {
    rate: Rate,
    whole_at: Instant,
}

impl Budget {
    /// A whole one.
    fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, whole_at: now }
    }

    /// Spends one; returns how long after `now` it may be had.
    fn spend(&mut self, now: Instant) -> Duration {
        let Rate { burst, interval } = self.rate;
        self.whole_at = self.whole_at.max(now) + interval;
        (self.whole_at - now).saturating_sub(burst * interval)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::task::LocalSet;

    use super::*;

    const BURST: u32 = TURNS.burst;
    const INTERVAL: Duration = TURNS.interval;

    #[test]
    fn a_burst_is_free_and_then_turns_come_at_intervals() {
        let start = Instant::now();
        let mut budget = Budget::new(TURNS, start);
        let waits: Vec<Duration> = (0..BURST + 3).map(|_| budget.spend(start)).collect();
        let (free, paced) = waits.split_at(BURST as usize);
        assert!(free.iter().all(Duration::is_zero));
        assert_eq!(paced, [INTERVAL, 2 * INTERVAL, 3 * INTERVAL]);
    }

    #[test]
    fn whoever_keeps_the_pace_never_waits_and_a_calm_gives_one_burst_back() {
        let mut now = Instant::now();
        let mut budget = Budget::new(TURNS, now);
        for _ in 0..1000 {
            assert_eq!(budget.spend(now), Duration::ZERO);
            now += INTERVAL;
        }
        now += Duration::from_secs(3600);
        let free = (0..2 * BURST).filter(|_| budget.spend(now).is_zero()).count();
        assert_eq!(free, BURST as usize);
    }

    fn block_on(future: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        LocalSet::new().block_on(&runtime, future);
    }

    #[test]
    fn turns_are_not_to_be_had_faster_however_many_ask() {
        let pace = Pace::new();
        let started = Instant::now();
        block_on(async {
            for _ in 0..BURST + 20 {
                pace.turn().await;
            }
        });
        // A busy machine makes it longer.
        assert!(started.elapsed() >= 20 * INTERVAL);
    }

    #[test]
    fn who_asks_often_comes_no_oftener_than_others() {
        let (pace, turns) = (Pace::new(), RefCell::new(Vec::new()));
        let (pace, turns) = (&pace, &turns);
        block_on(async {
            for _ in 0..BURST {
                pace.turn().await;
            }
            let client = |number: usize| async move {
                for _ in 0..5 {
                    pace.turn().await;
                    turns.borrow_mut().push(number);
                }
            };
            tokio::join!(client(0), client(1), client(2));
        });
        assert_eq!(*turns.borrow(), [0, 1, 2].repeat(5));
    }

    #[test]
    fn who_leaves_the_queue_keeps_nobody_else_waiting() {
        let pace = Pace::new();
        block_on(async {
            for _ in 0..BURST {
                pace.turn().await;
            }
            tokio::select! {
                biased;
                () = pace.turn() => panic!("its turn has not come"),
                () = std::future::ready(()) => {}
            }
            pace.turn().await;
        });
    }

    #[test]
    fn a_thread_that_is_woken_without_end_sleeps_on() {
        const FURTHER: u32 = 3;
        let slumber = Slumber::new();
        let started = Instant::now();
        for _ in 0..WAKES.burst + FURTHER {
            slumber.sleep_on();
        }
        assert!(started.elapsed() >= FURTHER * WAKES.interval);
    }
}
