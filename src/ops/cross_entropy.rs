//! Softmax and cross-entropy in one.

use std::sync::{Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::float::{elements, has_f32_kernel, with_elements};
use super::tape::apply2;

/// Mean softmax cross-entropy of `logits` (N, classes) against `labels` (N), u32.
///
/// # Errors
/// A label is none of the classes.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    smoothed_cross_entropy(logits, labels, 0.0)
}

/// As [`cross_entropy`], against targets of which the share `smoothing` is spread over all classes evenly (Szegedy et al. 2016,
/// section 7).
///
/// # Errors
/// As [`cross_entropy`].
pub fn smoothed_cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Result<Tensor> {
    if has_f32_kernel(logits) {
        let op = CrossEntropy { smoothing, gradient: Mutex::default() };
        return apply2(&logits.contiguous()?, &labels.contiguous()?, op);
    }
    let of_labels = candle_nn::loss::cross_entropy(logits, labels)?;
    if smoothing == 0.0 {
        return Ok(of_labels);
    }
    let of_all = candle_nn::ops::log_softmax(logits, 1)?.mean_all()?.neg()?;
    (of_labels * (1.0 - smoothing))? + (of_all * smoothing)?
}

struct CrossEntropy {
    smoothing: f64,
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
        // What of its target each class has, and what the label has besides.
        let of_each = self.smoothing / classes as f64;
        let of_the_label = 1.0 - self.smoothing;
        let mut gradient = Vec::with_capacity(samples * classes);
        let mut sum = 0.0;
        for (logits, &label) in elements::<f32>(logits, logits_layout)?.chunks_exact(classes).zip(labels) {
            let Some(&of_label) = logits.get(label as usize) else { bail!("label {label} of {classes} classes") };
            // The greatest is subtracted, so that no exponential overflows (a NaN stays one).
            let greatest = logits.iter().fold(f32::NEG_INFINITY, |greatest, &logit| greatest.max(logit));
            let exponentials = || logits.iter().map(|logit| f64::from(logit - greatest).exp());
            let total: f64 = exponentials().sum();
            let of_all = match self.smoothing {
                0.0 => 0.0,
                _ => of_each * logits.iter().map(|logit| f64::from(logit - greatest)).sum::<f64>(),
            };
            sum += total.ln() - of_the_label * f64::from(of_label - greatest) - of_all;
            gradient.extend(exponentials().enumerate().map(|(class, exponential)| {
                let target = of_each + if class == label as usize { of_the_label } else { 0.0 };
                ((exponential / total - target) / samples as f64) as f32
            }));
        }
        *self.gradient.lock().unwrap_or_else(PoisonError::into_inner) = gradient;
        Ok((CpuStorage::F32(vec![(sum / samples as f64) as f32]), Shape::from(())))
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

    #[test]
    fn the_gradient_on_other_devices_is_finite_differences() {
        for smoothing in [0.0, 0.2] {
            assert_gradient(&normal(1, &[4, 10]), |logits| smoothed_cross_entropy(logits, &labels(), smoothing));
        }
    }

    #[test]
    fn equals_the_one_for_other_devices() -> Result<()> {
        let logits = (normal(1, &[4, 10]) * 20.0)?;
        let single = logits.to_dtype(DType::F32)?;
        let logits = single.to_dtype(DType::F64)?;
        for smoothing in [0.0, 0.2] {
            let f = |logits: &Tensor| smoothed_cross_entropy(logits, &labels(), smoothing);
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
