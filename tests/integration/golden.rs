//! What the study's configurations compute, to the byte, on each of the machine's SIMD paths: hashes of the real binary's
//! losses, weights, moments and probes (tests/fixtures/golden/make.py makes them anew).
//!
//! The widest path trains two epochs with each configuration, the narrower ones four steps of a small network. With
//! `TAPER_GOLDEN=all` they train two epochs as well, which takes an hour in the test profile, whose portable vectors are
//! slow, and two minutes with `cargo test --release`. A path that the machine lacks is skipped, and a line says so. The
//! bytes depend on the C library's `exp`, `sin` and `cos` as well: the hashes are of glibc on x86-64.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::binary::{Dir, TINY, text};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/golden/hashes.json");
const CONFIGURATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
const WIDEST: &str = "avx512";
/// The widest first.
const PATHS: [&str; 3] = [WIDEST, "avx2", "portable"];
const TWO_EPOCHS: &str = "two_epochs";
const SMALL_NETWORK: &str = "small_network";

#[derive(Deserialize)]
struct Fixture {
    /// Of `taper train`, by the length of the run.
    arguments: BTreeMap<String, Vec<String>>,
    /// By path, length and configuration.
    computed: BTreeMap<String, BTreeMap<String, BTreeMap<String, Value>>>,
}

/// Those of this machine, the widest first.
pub fn available_paths() -> Vec<&'static str> {
    if !cfg!(all(target_arch = "x86_64", target_env = "gnu")) {
        println!("skipped: the hashes are of glibc on x86-64");
        return vec![];
    }
    let dir = Dir::new();
    let (available, lacking): (Vec<_>, Vec<_>) = PATHS.into_iter().partition(|path| {
        let step = ["train", "--no-tui", "--device", "cpu", "--name", path, "--max-steps", "1"];
        let output = dir.command(step.iter().chain(&TINY)).env("TAPER_SIMD", path).output();
        let refused = text(&output.stderr).contains("this CPU does not have it");
        assert!(output.status.success() || refused, "{output:?}");
        !refused
    });
    lacking.iter().for_each(|path| println!("skipped: this CPU does not have {path}"));
    available
}

pub fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

pub fn file_sha256(path: &Path) -> String {
    sha256(&fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The paths in a folder in the order of their names; none where there is no folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The checkpoint of the latest step.
pub fn last_checkpoint(run: &Path) -> PathBuf {
    entries(&run.join("checkpoints")).pop().expect("a checkpoint")
}

/// The events of a kind, as JSON.
pub fn events(run: &Path, kind: &str) -> Vec<Value> {
    let log = fs::read_to_string(run.join("events.jsonl")).expect("the log");
    let events = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    events.filter(|event| event["event"] == kind).collect()
}

/// The hash of all of these numbers of the steps, as f32.
fn of_steps(run: &Path, field: &str) -> String {
    let mut bytes = vec![];
    for event in events(run, "steps_done") {
        for number in event[field].as_array().expect(field) {
            bytes.extend((number.as_f64().expect("a number") as f32).to_le_bytes());
        }
    }
    sha256(&bytes)
}

/// The tensors of a probe but for those that probes did not always have: what it is of, other mistakes, the checksum of all.
fn probe_sha256(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file").tensors();
    tensors.retain(|(name, _)| !["about", "sha256"].contains(&name.as_str()) && !name.starts_with("others."));
    tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut digest = Sha256::new();
    for (name, tensor) in tensors {
        digest.update(format!("{name} {:?} {:?}\n", tensor.dtype(), tensor.shape()));
        digest.update(tensor.data());
    }
    format!("{:x}", digest.finalize())
}

fn fields(value: &Value, names: &[&str]) -> Value {
    names.iter().map(|&name| (name.to_owned(), value[name].clone())).collect()
}

/// What the fixture holds of a run of this configuration.
fn computed(path: &str, kind: &str, arguments: &[String]) -> Value {
    let dir = Dir::new();
    let config = format!("{CONFIGURATIONS}/{kind}.toml");
    let train = ["train", "--name", "run", "--config", &config].map(str::to_owned);
    dir.command(train.iter().chain(arguments)).env("TAPER_SIMD", path).succeed();
    let run = dir.path("runs/run");
    let checkpoint = last_checkpoint(&run);
    let evaluated = dir.command(["eval", "--json", checkpoint.to_str().expect("UTF-8")]).env("TAPER_SIMD", path);
    let evaluated: Value = serde_json::from_str(&evaluated.succeed()).expect("JSON");
    let of_epoch = |epoch: &Value| fields(epoch, &["train_loss", "train_accuracy", "test_loss", "test_accuracy"]);
    json!({
        "losses": of_steps(&run, "losses"),
        "gradient_norms": of_steps(&run, "gradient_norms"),
        "epochs": events(&run, "epoch_done").iter().map(of_epoch).collect::<Vec<_>>(),
        "evaluation": fields(&evaluated, &["loss", "accuracy"]),
        "model": file_sha256(&checkpoint.join("model.safetensors")),
        "optimizer": file_sha256(&checkpoint.join("optimizer.safetensors")),
        "probes": entries(&run.join("probes")).iter().map(|probe| probe_sha256(probe)).collect::<Vec<_>>(),
    })
}

/// Trains with every configuration on one of the `available` paths, and names all that is not as it was.
fn assert_as_it_was(available: &[&str], path: &str, length: &str) {
    let fixture: Fixture = serde_json::from_slice(&fs::read(FIXTURE).expect("the fixture")).expect("hashes");
    let mut different = vec![];
    for (kind, expected) in &fixture.computed[path][length] {
        let computed = computed(path, kind, &fixture.arguments[length]);
        for (field, expected) in expected.as_object().expect("an object") {
            // A probe multiplies some matrices by the gemm crate, which takes the machine's widest vectors on every path.
            let is_comparable = field != "probes" || available.contains(&WIDEST);
            if is_comparable && computed[field] != *expected {
                different.push(format!("{path}, {length}, {kind}: {field} is {}, was {expected}", computed[field]));
            }
        }
    }
    assert!(different.is_empty(), "\n{}", different.join("\n"));
}

#[test]
fn the_widest_path_computes_what_it_did() {
    let available = available_paths();
    if let Some(path) = available.first() {
        assert_as_it_was(&available, path, TWO_EPOCHS);
    }
}

#[test]
fn the_narrower_paths_compute_what_they_did() {
    let all = env::var("TAPER_GOLDEN").is_ok_and(|value| value == "all");
    let available = available_paths();
    for path in available.iter().skip(1) {
        assert_as_it_was(&available, path, if all { TWO_EPOCHS } else { SMALL_NETWORK });
    }
}
