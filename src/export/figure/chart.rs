//! Lines over an x axis.

use maud::{Markup, html};

use super::axis::{Range, logarithmic_ticks, ticks};
use super::svg::{FONT_SIZE, Look, Svg, TITLE_SIZE, px, text_width};

/// Such as a loss by epoch.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    /// Between whole numbers of x, as of epochs, there are no ticks.
    pub whole_x: bool,
    pub x_scale: Scale,
    /// Behind the lines.
    pub bands: Vec<Band>,
    pub lines: Vec<Line>,
    /// Values above are cut off, and the chart says so: one spike would flatten everything else.
    pub highest_y: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    #[default]
    Linear,
    /// Of values above zero.
    Logarithmic,
}

impl Scale {
    /// Where a value lies before it is scaled to the room there is.
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Logarithmic => value.log10(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stroke {
    #[default]
    Solid,
    Dashed,
    Dotted,
    /// Behind a smoothed one.
    Faint,
}

/// What a line is between its points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interpolation {
    #[default]
    Linear,
    /// A value holds until the next one.
    Hold,
}

#[derive(Clone, Debug, Default)]
pub struct Line {
    pub label: String,
    /// Which of the colours.
    pub colour: usize,
    pub stroke: Stroke,
    pub interpolation: Interpolation,
    /// x and y; a y that is not finite is a gap.
    pub points: Vec<(f64, f64)>,
}

/// What lies between the least and the greatest of many values.
#[derive(Clone, Debug, Default)]
pub struct Band {
    pub label: String,
    pub colour: usize,
    /// x, least and greatest y.
    pub points: Vec<(f64, f64, f64)>,
}

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 320.0;
const LINE_HEIGHT: f64 = 16.0;
const RIGHT: f64 = 16.0;
const BOTTOM: f64 = 44.0;
const TICK: f64 = 4.0;
/// Width of a legend's sample, and the room between two entries.
const SAMPLE: f64 = 22.0;
const GAP: f64 = 14.0;

/// The rectangle that is drawn in.
struct Frame {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    x_scale: Scale,
    /// Of places.
    x: Range,
    y: Range,
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        self.x_at(self.x_scale.place(value))
    }

    fn x_at(&self, place: f64) -> f64 {
        self.left + self.width * self.x.share(place)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - self.y.share(value))
    }

    fn bottom(&self) -> f64 {
        self.top + self.height
    }

    fn right(&self) -> f64 {
        self.left + self.width
    }
}

impl Chart {
    fn xs(&self) -> impl Iterator<Item = f64> {
        let of_lines = self.lines.iter().flat_map(|line| line.points.iter().map(|point| point.0));
        of_lines.chain(self.bands.iter().flat_map(|band| band.points.iter().map(|point| point.0)))
    }

    fn ys(&self) -> impl Iterator<Item = f64> {
        let of_lines = self.lines.iter().flat_map(|line| line.points.iter().map(|point| point.1));
        let of_bands = self.bands.iter().flat_map(|band| band.points.iter().flat_map(|point| [point.1, point.2]));
        of_lines.chain(of_bands)
    }

    /// `None` without a finite value.
    pub fn draw(&self, look: Look) -> Option<Svg> {
        let places = self.xs().map(|x| self.x_scale.place(x));
        let (mut x, y) = (Range::of(places)?, Range::of(self.ys())?);
        if x.low == x.high {
            (x.low, x.high) = (x.low - 0.5, x.high + 0.5);
        }
        let cut = self.highest_y.filter(|&highest| highest < y.high && highest > y.low);
        let y = Range { low: y.low, high: cut.unwrap_or(y.high) }.with_room();
        let y_ticks = ticks(y, 6, false);
        let widest = y_ticks.iter().map(|tick| text_width(&tick.text, FONT_SIZE)).fold(0.0, f64::max);
        let left = 28.0 + widest + TICK;
        let (legend, rows) = self.legend(look, WIDTH - 16.0);
        let top = 34.0 + rows as f64 * LINE_HEIGHT;
        let frame = Frame {
            left,
            top,
            width: WIDTH - left - RIGHT,
            height: HEIGHT - top - BOTTOM,
            x_scale: self.x_scale,
            x,
            y,
        };
        let x_ticks = match self.x_scale {
            Scale::Linear => ticks(x, 8, self.whole_x),
            Scale::Logarithmic => logarithmic_ticks(x, 8),
        };
        let above = cut.map_or(0, |highest| self.ys().filter(|&value| value > highest).count());
        let middle = (frame.left + frame.right()) / 2.0;
        let y_label = format!("rotate(-90 14 {})", px(frame.top + frame.height / 2.0));
        let content = html! {
            text x=(px(middle)) y="18" text-anchor="middle" font-size=(px(TITLE_SIZE)) fill=(look.ink()) { (self.title) }
            (legend)
            @for tick in &x_ticks {
                line x1=(px(frame.x_at(tick.value))) x2=(px(frame.x_at(tick.value))) y1=(px(frame.bottom()))
                    y2=(px(frame.bottom() + TICK)) stroke=(look.ink()) {}
                text x=(px(frame.x_at(tick.value))) y=(px(frame.bottom() + TICK + 12.0)) text-anchor="middle"
                    fill=(look.ink()) { (tick.text) }
            }
            @for tick in &y_ticks {
                line x1=(px(frame.left)) x2=(px(frame.right())) y1=(px(frame.y(tick.value))) y2=(px(frame.y(tick.value)))
                    stroke=(look.faint()) stroke-width="0.5" {}
                line x1=(px(frame.left - TICK)) x2=(px(frame.left)) y1=(px(frame.y(tick.value)))
                    y2=(px(frame.y(tick.value))) stroke=(look.ink()) {}
                text x=(px(frame.left - TICK - 3.0)) y=(px(frame.y(tick.value) + 4.0)) text-anchor="end"
                    fill=(look.ink()) { (tick.text) }
            }
            // Of its own: what it shows is cut at its edges.
            svg x=(px(frame.left)) y=(px(frame.top)) width=(px(frame.width)) height=(px(frame.height))
                viewBox={ (px(frame.left)) " " (px(frame.top)) " " (px(frame.width)) " " (px(frame.height)) }
                overflow="hidden" {
                @for band in &self.bands {
                    path d=(band_path(band, &frame)) fill=(look.series(band.colour)) fill-opacity="0.25" stroke="none" {}
                }
                @for line in &self.lines {
                    path d=(line_path(line, &frame)) fill="none" stroke=(look.series(line.colour))
                        stroke-width=(width(line.stroke)) stroke-opacity=(opacity(line.stroke))
                        stroke-dasharray=(dashes(line.stroke)) stroke-linejoin="round" {}
                    // A line of one point would not be seen.
                    @for &(x, y) in lone_points(line) {
                        circle cx=(px(frame.x(x))) cy=(px(frame.y(y))) r="2.5" fill=(look.series(line.colour)) {}
                    }
                }
            }
            rect x=(px(frame.left)) y=(px(frame.top)) width=(px(frame.width)) height=(px(frame.height)) fill="none"
                stroke=(look.ink()) stroke-width="0.8" {}
            @if above > 0 {
                text x=(px(frame.right() - 4.0)) y=(px(frame.top + 12.0)) text-anchor="end" font-size="9" fill=(look.ink()) {
                    "peaks above are cut off"
                }
            }
            text x=(px(middle)) y=(px(HEIGHT - 8.0)) text-anchor="middle" fill=(look.ink()) { (self.x_label) }
            text x="14" y=(px(frame.top + frame.height / 2.0)) transform=(y_label) text-anchor="middle" fill=(look.ink()) {
                (self.y_label)
            }
        };
        Some(Svg { width: WIDTH, height: HEIGHT, content })
    }

    /// In as many rows as it takes. Those without a label are left out, and lines of which nothing is seen.
    fn legend(&self, look: Look, room: f64) -> (Markup, usize) {
        let is_seen = |line: &&Line| line.points.iter().any(|point| point.1.is_finite());
        let lines = self.lines.iter().filter(is_seen).map(|line| (&line.label, line.colour, Some(line.stroke)));
        let entries = self.bands.iter().map(|band| (&band.label, band.colour, None)).chain(lines);
        let (mut placed, mut x, mut row) = (vec![], 16.0, 0u32);
        for (label, colour, stroke) in entries.filter(|entry| !entry.0.is_empty()) {
            let width = SAMPLE + 6.0 + text_width(label, FONT_SIZE);
            if x + width > room && x > 16.0 {
                (x, row) = (16.0, row + 1);
            }
            placed.push((label, look.series(colour), stroke, x, 34.0 + f64::from(row) * LINE_HEIGHT));
            x += width + GAP;
        }
        let rows = if placed.is_empty() { 0 } else { row as usize + 1 };
        let markup = html! {
            @for (label, colour, stroke, x, y) in &placed {
                @match stroke {
                    Some(stroke) => line x1=(px(*x)) x2=(px(x + SAMPLE)) y1=(px(*y)) y2=(px(*y)) stroke=(colour)
                        stroke-width=(width(*stroke)) stroke-opacity=(opacity(*stroke)) stroke-dasharray=(dashes(*stroke)) {},
                    None => rect x=(px(*x)) y=(px(y - 4.0)) width=(px(SAMPLE)) height="8" fill=(colour) fill-opacity="0.25" {},
                }
                text x=(px(x + SAMPLE + 6.0)) y=(px(y + 4.0)) fill=(look.ink()) { (label) }
            }
        };
        (markup, rows)
    }
}

fn width(stroke: Stroke) -> &'static str {
    match stroke {
        Stroke::Faint => "0.7",
        Stroke::Solid | Stroke::Dashed | Stroke::Dotted => "1.6",
    }
}

fn opacity(stroke: Stroke) -> &'static str {
    match stroke {
        Stroke::Faint => "0.5",
        Stroke::Solid | Stroke::Dashed | Stroke::Dotted => "1",
    }
}

fn dashes(stroke: Stroke) -> &'static str {
    match stroke {
        Stroke::Dashed => "5 3",
        Stroke::Dotted => "1.6 2.4",
        Stroke::Solid | Stroke::Faint => "none",
    }
}

fn line_path(line: &Line, frame: &Frame) -> String {
    let mut path = String::new();
    let mut is_open = false;
    for &(x, y) in &line.points {
        if !y.is_finite() {
            is_open = false;
            continue;
        }
        let (x, y) = (px(frame.x(x)), px(frame.y(y)));
        match (is_open, line.interpolation) {
            (false, _) => path.push_str(&format!("M{x} {y}")),
            (true, Interpolation::Hold) => path.push_str(&format!("H{x}V{y}")),
            (true, Interpolation::Linear) => path.push_str(&format!("L{x} {y}")),
        }
        is_open = true;
    }
    path
}

/// Along the greatest values, and back along the least.
fn band_path(band: &Band, frame: &Frame) -> String {
    let finite = || band.points.iter().filter(|point| point.1.is_finite() && point.2.is_finite());
    let there = finite().map(|&(x, _, high)| (x, high));
    let back = finite().rev().map(|&(x, low, _)| (x, low));
    let corners: Vec<String> =
        there.chain(back).map(|(x, y)| format!("{} {}", px(frame.x(x)), px(frame.y(y)))).collect();
    if corners.is_empty() { String::new() } else { format!("M{}Z", corners.join("L")) }
}

/// Those without a neighbour that they would be connected to.
fn lone_points(line: &Line) -> Vec<&(f64, f64)> {
    let is_there = |index: Option<usize>| {
        index.and_then(|index| line.points.get(index)).is_some_and(|point: &(f64, f64)| point.1.is_finite())
    };
    let lone =
        line.points.iter().enumerate().filter(|(index, point)| {
            point.1.is_finite() && !is_there(index.checked_sub(1)) && !is_there(Some(index + 1))
        });
    lone.map(|(_, point)| point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[(f64, f64)]) -> Chart {
        let line = Line { label: "a < b".into(), points: points.to_vec(), ..Line::default() };
        Chart { title: "Loss".into(), lines: vec![line], ..Chart::default() }
    }

    fn draw(chart: &Chart) -> String {
        chart.draw(Look::Paper).unwrap().to_document()
    }

    #[test]
    fn without_a_value_there_is_no_chart() {
        assert!(chart(&[]).draw(Look::Paper).is_none());
        assert!(chart(&[(1.0, f64::NAN)]).draw(Look::Page).is_none());
    }

    #[test]
    fn a_gap_is_not_drawn_over_and_a_lone_point_is_seen() {
        let document = draw(&chart(&[(1.0, 1.0), (2.0, 2.0), (3.0, f64::NAN), (4.0, 1.0)]));
        let path = document.split("<path d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 1));
        assert_eq!(document.matches("<circle").count(), 1);
        assert!(document.contains("a &lt; b"));
    }

    #[test]
    fn on_a_logarithmic_scale_decades_are_equally_long() {
        let chart = Chart { x_scale: Scale::Logarithmic, ..chart(&[(1e-4, 2.0), (1e-3, 1.0), (1e-2, 3.0)]) };
        let document = draw(&chart);
        let path = document.split("<path d=\"M").nth(1).unwrap().split('"').next().unwrap();
        let x = |corner: &str| corner.split(' ').next().unwrap().parse::<f64>().unwrap();
        let [first, second, third]: [f64; 3] = path.split('L').map(x).collect::<Vec<_>>().try_into().unwrap();
        assert!((second - first - (third - second)).abs() < 0.02, "{path}");
        assert!(document.contains(">0.001</text>") && document.contains(">1e-4</text>"), "{document}");
    }

    #[test]
    fn a_spike_is_cut_off_and_told() {
        let spike = Chart { highest_y: Some(3.0), ..chart(&[(1.0, 1.0), (2.0, 1e9), (3.0, 2.0)]) };
        let document = draw(&spike);
        assert!(document.contains("peaks above are cut off") && document.contains(">3.0</text>"), "{document}");
        let tame = Chart { highest_y: Some(30.0), ..chart(&[(1.0, 1.0), (2.0, 2.0)]) };
        assert!(!draw(&tame).contains("cut off"));
    }
}
