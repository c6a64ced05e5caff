//! Pictures beside each other, each over its caption.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::RgbImage;
use image::imageops::rotate90;
use maud::{Markup, html};

use super::svg::{Look, Svg, TITLE_SIZE, px, text_width};
use crate::format;
use crate::render::{ColourBar, png};

pub struct Picture {
    pub image: RgbImage,
    /// Of what its colours stand for.
    pub bar: Option<ColourBar>,
    /// Lines.
    pub caption: Vec<String>,
}

/// Of a picture, at most.
const WIDTH: f64 = 88.0;
const CAPTION_SIZE: f64 = 9.0;
const LINE_HEIGHT: f64 = 11.0;
const GAP: f64 = 12.0;
/// Height of a colour bar, the room for its line, and between it and a value.
const BAR_HEIGHT: f64 = 5.0;
const BAR_LINE: f64 = 12.0;
const BAR_GAP: f64 = 3.0;
/// Colours of a bar.
const BAR_STEPS: u32 = 32;
const TOP: f64 = 30.0;

/// Rows of so many pictures, all of one size.
pub fn pictures(title: &str, shown: &[Picture], columns: usize, look: Look) -> Svg {
    let columns = columns.clamp(1, shown.len().max(1));
    let shape =
        shown.first().map_or(1.0, |first| f64::from(first.image.height()) / f64::from(first.image.width().max(1)));
    let lines = shown.iter().map(|picture| picture.caption.len()).max().unwrap_or(0) as f64;
    let texts = shown.iter().flat_map(|picture| &picture.caption).map(|line| text_width(line, CAPTION_SIZE));
    // A caption may be wider than its picture.
    let column = texts.fold(WIDTH, f64::max);
    let below = WIDTH * shape + if shown.iter().any(|picture| picture.bar.is_some()) { BAR_LINE } else { 0.0 };
    let row = below + lines * LINE_HEIGHT + GAP;
    let width = (GAP + columns as f64 * (column + GAP)).max(text_width(title, TITLE_SIZE) + 2.0 * GAP);
    let height = TOP + shown.len().div_ceil(columns) as f64 * row;
    let placed = shown.iter().enumerate().map(|(index, picture)| {
        let middle = GAP + (index % columns) as f64 * (column + GAP) + column / 2.0;
        (picture, middle, TOP + (index / columns) as f64 * row)
    });
    let content = html! {
        text x=(px(width / 2.0)) y="18" text-anchor="middle" font-size=(px(TITLE_SIZE)) fill=(look.ink()) { (title) }
        @for (picture, middle, y) in placed {
            image x=(px(middle - WIDTH / 2.0)) y=(px(y)) width=(px(WIDTH)) height=(px(WIDTH * shape))
                image-rendering=[look.image_rendering()] href=(data_uri(&picture.image)) {}
            @if let Some(bar) = &picture.bar { (colour_bar(bar, middle - WIDTH / 2.0, y + WIDTH * shape, look)) }
            @for (number, line) in picture.caption.iter().enumerate() {
                text x=(px(middle)) y=(px(y + below + (number + 1) as f64 * LINE_HEIGHT)) text-anchor="middle"
                    font-size=(px(CAPTION_SIZE)) fill=(look.ink()) { (line) }
            }
        }
    };
    Svg { width, height, content }
}

/// Between its values, the least at the left, under a picture at that place.
fn colour_bar(bar: &ColourBar, left: f64, top: f64, look: Look) -> Markup {
    /// Characters of a value: more would leave no room for the bar.
    const VALUE_WIDTH: usize = 5;
    let [low, high] = [bar.low, bar.high].map(|value| format::compact_round(value.into(), VALUE_WIDTH));
    let width = |text: &str| text_width(text, CAPTION_SIZE) + BAR_GAP;
    let length = (WIDTH - width(&low) - width(&high)).max(0.0);
    let (base, top) = (px(top + LINE_HEIGHT), px(top + LINE_HEIGHT - 1.0 - BAR_HEIGHT));
    html! {
        text x=(px(left)) y=(base) font-size=(px(CAPTION_SIZE)) fill=(look.ink()) { (low) }
        image x=(px(left + width(&low))) y=(top) width=(px(length)) height=(px(BAR_HEIGHT)) preserveAspectRatio="none"
            href=(data_uri(&rotate90(&bar.image(1, BAR_STEPS)))) {}
        text x=(px(left + WIDTH)) y=(base) text-anchor="end" font-size=(px(CAPTION_SIZE)) fill=(look.ink()) { (high) }
    }
}

/// The picture itself, as a PNG in an address.
pub fn data_uri(image: &RgbImage) -> String {
    let encoded = png::encode(image).expect("memory takes every picture");
    format!("data:image/png;base64,{}", BASE64_STANDARD.encode(encoded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::colour_map::ColourScale;

    #[test]
    fn pictures_are_in_rows_and_captions_are_escaped() {
        let picture =
            || Picture { image: RgbImage::new(4, 2), bar: None, caption: vec!["<b>".into(), "second".into()] };
        let shown = [picture(), picture(), picture()];
        let svg = pictures("Title", &shown, 2, Look::Paper);
        assert_eq!((svg.width, svg.height), (GAP + 2.0 * (WIDTH + GAP), TOP + 2.0 * (44.0 + 22.0 + GAP)));
        let document = svg.to_document();
        assert_eq!(document.matches("href=\"data:image/png;base64,iVBOR").count(), 3);
        assert_eq!(document.matches("&lt;b&gt;").count(), 3);
    }

    #[test]
    fn a_map_has_its_colour_bar_under_it() {
        let bar = Some(ColourBar { low: -0.5, high: 0.25, scale: ColourScale::Viridis });
        let shown = [Picture { image: RgbImage::new(4, 4), bar, caption: vec![] }];
        let svg = pictures("", &shown, 1, Look::Page);
        assert_eq!(svg.height, TOP + WIDTH + BAR_LINE + GAP);
        let document = svg.to_document();
        assert!(document.contains(">-0.5</text>") && document.contains(">0.25</text>"), "{document}");
        assert_eq!(document.matches("<image").count(), 2);
    }
}
