//! What the user may have meant by a command or an option that is not known: told in the place of what clap would say.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, Parser};

use crate::cli::{Cli, SHORTHANDS};
use crate::config::{KEPT_ON_RESUME, key_called, meant_key};
use crate::suggest::{misspelt, nearest};

/// What people call commands elsewhere, the commands that are named, and what is said. Left out where there is no such command.
const COMMANDS: [(&[&str], &[&str], &str); 24] = [
    (&["list", "ls", "ps", "show", "history"], &["runs"], "taper runs lists the runs"),
    (&["delete", "remove", "del", "clean", "prune", "purge"], &["rm"], "taper rm deletes runs"),
    (&["mv", "move", "name"], &["rename"], "taper rename gives a run another name"),
    (
        &["status", "info", "top", "progress"],
        &["runs", "attach"],
        "taper runs says how all runs stand, taper attach shows one",
    ),
    (
        &["log", "logs", "tail", "events", "output"],
        &["attach"],
        "taper attach shows a run and its events; what its trainer had to say is in runs/NAME/trainer.log",
    ),
    (&["watch", "open", "monitor", "dashboard", "view", "tui", "ui"], &["attach"], "taper attach opens the dashboard"),
    (&["start", "run", "new", "fit", "launch"], &["train"], "taper train begins a new run"),
    (&["continue", "restart", "unpause", "go"], &["resume"], "taper resume goes on with a run"),
    (&["kill", "end", "quit", "cancel", "abort", "finish"], &["stop"], "taper stop saves a live run and ends it"),
    (&["save", "snapshot"], &["checkpoint"], "taper checkpoint saves a live run now"),
    (&["ckpt", "ckpts", "weights"], &["checkpoints"], "taper checkpoints lists what a run has on disk"),
    (
        &["infer", "inference", "classify"],
        &["predict"],
        "taper predict RUN FILE says what the network takes images for",
    ),
    (
        &["gradcam", "cam", "attention"],
        &["explain"],
        "taper explain RUN --image FILE says for what class the network takes an image, and why",
    ),
    (
        &["evaluate", "test", "validate", "val", "score", "accuracy"],
        &["eval"],
        "taper eval evaluates a checkpoint, class by class",
    ),
    (&["benchmark", "speed", "profile"], &["bench"], "taper bench measures how fast this machine trains"),
    (
        &["download", "fetch", "dataset", "cifar10"],
        &["data"],
        "taper data fetch gets CIFAR-10, taper data inspect looks at data",
    ),
    (&["lr", "learning-rate", "set"], &["set-lr"], "taper set-lr sets the learning rate of a live run"),
    (
        &["settings", "defaults", "default", "configuration", "configure", "init"],
        &["config"],
        "taper config prints the default configuration, or that of a run",
    ),
    (&["completion", "complete", "autocomplete"], &["completions"], "taper completions prints completions for a shell"),
    (&["diff", "versus", "vs"], &["compare"], "taper compare compares runs"),
    (
        &["sweep", "repeat", "study", "table", "seeds", "ablation", "experiments"],
        &["reproduce"],
        "taper reproduce trains all runs of a table: configurations by seeds",
    ),
    (
        &["tensorboard", "tb", "csv", "parquet", "plot", "plots", "json"],
        &["export"],
        "taper export writes tables, plots and event files for TensorBoard",
    ),
    (&["html", "summary"], &["report"], "taper report writes a page with curves and tables"),
    (
        &["check", "diagnose", "health", "verify", "fsck"],
        &["doctor"],
        "taper doctor looks at this machine, or at a run",
    ),
];

/// What people call options elsewhere, the option with its value, and its name. An option that is named like a key of the
/// configuration need not be here.
const OPTIONS: [(&[&str], &str, &str); 11] = [
    (&["gpu", "gpus", "cuda", "use-gpu", "use-cuda"], "device", "--device cuda"),
    (&["cpu", "no-cuda", "no-gpu"], "device", "--device cpu"),
    (&["b"], "batch-size", "--batch-size N"),
    (&["e", "n"], "epochs", "--epochs N"),
    (&["j"], "threads", "--threads N"),
    (&["run-name", "exp-name", "experiment", "tag", "id"], "name", "--name NAME"),
    (&["load", "from", "checkpoint", "ckpt", "pretrained-weights"], "init", "--init FILE.safetensors"),
    (&["headless", "no-ui", "plain", "quiet", "no-dashboard", "no-progress"], "no-tui", "--no-tui"),
    (&["background", "daemon", "bg", "nohup", "d"], "detach", "--detach"),
    (&["force", "f", "assume-yes", "no-confirm"], "yes", "--yes"),
    (
        &["output", "out", "output-dir", "out-dir", "log-dir", "logdir", "save-dir", "run-dir", "dir", "runs", "o"],
        "runs-dir",
        "--runs-dir DIR",
    ),
];

/// The command line of this process; a bad one ends it with what is wrong and what may have been meant.
pub fn parse() -> Cli {
    let args: Vec<OsString> = std::env::args_os().collect();
    Cli::try_parse_from(&args).unwrap_or_else(|error| explained(error, &args).exit())
}

/// The error with what the user may have meant by what is not known.
fn explained(mut error: clap::Error, args: &[OsString]) -> clap::Error {
    let mut root = Cli::command();
    root.build();
    let unknown = |kind| match error.get(kind) {
        Some(ContextValue::String(unknown)) => Some(unknown.clone()),
        _ => None,
    };
    let meant = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            unknown(ContextKind::InvalidSubcommand).map(|word| meant_command(given_command(&root, args), &word))
        }
        ErrorKind::UnknownArgument => unknown(ContextKind::InvalidArg)
            .filter(|argument| argument.starts_with('-'))
            .map(|argument| meant_option(&root, given_command(&root, args), &argument)),
        _ => None,
    };
    if let Some(tips) = meant {
        // Among them that what begins with a dash may be passed as a value, which it may, and never is.
        for kind in [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::Suggested] {
            error.remove(kind);
        }
        if !tips.is_empty() {
            let tips = tips.into_iter().map(Into::into).collect();
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
        }
    }
    error
}

/// The innermost command that the command line names.
fn given_command<'a>(root: &'a Command, args: &[OsString]) -> &'a Command {
    let mut command = root;
    for arg in args.iter().skip(1) {
        match arg.to_str().and_then(|arg| command.find_subcommand(arg)) {
            Some(inner) => command = inner,
            None if std::ptr::eq(command, root) => {}
            None => break,
        }
    }
    command
}

fn meant_command(parent: &Command, word: &str) -> Vec<String> {
    let known = || parent.get_subcommands().filter(|command| !command.is_hide_set()).map(Command::get_name);
    let word = word.to_lowercase();
    let others = COMMANDS.iter().filter(|(words, named, _)| {
        words.contains(&word.as_str()) && named.iter().all(|named| known().any(|known| known == *named))
    });
    let tips: Vec<String> = others.map(|(.., tip)| (*tip).to_owned()).collect();
    if !tips.is_empty() {
        return tips;
    }
    let begun: Vec<&str> = known().filter(|known| word.len() >= 3 && known.starts_with(&word)).collect();
    let meant = if begun.is_empty() { misspelt(&word, known()) } else { begun };
    let parent = parent.get_bin_name().unwrap_or("taper");
    meant.iter().take(2).map(|command| format!("there is a command like that: {parent} {command}")).collect()
}

fn meant_option(root: &Command, command: &Command, argument: &str) -> Vec<String> {
    let word = argument.trim_start_matches('-').split('=').next().unwrap_or(argument).to_lowercase().replace('_', "-");
    if let Some(meant) = option_tip(root, command, &word) {
        return vec![format!("here {meant}")];
    }
    // Without a command, `taper` trains, but takes no options of that.
    let train = root.find_subcommand("train").filter(|_| std::ptr::eq(command, root));
    let in_train = train.and_then(|train| {
        let own = has(root, train, &word).then(|| format!("that is --{word}"));
        own.or_else(|| option_tip(root, train, &word))
    });
    in_train.map(|meant| format!("in taper train {meant}")).into_iter().collect()
}

/// By another name, by a key of the configuration, or by its spelling, in this order.
fn option_tip(root: &Command, command: &Command, word: &str) -> Option<String> {
    let other_name = OPTIONS.iter().find(|(words, option, _)| words.contains(&word) && has(root, command, option));
    let alike = || {
        let known = command.get_arguments().filter(|argument| !argument.is_hide_set());
        let alike = nearest(word, known.filter_map(|argument| argument.get_long()));
        alike.first().map(|option| format!("that is --{option}"))
    };
    other_name
        .map(|(.., written)| format!("that is {written}"))
        .or_else(|| value_tip(command, key_called(word)?, word))
        .or_else(alike)
        .or_else(|| value_tip(command, meant_key(word)?, word))
}

fn has(root: &Command, command: &Command, option: &str) -> bool {
    // Where the runs lie is an option of all commands, and belongs to the root.
    command.get_arguments().chain(root.get_arguments()).any(|argument| argument.get_long() == Some(option))
}

/// How the command is given a value of the configuration.
fn value_tip(command: &Command, key: &str, word: &str) -> Option<String> {
    let has = |option: &str| command.get_arguments().any(|argument| argument.get_long() == Some(option));
    if command.get_name() == "resume" && KEPT_ON_RESUME.contains(&key) {
        return Some(format!("{key} stays as it was: a run goes on with the same steps"));
    }
    match SHORTHANDS.iter().find(|(option, of)| *of == key && has(option)) {
        Some((option, _)) if word.ends_with("workers") => {
            Some(format!("images are loaded by as many threads as that takes; those that compute are --{option} N"))
        }
        Some((option, _)) => Some(format!("that is --{option}")),
        None => has("set").then(|| format!("that is --set {key}=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> String {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let error = Cli::try_parse_from(&args).expect_err("it cannot be");
        explained(error, &args).to_string()
    }

    #[test]
    fn every_command_that_is_named_exists_or_is_left_out() {
        let root = Cli::command();
        let has = |name: &str| root.find_subcommand(name).is_some();
        for (words, named, tip) in COMMANDS {
            assert!(named.iter().all(|named| tip.contains(&format!("taper {named}"))), "{tip}");
            for word in words {
                assert!(!has(word), "{word} is a command");
                let told = told(&format!("taper {word}"));
                assert_eq!(told.contains(tip), named.iter().all(|named| has(named)), "{told}");
            }
        }
        for (_, option, written) in OPTIONS {
            assert!(written.starts_with(&format!("--{option}")), "{written}");
        }
    }

    #[test]
    fn every_shorthand_is_an_option_of_train_whose_help_ends_in_its_key() {
        let root = Cli::command();
        let train = root.find_subcommand("train").expect("it exists");
        for (option, key) in SHORTHANDS {
            let argument = train.get_arguments().find(|argument| argument.get_long() == Some(option)).expect(option);
            let help = argument.get_help().expect("it has help").to_string();
            assert!(help.ends_with(&format!(": {key}")), "{help}");
        }
    }

    #[test]
    fn a_command_that_is_misspelt_or_begun_is_named() {
        for (word, command) in
            [("trian", "train"), ("atach", "attach"), ("resmue", "resume"), ("resu", "resume"), ("run", "train")]
        {
            let told = told(&format!("taper {word}"));
            assert!(told.contains(&format!("taper {command}")), "{told}");
        }
        let data = told("taper data fecth");
        assert!(data.contains("taper data fetch"), "{data}");
        for word in ["zzz", "frobnicate"] {
            assert!(!told(&format!("taper {word}")).contains("tip:"), "{word}");
        }
        let status = told("taper status");
        assert!(status.contains("taper runs says how all runs stand") && !status.contains("pause"), "{status}");
    }

    #[test]
    fn an_option_of_another_name_is_named() {
        let cases = [
            ("taper train --learning-rate 0.1", "--lr"),
            ("taper train --learning_rate=0.1", "--lr"),
            ("taper train --batchsize 3", "--batch-size"),
            ("taper train --batch 3", "--batch-size"),
            ("taper train --gpu", "--device cuda"),
            ("taper train --workers 2", "those that compute are --threads N"),
            ("taper train --num-workers 2", "those that compute are --threads N"),
            ("taper train --dataset x", "--set data.source=VALUE"),
            ("taper train --data-dir x", "--data"),
            ("taper train --dropout 0.1", "--set model.dropout=VALUE"),
            ("taper train --arch se", "--attention"),
            ("taper train --epochz 3", "--epochs"),
            ("taper train --num-epochs 3", "--epochs"),
            ("taper train --output x", "--runs-dir DIR"),
            ("taper train --background", "--detach"),
            ("taper bench --lr 3", "--set optimizer.learning_rate=VALUE"),
            ("taper resume x --batch-size 3", "train.batch_size stays as it was"),
            ("taper resume x --learning-rate 3", "--lr"),
            ("taper rm x --force", "--yes"),
            ("taper --epochs 3", "in taper train that is --epochs"),
            ("taper --learning-rate 3", "in taper train that is --lr"),
        ];
        for (line, tip) in cases {
            let told = told(line);
            assert!(told.contains("tip: ") && told.contains(tip), "{line}: {told}");
            assert!(!told.contains("as a value"), "{line}: {told}");
        }
    }

    #[test]
    fn what_a_command_does_not_take_is_not_suggested_to_it() {
        for line in ["taper eval x --set y", "taper runs --set a=b", "taper stop --zzz", "taper pause --lr 3"] {
            let told = told(line);
            assert!(!told.contains("tip:") && told.contains("Usage: taper "), "{told}");
        }
    }
}
