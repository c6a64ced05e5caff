//! What the network makes of a few pictures at one step of its training, to be saved with the run.

use candle_core::{Device, Result, Tensor, bail};

use super::attention_map::gates;
use super::feature_maps::{Channels, choose, feature_maps};
use super::grad_cam::{Method, grad_cam};
use super::predicted;
use crate::data::loader::evaluation_batch;
use crate::data::{Dataset, SIDE};
use crate::model::{Cnn, Layer};
use crate::run::probe::{ACTIVE, MAPS, Probe, ProbedPicture};

/// The pictures of a dataset at `indices`, through a network that has taken `step` steps. Changes nothing of the network,
/// and draws no random number.
///
/// # Errors
/// A logit is not finite, or those of the operations.
///
/// # Panics
/// An index reaches beyond the dataset.
pub fn probe(cnn: &Cnn, dataset: &Dataset, indices: &[usize], device: &Device, epoch: u64, step: u64) -> Result<Probe> {
    let chosen = dataset.select(indices);
    let batch = evaluation_batch(&chosen, 0..chosen.len());
    let x = Tensor::from_vec(batch.pictures, (chosen.len(), SIDE, SIDE, 3), device)?;
    let inside = cnn.look_inside(&x)?;
    let logits = inside.logits.to_vec2::<f32>()?;
    if let Some((_, index)) =
        logits.iter().zip(indices).find(|(logits, _)| !logits.iter().all(|logit| logit.is_finite()))
    {
        bail!("the logits of test picture {index} are not finite")
    }
    // Every picture twice, so that one way back serves both of its classes.
    let output = inside.output(Layer::Conv3);
    let of_predicted = logits.iter().map(|logits| predicted(logits));
    let classes: Vec<usize> = of_predicted.chain(chosen.labels.iter().map(|&label| label.into())).collect();
    let twice = Tensor::cat(&[output, output], 0)?;
    let mut of_predicted = grad_cam(cnn, Layer::Conv3, &twice, &classes, Method::GradCam)?;
    let mut of_true = of_predicted.split_off(chosen.len()).into_iter();
    let mut of_predicted = of_predicted.into_iter();

    let mut pictures = Vec::with_capacity(chosen.len());
    for (number, (logits, &index)) in logits.into_iter().zip(indices).enumerate() {
        let first_maps = |layer| {
            let output = inside.output(layer);
            feature_maps(&output.narrow(3, 0, output.dim(3)?.min(MAPS))?, number)
        };
        let mut third = feature_maps(inside.output(Layer::Conv3), number)?;
        let active = choose(&third, Channels::Active, ACTIVE);
        third.truncate(MAPS);
        let maps = [first_maps(Layer::Conv1)?, first_maps(Layer::Conv2)?, third];
        let [first, second, third] =
            Layer::ALL.map(|layer| inside.attended(layer).gates.as_ref().map(|all| gates(all, number)).transpose());
        let (Some(gradcam_predicted), Some(gradcam_true)) = (of_predicted.next(), of_true.next()) else {
            bail!("fewer heat maps than pictures")
        };
        pictures.push(ProbedPicture {
            index,
            true_class: chosen.labels[number],
            planes: chosen.picture(number).to_vec(),
            logits,
            maps,
            gradcam_predicted,
            gradcam_true,
            active: active.into_iter().map(|chosen| (chosen.channel as u32, chosen.map)).collect(),
            gates: [first?, second?, third?],
        });
    }
    Ok(Probe { epoch, step, pictures })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AttentionKind, ModelConfig};
    use crate::data::sample;
    use crate::model::Mode;

    #[test]
    fn holds_what_is_seen_of_each_picture_and_changes_nothing() -> Result<()> {
        let config =
            ModelConfig { channels: [16, 16, 32], hidden: 8, attention: AttentionKind::Se, ..ModelConfig::default() };
        let cnn = Cnn::new(&config, 0, &Device::Cpu)?;
        let (_, test) = sample::read().expect("the sample");
        let before = cnn.weights().to_safetensors().expect("bytes");
        let probe = probe(&cnn, &test, &[7, 499], &Device::Cpu, 3, 96)?;
        assert_eq!(cnn.weights().to_safetensors().expect("bytes"), before);
        assert_eq!((probe.epoch, probe.step, probe.pictures.len()), (3, 96, 2));

        let batch = evaluation_batch(&test, 499..500);
        let x = Tensor::from_vec(batch.pictures, (1, SIDE, SIDE, 3), &Device::Cpu)?;
        let expected = cnn.forward(&x, Mode::Evaluate)?.to_vec2::<f32>()?.concat();
        let last = &probe.pictures[1];
        let inside = cnn.look_inside(&x)?;
        for (cam, class) in
            [(&last.gradcam_predicted, predicted(&last.logits)), (&last.gradcam_true, usize::from(last.true_class))]
        {
            let output = inside.output(Layer::Conv3);
            let expected = grad_cam(&cnn, Layer::Conv3, output, &[class], Method::GradCam)?.remove(0);
            let greatest = expected.range().1;
            let mut pairs = cam.values.iter().zip(&expected.values);
            assert!(greatest > 0.0 && pairs.all(|(a, b)| (a - b).abs() <= 1e-4 * greatest), "class {class}");
        }
        assert!(last.logits.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5));
        assert_eq!((last.index, u32::from(last.true_class)), (499, batch.labels[0]));
        assert_eq!(last.planes, test.picture(499));
        assert_eq!(
            [0, 1, 2].map(|layer: usize| (last.maps[layer].len(), last.maps[layer][0].width)),
            [(9, 32), (9, 16), (9, 8)]
        );
        assert_eq!((last.gradcam_true.width, last.active.len()), (8, 3));
        assert_eq!(
            [0, 1, 2].map(|layer: usize| last.gates[layer].as_ref().map(Vec::len)),
            [Some(16), Some(16), Some(32)]
        );
        Ok(())
    }

    #[test]
    fn logits_that_are_not_finite_are_refused() -> Result<()> {
        let config = ModelConfig { channels: [4, 4, 4], hidden: 8, ..ModelConfig::default() };
        let cnn = Cnn::new(&config, 0, &Device::Cpu)?;
        let (_, bias) = cnn.weights().parameters.last().expect("fc2.bias");
        bias.set(&bias.affine(0.0, f64::NAN)?)?;
        let (_, test) = sample::read().expect("the sample");
        let error = probe(&cnn, &test, &[7], &Device::Cpu, 1, 1).expect_err("not finite").to_string();
        assert!(error.contains("the logits of test picture 7 are not finite"), "{error}");
        Ok(())
    }
}
