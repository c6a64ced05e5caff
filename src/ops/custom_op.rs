//! candle's custom operations on slices of f32: what each has to do before and after its kernel.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor, bail};

use super::float::elements;

/// An operation of N contiguous f32 tensors on the CPU.
pub trait SliceOp<const N: usize>: Send + Sync + 'static {
    const NAME: &'static str;

    /// The elements of the output, and its shape.
    fn forward(&self, arguments: [&[f32]; N]) -> Result<(Vec<f32>, Shape)>;

    /// The gradient by each argument, where it is wanted, from that by the output.
    fn backward(&self, arguments: [&[f32]; N], output_gradient: &[f32]) -> Result<[Option<Vec<f32>>; N]>;
}

/// Makes of a [`SliceOp`] a custom operation of as many tensors.
pub struct OnSlices<O>(pub O);

fn forward<const N: usize, O: SliceOp<N>>(
    op: &O,
    arguments: [(&CpuStorage, &Layout); N],
) -> Result<(CpuStorage, Shape)> {
    let mut slices: [&[f32]; N] = [&[]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(arguments) {
        *slice = elements(storage, layout)?;
    }
    let (y, shape) = op.forward(slices)?;
    Ok((CpuStorage::F32(y), shape))
}

fn backward<const N: usize, O: SliceOp<N>>(
    op: &O,
    arguments: [&Tensor; N],
    output_gradient: &Tensor,
) -> Result<[Option<Tensor>; N]> {
    let output_gradient = output_gradient.contiguous()?;
    let storages = arguments.map(Tensor::storage_and_layout);
    let (storage, layout) = output_gradient.storage_and_layout();
    let mut slices: [&[f32]; N] = [&[]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&storages) {
        *slice = on_cpu(storage, layout)?;
    }
    let gradients = op.backward(slices, on_cpu(&storage, layout)?)?;
    let mut tensors = [const { None }; N];
    for ((tensor, gradient), argument) in tensors.iter_mut().zip(gradients).zip(arguments) {
        *tensor = gradient.map(|g| Tensor::from_vec(g, argument.shape(), argument.device())).transpose()?;
    }
    Ok(tensors)
}

fn on_cpu<'a>(storage: &'a Storage, layout: &Layout) -> Result<&'a [f32]> {
    let Storage::Cpu(storage) = storage else { bail!("a CPU kernel was given a tensor on another device") };
    elements(storage, layout)
}

impl<O: SliceOp<1>> CustomOp1 for OnSlices<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        forward(&self.0, [(x, layout)])
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let [dx] = backward(&self.0, [x], dy)?;
        Ok(dx)
    }
}

impl<O: SliceOp<2>> CustomOp2 for OnSlices<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        forward(&self.0, [(a, a_layout), (b, b_layout)])
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [da, db] = backward(&self.0, [a, b], dy)?;
        Ok((da, db))
    }
}

impl<O: SliceOp<3>> CustomOp3 for OnSlices<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
        c: &CpuStorage,
        c_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        forward(&self.0, [(a, a_layout), (b, b_layout), (c, c_layout)])
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [da, db, dc] = backward(&self.0, [a, b, c], dy)?;
        Ok((da, db, dc))
    }
}
