//! Whatever taper reads may hold any bytes: the corpus of cargo fuzz, replayed, and files that are like it but damaged. What
//! was once found stays mended, and the targets keep compiling.

#[path = "../fuzz/targets.rs"]
pub mod targets;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;

/// Of each target.
const DAMAGED_FILES: u32 = 1000;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut paths: Vec<_> =
        fs::read_dir(&folder).expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
    assert!(paths.len() >= 10, "{} files in {}", paths.len(), folder.display());
    // The same order everywhere, so that the same cases are drawn.
    paths.sort_unstable();
    paths.iter().map(|path| fs::read(path).expect("a file")).collect()
}

/// A file of the corpus with some bytes changed, put in or taken out, or cut off; or any bytes at all.
fn damaged(corpus: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<Index>(), any::<u8>(), 0..3u8), 1..4);
    let from_corpus = (prop::sample::select(corpus), changes, prop::option::weighted(0.2, any::<Index>()));
    let from_corpus = from_corpus.prop_map(|(mut bytes, changes, cut)| {
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len() + 1);
            match kind {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ if at < bytes.len() => bytes[at] = byte,
                _ => {}
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        bytes
    });
    prop_oneof![9 => from_corpus, 1 => prop::collection::vec(any::<u8>(), 0..300)]
}

/// Runs a target on each file of its corpus, and on files like them.
fn read(target: fn(&[u8]), name: &str) {
    let corpus = corpus(name);
    for bytes in &corpus {
        // Shown when the target panics.
        println!("{}", bytes.escape_ascii());
        target(bytes);
    }
    let mut runner = TestRunner::new(crate::testing::property(DAMAGED_FILES));
    let run = runner.run(&damaged(corpus), |bytes| {
        target(&bytes);
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn no_bytes_of_a_command_break_the_parser() {
    read(targets::command, "command");
}

#[test]
fn no_bytes_of_a_log_break_reader_fold_or_dashboard() {
    read(targets::event_log, "event_log");
}

#[test]
fn no_bytes_of_a_configuration_break_its_reader() {
    read(targets::config, "config");
}

#[test]
fn no_bytes_of_a_batch_break_the_readers_of_cifar_10() {
    read(targets::cifar, "cifar");
}

#[test]
fn no_bytes_of_a_checkpoint_or_probe_break_its_reader() {
    read(targets::checkpoint, "checkpoint");
}
