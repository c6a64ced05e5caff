//! kitty's Unicode placeholders: the terminal is sent an image once, and draws it wherever characters stand for its cells.
//! They are text like any other, which a multiplexer clips, moves, hides and shows again. (The crate ratatui-image would send
//! an image at the size of its cells in pixels, a hundred times as much as its own pixels as PNG, and anew for each size.)
//! <https://sw.kovidgoyal.net/kitty/graphics-protocol/#unicode-placeholders>

use std::fmt::Write as _;
use std::io::{self, Write, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use ratatui::buffer::Buffer;
use ratatui::layout::Size;
use ratatui::style::Color;

use super::diacritics::diacritic;
use super::placed::{InRow, Placed};
use super::tmux;
use crate::render::png;

const PLACEHOLDER: char = '\u{10eeee}';
/// Bytes of base64 in a sequence; kitty takes no more.
const CHUNK: usize = 4096;
/// The last byte of an image's number is a colour of the 256. Multiplexers may write the first 16 in another way.
const FIRST_COLOUR: u8 = 16;

/// The next image has this colour.
static NEXT: AtomicU8 = AtomicU8::new(FIRST_COLOUR);
/// All colours have been given out once.
static ALL_GIVEN: AtomicBool = AtomicBool::new(false);

/// What tells one image from another in the terminal, and from those of other programs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ImageNumber {
    /// Of this process, as nearly as a byte can tell.
    owner: u8,
    colour: u8,
}

impl ImageNumber {
    fn of(colour: u8) -> Self {
        // 0 would be a number of one byte, as other programs take.
        Self { owner: (std::process::id() % 255) as u8 + 1, colour }
    }

    /// One that none of these images has, unless there are more images than numbers.
    fn other_than(sent: &[Sent]) -> Self {
        let mut colour = Self::next_colour();
        for _ in FIRST_COLOUR..u8::MAX {
            if sent.iter().all(|sent| sent.number.colour != colour) {
                break;
            }
            colour = Self::next_colour();
        }
        Self::of(colour)
    }

    fn next_colour() -> u8 {
        let following = |colour: u8| Some(colour.checked_add(1).unwrap_or(FIRST_COLOUR));
        let colour = NEXT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, following).unwrap_or(FIRST_COLOUR);
        ALL_GIVEN.fetch_or(colour == u8::MAX, Ordering::SeqCst);
        colour
    }

    /// Those that were given out.
    fn given() -> impl Iterator<Item = Self> {
        let next = if ALL_GIVEN.load(Ordering::SeqCst) { None } else { Some(NEXT.load(Ordering::SeqCst)) };
        (FIRST_COLOUR..=u8::MAX).take_while(move |&colour| Some(colour) != next).map(Self::of)
    }

    fn value(self) -> u32 {
        u32::from(self.owner) << 24 | u32::from(self.colour)
    }
}

/// The images that the terminal has, the oldest first.
#[derive(Debug)]
pub struct Placeholders {
    sent: Vec<Sent>,
    /// Whether what is sent to the terminal reaches it.
    is_visible: fn() -> bool,
}

#[derive(Debug)]
struct Sent {
    number: ImageNumber,
    image: Arc<RgbImage>,
    size: Size,
}

impl Placeholders {
    /// Images that are drawn again are not sent again, so long as they are among so many.
    const KEPT: usize = 100;

    pub fn new(is_visible: fn() -> bool) -> Self {
        Self { sent: vec![], is_visible }
    }

    /// Fills the cells of the images, and sends those that the terminal lacks. While it does not show the pane, nothing
    /// reaches it, and their cells stay empty.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn fill(&mut self, placed: &[Placed], buffer: &mut Buffer, out: &mut impl Write) -> io::Result<()> {
        let mut reaches = None;
        for Placed { area, image } in placed {
            let size = area.as_size();
            let known = self.sent.iter().position(|sent| sent.size == size && sent.image == *image);
            let sent = match known {
                Some(index) => self.sent.remove(index),
                None if *reaches.get_or_insert_with(self.is_visible) => {
                    let number = ImageNumber::other_than(&self.sent);
                    out.write_all(&transmission(image, size, number)?)?;
                    out.flush()?;
                    Sent { number, image: image.clone(), size }
                }
                None => continue,
            };
            for position in area.intersection(buffer.area).positions() {
                let cell = &mut buffer[position];
                cell.reset();
                if let Some(symbol) = symbol(sent.number, position.y - area.y, position.x - area.x) {
                    cell.set_symbol(&symbol).set_fg(Color::Indexed(sent.number.colour));
                }
            }
            self.sent.push(sent);
        }
        let excess = self.sent.len().saturating_sub(Self::KEPT.max(placed.len()));
        for old in self.sent.drain(..excess) {
            out.write_all(&deletion(old.number))?;
        }
        Ok(())
    }

    /// Another terminal shows the pane.
    pub fn reset(&mut self) {
        self.sent.clear();
    }
}

/// Draws images of `size` cells beside each other, `gap` columns apart, as lines of text.
///
/// # Errors
/// The terminal is gone.
pub fn print_row(images: &[InRow], size: Size, gap: u16, out: &mut impl Write) -> io::Result<()> {
    let mut numbers = vec![];
    for InRow { image, .. } in images {
        let number = ImageNumber::other_than(&[]);
        out.write_all(&transmission(image, size, number)?)?;
        numbers.push(number);
    }
    for row in 0..size.height {
        let part = |(number, image): (&ImageNumber, &InRow)| {
            let cells: String = (0..size.width).filter_map(|column| symbol(*number, row, column)).collect();
            format!("\x1b[38;5;{}m{cells}\x1b[39m{}", number.colour, image.beside(row))
        };
        let parts: Vec<String> = numbers.iter().zip(images).map(part).collect();
        writeln!(out, "{}", parts.join(&" ".repeat(gap.into())))?;
    }
    out.flush()
}

/// Deletes all images of this process.
///
/// # Errors
/// The terminal is gone.
pub fn delete_all() -> io::Result<()> {
    let mut out = stdout().lock();
    ImageNumber::given().try_for_each(|number| out.write_all(&deletion(number)))?;
    out.flush()
}

/// What stands for a cell of the image. `None` where the image has more cells than kitty has numbers.
fn symbol(number: ImageNumber, row: u16, column: u16) -> Option<String> {
    let marks = [diacritic(row)?, diacritic(column)?, diacritic(number.owner.into())?];
    Some([PLACEHOLDER].into_iter().chain(marks).collect())
}

/// As PNG, without a reply.
fn transmission(image: &RgbImage, Size { width, height }: Size, number: ImageNumber) -> io::Result<Vec<u8>> {
    let encoded = STANDARD.encode(png::encode(image)?);
    let mut sequences = vec![];
    let count = encoded.len().div_ceil(CHUNK);
    for (index, chunk) in encoded.as_bytes().chunks(CHUNK).enumerate() {
        let mut sequence = String::from("\x1b_G");
        if index == 0 {
            let number = number.value();
            write!(sequence, "a=T,U=1,q=2,f=100,i={number},c={width},r={height},").map_err(io::Error::other)?;
        }
        let has_more = u8::from(index + 1 < count);
        write!(sequence, "m={has_more};").map_err(io::Error::other)?;
        let sequence = [sequence.as_bytes(), chunk, b"\x1b\\"].concat();
        sequences.extend(tmux::through(&sequence));
    }
    Ok(sequences)
}

/// With its data, without a reply.
fn deletion(number: ImageNumber) -> Vec<u8> {
    tmux::through(format!("\x1b_Ga=d,d=I,i={},q=2\x1b\\", number.value()).as_bytes())
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use ratatui::layout::Rect;

    use super::*;

    fn placed(x: u16, grey: u8) -> Placed {
        // As hard to compress as a photo.
        let image =
            RgbImage::from_fn(64, 64, |x, y| Rgb([grey, (x * x * 7 + y * y * y * 13) as u8, (x * y * 31) as u8]));
        Placed { area: Rect::new(x, 1, 6, 3), image: Arc::new(image) }
    }

    fn buffer() -> Buffer {
        Buffer::filled(Rect::new(0, 0, 30, 6), ratatui::buffer::Cell::new("x"))
    }

    #[test]
    fn cells_name_their_image_and_place_and_an_image_is_sent_once() {
        let mut placeholders = Placeholders::new(|| true);
        let (mut frame, mut out) = (buffer(), vec![]);
        placeholders.fill(&[placed(2, 0), placed(10, 1)], &mut frame, &mut out).unwrap();
        let marks = |x: u16, y: u16, frame: &Buffer| frame[(x, y)].symbol().chars().collect::<Vec<_>>();
        let owner = diacritic(ImageNumber::of(0).owner.into()).unwrap();
        assert_eq!(marks(4, 3, &frame), ['\u{10eeee}', '\u{30e}', '\u{30e}', owner], "row 2, column 2");
        assert_eq!((frame[(1, 1)].symbol(), frame[(8, 1)].symbol()), ("x", "x"));
        assert!(frame[(2, 1)].fg != frame[(10, 1)].fg && matches!(frame[(2, 1)].fg, Color::Indexed(16..)));
        let sent = String::from_utf8(out).unwrap();
        assert_eq!(sent.matches("a=T,U=1,q=2,f=100,").count(), 2);
        assert!(sent.matches("c=6,r=3,").count() == 2);
        // As large as before, elsewhere: nothing is sent.
        let (mut moved, mut out) = (buffer(), vec![]);
        placeholders.fill(&[Placed { area: Rect::new(20, 2, 6, 3), ..placed(2, 0) }], &mut moved, &mut out).unwrap();
        assert!(out.is_empty() && moved[(20, 2)].fg == frame[(2, 1)].fg && moved[(2, 1)].symbol() == "x");
        placeholders.reset();
        placeholders.fill(&[placed(2, 0)], &mut moved, &mut out).unwrap();
        assert!(!out.is_empty(), "another terminal has none");
    }

    #[test]
    fn what_would_reach_no_terminal_waits() {
        let mut placeholders = Placeholders::new(|| false);
        let (mut frame, mut out) = (buffer(), vec![]);
        placeholders.fill(&[placed(2, 0)], &mut frame, &mut out).unwrap();
        assert!(out.is_empty() && frame == buffer());
        placeholders.is_visible = || true;
        placeholders.fill(&[placed(2, 0)], &mut frame, &mut out).unwrap();
        assert!(!out.is_empty() && frame != buffer());
    }

    #[test]
    fn old_images_are_deleted_and_no_two_have_one_number() {
        let mut placeholders = Placeholders::new(|| true);
        let mut out = vec![];
        for round in 0..300u16 {
            out.clear();
            let image = Arc::new(RgbImage::from_pixel(1, 1, Rgb([(round / 256) as u8, round as u8, 0])));
            let next = Placed { area: Rect::new(10, 1, 2, 1), image };
            placeholders.fill(&[placed(2, 0), next], &mut buffer(), &mut out).unwrap();
        }
        let mut numbers: Vec<u8> = placeholders.sent.iter().map(|sent| sent.number.colour).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), Placeholders::KEPT);
        assert!(placeholders.sent.iter().any(|sent| sent.image == placed(2, 0).image), "that which is shown is kept");
        assert!(String::from_utf8(out).unwrap().contains("a=d,d=I,"));
        assert_eq!(ImageNumber::given().count(), 240);
    }

    #[test]
    fn an_image_is_sent_in_pieces_past_tmux() {
        let image = placed(0, 7).image;
        let bytes = transmission(&image, Size::new(6, 3), ImageNumber { owner: 2, colour: 17 }).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let pieces: Vec<&str> = text.split_inclusive("\x1b\x1b\\\x1b\\").collect();
        let count = pieces.len();
        assert!(count > 1);
        for (index, piece) in pieces.iter().enumerate() {
            let inner = piece.strip_prefix("\x1bPtmux;\x1b\x1b_G").unwrap();
            let (keys, rest) = inner.split_once(';').unwrap();
            let is_last = index + 1 == count;
            assert!(keys.ends_with(if is_last { "m=0" } else { "m=1" }), "{keys}");
            assert_eq!(keys.starts_with("a=T,U=1,q=2,f=100,i=33554449,c=6,r=3,"), index == 0);
            assert!(rest.len() <= CHUNK + 6);
        }
    }
}
