//! SIGINT, SIGTERM and SIGUSR1 as events, and the end of a job's time, which Slurm tells in the environment. From when they are
//! listened for, one that comes before it is asked for is kept.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{self, SignalKind, signal};

use super::dir::RunDir;
use super::limits;

/// Signals within this time of the first one ask for the same thing, as of a supervisor that signals a process and its
/// group.
const SAME_REQUEST: Duration = Duration::from_secs(1);

/// The training of a run was called off by a signal before it began.
#[derive(Debug, Error)]
#[error("run {run} was {verb} by SIG{signal} before it began to train", verb = verb(*.signal), signal = name(*.signal))]
pub struct CalledOff {
    run: String,
    signal: Signal,
}

impl CalledOff {
    pub fn new(dir: &RunDir, signal: Signal) -> Self {
        Self { run: dir.name(), signal }
    }

    pub fn exit_code(&self) -> u8 {
        exit_code(self.signal)
    }
}

/// As a shell tells that a signal ended a process.
pub fn exit_code(signal: Signal) -> u8 {
    128 + signal.as_raw() as u8
}

fn verb(signal: Signal) -> &'static str {
    if signal == Signal::INT { "interrupted" } else { "terminated" }
}

fn name(signal: Signal) -> &'static str {
    match signal {
        Signal::INT => "INT",
        Signal::USR1 => "USR1",
        _ => "TERM",
    }
}

/// When the time of a job is over, in seconds since 1970.
const END_OF_JOB_VARIABLE: &str = "SLURM_JOB_END_TIME";
/// How long before that a run is to end: for a last step, an evaluation's batch and a checkpoint.
const BEFORE_END_OF_JOB: Duration = Duration::from_secs(60);

/// How long a run may train, by the end of the job's time that the environment tells.
fn time_left(variable: Option<&str>, now: SystemTime) -> Option<Duration> {
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(variable?.parse().ok()?);
    Some(end.duration_since(now).unwrap_or_default().saturating_sub(BEFORE_END_OF_JOB))
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To end in good order.
    ToEnd(Signal),
    /// To end at once.
    AtOnce(Signal),
}

/// The runtime that hears of signals while it runs, and what it has heard.
pub struct Listening {
    pub runtime: Runtime,
    pub signals: Signals,
}

pub struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    user: unix::Signal,
    /// When the time of the job will be nearly over.
    end_of_job: Option<tokio::time::Instant>,
    first: Option<(Signal, Instant)>,
}

impl Listening {
    /// From here on SIGINT, SIGTERM and SIGUSR1 end the process no more: whoever asks for [`Signals::next`] does.
    pub fn begin() -> io::Result<Self> {
        limits::check_descriptors()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _entered = runtime.enter();
            let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            let user = signal(SignalKind::user_defined1())?;
            let left = time_left(std::env::var(END_OF_JOB_VARIABLE).ok().as_deref(), SystemTime::now());
            let end_of_job = left.map(|left| tokio::time::Instant::now() + left);
            Signals { interrupt, terminate, user, end_of_job, first: None }
        };
        Ok(Self { runtime, signals })
    }
}

impl Signals {
    /// Waits until a signal asks for something that none has asked for before.
    pub async fn next(&mut self) -> Asked {
        loop {
            let end_of_job = self.end_of_job;
            let is_nearly_over = async move {
                match end_of_job {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let received = tokio::select! {
                _ = self.interrupt.recv() => Signal::INT,
                _ = self.terminate.recv() => Signal::TERM,
                _ = self.user.recv() => Signal::USR1,
                // As if the scheduler had said so.
                () = is_nearly_over => {
                    self.end_of_job = None;
                    Signal::TERM
                }
            };
            match self.first {
                None => {
                    self.first = Some((received, Instant::now()));
                    return Asked::ToEnd(received);
                }
                Some((_, at)) if at.elapsed() >= SAME_REQUEST => return Asked::AtOnce(received),
                Some(_) => {}
            }
        }
    }

    /// The first signal that came, if one did.
    pub fn first(&self) -> Option<Signal> {
        self.first.map(|(signal, _)| signal)
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{getpid, kill_process};

    use super::*;

    #[test]
    fn the_end_of_a_job_is_a_minute_before_its_time_is_over() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let left = |variable| time_left(variable, now).map(|left| left.as_secs());
        assert_eq!(left(Some("1003600")), Some(3540));
        assert_eq!(left(Some("1000030")), Some(0), "less than a minute");
        assert_eq!(left(Some("999999")), Some(0), "over");
        assert_eq!((left(None), left(Some("")), left(Some("tomorrow"))), (None, None, None));
    }

    #[test]
    fn a_signal_that_comes_before_it_is_asked_for_is_kept() {
        let Listening { runtime, mut signals } = Listening::begin().unwrap();
        kill_process(getpid(), Signal::TERM).unwrap();
        assert_eq!(runtime.block_on(signals.next()), Asked::ToEnd(Signal::TERM));
        assert_eq!(signals.first(), Some(Signal::TERM));
    }

    #[test]
    fn what_was_called_off_is_one_line() {
        let called_off = CalledOff::new(&RunDir::at("runs/far"), Signal::TERM);
        assert_eq!(called_off.to_string(), "run far was terminated by SIGTERM before it began to train");
        assert_eq!(called_off.exit_code(), 143);
        assert_eq!(exit_code(Signal::INT), 130);
    }
}
