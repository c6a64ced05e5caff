//! Images inside tmux, by kitty's Unicode placeholders, and past it by iTerm2's images: a pane whose `tmux` is a script,
//! outside of which a kitty answers.

use std::collections::HashMap;

use taper::run::event::Event;

use crate::binary::{Dir, Kind, TINY, Terminal, eventually, passed_through, wait_for_event};
use crate::terminal_images::from_base64;

const PASSTHROUGH: &[u8] = b"\x1bPtmux;";
const PLACEHOLDER: char = '\u{10eeee}';
/// Where rows and columns are numbered, the first combining characters of kitty's list.
const FIRST_MARKS: [char; 4] = ['\u{305}', '\u{30d}', '\u{30e}', '\u{310}'];

const HERE: &str = "pane|3.3a|1|@1|1|0\n";
const HIDDEN: &str = "pane|3.3a|1|@9|1|0\n";
const CLOSED: &str = "pane|3.3a|0|@1|1|0\n";
const KITTY: &str = "client|/dev/pts/1|1|1700|@1|bpaste,RGB|xterm-kitty|kitty(0.41.1)\n";
const OTHER_KITTY: &str = "client|/dev/pts/2|1|1800|@1|bpaste,RGB|xterm-kitty|kitty(0.41.1)\n";
const XTERM: &str = "client|/dev/pts/3|1|1900|@1|256|xterm-256color|XTerm(379)\n";

/// A finished run with three epochs, each with its probe, on its page of images.
fn attach(dir: &Dir, pane: &[&str], options: &[&str]) -> Terminal {
    let args = ["train", "--no-tui", "--name", "done", "--epochs", "3"];
    dir.command(args.into_iter().chain(TINY)).succeed();
    dir.tmux_answers(&pane.concat());
    let mut terminal = dir.terminal_of(Kind::TmuxInKitty, ["attach", "done"].iter().chain(options));
    terminal.wait_for("✓ completed");
    terminal.keys("i");
    terminal.wait_for("3 of 3, newest");
    terminal
}

/// What kitty was told, past tmux.
fn passed_on(received: &[u8]) -> Vec<u8> {
    let starts = received.windows(PASSTHROUGH.len()).enumerate().filter(|(_, window)| *window == PASSTHROUGH);
    starts.filter_map(|(start, _)| Some(passed_through(&received[start + PASSTHROUGH.len()..])?.0)).flatten().collect()
}

/// An image that kitty has.
#[derive(Debug)]
struct Known {
    columns: usize,
    rows: usize,
    pixels: (u32, u32),
}

/// By number.
fn images(terminal: &Terminal) -> HashMap<u32, Known> {
    let (mut images, mut data, mut keys) = (HashMap::new(), String::new(), HashMap::new());
    let told = String::from_utf8(passed_on(&terminal.received())).expect("text");
    for command in told.split("\x1b_G").skip(1).map(|rest| rest.split("\x1b\\").next().unwrap()) {
        let (control, payload) = command.split_once(';').unwrap_or((command, ""));
        let pairs: HashMap<&str, &str> = control.split(',').filter_map(|pair| pair.split_once('=')).collect();
        let number = |keys: &HashMap<&str, &str>, key: &str| keys[key].parse::<u32>().unwrap();
        match pairs.get("a") {
            Some(&"q") => continue,
            Some(&"d") => {
                assert_eq!(pairs["d"], "I", "not the images of others");
                images.remove(&number(&pairs, "i"));
                continue;
            }
            Some(&"T") => {
                assert_eq!((pairs["U"], pairs["f"], pairs["q"]), ("1", "100", "2"));
                keys = pairs.clone();
            }
            _ => {}
        }
        assert!(payload.len() <= 4096);
        data.push_str(payload);
        if pairs["m"] == "0" {
            let png = from_base64(&std::mem::take(&mut data));
            let image = image::load_from_memory(&png).expect("a PNG");
            let known = Known {
                columns: number(&keys, "c") as usize,
                rows: number(&keys, "r") as usize,
                pixels: (image.width(), image.height()),
            };
            images.insert(number(&keys, "i"), known);
        }
    }
    images
}

/// The images that cells of the screen stand for, by number. `None` while not all cells of each are there, in their places:
/// a frame may be under way.
fn shown(terminal: &Terminal) -> Option<Vec<u32>> {
    let images = images(terminal);
    let mut cells: HashMap<u32, Vec<(usize, usize, Vec<char>)>> = HashMap::new();
    for (row, column, text, colour) in terminal.cells() {
        let mut chars = text.chars();
        if chars.next() == Some(PLACEHOLDER) {
            let vt100::Color::Idx(colour) = colour else { panic!("no number: {colour:?}") };
            let number = images.keys().find(|&&number| number & 0xff == u32::from(colour))?;
            cells.entry(*number).or_default().push((row, column, chars.collect()));
        }
    }
    for (number, cells) in &cells {
        let Known { columns, rows, .. } = images[number];
        let top = cells.iter().map(|(row, ..)| *row).min().expect("a cell");
        let left = cells.iter().map(|(_, column, _)| *column).min().expect("a cell");
        if cells.len() != columns * rows {
            return None;
        }
        // The same number is the same mark, of a row and of a column.
        let mut marks: HashMap<usize, char> = FIRST_MARKS.into_iter().enumerate().collect();
        for (row, column, text) in cells {
            let [of_row, of_column, _] = text[..] else { panic!("{text:?}") };
            if *marks.entry(row - top).or_insert(of_row) != of_row
                || *marks.entry(column - left).or_insert(of_column) != of_column
            {
                return None;
            }
        }
    }
    let mut numbers: Vec<u32> = cells.into_keys().collect();
    numbers.sort_unstable();
    Some(numbers)
}

/// Waits until the screen shows so many images.
fn wait_for_shown(terminal: &Terminal, count: usize) -> Vec<u32> {
    eventually("images are shown", || shown(terminal).filter(|numbers| numbers.len() == count))
}

/// How many images have cells.
fn placeholders_of(terminal: &Terminal) -> usize {
    let mut colours: Vec<String> = terminal
        .cells()
        .into_iter()
        .filter(|(.., text, _)| text.starts_with(PLACEHOLDER))
        .map(|(.., colour)| format!("{colour:?}"))
        .collect();
    colours.sort();
    colours.dedup();
    colours.len()
}

#[test]
fn kitty_outside_tmux_shows_images_and_is_left_without_any() {
    let dir = Dir::new();
    let mut terminal = attach(&dir, &[HERE, KITTY], &[]);
    let first = wait_for_shown(&terminal, 2);
    assert!(images(&terminal).values().all(|image| image.pixels == (64, 64)), "native: the terminal scales them");
    // A colour bar is of cells.
    let half_blocks = terminal.contents().lines().map(|line| line.matches('▀').count()).max();
    assert!(half_blocks <= Some(4), "{half_blocks:?}");
    terminal.keys("n");
    terminal.wait_for("image 2/8");
    eventually("other images", || shown(&terminal).filter(|now| now.len() == 2 && *now != first));
    // Back, nothing is sent again.
    let sent = images(&terminal).len();
    terminal.keys("N");
    eventually("the same images", || shown(&terminal).filter(|now| *now == first));
    assert_eq!(images(&terminal).len(), sent);
    terminal.keys("?");
    terminal.wait_for("this help");
    terminal.keys("?q");
    assert!(terminal.wait().success());
    terminal.wait_for("Run done: completed");
    assert!(images(&terminal).is_empty(), "kitty keeps images");
    assert!(!terminal.contents().contains(PLACEHOLDER));
}

#[test]
fn without_passthrough_there_are_cells_and_one_line_of_advice() {
    const ADVICE: &str = "tmux set -p allow-passthrough on";
    let dir = Dir::new();
    let mut terminal = attach(&dir, &[CLOSED, KITTY], &[]);
    terminal.wait_for("▀▀▀▀▀▀▀▀");
    assert!(passed_on(&terminal.received()).is_empty());
    terminal.keys("?");
    terminal.wait_for(ADVICE);
    terminal.keys("?");
    let doctor = dir.terminal_of(Kind::TmuxInKitty, ["doctor"]);
    doctor.wait_for(ADVICE);
    doctor.wait_for("true colour");
    // Turned on, it is noticed.
    dir.tmux_answers(&[HERE, KITTY].concat());
    wait_for_shown(&terminal, 2);
    terminal.keys("?");
    terminal.wait_for("this help");
    assert!(!terminal.contents().contains(ADVICE));
}

#[test]
fn nothing_is_sent_while_the_pane_is_hidden() {
    let dir = Dir::new();
    let run = dir.start("far");
    dir.tmux_answers(&[HERE, KITTY].concat());
    let mut terminal = dir.terminal_of(Kind::TmuxInKitty, ["attach", "far"]);
    terminal.wait_for("● training");
    terminal.keys("iP");
    wait_for_event(&run, "a probe", |event| matches!(event, Event::ProbeSaved(_)).then_some(()));
    eventually("images are shown", || (placeholders_of(&terminal) > 0).then_some(()));
    dir.tmux_answers(&[HIDDEN, KITTY].concat());
    // An image that was not shown before.
    terminal.keys("n");
    terminal.wait_for("image 2/8");
    eventually("the cells are left", || (placeholders_of(&terminal) == 0).then_some(()));
    dir.tmux_answers(&[HERE, KITTY].concat());
    eventually("images are shown", || (placeholders_of(&terminal) > 0).then_some(()));
}

#[test]
fn another_terminal_is_noticed() {
    let dir = Dir::new();
    let terminal = attach(&dir, &[HERE, KITTY], &[]);
    wait_for_shown(&terminal, 2);
    dir.tmux_answers(&[HERE, XTERM].concat());
    terminal.wait_for("▀▀▀▀▀▀▀▀");
    eventually("no cell is left", || (placeholders_of(&terminal) == 0).then_some(()));
    let before = images(&terminal).len();
    dir.tmux_answers(&[HERE, OTHER_KITTY].concat());
    wait_for_shown(&terminal, 2);
    assert_eq!(images(&terminal).len(), before + 2, "sent once more");
}

#[test]
fn iterm_images_are_drawn_past_tmux_where_the_pane_is() {
    // It gets no keys, and so no answers: tmux tells what is outside.
    const PANE: &str = "pane|3.3a|1|@1|0|0\n";
    const ITERM: &str =
        "client|/dev/pts/1|1|1700|@1|bpaste,RGB|xterm-256color|iTerm2 3.5.4\non|@1|0|on|top|0|/dev/pts/1\n";
    let place = |left: u16| format!("place|@1|{left}|5|120|40|0|0|0||layout\n");
    let dir = Dir::new();
    let terminal = attach(&dir, &[PANE, ITERM, &place(41)], &[]);
    let columns = |terminal: &Terminal| -> Vec<u16> {
        let told = String::from_utf8(passed_on(&terminal.received())).expect("text");
        let images = told.split("\x1b[?69l\x1b[r\x1b[").skip(1);
        images
            .map(|image| {
                let (corner, file) = image.split_once("H\x1b]1337;File=inline=1;").expect("an image");
                let (_, data) = file.split_once(':').expect("data");
                image::load_from_memory(&from_base64(data.trim_end_matches('\x07'))).expect("a PNG");
                corner.split_once(';').expect("row and column").1.parse().expect("a number")
            })
            .collect()
    };
    let first = eventually("images are drawn", || Some(columns(&terminal)).filter(|all| all.len() == 2));
    assert!(first.iter().all(|&column| column > 41), "{first:?}");
    assert!(!terminal.contents().contains("▀▀▀▀▀▀▀▀"));
    dir.tmux_answers(&[PANE, ITERM, &place(0)].concat());
    let all = eventually("they are drawn again", || Some(columns(&terminal)).filter(|all| all.len() == 4));
    assert_eq!(all[2..], [first[0] - 41, first[1] - 41]);
    // Another terminal besides.
    dir.tmux_answers(&[PANE, ITERM, XTERM, &place(0)].concat());
    terminal.wait_for("▀▀▀▀▀▀▀▀");
}

#[test]
fn a_tmux_that_does_not_know_its_pane_gives_cells() {
    let dir = Dir::new();
    let terminal = attach(&dir, &["no server running on /tmp/tmux-0/default\n"], &["--images", "kitty"]);
    terminal.wait_for("▀▀▀▀▀▀▀▀");
    assert!(passed_on(&terminal.received()).is_empty());
}
