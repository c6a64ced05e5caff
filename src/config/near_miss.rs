//! What the user may have meant by a key that is not known.

use super::change::keys;
use crate::suggest::nearest;

/// What other trainers call a key, without its section and with `_` for `-`.
const OTHER_NAMES: [(&[&str], &str); 27] = [
    (&["lr", "learningrate", "learn_rate", "rate", "alpha", "max_lr"], "optimizer.learning_rate"),
    (&["eps"], "optimizer.epsilon"),
    (&["betas"], "optimizer.beta1"),
    (&["wd", "l2"], "optimizer.weight_decay"),
    (&["optimizer", "optim"], "optimizer.kind"),
    (&["scheduler", "lr_scheduler", "schedule"], "schedule.kind"),
    (&["gamma"], "schedule.factor"),
    (&["min_lr", "eta_min"], "schedule.min_learning_rate"),
    (&["warmup"], "schedule.warmup_steps"),
    (&["pct_start"], "schedule.peak_fraction"),
    (&["anneal_strategy"], "schedule.anneal"),
    (&["ema", "swa", "averaging"], "average.kind"),
    (&["ema_decay"], "average.decay"),
    (&["batch", "bs", "batchsize", "mini_batch"], "train.batch_size"),
    (&["epoch", "num_epochs", "n_epochs", "max_epochs"], "train.epochs"),
    (&["steps", "max_step", "num_steps", "iterations", "iters"], "train.max_steps"),
    (&["amp", "bf16", "fp16", "half", "dtype"], "train.precision"),
    (&["early_stopping"], "train.early_stop"),
    (&["workers", "num_workers", "num_threads", "jobs", "cores"], "run.threads"),
    (&["gpu", "gpus", "cuda"], "run.device"),
    (&["random_seed", "manual_seed"], "run.seed"),
    (&["data", "data_dir", "data_path", "root", "folder"], "data.dir"),
    (&["dataset"], "data.source"),
    (&["val_size", "validation", "holdout"], "data.validation_examples"),
    (&["model", "arch"], "model.attention"),
    (&["weights", "pretrained"], "model.init"),
    (&["width", "filters", "layers"], "model.channels"),
];

fn name_of(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// The key of that name, without its section, or that other trainers call so.
pub fn key_called(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase().replace('-', "_");
    let other_name = OTHER_NAMES.iter().find(|(names, _)| names.contains(&name.as_str())).map(|&(_, key)| key);
    keys().find(|key| name_of(key) == name).or(other_name)
}

/// The key that is meant by another: of the same name or what other trainers call it, in its section, or spelt like it.
pub fn meant_key(word: &str) -> Option<&'static str> {
    let name = name_of(word).to_lowercase().replace('-', "_");
    let section = word.split_once('.').map(|(section, _)| section);
    let in_section =
        |key: &&str| section.is_some_and(|section| key.split_once('.').is_some_and(|(own, _)| own == section));
    let same_name = || keys().filter(|key| name_of(key) == name);
    let other_name = || OTHER_NAMES.iter().filter(|(names, _)| names.contains(&name.as_str())).map(|&(_, key)| key);
    let alike_in_section = || {
        let names: Vec<&str> = keys().filter(in_section).map(name_of).collect();
        let close = nearest(&name, names.iter().copied()).first().copied();
        close.and_then(|close| keys().find(|key| in_section(key) && name_of(key) == close))
    };
    let alike = || {
        let close = nearest(&name, keys().map(name_of)).first().copied();
        close.and_then(|close| keys().find(|key| name_of(key) == close))
    };
    let within = word.rsplit_once('.').and_then(|(outer, _)| keys().find(|key| *key == outer));
    same_name()
        .find(in_section)
        .or_else(|| other_name().find(in_section))
        .or(within)
        .or_else(|| same_name().next())
        .or_else(alike_in_section)
        .or_else(|| other_name().next())
        .or_else(alike)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_others_use_are_of_keys() {
        for (names, key) in OTHER_NAMES {
            assert!(keys().any(|known| known == key), "{key}");
            for name in names {
                assert!(!keys().any(|known| name_of(known) == *name), "{name} is a key");
                assert_eq!(meant_key(name), Some(key), "{name}");
            }
        }
    }

    #[test]
    fn a_key_is_meant_by_its_name_its_other_names_and_its_spelling() {
        let cases = [
            ("optimizer.lr", "optimizer.learning_rate"),
            ("lr", "optimizer.learning_rate"),
            ("train.lr", "optimizer.learning_rate"),
            ("optimizer.learning-rate", "optimizer.learning_rate"),
            ("schedule.lr", "optimizer.learning_rate"),
            ("optimizer.eps", "optimizer.epsilon"),
            ("train.epoch", "train.epochs"),
            ("epoch", "train.epochs"),
            ("train.epochs.more", "train.epochs"),
            ("trian.epochs", "train.epochs"),
            ("model.dropuot", "model.dropout"),
            ("dropout", "model.dropout"),
            ("data.batch_size", "train.batch_size"),
            ("train.batchsize", "train.batch_size"),
            ("data.workers", "run.threads"),
            ("data.root", "data.dir"),
        ];
        for (word, key) in cases {
            assert_eq!(meant_key(word), Some(key), "{word}");
        }
        assert_eq!(meant_key("zzz.qqq"), None);
    }
}
