//! What the blocks of a network attend to, for one image of a batch.

use candle_core::{DType, Result, Tensor};

use crate::render::Map;

/// What a block multiplies its channels by, (C) numbers from 0 to 1, from those of all images, (N, C).
///
/// # Errors
/// There is no such image.
pub fn channel_attention(all: &Tensor, image: usize) -> Result<Vec<f32>> {
    all.get(image)?.to_dtype(DType::F32)?.to_vec1()
}

/// How much a block attends to each position, from 0 to 1, from the maps of all images, (N, H, W).
///
/// # Errors
/// There is no such image.
pub fn spatial_attention(all: &Tensor, image: usize) -> Result<Map> {
    let map = all.get(image)?;
    Ok(Map::new(map.dim(1)?, map.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?))
}

/// How much each position, row by row, attends to every position, from the matrices of all images, (N, H · W, H · W), with
/// `width` positions in a row.
///
/// # Errors
/// There is no such image.
pub fn attention_matrix(all: &Tensor, image: usize, width: usize) -> Result<Vec<Map>> {
    let rows = all.get(image)?.to_dtype(DType::F32)?.to_vec2()?;
    Ok(rows.into_iter().map(|values| Map::new(width, values)).collect())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn attention_is_that_of_the_image() -> Result<()> {
        let channels = Tensor::new(&[[0.1f32, 0.2], [0.3, 0.4]], &Device::Cpu)?;
        assert_eq!(channel_attention(&channels, 1)?, [0.3, 0.4]);
        let positions = Tensor::new(&[[[0.1f32, 0.2, 0.3]], [[0.4, 0.5, 0.6]]], &Device::Cpu)?;
        assert_eq!(spatial_attention(&positions, 1)?, Map::new(3, vec![0.4, 0.5, 0.6]));
        let numbers: Vec<f32> = (0..32).map(|number| number as f32).collect();
        let matrices = Tensor::from_vec(numbers, (2, 4, 4), &Device::Cpu)?;
        let rows = attention_matrix(&matrices, 1, 2)?;
        assert_eq!((rows.len(), &rows[2]), (4, &Map::new(2, vec![24.0, 25.0, 26.0, 27.0])));
        assert!(channel_attention(&channels, 2).is_err() && spatial_attention(&positions, 2).is_err());
        assert!(attention_matrix(&matrices, 2, 2).is_err());
        Ok(())
    }
}
