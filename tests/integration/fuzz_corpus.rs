//! The corpus of cargo fuzz, replayed: what it once found stays mended, and its targets keep compiling.

#[path = "../fuzz/targets.rs"]
pub mod targets;

use std::fs;
use std::path::Path;

/// Runs a target on each file of its corpus.
fn replay(target: fn(&[u8]), name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let files: Vec<_> = fs::read_dir(&folder).expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
    assert!(files.len() >= 10, "{} files in {}", files.len(), folder.display());
    for file in files {
        // Shown when the target panics.
        println!("{}", file.display());
        target(&fs::read(&file).expect("a file"));
    }
}

#[test]
fn no_command_of_the_corpus_breaks_the_parser() {
    replay(targets::command, "command");
}

#[test]
fn no_log_of_the_corpus_breaks_reader_fold_or_dashboard() {
    replay(targets::event_log, "event_log");
}

#[test]
fn no_configuration_of_the_corpus_breaks_its_reader() {
    replay(targets::config, "config");
}

#[test]
fn no_batch_of_the_corpus_breaks_the_readers_of_cifar_10() {
    replay(targets::cifar, "cifar");
}

#[test]
fn no_checkpoint_or_probe_of_the_corpus_breaks_its_reader() {
    replay(targets::checkpoint, "checkpoint");
}
