//! Renders the log of a run as the dashboard shows it, to an SVG on stdout:
//! `cargo run --example dashboard_svg -- runs/NAME 120x40 > dashboard.svg`

use std::env;
use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, bail};
use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Size;
use ratatui::style::{Color, Modifier};
use taper::run::dir::RunDir;
use taper::run::lock::Liveness;
use taper::run::log::Follower;
use taper::tui::app::{App, Update};
use taper::tui::theme::{Depth, Theme};
use taper::tui::view;

const CELL_WIDTH: f64 = 8.4;
const CELL_HEIGHT: f64 = 17.0;
const FONT_SIZE: f64 = 14.0;
const MARGIN: f64 = 12.0;
const BACKGROUND: &str = "#16181d";
const FOREGROUND: &str = "#d5d9e0";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [run, size] = arguments.as_slice() else { bail!("usage: dashboard_svg RUN_DIR WIDTHxHEIGHT") };
    let (width, height) = size.split_once('x').context("the size is WIDTHxHEIGHT, such as 120x40")?;
    let size = Size::new(width.parse().context("width")?, height.parse().context("height")?);

    let dir = RunDir::at(Path::new(run));
    let mut app = App::new(dir.name(), size, Theme::Dark(Depth::TrueColour), TimeZone::UTC);
    let mut follower = Follower::new(dir.events());
    loop {
        let records = follower.read(1 << 20)?;
        if records.is_empty() {
            break;
        }
        app.update(Update::Records(records));
    }
    // As the moment after its last event, the trainer alive.
    app.now_ms = app.run.last_activity_ms;
    app.update(Update::Liveness(Liveness::Live));
    let mut terminal = Terminal::new(TestBackend::new(size.width, size.height))?;
    terminal.draw(|frame| drop(view::render(&app, frame)))?;
    println!("{}", svg(terminal.backend().buffer())?);
    Ok(())
}

fn svg(buffer: &Buffer) -> anyhow::Result<String> {
    let area = buffer.area;
    let width = f64::from(area.width) * CELL_WIDTH + 2.0 * MARGIN;
    let height = f64::from(area.height) * CELL_HEIGHT + 2.0 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-size=\"{FONT_SIZE}\" \
         font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n"
    );
    for y in 0..area.height {
        let mut x = 0;
        while x < area.width {
            let first = &buffer[(x, y)];
            let drawn = drawn_shape(first.symbol()).is_some();
            let alike = |x: u16| {
                let cell = &buffer[(x, y)];
                style(cell) == style(first) && drawn_shape(cell.symbol()).is_some() == drawn
            };
            let end = (x + 1..area.width).find(|&next| !alike(next)).unwrap_or(area.width);
            if drawn {
                draw_shapes(&mut svg, buffer, x..end, y)?;
            } else {
                write_text(&mut svg, buffer, x..end, y)?;
            }
            x = end;
        }
    }
    svg.push_str("</svg>");
    Ok(svg)
}

/// A run of cells of one style, stretched to its cells whatever the font's width is.
fn write_text(svg: &mut String, buffer: &Buffer, columns: Range<u16>, y: u16) -> anyhow::Result<()> {
    let text: String = columns.clone().map(|x| buffer[(x, y)].symbol()).collect();
    if text.trim().is_empty() {
        return Ok(());
    }
    let leading = text.chars().take_while(|char| *char == ' ').count();
    let text = text.trim();
    let (left, top) =
        (MARGIN + (f64::from(columns.start) + leading as f64) * CELL_WIDTH, MARGIN + f64::from(y) * CELL_HEIGHT);
    let (colour, attributes) = style(&buffer[(columns.start, y)]);
    let length = text.chars().count() as f64 * CELL_WIDTH;
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    // Browsers collapse others, whatever `xml:space` says.
    let escaped = escaped.replace(' ', "\u{a0}");
    writeln!(
        svg,
        "<text x=\"{left:.1}\" y=\"{:.1}\" textLength=\"{length:.1}\" fill=\"{colour}\"{attributes}>{escaped}</text>",
        top + CELL_HEIGHT * 0.76
    )?;
    Ok(())
}

/// Blocks, braille and lines as paths: fonts leave seams between them.
fn draw_shapes(svg: &mut String, buffer: &Buffer, columns: Range<u16>, y: u16) -> anyhow::Result<()> {
    let (colour, attributes) = style(&buffer[(columns.start, y)]);
    // Smoothed edges would leave seams between rows of blocks; dots need them to be round.
    let block = ('▁'..='█').contains(&buffer[(columns.start, y)].symbol().chars().next().unwrap_or(' '));
    let edges = if block { " shape-rendering=\"crispEdges\"" } else { "" };
    let mut path = String::new();
    for x in columns {
        let (left, top) = (MARGIN + f64::from(x) * CELL_WIDTH, MARGIN + f64::from(y) * CELL_HEIGHT);
        for (x, y, width, height) in drawn_shape(buffer[(x, y)].symbol()).into_iter().flatten() {
            let (width, height) = (width * CELL_WIDTH, height * CELL_HEIGHT);
            let (x, y) = (left + x * CELL_WIDTH, top + y * CELL_HEIGHT);
            write!(path, "M{x:.2} {y:.2}h{width:.2}v{height:.2}h-{width:.2}z")?;
        }
    }
    writeln!(svg, "<path fill=\"{colour}\"{attributes}{edges} d=\"{path}\"/>")?;
    Ok(())
}

/// The rectangles of a symbol that is drawn, as (x, y, width, height) in cells.
fn drawn_shape(symbol: &str) -> Option<Vec<(f64, f64, f64, f64)>> {
    let char = symbol.chars().next()?;
    let code = u32::from(char);
    let (thin, middle) = (0.07, 0.47);
    let (thin_across, middle_across) = (0.14, 0.43);
    let (left, right) = ((0.0, middle, 0.5, thin), (middle_across, middle, 1.0 - middle_across, thin));
    let (up, down) = ((middle_across, 0.0, thin_across, 0.5), (middle_across, middle, thin_across, 1.0 - middle));
    match char {
        '─' => Some(vec![(0.0, middle, 1.0, thin)]),
        '━' => Some(vec![(0.0, middle - 0.06, 1.0, thin + 0.12)]),
        '│' => Some(vec![(middle_across, 0.0, thin_across, 1.0)]),
        '╭' => Some(vec![right, down]),
        '╮' => Some(vec![left, down]),
        '╰' | '└' => Some(vec![right, up]),
        '╯' => Some(vec![left, up]),
        // Eighths, from below.
        '▁'..='█' => {
            let height = f64::from(code - 0x2580) / 8.0;
            Some(vec![(0.0, 1.0 - height, 1.0, height)])
        }
        // Shades, as stripes.
        '░'..='▓' => Some(vec![(0.0, 0.15, f64::from(code - 0x2590) / 4.0, 0.7)]),
        // Unicode numbers the dots 1 2 3 down the left, 4 5 6 down the right, then 7 and 8 below them.
        '\u{2801}'..='\u{28ff}' => {
            let dots = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)];
            let dots = dots.into_iter().enumerate().filter(|(bit, _)| code >> bit & 1 == 1);
            Some(dots.map(|(_, (x, y))| (0.12 + 0.5 * f64::from(x), 0.06 + 0.25 * f64::from(y), 0.26, 0.13)).collect())
        }
        _ => None,
    }
}

/// Colour, and the attributes for all else.
fn style(cell: &Cell) -> (String, String) {
    let colour = match cell.fg {
        Color::Rgb(red, green, blue) => format!("#{red:02x}{green:02x}{blue:02x}"),
        _ => FOREGROUND.to_owned(),
    };
    let attributes = [
        (Modifier::BOLD, " font-weight=\"bold\""),
        (Modifier::ITALIC, " font-style=\"italic\""),
        (Modifier::DIM, " opacity=\"0.6\""),
    ];
    let attributes = attributes.into_iter().filter(|(modifier, _)| cell.modifier.contains(*modifier));
    (colour, attributes.map(|(_, attribute)| attribute).collect())
}
