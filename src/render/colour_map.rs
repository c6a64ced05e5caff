//! Images of maps.

use image::imageops::{FilterType, resize};
use image::{ImageBuffer, Luma, Rgb, RgbImage};

use super::explanation::Planes;
use super::map::Map;

/// How much of an overlay is the heat map, as in the study.
pub const OVERLAY_ALPHA: f32 = 0.5;

/// What an image is made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColourMode {
    #[default]
    Colours,
    /// Brightness alone: the colours of jet would be no scale.
    Greys,
}

/// The same without colours, where the image must not be taken for heat.
const GREY_OVERLAY_ALPHA: f32 = 0.75;

/// Which colours stand for the values of a map, from its least to its greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColourScale {
    Viridis,
    Jet,
    Grey,
}

impl ColourScale {
    /// Of a value from 0 to 1.
    pub fn colour(self, value: f32) -> Rgb<u8> {
        match self {
            Self::Viridis => viridis(value),
            Self::Jet => jet(value),
            Self::Grey => grey(value),
        }
    }

    /// That of the heat over an image.
    pub fn of_heat(colour_mode: ColourMode) -> Self {
        match colour_mode {
            ColourMode::Colours => Self::Jet,
            ColourMode::Greys => Self::Grey,
        }
    }
}

/// An image of a data set; one with other than three channels in the greys of its first.
pub fn image(planes: &Planes) -> RgbImage {
    let plane = |channel: usize| &planes.bytes[channel * planes.width * planes.height..];
    let colours = if planes.channels() == 3 { [plane(0), plane(1), plane(2)] } else { [plane(0); 3] };
    RgbImage::from_fn(planes.width as u32, planes.height as u32, |x, y| {
        let position = y as usize * planes.width + x as usize;
        Rgb(colours.map(|plane| plane[position]))
    })
}

/// Each pixel as a square of `scale` pixels.
pub fn enlarged(image: &RgbImage, scale: u32) -> RgbImage {
    resize(image, image.width() * scale, image.height() * scale, FilterType::Nearest)
}

/// A map, min-max normalised, in viridis, with so many pixels.
pub fn viridis_image(map: &Map, width: u32, height: u32) -> RgbImage {
    coloured(map, (width, height), ColourScale::Viridis)
}

/// The jet of a heat map over an image, which may be larger than the map; in greys the hottest is white.
pub fn overlay(image: &RgbImage, heat: &Map, colour_mode: ColourMode) -> RgbImage {
    let alpha = match colour_mode {
        ColourMode::Colours => OVERLAY_ALPHA,
        ColourMode::Greys => GREY_OVERLAY_ALPHA,
    };
    let mut blended = coloured(heat, image.dimensions(), ColourScale::of_heat(colour_mode));
    for (heat, image) in blended.pixels_mut().zip(image.pixels()) {
        for (heat, &image) in heat.0.iter_mut().zip(&image.0) {
            let mixed = alpha * f32::from(*heat) + (1.0 - alpha) * f32::from(image);
            *heat = mixed.round() as u8;
        }
    }
    blended
}

/// The numbers are made smooth before they become colours: between two colours of jet lies a third.
fn coloured(map: &Map, size: (u32, u32), scale: ColourScale) -> RgbImage {
    let normalised = map.normalised();
    let of_map = (normalised.width as u32, normalised.height() as u32);
    let values: ImageBuffer<Luma<f32>, Vec<f32>> =
        ImageBuffer::from_vec(of_map.0, of_map.1, normalised.values).expect("a map has width times height values");
    let values = if of_map == size { values } else { resize(&values, size.0, size.1, FilterType::CatmullRom) };
    RgbImage::from_fn(size.0, size.1, |x, y| scale.colour(values.get_pixel(x, y).0[0].clamp(0.0, 1.0)))
}

/// Of a value from 0 to 1.
fn viridis(value: f32) -> Rgb<u8> {
    Rgb(colorous::VIRIDIS.eval_continuous(f64::from(value)).as_array())
}

/// Of a value from 0 to 1: from dark blue over green to dark red.
fn jet(value: f32) -> Rgb<u8> {
    let channel = |peak: f32| (255.0 * (1.5 - (4.0 * value - peak).abs()).clamp(0.0, 1.0)).round() as u8;
    Rgb([channel(3.0), channel(2.0), channel(1.0)])
}

/// Of a value from 0 to 1: from black to white.
fn grey(value: f32) -> Rgb<u8> {
    Rgb([(255.0 * value).round() as u8; 3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_the_scales() {
        assert_eq!(viridis(0.0), Rgb([68, 1, 84]));
        assert_eq!(viridis(1.0), Rgb([253, 231, 37]));
        assert_eq!([0.0, 0.5, 1.0].map(jet), [Rgb([0, 0, 128]), Rgb([128, 255, 128]), Rgb([128, 0, 0])]);
    }

    #[test]
    fn an_image_of_a_data_set_has_its_colours_and_is_enlarged_by_squares() {
        let mut bytes = vec![0; 3 * 6];
        (bytes[1], bytes[6 + 1], bytes[2 * 6 + 3]) = (10, 20, 30);
        let image = image(&Planes { width: 3, height: 2, bytes });
        assert_eq!((image.get_pixel(1, 0), image.get_pixel(0, 1)), (&Rgb([10, 20, 0]), &Rgb([0, 0, 30])));
        let enlarged = enlarged(&image, 3);
        assert_eq!((enlarged.dimensions(), enlarged.get_pixel(5, 2)), ((9, 6), &Rgb([10, 20, 0])));
    }

    #[test]
    fn a_grey_image_has_one_plane() {
        let image = image(&Planes { width: 2, height: 1, bytes: vec![7, 200] });
        assert_eq!((image.get_pixel(0, 0), image.get_pixel(1, 0)), (&Rgb([7; 3]), &Rgb([200; 3])));
    }

    #[test]
    fn an_overlay_is_half_image_half_heat() {
        let white = RgbImage::from_pixel(2, 2, Rgb([255; 3]));
        let blended = overlay(&white, &Map::new(2, vec![0.0, 1.0, 1.0, 1.0]), ColourMode::Colours);
        assert_eq!((blended.get_pixel(0, 0), blended.get_pixel(1, 1)), (&Rgb([128, 128, 192]), &Rgb([192, 128, 128])));
    }

    #[test]
    fn a_map_of_nothing_is_the_lowest_colour_and_a_coarse_one_fills_the_image() {
        let image = viridis_image(&Map::new(2, vec![0.0; 4]), 8, 6);
        assert!(image.dimensions() == (8, 6) && image.pixels().all(|&pixel| pixel == viridis(0.0)));
        let image = viridis_image(&Map::new(2, vec![0.0, 1.0, 0.0, 1.0]), 32, 20);
        assert!(image.get_pixel(0, 9)[0] < 80 && image.get_pixel(31, 9)[0] > 240);
    }
}
