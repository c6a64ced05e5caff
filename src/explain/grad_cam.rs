//! Where in an image the evidence for a class is.
//!
//! Grad-CAM (Selvaraju et al. 2017, section 3): L = relu(Σₖ αₖ Aᵏ), with Aᵏ channel k of a convolution's output and αₖ the
//! mean over the image of the gradient of the class's logit by it. Grad-CAM++ (Chattopadhay et al. 2018, equation 19)
//! weighs the positions of that gradient, and leaves out those where it is negative. As `pytorch-grad-cam` has them.

use candle_core::Result;

use crate::model::{ForwardTrace, Network};
use crate::ops::{channel_sums, weighted_channels};
use crate::render::{Map, Method};

/// An image of a batch, by its position, and a class.
pub type Row = (usize, usize);

/// Grad-CAM of every layer for the rows that `wanted` has for it, at the size of the layer, not normalised. The layers share
/// one backward pass, so the rows of a layer come in the order of the last layer that has them.
///
/// # Errors
/// There is no such image or class.
pub fn grad_cam(
    network: &Network,
    trace: &ForwardTrace,
    wanted: &[Vec<Row>],
    method: Method,
) -> Result<Vec<Vec<(Row, Map)>>> {
    let mut maps = vec![vec![]; wanted.len()];
    let mut rows = wanted.iter().rev().flatten().fold(vec![], |mut rows, row| {
        if !rows.contains(row) {
            rows.push(*row);
        }
        rows
    });
    if rows.is_empty() {
        return Ok(maps);
    }
    let mut backward = Some(network.logit_gradients(trace, &rows)?);
    while let Some(gradients) = backward {
        let layer = gradients.layer();
        if !wanted[layer].is_empty() {
            let (_, _, width, channels) = trace.output(layer).dims4()?;
            let all = gradients.map_rows(|output, gradient| heat_map(output, gradient, width, channels, method))?;
            let of_layer = rows.iter().zip(all).filter(|(row, _)| wanted[layer].contains(row));
            maps[layer] = of_layer.map(|(&row, map)| Ok((row, map?))).collect::<Result<_>>()?;
        }
        let is_wanted_before = |row: &Row| wanted[..layer].iter().any(|wanted| wanted.contains(row));
        let kept: Vec<usize> = (0..rows.len()).filter(|&number| is_wanted_before(&rows[number])).collect();
        if kept.is_empty() {
            break;
        }
        rows = kept.iter().map(|&number| rows[number]).collect();
        backward = gradients.before(&kept)?;
    }
    Ok(maps)
}

/// From a layer's output for an image and the gradient of a logit by it, both (H, W, C).
///
/// # Errors
/// The SIMD path that the environment asks for is not available on this CPU.
fn heat_map(output: &[f32], gradient: &[f32], width: usize, channels: usize, method: Method) -> Result<Map> {
    let weights = match method {
        Method::GradCam => mean_gradients(gradient, channels)?,
        Method::GradCamPlusPlus => weighted_gradients(output, gradient, channels)?,
    };
    let mut sums = weighted_channels(output, &weights)?;
    sums.iter_mut().for_each(|sum| *sum = sum.max(0.0));
    Ok(Map::new(width, sums))
}

/// At the size of the image, min-max normalised to [0, 1]: before it is enlarged bilinearly, and again after.
pub fn at_input(cam: &Map, width: usize, height: usize) -> Map {
    scaled(&scaled(cam).resized(width, height))
}

/// With `pytorch-grad-cam`'s guard against a division by 0.
fn scaled(cam: &Map) -> Map {
    let (low, high) = cam.range();
    cam.mapped(|value| (value - low) / (1e-7 + (high - low)))
}

/// α of each channel, from the gradient (pixels, channels).
fn mean_gradients(gradient: &[f32], channels: usize) -> Result<Vec<f32>> {
    let pixels = (gradient.len() / channels) as f32;
    Ok(channel_sums(gradient, channels)?.into_iter().map(|sum| sum / pixels).collect())
}

/// Σ α · relu(dy/dA) with α = g² / (2 g² + ΣA · g³), of each channel, from output and gradient (pixels, channels).
fn weighted_gradients(output: &[f32], gradient: &[f32], channels: usize) -> Result<Vec<f32>> {
    /// As `pytorch-grad-cam` has it.
    const EPSILON: f32 = 1e-6;
    let totals = channel_sums(output, channels)?;
    let mut weights = vec![0.0; channels];
    for pixel in gradient.chunks_exact(channels) {
        for ((weight, &total), &gradient) in weights.iter_mut().zip(&totals).zip(pixel) {
            if gradient > 0.0 {
                let square = gradient * gradient;
                *weight += gradient * square / (2.0 * square + total * square * gradient + EPSILON);
            }
        }
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::config::{AttentionKind, ModelConfig};
    use crate::data::DatasetInfo;
    use crate::ops::gradient_check::normal;

    fn network() -> (Network, Tensor) {
        let config = ModelConfig {
            channels: vec![16, 16, 16],
            hidden: 12,
            attention: AttentionKind::Se,
            ..ModelConfig::default()
        };
        let x = normal(1, &[3, 32, 32, 3]).to_dtype(DType::F32).expect("f32");
        (Network::new(&config, &DatasetInfo::cifar10(), 0, &Device::Cpu).expect("a network"), x)
    }

    #[test]
    fn images_and_layers_together_are_each_alone() -> Result<()> {
        let (network, x) = network();
        let trace = network.trace(&x)?;
        let wanted = [vec![(2, 9), (0, 3)], vec![], vec![(0, 4), (1, 0), (2, 9)]];
        for method in [Method::GradCam, Method::GradCamPlusPlus] {
            let together = grad_cam(&network, &trace, &wanted, method)?;
            assert_eq!(together.iter().map(Vec::len).collect::<Vec<_>>(), [2, 0, 3]);
            for (layer, maps) in together.iter().enumerate() {
                for ((image, class), together) in maps {
                    let trace = network.trace(&x.narrow(0, *image, 1)?)?;
                    let mut wanted = vec![vec![]; 3];
                    wanted[layer] = vec![(0, *class)];
                    let alone = &grad_cam(&network, &trace, &wanted, method)?[layer][0].1;
                    let high = alone.range().1;
                    for (a, b) in together.values.iter().zip(&alone.values) {
                        assert!((a - b).abs() <= 1e-4 * high.max(1e-6), "layer {layer} {method:?}: {a} and {b}");
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_image_sized_map_fills_0_to_1_and_nothing_stays_nothing() {
        let cam = at_input(&Map::new(2, vec![0.0, 1.0, 2.0, 8.0]), 32, 32);
        let (low, high) = cam.range();
        assert!(cam.values.len() == 1024 && low == 0.0 && (high - 1.0).abs() < 1e-6, "{low} to {high}");
        assert_eq!(at_input(&Map::new(2, vec![0.0; 4]), 4, 4).values, [0.0; 16]);
    }
}
