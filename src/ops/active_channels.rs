//! Which channels of an activated feature map are above zero somewhere.

use candle_core::{Result, Tensor};

use super::float::{has_f32_kernel, with_elements};

/// Sets the mark of each channel of `y`, (N, H, W, C), that is above zero somewhere. Once all are set it costs nothing,
/// which an ordinary network reaches within the first image.
pub fn mark_active(y: &Tensor, active: &mut [bool]) -> Result<()> {
    let mut quiet: Vec<usize> = (0..active.len()).filter(|&channel| !active[channel]).collect();
    if quiet.is_empty() {
        return Ok(());
    }
    if has_f32_kernel(y) {
        return with_elements(y, |values: &[f32]| {
            for position in values.chunks_exact(active.len()) {
                quiet.retain(|&channel| {
                    active[channel] = position[channel] > 0.0;
                    !active[channel]
                });
                if quiet.is_empty() {
                    break;
                }
            }
            Ok(())
        });
    }
    let fires = y.gt(0.0)?.flatten(0, 2)?.max(0)?.to_vec1::<u8>()?;
    active.iter_mut().zip(fires).for_each(|(active, fires)| *active |= fires > 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn a_channel_counts_from_its_first_number_above_zero() -> Result<()> {
        for dtype in [DType::F32, DType::F64] {
            let y = |values: &[f32]| Tensor::from_slice(values, (2, 1, 2, 3), &Device::Cpu)?.to_dtype(dtype);
            let mut active = [false; 3];
            mark_active(&y(&[0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0])?, &mut active)?;
            assert_eq!(active, [false, false, true]);
            mark_active(&y(&[0.0, 0.0, 0.0, 1e-30, 0.0, 0.0, f32::NAN, 0.0, 0.0, 0.0, 0.0, 0.0])?, &mut active)?;
            assert_eq!(active, [true, false, true], "what has active stays so");
        }
        Ok(())
    }
}
