//! The keys of the configuration and the values each may hold, in one table for checks and error messages.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use strum::VariantNames;

use super::settings::{
    Activation, Anneal, AttentionKind, AverageKind, Background, BestBy, ClassWeights, Config, CropFill, DataSource,
    Flip, NetworkKind, OnDivergence, OnUnreadable, OptimizerKind, Pool, Precision, ResizeRule, Sampler, ScheduleKind,
};
use super::test_time::TestTimeAugmentation;

/// Learning rates that a configuration or a command may set.
pub const LEARNING_RATES: RangeInclusive<f64> = 1e-12..=10.0;

/// Compute threads that a configuration or rayon's variable may ask for.
pub const MOST_THREADS: usize = 1024;

/// # Errors
/// For people: the rate lies outside [`LEARNING_RATES`].
pub fn check_learning_rate(learning_rate: f64) -> Result<(), String> {
    if LEARNING_RATES.contains(&learning_rate) {
        return Ok(());
    }
    let (low, high) = (LEARNING_RATES.start(), LEARNING_RATES.end());
    Err(format!("learning rate {learning_rate}: must be a number from {low:e} to {high}"))
}

/// One key and the rule its value obeys.
pub(super) struct Rule {
    /// `section.key`.
    pub key: &'static str,
    /// For people; None: one of the choices.
    allowed: Option<&'static str>,
    /// The known words, where the value is one of a few.
    pub choices: &'static [&'static str],
    pub holds: fn(&Config) -> bool,
}

const fn rule(key: &'static str, allowed: &'static str, holds: fn(&Config) -> bool) -> Rule {
    Rule { key, allowed: Some(allowed), choices: &[], holds }
}

const fn choice(key: &'static str, choices: &'static [&'static str]) -> Rule {
    Rule { key, allowed: None, choices, holds: |_| true }
}

impl Rule {
    /// What the value may be, for people: `plateau or cosine`.
    pub fn allowed(&self) -> String {
        match (self.allowed, self.choices) {
            (Some(allowed), _) => allowed.to_owned(),
            (None, [others @ .., last]) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
            (None, choices) => choices.concat(),
        }
    }
}

const PROBABILITY: &str = "a number from 0 to 1";
const SWITCH: &str = "true or false";

// Every comparison is written so that NaN fails it.
pub(super) const RULES: &[Rule] = &[
    rule("run.seed", "a whole number from 0 to 9223372036854775807", |c| i64::try_from(c.run.seed).is_ok()),
    Rule {
        key: "run.device",
        allowed: Some("auto, cpu, cuda[:N] or candle-cuda[:N]"),
        choices: &["auto", "cpu", "cuda", "candle-cuda"],
        holds: |c| is_device(&c.run.device),
    },
    rule("run.threads", "a whole number from 0 (one for each core) to 1024", |c| c.run.threads <= MOST_THREADS),
    rule("data.dir", "the path of a folder", |c| !c.data.dir.as_os_str().is_empty()),
    choice("data.source", DataSource::VARIANTS),
    rule("data.shuffle", SWITCH, |_| true),
    rule("data.validation_examples", "a whole number from 0 to 1000000000", |c| {
        c.data.validation_examples <= 1_000_000_000
    }),
    rule("data.test_share", "a number above 0 and below 1", |c| c.data.test_share > 0.0 && c.data.test_share < 1.0),
    rule("data.side", "a whole number from 28 to 512 (pixels)", |c| {
        c.data.side.is_none_or(|side| (28..=512).contains(&side))
    }),
    rule("data.channels", "1 (grey) or 3 (colour)", |c| {
        c.data.channels.is_none_or(|channels| matches!(channels, 1 | 3))
    }),
    choice("data.resize", ResizeRule::VARIANTS),
    choice("data.background", Background::VARIANTS),
    choice("data.on_unreadable", OnUnreadable::VARIANTS),
    rule("data.cache", SWITCH, |_| true),
    rule("data.mean", "a number from 0 to 1 for each channel, such as [0.5, 0.5, 0.5]", |c| {
        c.data.mean.as_ref().is_none_or(|mean| is_of_channels(mean) && mean.iter().all(|x| (0.0..=1.0).contains(x)))
    }),
    rule("data.std", "a number above 0, to 1, for each channel, such as [0.25, 0.25, 0.25]", |c| {
        c.data.std.as_ref().is_none_or(|std| is_of_channels(std) && std.iter().all(|&x| x > 0.0 && x <= 1.0))
    }),
    rule("augment.enabled", SWITCH, |_| true),
    rule("augment.least_area", "a number above 0, to 1", |c| c.augment.least_area > 0.0 && c.augment.least_area <= 1.0),
    rule("augment.crop_padding", "a whole number from 0 to 32 (pixels)", |c| c.augment.crop_padding <= 32),
    choice("augment.crop_fill", CropFill::VARIANTS),
    rule("augment.flip_probability", PROBABILITY, |c| (0.0..=1.0).contains(&c.augment.flip_probability)),
    choice("augment.flip", Flip::VARIANTS),
    rule("augment.brightness", "a number from 0 to 1", |c| (0.0..=1.0).contains(&c.augment.brightness)),
    rule("augment.contrast", "a number from 0 to 1", |c| (0.0..=1.0).contains(&c.augment.contrast)),
    rule("augment.saturation", "a number from 0 to 1", |c| (0.0..=1.0).contains(&c.augment.saturation)),
    rule("augment.hue", "a number from 0 to 0.5 (turns)", |c| (0.0..=0.5).contains(&c.augment.hue)),
    rule("augment.rotation_degrees", "a number from 0 to 180", |c| (0.0..=180.0).contains(&c.augment.rotation_degrees)),
    rule("augment.cutout", "a whole number from 0 (none) to 512 (pixels)", |c| c.augment.cutout <= 512),
    choice("model.network", NetworkKind::VARIANTS),
    rule("model.channels", "1 to 16 whole numbers from 1 to 4096, one for each block, such as [32, 64, 128]", |c| {
        (1..=16).contains(&c.model.channels.len()) && c.model.channels.iter().all(|n| (1..=4096).contains(n))
    }),
    choice("model.activation", Activation::VARIANTS),
    rule("model.whitening", SWITCH, |_| true),
    rule("model.hidden", "a whole number from 1 to 65536", |c| {
        // A network without a hidden layer has it 0.
        (1..=65_536).contains(&c.model.hidden) || (c.model.hidden == 0 && c.model.network == NetworkKind::Airbench)
    }),
    choice("model.attention", AttentionKind::VARIANTS),
    choice("model.pool", Pool::VARIANTS),
    rule("model.dropout", "a number from 0 to below 1", |c| (0.0..1.0).contains(&c.model.dropout)),
    rule("model.init", "the path of a safetensors or PyTorch file", |c| {
        c.model.init.as_ref().is_none_or(|path| !path.as_os_str().is_empty())
    }),
    choice("optimizer.kind", OptimizerKind::VARIANTS),
    rule("optimizer.learning_rate", "a number from 1e-12 to 10", |c| {
        LEARNING_RATES.contains(&c.optimizer.learning_rate)
    }),
    rule("optimizer.beta1", "a number from 0 to below 1", |c| (0.0..1.0).contains(&c.optimizer.beta1)),
    rule("optimizer.beta2", "a number from 0 to below 1", |c| (0.0..1.0).contains(&c.optimizer.beta2)),
    rule("optimizer.epsilon", "a number above 0, to 1", |c| c.optimizer.epsilon > 0.0 && c.optimizer.epsilon <= 1.0),
    rule("optimizer.momentum", "a number from 0 (without optimizer.nesterov) to below 1", |c| {
        (0.0..1.0).contains(&c.optimizer.momentum) && (c.optimizer.momentum > 0.0 || !c.optimizer.nesterov)
    }),
    rule("optimizer.nesterov", SWITCH, |_| true),
    rule("optimizer.weight_decay", "a number from 0 to 10", |c| (0.0..=10.0).contains(&c.optimizer.weight_decay)),
    rule("optimizer.bias_rate_factor", "a number from 1e-6 to 1e6", |c| {
        (1e-6..=1e6).contains(&c.optimizer.bias_rate_factor)
    }),
    rule("optimizer.sgd_learning_rate", "a number from 1e-12 to 1e6", |c| {
        (1e-12..=1e6).contains(&c.optimizer.sgd_learning_rate)
    }),
    rule("optimizer.sgd_momentum", "a number from 0 (without optimizer.nesterov) to below 1", |c| {
        (0.0..1.0).contains(&c.optimizer.sgd_momentum) && (c.optimizer.sgd_momentum > 0.0 || !c.optimizer.nesterov)
    }),
    choice("schedule.kind", ScheduleKind::VARIANTS),
    rule("schedule.factor", "a number above 0 and below 1", |c| c.schedule.factor > 0.0 && c.schedule.factor < 1.0),
    rule("schedule.patience", "a whole number from 0 to 1000000 (epochs)", |c| c.schedule.patience <= 1_000_000),
    rule("schedule.threshold", "a number from 0 to below 1", |c| (0.0..1.0).contains(&c.schedule.threshold)),
    rule("schedule.min_learning_rate", "a number from 0 to optimizer.learning_rate", |c| {
        (0.0..=c.optimizer.learning_rate).contains(&c.schedule.min_learning_rate)
    }),
    rule("schedule.warmup_steps", "a whole number from 0 to 1000000000000", |c| {
        c.schedule.warmup_steps <= 1_000_000_000_000
    }),
    rule("schedule.peak_fraction", PROBABILITY, |c| (0.0..=1.0).contains(&c.schedule.peak_fraction)),
    rule("schedule.div_factor", "a number from 1 to 1e9", |c| (1.0..=1e9).contains(&c.schedule.div_factor)),
    rule("schedule.final_div_factor", "a number from 1 to 1e9", |c| (1.0..=1e9).contains(&c.schedule.final_div_factor)),
    choice("schedule.anneal", Anneal::VARIANTS),
    choice("average.kind", AverageKind::VARIANTS),
    rule("average.decay", "a number from 0 to below 1", |c| (0.0..1.0).contains(&c.average.decay)),
    rule("average.every", "a whole number from 1 to 1000000 (steps)", |c| (1..=1_000_000).contains(&c.average.every)),
    rule("train.epochs", "a whole number from 1 to 1000000", |c| (1..=1_000_000).contains(&c.train.epochs)),
    rule("train.batch_size", "a whole number from 1 to 1000000", |c| (1..=1_000_000).contains(&c.train.batch_size)),
    rule("train.eval_batch_size", "a whole number from 1 to 10000", |c| {
        (1..=10_000).contains(&c.train.eval_batch_size)
    }),
    choice("train.test_time_augmentation", TestTimeAugmentation::VARIANTS),
    choice("train.sampler", Sampler::VARIANTS),
    choice("train.class_weights", ClassWeights::VARIANTS),
    rule("train.label_smoothing", "a number from 0 (none) to below 1", |c| {
        (0.0..1.0).contains(&c.train.label_smoothing)
    }),
    rule("train.max_steps", "a whole number from 1 to 1000000000000", |c| {
        c.train.max_steps.is_none_or(|steps| (1..=1_000_000_000_000).contains(&steps))
    }),
    choice("train.on_divergence", OnDivergence::VARIANTS),
    rule("train.early_stop", "a whole number from 0 (never) to 1000000 (epochs)", |c| c.train.early_stop <= 1_000_000),
    choice("train.best", BestBy::VARIANTS),
    choice("train.precision", Precision::VARIANTS),
    rule("train.freeze_after_first_epoch", SWITCH, |_| true),
    rule("train.whitening_bias_epochs", "a whole number from 0 (all) to 1000000", |c| {
        c.train.whitening_bias_epochs <= 1_000_000
    }),
    rule("train.progressive_epochs", "a whole number from 0 (none) to 1000000", |c| {
        c.train.progressive_epochs <= 1_000_000
    }),
    rule("train.progressive_scale", "a number from 0.1 to 1", |c| (0.1..=1.0).contains(&c.train.progressive_scale)),
    rule("checkpoint.every_steps", "a whole number from 0 (at the end of each epoch only) to 1000000000", |c| {
        c.checkpoint.every_steps <= 1_000_000_000
    }),
    rule("checkpoint.keep_last", "a whole number from 1 to 10000", |c| (1..=10_000).contains(&c.checkpoint.keep_last)),
    rule("probe.every", "a whole number from 0 (none) to 1000000 (epochs)", |c| c.probe.every <= 1_000_000),
    rule("probe.images", "1 to 64 different whole numbers from 0 to 1000000000, such as [0, 3, 17]", |c| {
        let images = &c.probe.images;
        let different: HashSet<usize> = images.iter().copied().collect();
        (1..=64).contains(&images.len())
            && different.len() == images.len()
            && images.iter().all(|&n| n <= 1_000_000_000)
    }),
    rule("alarms.gradient_spike", "0 (never), or a number above 1, to 1000000", |c| {
        let times = c.alarms.gradient_spike;
        times == 0.0 || (times > 1.0 && times <= 1e6)
    }),
    rule("alarms.dead_channels", "a whole number from 0 (never) to 65536", |c| c.alarms.dead_channels <= 65_536),
    rule("alarms.overfitting_epochs", "a whole number from 0 (never) to 1000000", |c| {
        c.alarms.overfitting_epochs <= 1_000_000
    }),
    rule("alarms.plateau_epochs", "a whole number from 0 (never) to 1000000", |c| c.alarms.plateau_epochs <= 1_000_000),
    rule("alarms.throughput_collapse", "a number from 0 (never) to below 1", |c| {
        (0.0..1.0).contains(&c.alarms.throughput_collapse)
    }),
    rule("alarms.disk_free_bytes", "a whole number from 0 (never) to 9223372036854775807", |c| {
        c.alarms.disk_free_bytes.is_none_or(|bytes| i64::try_from(bytes).is_ok())
    }),
    rule("notify.command", "a line for sh -c", |c| {
        c.notify.command.as_ref().is_none_or(|command| !command.trim().is_empty() && !command.contains('\0'))
    }),
];

fn is_of_channels(numbers: &[f32]) -> bool {
    matches!(numbers.len(), 1 | 3)
}

/// Keys that mean something to some kinds of network, optimizer, schedule or average alone.
pub(super) struct Belonging {
    /// `section.key`, the key of the kind, such as `optimizer.kind`.
    pub kind_key: &'static str,
    pub keys: &'static [&'static str],
    pub kinds: &'static [&'static str],
    /// Kinds that do without, but for which older versions took the keys all the same.
    ignored_by: &'static [&'static str],
}

const fn of_optimizers(kinds: &'static [&'static str], keys: &'static [&'static str]) -> Belonging {
    Belonging { kind_key: "optimizer.kind", keys, kinds, ignored_by: &[] }
}

const fn of_schedules(kinds: &'static [&'static str], keys: &'static [&'static str]) -> Belonging {
    Belonging { kind_key: "schedule.kind", keys, kinds, ignored_by: &[] }
}

const fn of_averages(kinds: &'static [&'static str], keys: &'static [&'static str]) -> Belonging {
    Belonging { kind_key: "average.kind", keys, kinds, ignored_by: &[] }
}

pub(super) const BELONGINGS: &[Belonging] = &[
    Belonging {
        kind_key: "model.network",
        keys: &["train.whitening_bias_epochs"],
        kinds: &["airbench"],
        ignored_by: &[],
    },
    of_optimizers(&["adam", "adamw"], &["optimizer.beta1", "optimizer.beta2", "optimizer.epsilon"]),
    of_optimizers(&["sgd", "muon"], &["optimizer.momentum", "optimizer.nesterov", "optimizer.bias_rate_factor"]),
    of_optimizers(&["adamw", "sgd", "muon"], &["optimizer.weight_decay"]),
    of_optimizers(&["muon"], &["optimizer.sgd_learning_rate", "optimizer.sgd_momentum"]),
    Belonging {
        ignored_by: &["constant", "cosine"],
        ..of_schedules(&["plateau"], &["schedule.factor", "schedule.patience"])
    },
    Belonging {
        ignored_by: &["constant"],
        ..of_schedules(&["plateau", "cosine", "linear", "triangular"], &["schedule.min_learning_rate"])
    },
    Belonging {
        ignored_by: &["constant", "plateau"],
        ..of_schedules(&["cosine", "linear"], &["schedule.warmup_steps"])
    },
    of_schedules(&["triangular", "one-cycle"], &["schedule.peak_fraction", "schedule.div_factor"]),
    of_schedules(&["one-cycle"], &["schedule.final_div_factor", "schedule.anneal"]),
    of_averages(&["ema"], &["average.decay"]),
    of_averages(&["ema", "lookahead"], &["average.every"]),
];

/// The keys that `config` has set otherwise than their default, and that its kind of network, optimizer, schedule or average has
/// not: each with what to say of it, for people.
pub(super) fn meaningless(config: &Config) -> Vec<(&'static str, String)> {
    let (values, defaults) = (config.values(), Config::default().values());
    let mut meaningless = vec![];
    for &Belonging { kind_key, keys, kinds, ignored_by } in BELONGINGS {
        let kind = values[kind_key].trim_matches('"');
        if kinds.contains(&kind) || ignored_by.contains(&kind) {
            continue;
        }
        let told = format!("{kind_key} = {kind} has no such setting; it is of {}", listed(kinds));
        let changed = keys.iter().filter(|&&key| values.get(key) != defaults.get(key));
        meaningless.extend(changed.map(|&key| (key, told.clone())));
    }
    meaningless
}

/// `adam`, `adam and adamw`, `adam, adamw and sgd`.
fn listed(words: &[&str]) -> String {
    match words {
        [others @ .., last] if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        words => words.concat(),
    }
}

/// The rules that `config` breaks.
pub(super) fn broken(config: &Config) -> impl Iterator<Item = &'static Rule> {
    RULES.iter().filter(move |rule| !(rule.holds)(config))
}

fn is_device(device: &str) -> bool {
    match device.split_once(':') {
        Some((backend, ordinal)) => {
            ["cuda", "candle-cuda"].contains(&backend) && !ordinal.starts_with('+') && ordinal.parse::<u8>().is_ok()
        }
        None => ["auto", "cpu", "cuda", "candle-cuda"].contains(&device),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_has_every_key_of_the_configuration_and_no_other() {
        let mut config = Config::default();
        config.model.init = Some("x".into());
        config.train.max_steps = Some(1);
        (config.data.side, config.data.channels) = (Some(32), Some(1));
        (config.data.mean, config.data.std) = (Some(vec![0.0]), Some(vec![1.0]));
        config.alarms.disk_free_bytes = Some(1);
        config.notify.command = Some("x".into());
        let table = toml::Table::try_from(&config).unwrap();
        let keys: BTreeSet<String> = table
            .iter()
            .flat_map(|(section, keys)| keys.as_table().unwrap().keys().map(move |key| format!("{section}.{key}")))
            .collect();
        assert_eq!(RULES.iter().map(|rule| rule.key.to_owned()).collect::<BTreeSet<_>>(), keys);
        assert_eq!(RULES.len(), keys.len(), "a key has two rules");
    }

    #[test]
    fn the_defaults_break_no_rule() {
        assert_eq!(broken(&Config::default()).count(), 0);
    }

    #[test]
    fn every_choice_is_one_that_serde_accepts() {
        for rule in RULES.iter().filter(|rule| !rule.choices.is_empty()) {
            let (section, key) = rule.key.split_once('.').unwrap();
            for choice in rule.choices {
                toml::from_str::<Config>(&format!("[{section}]\n{key} = \"{choice}\"")).unwrap();
            }
        }
    }

    #[test]
    fn what_belongs_to_some_kinds_names_keys_and_kinds_that_there_are() {
        for Belonging { kind_key, keys, kinds, ignored_by } in BELONGINGS {
            let rule = |key: &str| RULES.iter().find(|rule| rule.key == key).unwrap_or_else(|| panic!("{key}"));
            let known = rule(kind_key).choices;
            keys.iter().for_each(|key| _ = rule(key));
            for kind in kinds.iter().chain(*ignored_by) {
                assert!(known.contains(kind), "{kind}");
            }
        }
    }

    #[test]
    fn nan_breaks_the_rule_of_every_float() {
        let mut config = Config::default();
        config.augment.flip_probability = f32::NAN;
        config.augment.brightness = f32::NAN;
        config.augment.contrast = f32::NAN;
        config.augment.saturation = f32::NAN;
        config.augment.hue = f32::NAN;
        config.augment.rotation_degrees = f32::NAN;
        config.model.dropout = f32::NAN;
        config.optimizer.learning_rate = f64::NAN;
        config.optimizer.beta1 = f64::NAN;
        config.optimizer.beta2 = f64::NAN;
        config.optimizer.epsilon = f64::NAN;
        config.optimizer.momentum = f64::NAN;
        config.optimizer.weight_decay = f64::NAN;
        config.optimizer.bias_rate_factor = f64::NAN;
        config.optimizer.sgd_learning_rate = f64::NAN;
        config.train.label_smoothing = f64::NAN;
        config.train.progressive_scale = f64::NAN;
        config.optimizer.sgd_momentum = f64::NAN;
        config.schedule.factor = f64::NAN;
        config.schedule.threshold = f64::NAN;
        config.schedule.min_learning_rate = f64::NAN;
        config.schedule.peak_fraction = f64::NAN;
        config.schedule.div_factor = f64::NAN;
        config.schedule.final_div_factor = f64::NAN;
        config.average.decay = f64::NAN;
        config.alarms.gradient_spike = f64::NAN;
        config.alarms.throughput_collapse = f64::NAN;
        assert_eq!(broken(&config).count(), 27);
    }

    #[test]
    fn devices() {
        for good in ["auto", "cpu", "cuda", "cuda:0", "cuda:11", "candle-cuda", "candle-cuda:1"] {
            assert!(is_device(good), "{good}");
        }
        for bad in [
            "",
            "gpu",
            "cuda:",
            "cuda:x",
            "cuda:-1",
            "cuda:+1",
            "cuda:0:0",
            "CPU",
            "cuda:300",
            "cpu:0",
            "candle-cuda:",
            "candle",
        ] {
            assert!(!is_device(bad), "{bad}");
        }
    }
}
