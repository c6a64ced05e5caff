//! Saves probes: what the network makes of the pinned test images. Training is the same with and without them.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::recorder::Recorder;
use super::session::Session;
use crate::durable;
use crate::explain::probe::probe;
use crate::metrics::confidences;
use crate::run::event::{Event, Prediction, ProbeSaved};
use crate::run::probe::Probe;

/// Saves what the network makes now of its pinned images, and of the mistakes of the evaluation before it, over an earlier
/// probe of the same step; returns its name.
///
/// # Errors
/// None of the images is a test image, the probe cannot be computed, or not be written.
pub fn save_probe(session: &Session, mistakes: &[Prediction], recorder: &mut Recorder) -> Result<String> {
    let started = Instant::now();
    let pinned = pinned(session);
    if pinned.is_empty() {
        bail!("probe: {}", missing(session).unwrap_or_default())
    }
    let mistakes: Vec<usize> = mistakes.iter().map(|mistake| mistake.index as usize).collect();
    let (epoch, step, name) = (session.state.trained_epoch(), session.state.step, session.state.checkpoint_name());
    let probe = session
        .device
        .with_context(|| probe(&session.cnn, &session.test_data, &pinned, &mistakes, &session.device, epoch, step))
        .context("probe")?;
    let bytes = probe.to_bytes().context("probe")?;
    let file = format!("{name}.safetensors");
    let path = session.dir.probes().join(&file);
    std::fs::create_dir_all(session.dir.probes())
        .and_then(|()| durable::replace(&path, &bytes))
        .with_context(|| format!("probe: cannot write {}", path.display()))?;
    recorder.record(Event::ProbeSaved(ProbeSaved {
        epoch,
        step,
        file,
        bytes: bytes.len() as u64,
        elapsed_secs: started.elapsed().as_secs_f64(),
        images: results(&probe),
    }))?;
    Ok(name)
}

/// Says which of the pinned images there are not.
pub fn missing(session: &Session) -> Option<String> {
    let count = session.test_data.len();
    let beyond = session.config.probe.images.iter().filter(|&&index| index >= count);
    let beyond: Vec<String> = beyond.map(usize::to_string).collect();
    (!beyond.is_empty()).then(|| {
        format!(
            "probe.images: {} left out: the run is judged by {count} images, numbers 0 to {}",
            beyond.join(", "),
            count - 1
        )
    })
}

fn pinned(session: &Session) -> Vec<usize> {
    let count = session.test_data.len();
    session.config.probe.images.iter().copied().filter(|&index| index < count).collect()
}

fn results(probe: &Probe) -> Vec<Prediction> {
    let result = |image: &crate::run::probe::ProbedImage| {
        let predicted_class = image.predicted();
        Prediction {
            index: image.index as u64,
            true_class: image.true_class.into(),
            predicted_class: predicted_class as u64,
            confidence: confidences(&image.logits)[predicted_class],
        }
    };
    probe.images.iter().map(result).collect()
}
