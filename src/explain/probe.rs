//! What the network makes of a few images at one step of its training, to be saved with the run.

use candle_core::{Device, Error, Result, bail};

use super::explanation::{ChannelScope, Scope};
use crate::data::loader::evaluation_batch;
use crate::data::{Dataset, DatasetInfo};
use crate::metrics::predicted;
use crate::model::{Network, input};
use crate::render::{Explanation, Method, Planes};
use crate::run::probe::{ACTIVE, MAPS, Probe, ProbedImage};

/// Classes for which a pinned image has Grad-CAM of the last layer at most: they cost the training most of a probe.
const CAM_CLASSES: usize = 10;

/// The images of a dataset that a probe holds, by their numbers.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'a> {
    pub pinned: &'a [usize],
    pub mistakes: &'a [usize],
}

/// What a network that has taken `step` steps makes of the chosen images. Changes nothing of the network, and draws no
/// random number.
///
/// # Errors
/// A logit is not finite, or those of the operations.
///
/// # Panics
/// A number reaches beyond the dataset.
pub fn probe(
    network: &Network,
    dataset: &Dataset,
    chosen: Chosen,
    device: &Device,
    epoch: u64,
    step: u64,
) -> Result<Probe> {
    let info: &DatasetInfo = &dataset.info;
    let indices = [chosen.pinned, chosen.mistakes].concat();
    let images = dataset.select(&indices);
    let batch = evaluation_batch(&images, 0..images.len()).map_err(Error::wrap)?;
    let x = input::images(&batch, device)?;
    let planes = |image| {
        let bytes = images.image(image).map_err(Error::wrap)?.into_owned();
        Ok(Planes { width: info.width, height: info.height, bytes })
    };
    let true_class = |image: usize| usize::from(images.labels[image]);
    let layers = network.layers().len();
    let mut channels = vec![ChannelScope { first: MAPS, most_active: 0 }; layers];
    channels[layers - 1].most_active = ACTIVE;
    let scope = Scope {
        channels,
        method: Method::GradCam,
        classes: |image, layer, logits: &[f32]| {
            let reason = if image < chosen.pinned.len() { Reason::Pinned } else { Reason::Mistake };
            cam_classes(layer + 1 == layers, reason, logits, true_class(image))
        },
    };
    let planes = (0..images.len()).map(planes).collect::<Result<_>>()?;
    let explanations = Explanation::compute(network, &x, planes, &scope)?;
    let mut probed = Vec::with_capacity(images.len());
    for (image, (explanation, &index)) in explanations.into_iter().zip(&indices).enumerate() {
        if !explanation.logits.iter().all(|logit| logit.is_finite()) {
            bail!("the logits of image {index} are not finite")
        }
        probed.push(ProbedImage { index, true_class: true_class(image), explanation });
    }
    let mistakes = probed.split_off(chosen.pinned.len());
    Ok(Probe { dataset: info.clone(), epoch, step, images: probed, mistakes, other_mistakes: vec![] })
}

/// Why a probe holds an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Pinned,
    Mistake,
}

/// The classes for which a probe holds Grad-CAM of a layer. A pinned image has it of the last layer for every class, or with
/// more than [`CAM_CLASSES`] for those with the greatest logits and the true one; of the other layers for the predicted and
/// the true class. A mistake has it of the last layer alone, for these two.
fn cam_classes(is_last: bool, reason: Reason, logits: &[f32], true_class: usize) -> Vec<usize> {
    let likeliest = |count: usize| {
        let mut classes: Vec<usize> = (0..logits.len()).collect();
        classes.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        classes.retain(|&class| class != true_class);
        classes.truncate(count - 1);
        classes.push(true_class);
        classes.sort_unstable();
        classes
    };
    match reason {
        Reason::Pinned if is_last => likeliest(CAM_CLASSES),
        Reason::Mistake if !is_last => vec![],
        Reason::Pinned | Reason::Mistake => {
            let mut classes = vec![predicted(logits), true_class];
            // Predicted right, the two are one.
            classes.dedup();
            classes
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::*;
    use crate::config::{AttentionKind, ModelConfig};
    use crate::data::source::sample;
    use crate::explain::grad_cam::grad_cam;
    use crate::model::Mode;
    use crate::render::ClassCam;

    fn network(attention: AttentionKind) -> Result<Network> {
        let config = ModelConfig { channels: vec![16, 16, 32], hidden: 8, attention, ..ModelConfig::default() };
        Network::new(&config, &DatasetInfo::cifar10(), 0, &Device::Cpu)
    }

    fn probe_of(network: &Network, pinned: &[usize], mistakes: &[usize]) -> Result<(Probe, Dataset)> {
        let (_, test) = sample::read().expect("the sample");
        let chosen = Chosen { pinned, mistakes };
        Ok((probe(network, &test, chosen, &Device::Cpu, 3, 96)?, test))
    }

    #[test]
    fn explains_each_image_and_changes_nothing() -> Result<()> {
        let network = network(AttentionKind::Se)?;
        let before = network.weights().to_safetensors().expect("bytes");
        let (probe, test) = probe_of(&network, &[7, 499], &[12])?;
        assert_eq!(network.weights().to_safetensors().expect("bytes"), before);
        assert_eq!((probe.epoch, probe.step, probe.images.len(), probe.mistakes.len()), (3, 96, 2, 1));

        let batch = evaluation_batch(&test, 499..500)?;
        let x = input::images(&batch, &Device::Cpu)?;
        let expected = network.forward(&x, Mode::Evaluate)?.to_vec2::<f32>()?.concat();
        let last = &probe.images[1];
        assert_eq!((last.index, last.true_class), (499, batch.labels[0] as usize));
        let explanation = &last.explanation;
        assert_eq!(explanation.image.bytes, *test.image(499)?);
        assert!(explanation.logits.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5));
        let trace = network.trace(&x)?;
        for (number, layer) in explanation.layers.iter().enumerate() {
            assert_eq!((layer.name.as_str(), layer.maps.len()), (network.layers()[number].name.as_str(), 9));
            assert_eq!(layer.maps[0].width, 32 >> number);
            assert_eq!(layer.active.len(), if number == 2 { 3 } else { 0 });
            let others = if explanation.predicted() == last.true_class { 1 } else { 2 };
            assert_eq!(layer.cams.len(), if number == 2 { 10 } else { others });
            for ClassCam { class, map } in &layer.cams {
                let mut wanted = vec![vec![]; 3];
                wanted[number] = vec![(0, *class)];
                let expected = &grad_cam(&network, &trace, &wanted, Method::GradCam)?[number][0].1;
                let bound = 1e-4 * expected.range().1;
                let mut pairs = map.values.iter().zip(&expected.values);
                assert!(pairs.all(|(a, b)| (a - b).abs() <= bound), "{}, class {class}", layer.name);
            }
        }
        Ok(())
    }

    #[test]
    fn classes_with_grad_cam() {
        let logits = [0.5, 3.0, 0.0];
        assert_eq!(cam_classes(true, Reason::Pinned, &logits, 2), [0, 1, 2]);
        assert_eq!(cam_classes(false, Reason::Pinned, &logits, 2), [1, 2]);
        assert_eq!(cam_classes(false, Reason::Pinned, &logits, 1), [1]);
        assert_eq!(cam_classes(true, Reason::Mistake, &logits, 0), [1, 0]);
        assert_eq!(cam_classes(false, Reason::Mistake, &logits, 0), [0; 0]);
        let many: Vec<f32> = (0..47).map(|class| class as f32).collect();
        let expected = [3, 38, 39, 40, 41, 42, 43, 44, 45, 46];
        assert_eq!(cam_classes(true, Reason::Pinned, &many, 3), expected);
    }

    #[test]
    fn holds_what_the_network_attends_to() -> Result<()> {
        for &attention in AttentionKind::ALL {
            let (probe, _) = probe_of(&network(attention)?, &[7, 8], &[9])?;
            let (channels, positions) = match attention {
                AttentionKind::None | AttentionKind::NonLocal => ([None; 3], [None; 3]),
                AttentionKind::Se | AttentionKind::Eca => ([Some(16), Some(16), Some(32)], [None; 3]),
                AttentionKind::Spatial => ([None; 3], [Some(32), Some(16), Some(8)]),
                AttentionKind::Cbam => ([Some(16), Some(16), Some(32)], [Some(32), Some(16), Some(8)]),
            };
            for image in probe.every_image() {
                for (number, layer) in image.explanation.layers.iter().enumerate() {
                    assert_eq!(layer.channel_attention.as_ref().map(Vec::len), channels[number], "{attention:?}");
                    assert_eq!(layer.spatial_attention.as_ref().map(|map| map.width), positions[number]);
                    let has_matrix = attention == AttentionKind::NonLocal && number == 2;
                    assert_eq!(layer.attending_size(), has_matrix.then_some((8, 8)));
                    for map in layer.attention_matrix.iter().flatten() {
                        assert!((map.values.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn logits_that_are_not_finite_are_refused() -> Result<()> {
        let config = ModelConfig { channels: vec![4, 4, 4], hidden: 8, ..ModelConfig::default() };
        let network = Network::new(&config, &DatasetInfo::cifar10(), 0, &Device::Cpu)?;
        let (_, bias) = network.weights().parameters.last().expect("fc2.bias");
        bias.set(&bias.affine(0.0, f64::NAN)?)?;
        let error = probe_of(&network, &[7], &[]).expect_err("not finite").to_string();
        assert!(error.contains("the logits of image 7 are not finite"), "{error}");
        Ok(())
    }
}
