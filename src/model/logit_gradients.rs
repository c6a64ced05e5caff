//! The gradients of logits by the outputs of the convolutions, as explanations of a decision need them.
//!
//! In evaluation mode images do not touch each other, so gradients of many logits, of one image or of several, are computed
//! together, a row each. The forward trace of an image is computed once, however many of its logits are differentiated.

use candle_core::{DType, Device, Result, Tensor, Var, bail};

use super::airbench::Airbench;
use super::cnn::{Block, Cnn, Head};
use super::pool::pooled_gradient;
use super::trace::ForwardTrace;
use crate::ops;

/// Gradients of logits, at the output of a layer's block.
pub struct LogitGradients<'a> {
    network: Differentiated<'a>,
    trace: &'a ForwardTrace,
    layer: usize,
    /// The image of each row.
    images: Vec<usize>,
    /// By the output of the layer's block, (rows, H / 2, W / 2, C).
    gradients: Tensor,
}

#[derive(Clone, Copy)]
pub(super) enum Differentiated<'a> {
    Cnn(&'a Cnn),
    Airbench(&'a Airbench),
}

impl<'a> LogitGradients<'a> {
    /// As [`super::Network::logit_gradients`].
    pub(super) fn new(network: Differentiated<'a>, trace: &'a ForwardTrace, rows: &[(usize, usize)]) -> Result<Self> {
        let (images, classes) = checked_rows(trace, rows)?;
        let features = select(&trace.features, &images)?;
        let gradients = match network {
            Differentiated::Cnn(cnn) => {
                cnn.head.features_gradient(&features, &select(&trace.hidden, &images)?, &classes)?
            }
            Differentiated::Airbench(airbench) => airbench.features_gradient(&features, &classes)?,
        };
        let layer = trace.layers.len() - 1;
        Ok(Self { network, trace, layer, images, gradients })
    }
}

impl Airbench {
    /// The gradients of a logit of each row by the last feature map, `features` (rows, H, W, C).
    fn features_gradient(&self, features: &Tensor, classes: &[usize]) -> Result<Tensor> {
        let features = Var::from_tensor(features)?;
        let logits = self.logits(&self.vectors(&features)?)?;
        let classes: Vec<u32> = classes.iter().map(|&class| class as u32).collect();
        let classes = Tensor::from_slice(&classes, (classes.len(), 1), logits.device())?;
        gradient(&logits.gather(&classes, 1)?, &features)
    }
}

/// The images and the classes.
fn checked_rows(trace: &ForwardTrace, rows: &[(usize, usize)]) -> Result<(Vec<usize>, Vec<usize>)> {
    let (images, classes) = trace.logits.dims2()?;
    if let Some((image, class)) = rows.iter().find(|&&(image, class)| image >= images || class >= classes) {
        bail!("the logit of class {class} of {classes}, of image {image} of {images}")
    }
    Ok(rows.iter().copied().unzip())
}

/// Of the sum of `y` by `x`, by candle.
fn gradient(y: &Tensor, x: &Var) -> Result<Tensor> {
    match y.sum_all()?.backward()?.remove(x) {
        Some(gradient) => gradient.contiguous(),
        None => bail!("no gradient reaches the convolution"),
    }
}

impl Head {
    /// The gradients of a logit of each row by the last feature map, `features` (rows, H, W, C), where `hidden` (rows, hidden)
    /// is the hidden layer.
    pub fn features_gradient(&self, features: &Tensor, hidden: &Tensor, classes: &[usize]) -> Result<Tensor> {
        let weights = select(&self.fc2.weight.detach(), classes)?;
        // ReLU's gradient at 0 is 0.
        let by_hidden = weights.mul(&hidden.gt(0.0)?.to_dtype(hidden.dtype())?)?;
        let by_vectors = by_hidden.matmul(&self.fc1.weight.detach())?;
        pooled_gradient(self.pool, features, &by_vectors)
    }
}

impl LogitGradients<'_> {
    /// The index of the layer.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// `f` of the layer's output for each row's image, (H, W, C), and of the row's gradient by it.
    ///
    /// # Errors
    /// Those of the operations.
    pub fn map_rows<T: Send>(&self, f: impl Fn(&[f32], &[f32]) -> T + Sync) -> Result<Vec<T>> {
        let output = self.trace.output(self.layer);
        let image_len = output.elem_count() / output.dim(0)?;
        ops::with_elements(&output.to_device(&Device::Cpu)?, |outputs: &[f32]| {
            let f = |row: usize, gradient: &[f32]| f(&outputs[self.images[row] * image_len..][..image_len], gradient);
            if let Some(kernel) = &self.trace.layers[self.layer].kernel {
                return kernel.gradients(&self.images, &self.gradients, f);
            }
            let convolved = Var::from_tensor(&select(output, &self.images)?)?;
            let finished = match self.network {
                Differentiated::Cnn(cnn) => cnn.blocks[self.layer].finish(&convolved)?,
                Differentiated::Airbench(airbench) => airbench.finish(self.layer, &convolved)?,
            };
            let by_output = gradient(&finished.mul(&self.gradients)?, &convolved)?;
            let rows: Vec<Vec<f32>> = by_output.flatten_from(1)?.to_dtype(DType::F32)?.to_vec2()?;
            Ok(rows.iter().enumerate().map(|(row, gradient)| f(row, gradient)).collect())
        })
    }

    /// The gradients of some of the rows at the layer before; none at the first.
    ///
    /// # Errors
    /// There is no such row.
    pub fn before(&self, rows: &[usize]) -> Result<Option<Self>> {
        let Some(layer) = self.layer.checked_sub(1) else { return Ok(None) };
        let Some(images) = rows.iter().map(|&row| self.images.get(row).copied()).collect::<Option<Vec<_>>>() else {
            bail!("rows {rows:?} of {}", self.images.len())
        };
        let output = self.trace.output(self.layer);
        let some = Self { gradients: select(&self.gradients, rows)?, images, ..*self };
        let gradients = some.map_rows(|_, gradient| gradient.to_vec())?.concat();
        let shape = [&[rows.len()], &output.dims()[1..]].concat();
        let by_convolved = Tensor::from_vec(gradients, shape, output.device())?;
        let gradients = match self.network {
            Differentiated::Cnn(cnn) => cnn.blocks[self.layer].input_gradient(&by_convolved)?,
            Differentiated::Airbench(airbench) => {
                let kernel = airbench.kernel(self.layer);
                ops::conv2d_input_gradient(&by_convolved, &kernel, kernel.dim(2)? / 2)?
            }
        };
        Ok(Some(Self { layer, gradients, ..some }))
    }
}

impl Block {
    /// From gradients by the convolution's output (N, H, W, C) to those by its input (N, H, W, inputs).
    fn input_gradient(&self, gradients: &Tensor) -> Result<Tensor> {
        ops::conv2d_input_gradient(gradients, &self.conv_weight.detach(), self.padding()?)
    }
}

fn select(from: &Tensor, positions: &[usize]) -> Result<Tensor> {
    let positions: Vec<u32> = positions.iter().map(|&position| position as u32).collect();
    from.index_select(&Tensor::new(positions.as_slice(), from.device())?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AttentionKind, ModelConfig, Precision};
    use crate::data::DatasetInfo;
    use crate::model::Mode;
    use crate::model::testing::{airbench, airbenches, assert_gradient_near, images, trained, with_attention};

    fn study(attention: AttentionKind) -> (Cnn, DatasetInfo) {
        let config = ModelConfig { channels: vec![16, 16, 32], hidden: 24, attention, ..ModelConfig::default() };
        (trained(&config, &DatasetInfo::cifar10()), DatasetInfo::cifar10())
    }

    /// The logits (N, classes) from the output of a convolution (N, H, W, C), by operations that candle differentiates.
    fn logits_from(cnn: &Cnn, layer: usize, output: &Tensor) -> Result<Tensor> {
        let (through, after) = cnn.blocks[layer..].split_first().expect("every layer has its block");
        let x = through.finish(output)?;
        let x = after.iter().try_fold(x, |x, block| block.finish(&block.convolve(&x)?))?;
        cnn.head.fc2.forward(&cnn.head.hidden(&x, Precision::F32)?, Precision::F32)
    }

    #[test]
    fn gradients_are_candles_for_each_layer() -> Result<()> {
        let rows = [(1, 2), (0, 1), (1, 0)];
        for (config, dataset) in with_attention(false) {
            let cnn = trained(&config, &dataset);
            let trace = cnn.trace(&images(1, 2, &dataset))?;
            let mut gradients = Some(LogitGradients::new(Differentiated::Cnn(&cnn), &trace, &rows)?);
            let mut layers = vec![];
            while let Some(of_layer) = gradients {
                let layer = of_layer.layer();
                let output = trace.output(layer);
                let ours = of_layer.map_rows(|output, gradient| (output.to_vec(), gradient.to_vec()))?;
                for ((image, class), (its_output, ours)) in rows.iter().zip(ours) {
                    let of_image = Var::from_tensor(&output.narrow(0, *image, 1)?)?;
                    assert_eq!(its_output, of_image.flatten_all()?.to_vec1::<f32>()?);
                    let logit = logits_from(&cnn, layer, &of_image)?.get(0)?.get(*class)?;
                    let expected = logit.backward()?.remove(&of_image).expect("a gradient");
                    assert_gradient_near(&ours, &expected, &format!("{config:?}, layer {layer}"))?;
                }
                layers.push(layer);
                gradients = of_layer.before(&[0, 1, 2])?;
            }
            assert!(layers.into_iter().rev().eq(0..config.channels.len()));
        }
        Ok(())
    }

    #[test]
    fn airbenchs_gradients_are_what_changes_its_logits() -> Result<()> {
        for (config, dataset) in airbenches() {
            let (network, x) = (airbench(&config, &dataset, 3), images(1, 2, &dataset));
            network.forward(&x, Mode::Train { seed: 0, step: 1 })?;
            let trace = network.trace(&x)?;
            let rows = [(1, 2), (0, 1), (1, 0)];
            let mut gradients = Some(LogitGradients::new(Differentiated::Airbench(&network), &trace, &rows)?);
            let mut layers = vec![];
            while let Some(of_layer) = gradients {
                let layer = of_layer.layer();
                let ours = of_layer.map_rows(|_, gradient| gradient.to_vec())?;
                for (&(image, class), ours) in rows.iter().zip(ours) {
                    let of_image = Var::from_tensor(&trace.output(layer).narrow(0, image, 1)?)?;
                    let mut x = network.finish(layer, &of_image)?;
                    for layer in layer + 1..network.shape().layers().len() {
                        x = ops::conv_pool(&x, &network.kernel(layer), ops::AfterConvolution::Nothing, Precision::F32)?;
                        x = network.finish(layer, &x)?;
                    }
                    let logit = network.logits(&network.vectors(&x)?)?.get(0)?.get(class)?;
                    let expected = logit.backward()?.remove(&of_image).expect("a gradient");
                    assert_gradient_near(&ours, &expected, &format!("{config:?}, layer {layer}"))?;
                }
                layers.push(layer);
                gradients = of_layer.before(&[0, 1, 2])?;
            }
            assert!(layers.into_iter().rev().eq(0..network.shape().layers().len()));
        }
        Ok(())
    }

    #[test]
    fn some_rows_go_on_without_the_others() -> Result<()> {
        let (cnn, dataset) = study(AttentionKind::Se);
        let trace = cnn.trace(&images(1, 2, &dataset))?;
        let gradients = |at: &LogitGradients| at.map_rows(|_, gradient| gradient.to_vec());
        let all = LogitGradients::new(Differentiated::Cnn(&cnn), &trace, &[(0, 1), (1, 2), (1, 3)])?;
        let some = all.before(&[2, 0])?.expect("a layer before");
        let all = all.before(&[0, 1, 2])?.expect("a layer before");
        let (some, all) = (gradients(&some)?, gradients(&all)?);
        assert_eq!((&some[0], &some[1]), (&all[2], &all[0]));
        Ok(())
    }

    #[test]
    fn an_unknown_image_class_or_row_is_refused() -> Result<()> {
        let (cnn, dataset) = study(AttentionKind::None);
        let trace = cnn.trace(&images(1, 2, &dataset))?;
        let refused = |rows: &[(usize, usize)]| {
            LogitGradients::new(Differentiated::Cnn(&cnn), &trace, rows).err().map(|e| e.to_string())
        };
        assert!(refused(&[(0, 1), (1, 10)]).is_some_and(|error| error.contains("class 10 of 10")));
        assert!(refused(&[(2, 0)]).is_some_and(|error| error.contains("image 2 of 2")));
        assert!(LogitGradients::new(Differentiated::Cnn(&cnn), &trace, &[(0, 1)])?.before(&[1]).is_err());
        Ok(())
    }
}
