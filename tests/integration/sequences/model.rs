//! What a run should be like after all that was done to it, and what may be done to it next.

use std::collections::BTreeMap;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use taper::run::event::Outcome;

/// Directories that the run is moved between.
pub const PARENTS: [&str; 3] = ["runs", "other runs", "deep/er"];
const NAMES: [&str; 4] = ["run", "wide run", "größe-2", "x"];

/// Where a run lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub parent: &'static str,
    pub name: &'static str,
}

/// How the run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Running,
    Paused,
    /// It pauses, because a loss was no number.
    Diverged,
    /// Its trainer was killed.
    Killed,
    Ended(Outcome),
}

impl Phase {
    pub fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Diverged)
    }
}

/// A key of the configuration and its value, as taper writes it.
pub type Setting = (&'static str, &'static str);

pub const MAX_STEPS: &str = "train.max_steps";
/// More than any sequence takes.
const FAR: &str = "1000000";

pub const LEARNING_RATE: &str = "optimizer.learning_rate";
const LEARNING_RATES: [&str; 3] = ["0.001", "0.002", "0.0005"];

const EPSILON: &str = "optimizer.epsilon";
const SOUND_EPSILON: &str = "0.00000001";
/// The first step makes NaN of the weights, the second shows it: see `divergence`.
const POISON: &str = "1e-300";

/// Keys that may change without changing any step, each with its first value and others.
const HARMLESS: [(&str, &[&str]); 8] = [
    ("train.epochs", &["100000", "100001"]),
    ("checkpoint.every_steps", &["5", "3", "7"]),
    ("checkpoint.keep_last", &["2", "1", "3"]),
    ("probe.every", &["1", "2", "0"]),
    ("probe.images", &["[0, 1]", "[0, 1, 2]"]),
    ("alarms.gradient_spike", &["10.0", "12.5"]),
    ("alarms.plateau_epochs", &["10", "11"]),
    ("run.threads", &["1", "2"]),
];

/// Keys that must not change, each with another value.
const KEPT: [Setting; 8] = [
    ("train.batch_size", "17"),
    ("run.seed", "7"),
    ("model.channels", "[4, 4, 8]"),
    ("model.hidden", "9"),
    ("model.attention", "\"eca\""),
    ("model.pool", "\"average\""),
    ("data.shuffle", "false"),
    ("data.validation_examples", "100"),
];

/// One thing that a user does. What should come of it depends on the [`Model`].
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// In a hurry, whatever comes next does not wait for the first steps.
    Resume {
        set: Option<Setting>,
        in_a_hurry: bool,
    },
    /// Lets it train for so many steps.
    Train {
        steps: u64,
    },
    Pause,
    Checkpoint,
    Probe,
    Rollback,
    SkipBatch,
    SetLearningRate(&'static str),
    Stop,
    /// Trains so many steps to its end, in the foreground.
    Complete {
        further: u64,
    },
    Kill,
    Terminate,
    /// Looks at the dashboard, and leaves it.
    Attach,
    Doctor,
    /// In `config.toml`; it counts from the next trainer on.
    Edit(Setting),
    /// Another value of a key that must not change, with which the run is to be resumed. Afterwards the old one is back.
    EditKept {
        setting: Setting,
        in_file: bool,
        how: &'static str,
    },
    /// An end that the run is beyond.
    ResumeToTooFewSteps,
    /// Another run of the same name.
    TrainAgain,
    Move(Place),
    /// Other images lie where those of the run were, or those again.
    SwapData,
}

/// A run by what was done to it.
#[derive(Clone, Debug)]
pub struct Model {
    pub place: Place,
    pub phase: Phase,
    /// Where images are looked for, there are others than the run was trained on.
    pub is_data_swapped: bool,
    /// What `config.toml` says of the keys that are edited.
    pub settings: BTreeMap<&'static str, String>,
    /// No step was taken otherwise than the first trainer would have taken it.
    pub is_exact: bool,
}

impl Model {
    /// A run that has just been started.
    pub fn new() -> Self {
        let first = HARMLESS.iter().map(|(key, values)| (*key, values[0]));
        let settings = first.chain([(LEARNING_RATE, LEARNING_RATES[0]), (EPSILON, SOUND_EPSILON)]);
        Self {
            place: Place { parent: PARENTS[0], name: NAMES[0] },
            phase: Phase::Running,
            is_data_swapped: false,
            settings: settings.map(|(key, value)| (key, value.to_owned())).collect(),
            is_exact: true,
        }
    }

    pub fn set(&mut self, (key, value): Setting) {
        self.settings.insert(key, value.to_owned());
    }

    /// The next trainer will find that the run diverges.
    pub fn is_poisoned(&self) -> bool {
        self.settings[EPSILON] == POISON
    }

    /// The edit that ends that.
    pub fn remedy() -> Setting {
        (EPSILON, SOUND_EPSILON)
    }

    /// The edit that lets a completed run go on.
    pub fn extension() -> Setting {
        (MAX_STEPS, FAR)
    }

    /// Its configuration asks for no more steps than it has.
    pub fn is_complete(&self) -> bool {
        self.phase == Phase::Ended(Outcome::Completed) && self.settings.get(MAX_STEPS).is_some_and(|steps| steps != FAR)
    }

    /// A trainer begins with the present settings.
    pub fn begins(&mut self) {
        self.is_exact &= self.settings[LEARNING_RATE] == LEARNING_RATES[0];
    }

    /// Draws what is done next.
    pub fn draw(&self, random: &mut ChaCha8Rng) -> Operation {
        let choices = self.choices(random);
        let total = choices.iter().map(|(weight, _)| weight).sum();
        let mut at: u32 = random.random_range(0..total);
        for (weight, operation) in choices {
            if at < weight {
                return operation;
            }
            at -= weight;
        }
        unreachable!("the weights add up to the total")
    }

    /// What may be done, and how likely it is.
    fn choices(&self, random: &mut ChaCha8Rng) -> Vec<(u32, Operation)> {
        use Operation::*;
        let (is_live, diverged) = (self.phase.is_live(), self.phase == Phase::Diverged);
        let when = |holds: bool, weight: u32| if holds { weight } else { 0 };
        let can_go_on = !is_live && !self.is_data_swapped && !self.is_complete();
        let in_a_hurry = random.random_bool(0.3);
        let (setting, other) = (self.harmless_edit(random), self.harmless_edit(random));
        let learning_rate = *LEARNING_RATES.choose(random).expect("some");
        let kept = EditKept {
            setting: *KEPT.choose(random).expect("some"),
            in_file: random.random_bool(0.5),
            how: ["--no-tui", "--detach"].choose(random).expect("some"),
        };
        vec![
            (if is_live { 2 } else { 12 }, Resume { set: None, in_a_hurry }),
            (if is_live { 1 } else { 4 }, Resume { set: Some(setting), in_a_hurry }),
            (when(self.phase == Phase::Running, 8), Train { steps: random.random_range(1..60) }),
            (3, Edit(other)),
            (1, Edit((LEARNING_RATE, learning_rate))),
            (
                if self.is_poisoned() { 4 } else { 2 },
                Edit((EPSILON, if self.is_poisoned() { SOUND_EPSILON } else { POISON })),
            ),
            (when(self.is_complete(), 4), Edit(Self::extension())),
            (when(!is_live && !self.is_complete(), 3), kept),
            (when(!is_live, 1), ResumeToTooFewSteps),
            (when(can_go_on && !self.is_poisoned(), 3), Complete { further: random.random_range(1..40) }),
            (2, Pause),
            (2, Checkpoint),
            (when(!diverged, 2), Probe),
            (if diverged { 3 } else { 1 }, Rollback),
            (when(!diverged, 1), SkipBatch),
            (when(is_live, 1), SetLearningRate(learning_rate)),
            (if is_live { 4 } else { 1 }, Stop),
            (when(is_live, 4), Kill),
            (when(is_live, 3), Terminate),
            (2, Attach),
            (2, Doctor),
            (1, TrainAgain),
            (4, Move(self.other_place(random))),
            (if self.is_data_swapped { 4 } else { 2 }, SwapData),
        ]
    }

    fn harmless_edit(&self, random: &mut ChaCha8Rng) -> Setting {
        let (key, values) = HARMLESS.choose(random).expect("some");
        let others: Vec<&str> = values.iter().copied().filter(|value| *value != self.settings[key]).collect();
        (key, others.choose(random).expect("some"))
    }

    /// Another name, or another directory.
    fn other_place(&self, random: &mut ChaCha8Rng) -> Place {
        let Place { parent, name } = self.place;
        let other = |all: &[&'static str], present: &str, random: &mut ChaCha8Rng| {
            let others: Vec<&'static str> = all.iter().copied().filter(|one| *one != present).collect();
            *others.choose(random).expect("some")
        };
        if random.random_bool(0.5) {
            Place { parent, name: other(&NAMES, name, random) }
        } else {
            Place { parent: other(&PARENTS, parent, random), name }
        }
    }
}
