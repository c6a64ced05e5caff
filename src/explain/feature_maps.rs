//! What a convolution gives for one image: a map for each of its channels.

use candle_core::{DType, Result, Tensor};

use crate::render::{ChannelMap, Map};

/// The maps of one image of a layer's output (N, H, W, C), in the order of the channels.
///
/// # Errors
/// There is no such image.
pub fn feature_maps(output: &Tensor, image: usize) -> Result<Vec<Map>> {
    let (_, _, width, channels) = output.dims4()?;
    let planes = output.get(image)?.permute((2, 0, 1))?.reshape((channels, ()))?.to_dtype(DType::F32)?;
    Ok(planes.to_vec2()?.into_iter().map(|values| Map::new(width, values)).collect())
}

/// At most `count` of the channels, those with the greatest mean over the image, the greatest first; of equals the earlier.
pub fn most_active(maps: &[Map], count: usize) -> Vec<ChannelMap> {
    let means: Vec<f32> = maps.iter().map(Map::mean).collect();
    let mut order: Vec<usize> = (0..maps.len()).collect();
    order.sort_by(|&a, &b| means[b].total_cmp(&means[a]));
    order.into_iter().take(count).map(|channel| ChannelMap { channel, map: maps[channel].clone() }).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn each_channel_has_its_plane() -> Result<()> {
        // Two images of 2 x 3 pixels with two channels: the value tells image, pixel and channel.
        let values: Vec<f32> =
            (0..24).map(|position| (position / 12 * 100 + position / 2 % 6 * 10 + position % 2) as f32).collect();
        let output = Tensor::from_vec(values, (2, 2, 3, 2), &Device::Cpu)?;
        let maps = feature_maps(&output, 1)?;
        assert_eq!(maps[0], Map::new(3, vec![100.0, 110.0, 120.0, 130.0, 140.0, 150.0]));
        assert_eq!(maps[1], Map::new(3, vec![101.0, 111.0, 121.0, 131.0, 141.0, 151.0]));
        assert!(feature_maps(&output, 2).is_err());
        Ok(())
    }

    #[test]
    fn the_most_active_come_first_and_of_equals_the_earlier() {
        let maps: Vec<Map> = [1.0, 3.0, -2.0, 3.0].into_iter().map(|mean| Map::new(1, vec![mean])).collect();
        let channels = |count| most_active(&maps, count).iter().map(|active| active.channel).collect::<Vec<_>>();
        assert_eq!(channels(3), [1, 3, 0]);
        assert_eq!(channels(9), [1, 3, 0, 2]);
    }
}
