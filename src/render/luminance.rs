//! How bright a colour is.

use image::Rgb;

/// That of white.
pub const BRIGHTEST: u32 = 255_000;

/// By ITU-R BT.601, from 0 to [`BRIGHTEST`].
pub fn luminance(Rgb([r, g, b]): Rgb<u8>) -> u32 {
    299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn green_is_brighter_than_red_and_red_than_blue() {
        let [r, g, b, white] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255; 3]].map(|pixel| luminance(Rgb(pixel)));
        assert!(g > r && r > b);
        assert_eq!((r + g + b, white), (BRIGHTEST, BRIGHTEST));
    }
}
