//! Tensors one after another: candle's custom operations take three at most.

use candle_core::{Result, Tensor};

use super::tape;

/// The elements of `parts` as one vector.
pub fn concat(parts: &[&Tensor]) -> Result<Tensor> {
    let elements: usize = parts.iter().map(|part| part.elem_count()).sum();
    concat_as(parts, &[elements])
}

/// The elements of `parts` as one tensor of that shape.
pub fn concat_as(parts: &[&Tensor], shape: &[usize]) -> Result<Tensor> {
    let vectors = parts.iter().map(|part| part.flatten_all()).collect::<Result<Vec<_>>>()?;
    let concatenated = Tensor::cat(&vectors, 0)?.reshape(shape)?;
    if !tape::is_recording() {
        return Ok(concatenated);
    }
    let concatenated = concatenated.detach();
    tape::note(parts, &concatenated, |node, gradient| {
        let (gradient, mut start) = (gradient.flatten_all()?, 0);
        let part = |argument: &Tensor| {
            let len = argument.elem_count();
            start += len;
            gradient.narrow(0, start - len, len)?.reshape(argument.shape()).map(Some)
        };
        node.arguments.iter().map(part).collect()
    })?;
    Ok(concatenated)
}
