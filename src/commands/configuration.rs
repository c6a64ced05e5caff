//! The configuration that a command line asks for.

use std::path::Path;

use crate::config::{Config, ConfigError, Override};

/// The configuration of a file under what the command line says: `--set`, and options as (option, key, value). The number
/// of threads is resolved, so that the run records how it was computed.
pub(super) fn configuration(
    file: Option<&Path>,
    set: &[String],
    options: &[(&'static str, &str, &Option<String>)],
) -> Result<Config, ConfigError> {
    let mut given = set.iter().map(|set| Override::parse(set)).collect::<Result<Vec<_>, _>>()?;
    for (option, key, value) in options {
        given.extend(value.as_ref().map(|value| Override::option(option, *key, value)));
    }
    let mut config = Config::load(file, &given)?;
    if config.run.threads == 0 {
        config.run.threads = rayon::current_num_threads();
    }
    Ok(config)
}
