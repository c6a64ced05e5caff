//! Makes the bundled sample, `data/sample/{train,test}.bin`, from the full CIFAR-10, whose checksums it verifies first:
//!
//! ```text
//! taper data fetch
//! cargo run --example make_sample -- data data/sample
//! ```

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use taper::data::Dataset;
use taper::data::source::cifar::{self, Edition};
use taper::data::source::sample::{TEST_PER_CLASS, TRAIN_PER_CLASS, first_of_each_class};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let from = arguments.next().context("usage: make_sample DATA_DIR SAMPLE_DIR")?;
    let to = arguments.next().context("usage: make_sample DATA_DIR SAMPLE_DIR")?;

    let found = cifar::find(&from)?.with_context(|| format!("no CIFAR-10 under {}", from.display()))?;
    let edition = Edition::cifar10();
    let mut train = Dataset::new(cifar::info());
    let mut test = Dataset::new(cifar::info());
    for ((name, batch), published) in
        cifar::BATCHES.into_iter().zip(found.read_batches(&edition)).zip(&edition.batch_sha256)
    {
        let batch = batch?;
        ensure!(cifar::sha256(&batch) == *published, "{name} is not the published one");
        if name == "test_batch" { &mut test } else { &mut train }.append(&batch);
    }

    std::fs::create_dir_all(&to)?;
    for (name, whole, per_class) in [("train.bin", train, TRAIN_PER_CLASS), ("test.bin", test, TEST_PER_CLASS)] {
        let part = first_of_each_class(&whole, per_class);
        std::fs::write(to.join(name), cifar::to_records(&part)).with_context(|| format!("writing {name}"))?;
        println!("{}  {name}  {} images", cifar::sha256(&part), part.len());
    }
    Ok(())
}
