//! Softmax and cross-entropy in one.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::float::{elements, has_f32_kernel, with_elements};
use super::tape::apply2;
use super::whole_batch;

/// Mean softmax cross-entropy of `logits` (N, classes) against `labels` (N), u32.
///
/// # Errors
/// A label is none of the classes.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    CrossEntropyLoss::default().of(logits, labels)
}

/// What PyTorch's `CrossEntropyLoss` is of a batch.
#[derive(Clone, Debug, Default)]
pub struct CrossEntropyLoss {
    /// The share of a target that is spread over all classes evenly (Szegedy et al. 2016, section 7).
    pub smoothing: f64,
    /// What each class counts; None: all the same. The mean is over the weights of the labels.
    pub class_weights: Option<Arc<[f64]>>,
}

impl CrossEntropyLoss {
    /// Of `logits` (N, classes) against `labels` (N), u32.
    ///
    /// # Errors
    /// A label is none of the classes, or there is not a weight for each class.
    pub fn of(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        if has_f32_kernel(logits) {
            let op = CrossEntropy { loss: self.clone(), gradient: Mutex::default() };
            return apply2(&logits.contiguous()?, &labels.contiguous()?, op);
        }
        let log_probabilities = candle_nn::ops::log_softmax(logits, 1)?;
        let Some(weights) = &self.class_weights else {
            let of_labels = candle_nn::loss::nll(&log_probabilities, labels)?;
            if self.smoothing == 0.0 {
                return Ok(of_labels);
            }
            let of_all = log_probabilities.mean_all()?.neg()?;
            return (of_labels * (1.0 - self.smoothing))? + (of_all * self.smoothing)?;
        };
        let weights = Tensor::new(&weights[..], logits.device())?.to_dtype(logits.dtype())?;
        let weighted = log_probabilities.broadcast_mul(&weights)?.neg()?;
        let of_labels = weighted.gather(&labels.unsqueeze(1)?, 1)?.sum_all()?;
        let of_all = (weighted.sum_all()? / weights.dims1()? as f64)?;
        let sum = ((of_labels * (1.0 - self.smoothing))? + (of_all * self.smoothing)?)?;
        sum / weights.gather(labels, 0)?.sum_all()?
    }
}

struct CrossEntropy {
    loss: CrossEntropyLoss,
    /// The gradient of the mean loss by the logits, from the forward pass.
    gradient: Mutex<Vec<f32>>,
}

impl CustomOp2 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        logits_layout: &Layout,
        labels: &CpuStorage,
        labels_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (samples, classes) = logits_layout.shape().dims2()?;
        let CpuStorage::U32(labels) = labels else {
            bail!("the labels of a cross-entropy are {:?}, expected U32", labels.dtype())
        };
        let Some((start, end)) = labels_layout.contiguous_offsets() else { bail!("labels that are not contiguous") };
        let labels = &labels[start..end];
        if labels.len() != samples {
            bail!("{samples} rows of logits, {} labels", labels.len())
        }
        let CrossEntropyLoss { smoothing, class_weights } = &self.loss;
        let weights = class_weights.as_deref();
        if let Some(weights) = weights
            && weights.len() != classes
        {
            bail!("{} weights for {classes} classes", weights.len())
        }
        let weight = |class: usize| weights.map_or(1.0, |weights| weights[class]);
        // What of its target each class has, and what the label has besides.
        let of_each = smoothing / classes as f64;
        let of_the_label = 1.0 - smoothing;
        for &label in labels {
            if label as usize >= classes {
                bail!("label {label} of {classes} classes")
            }
        }
        let total_weight = match weights {
            None => whole_batch::images(samples).0 as f64,
            Some(weights) => {
                let of_labels: Vec<f64> = labels.iter().map(|&label| weights[label as usize]).collect();
                whole_batch::doubles(&of_labels)?.iter().sum()
            }
        };
        let all_weights: f64 = (0..classes).map(weight).sum();
        let mut gradient = Vec::with_capacity(samples * classes);
        let mut losses = Vec::with_capacity(samples);
        for (logits, &label) in elements::<f32>(logits, logits_layout)?.chunks_exact(classes).zip(labels) {
            let label = label as usize;
            // The greatest is subtracted, so that no exponential overflows (a NaN stays one).
            let greatest = logits.iter().fold(f32::NEG_INFINITY, |greatest, &logit| greatest.max(logit));
            let exponentials = || logits.iter().map(|logit| f64::from(logit - greatest).exp());
            let total: f64 = exponentials().sum();
            let of_all = if *smoothing == 0.0 {
                0.0
            } else {
                let terms = logits.iter().enumerate().map(|(class, logit)| weight(class) * f64::from(logit - greatest));
                of_each * terms.sum::<f64>()
            };
            let of_label = of_the_label * weight(label);
            // Of a target without weights that is 1.
            let whole = if weights.is_some() { of_label + of_each * all_weights } else { 1.0 };
            losses.push(whole * total.ln() - of_label * f64::from(logits[label] - greatest) - of_all);
            gradient.extend(exponentials().enumerate().map(|(class, exponential)| {
                let target = of_each * weight(class) + if class == label { of_label } else { 0.0 };
                ((whole * exponential / total - target) / total_weight) as f32
            }));
        }
        let sum: f64 = whole_batch::doubles(&losses)?.iter().sum();
        *self.gradient.lock().unwrap_or_else(PoisonError::into_inner) = gradient;
        Ok((CpuStorage::F32(vec![(sum / total_weight) as f32]), Shape::from(())))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        _labels: &Tensor,
        _loss: &Tensor,
        d_loss: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let factor = with_elements(d_loss, |d_loss: &[f32]| Ok(d_loss[0]))?;
        let gradient = self.gradient.lock().unwrap_or_else(PoisonError::into_inner);
        let d_logits = gradient.iter().map(|gradient| gradient * factor).collect::<Vec<f32>>();
        Ok((Some(Tensor::from_vec(d_logits, logits.shape(), logits.device())?), None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_gradient, close, gradient, normal};
    use candle_core::DType;
    use candle_core::Device;

    fn labels() -> Tensor {
        Tensor::new(&[3u32, 0, 9, 3], &Device::Cpu).expect("labels")
    }

    /// With and without smoothing and weights.
    fn losses() -> [CrossEntropyLoss; 4] {
        let weights: Arc<[f64]> = (0..10).map(|class| 0.25 * (1 + class % 4) as f64).collect();
        [(0.0, false), (0.2, false), (0.0, true), (0.2, true)].map(|(smoothing, has_weights)| CrossEntropyLoss {
            smoothing,
            class_weights: has_weights.then(|| Arc::clone(&weights)),
        })
    }

    #[test]
    fn the_gradient_on_other_devices_is_finite_differences() {
        for loss in losses() {
            assert_gradient(&normal(1, &[4, 10]), |logits| loss.of(logits, &labels()));
        }
    }

    #[test]
    fn equals_the_one_for_other_devices() -> Result<()> {
        let logits = (normal(1, &[4, 10]) * 20.0)?;
        let single = logits.to_dtype(DType::F32)?;
        let logits = single.to_dtype(DType::F64)?;
        for loss in losses() {
            let f = |logits: &Tensor| loss.of(logits, &labels());
            close(&f(&single)?.to_dtype(DType::F64)?, &f(&logits)?, 1e-5);
            close(&gradient(&single, f).to_dtype(DType::F64)?, &gradient(&logits, f), 1e-7);
        }
        Ok(())
    }

    #[test]
    fn great_logits_do_not_overflow_and_a_nan_is_seen() -> Result<()> {
        let loss = |logits: [f32; 3]| {
            cross_entropy(&Tensor::new(&[logits], &Device::Cpu)?, &Tensor::new(&[1u32], &Device::Cpu)?)?
                .to_scalar::<f32>()
        };
        assert_eq!(loss([1e30, -1e30, 0.0])?, 2e30);
        assert!(loss([0.0, f32::NAN, 1.0])?.is_nan());
        assert!(loss([f32::NAN, 0.0, 1.0])?.is_nan());
        Ok(())
    }

    #[test]
    fn a_label_that_is_no_class_is_an_error() -> Result<()> {
        let logits = Tensor::zeros((1, 3), DType::F32, &Device::Cpu)?;
        let error = cross_entropy(&logits, &Tensor::new(&[3u32], &Device::Cpu)?).expect_err("no such class");
        assert!(error.to_string().contains("label 3 of 3 classes"), "{error}");
        Ok(())
    }
}
