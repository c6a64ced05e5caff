//! What the colours of a map stand for.

use image::RgbImage;

use super::colour_map::ColourScale;
use crate::format;

/// Characters of a value, at most.
pub const VALUE_WIDTH: usize = 6;
/// Rows from which on the middle has its value, too.
const ROWS_WITH_MIDDLE: usize = 5;

/// The colours of a map, and the values at their ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColourBar {
    pub low: f32,
    pub high: f32,
    pub scale: ColourScale,
}

impl ColourBar {
    /// The values beside so many rows of text, each with its row from the top.
    pub fn values(&self, rows: usize) -> Vec<(usize, String)> {
        let mut values = vec![(0, self.high)];
        // Where there is a row in the middle.
        if rows >= ROWS_WITH_MIDDLE && rows % 2 == 1 {
            values.push((rows / 2, self.low + (self.high - self.low) / 2.0));
        }
        values.push((rows.saturating_sub(1), self.low));
        values.into_iter().map(|(row, value)| (row, value_text(value))).collect()
    }

    /// `0 to 0.98`, where there is no room for a bar.
    pub fn range(&self) -> String {
        format!("{} to {}", value_text(self.low), value_text(self.high))
    }

    /// Upright, the greatest value at the top.
    pub fn image(&self, width: u32, height: u32) -> RgbImage {
        let rows = height.max(2) - 1;
        RgbImage::from_fn(width, height, |_, y| self.scale.colour(1.0 - y as f32 / rows as f32))
    }
}

fn value_text(value: f32) -> String {
    format::compact_round(f64::from(value), VALUE_WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_stand_at_the_ends() {
        let cases = [(0.0, "0"), (1.0, "1"), (0.55, "0.55"), (-0.125, "-0.125"), (100.0, "100"), (3.1e-9, "3.1e-9")];
        for (value, text) in cases {
            assert_eq!(value_text(value), text);
        }
        let bar = ColourBar { low: -1.0, high: 3.0, scale: ColourScale::Jet };
        let values =
            |rows| bar.values(rows).into_iter().map(|(row, text)| format!("{row}: {text}")).collect::<Vec<_>>();
        assert_eq!(values(5), ["0: 3", "2: 1", "4: -1"]);
        assert_eq!(values(4), ["0: 3", "3: -1"]);
        assert_eq!(bar.range(), "-1 to 3");
    }

    #[test]
    fn the_greatest_value_is_at_the_top() {
        let bar = ColourBar { low: 0.0, high: 1.0, scale: ColourScale::Grey }.image(2, 6);
        let greys: Vec<u8> = (0..6).map(|y| bar.get_pixel(1, y)[0]).collect();
        assert_eq!(greys, [255, 204, 153, 102, 51, 0]);
        assert_eq!(ColourBar { low: 0.0, high: 1.0, scale: ColourScale::Grey }.image(1, 1).get_pixel(0, 0)[0], 255);
    }
}
