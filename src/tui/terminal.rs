//! The terminal, taken and given back: on return, on error and on panic.

use std::io::{self, BufWriter, Stdout, Write, stdin, stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, MoveTo, Show};
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{execute, queue};
use ratatui::layout::{Position, Rect, Size};
use ratatui::{Terminal, TerminalOptions, Viewport};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::app::App;
use super::notification::Notification;
use super::view;
use crate::terminal_image::{self, Detected, ImageBackend, Images, Painter};

/// Whether the dashboard holds the terminal.
static TAKEN: AtomicBool = AtomicBool::new(false);
static PANIC_HOOK: Once = Once::new();

/// Holds the terminal; dropping it gives it back.
pub struct TerminalGuard {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    /// `None` where images are drawn as cells, or not at all.
    painter: Option<Painter>,
    suspended: bool,
}

impl TerminalGuard {
    /// Takes the terminal, and finds out how it draws images. Nothing may read the keyboard before this returns.
    pub fn enter(images: Images) -> io::Result<(Self, Detected)> {
        PANIC_HOOK.call_once(|| {
            let previous = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                restore();
                previous(info);
            }));
        });
        take()?;
        let taken = || {
            let detected = terminal_image::detect(images)?;
            let painter = match detected.backend {
                ImageBackend::Protocol(protocol) => Some(Painter::new(protocol)),
                ImageBackend::Cells(_) | ImageBackend::Nothing => None,
            };
            let backend = CrosstermBackend::new(BufWriter::with_capacity(64 * 1024, stdout()));
            // ratatui would follow the size that the terminal reports, which may be none.
            let viewport = Viewport::Fixed(Rect::from((Position::ORIGIN, size()?)));
            let terminal = Terminal::with_options(backend, TerminalOptions { viewport })?;
            Ok((Self { terminal, painter, suspended: false }, detected))
        };
        taken().inspect_err(|_| restore())
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

    /// Returns why an image could not be drawn, if so.
    pub fn draw(&mut self, app: &App) -> io::Result<Option<String>> {
        if self.suspended {
            return Ok(None);
        }
        let area = Rect::from((Position::ORIGIN, size()?));
        if area != self.terminal.get_frame().area() {
            self.terminal.resize(area)?;
        }
        // A terminal that knows these shows the frame at once; any other ignores them.
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        let mut placed = vec![];
        self.terminal.draw(|frame| {
            placed = view::render(app, frame);
            if let Some(painter) = &mut self.painter {
                painter.reserve(&placed, frame.buffer_mut());
            }
        })?;
        let fault = match &mut self.painter {
            Some(painter) => painter.paint(placed, app.ui.cell)?,
            None => None,
        };
        execute!(self.terminal.backend_mut(), EndSynchronizedUpdate)?;
        Ok(fault)
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
        // Draws everything anew. `clear` would too, but it asks the terminal where the cursor is, and the answer goes to
        // the key reader: a hang.
        self.terminal.resize(Rect::from((Position::ORIGIN, size()?)))
    }
}

/// The size of the terminal. One that reports none, such as a serial line, has that of `COLUMNS` and `LINES`, or the usual.
pub fn size() -> io::Result<Size> {
    let (width, height) = ratatui::crossterm::terminal::size()?;
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
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

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    // GNU screen, as it comes, and Linux's console have no alternate screen: there the frame would lie among what was before.
    execute!(stdout(), EnterAlternateScreen, Clear(ClearType::All), Hide).inspect_err(|_| restore())
}

/// Gives the terminal back, once. There is nothing to do about an error: the terminal may be gone.
fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = terminal_image::forget();
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
