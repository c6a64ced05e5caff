//! `--init` with files that PyTorch wrote (tests/fixtures/pytorch/make_weights.py), and with what is left of them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::Device;
use proptest::prelude::*;
use taper::config::ModelConfig;
use taper::data::DatasetInfo;
use taper::model::Network;
use taper::model::initial_weights::InitialWeights;
use taper::run::event::Event;

use crate::binary::{Dir, TINY, records};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pytorch/weights").join(name)
}

fn network() -> Network {
    let config = ModelConfig { channels: vec![2, 2, 2], hidden: 3, ..ModelConfig::default() };
    Network::new(&config, &DatasetInfo::cifar10(), 0, &Device::Cpu).expect("a network")
}

/// Every number of the network with these weights, in its order, and the notice.
fn loaded(name: &str) -> Result<(Vec<f32>, Option<String>)> {
    let (network, file) = (network(), file(name));
    let initial = InitialWeights::read(&file)?;
    network.weights().load_bytes(&initial.bytes, &file)?;
    let weights = network.weights();
    let floats = weights.parameters.iter().chain(&weights.buffers).filter(|(_, var)| var.dtype().is_float());
    let numbers = floats.map(|(_, var)| Ok(var.flatten_all()?.to_vec1::<f32>()?)).collect::<Result<Vec<_>>>()?;
    Ok((numbers.concat(), initial.notice))
}

#[test]
fn every_way_of_saving_gives_the_same_weights() -> Result<()> {
    let (expected, notice) = loaded("state_dict.pth")?;
    assert_eq!(notice, None);
    assert!(expected.iter().all(|number| (0.25..0.75).contains(number)), "those of the script");
    let (prefixed, notice) = loaded("checkpoint.pt")?;
    assert_eq!(prefixed, expected);
    let stripped = "initial weights: without the prefix module._orig_mod. of their names";
    assert_eq!(notice.as_deref(), Some(stripped));
    assert_eq!(loaded("views.pth")?, (expected.clone(), None), "parameters, a transposed tensor, shared numbers");
    for (name, dtype, bound) in [("float16", "f16", 3e-4), ("bfloat16", "bf16", 2e-3), ("float64", "f64", 0.0)] {
        let (numbers, notice) = loaded(&format!("{name}.pth"))?;
        let greatest = numbers.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(greatest <= bound && numbers.len() == expected.len(), "{name}: {greatest}");
        assert_eq!(notice.context("a notice")?, format!("initial weights: converted from {dtype} to f32"));
    }
    Ok(())
}

#[test]
fn what_is_no_state_dict_says_what_it_is_and_what_to_do() {
    for (name, told) in [
        ("module.pth", "a pickled object of class __main__.Net; save its tensors: torch.save(model.state_dict(), "),
        ("legacy.pth", "PyTorch's format from before version 1.6; a later PyTorch converts it: torch.save(torch.load("),
        ("script.pt", "a TorchScript module; save its tensors: torch.save(torch.jit.load("),
        ("archive.zip", "a zip archive that torch.save did not write: it has no data.pkl"),
    ] {
        let error = format!("{:#}", loaded(name).expect_err(name));
        assert!(error.contains(told) && error.contains(name), "{error}");
    }
}

#[test]
fn a_run_begins_with_them_and_says_what_was_done() {
    let dir = Dir::new();
    let init = file("checkpoint.pt").display().to_string();
    let small = ["--set", "model.channels=[2,2,2]", "--set", "model.hidden=3"];
    let args = ["train", "--no-tui", "--name", "run", "--max-steps", "1", "--init", &init];
    let out = dir.command(args.into_iter().chain(TINY).chain(small)).succeed();
    let notice = "initial weights: without the prefix module._orig_mod. of their names";
    assert!(out.contains(notice), "{out}");
    let logged = records(&dir.run("run")).into_iter().find_map(|record| match record.event {
        Event::RunStarted(started) => started.notice,
        _ => None,
    });
    assert!(logged.is_some_and(|logged| logged.contains(notice)));

    let other = ["train", "--no-tui", "--name", "other", "--max-steps", "1", "--init", &init];
    let error = dir.command(other.into_iter().chain(TINY)).fail(1);
    assert!(
        error.contains("checkpoint.pt") && error.contains("conv1.weight: shape [2, 3, 3, 3], expected [4, 3"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(crate::testing::property(64))]

    #[test]
    fn a_damaged_file_is_an_error_or_other_weights_and_never_a_panic(
        name in prop::sample::select(vec!["state_dict.pth", "views.pth", "checkpoint.pt", "module.pth"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = std::fs::read(file(name)).expect("a fixture");
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let folder = tempfile::tempdir().expect("a folder");
        let damaged = folder.path().join("damaged.pth");
        std::fs::write(&damaged, bytes).expect("written");
        if let Ok(initial) = InitialWeights::read(&damaged) {
            let _ = network().weights().load_bytes(&initial.bytes, &damaged);
        }
    }
}
