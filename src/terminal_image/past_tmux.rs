//! iTerm2's images past tmux, which knows nothing of them: they lie over cells that are empty for it, and whenever it draws
//! these, the images are gone. So they are drawn where the pane is at that moment, and drawn again when tmux may have erased
//! them; and where the pane was not where it was thought to be, tmux is made to erase them.
//!
//! tmux itself passes nothing on from a pane that is hidden or in copy mode, nor while it has yet to draw a window anew.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use image::imageops::{FilterType, resize};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::outer_place::{OuterPlace, redraw};
use super::placed::Placed;
use super::reserved::Reserved;
use super::tmux;
use crate::render::png;

/// tmux drops a sequence of a megabyte.
const MOST_BYTES: usize = 1_000_000;
/// Has tmux send what it holds back of a frame, lest it erase the image that comes after it: ends the synchronized update,
/// and resets the scroll region.
const FLUSH: &[u8] = b"\x1b[?2026l\x1b[r";
/// Those that tmux has set for another pane, where an image would scroll.
const NO_MARGINS: &str = "\x1b[?69l\x1b[r";

#[derive(Debug)]
pub struct PastTmux {
    reserved: Reserved,
    drawn: Option<Drawn>,
    /// The pane was there when it was looked for last.
    is_there: bool,
    ask: fn() -> Option<OuterPlace>,
    redraw: fn(&str),
}

/// Where and when the images were drawn.
#[derive(Clone, Debug)]
struct Drawn {
    place: OuterPlace,
    /// Seconds since the Unix epoch.
    at_s: u64,
}

impl Default for PastTmux {
    fn default() -> Self {
        Self { reserved: Reserved::default(), drawn: None, is_there: true, ask: OuterPlace::ask, redraw }
    }
}

impl PastTmux {
    pub fn reserve(&mut self, placed: &[Placed], buffer: &mut Buffer) {
        self.reserved.reserve(placed, buffer);
    }

    /// After the frame is drawn, and shown.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn paint(&mut self, placed: Vec<Placed>, out: &mut impl Write) -> io::Result<()> {
        if placed.is_empty() {
            // The frame has erased them.
            (self.drawn, self.reserved.shown) = (None, placed);
        } else if self.is_there && (placed != self.reserved.shown || self.drawn.is_none()) {
            self.paint_there(placed, out)?;
        }
        Ok(())
    }

    fn paint_there(&mut self, placed: Vec<Placed>, out: &mut impl Write) -> io::Result<()> {
        self.drawn = None;
        let Some(place) = (self.ask)() else {
            self.is_there = false;
            return Ok(());
        };
        // Of another size, it is about to be told so, and draws its next frame.
        if place.area.as_size() == self.reserved.screen.as_size() {
            out.write_all(FLUSH)?;
            for Placed { area, image } in &placed {
                let corner = Position::new(place.area.x + area.x, place.area.y + area.y);
                out.write_all(&tmux::through(drawing(image, Rect::from((corner, area.as_size())))?.as_bytes()))?;
            }
            out.flush()?;
            self.drawn = Some(Drawn { place, at_s: now_s() });
            self.reserved.shown = placed;
        }
        Ok(())
    }

    /// The pane is there now. Whether the images are to be drawn again.
    pub fn found_at(&mut self, place: Option<OuterPlace>) -> bool {
        self.is_there = place.is_some();
        let Some(Drawn { place: before, at_s }) = &self.drawn else { return self.is_there };
        let is_same = place.as_ref().is_some_and(|now| now.is_same(before));
        if !is_same {
            // tmux has erased them since, unless the pane moved in the very moment in which they were drawn.
            (self.redraw)(&before.tty);
        }
        // Nearly all that makes tmux draw its cells anew is done by keys.
        let may_be_erased = !is_same || place.is_some_and(|now| now.active_s >= *at_s);
        if may_be_erased {
            self.drawn = None;
        }
        may_be_erased
    }

    /// The screen has been given to others since.
    pub fn reset(&mut self) {
        (self.drawn, self.reserved.shown) = (None, vec![]);
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// For the terminal outside: the image over these of its cells.
/// <https://iterm2.com/documentation-images.html>
fn drawing(image: &RgbImage, area: Rect) -> io::Result<String> {
    let mut encoded = STANDARD.encode(png::encode(image)?);
    let mut smaller = None;
    while encoded.len() > MOST_BYTES {
        let large = smaller.as_ref().unwrap_or(image);
        let half = resize(large, large.width().div_ceil(2), large.height().div_ceil(2), FilterType::Triangle);
        encoded = STANDARD.encode(png::encode(&half)?);
        smaller = Some(half);
    }
    let Rect { x, y, width, height } = area;
    let (row, column) = (y + 1, x + 1);
    Ok(format!(
        "{NO_MARGINS}\x1b[{row};{column}H\x1b]1337;File=inline=1;width={width};height={height};\
         preserveAspectRatio=0:{encoded}\x07"
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use image::Rgb;
    use ratatui::buffer::Cell;

    use super::*;

    fn place(x: u16) -> OuterPlace {
        OuterPlace { area: Rect::new(x, 1, 40, 10), tty: "/dev/pts/1".into(), layout: format!("{x}"), active_s: 0 }
    }

    fn placed(grey: u8) -> Vec<Placed> {
        vec![Placed { area: Rect::new(2, 3, 6, 3), image: Arc::new(RgbImage::from_pixel(8, 8, Rgb([grey; 3]))) }]
    }

    /// What is sent for a frame.
    fn frame(painter: &mut PastTmux, placed: Vec<Placed>) -> String {
        let mut out = vec![];
        painter.reserve(&placed, &mut Buffer::filled(Rect::new(0, 0, 40, 10), Cell::new("x")));
        painter.paint(placed, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_image_is_drawn_once_where_the_pane_is() {
        let mut painter =
            PastTmux { ask: || Some(place(41)), redraw: |_| panic!("nothing to erase"), ..PastTmux::default() };
        let sent = frame(&mut painter, placed(0));
        assert!(sent.starts_with(
            "\x1b[?2026l\x1b[r\x1bPtmux;\x1b\x1b[?69l\x1b\x1b[r\x1b\x1b[5;44H\x1b\x1b]1337;File=inline=1;"
        ));
        assert!(sent.contains(";width=6;height=3;preserveAspectRatio=0:") && sent.ends_with("\x07\x1b\\"));
        assert_eq!(frame(&mut painter, placed(0)), "", "nothing has changed");
        assert!(!painter.found_at(Some(place(41))) && frame(&mut painter, placed(0)).is_empty());
        assert!(!frame(&mut painter, placed(9)).is_empty());
        let pressed = OuterPlace { active_s: u64::MAX, ..place(41) };
        assert!(painter.found_at(Some(pressed)) && !frame(&mut painter, placed(9)).is_empty(), "a key was pressed");
        assert_eq!(frame(&mut painter, vec![]), "");
    }

    #[test]
    fn what_was_drawn_elsewhere_is_erased() {
        static ERASED: AtomicUsize = AtomicUsize::new(0);
        let count = |_: &str| {
            ERASED.fetch_add(1, Ordering::SeqCst);
        };
        let mut painter = PastTmux { ask: || Some(place(0)), redraw: count, ..PastTmux::default() };
        frame(&mut painter, placed(0));
        assert!(painter.found_at(Some(place(41))));
        assert_eq!(ERASED.load(Ordering::SeqCst), 1);
        assert!(!frame(&mut painter, placed(0)).is_empty());
        painter.found_at(None);
        assert_eq!(ERASED.load(Ordering::SeqCst), 2, "hidden");
        painter.ask = || panic!("it is hidden");
        assert_eq!(frame(&mut painter, placed(9)), "");
        painter.ask = || Some(place(0));
        assert!(painter.found_at(Some(place(0))) && !frame(&mut painter, placed(9)).is_empty());
        assert_eq!(ERASED.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn nothing_is_drawn_where_the_pane_is_not_as_it_was_thought() {
        let mut painter = PastTmux { ask: || None, ..PastTmux::default() };
        assert_eq!(frame(&mut painter, placed(0)), "");
        let narrow = || Some(OuterPlace { area: Rect::new(0, 0, 20, 10), ..place(0) });
        let mut painter = PastTmux { ask: narrow, ..PastTmux::default() };
        assert_eq!(frame(&mut painter, placed(0)), "");
    }

    #[test]
    fn no_image_is_more_than_tmux_takes() {
        let noise = RgbImage::from_fn(900, 900, |x, y| {
            Rgb([x * 7919 + y * 104_729, x ^ (y * 31), x * y].map(|v| (v % 251) as u8))
        });
        assert!(STANDARD.encode(png::encode(&noise).unwrap()).len() > MOST_BYTES);
        let drawn = drawing(&noise, Rect::new(0, 0, 9, 9)).unwrap();
        assert!((10_000..MOST_BYTES + 200).contains(&drawn.len()), "{}", drawn.len());
    }
}
