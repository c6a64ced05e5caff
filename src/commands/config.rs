//! `taper config`: the default configuration, or that of a run and what differs in it.

use std::io::{self, Write};

use anyhow::{Context, Result};

use super::configuration::configuration;
use super::shell::say;
use crate::cli::ConfigArgs;
use crate::config::{Config, Values, changes, keys};
use crate::run::dir::RunsDir;

pub fn print(runs: &RunsDir, args: &ConfigArgs) -> Result<u8> {
    let Some(name) = &args.run else {
        io::stdout().write_all(Config::DEFAULT_FILE.as_bytes()).context("stdout")?;
        return Ok(0);
    };
    let run = runs.open(name)?;
    let config = Config::load(Some(&run.config()), &[])?;
    // As a run would be made here: with absolute paths, and a number of threads.
    let default = configuration(None, &[], &[])?;
    let which = if args.diff { Which::Differing } else { Which::All };
    say(file(&run.name(), &config.values(), &default.values(), which))?;
    Ok(0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    All,
    Differing,
}

/// A configuration file that says behind each value that is not the default what that is.
fn file(run: &str, values: &Values, default: &Values, which: Which) -> String {
    let differing = changes(default, values);
    let mut lines = vec![match differing.len() {
        0 => format!("# The configuration of run {run} is the default."),
        1 => format!("# The configuration of run {run}: one value differs from the default."),
        count => format!("# The configuration of run {run}: {count} values differ from the default."),
    }];
    let mut last_section = "";
    for key in keys() {
        let change = differing.iter().find(|change| change.key == key);
        let line = match (values.get(key), change) {
            (Some(_), None) if which == Which::Differing => continue,
            (Some(value), None) => format!("{} = {value}", name_of(key)),
            (Some(value), Some(change)) => {
                let default = change.from.as_deref().unwrap_or("not set");
                format!("{} = {value}  # default: {default}", name_of(key))
            }
            (None, Some(change)) => {
                let default = change.from.as_deref().unwrap_or("not set");
                format!("# {} is not set; default: {default}", name_of(key))
            }
            (None, None) => continue,
        };
        let section = key.split_once('.').map_or("", |(section, _)| section);
        if section != last_section {
            lines.extend([String::new(), format!("[{section}]")]);
            last_section = section;
        }
        lines.push(line);
    }
    lines.join("\n")
}

fn name_of(key: &str) -> &str {
    key.split_once('.').map_or(key, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Override;

    fn with(sets: &[&str]) -> Config {
        let sets: Vec<Override> = sets.iter().map(|set| Override::parse(set).unwrap()).collect();
        Config::load(None, &sets).unwrap()
    }

    fn load(text: &str) -> Config {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::load(Some(file.path()), &[]).unwrap()
    }

    #[test]
    fn what_differs_is_marked_and_the_file_is_one() {
        let config = with(&["optimizer.learning_rate=5e-4", "model.channels=[8, 16]", "train.max_steps=20"]);
        let default = with(&[]);
        let differing = file("wide", &config.values(), &default.values(), Which::Differing);
        assert_eq!(
            differing,
            "# The configuration of run wide: 3 values differ from the default.\n\n\
             [model]\nchannels = [8, 16]  # default: [32, 64, 128]\n\n\
             [optimizer]\nlearning_rate = 0.0005  # default: 0.001\n\n\
             [train]\nmax_steps = 20  # default: not set"
        );
        let all = file("wide", &config.values(), &default.values(), Which::All);
        assert!(all.contains("\nlearning_rate = 0.0005  # default: 0.001\nbeta1 = 0.9\n"), "{all}");
        assert_eq!(load(&all), config);
        assert_eq!(load(&differing), config);
        let same = file("wide", &default.values(), &default.values(), Which::Differing);
        assert_eq!(same, "# The configuration of run wide is the default.");
    }

    #[test]
    fn a_value_that_is_set_by_default_only_is_told() {
        let mut default = with(&[]).values();
        default.insert("train.max_steps".to_owned(), "7".to_owned());
        let told = file("wide", &with(&[]).values(), &default, Which::Differing);
        assert!(told.ends_with("[train]\n# max_steps is not set; default: 7"), "{told}");
    }
}
