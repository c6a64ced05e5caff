//! Saves probes: what the network makes of the pinned test images. Training is the same with and without them.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::trainer::Trainer;
use crate::data::folder::ImageError;
use crate::durable;
use crate::explain::probe::{Chosen, probe};
use crate::render::Planes;
use crate::run::event::{AlarmKind, Event, Prediction, ProbeSaved};
use crate::run::probe::{OTHER_MISTAKES, OTHER_MISTAKES_BYTES, OtherMistake, Probe, ProbedImage};

impl Trainer {
    /// Saves what the network makes now of its pinned images, and of the mistakes of the evaluation before it, over an
    /// earlier probe of the same step; of `others` the images alone, the first that there is room for. Returns its name.
    ///
    /// # Errors
    /// None of the images is a test image, or the probe cannot be computed or written.
    pub fn save_probe(&mut self, mistakes: &[Prediction], others: &[Prediction]) -> Result<String> {
        let started = Instant::now();
        let (pinned, missing) = self.pinned_images();
        if pinned.is_empty() {
            bail!("probe: {}", self.describe_missing(&missing))
        }
        let mistakes: Vec<usize> = mistakes.iter().map(|mistake| mistake.index as usize).collect();
        let (epoch, step, name) = (self.state.trained_epoch(), self.state.step, self.state.checkpoint_name());
        let (network, device) = (self.engine.network()?, self.device.candle());
        let chosen = Chosen { pinned: &pinned, mistakes: &mistakes };
        let mut probe = device
            .with_context(|| probe(network, &self.evaluation_data, chosen, device, epoch, step))
            .context("probe")?;
        probe.other_mistakes = self.pictured(others)?;
        let bytes = probe.to_bytes().context("probe")?;
        let file = format!("{name}.safetensors");
        self.follow_dir()?;
        let path = self.dir.probes().join(&file);
        durable::create_folder(&self.dir.probes())
            .and_then(|()| durable::replace(&path, &bytes))
            .with_context(|| format!("probe: cannot write {}", path.display()))?;
        self.recorder.record(Event::ProbeSaved(ProbeSaved {
            epoch,
            step,
            file,
            bytes: bytes.len() as u64,
            elapsed_secs: started.elapsed().as_secs_f64(),
            images: results(&probe),
        }));
        Ok(name)
    }

    /// With their images, as many as there is room for.
    fn pictured(&self, mistakes: &[Prediction]) -> Result<Vec<OtherMistake>, ImageError> {
        let info = &self.evaluation_data.info;
        let most = OTHER_MISTAKES.min(OTHER_MISTAKES_BYTES / info.size().bytes().max(1));
        let pictured = mistakes.iter().take(most).map(|mistake| {
            let bytes = self.evaluation_data.image(mistake.index as usize)?.into_owned();
            let image = Planes { width: info.width, height: info.height, bytes };
            Ok(OtherMistake { result: mistake.clone(), image })
        });
        pictured.collect()
    }

    /// Raises an alarm if probes are to be saved and a pinned image is none of the test images.
    pub fn report_missing_images(&mut self) {
        let (_, missing) = self.pinned_images();
        if self.config.probe.every > 0 && !missing.is_empty() {
            self.raise_alarm(AlarmKind::Probe, self.describe_missing(&missing));
        }
    }

    /// The pinned images that are test images, and those that are not.
    fn pinned_images(&self) -> (Vec<usize>, Vec<usize>) {
        self.config.probe.images.iter().partition(|&&index| index < self.evaluation_data.len())
    }

    fn describe_missing(&self, missing: &[usize]) -> String {
        let (count, missing) = (self.evaluation_data.len(), missing.iter().map(usize::to_string).collect::<Vec<_>>());
        format!(
            "probe.images: {} left out: the run is judged by {count} images, numbers 0 to {}",
            missing.join(", "),
            count - 1
        )
    }
}

fn results(probe: &Probe) -> Vec<Prediction> {
    let result = |image: &ProbedImage| Prediction {
        index: image.index as u64,
        true_class: image.true_class as u64,
        predicted_class: image.explanation.predicted() as u64,
        confidence: image.explanation.confidence(),
    };
    probe.images.iter().map(result).collect()
}
