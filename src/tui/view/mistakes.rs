//! The gallery of mistakes: the most confident wrong test images after an epoch, all of them or those of one cell of the
//! confusion matrix.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::inspector::{IMAGES_ARE_OFF, classes_line, no_probe_line, not_loaded};
use super::panel::panel;
use super::tile::tile;
use crate::format;
use crate::render::figures::class_name;
use crate::terminal_image::{ImageBackend, Placed};
use crate::text;
use crate::tui::app::App;
use crate::tui::inspector::{Confused, Mistake, Tile};
use crate::tui::layout::Areas;
use crate::tui::layout::grid::{Slot, slots};

pub fn render(app: &App, areas: &Areas, frame: &mut Frame, placed: &mut Vec<Placed>) {
    let theme = app.ui.theme;
    let inspector = &app.ui.inspector;
    let kind = match inspector.only {
        Some(only) => format!("Mistakes {}", pair(app, only)),
        None => "Most Confident Mistakes".to_owned(),
    };
    let title = match inspector.probe() {
        Some(probe) => format!("{kind} After Epoch {}", probe.epoch),
        None => kind,
    };
    let chosen = inspector.chosen_in_gallery();
    let note = match inspector.gallery().count() {
        0 => Line::default(),
        count => Line::styled(format!("{} of {count}", chosen + 1), theme.faint()),
    };
    let inner = panel(app, areas, areas.page(), None, &title, note, frame);
    if let Some(why) = why_not(app) {
        return frame.render_widget(Paragraph::new(Line::styled(why, theme.faint())).wrap(Wrap { trim: true }), inner);
    }
    if let Some((_, mistake)) = inspector.gallery().nth(chosen) {
        let mut line = classes_line(app, mistake.index, mistake.confused, mistake.confidence);
        if let Some(which) = inspector.only.and_then(|only| which_of(app, only)) {
            line.push_span(Span::styled(format!("  {which}"), theme.faint()));
        }
        frame.render_widget(line, Rect { height: 1, ..inner });
    }
    for (place, ((_, mistake), slot)) in inspector.gallery().zip(arranged(app, inner)).enumerate() {
        let is_chosen = place == chosen;
        let width = usize::from(slot.caption.width);
        let caption = match is_chosen {
            true => format!("▸{}", caption(app, mistake, width.saturating_sub(1))),
            false => caption(app, mistake, width),
        };
        let shown = Tile { caption, ..mistake.tile.clone() };
        tile(app, &shown, slot, if is_chosen { theme.strong() } else { theme.faint() }, frame, placed);
    }
}

/// The slots of the gallery, under a line about the chosen mistake; `area` is without the frame.
pub fn arranged(app: &App, area: Rect) -> Vec<Slot> {
    let area = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    slots(area, app.ui.inspector.gallery().count(), 0, app.ui.cell)
}

/// `deer → horse`
fn pair(app: &App, only: Confused) -> String {
    let [truth, predicted] =
        [only.true_class, only.predicted_class].map(|class| class_name(app.ui.inspector.classes(), class));
    format!("{truth} → {predicted}")
}

/// How many images of these the gallery has, of how many there are.
fn which_of(app: &App, only: Confused) -> Option<String> {
    let step = app.ui.inspector.probe()?.step;
    let epoch = app.run.epochs.iter().find(|epoch| epoch.step == step)?;
    let confusion = epoch.confusion.as_ref()?;
    let is_known = only.true_class.max(only.predicted_class) < confusion.classes();
    let all = is_known.then(|| confusion.count(only.true_class, only.predicted_class))?;
    let shown = app.ui.inspector.gallery().count() as u64;
    (shown < all).then(|| format!("the {shown} most confident of {}", format::count(all)))
}

/// `deer → horse 98 %`, or as much of it as there is room for: the names first.
fn caption(app: &App, mistake: &Mistake, width: usize) -> String {
    let Confused { true_class, predicted_class } = mistake.confused;
    let names = [true_class, predicted_class].map(|class| class_name(app.ui.inspector.classes(), class));
    shortened(&mistake.tile.caption, &names, 100.0 * mistake.confidence, width)
}

fn shortened(whole: &str, names: &[String; 2], percent: f32, width: usize) -> String {
    /// With fewer, the names say more without the percentage.
    const LETTERS_BESIDE_PERCENT: usize = 4;
    const FEWEST_LETTERS: usize = 2;
    if text::width(whole) <= width {
        return whole.to_owned();
    }
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let cut = |letters: usize, percent: &str| {
        let [truth, predicted] = names.each_ref().map(|name| name.chars().take(letters).collect::<String>());
        format!("{truth}→{predicted}{percent}")
    };
    let percent = format!(" {percent:.0}%");
    let with_percent = (LETTERS_BESIDE_PERCENT.min(longest)..=longest).rev().map(|letters| cut(letters, &percent));
    let names_alone = (FEWEST_LETTERS..=longest).rev().map(|letters| cut(letters, ""));
    let fitting = with_percent.chain(names_alone).find(|text| text::width(text) <= width);
    fitting.unwrap_or_else(|| cut(FEWEST_LETTERS, ""))
}

fn why_not(app: &App) -> Option<String> {
    if app.ui.backend == ImageBackend::Nothing {
        return Some(IMAGES_ARE_OFF.to_owned());
    }
    if app.last_with_mistakes(&app.run.probes).is_none() {
        let yet = "No epoch has a probe yet: the mistakes come with the first.";
        return Some(no_probe_line(app, "probe of an epoch", yet));
    }
    let inspector = &app.ui.inspector;
    let has_none = || inspector.gallery().next().is_none();
    let none = || match (inspector.only, inspector.probe()) {
        (Some(only), Some(probe)) if !probe.mistakes.is_empty() => {
            format!("The probe of epoch {} has no image {}.", probe.epoch, pair(app, only))
        }
        _ => "No mistakes are known here.".to_owned(),
    };
    not_loaded(app).or_else(|| has_none().then(none))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_classes_stay_in_a_caption_that_is_cut() {
        let names = ["automobile", "ship"].map(str::to_owned);
        let whole = "automobile → ship 98 %";
        let cases = [
            (22, whole),
            (21, "automobile→ship 98%"),
            (13, "auto→ship 98%"),
            (12, "automob→ship"),
            (9, "auto→ship"),
            (4, "au→sh"),
        ];
        for (width, text) in cases {
            assert_eq!(shortened(whole, &names, 98.2, width), text);
        }
    }
}
