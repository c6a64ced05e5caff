//! The configuration that a command line asks for.

use std::path::Path;

use anyhow::Result;

use super::failure::UsageError;
use super::ranks;
use crate::cli::Shorthand;
use crate::config::{Config, MOST_THREADS, Override};
use crate::ranks::launch::Launch;
use crate::run::spawn::THREADS_VARIABLE;

/// What the command line says of the configuration: `--set`, and its shorthands over it.
pub(super) fn overrides(set: &[String], shorthands: &[Shorthand]) -> Result<Vec<Override>> {
    let mut given = Override::parse_all(set)?;
    for (option, key, value) in shorthands {
        let network = |name: &str| if *key == "model.attention" { attention_of(name) } else { name.to_owned() };
        given.extend(value.as_ref().map(|value| Override::option(option, *key, network(value))));
    }
    Ok(given)
}

/// The attention of a network that is called as a list of runs calls it: `cnn` has none, `cnn-se` has `se`.
fn attention_of(network: &str) -> String {
    match network.strip_prefix("cnn") {
        Some("") => "none".to_owned(),
        Some(kind) => kind.strip_prefix('-').unwrap_or(network).to_owned(),
        None => network.to_owned(),
    }
}

/// The configuration of a file under what the command line says. The number of threads is resolved, so that the run records
/// how it was computed.
pub(super) fn configuration(file: Option<&Path>, set: &[String], shorthands: &[Shorthand]) -> Result<Config> {
    configuration_over(&[], file, set, shorthands)
}

/// The same, over other defaults.
pub(super) fn configuration_over(
    defaults: &[Override],
    file: Option<&Path>,
    set: &[String],
    shorthands: &[Shorthand],
) -> Result<Config> {
    let mut config = Config::load_over(defaults, file, &overrides(set, shorthands)?)?;
    if config.run.threads == 0 {
        config.run.threads = threads_to_use()?;
    }
    Ok(config)
}

/// What `run.threads = 0` means here.
pub(super) fn threads_to_use() -> Result<usize> {
    compute_threads(std::env::var(THREADS_VARIABLE).ok().as_deref())
}

/// The number in rayon's variable, where there is one; else one for each core.
fn compute_threads(variable: Option<&str>) -> Result<usize> {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = Launch::detect().map_or(available, |launch| ranks::threads(launch, available));
    match variable.filter(|text| !text.is_empty()).map(str::parse::<usize>) {
        None | Some(Ok(0)) => Ok(cores),
        Some(Ok(threads)) if threads <= MOST_THREADS => Ok(threads),
        Some(_) => {
            let text = variable.unwrap_or_default();
            let message = format!(
                "{THREADS_VARIABLE}={text}: must be a whole number from 0 (one for each core) to {MOST_THREADS}"
            );
            Err(UsageError(message).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_named_by_its_attention_or_as_in_a_list_of_runs() {
        let cases = [("se", "se"), ("cnn", "none"), ("cnn-non-local", "non-local"), ("cnnx", "cnnx"), ("none", "none")];
        for (name, kind) in cases {
            assert_eq!(attention_of(name), kind);
        }
    }

    #[test]
    fn the_number_of_threads_is_that_of_the_variable_or_of_the_cores() {
        let cores = compute_threads(None).unwrap();
        assert!(cores >= 1);
        assert_eq!(["", "0"].map(|text| compute_threads(Some(text)).unwrap()), [cores; 2]);
        assert_eq!(compute_threads(Some("3")).unwrap(), 3);
        for text in ["1025", "100000000000000000000", "-1", "two"] {
            let error = compute_threads(Some(text)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("RAYON_NUM_THREADS={text}: must be ")), "{error}");
        }
    }
}
