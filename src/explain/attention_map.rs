//! Where the network looks: the study's heat map, and the gates of its channels.

use candle_core::{DType, Result, Tensor};

use super::feature_maps::{ChannelMap, Channels, choose};
use crate::render::Map;

/// Channels of the study's heat map.
pub const CHANNELS: usize = 3;

/// The study's heat map: of the maps of one image those with the greatest mean, each min-max normalised. The study takes
/// [`CHANNELS`] of `conv3`.
pub fn attention_maps(maps: &[Map], count: usize) -> Vec<ChannelMap> {
    let mut chosen = choose(maps, Channels::Active, count);
    for ChannelMap { map, .. } in &mut chosen {
        *map = map.normalised();
    }
    chosen
}

/// What a block multiplies its channels by for one image, (C) numbers between 0 and 1, from those of all (N, C).
///
/// # Errors
/// There is no such image.
pub fn gates(gates: &Tensor, image: usize) -> Result<Vec<f32>> {
    gates.get(image)?.to_dtype(DType::F32)?.to_vec1()
}

/// How much a block attends to each position of one image, between 0 and 1, from the maps of all (N, H, W).
///
/// # Errors
/// There is no such image.
pub fn positions(maps: &Tensor, image: usize) -> Result<Map> {
    let map = maps.get(image)?;
    Ok(Map::new(map.dim(1)?, map.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?))
}

/// How much each position of one image, row by row, looks at every other, from those of all (N, H · W, H · W), with `width`
/// positions in a row.
///
/// # Errors
/// There is no such image.
pub fn pairs(pairs: &Tensor, image: usize, width: usize) -> Result<Vec<Map>> {
    let rows = pairs.get(image)?.to_dtype(DType::F32)?.to_vec2()?;
    Ok(rows.into_iter().map(|values| Map::new(width, values)).collect())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn three_channels_from_0_to_1() {
        let maps: Vec<Map> = (0..5).map(|n| Map::new(2, vec![n as f32, 2.0 * n as f32])).collect();
        let chosen = attention_maps(&maps, CHANNELS);
        assert_eq!(chosen.iter().map(|chosen| chosen.channel).collect::<Vec<_>>(), [4, 3, 2]);
        assert!(chosen.iter().all(|chosen| chosen.map.values == [0.0, 1.0]));
    }

    #[test]
    fn places_are_of_the_image() -> Result<()> {
        let all = Tensor::new(&[[[0.1f32, 0.2, 0.3]], [[0.4, 0.5, 0.6]]], &Device::Cpu)?;
        let map = positions(&all, 1)?;
        assert_eq!((map.width, map.height(), map.values), (3, 1, vec![0.4, 0.5, 0.6]));
        assert!(positions(&all, 2).is_err());
        Ok(())
    }

    #[test]
    fn each_place_has_a_map_of_what_it_looks_at() -> Result<()> {
        let numbers: Vec<f32> = (0..32).map(|number| number as f32).collect();
        let all = Tensor::from_vec(numbers, (2, 4, 4), &Device::Cpu)?;
        let maps = pairs(&all, 1, 2)?;
        assert_eq!((maps.len(), &maps[2]), (4, &Map::new(2, vec![24.0, 25.0, 26.0, 27.0])));
        assert!(pairs(&all, 2, 2).is_err());
        Ok(())
    }

    #[test]
    fn gates_are_of_the_image() -> Result<()> {
        let all = Tensor::new(&[[0.1f32, 0.2], [0.3, 0.4]], &Device::Cpu)?;
        assert_eq!(gates(&all, 1)?, [0.3, 0.4]);
        assert!(gates(&all, 2).is_err());
        Ok(())
    }
}
