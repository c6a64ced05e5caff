//! Why the network takes an image for what it does: Grad-CAM over the image, as PNG.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use candle_core::Device;

use super::lines::Prediction;
use crate::config::Config;
use crate::data::loader::evaluation_batch;
use crate::data::{Dataset, DatasetInfo};
use crate::durable;
use crate::explain::explanation::{ChannelScope, Scope};
use crate::metrics::predicted;
use crate::model::{Network, input};
use crate::render::colour_map::ColourMode;
use crate::render::{Drawing, Explanation, Method, Planes, png};
use crate::train::checkpoint::Checkpoint;
use crate::train::device;

/// The side that a picture has at least, in pixels.
const SIDE: usize = 256;

pub struct GradCams {
    network: Network,
    info: Arc<DatasetInfo>,
    folder: PathBuf,
    /// Names that were given.
    given: HashSet<String>,
}

impl GradCams {
    pub fn new(config: &Config, info: &Arc<DatasetInfo>, checkpoint: &Checkpoint, folder: &Path) -> Result<Self> {
        // One image is nothing for the CPU, whatever the run was trained on.
        device::prepare_cpu()?;
        let network = Network::new(&config.model, info, config.run.seed, &Device::Cpu)?;
        checkpoint.load_network(&network)?;
        std::fs::create_dir_all(folder)
            .with_context(|| format!("--explain: cannot create the folder {}", folder.display()))?;
        Ok(Self { network, info: Arc::clone(info), folder: folder.into(), given: HashSet::new() })
    }

    /// Writes the evidence for the predicted class, by the last layer. Returns the file.
    pub fn write(&mut self, image: &Path, prediction: &Prediction) -> Result<PathBuf> {
        let DatasetInfo { width, height, .. } = *self.info;
        let mut one = Dataset::new(Arc::clone(&self.info));
        one.push(0, &prediction.planes);
        let x = input::images(&evaluation_batch(&one, 0..1)?, &Device::Cpu)?;
        let last = self.network.layers().len() - 1;
        let scope = Scope {
            channels: vec![ChannelScope::default(); last + 1],
            method: Method::GradCam,
            classes: |_, layer, logits: &[f32]| if layer == last { vec![predicted(logits)] } else { vec![] },
        };
        let planes = Planes { width, height, bytes: prediction.planes.clone() };
        let explanation = Explanation::compute(&self.network, &x, vec![planes], &scope)?.remove(0);
        let cam = &explanation.layers[last].cams[0];
        let scale = SIDE.div_ceil(width.min(height)) as u32;
        let picture = Drawing::Heat(&cam.map).draw(&explanation.image, scale, ColourMode::Colours);
        let class = self.info.classes[cam.class].clone();
        let name = self.name(image, &class);
        let path = self.folder.join(name);
        durable::replace(&path, &png::encode(&picture)?)
            .with_context(|| format!("--explain: cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Of the image's file and the class; numbered where several images have the same.
    fn name(&mut self, image: &Path, class: &str) -> String {
        let stem = image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        // A name with a slash would be a folder.
        let class = class.replace('/', "_");
        let names = (1..).map(|number| match number {
            1 => format!("{stem}-{class}.png"),
            number => format!("{stem}-{number}-{class}.png"),
        });
        names.into_iter().find(|name| self.given.insert(name.clone())).expect("some number is free")
    }
}
