//! Works through the runs of a table: begins them, each by a trainer process of its own, and tells how they do until they end.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use jiff::tz::TimeZone;
use rustix::process::{Pid, Signal, kill_process};

use super::outcome::Ended;
use super::standing::{self, Planned, Standing};
use crate::commands::configuration::threads_to_use;
use crate::commands::failure::describe;
use crate::commands::shell::say;
use crate::commands::train::{discard_if_untrained, listen};
use crate::config::{Config, Override};
use crate::format;
use crate::reproduce::results;
use crate::reproduce::table::{PlannedRun, Table};
use crate::run::describe as words;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::event::{EpochDone, Event, Outcome, Record};
use crate::run::lock::{Liveness, check_writable, holder, liveness};
use crate::run::log::{FollowError, Follower};
use crate::run::replay::replay_and_log;
use crate::run::signals::{Asked, Listening};
use crate::run::spawn;
use crate::run::state::{Phase, RunState};

const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);
const LIVENESS_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of a log read at a time.
const FOLLOW_BYTES: usize = 1 << 20;

pub struct Queue<'a> {
    table: &'a Table,
    runs: &'a RunsDir,
    planned: &'a [Planned],
    overrides: &'a [Override],
    jobs: usize,
    /// Of each job, unless that is said.
    threads: usize,
    /// Indices of runs that are not finished, in the order of the table.
    waiting: VecDeque<usize>,
    /// Seconds that a finished run took, by its row: the latest.
    row_secs: HashMap<String, f64>,
    zone: TimeZone,
}

/// A run that has a trainer.
struct Active {
    index: usize,
    run: RunDir,
    log: Follower,
    state: RunState,
    /// We began it, and end it if we are to end.
    is_ours: bool,
    checked: Option<Instant>,
}

/// How an active run stands after what its log has told.
enum Progress {
    GoesOn,
    Ended(Outcome),
    Failed(String),
}

impl<'a> Queue<'a> {
    pub fn new(
        table: &'a Table,
        runs: &'a RunsDir,
        planned: &'a [Planned],
        overrides: &'a [Override],
        jobs: usize,
    ) -> Result<Self> {
        let waiting = (0..planned.len()).filter(|&index| planned[index].standing != Standing::Finished).collect();
        let finished = results::read(table, runs)?.into_iter().map(|recorded| recorded.result);
        let row_secs = finished.filter(|run| run.is_finished).map(|run| (run.row, 60.0 * run.minutes)).collect();
        let threads = (threads_to_use()? / jobs).max(1);
        Ok(Self { table, runs, planned, overrides, jobs, threads, waiting, row_secs, zone: TimeZone::system() })
    }

    /// Returns when every run has ended, or nothing more is to be begun.
    ///
    /// # Errors
    /// What keeps a run from beginning, where no other trains meanwhile.
    pub fn work(mut self) -> Result<Ended> {
        let Listening { runtime, mut signals } = Listening::begin().context("cannot listen for signals")?;
        let (all, finished) = (self.planned.len(), self.planned.len() - self.waiting.len());
        say(format!("{}: {all} runs, {finished} of them finished", self.table.path.display()))?;
        let mut ended = Ended::default();
        let mut active: Vec<Active> = vec![];
        loop {
            while active.len() < self.jobs
                && let Some(index) = self.waiting.pop_front()
            {
                match self.begin(index) {
                    Ok(begun) => active.extend(begun),
                    Err(error) if active.is_empty() => return Err(error),
                    Err(error) => {
                        ended.failed.push((self.run(index).name.clone(), describe(&error)));
                        self.waiting.clear();
                    }
                }
            }
            let mut going_on = vec![];
            for mut one in std::mem::take(&mut active) {
                match self.follow(&mut one) {
                    Progress::GoesOn => going_on.push(one),
                    Progress::Ended(outcome) => self.end(&one, outcome, &mut ended),
                    Progress::Failed(why) => ended.failed.push((one.run.name(), why)),
                }
            }
            active = going_on;
            if active.is_empty() && self.waiting.is_empty() {
                return Ok(ended);
            }
            let asked = runtime.block_on(async { tokio::time::timeout(FOLLOW_INTERVAL, signals.next()).await });
            if let Ok(Asked::ToEnd(signal) | Asked::AtOnce(signal)) = asked {
                self.waiting.clear();
                ended.signal = Some(signal);
                // The others go on without us.
                active.retain(|one| one.is_ours);
                active.iter().for_each(|one| pass_on(one, signal));
                tell(format!("saving and ending {}", names(&active)));
                if matches!(asked, Ok(Asked::AtOnce(_))) {
                    return Ok(ended);
                }
            }
        }
    }

    fn run(&self, index: usize) -> &'a PlannedRun {
        &self.planned[index].run
    }

    /// Of a run that somebody else has finished meanwhile, nothing.
    fn begin(&self, index: usize) -> Result<Option<Active>> {
        let planned = self.run(index);
        let standing = standing::of(self.table, self.runs, planned)?;
        let is_ours = match &standing {
            Standing::Finished => return Ok(None),
            Standing::Live { .. } => false,
            Standing::New => {
                let mut config = planned.config.clone();
                if config.run.threads == 0 {
                    config.run.threads = self.threads;
                }
                let listening = listen()?;
                let run = self.runs.create(Some(&planned.name), &config)?;
                let spawned = spawn::spawn(&run, config.run.threads, &[], listening).map_err(anyhow::Error::from);
                discard_if_untrained(&run, spawned)?;
                true
            }
            Standing::Interrupted { .. } => {
                let run = self.runs.open(&planned.name)?;
                check_writable(&run)?;
                let config = Config::load(Some(&run.config()), self.overrides)?;
                let sets: Vec<String> = self.overrides.iter().map(Override::to_assignment).collect();
                spawn::spawn(&run, config.run.threads, &sets, listen()?)?;
                true
            }
        };
        let run = self.runs.open(&planned.name)?;
        let (state, log) = replay_and_log(&run, |_| {})?;
        let what = match (&standing, &state.started) {
            (Standing::Live { .. }, _) => "is live: waiting for it".to_owned(),
            (_, None) => "begins".to_owned(),
            (_, Some(started)) => {
                let from = started.continued_from.map_or(String::new(), |step| format!(" from step {step}"));
                format!("{}, on {}, {}{from}", started.model, started.device, started.data)
            }
        };
        let active = Active { index, run, log, state, is_ours, checked: None };
        self.say_of(&active, crate::run::log::now_ms(), &what);
        Ok(Some(active))
    }

    fn follow(&self, active: &mut Active) -> Progress {
        // Before the log is read to its end: a trainer that is dead now has written all that it ever will.
        let mut is_dead = false;
        if active.checked.is_none_or(|at| at.elapsed() >= LIVENESS_INTERVAL) {
            is_dead = liveness(&active.run) == Liveness::Dead;
            active.checked = Some(Instant::now());
        }
        loop {
            match active.log.read(FOLLOW_BYTES) {
                Ok(records) if records.is_empty() => break,
                Ok(records) => records.iter().for_each(|record| self.fold(active, record)),
                Err(FollowError::Malformed { .. }) => {}
                Err(error) => return Progress::Failed(error.to_string()),
            }
        }
        match active.state.phase {
            // Until its trainer is gone, it holds memory.
            Phase::Ended(outcome) if is_dead => Progress::Ended(outcome),
            Phase::Ended(_) => Progress::GoesOn,
            _ if is_dead => {
                let log = active.run.trainer_log();
                Progress::Failed(format!("its trainer exited unexpectedly; {} may tell why", log.display()))
            }
            _ => Progress::GoesOn,
        }
    }

    fn fold(&self, active: &mut Active, record: &Record) {
        active.state.apply(record);
        let text = match &record.event {
            Event::EpochDone(done) => Some(self.epoch(active, done)),
            Event::RunStarted(_)
            | Event::CheckpointSaved(_)
            | Event::ProbeSaved(_)
            | Event::CommandReceived { .. }
            | Event::RunEnded { .. } => None,
            _ => words::note(record).map(|note| note.text),
        };
        if let Some(text) = text {
            self.say_of(active, record.time_ms, &text);
        }
    }

    fn epoch(&self, active: &Active, done: &EpochDone) -> String {
        let state = &active.state;
        let epochs = state.started.as_ref().map_or(0, |started| started.epochs);
        let this = state.remaining_secs();
        let left = this.map(|secs| {
            let run = format!("  {} left", format::duration(secs));
            match self.remaining_secs(active, secs).filter(|_| !self.waiting.is_empty()) {
                Some(all) => format!("{run}, {} of all runs", format::duration(all)),
                None => run,
            }
        });
        format!(
            "epoch {}/{epochs}  {judged} acc {}  best {}  {} s{}",
            done.epoch,
            words::accuracy(done),
            best_accuracy(state),
            format::decimal(done.elapsed_secs, 1),
            left.unwrap_or_default(),
            judged = done.judged_by.abbreviation(),
        )
    }

    /// Of this run and all that wait, as far as others of their row, or of any, tell.
    fn remaining_secs(&self, active: &Active, of_active: f64) -> Option<f64> {
        let own = active.state.epochs.iter().map(|epoch| epoch.elapsed_secs).sum::<f64>() + of_active;
        let known: Vec<f64> = self.row_secs.values().copied().chain([own]).collect();
        let usual = known.iter().sum::<f64>() / known.len() as f64;
        let row = &self.run(active.index).row;
        let waiting = self.waiting.iter().map(|&index| {
            let of = &self.run(index).row;
            let same = (of == row).then_some(own);
            same.or_else(|| self.row_secs.get(of).copied()).unwrap_or(usual)
        });
        let secs = of_active + waiting.sum::<f64>() / self.jobs as f64;
        secs.is_finite().then_some(secs)
    }

    fn end(&mut self, active: &Active, outcome: Outcome, ended: &mut Ended) {
        let state = &active.state;
        let secs: f64 = state.epochs.iter().map(|epoch| epoch.elapsed_secs).sum();
        self.say_of(
            active,
            state.last_activity_ms,
            &format!(
                "{} at step {}, best {}, {} of training and evaluation",
                words::outcome(outcome),
                state.step,
                best_accuracy(state),
                format::duration(secs)
            ),
        );
        match outcome {
            Outcome::Completed => {
                self.row_secs.insert(self.run(active.index).row.clone(), secs);
            }
            Outcome::Failed | Outcome::Other => {
                let why = state.end_message.clone().unwrap_or_else(|| "its log does not tell why".to_owned());
                ended.failed.push((active.run.name(), why));
            }
            Outcome::Stopped | Outcome::Interrupted if ended.signal.is_none() => {
                ended.stopped = Some(active.run.name());
                self.waiting.clear();
            }
            Outcome::Stopped | Outcome::Interrupted => {}
        }
    }

    /// A reader that has left costs the line, never the training.
    fn say_of(&self, active: &Active, time_ms: u64, text: &str) {
        let time = format::time_of_day(time_ms, &self.zone);
        let (number, all) = (active.index + 1, self.planned.len());
        tell(format!("{time}  [{number}/{all}] {}  {text}", active.run.name()));
    }
}

fn tell(line: String) {
    let _ = say(line);
}

fn names(active: &[Active]) -> String {
    match active {
        [] => "nothing: no run here was begun by this command".to_owned(),
        active => active.iter().map(|one| one.run.name()).collect::<Vec<_>>().join(", "),
    }
}

/// To the trainer, which has a session of its own.
fn pass_on(active: &Active, signal: Signal) {
    let pid = holder(&active.run).filter(|holder| holder.is_on_this_host());
    let sent = pid
        .and_then(|holder| Pid::from_raw(i32::try_from(holder.pid).ok()?))
        .ok_or_else(|| anyhow!("its process is not known"))
        .and_then(|pid| Ok(kill_process(pid, signal)?));
    if let Err(error) = sent {
        tell(format!("run {} cannot be told to end: {error}", active.run.name()));
    }
}

fn best_accuracy(state: &RunState) -> String {
    state.best().map_or_else(|| format!("{} %", format::decimal(f64::NAN, 2)), words::accuracy)
}
