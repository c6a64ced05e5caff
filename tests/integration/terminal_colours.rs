//! Colours and characters in real pseudo-terminals: with a white background, without UTF-8, and as asked for.

use crate::binary::{Dir, Kind, TINY, Terminal, eventually};

/// Of training, on a light background and on a dark one.
const LIGHT_TRAIN: &[u8] = b"38;2;0;114;178";
const DARK_TRAIN: &[u8] = b"38;2;111;219;255";

fn finished(dir: &Dir) {
    let args = ["train", "--no-tui", "--name", "done", "--epochs", "1"];
    dir.command(args.into_iter().chain(TINY)).succeed();
}

fn has(terminal: &Terminal, part: &[u8]) -> bool {
    terminal.received().windows(part.len()).any(|window| window == part)
}

fn attach(dir: &Dir, kind: Kind, options: &[&str]) -> Terminal {
    let terminal = dir.terminal_of(kind, ["attach", "done"].iter().chain(options));
    terminal.wait_for("completed");
    terminal.wait_for("Epochs");
    terminal
}

#[test]
fn a_light_terminal_gets_colours_for_a_light_background() {
    let dir = Dir::new();
    finished(&dir);
    let light = attach(&dir, Kind::Light, &[]);
    assert!(has(&light, LIGHT_TRAIN) && !has(&light, DARK_TRAIN));
    let dark = attach(&dir, Kind::TrueColour, &[]);
    assert!(has(&dark, DARK_TRAIN) && !has(&dark, LIGHT_TRAIN));
    let as_asked = attach(&dir, Kind::Light, &["--theme", "dark"]);
    assert!(has(&as_asked, DARK_TRAIN) && !has(&as_asked, b"\x1b]11;?"), "and is not asked");
    let plain = attach(&dir, Kind::Light, &["--theme", "plain"]);
    assert!(!has(&plain, b"38;2;") && !has(&plain, b"38;5;"));
}

#[test]
fn a_terminal_without_utf8_gets_ascii() {
    let dir = Dir::new();
    finished(&dir);
    let mut terminal = attach(&dir, Kind::Latin1, &[]);
    terminal.wait_for("v completed");
    // An image is of more than one character, and of none that a half block would become.
    terminal.keys("i");
    terminal.wait_for("1 of 1, newest");
    eventually("an image", || {
        let shown = terminal.contents();
        let has = |char: char| shown.matches(char).count() > 20;
        ([':', '=', '*', '%'].iter().filter(|char| has(**char)).count() >= 2 && !shown.contains("^^^^")).then_some(())
    });
    terminal.keys("q");
    assert!(terminal.wait().success());
    let received = terminal.received();
    // What is asked has a character of two bytes; the question and its answer come before the first frame.
    let begin = b"\x1b[?2026h";
    let first = received.windows(begin.len()).position(|window| window == begin).expect("a frame");
    let frames = &received[first..];
    assert!(frames.is_ascii(), "{}", String::from_utf8_lossy(frames));
}

#[test]
fn doctor_says_which_colours_and_characters_and_why() {
    let dir = Dir::new();
    for (kind, options, said) in [
        (Kind::Light, &[][..], "light, in true colour: the terminal's background is #ffffff"),
        (Kind::Light, &["--theme", "dark"], "dark, in true colour: as asked"),
        (Kind::Plain, &[], "dark, in 256 colours: the terminal does not say its background"),
        (Kind::Plain, &[], "UTF-8, by the locale"),
        (Kind::Latin1, &[], "ASCII: the terminal does not take UTF-8"),
    ] {
        let mut terminal = dir.terminal_of(kind, ["doctor"].iter().chain(options));
        terminal.wait_for(said);
        assert!(terminal.wait().success());
    }
}
