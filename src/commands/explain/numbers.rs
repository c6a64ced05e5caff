//! An explanation in numbers, a line each.

use std::fmt::Write;

use crate::metrics::confidences;
use crate::render::figures::{Pixel, attention_of, class_name};
use crate::render::{Choice, Content, Explanation, Figure, Map, View};

/// As many as the narrowest of the usual terminals has room for, and a power of two as channels are.
const BARS_IN_LINE: usize = 64;

pub fn lines(explanation: &Explanation, choice: &Choice, figures: &[Figure], classes: &[String]) -> Vec<String> {
    let layer = &explanation.layers[choice.layer];
    let shares = confidences(&explanation.logits);
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]));
    let by_share = order.iter().map(|&class| format!("{} {:.1} %", class_name(classes, class), 100.0 * shares[class]));
    let mut lines = vec![format!("confidence: {}", by_share.collect::<Vec<_>>().join(", "))];
    lines.extend(figures.iter().filter_map(|figure| figure_line(explanation, choice, figure)));
    if let (View::Attention, Some(weights)) = (choice.view, &layer.channel_attention) {
        lines.extend(channel_attention_lines(&layer.name, weights));
    }
    lines
}

fn figure_line(explanation: &Explanation, choice: &Choice, figure: &Figure) -> Option<String> {
    let caption = &figure.caption;
    match figure.content {
        Content::Image => None,
        Content::Channel(_) | Content::SpatialAttention => {
            let map = figure.drawing.map()?;
            let (low, high) = map.range();
            Some(format!("{caption}: mean {:.4}, from {low:.4} to {high:.4}", map.mean()))
        }
        Content::Evidence(..) => {
            let map = figure.drawing.map()?;
            Some(format!("{caption}: {} x {}, at most {:.4e}", map.width, map.height(), map.range().1))
        }
        Content::AttentionOf(pixel) => {
            let (position, map) = attention_of(explanation, choice.layer, pixel)?;
            let planes = &explanation.image;
            Some(attention_line(pixel, position, map, (planes.width, planes.height)))
        }
    }
}

/// A position of the layer is told as the pixels of the image that it stands for.
fn attention_line((x, y): Pixel, position: Pixel, map: &Map, image: Pixel) -> String {
    let most = (1..map.values.len()).fold(0, |most, at| if map.values[at] > map.values[most] { at } else { most });
    let share = 100.0 * map.values[most];
    let pixels = |(column, row): Pixel| {
        let of = |at: usize, positions: usize, pixels: usize| {
            let (first, last) = ((at * pixels).div_ceil(positions), ((at + 1) * pixels).div_ceil(positions) - 1);
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        };
        format!("{},{}", of(column, map.width, image.0), of(row, map.height(), image.1))
    };
    let (from, to) = (pixels(position), pixels((most % map.width, most / map.width)));
    format!("pixel {x},{y}, one of {from}: attends most to {to}, with {share:.1} % of its attention")
}

fn channel_attention_lines(layer: &str, weights: &[f32]) -> Vec<String> {
    let mut lines = vec![format!("channel attention of the {} channels of {layer}, a full bar is 1:", weights.len())];
    let rows = weights.chunks(BARS_IN_LINE).zip((0..).step_by(BARS_IN_LINE));
    lines.extend(rows.map(|(weights, first)| format!("{first:>5}  {}", bars(weights))));
    lines.extend(weights.chunks(8).enumerate().map(|(row, weights)| {
        weights.iter().fold(format!("{:>5}", 8 * row), |mut line, weight| {
            write!(line, "  {weight:.4}").expect("a string takes everything");
            line
        })
    }));
    lines
}

/// A bar in eighths of a line for each number from 0 to 1.
fn bars(values: &[f32]) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    values.iter().map(|value| BARS[(8.0 * value.clamp(0.0, 1.0)).round() as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pixel_attends_to() {
        let map = Map::new(4, vec![0.01, 0.02, 0.02, 0.05, 0.1, 0.1, 0.6, 0.1]);
        assert_eq!(
            attention_line((31, 9), (3, 0), &map, (32, 32)),
            "pixel 31,9, one of 24-31,0-15: attends most to 16-23,16-31, with 60.0 % of its attention"
        );
    }

    #[test]
    fn channel_attention_is_bars_and_numbers() {
        assert_eq!(bars(&[0.0, 0.125, 0.5, 0.99, 1.0, 2.0, -1.0]), " ▁▄███ ");
        let lines = channel_attention_lines("conv1", &[0.5; 9]);
        assert_eq!(lines[0], "channel attention of the 9 channels of conv1, a full bar is 1:");
        assert_eq!((lines[1].as_str(), lines[3].as_str()), ("    0  ▄▄▄▄▄▄▄▄▄", "    8  0.5000"));
    }
}
