//! The terminal, taken and given back: on return, on error and on panic.

use std::env;
use std::io::{self, BufWriter, Stdout, Write, stdin, stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use ratatui::crossterm::cursor::{Hide, MoveTo, Show};
use ratatui::crossterm::style::Print;
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{execute, queue};
use ratatui::layout::{Position, Rect, Size};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::ascii;
use super::backend::CountingBackend;
use super::notification::Notification;
use super::theme::{Theme, ThemeChoice};
use crate::terminal_image::half_blocks::Symbols;
use crate::terminal_image::{self, Background, Detected, ImageBackend, Images, OuterPlace, Painter, Placed, variable};

/// Whether the dashboard holds the terminal.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// Whether it holds the mouse, too, while it holds the terminal.
static WITH_MOUSE: AtomicBool = AtomicBool::new(false);
/// Presses and the wheel, without movements, in the form that has no limit of columns.
const TAKE_MOUSE: &str = "\x1b[?1000h\x1b[?1006h";
const GIVE_MOUSE_BACK: &str = "\x1b[?1006l\x1b[?1000l";
static PANIC_HOOK: Once = Once::new();

/// What became of a frame.
#[derive(Debug, Default)]
pub struct Drawn {
    /// How many were written, without those of images that the terminal draws.
    pub bytes: u64,
    /// Why an image could not be drawn, if so.
    pub fault: Option<String>,
}

/// Holds the terminal; dropping it gives it back.
pub struct TerminalGuard {
    terminal: Terminal<CountingBackend<BufWriter<Stdout>>>,
    /// `None` where images are drawn as cells, or not at all.
    painter: Option<Painter>,
    symbols: Symbols,
    suspended: bool,
}

impl TerminalGuard {
    /// Takes the terminal, and finds out how it draws images and what colours suit it. Nothing may read the keyboard before
    /// this returns.
    pub fn enter(images: Images, theme: ThemeChoice, mouse: bool) -> io::Result<(Self, Detected, Theme)> {
        WITH_MOUSE.store(mouse, Ordering::SeqCst);
        PANIC_HOOK.call_once(|| {
            let previous = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                restore();
                previous(info);
            }));
        });
        take()?;
        let taken = || {
            // Without colours there are no coloured images either, unless they are asked for.
            let images = if theme == ThemeChoice::Plain && images == Images::Auto { Images::Blocks } else { images };
            let background = if theme.asks(&variable) { Background::Asked } else { Background::Unasked };
            let detected = terminal_image::detect(images, background)?;
            let theme = theme.choose(detected.background, detected.palette, &variable).theme;
            let painter = painter(detected.backend);
            let backend = CountingBackend::new(BufWriter::with_capacity(64 * 1024, stdout()));
            // ratatui would follow the size that the terminal reports, which may be none.
            let viewport = Viewport::Fixed(Rect::from((Position::ORIGIN, size()?)));
            let terminal = Terminal::with_options(backend, TerminalOptions { viewport })?;
            let symbols = Symbols::of(detected.is_utf8);
            Ok((Self { terminal, painter, symbols, suspended: false }, detected, theme))
        };
        taken().inspect_err(|_| restore())
    }

    /// Another terminal shows the dashboard, without any images that were sent to the last one.
    pub fn draw_images_by(&mut self, backend: ImageBackend) -> io::Result<()> {
        self.painter = painter(backend);
        if self.suspended { Ok(()) } else { self.draw_all_anew() }
    }

    /// Inside tmux: the pane is there now. Whether a frame is due.
    pub fn found_at(&mut self, place: Option<OuterPlace>) -> bool {
        !self.suspended && self.painter.as_mut().is_some_and(|painter| painter.found_at(place))
    }

    /// The characters that the terminal shows.
    pub fn symbols(&self) -> Symbols {
        self.symbols
    }

    /// Makes the key reader look for keys once more. crossterm misses keys that arrive together with a resize until the
    /// next key; setting the terminal's attributes, even to their present values, reports it as readable again.
    pub fn recall_keys(&self) {
        // An error means that the terminal is gone, which shows elsewhere.
        if let Ok(attributes) = tcgetattr(stdin()) {
            let _ = tcsetattr(stdin(), OptionalActions::Now, &attributes);
        }
    }

    /// # Errors
    /// Another thread panicked, gave the terminal back and has said why.
    pub fn ensure_held(&self) -> anyhow::Result<()> {
        if !self.suspended && !TAKEN.load(Ordering::SeqCst) {
            bail!("a thread of the dashboard panicked");
        }
        Ok(())
    }

    /// Draws what `render` draws, and the images that it leaves room for, with characters of so many pixels.
    pub fn draw(&mut self, cell: Option<Size>, render: impl FnOnce(&mut Frame) -> Vec<Placed>) -> io::Result<Drawn> {
        if self.suspended {
            return Ok(Drawn::default());
        }
        let area = Rect::from((Position::ORIGIN, size()?));
        if area != self.terminal.get_frame().area() {
            self.terminal.resize(area)?;
        }
        // A terminal that knows these shows the frame at once; any other ignores them.
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        let mut placed = vec![];
        self.terminal.try_draw(|frame| -> io::Result<()> {
            placed = render(frame);
            if let Some(painter) = &mut self.painter {
                painter.reserve(&placed, frame.buffer_mut())?;
            }
            if self.symbols == Symbols::Ascii {
                ascii::simplify(frame.buffer_mut());
            }
            Ok(())
        })?;
        let fault = match &mut self.painter {
            Some(painter) => painter.paint(placed, cell)?,
            None => None,
        };
        execute!(self.terminal.backend_mut(), EndSynchronizedUpdate)?;
        Ok(Drawn { bytes: self.terminal.backend_mut().take_bytes(), fault })
    }

    /// Calls for attention.
    pub fn notify(&mut self, notification: Notification, run: &str, text: &str) -> io::Result<()> {
        if self.suspended {
            return Ok(());
        }
        let terminal = self.terminal.backend_mut();
        terminal.write_all(notification.sequence(run, text).as_bytes())?;
        terminal.flush()
    }

    /// Gives the terminal back and stops this process, until SIGCONT; then call `reenter`.
    pub fn suspend(&mut self) -> io::Result<()> {
        restore();
        self.suspended = true;
        Ok(rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP)?)
    }

    /// Takes the terminal again, whatever state others have left it in.
    pub fn reenter(&mut self) -> io::Result<()> {
        restore();
        take()?;
        self.suspended = false;
        if let Some(painter) = &mut self.painter {
            painter.reset();
        }
        self.draw_all_anew()
    }

    /// With the next frame.
    fn draw_all_anew(&mut self) -> io::Result<()> {
        // `clear` would do so too, but it asks the terminal where the cursor is, and the answer goes to the key reader: a
        // hang.
        self.terminal.resize(Rect::from((Position::ORIGIN, size()?)))
    }
}

/// The size of the terminal. One that reports none, such as a serial line, has that of `COLUMNS` and `LINES`, or the usual.
pub fn size() -> io::Result<Size> {
    let (width, height) = ratatui::crossterm::terminal::size()?;
    let number = |name: &str| env::var(name).ok()?.parse().ok();
    Ok(known_size(Size { width, height }, number("COLUMNS"), number("LINES")))
}

fn known_size(reported: Size, columns: Option<u16>, lines: Option<u16>) -> Size {
    if reported.width > 0 && reported.height > 0 {
        return reported;
    }
    let given = |number: Option<u16>| number.filter(|&number| number > 0);
    Size { width: given(columns).unwrap_or(80), height: given(lines).unwrap_or(24) }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        restore();
    }
}

fn painter(backend: ImageBackend) -> Option<Painter> {
    match backend {
        ImageBackend::Protocol(protocol) => Some(Painter::new(protocol)),
        ImageBackend::Cells(_) | ImageBackend::Nothing => None,
    }
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    // GNU screen, as it comes, and Linux's console have no alternate screen: there the frame would lie among what was before.
    execute!(stdout(), EnterAlternateScreen, Clear(ClearType::All), Hide)
        .and_then(|()| if WITH_MOUSE.load(Ordering::SeqCst) { execute!(stdout(), Print(TAKE_MOUSE)) } else { Ok(()) })
        .inspect_err(|_| restore())
}

/// Gives the terminal back, once. There is nothing to do about an error: the terminal may be gone.
fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = terminal_image::forget_all();
        if WITH_MOUSE.load(Ordering::SeqCst) {
            let _ = execute!(stdout(), Print(GIVE_MOUSE_BACK));
        }
        // Likewise what comes after would lie among the frame.
        let _ = execute!(stdout(), Clear(ClearType::All), MoveTo(0, 0), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_without_a_size_has_the_usual_one() {
        let none = Size::new(0, 0);
        assert_eq!(known_size(Size::new(100, 30), Some(7), Some(7)), Size::new(100, 30));
        assert_eq!(known_size(none, None, None), Size::new(80, 24));
        assert_eq!(known_size(none, Some(132), Some(0)), Size::new(132, 24));
    }
}
