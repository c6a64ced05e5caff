//! Computes explanations: the one place where the numbers that are drawn, printed and kept in probes come from.

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use super::attention::{attention_matrix, channel_attention, spatial_attention};
use super::feature_maps::{feature_maps, most_active};
use super::grad_cam::{Row, grad_cam};
use crate::model::{ForwardTrace, LayerInfo, Network};
use crate::render::{ChannelMap, ClassCam, Explanation, LayerExplanation, Map, Method, Planes};

/// What is computed of images.
pub struct Scope<C> {
    /// One for each layer, in the order of the network.
    pub channels: Vec<ChannelScope>,
    pub method: Method,
    /// The classes for which there is Grad-CAM of a layer, from the position of an image, the index of the layer and the
    /// image's logits.
    pub classes: C,
}

/// How many of a layer's channels are kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChannelScope {
    pub first: usize,
    pub most_active: usize,
}

impl Explanation {
    /// Explains each of `images`, which are `x` (N, H, W, C) when normalised. Changes nothing of the network, and draws no
    /// random number.
    ///
    /// # Errors
    /// There is no such class, or those of the operations.
    pub fn compute<C>(network: &Network, x: &Tensor, images: Vec<Planes>, scope: &Scope<C>) -> Result<Vec<Self>>
    where
        C: Fn(usize, usize, &[f32]) -> Vec<usize>,
    {
        let trace = network.trace(x)?;
        let logits = trace.logits.to_vec2::<f32>()?;
        let rows = |layer: usize| -> Vec<Row> {
            let of_image = |(image, logits): (usize, &Vec<f32>)| {
                (scope.classes)(image, layer, logits).into_iter().map(move |class| (image, class))
            };
            logits.iter().enumerate().flat_map(of_image).collect()
        };
        let wanted: Vec<Vec<Row>> = (0..network.layers().len()).map(rows).collect();
        let mut layers = vec![vec![]; images.len()];
        for (layer, cams) in grad_cam(network, &trace, &wanted, scope.method)?.into_iter().enumerate() {
            let mut of_layer =
                layer_explanations(&trace, layer, &network.layers()[layer], images.len(), scope.channels[layer])?;
            for ((image, class), map) in cams {
                of_layer[image].cams.push(ClassCam { class, map });
            }
            layers.iter_mut().zip(of_layer).for_each(|(layers, layer)| layers.push(layer));
        }
        let explained = images.into_iter().zip(logits).zip(layers);
        Ok(explained.map(|((image, logits), layers)| Self { image, logits, layers }).collect())
    }
}

/// For each of the images, without Grad-CAM.
fn layer_explanations(
    trace: &ForwardTrace,
    layer: usize,
    info: &LayerInfo,
    images: usize,
    scope: ChannelScope,
) -> Result<Vec<LayerExplanation>> {
    let output = trace.output(layer).to_device(&Device::Cpu)?;
    let weights = trace.attention(layer);
    let explain = |image: usize| -> Result<LayerExplanation> {
        let (maps, active) = channels(&output, image, scope)?;
        Ok(LayerExplanation {
            name: info.name.clone(),
            maps,
            active,
            cams: vec![],
            channel_attention: weights.channels.as_ref().map(|all| channel_attention(all, image)).transpose()?,
            spatial_attention: weights.positions.as_ref().map(|all| spatial_attention(all, image)).transpose()?,
            attention_matrix: weights
                .matrix
                .as_ref()
                .map(|all| attention_matrix(all, image, info.width))
                .transpose()?,
        })
    };
    (0..images).into_par_iter().map(explain).collect()
}

/// The first channels of an image and its most active ones, from the output for all images, (N, H, W, C).
fn channels(output: &Tensor, image: usize, scope: ChannelScope) -> Result<(Vec<Map>, Vec<ChannelMap>)> {
    let ChannelScope { first, most_active: active } = scope;
    let all = output.dim(3)?;
    // The most active are found among all of them.
    let needed = if active > 0 { all } else { first.min(all) };
    if needed == 0 {
        return Ok((vec![], vec![]));
    }
    let mut maps = feature_maps(&output.narrow(3, 0, needed)?, image)?;
    let active = most_active(&maps, active);
    maps.truncate(first);
    Ok((maps, active))
}
