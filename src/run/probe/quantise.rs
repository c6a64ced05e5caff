//! Numbers as bytes, each group with a scale and an offset of its own: `value = offset + scale * byte`, within half a scale
//! of what it was.

pub struct Quantised {
    pub bytes: Vec<u8>,
    pub scale: f32,
    pub offset: f32,
}

pub fn quantise(values: &[f32]) -> Quantised {
    let bounds = values.iter().fold(None, |bounds: Option<(f32, f32)>, &value| {
        Some(bounds.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
    });
    let (low, high) = bounds.unwrap_or_default();
    let scale = (high - low) / 255.0;
    let per_unit = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    // Rounded: none is below 0, and `round` is a call for each.
    let bytes = values.iter().map(|&value| ((value - low) * per_unit + 0.5) as u8).collect();
    Quantised { bytes, scale, offset: low }
}

pub fn dequantise(bytes: &[u8], scale: f32, offset: f32) -> Vec<f32> {
    bytes.iter().map(|&byte| offset + scale * f32::from(byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_within_half_a_scale_and_equal_ones_exactly() {
        for values in [&[-1.0, 0.0, 0.3, 2.0][..], &[0.7; 5], &[0.0], &[]] {
            let Quantised { bytes, scale, offset } = quantise(values);
            let read = dequantise(&bytes, scale, offset);
            assert_eq!(read.len(), values.len());
            assert!(read.iter().zip(values).all(|(a, b)| (a - b).abs() <= scale / 2.0 + 1e-6), "{values:?}");
        }
    }
}
