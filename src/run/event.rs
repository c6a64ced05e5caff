//! Events, which the trainer tells (past participles), and commands, which it is told (imperatives).

use std::borrow::Cow;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use strum::VariantNames;

use super::step_time::StepTime;
use super::system_sample::SystemSample;
use super::untold;
use crate::config::TestTimeAugmentation;
use crate::data::{DatasetInfo, Split};
use crate::metrics::Confusion;
use crate::version::Build;

/// Version of the event log, in the first event of each trainer.
pub const FORMAT_VERSION: u32 = 2;
/// The first whose every line has a checksum.
pub const FORMAT_WITH_CHECKSUMS: u32 = 2;

/// One line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// Milliseconds since the Unix epoch.
    pub time_ms: u64,
    #[serde(flatten)]
    pub event: Event,
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// By hand, because serde's `flatten` reads every field twice: the events that a log is nearly all of are read straight into
/// place, and events of another kind or order take the long way.
impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Borrowed from the line where it can be.
        #[derive(Deserialize)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

        fn rest_of<'de, T: Deserialize<'de>, A: MapAccess<'de>>(map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }

        struct RecordVisitor;

        impl<'de> Visitor<'de> for RecordVisitor {
            type Value = Record;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an event with its time")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record, A::Error> {
                let mut time_ms = None;
                let mut fields = serde_json::Map::new();
                while let Some(Text(key)) = map.next_key()? {
                    match (&*key, time_ms) {
                        ("time_ms", _) => time_ms = Some(map.next_value()?),
                        ("event", Some(time_ms)) if fields.is_empty() => {
                            let Text(kind) = map.next_value()?;
                            let event = match &*kind {
                                Event::STEPS_DONE => Event::StepsDone(rest_of(map)?),
                                Event::EPOCH_DONE => Event::EpochDone(rest_of(map)?),
                                Event::PROBE_SAVED => Event::ProbeSaved(rest_of(map)?),
                                _ => {
                                    fields.insert(key.into_owned(), kind.into());
                                    continue;
                                }
                            };
                            return Ok(Record { time_ms, event });
                        }
                        _ => {
                            fields.insert(key.into_owned(), map.next_value()?);
                        }
                    }
                }
                if fields.contains_key("trainer") {
                    complete_dataset(&mut fields);
                }
                let time_ms = time_ms.ok_or_else(|| A::Error::missing_field("time_ms"))?;
                let event = Event::deserialize(serde_json::Value::Object(fields)).map_err(A::Error::custom)?;
                Ok(Record { time_ms, event })
            }
        }

        deserializer.deserialize_map(RecordVisitor)
    }
}

/// Another trainer tells of its data set what it likes, and never means that of old logs.
fn complete_dataset(started: &mut serde_json::Map<String, serde_json::Value>) {
    let dataset = started.entry("dataset").or_insert(serde_json::Value::Null);
    if dataset.is_null() {
        *dataset = serde_json::Map::new().into();
    }
    if let (Some(told), Ok(serde_json::Value::Object(all))) =
        (dataset.as_object_mut(), serde_json::to_value(DatasetInfo::default()))
    {
        for (key, unknown) in all {
            told.entry(key).or_insert(unknown);
        }
    }
}

fn first_epoch() -> u64 {
    1
}

impl Event {
    pub const RUN_STARTED: &'static str = "run_started";
    pub const STEPS_DONE: &'static str = "steps_done";
    pub const EPOCH_DONE: &'static str = "epoch_done";
    pub const PROBE_SAVED: &'static str = "probe_saved";
    pub const COMMAND_RECEIVED: &'static str = "command_received";
}

/// Steps and epochs count from 1: `step` is the number of optimizer steps taken so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, VariantNames)]
#[serde(tag = "event", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// A trainer began the run, or went on with it.
    RunStarted(Box<RunStarted>),
    StepsDone(StepsDone),
    EvaluationStarted {
        epoch: u64,
        step: u64,
    },
    EpochDone(EpochDone),
    LearningRateChanged {
        epoch: u64,
        step: u64,
        from: f64,
        to: f64,
        reason: LearningRateReason,
    },
    Paused {
        step: u64,
    },
    Resumed {
        step: u64,
    },
    CheckpointSaved(CheckpointSaved),
    ProbeSaved(ProbeSaved),
    /// Raised once, and again only after its cause has passed.
    AlarmRaised {
        step: u64,
        /// Older logs lack it.
        #[serde(default)]
        kind: AlarmKind,
        message: String,
    },
    /// Training was rolled back to a checkpoint, or to the beginning: what the log says of later steps no longer holds.
    RolledBack {
        from_step: u64,
        to_step: u64,
        /// The learning rate at `to_step`.
        learning_rate: f64,
    },
    /// The run goes on with another value of a key of its configuration, as TOML; None: it is not set.
    SettingChanged {
        step: u64,
        key: String,
        from: Option<String>,
        to: Option<String>,
    },
    /// The run's directory was renamed or moved under its trainer, which follows it.
    DirectoryMoved {
        step: u64,
        path: String,
    },
    /// A batch that counts as a step, but moved no weight.
    BatchSkipped {
        epoch: u64,
        step: u64,
    },
    CommandReceived {
        step: u64,
        command: Command,
    },
    /// What the machine is doing: each second at first, less often later.
    SystemSampled {
        step: u64,
        #[serde(flatten)]
        sample: Box<SystemSample>,
    },
    RunEnded {
        step: u64,
        outcome: Outcome,
        /// Why it ended, for people.
        #[serde(default)]
        message: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    pub version: u32,
    /// The program that trains, where it is another one than taper, such as `my-script`. Of such a run a log need not tell more:
    /// a text that is empty, a count of 0 and a number that is NaN were not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trainer: Option<String>,
    /// The taper that trains. Older logs lack it, and those of other programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taper: Option<Build>,
    /// Its processors, such as `AMD EPYC 9B14, 2 cores`. Older logs lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The log was thinned out for publication: of its steps and samples some are left, of checkpoints and probes none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub thinned: bool,
    #[serde(default, deserialize_with = "untold::or_default")]
    pub run: String,
    /// Such as `cnn 32-64-128`.
    #[serde(default, deserialize_with = "untold::or_default")]
    pub model: String,
    #[serde(default, deserialize_with = "untold::or_default")]
    pub parameters: u64,
    /// Such as `cpu (2 threads, avx2)` or `cuda:0`.
    #[serde(default, deserialize_with = "untold::or_default")]
    pub device: String,
    /// Such as `CIFAR-10` or `CIFAR-10 sample`.
    #[serde(default, deserialize_with = "untold::or_default")]
    pub data: String,
    /// Size, classes and normalisation of its images. Older logs lack it, and are of CIFAR-10.
    #[serde(default = "DatasetInfo::cifar10")]
    pub dataset: DatasetInfo,
    /// Where the data was read from: a path, or `built in`.
    #[serde(default, deserialize_with = "untold::or_default")]
    pub data_origin: String,
    /// Something the user should know about the data, such as how to get the rest.
    pub notice: Option<String>,
    #[serde(rename = "train_examples", default, deserialize_with = "untold::or_default")]
    pub train_samples: u64,
    /// What the run is judged by. Older logs lack it, and call it test images either way.
    #[serde(default, skip_serializing_if = "Split::is_test")]
    pub judged_by: Split,
    /// Images that the run is judged by.
    #[serde(rename = "test_examples", default, deserialize_with = "untold::or_default")]
    pub test_samples: u64,
    /// The weights that evaluations and checkpoints' models are of.
    #[serde(default, skip_serializing_if = "EvaluatedWeights::are_raw")]
    pub evaluated_weights: EvaluatedWeights,
    #[serde(default, deserialize_with = "untold::or_default")]
    pub epochs: u64,
    #[serde(default, deserialize_with = "untold::or_default")]
    pub batch_size: u64,
    #[serde(default, deserialize_with = "untold::or_default")]
    pub steps_per_epoch: u64,
    /// The step at which the run ends.
    #[serde(default, deserialize_with = "untold::or_default")]
    pub total_steps: u64,
    /// The learning rate of the first step that this trainer takes.
    #[serde(default = "untold::nan", deserialize_with = "untold::or_nan", skip_serializing_if = "untold::is_nan")]
    pub learning_rate: f64,
    #[serde(default, deserialize_with = "untold::or_default")]
    pub seed: u64,
    #[serde(default, deserialize_with = "untold::or_default")]
    pub host: String,
    #[serde(default, deserialize_with = "untold::or_default")]
    pub pid: u32,
    /// When that process started, as field 22 of Linux's `/proc/PID/stat` has it: another one of the same number is not taken
    /// for it. taper says this in `control`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ticks: Option<u64>,
    /// The processes that compute each step together, from rank 0 on; empty of one that trains by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranks: Vec<RankStarted>,
    /// The step of the checkpoint that was continued from: what the log says of later steps no longer holds.
    pub continued_from: Option<u64>,
}

/// One of several processes that compute each step together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankStarted {
    pub host: String,
    /// Such as `cpu (2 threads, avx2)`.
    pub device: String,
}

/// Which weights of a run are evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluatedWeights {
    /// Those that are trained. Logs do not tell it.
    #[default]
    Raw,
    /// Their average over steps, once it is one of anything.
    Averaged,
    /// Of a later version.
    #[serde(other)]
    Other,
}

impl EvaluatedWeights {
    pub fn are_raw(&self) -> bool {
        *self == Self::Raw
    }
}

/// Every step since the last such event, at most ten events a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepsDone {
    /// 1 where the trainer counts none.
    #[serde(default = "first_epoch")]
    pub epoch: u64,
    /// Number of the first step whose loss is here.
    pub first_step: u64,
    /// Mean loss of each batch.
    #[serde(deserialize_with = "untold::with_nans")]
    pub losses: Vec<f32>,
    /// Euclidean norm of the gradient of each, over all parameters. Older logs lack it.
    #[serde(default, deserialize_with = "untold::with_nans", skip_serializing_if = "Vec::is_empty")]
    pub gradient_norms: Vec<f32>,
    /// Images of these steps that were classified right, and all of them.
    #[serde(default, deserialize_with = "untold::or_default")]
    pub correct: u64,
    #[serde(rename = "examples", default, deserialize_with = "untold::or_default")]
    pub samples: u64,
    /// Time spent in these steps, without pauses, evaluation and saving.
    #[serde(default, deserialize_with = "untold::or_default")]
    pub train_secs: f64,
    /// The parts of `train_secs`, in microseconds; the rest went elsewhere. Older logs lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_us: Option<StepTime>,
    /// The learning rate of the last of these steps, where the schedule moves it each step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
}

/// What the trainer does not tell is NaN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochDone {
    pub epoch: u64,
    pub step: u64,
    /// Mean of the epoch's batch losses.
    #[serde(default = "untold::nan", deserialize_with = "untold::or_nan", skip_serializing_if = "untold::is_nan")]
    pub train_loss: f64,
    /// Percent, over the augmented images as they were trained on.
    #[serde(default = "untold::nan", deserialize_with = "untold::or_nan", skip_serializing_if = "untold::is_nan")]
    pub train_accuracy: f64,
    /// The images that loss, accuracy, confusion and mistakes are of.
    #[serde(default, skip_serializing_if = "Split::is_test")]
    pub judged_by: Split,
    /// Mean over the images, in evaluation mode.
    #[serde(default = "untold::nan", deserialize_with = "untold::or_nan", skip_serializing_if = "untold::is_nan")]
    pub test_loss: f64,
    /// Percent.
    #[serde(default = "untold::nan", deserialize_with = "untold::or_nan", skip_serializing_if = "untold::is_nan")]
    pub test_accuracy: f64,
    /// What loss, accuracy, confusion and mistakes are judged with.
    #[serde(default, skip_serializing_if = "TestTimeAugmentation::is_none")]
    pub test_time_augmentation: TestTimeAugmentation,
    /// The learning rate of the epoch's last step.
    #[serde(default = "untold::nan", deserialize_with = "untold::or_nan", skip_serializing_if = "untold::is_nan")]
    pub learning_rate: f64,
    /// Training and evaluation, without pauses.
    #[serde(default = "untold::nan", deserialize_with = "untold::or_nan", skip_serializing_if = "untold::is_nan")]
    pub elapsed_secs: f64,
    /// How much of `elapsed_secs` the evaluation took.
    #[serde(default, deserialize_with = "untold::or_default")]
    pub evaluation_secs: f64,
    /// The best so far, by `train.best`.
    #[serde(default)]
    pub best: bool,
    /// The confusion matrix of the test images. Older logs lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Confusion>,
    /// The most confident wrong test images, the most confident first, of equals the earlier; at most
    /// [`super::probe::MISTAKES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<Prediction>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearningRateReason {
    /// ReduceLROnPlateau: the test loss did not improve for longer than the patience.
    Plateau,
    /// Set by hand.
    Command,
    /// Halved, because training diverged.
    Rollback,
    /// The configuration has another one since the checkpoint that the run goes on from.
    Configuration,
    /// Of a later version.
    #[serde(other)]
    Other,
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// A loss or gradient that is not finite.
    Divergence,
    /// A gradient many times as large as they usually are.
    GradientSpike,
    /// Channels of a block that are never active.
    DeadChannels,
    /// The test loss rises while the train loss falls.
    Overfitting,
    /// The test loss has not improved for long. For information.
    Plateau,
    /// Training is much slower than it was.
    ThroughputCollapse,
    /// One of several ranks computes much longer than the others.
    Straggler,
    DiskNearlyFull,
    /// The event log cannot be written at the moment, or can again.
    EventLog,
    /// A checkpoint could not be saved, or was damaged and passed over.
    Checkpoint,
    /// A probe could not be saved, or lacks images.
    Probe,
    /// Of a log that does not say, or of a later version.
    #[default]
    #[serde(other)]
    Other,
}

/// How urgently people should see a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    /// Something went better than ever before, or ended well.
    Good,
    Alarm,
}

impl AlarmKind {
    pub fn severity(self) -> Severity {
        if self == Self::Plateau { Severity::Info } else { Severity::Alarm }
    }

    /// A short name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Divergence => "divergence",
            Self::GradientSpike => "gradient spike",
            Self::DeadChannels => "dead channels",
            Self::Overfitting => "overfitting",
            Self::Plateau => "plateau",
            Self::ThroughputCollapse => "throughput",
            Self::Straggler => "straggler",
            Self::DiskNearlyFull => "disk",
            Self::EventLog => "event log",
            Self::Checkpoint => "checkpoint",
            Self::Probe => "probe",
            Self::Other => "alarm",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointSaved {
    #[serde(default, deserialize_with = "untold::or_default")]
    pub epoch: u64,
    pub step: u64,
    /// Folder under `checkpoints/`.
    pub name: String,
    #[serde(default, deserialize_with = "untold::or_default")]
    pub reason: CheckpointReason,
    #[serde(default, deserialize_with = "untold::or_default")]
    pub bytes: u64,
    #[serde(default, deserialize_with = "untold::or_default")]
    pub save_secs: f64,
}

/// A probe: predictions and explanations of the pinned test images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeSaved {
    /// The epoch that was trained last.
    pub epoch: u64,
    pub step: u64,
    /// File under `probes/`, in the format of [`super::probe`]. That of an earlier probe of the same step is replaced.
    pub file: String,
    pub bytes: u64,
    /// Time of computing and writing it.
    pub elapsed_secs: f64,
    #[serde(rename = "pictures")]
    pub images: Vec<Prediction>,
}

/// The network's prediction for a test image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Number of the test image, from 0.
    pub index: u64,
    pub true_class: u64,
    pub predicted_class: u64,
    /// In the predicted class, from 0 to 1.
    pub confidence: f32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointReason {
    /// Every N steps.
    Interval,
    Epoch,
    Command,
    /// After a rollback to an earlier one.
    Rollback,
    /// The run stops: by command, by signal, or at its end.
    End,
    /// Of a later version, or not told.
    #[default]
    #[serde(other)]
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every epoch, `max_steps`, or `train.early_stop`.
    Completed,
    /// By the stop command.
    Stopped,
    /// By SIGINT or SIGTERM.
    Interrupted,
    Failed,
    /// Of a later version; the event's message tells.
    #[serde(other)]
    Other,
}

impl Outcome {
    pub const ALL: [Self; 5] = [Self::Completed, Self::Stopped, Self::Interrupted, Self::Failed, Self::Other];

    pub fn severity(self) -> Severity {
        match self {
            Self::Completed | Self::Stopped => Severity::Good,
            Self::Interrupted | Self::Failed => Severity::Alarm,
            Self::Other => Severity::Info,
        }
    }
}

/// Commands to a trainer. Each is idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, VariantNames)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
#[strum(serialize_all = "snake_case")]
pub enum Command {
    Pause,
    Resume,
    /// Save now.
    Checkpoint,
    /// Save a probe now.
    Probe,
    /// Of a diverged run: roll back to the last good checkpoint, and go on with half the learning rate.
    Rollback,
    /// Of a diverged run: go on with the next batch.
    SkipBatch,
    /// Save and end.
    Stop,
    SetLearningRate {
        learning_rate: f64,
    },
}

#[cfg(test)]
impl EpochDone {
    /// The first, of a run that tells neither confusion nor mistakes.
    pub fn example() -> Self {
        Self {
            epoch: 1,
            step: 32,
            train_loss: 1.0,
            train_accuracy: 50.0,
            judged_by: Split::Test,
            test_loss: 1.0,
            test_accuracy: 50.0,
            test_time_augmentation: TestTimeAugmentation::None,
            learning_rate: 0.001,
            elapsed_secs: 10.0,
            evaluation_secs: 1.0,
            best: true,
            confusion: None,
            mistakes: vec![],
        }
    }
}

#[cfg(test)]
impl StepsDone {
    /// The first step of a run.
    pub fn example() -> Self {
        Self {
            epoch: 1,
            first_step: 1,
            losses: vec![1.0],
            gradient_norms: vec![],
            correct: 1,
            samples: 64,
            train_secs: 1.0,
            split_us: None,
            learning_rate: None,
        }
    }
}

#[cfg(test)]
impl RunStarted {
    /// Of a run of 50 epochs of 32 steps.
    pub fn example() -> Self {
        let log = include_str!("../../tests/fixtures/logs/training.jsonl");
        serde_json::from_str(log.lines().next().unwrap()).unwrap()
    }
}
