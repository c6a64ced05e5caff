//! The configuration of a run: what is trained, on what, and how.
//!
//! Defaults are the study's. The resolved configuration is written to the run directory and suffices to repeat it.

mod change;
mod checksum;
mod load;
mod near_miss;
mod preset;
mod settings;
mod test_time;
mod validate;

pub use change::{Change, KEPT_ON_RESUME, RESOLVED, Values, changes, keys, values_of};
pub use load::{ConfigError, Override};
pub use near_miss::{key_called, meant_key};
pub use settings::{
    Activation, AlarmsConfig, Anneal, AttentionKind, AugmentConfig, AverageConfig, AverageKind, Background, BestBy,
    CheckpointConfig, ClassWeights, Config, CropFill, DataConfig, DataSource, Flip, ModelConfig, NetworkKind,
    NotifyConfig, OnDivergence, OnUnreadable, OptimizerConfig, OptimizerKind, Pool, Precision, ProbeConfig, ResizeRule,
    RunConfig, Sampler, ScheduleConfig, ScheduleKind, TrainConfig,
};
pub use test_time::TestTimeAugmentation;
pub use validate::{LEARNING_RATES, MOST_THREADS, check_learning_rate};
