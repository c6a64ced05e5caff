//! Which part of the x axis is in view, and how that and the cursor move.

use std::ops::Range;

/// What zooming once leaves of the view.
const ZOOM: f64 = 0.6;
/// The least share of the whole that can be zoomed into.
const CLOSEST: f64 = 1e-7;
/// A view that grows or follows moves on by no less than about this share of itself, which is hardly a column: if it moved
/// with each step, all of the chart would be drawn anew each time.
const STRIDE: f64 = 1.0 / 128.0;

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Window {
    /// All, however it grows.
    #[default]
    Whole,
    /// So much up to the newest.
    Newest { width: f64 },
    /// This, whatever comes.
    Fixed(Range<f64>),
}

impl Window {
    /// What is in view of `whole`.
    pub fn view(&self, whole: &Range<f64>) -> Range<f64> {
        match self {
            Self::Whole => whole.start..in_strides(whole.end, whole.end - whole.start),
            Self::Newest { width } => {
                let end = in_strides(whole.end, *width);
                (end - width).max(whole.start)..end
            }
            Self::Fixed(range) => range.clone(),
        }
    }

    /// Closer where `times` is positive; `around` stays where it is, without it the newest or the middle.
    pub fn zoomed(&self, times: i32, around: Option<f64>, whole: &Range<f64>) -> Self {
        let view = self.view(whole);
        let (all, width) = (whole.end - whole.start, view.end - view.start);
        let wanted = (width * ZOOM.powi(times)).max(CLOSEST * all);
        if wanted >= all {
            return Self::Whole;
        }
        match around {
            None if self.follows() => Self::Newest { width: wanted },
            around => {
                let anchor = around.unwrap_or((view.start + view.end) / 2.0).clamp(view.start, view.end);
                Self::at(anchor - (anchor - view.start) * wanted / width, wanted, whole)
            }
        }
    }

    /// By a share of the view, later where it is positive.
    pub fn panned(&self, share: f64, whole: &Range<f64>) -> Self {
        let view = self.view(whole);
        let width = view.end - view.start;
        if *self == Self::Whole { Self::Whole } else { Self::at(view.start + share * width, width, whole) }
    }

    pub fn at_start(&self, whole: &Range<f64>) -> Self {
        let view = self.view(whole);
        if *self == Self::Whole { Self::Whole } else { Self::at(whole.start, view.end - view.start, whole) }
    }

    pub fn at_newest(&self, whole: &Range<f64>) -> Self {
        let view = self.view(whole);
        if *self == Self::Whole { Self::Whole } else { Self::Newest { width: view.end - view.start } }
    }

    /// The smallest move so that `x` is in view.
    pub fn showing(&self, x: f64, whole: &Range<f64>) -> Self {
        let view = self.view(whole);
        let width = view.end - view.start;
        if x < view.start {
            Self::at(x, width, whole)
        } else if x > view.end {
            Self::at(x - width, width, whole)
        } else {
            self.clone()
        }
    }

    pub fn follows(&self) -> bool {
        !matches!(self, Self::Fixed(_))
    }

    /// Moves a cursor by columns of the screen, of which the view has so many; the view comes along. It appears at the newest.
    pub fn with_cursor_moved(&self, cursor: Option<f64>, by: i32, columns: u16, whole: &Range<f64>) -> (Self, f64) {
        let view = self.view(whole);
        let column = (view.end - view.start) / f64::from(columns.max(1));
        let moved = cursor.map_or(view.end, |cursor| cursor + f64::from(by) * column).clamp(whole.start, whole.end);
        (self.showing(moved, whole), moved)
    }

    fn at(start: f64, width: f64, whole: &Range<f64>) -> Self {
        let start = start.max(whole.start);
        // Less than a column beyond is at the end.
        if start + width >= whole.end - 1e-3 * width {
            Self::Newest { width }
        } else {
            Self::Fixed(start..start + width)
        }
    }
}

/// The end of a view of that width, at or a little after `end`.
fn in_strides(end: f64, width: f64) -> f64 {
    let stride = (width * STRIDE).log2().floor().exp2();
    let rounded = (end / stride).ceil() * stride;
    if rounded.is_finite() { rounded } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Range<f64> = 0.0..100.0;

    #[test]
    fn the_newest_is_followed_until_the_view_is_moved() {
        let closer = Window::Whole.zoomed(1, None, &WHOLE);
        assert_eq!(closer.view(&WHOLE), 40.0..100.0);
        assert_eq!(closer.view(&(0.0..110.0)), 50.0..110.0);
        let earlier = closer.panned(-0.5, &WHOLE);
        assert_eq!(earlier.view(&(0.0..110.0)), 10.0..70.0);
        assert_eq!(earlier.panned(5.0, &WHOLE), closer);
        assert_eq!(closer.at_start(&WHOLE).view(&WHOLE), 0.0..60.0);
        assert_eq!(earlier.at_newest(&WHOLE), closer);
        assert_eq!(closer.zoomed(-1, None, &WHOLE), Window::Whole);
    }

    #[test]
    fn a_view_moves_on_in_strides() {
        let ends = |window: &Window, from: u32| {
            let ends = (from..from + 100).map(|end| window.view(&(0.0..f64::from(end))).end);
            let mut ends: Vec<f64> = ends.collect();
            for (end, data) in ends.iter().zip(from..) {
                let beyond = (end - f64::from(data)) / f64::from(data);
                assert!((0.0..STRIDE).contains(&beyond), "{end} for {data}");
            }
            ends.dedup();
            ends.len()
        };
        assert_eq!(ends(&Window::Whole, 1), 100, "each step of few");
        assert_eq!(ends(&Window::Whole, 10_000), 2);
        assert_eq!(ends(&Window::Newest { width: 1000.0 }, 10_000), 26);
        assert_eq!(Window::Whole.view(&(0.0..0.0)), 0.0..0.0);
    }

    #[test]
    fn zooming_keeps_the_cursor_where_it_is() {
        let view = Window::Whole.zoomed(1, Some(20.0), &WHOLE).view(&WHOLE);
        assert!((view.start - 8.0).abs() < 1e-9 && (view.end - 68.0).abs() < 1e-9, "{view:?}");
        let closest = (0..200).fold(Window::Whole, |window, _| window.zoomed(1, Some(20.0), &WHOLE)).view(&WHOLE);
        assert!(closest.end > closest.start && closest.contains(&20.0), "{closest:?}");
    }

    #[test]
    fn the_cursor_takes_the_view_along() {
        let window = Window::Fixed(30.0..50.0);
        assert_eq!(window.showing(55.0, &WHOLE), Window::Fixed(35.0..55.0));
        assert_eq!(window.showing(5.0, &WHOLE), Window::Fixed(5.0..25.0));
        assert_eq!(window.showing(40.0, &WHOLE), window);
    }
}
