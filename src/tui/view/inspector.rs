//! What the network sees in an image, when: a panel beside the charts, or a page.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::panel::{Panel, panel};
use super::tile::{slots_with_bars, tile};
use super::{gates, probabilities};
use crate::format;
use crate::render::figures::class_name;
use crate::run::probe::Probe;
use crate::run::state::Phase;
use crate::terminal_image::{ImageBackend, Placed};
use crate::tui::app::App;
use crate::tui::inspector::{Confused, Moment, Subject, Tile};
use crate::tui::layout::{Areas, PanelName, Region, place};

pub const IMAGES_ARE_OFF: &str = "Images are off (--images off).";

/// Beside the charts.
pub static PANEL: Panel = Panel {
    name: PanelName("inspector"),
    places: [None, None, place(Region::Beside, Constraint::Fill(1))],
    is_shown: |app| app.ui.backend != ImageBackend::Nothing,
    scrolling: None,
    chart: None,
    rows: None,
    render: render_in,
};

/// With a frame, in `area`.
pub fn render_in(app: &App, areas: &Areas, area: Rect, frame: &mut Frame, placed: &mut Vec<Placed>) {
    let inner = panel(app, areas, area, None, &app.ui.inspector.title(), position(app), frame);
    if let Some(why) = why_not(app) {
        let text = Paragraph::new(Line::styled(why, app.ui.theme.faint())).wrap(Wrap { trim: true });
        return frame.render_widget(text, inner);
    }
    let gates = app.ui.inspector.channel_attention();
    let gates_rows = if gates.is_some() { gates::ROWS } else { 0 };
    let [heading, rest, gates_area] =
        Layout::vertical([Constraint::Length(2), Constraint::Fill(1), Constraint::Length(gates_rows)]).areas(inner);
    frame.render_widget(Paragraph::new(heading_lines(app)), heading);
    let tiles = app.ui.inspector.tiles();
    let (images, probabilities_area) = match app.ui.inspector.probabilities() {
        Some(classes) => probabilities::beside(rest, classes.len(), |images| largest(app, tiles, images)),
        None => (rest, Rect::ZERO),
    };
    for (shown, slot) in tiles.iter().zip(slots_with_bars(app, tiles, images)) {
        tile(app, shown, slot, app.ui.theme.faint(), frame, placed);
    }
    probabilities::render(app, probabilities_area, frame);
    if let Some((layer, gates)) = gates {
        gates::render(app, layer, gates, gates_area, frame);
    }
}

/// The height of the images in that area.
fn largest(app: &App, tiles: &[Tile], area: Rect) -> u16 {
    slots_with_bars(app, tiles, area).first().map_or(0, |slot| slot.image.height)
}

/// Why there is nothing to see.
fn why_not(app: &App) -> Option<String> {
    let inspector = &app.ui.inspector;
    if app.ui.backend == ImageBackend::Nothing {
        return Some(IMAGES_ARE_OFF.to_owned());
    }
    if app.run.probes.is_empty() {
        let yet = "No probe yet: the trainer saves one after every epoch, unless probe.every says otherwise. \
                   P asks for one now.";
        return Some(no_probe_line(app, "probe", yet));
    }
    not_loaded(app).or_else(|| inspector.image().is_none().then(|| "This probe has no such image.".to_owned()))
}

/// Of a run that may still save such a probe, `yet`.
pub fn no_probe_line(app: &App, kind: &str, yet: &str) -> String {
    if let Some(trainer) = app.run.other_trainer() {
        return format!("There is nothing to look at: {trainer} saves no probes.");
    }
    match matches!(app.run.phase, Phase::Ended(_)) || app.trainer_died() {
        true => format!(
            "This run has saved no {kind}: there is nothing to look at. taper explain looks into its checkpoints."
        ),
        false => yet.to_owned(),
    }
}

/// Why the probe is not there, if it is not.
pub fn not_loaded(app: &App) -> Option<String> {
    match app.ui.inspector.loaded() {
        None => Some("Reading the probe…".to_owned()),
        Some(loaded) => loaded.probe.as_ref().err().cloned(),
    }
}

/// Which probe of how many: `14 of 14, newest`.
fn position(app: &App) -> Line<'static> {
    let inspector = &app.ui.inspector;
    let Some(number) = app.inspected_probe() else { return Line::default() };
    let following = if inspector.moment == Moment::Newest { ", newest" } else { "" };
    let text = format!("{} of {}{following}", number + 1, app.run.probes.len());
    Line::styled(text, app.ui.theme.faint())
}

/// When, which image, and what the network takes it for.
fn heading_lines(app: &App) -> Vec<Line<'static>> {
    let inspector = &app.ui.inspector;
    let (Some(probe), Some((image, number, count))) = (inspector.probe(), inspector.image()) else { return vec![] };
    let kind = match inspector.subject {
        Subject::Pinned(_) => "image",
        Subject::Mistake(_) => "mistake",
    };
    let when = format!("{}/{count}", number + 1);
    let explanation = &image.explanation;
    let confused = Confused { true_class: image.true_class, predicted_class: explanation.predicted() };
    vec![when_line(app, probe, kind, when), classes_line(app, image.index, confused, explanation.confidence())]
}

fn when_line(app: &App, probe: &Probe, kind: &str, number: String) -> Line<'static> {
    let theme = app.ui.theme;
    Line::from(vec![
        Span::styled("epoch ", theme.faint()),
        Span::styled(probe.epoch.to_string(), theme.strong()),
        Span::styled("  step ", theme.faint()),
        Span::raw(format::count(probe.step)),
        Span::styled(format!("  {kind} "), theme.faint()),
        Span::raw(number),
    ])
}

/// What an image is, by its number, and what the network takes it for, and how surely.
pub fn classes_line(app: &App, index: usize, confused: Confused, confidence: f32) -> Line<'static> {
    let theme = app.ui.theme;
    let Confused { true_class, predicted_class } = confused;
    let name = |class| class_name(app.ui.inspector.classes(), class);
    let (mark, style) = if predicted_class == true_class { ("✓", theme.best()) } else { ("✗", theme.alarm()) };
    Line::from(vec![
        Span::styled(format!("{} image ", app.run.judged_by()), theme.faint()),
        Span::raw(index.to_string()),
        Span::styled("  true ", theme.faint()),
        Span::raw(name(true_class)),
        Span::styled("  predicted ", theme.faint()),
        Span::styled(format!("{} {:.1} % {mark}", name(predicted_class), 100.0 * confidence), style),
    ])
}
