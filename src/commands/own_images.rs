//! The configuration of a run on a folder of images: what depends on their size is chosen by it, unless the user says otherwise.

use std::path::Path;

use anyhow::{Result, anyhow};

use super::configuration::configuration_over;
use super::failure::UsageError;
use crate::cli::Shorthand;
use crate::config::{Config, DataConfig, DataSource, NetworkKind, Override, TrainConfig};
use crate::data::{Dataset, source};
use crate::format;

/// Channels of the blocks of a network, as many as halve its images down to a few positions.
const CHANNELS: [usize; 6] = [32, 64, 128, 256, 256, 256];
/// What the last block leaves of a side, at least.
const LAST_SIDE: usize = 3;
/// Where defaults come from, in messages.
const BY_IMAGES: &str = "the images";

/// What the images are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Images {
    /// A known one, in its own format.
    OfDataSet,
    InFolders,
}

/// As [`super::configuration::configuration`], for whatever data it finds. Of a folder of images, size and channels are resolved, so
/// that the run keeps them whatever becomes of the folder, and the network has as many blocks as the size asks for.
pub(super) fn configuration_for_data(
    file: Option<&Path>,
    set: &[String],
    shorthands: &[Shorthand],
) -> Result<(Config, Images)> {
    let config = configuration_over(&[], file, set, shorthands)?;
    let Some(form) = source::form_of_folder(&config.data)? else {
        check_found(&config.data)?;
        return Ok((config, Images::OfDataSet));
    };
    let size = form.size;
    let mut defaults = vec![
        ("data.side", size.height.to_string()),
        ("data.channels", size.channels.to_string()),
        ("train.eval_batch_size", eval_batch_size(size.height).to_string()),
    ];
    if config.model.network == NetworkKind::Cnn && size.height != STUDY_SIDE {
        defaults.push(("model.channels", format!("{:?}", channels(size.height))));
        defaults.push(("model.pool", "average".to_owned()));
    }
    let defaults: Vec<Override> =
        defaults.into_iter().map(|(key, value)| Override::option(BY_IMAGES, key, value)).collect();
    Ok((configuration_over(&defaults, file, set, shorthands)?, Images::InFolders))
}

/// The side of the images that the default network is for.
const STUDY_SIDE: usize = 32;

/// Decodes the images of a folder into the cache, where that has not been done. Returns what was found.
///
/// # Errors
/// No run can begin with them.
pub(super) fn decode(config: &Config) -> Result<String> {
    let source = source::open(&config.data, config.run.seed)?;
    let info = &source.train.info;
    let images = |part: &Dataset| format::count(part.len() as u64);
    let mut found = format!(
        "{}: {} training and {} test images of {} classes, made {} x {} pixels",
        source.name,
        images(&source.train),
        images(&source.test),
        info.classes.len(),
        info.width,
        info.height
    );
    if let Some(notice) = &source.notice {
        found.push_str(&format!("\n{notice}"));
    }
    Ok(found)
}

/// As many pixels as a batch of the study's has, or 16 images.
fn eval_batch_size(side: usize) -> usize {
    let default = TrainConfig::default().eval_batch_size;
    (default * STUDY_SIDE * STUDY_SIDE / (side * side)).clamp(16, default)
}

fn channels(side: usize) -> &'static [usize] {
    let blocks = (side / LAST_SIDE).max(1).ilog2() as usize;
    &CHANNELS[..blocks.clamp(1, CHANNELS.len())]
}

/// A folder that the user names must not be passed over in silence.
fn check_found(config: &DataConfig) -> Result<()> {
    let is_default = std::path::absolute(DataConfig::default().dir).is_ok_and(|dir| dir == config.dir);
    if is_default || config.source != DataSource::Auto || source::is_there(config)? {
        return Ok(());
    }
    let dir = config.dir.display();
    let what = if config.dir.is_dir() {
        format!("there is nothing to train on in {dir}: {}", source::advice())
    } else {
        format!("there is no folder {dir}: it should hold images, or a data set as it is published")
    };
    Err(anyhow!(UsageError(format!("{what}; to train on the bundled sample: --set data.source=sample"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_for_evaluation_have_as_many_pixels() {
        assert_eq!([28, 32, 64, 128, 512].map(eval_batch_size), [256, 256, 64, 16, 16]);
    }

    #[test]
    fn the_default_network_has_a_block_for_each_doubling_of_the_side() {
        for (side, blocks) in
            [(28, 3), (32, 3), (47, 3), (48, 4), (64, 4), (95, 4), (96, 5), (128, 5), (224, 6), (512, 6)]
        {
            assert_eq!(channels(side).len(), blocks, "{side}");
        }
    }
}
