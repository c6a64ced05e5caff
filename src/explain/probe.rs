//! What the network makes of a few images at one step of its training, to be saved with the run.

use candle_core::{Device, Result, Tensor, bail};
use rayon::prelude::*;

use super::attention_map::{gates, pairs, positions};
use super::feature_maps::{Channels, choose, feature_maps};
use super::grad_cam::{Method, heat_map};
use crate::data::loader::evaluation_batch;
use crate::data::{Dataset, SIDE};
use crate::metrics::predicted;
use crate::model::{ForwardTrace, Network};
use crate::render::Map;
use crate::run::probe::{ACTIVE, ClassCam, LAYERS, MAPS, Probe, ProbedImage, Reason, cam_classes};

/// The last layer.
const LAST: usize = LAYERS.len() - 1;

/// The pinned images and the mistakes of a dataset, by their numbers, through a network that has taken `step` steps.
/// Changes nothing of the network, and draws no random number.
///
/// # Errors
/// A logit is not finite, or those of the operations.
///
/// # Panics
/// A number reaches beyond the dataset.
pub fn probe(
    cnn: &Network,
    dataset: &Dataset,
    pinned: &[usize],
    mistakes: &[usize],
    device: &Device,
    epoch: u64,
    step: u64,
) -> Result<Probe> {
    let indices = [pinned, mistakes].concat();
    let chosen = dataset.select(&indices);
    let batch = evaluation_batch(&chosen, 0..chosen.len());
    let x = Tensor::from_vec(batch.images, (chosen.len(), SIDE, SIDE, 3), device)?;
    let trace = cnn.trace(&x)?;
    let logits = trace.logits.to_vec2::<f32>()?;
    if let Some((_, index)) =
        logits.iter().zip(&indices).find(|(logits, _)| !logits.iter().all(|logit| logit.is_finite()))
    {
        bail!("the logits of test image {index} are not finite")
    }
    let reasons = (0..).map(|number| if number < pinned.len() { Reason::Pinned } else { Reason::Mistake });
    let shown: Vec<Shown> = logits
        .iter()
        .zip(&chosen.labels)
        .zip(reasons)
        .map(|((logits, &label), reason)| Shown { reason, predicted: predicted(logits), true_class: label.into() })
        .collect();
    let mut cams = class_cams(cnn, &trace, &shown)?.into_iter();

    let outputs = in_layers(|layer| trace.output(layer).to_device(&Device::Cpu))?;
    let maps: Vec<Maps> =
        (0..indices.len()).into_par_iter().map(|number| Maps::of(&outputs, number)).collect::<Result<_>>()?;

    let mut images = Vec::with_capacity(chosen.len());
    for (number, ((logits, index), Maps { first, active })) in logits.into_iter().zip(indices).zip(maps).enumerate() {
        let attended_pairs = trace.attention(LAST).matrix.as_ref();
        images.push(ProbedImage {
            index,
            true_class: chosen.labels[number] as u8,
            planes: chosen.image(number).to_vec(),
            logits,
            maps: first,
            cams: cams.next().unwrap_or_default(),
            active,
            gates: in_layers(|layer| {
                trace.attention(layer).channels.as_ref().map(|all| gates(all, number)).transpose()
            })?,
            positions: in_layers(|layer| {
                trace.attention(layer).positions.as_ref().map(|all| positions(all, number)).transpose()
            })?,
            pairs: attended_pairs.map(|all| pairs(all, number, trace.output(LAST).dim(2)?)).transpose()?,
        });
    }
    let mistakes = images.split_off(pinned.len());
    Ok(Probe { epoch, step, images, mistakes })
}

/// What decides which heat maps an image has.
struct Shown {
    reason: Reason,
    predicted: usize,
    true_class: usize,
}

/// The heat maps of each image. The last layer has most; the way back goes on from some of them to the layers before it.
fn class_cams(cnn: &Network, trace: &ForwardTrace, shown: &[Shown]) -> Result<Vec<Vec<ClassCam>>> {
    let mut cams = vec![vec![]; shown.len()];
    let mut rows = rows(LAST, shown);
    let mut backward = Some(cnn.logit_gradients(trace, &rows)?);
    while let Some(way) = backward.filter(|_| !rows.is_empty()) {
        let layer = way.layer();
        let (_, _, width, channels) = trace.output(layer).dims4()?;
        let maps = way.map_rows(|output, gradient| heat_map(output, gradient, width, channels, Method::GradCam))?;
        for (map, &(image, class)) in maps.into_iter().zip(&rows) {
            cams[image].push(ClassCam { layer, class: class as u8, map: map? });
        }
        let Some(before) = layer.checked_sub(1) else { break };
        let further = self::rows(before, shown);
        let among: Vec<usize> =
            rows.iter().enumerate().filter(|(_, row)| further.contains(row)).map(|(position, _)| position).collect();
        rows = among.iter().map(|&position| rows[position]).collect();
        backward = way.before(&among)?;
    }
    // In the order of the layers, as a file has them.
    cams.iter_mut().for_each(|cams| cams.sort_by_key(|cam| cam.layer));
    Ok(cams)
}

/// An image and a class of each heat map of a layer.
fn rows(layer: usize, shown: &[Shown]) -> Vec<(usize, usize)> {
    let of_image = |(image, shown): (usize, &Shown)| {
        let classes = cam_classes(layer, shown.reason, shown.predicted, shown.true_class);
        classes.into_iter().map(move |class| (image, class))
    };
    shown.iter().enumerate().flat_map(of_image).collect()
}

/// Of one image.
struct Maps {
    /// The first of each convolution.
    first: [Vec<Map>; 3],
    /// The most active channels of the last one.
    active: Vec<(u32, Map)>,
}

impl Maps {
    /// From the convolutions' outputs for all images, (N, H, W, C) each, on the CPU.
    fn of(outputs: &[Tensor; 3], image: usize) -> Result<Self> {
        let [conv1, conv2, conv3] = outputs;
        let first = |output: &Tensor| feature_maps(&output.narrow(3, 0, output.dim(3)?.min(MAPS))?, image);
        let mut third = feature_maps(conv3, image)?;
        let active = choose(&third, Channels::Active, ACTIVE);
        third.truncate(MAPS);
        Ok(Self {
            first: [first(conv1)?, first(conv2)?, third],
            active: active.into_iter().map(|chosen| (chosen.channel as u32, chosen.map)).collect(),
        })
    }
}

fn in_layers<T>(of: impl Fn(usize) -> Result<T>) -> Result<[T; 3]> {
    Ok([of(0)?, of(1)?, of(LAST)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AttentionKind, ModelConfig};
    use crate::data::DatasetInfo;
    use crate::data::source::sample;
    use crate::explain::grad_cam::grad_cam;
    use crate::model::Mode;

    fn network(attention: AttentionKind) -> Result<Network> {
        let config = ModelConfig { channels: vec![16, 16, 32], hidden: 8, attention, ..ModelConfig::default() };
        Ok(Network::new(&config, &DatasetInfo::cifar10(), 0, &Device::Cpu).expect("a network"))
    }

    #[test]
    fn holds_what_is_seen_of_each_image_and_changes_nothing() -> Result<()> {
        let cnn = network(AttentionKind::Se)?;
        let (_, test) = sample::read().expect("the sample");
        let before = cnn.weights().to_safetensors().expect("bytes");
        let probe = probe(&cnn, &test, &[7, 499], &[12], &Device::Cpu, 3, 96)?;
        assert_eq!(cnn.weights().to_safetensors().expect("bytes"), before);
        assert_eq!((probe.epoch, probe.step, probe.images.len(), probe.mistakes.len()), (3, 96, 2, 1));

        let batch = evaluation_batch(&test, 499..500);
        let x = Tensor::from_vec(batch.images, (1, SIDE, SIDE, 3), &Device::Cpu)?;
        let expected = cnn.forward(&x, Mode::Evaluate)?.to_vec2::<f32>()?.concat();
        let last = &probe.images[1];
        let trace = cnn.trace(&x)?;
        let mut shown = 0;
        for (layer, class) in (0..=LAST).flat_map(|layer| (0..10).map(move |class| (layer, class))) {
            let Some(cam) = last.cam(layer, class) else { continue };
            let expected = grad_cam(&cnn, &trace, layer, &[(0, class)], Method::GradCam)?.remove(0);
            let bound = 1e-4 * expected.range().1;
            let mut pairs = cam.values.iter().zip(&expected.values);
            assert!(pairs.all(|(a, b)| (a - b).abs() <= bound), "layer {layer}, class {class}");
            shown += 1;
        }
        let of_others = if last.predicted() == usize::from(last.true_class) { 1 } else { 2 };
        assert_eq!((shown, last.cams.len()), (10 + 2 * of_others, shown));
        let mistake = &probe.mistakes[0];
        let classes = cam_classes(2, Reason::Mistake, mistake.predicted(), mistake.true_class.into());
        assert!(mistake.cams.len() == classes.len() && classes.iter().all(|&class| mistake.cam(2, class).is_some()));
        assert!(last.logits.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5));
        assert_eq!((last.index, u32::from(last.true_class)), (499, batch.labels[0]));
        assert_eq!(last.planes, test.image(499));
        assert_eq!(
            [0, 1, 2].map(|layer: usize| (last.maps[layer].len(), last.maps[layer][0].width)),
            [(9, 32), (9, 16), (9, 8)]
        );
        assert_eq!(last.active.len(), 3);
        Ok(())
    }

    #[test]
    fn holds_what_the_network_attends_to() -> Result<()> {
        let (_, test) = sample::read().expect("the sample");
        for attention in AttentionKind::ALL {
            let probe = probe(&network(attention)?, &test, &[7, 8], &[9], &Device::Cpu, 1, 1)?;
            let (gates, positions) = match attention {
                AttentionKind::None | AttentionKind::NonLocal => ([None; 3], [None; 3]),
                AttentionKind::Se | AttentionKind::Eca => ([Some(16), Some(16), Some(32)], [None; 3]),
                AttentionKind::Spatial => ([None; 3], [Some(32), Some(16), Some(8)]),
                AttentionKind::Cbam => ([Some(16), Some(16), Some(32)], [Some(32), Some(16), Some(8)]),
            };
            for image in probe.images.iter().chain(&probe.mistakes) {
                let lengths = image.gates.each_ref().map(|gates| gates.as_ref().map(Vec::len));
                let widths =
                    image.positions.each_ref().map(|positions| positions.as_ref().map(|positions| positions.width));
                assert_eq!((lengths, widths), (gates, positions), "{attention:?}");
                assert_eq!(image.pairs.is_some(), attention == AttentionKind::NonLocal);
                for map in image.pairs.iter().flatten() {
                    assert_eq!((map.width, map.height()), (8, 8));
                    assert!((map.values.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn logits_that_are_not_finite_are_refused() -> Result<()> {
        let config = ModelConfig { channels: vec![4, 4, 4], hidden: 8, ..ModelConfig::default() };
        let cnn = Network::new(&config, &DatasetInfo::cifar10(), 0, &Device::Cpu).expect("a network");
        let (_, bias) = cnn.weights().parameters.last().expect("fc2.bias");
        bias.set(&bias.affine(0.0, f64::NAN)?)?;
        let (_, test) = sample::read().expect("the sample");
        let error = probe(&cnn, &test, &[7], &[], &Device::Cpu, 1, 1).expect_err("not finite").to_string();
        assert!(error.contains("the logits of test image 7 are not finite"), "{error}");
        Ok(())
    }
}
