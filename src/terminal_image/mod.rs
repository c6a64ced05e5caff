//! Images by the terminal's own protocols: through viuer, which nothing else calls, and inside tmux, where viuer has none,
//! by kitty's Unicode placeholders, or past it by iTerm2's images.
//!
//! viuer writes to stdout past ratatui, and waits for a terminal's replies without a limit. So a [`Painter`] draws only
//! after a frame, where the frame has left room, and only what has changed; and [`detect`] lets viuer ask a terminal only
//! what it has just answered, before anything else reads the keyboard.

mod backend;
mod detect;
mod diacritics;
mod dither;
pub mod half_blocks;
mod mosh;
mod outer_place;
mod painter;
mod past_tmux;
mod placed;
mod placeholders;
mod protocols;
mod query;
mod reserved;
mod sixel;
mod tmux;
mod tmux_watch;

pub use backend::{ImageBackend, Images, Protocol};
pub use detect::{Background, Detected, detect, detect_again, detect_in_shell, is_utf8_locale, variable};
pub use outer_place::OuterPlace;
pub use painter::Painter;
pub use placed::{InRow, Placed};
pub use protocols::{forget_all, print_row};
pub use query::cell_size;
pub use tmux_watch::{PaneChange, TmuxWatch};
