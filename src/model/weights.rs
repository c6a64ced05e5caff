//! Weights by name, as in a PyTorch `state_dict`, and as safetensors.
//!
//! `load_state_dict` there takes what is written here, and what is written there loads here.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, bail};
use candle_core::{DType, Device, Result, Tensor, Var};
use safetensors::SafeTensors;

use super::init::Init;
use crate::ordinary_file;

/// The tensors of a network.
#[derive(Default)]
pub struct Weights {
    /// Trained by the optimizer; in the order of the network.
    pub parameters: Vec<(String, Var)>,
    /// Running estimates, the count of batches that PyTorch keeps with them, and weights that are frozen.
    pub buffers: Vec<(String, Var)>,
}

impl Weights {
    /// The number of trained numbers.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(|(_, parameter)| parameter.elem_count()).sum()
    }

    /// What the buffers hold, for [`Weights::restore_buffers`].
    pub fn copy_buffers(&self) -> Result<Vec<Tensor>> {
        self.buffers.iter().map(|(_, buffer)| buffer.copy()).collect()
    }

    /// Puts back what [`Weights::copy_buffers`] gave.
    pub fn restore_buffers(&self, copies: &[Tensor]) -> Result<()> {
        self.buffers.iter().zip(copies).try_for_each(|((_, buffer), copy)| buffer.set(copy))
    }

    /// Whether every parameter and running estimate is a finite number.
    pub fn are_finite(&self) -> Result<bool> {
        are_finite(self.vars())
    }

    /// All tensors: parameters, then buffers.
    pub fn vars(&self) -> impl Iterator<Item = &Var> {
        self.named().map(|(_, var)| var)
    }

    /// All tensors with their names, in the order of [`Weights::vars`].
    pub fn named(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.parameters.iter().chain(&self.buffers).map(|(name, var)| (name.as_str(), var))
    }

    /// As the bytes of a safetensors file; equal weights give equal bytes.
    pub fn to_safetensors(&self) -> anyhow::Result<Vec<u8>> {
        serialize(self.named().map(|(name, var)| (name.to_owned(), var.as_tensor().clone())))
    }

    /// Takes every tensor from `file`. What is missing there, what is too much, what has another shape or type, and what
    /// cannot be (NaN, infinity, a negative variance) is listed, and then nothing is changed. A missing `num_batches_tracked` is no error: old PyTorch files lack it.
    pub fn load(&self, file: &Path) -> anyhow::Result<()> {
        self.load_bytes(&read(file)?, file)
    }

    /// As [`Weights::load`], from the bytes of `file`.
    pub fn load_bytes(&self, bytes: &[u8], file: &Path) -> anyhow::Result<()> {
        self.take(bytes).with_context(|| format!("cannot take the weights in {}", file.display()))
    }

    fn take(&self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(assign(find(bytes, self.named().map(|(name, var)| (name.to_owned(), var)))?)?)
    }
}

/// Whether every number of the variables is finite; whole numbers are.
pub fn are_finite<'a>(variables: impl IntoIterator<Item = &'a Var>) -> Result<bool> {
    for var in variables.into_iter().filter(|var| var.dtype().is_float()) {
        // Zero times what is no finite number is no number.
        if var.affine(0.0, 0.0)?.sum_all()?.to_scalar::<f32>()? != 0.0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The bytes of a file of weights.
pub fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    ordinary_file::read(file).with_context(|| format!("cannot read the weights in {}", file.display()))
}

/// For each variable, in their order, the tensor of its name in the bytes of a safetensors file. What is missing there, what
/// is too much, and what has another shape or type is listed in one error. A missing `num_batches_tracked` is no error.
pub fn find<'a>(
    bytes: &[u8],
    variables: impl IntoIterator<Item = (String, &'a Var)>,
) -> anyhow::Result<Vec<(&'a Var, Tensor)>> {
    let mut found = deserialize(bytes, &Device::Cpu)?;
    let mut wrong = vec![];
    let mut fitting = vec![];
    for (name, var) in variables {
        match found.remove(&name) {
            None if name.ends_with("num_batches_tracked") => {}
            None => wrong.push(format!("{name}: missing")),
            Some(tensor) if tensor.dims() != var.dims() => {
                wrong.push(format!("{name}: shape {:?}, expected {:?}", tensor.dims(), var.dims()));
            }
            Some(tensor) if tensor.dtype() != var.dtype() => {
                wrong.push(format!("{name}: type {:?}, expected {:?}", tensor.dtype(), var.dtype()));
            }
            Some(tensor) => {
                wrong.extend(impossible_value(&name, &tensor)?);
                fitting.push((var, tensor));
            }
        }
    }
    wrong.extend(found.keys().map(|name| format!("{name}: not a tensor of this network")));
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "))
    }
    Ok(fitting)
}

/// What no tensor of that name holds, if this one does.
fn impossible_value(name: &str, tensor: &Tensor) -> Result<Option<String>> {
    if tensor.dtype() != DType::F32 {
        return Ok(None);
    }
    let values = tensor.flatten_all()?.to_vec1::<f32>()?;
    if let Some((index, value)) = values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        return Ok(Some(format!("{name}: number {index} is {value}, which is not finite")));
    }
    let negative = values.iter().enumerate().find(|(_, value)| name.ends_with("running_var") && **value < 0.0);
    Ok(negative.map(|(index, value)| format!("{name}: number {index} is {value}, and no variance is negative")))
}

/// Gives each variable its tensor.
pub fn assign(found: Vec<(&Var, Tensor)>) -> Result<()> {
    found.into_iter().try_for_each(|(var, tensor)| var.set(&tensor.to_device(var.device())?))
}

/// Named tensors as the bytes of a safetensors file.
pub fn serialize(tensors: impl IntoIterator<Item = (String, Tensor)>) -> anyhow::Result<Vec<u8>> {
    Ok(safetensors::serialize(tensors, None)?)
}

/// The tensors of a safetensors file.
pub fn deserialize(bytes: &[u8], device: &Device) -> anyhow::Result<BTreeMap<String, Tensor>> {
    SafeTensors::deserialize(bytes).context("not a whole safetensors file")?;
    let tensors: HashMap<String, Tensor> = candle_core::safetensors::load_buffer(bytes, device)?;
    Ok(tensors.into_iter().collect())
}

/// A parameter before it is made.
pub(super) struct ParameterSpec {
    name: String,
    dims: Vec<usize>,
    init: Init,
}

impl ParameterSpec {
    pub fn new(name: String, dims: &[usize], init: Init) -> Self {
        Self { name, dims: dims.to_vec(), init }
    }

    /// Its elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }
}

/// The elements of all of them.
pub(super) fn count(parameters: &[ParameterSpec]) -> u64 {
    parameters.iter().map(|parameter| parameter.len() as u64).sum()
}

/// Makes the tensors of a network, in its order.
pub(super) struct Builder<'a> {
    pub seed: u64,
    pub device: &'a Device,
    pub weights: Weights,
}

impl Builder<'_> {
    pub fn parameter(&mut self, spec: ParameterSpec) -> Result<Tensor> {
        let ParameterSpec { name, dims, init } = spec;
        // The index is a key of the random draw: a parameter that draws nothing counts as well.
        let index = self.weights.parameters.len() as u64;
        let var = Var::from_tensor(&init.value(self.seed, index, &dims, self.device)?)?;
        self.weights.parameters.push((name, var.clone()));
        Ok(var.as_tensor().clone())
    }

    pub fn parameters<const N: usize>(&mut self, specs: [ParameterSpec; N]) -> Result<[Tensor; N]> {
        let tensors: Vec<Tensor> = specs.into_iter().map(|spec| self.parameter(spec)).collect::<Result<_>>()?;
        Ok(tensors.try_into().expect("a tensor for each specification"))
    }

    pub fn buffer(&mut self, name: String, value: &Tensor) -> Result<Var> {
        let var = Var::from_tensor(value)?;
        self.weights.buffers.push((name, var.clone()));
        Ok(var)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::model::testing::tiny as network;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    #[test]
    fn what_is_saved_loads_to_the_same_bytes() -> anyhow::Result<()> {
        let (one, other) = (network(1), network(2));
        let bytes = one.weights().to_safetensors()?;
        assert_ne!(bytes, other.weights().to_safetensors()?);
        let folder = folder();
        let file = folder.path().join("weights.safetensors");
        std::fs::write(&file, &bytes)?;
        other.weights().load(&file)?;
        assert_eq!(bytes, other.weights().to_safetensors()?);
        Ok(())
    }

    #[test]
    fn everything_wrong_is_listed_and_nothing_is_changed() -> anyhow::Result<()> {
        let network = network(1);
        let before = network.weights().to_safetensors()?;
        let mut tensors = deserialize(&before, &Device::Cpu)?;
        tensors.remove("fc2.bias");
        tensors.remove("bn1.num_batches_tracked");
        tensors.insert("fc3.bias".into(), Tensor::zeros(2, DType::F32, &Device::Cpu)?);
        tensors.insert("conv1.bias".into(), Tensor::zeros(7, DType::F32, &Device::Cpu)?);
        tensors.insert("bn2.weight".into(), Tensor::zeros(3, DType::F64, &Device::Cpu)?);
        let folder = folder();
        let file = folder.path().join("other.safetensors");
        std::fs::write(&file, serialize(tensors)?)?;
        let error = format!("{:#}", network.weights().load(&file).expect_err("four things are wrong"));
        for part in [
            "other.safetensors",
            "conv1.bias: shape [7], expected [2]",
            "bn2.weight: type F64, expected F32",
            "fc2.bias: missing",
            "fc3.bias: not a tensor of this network",
        ] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert!(!error.contains("num_batches_tracked"));
        assert_eq!(network.weights().to_safetensors()?, before);
        Ok(())
    }

    #[test]
    fn numbers_that_cannot_be_are_named() -> anyhow::Result<()> {
        let network = network(1);
        let before = network.weights().to_safetensors()?;
        for (name, value, told) in [
            ("conv1.weight", f32::NAN, "conv1.weight: number 1 is NaN, which is not finite"),
            ("fc1.bias", f32::NEG_INFINITY, "fc1.bias: number 1 is -inf, which is not finite"),
            ("bn2.running_var", -1e-3, "bn2.running_var: number 1 is -0.001, and no variance is negative"),
        ] {
            let mut tensors = deserialize(&before, &Device::Cpu)?;
            let tensor = tensors.get_mut(name).expect("a tensor of that name");
            let mut values = tensor.flatten_all()?.to_vec1::<f32>()?;
            values[1] = value;
            *tensor = Tensor::from_vec(values, tensor.dims(), &Device::Cpu)?;
            let error = network.weights().take(&serialize(tensors)?).expect_err("it cannot be").to_string();
            assert_eq!(error, told);
            assert_eq!(network.weights().to_safetensors()?, before);
        }
        Ok(())
    }

    #[test]
    fn a_cut_file_is_an_error() -> anyhow::Result<()> {
        let network = network(1);
        let bytes = network.weights().to_safetensors()?;
        for len in [0, 4, 8, 100, bytes.len() - 1] {
            assert!(network.weights().take(&bytes[..len]).is_err(), "{len} bytes");
        }
        Ok(())
    }
}
