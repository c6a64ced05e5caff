//! The confusion matrix as a figure.

use maud::html;

use super::svg::{FONT_SIZE, Look, Svg, TITLE_SIZE, px, text_width};
use crate::metrics::Confusion;

/// With more classes than this the cells are too small for numbers.
const NUMBERED_CLASSES: usize = 30;

/// Each cell as dark as its share of the images of its true class. `classes` are their names.
pub fn confusion_matrix(confusion: &Confusion, classes: &[String], title: &str, look: Look) -> Svg {
    let count = confusion.classes();
    let cell = (420.0 / count as f64).clamp(4.0, 34.0);
    let label_size = FONT_SIZE.min(cell);
    let name = |class: usize| classes.get(class).cloned().unwrap_or_else(|| class.to_string());
    let longest = (0..count).map(|class| text_width(&name(class), label_size)).fold(0.0, f64::max);
    let (left, top) = (30.0 + longest, 34.0);
    let side = cell * count as f64;
    // Names under the columns go down to the left at 45 degrees.
    let below = 14.0 + longest * std::f64::consts::FRAC_1_SQRT_2;
    let (width, height) = (left + side + 62.0, top + side + below + 22.0);
    let text_size = FONT_SIZE.min(cell * 0.36);
    let cells: Vec<_> = (0..count)
        .flat_map(|row| (0..count).map(move |column| (row, column)))
        .map(|(row, column)| {
            let images = confusion.count(row, column);
            let share = images as f64 / confusion.samples_of(row).max(1) as f64;
            (left + column as f64 * cell, top + row as f64 * cell, images, share)
        })
        .collect();
    let bar = (left + side + 16.0, 12.0, 20);
    let content = html! {
        text x=(px(left + side / 2.0)) y="18" text-anchor="middle" font-size=(px(TITLE_SIZE)) fill=(look.ink()) { (title) }
        @for &(x, y, images, share) in &cells {
            @if share > 0.0 {
                rect x=(px(x)) y=(px(y)) width=(px(cell)) height=(px(cell)) fill=(look.accent()) fill-opacity=(px(share)) {}
            }
            @if images > 0 && count <= NUMBERED_CLASSES {
                text x=(px(x + cell / 2.0)) y=(px(y + cell / 2.0 + text_size * 0.36)) text-anchor="middle"
                    font-size=(px(text_size)) fill=(if share > 0.5 { "#ffffff" } else { look.ink() }) { (images) }
            }
        }
        rect x=(px(left)) y=(px(top)) width=(px(side)) height=(px(side)) fill="none" stroke=(look.ink()) stroke-width="0.8" {}
        @for class in 0..count {
            text x=(px(left - 5.0)) y=(px(top + (class as f64 + 0.5) * cell + label_size * 0.36)) text-anchor="end"
                font-size=(px(label_size)) fill=(look.ink()) { (name(class)) }
            @let (x, y) = (left + (class as f64 + 0.5) * cell + label_size * 0.36, top + side + 10.0);
            text x=(px(x)) y=(px(y)) transform={ "rotate(-45 " (px(x)) " " (px(y)) ")" } text-anchor="end"
                font-size=(px(label_size)) fill=(look.ink()) { (name(class)) }
        }
        text x=(px(left + side / 2.0)) y=(px(height - 6.0)) text-anchor="middle" fill=(look.ink()) { "Predicted class" }
        @let middle = px(top + side / 2.0);
        text x="14" y=(middle) transform={ "rotate(-90 14 " (middle) ")" } text-anchor="middle" fill=(look.ink()) {
            "True class"
        }
        @for part in 0..bar.2 {
            @let share = 1.0 - (f64::from(part) + 0.5) / f64::from(bar.2);
            rect x=(px(bar.0)) y=(px(top + f64::from(part) * side / f64::from(bar.2))) width=(px(bar.1))
                height=(px(side / f64::from(bar.2) + 0.3)) fill=(look.accent()) fill-opacity=(px(share)) {}
        }
        rect x=(px(bar.0)) y=(px(top)) width=(px(bar.1)) height=(px(side)) fill="none" stroke=(look.ink())
            stroke-width="0.5" {}
        @for percent in [0, 50, 100] {
            text x=(px(bar.0 + bar.1 + 4.0)) y=(px(top + side * (1.0 - f64::from(percent) / 100.0) + 4.0)) font-size="9"
                fill=(look.ink()) { (percent) "%" }
        }
    };
    Svg { width, height, content }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_and_name_is_there_and_nothing_lies_outside() {
        let mut confusion = Confusion::new(2);
        for (truth, predicted) in [(0, 0), (0, 1), (0, 0), (1, 1)] {
            confusion.add(truth, predicted);
        }
        let classes = ["<cat>".to_owned(), "dog".to_owned()];
        let svg = confusion_matrix(&confusion, &classes, "Epoch 3", Look::Paper).to_document();
        assert_eq!(svg.matches("&lt;cat&gt;").count(), 2);
        assert!(svg.contains(">2</text>") && svg.contains("fill-opacity=\"0.67\"") && svg.contains("Epoch 3"), "{svg}");
    }

    #[test]
    fn many_classes_have_no_numbers() {
        let mut confusion = Confusion::new(100);
        (0..100).for_each(|class| confusion.add(class, class));
        let svg = confusion_matrix(&confusion, &[], "", Look::Page);
        assert!(svg.width < 700.0 && !svg.content.into_string().contains(">1</text><rect"));
    }
}
