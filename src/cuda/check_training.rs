//! What of the configuration of a training a card has no kernels for.

use anyhow::{Result, bail};

use crate::config::{AverageKind, ClassWeights, Config, CropFill, OptimizerKind};

/// # Errors
/// One line that names the setting.
pub fn check_training(config: &Config) -> Result<()> {
    match config.optimizer.kind {
        OptimizerKind::Adam => {}
        kind => {
            bail!("a GPU trains with optimizer.kind = adam, and not yet with {}; take --device cpu", <&str>::from(kind))
        }
    }
    let augments = config.augment.enabled;
    let missing = [
        (augments && config.augment.crop_fill == CropFill::Reflect, "augment.crop_fill = reflect"),
        (augments && config.augment.cutout > 0, "augment.cutout"),
        (config.train.label_smoothing > 0.0, "train.label_smoothing"),
        (config.train.class_weights != ClassWeights::None, "train.class_weights"),
        (config.train.freeze_after_first_epoch, "train.freeze_after_first_epoch"),
        (config.train.progressive_epochs > 0, "train.progressive_epochs"),
        (config.average.kind == AverageKind::Ema, "average.kind = ema"),
        (config.average.kind == AverageKind::Lookahead, "average.kind = lookahead"),
    ];
    match missing.into_iter().find(|(is_set, _)| *is_set) {
        Some((_, setting)) => bail!("a GPU does not train with {setting} yet; take --device cpu"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_kernels_is_named() {
        check_training(&Config::default()).expect("the study's");
        let mut config = Config::default();
        config.optimizer.kind = OptimizerKind::AdamW;
        let error = check_training(&config).expect_err("no kernel").to_string();
        assert_eq!(error, "a GPU trains with optimizer.kind = adam, and not yet with adamw; take --device cpu");
        let mut config = Config::default();
        config.augment.cutout = 8;
        let error = check_training(&config).expect_err("no kernel").to_string();
        assert_eq!(error, "a GPU does not train with augment.cutout yet; take --device cpu");
        config.augment.enabled = false;
        check_training(&config).expect("nothing is cut out");
        config.train.freeze_after_first_epoch = true;
        let error = check_training(&config).expect_err("no kernel").to_string();
        assert_eq!(error, "a GPU does not train with train.freeze_after_first_epoch yet; take --device cpu");
        let mut config = Config::default();
        config.average.kind = AverageKind::Lookahead;
        let error = check_training(&config).expect_err("no kernel").to_string();
        assert_eq!(error, "a GPU does not train with average.kind = lookahead yet; take --device cpu");
    }
}
