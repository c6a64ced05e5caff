//! Where the time of training goes: one line, or where there is room a panel that tells of the whole run too.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Row, Table};

use super::panel::{Panel, panel};
use super::parts::row;
use crate::format;
use crate::run::step_time::{Breakdown, Part};
use crate::terminal_image::Placed;
use crate::tui::app::App;
use crate::tui::layout::{Areas, Density, PanelName, Region, place};

/// Columns; a narrower stacked bar is left out.
const NARROWEST_BAR: usize = 12;
/// Columns of the panel left of its bars, gaps included.
const FIGURES_WIDTH: u16 = 41;

/// A heading, a row for each part and one for probes, in a frame.
const ROWS: u16 = 1 + Part::OF_ONE_PROCESS.len() as u16 + 1 + 2;

pub static PANEL: Panel = Panel {
    name: PanelName("step time"),
    places: [
        place(Region::Line, Constraint::Fill(1)),
        place(Region::Line, Constraint::Fill(1)),
        place(Region::Tables, Constraint::Length(ROWS)),
    ],
    // A log of an older taper does not tell where the time goes.
    is_shown: |app| app.run.recent_step_time().is_some(),
    scrolling: None,
    chart: None,
    rows: None,
    render,
};

fn render(app: &App, areas: &Areas, area: Rect, frame: &mut Frame, _placed: &mut Vec<Placed>) {
    let Some(recent) = app.run.recent_step_time() else { return };
    match areas.density {
        Density::Compact => {
            // The last column belongs to the text: it just fits.
            let area = Rect { x: area.x + 1, width: area.width - 1, ..area };
            row(area, parts(app, &recent, "  ", false, area.width.into()), Line::default(), frame);
        }
        Density::Regular => {
            let area = Rect { x: area.x + 1, width: area.width - 2, ..area };
            let mut line = parts(app, &recent, "   ", true, area.width.into());
            if let Some(share) = app.run.probe_share() {
                line.push_span(Span::styled("   probes ", app.ui.theme.faint()));
                line.push_span(small_percent(share));
            }
            let width = usize::from(area.width).saturating_sub(line.width() + 3);
            if width >= NARROWEST_BAR {
                line.push_span("   ");
                line.extend(stacked_bar(app, &recent, width));
            }
            row(area, line, Line::default(), frame);
        }
        Density::Wide => render_panel(app, areas, area, &recent, frame),
    }
}

/// `step 396 ms  data 1 %  forward 36 %` and so on, as far as there is room.
fn parts(app: &App, recent: &Breakdown, gap: &'static str, with_glyphs: bool, width: usize) -> Line<'static> {
    let theme = app.ui.theme;
    let mut line = Line::from(vec![Span::styled("step ", theme.faint()), Span::raw(step_millis(recent))]);
    for &part in recent.parts() {
        let mut told = Line::from(gap);
        if with_glyphs {
            told.push_span(Span::styled(format!("{} ", glyph(part)), theme.part(part)));
        }
        told.push_span(Span::styled(format!("{} ", part.name()), theme.faint()));
        told.push_span(percent(recent.share(part)));
        if line.width() + told.width() > width {
            break;
        }
        line.extend(told);
    }
    line
}

fn stacked_bar(app: &App, recent: &Breakdown, width: usize) -> Vec<Span<'static>> {
    let (mut share, mut end) = (0.0, 0);
    let segments = recent.parts().iter().map(|&part| {
        share += recent.share(part);
        let start = end;
        // Rounded where it ends, so that all of them fill the width.
        end = ((width as f64 * share / 100.0).round() as usize).min(width);
        Span::styled(glyph(part).repeat(end - start), app.ui.theme.part(part))
    });
    segments.collect()
}

fn render_panel(app: &App, areas: &Areas, area: Rect, recent: &Breakdown, frame: &mut Frame) {
    let theme = app.ui.theme;
    let note = Line::from(vec![Span::raw(step_millis(recent)), Span::styled(" a step", theme.faint())]);
    let inner = panel(app, areas, area, None, "Step Time", note, frame);
    let bar_width = f64::from(inner.width.saturating_sub(FIGURES_WIDTH));
    let steps = recent.steps;
    // Where there is an exchange, what remains has no room.
    let told = recent.parts().iter().take(Part::OF_ONE_PROCESS.len());
    let mut rows: Vec<Row> = told
        .map(|&part| {
            let share = recent.share(part);
            let whole_run = app.run.step_time().map_or(String::new(), |all| percent(all.share(part)));
            let bar = glyph(part).repeat((bar_width * share / 100.0).round() as usize);
            Row::new([
                Line::raw(part.name()),
                Line::raw(format::millis(recent.secs(part) / steps)).right_aligned(),
                Line::raw(percent(share)).right_aligned(),
                Line::styled(whole_run, theme.faint()).right_aligned(),
                Line::styled(bar, theme.part(part)),
            ])
        })
        .collect();
    // Probes run between steps: their share is of all the time.
    if let Some(share) = app.run.probe_share() {
        let share = Line::styled(small_percent(share), theme.faint()).right_aligned();
        rows.push(Row::new([Line::raw("probes"), Line::default(), Line::default(), share]));
    }
    let heading = Row::new([
        Line::raw("part"),
        Line::raw("a step").right_aligned(),
        Line::raw("share").right_aligned(),
        Line::raw("whole run").right_aligned(),
    ]);
    let widths = [9, 9, 6, 9].map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]);
    frame.render_widget(Table::new(rows, widths).header(heading.style(theme.faint())).column_spacing(2), inner);
}

fn step_millis(steps: &Breakdown) -> String {
    steps.secs_per_step().map_or("–".to_owned(), format::millis)
}

fn percent(share: f64) -> String {
    format!("{share:.0} %")
}

/// For shares that are mostly below one percent.
fn small_percent(share: f64) -> String {
    format!("{share:.1} %")
}

/// Distinguishes the parts of a bar without colours.
fn glyph(part: Part) -> &'static str {
    match part {
        Part::Data => "█",
        Part::Forward => "▓",
        Part::Backward => "▒",
        Part::Exchange => "▚",
        Part::Optimizer => "░",
        Part::Other => "·",
    }
}
