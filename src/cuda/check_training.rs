//! What of the configuration of a training a card has no kernels for.

use anyhow::{Result, bail};

use crate::config::{Config, OptimizerKind};

/// # Errors
/// One line that names the setting.
pub fn check_training(config: &Config) -> Result<()> {
    match config.optimizer.kind {
        OptimizerKind::Adam => Ok(()),
        kind => {
            bail!("a GPU trains with optimizer.kind = adam, and not yet with {}; take --device cpu", <&str>::from(kind))
        }
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
    }
}
