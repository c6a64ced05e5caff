//! The screen, one panel or page a file. They draw what `App` says, no more.

pub(super) mod alarms;
mod batch_loss;
pub(super) mod chart_page;
pub(super) mod charts;
mod checkpoints;
pub(super) mod classes;
mod colour_bar;
pub(super) mod configuration;
mod confirm;
mod curves;
mod enter_learning_rate;
mod epochs;
mod events;
mod find_class;
mod footer;
mod gates;
mod header;
pub(super) mod help;
mod image;
mod inspector;
mod learning_rate;
mod log;
pub(super) mod mistakes;
mod notices;
pub(super) mod panel;
pub(super) mod panels;
pub(super) mod parts;
mod probabilities;
pub(super) mod selection;
mod small;
pub(super) mod sparkline;
mod step_time;
mod system;
pub(super) mod table;
mod tile;
mod too_small;

use ratatui::Frame;

use self::panels::PANELS;
use super::app::App;
use super::app::screens::Screen;
use super::layout::Region;
use crate::terminal_image::Placed;

/// Draws the dashboard; returns the images that the terminal is to draw, for which it has left room.
pub fn render(app: &App, frame: &mut Frame) -> Vec<Placed> {
    let screen = frame.area();
    let mut placed = vec![];
    let Some(areas) = panels::areas(app, screen) else {
        small::render(app, screen, frame, &mut placed);
        return placed;
    };
    header::render(app, &areas, frame);
    notices::render(app, &areas, frame);
    let (top, page) = (app.ui.screens.top(), app.ui.screens.page());
    for (number, panel) in PANELS.iter().enumerate() {
        let area = areas.panel(number);
        let is_line = panel.places[areas.density as usize].is_some_and(|place| place.region == Region::Line);
        if !area.is_empty() && (is_line || page == Screen::Dashboard) {
            (panel.render)(app, &areas, area, frame, &mut placed);
            selection::render(app, &areas, panel, area, frame);
        }
    }
    match page {
        Screen::Inspector => inspector::render_in(app, &areas, areas.page(), frame, &mut placed),
        Screen::Mistakes => mistakes::render(app, &areas, frame, &mut placed),
        Screen::Classes => classes::render(app, &areas, frame),
        Screen::System => system::render_in(app, &areas, areas.page(), frame),
        Screen::Chart => chart_page::render(app, &areas, frame),
        Screen::Log => log::render(app, &areas, frame),
        Screen::Configuration => configuration::render(app, &areas, frame),
        Screen::Dashboard
        | Screen::Help
        | Screen::Alarms
        | Screen::Diverged
        | Screen::ConfirmStop
        | Screen::EnterLearningRate
        | Screen::FindClass => {}
    }
    footer::render(app, &areas, frame);
    match top {
        Screen::Dashboard | Screen::Diverged => {}
        Screen::Inspector
        | Screen::Mistakes
        | Screen::Classes
        | Screen::System
        | Screen::Chart
        | Screen::Log
        | Screen::Configuration => {
            events::render_message(app, areas.message(), frame);
        }
        Screen::Alarms => alarms::render(app, screen, frame),
        Screen::Help => help::render(app, screen, frame),
        Screen::ConfirmStop => confirm::render(app, screen, frame),
        Screen::EnterLearningRate => enter_learning_rate::render(app, screen, frame),
        Screen::FindClass => find_class::render(app, screen, frame),
    }
    if top != page {
        // They would lie over what lies over the page.
        placed.clear();
    }
    placed
}
