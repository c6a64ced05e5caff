//! The command that trains with a learning rate, as the test was asked for.

use crate::cli::LrFindArgs;
use crate::commands::shell::{Shell, quoted};
use crate::config::{Config, OptimizerKind};

/// `taper train` with the options of the test, and the rate in place of what they and the configuration say.
pub fn train_command(shell: &Shell, args: &LrFindArgs, config: &Config, learning_rate: f64) -> String {
    let mut words = vec!["train".to_owned()];
    let mut option = |name: &str, value: &str| words.extend([name.to_owned(), quoted(value)]);
    if let Some(file) = &args.config {
        option("--config", &file.to_string_lossy());
    }
    let replaced = replaced(config, learning_rate);
    let is_replaced = |set: &&String| {
        let key = set.split('=').next().unwrap_or_default().trim();
        key == "optimizer.learning_rate" || replaced.iter().any(|(replaced, _)| *replaced == key)
    };
    args.set.iter().filter(|set| !is_replaced(set)).for_each(|set| option("--set", set));
    for (name, _, value) in args.shorthands() {
        if let Some(value) = value {
            option(name, value);
        }
    }
    option("--lr", &shortest(learning_rate));
    for (key, value) in replaced {
        option("--set", &format!("{key}={}", shortest(value)));
    }
    shell.line(&words.join(" "))
}

/// Other settings that follow the learning rate, with their values.
fn replaced(config: &Config, learning_rate: f64) -> Vec<(&'static str, f64)> {
    let mut replaced = vec![];
    if config.optimizer.kind == OptimizerKind::Muon {
        // As the test had it: in proportion.
        let proportion = learning_rate / config.optimizer.learning_rate;
        replaced.push(("optimizer.sgd_learning_rate", rounded(config.optimizer.sgd_learning_rate * proportion)));
    }
    if config.schedule.min_learning_rate > learning_rate {
        replaced.push(("schedule.min_learning_rate", 0.0));
    }
    replaced
}

/// To three digits.
fn rounded(rate: f64) -> f64 {
    format!("{rate:.2e}").parse().expect("a number was written")
}

/// As short as it can be read back: `0.003`, `1e-5`.
fn shortest(rate: f64) -> String {
    let (plain, scientific) = (rate.to_string(), format!("{rate:e}"));
    if plain.len() <= 6 { plain } else { scientific }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::config::Override;
    use crate::run::dir::RunsDir;

    fn command(args: &[&str], learning_rate: f64) -> String {
        let cli = Cli::try_parse_from(["taper", "lr-find"].iter().chain(args)).unwrap();
        let Some(Command::LrFind(args)) = cli.command else { unreachable!() };
        let config = Config::load(None, &Override::parse_all(&args.set).unwrap()).unwrap();
        let line = train_command(&Shell::new(&RunsDir::at("runs")), &args, &config, learning_rate);
        line.split_once(' ').unwrap().1.to_owned()
    }

    #[test]
    fn the_options_of_the_test_are_those_of_the_run() {
        assert_eq!(command(&[], 0.0012), "train --lr 0.0012");
        assert_eq!(command(&["--from", "1e-5", "--steps", "50", "--png", "x.png"], 3e-7), "train --lr 3e-7");
        assert_eq!(
            command(&["--config", "a b.toml", "--data", "/d", "--batch-size", "128", "--seed", "3"], 0.5),
            "train --config 'a b.toml' --batch-size 128 --data /d --seed 3 --lr 0.5"
        );
        assert_eq!(
            command(&["--set", "model.hidden=8", "--set", "optimizer.learning_rate=1e-3"], 0.01),
            "train --set model.hidden=8 --lr 0.01"
        );
    }

    #[test]
    fn what_follows_the_learning_rate_is_set_with_it() {
        let muon = ["optimizer.kind=muon", "optimizer.learning_rate=0.2", "optimizer.sgd_learning_rate=0.5"];
        let args: Vec<&str> = muon.iter().flat_map(|set| ["--set", *set]).collect();
        assert_eq!(
            command(&args, 0.1),
            "train --set optimizer.kind=muon --lr 0.1 --set optimizer.sgd_learning_rate=0.25"
        );
        assert_eq!(
            command(&["--set", "schedule.min_learning_rate=1e-4"], 1e-5),
            "train --lr 1e-5 --set schedule.min_learning_rate=0"
        );
        assert_eq!(
            command(&["--set", "schedule.min_learning_rate=1e-4"], 1e-3),
            "train --set schedule.min_learning_rate=1e-4 --lr 0.001"
        );
    }
}
