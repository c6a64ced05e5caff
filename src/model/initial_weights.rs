//! Weights to begin with, of whatever program: safetensors or PyTorch's own files, in any floating-point type, and with the
//! prefixes that PyTorch's wrappers put before the names.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};

use super::pytorch;
use super::weights::{deserialize, read, serialize};

/// Of `DataParallel`, of a module that another one holds, and of `torch.compile`.
const PREFIXES: [&str; 3] = ["module.", "model.", "_orig_mod."];

pub struct InitialWeights {
    /// As a safetensors file.
    pub bytes: Vec<u8>,
    /// What was done to them, for people.
    pub notice: Option<String>,
}

impl InitialWeights {
    pub fn read(file: &Path) -> Result<Self> {
        let bytes = read(file)?;
        Self::from_bytes(bytes).with_context(|| format!("cannot read the weights in {}", file.display()))
    }

    fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        let is_pytorch = pytorch::is_pytorch(&bytes);
        let mut done = vec![];
        let mut tensors = if is_pytorch {
            let contents = pytorch::read(&bytes)?;
            if !contents.others.is_empty() {
                done.push(format!("without {}, which is no tensor", contents.others.join(", ")));
            }
            contents.tensors
        } else {
            deserialize(&bytes, &Device::Cpu)?
        };
        done.extend(strip_prefixes(&mut tensors));
        done.extend(widen(&mut tensors)?);
        let notice = (!done.is_empty()).then(|| format!("initial weights: {}", done.join(", ")));
        let bytes = if is_pytorch || notice.is_some() { serialize(tensors)? } else { bytes };
        Ok(Self { bytes, notice })
    }
}

/// Takes prefixes away that all names have.
fn strip_prefixes(tensors: &mut BTreeMap<String, Tensor>) -> Option<String> {
    let mut stripped = String::new();
    let common = |tensors: &BTreeMap<String, Tensor>| {
        let has_all = |prefix: &&str| tensors.keys().all(|name| name.starts_with(*prefix));
        PREFIXES.into_iter().find(|prefix| !tensors.is_empty() && has_all(prefix))
    };
    while let Some(prefix) = common(tensors) {
        *tensors = std::mem::take(tensors)
            .into_iter()
            .map(|(name, tensor)| (name[prefix.len()..].to_owned(), tensor))
            .collect();
        stripped += prefix;
    }
    (!stripped.is_empty()).then(|| format!("without the prefix {stripped} of their names"))
}

/// Turns floating-point numbers of other types into those of 32 bits.
fn widen(tensors: &mut BTreeMap<String, Tensor>) -> Result<Option<String>> {
    let mut types: Vec<&str> = vec![];
    for (name, tensor) in tensors.iter_mut().filter(|(_, tensor)| tensor.dtype().is_float()) {
        let dtype = tensor.dtype();
        if dtype != DType::F32 {
            *tensor = tensor.to_dtype(DType::F32).with_context(|| name.clone())?;
            if !types.contains(&dtype.as_str()) {
                types.push(dtype.as_str());
            }
        }
    }
    Ok((!types.is_empty()).then(|| format!("converted from {} to f32", types.join(" and "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::tiny;

    #[test]
    fn names_lose_what_all_of_them_begin_with() {
        let tensor = Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
        let stripped = |names: &[&str]| {
            let mut tensors = names.iter().map(|&name| (name.to_owned(), tensor.clone())).collect();
            let notice = strip_prefixes(&mut tensors);
            (tensors.into_keys().collect::<Vec<_>>().join(" "), notice)
        };
        assert_eq!(stripped(&["fc1.bias", "model.x"]), ("fc1.bias model.x".into(), None));
        let notice = Some("without the prefix module._orig_mod. of their names".into());
        assert_eq!(stripped(&["module._orig_mod.a", "module._orig_mod.b"]), ("a b".into(), notice));
        assert_eq!(stripped(&[]), (String::new(), None));
    }

    #[test]
    fn other_floats_are_converted_with_a_notice() -> Result<()> {
        let network = tiny(1);
        let original = network.weights().to_safetensors()?;
        let unchanged = InitialWeights::from_bytes(original.clone())?;
        assert_eq!((unchanged.bytes == original, unchanged.notice), (true, None));
        for dtype in [DType::F16, DType::BF16, DType::F64] {
            let narrowed = deserialize(&original, &Device::Cpu)?.into_iter().map(|(name, tensor)| {
                let tensor = if tensor.dtype().is_float() { tensor.to_dtype(dtype)? } else { tensor };
                anyhow::Ok((name, tensor))
            });
            let narrowed = serialize(narrowed.collect::<Result<Vec<_>>>()?)?;
            let initial = InitialWeights::from_bytes(narrowed)?;
            tiny(2).weights().load_bytes(&initial.bytes, Path::new("x"))?;
            let notice = initial.notice.context("a notice")?;
            assert_eq!(notice, format!("initial weights: converted from {} to f32", dtype.as_str()));
        }
        Ok(())
    }
}
