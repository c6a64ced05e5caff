//! Pictures in real pseudo-terminals that answer like kitty, like xterm with sixel, like a plain terminal, or not at all.

use taper::run::event::{Command, Event};

use crate::binary::{Dir, Kind, TINY, Terminal, eventually, wait_for_event};

const BEGIN_FRAME: &[u8] = b"\x1b[?2026h";
const END_FRAME: &[u8] = b"\x1b[?2026l";
const KITTY_PICTURE: &[u8] = b"\x1b_Gf=32,a=T,";
const KITTY_DELETE: &[u8] = b"\x1b_Ga=d,";
const SIXEL_PICTURE: &[u8] = b"\x1bP";
/// What the issue allows a refresh over a slow link.
const MOST_BYTES: usize = 60_000;

/// A finished run with three epochs, each with its probe, on its page of pictures.
fn attach(dir: &Dir, kind: Kind, options: &[&str]) -> Terminal {
    let attention = ["--set", "model.attention=non-local"];
    let args = ["train", "--no-tui", "--name", "done", "--epochs", "3"];
    dir.command(args.into_iter().chain(TINY).chain(attention)).succeed();
    let mut terminal = dir.terminal_of(kind, ["attach", "done"].iter().chain(options));
    terminal.wait_for("✓ completed");
    terminal.keys("i");
    terminal.wait_for("3 of 3, newest");
    terminal
}

fn places(bytes: &[u8], part: &[u8]) -> Vec<usize> {
    bytes.windows(part.len()).enumerate().filter(|(_, window)| *window == part).map(|(place, _)| place).collect()
}

fn count(terminal: &Terminal, part: &[u8]) -> usize {
    places(&terminal.received(), part).len()
}

/// Waits until so many pictures were drawn since `before`, in whole frames.
fn wait_for_pictures(terminal: &Terminal, part: &[u8], more_than: usize) {
    eventually("pictures are drawn", || {
        let received = terminal.received();
        let drawn = places(&received, part).len() > more_than;
        (drawn && places(&received, BEGIN_FRAME).len() == places(&received, END_FRAME).len()).then_some(())
    });
}

#[test]
fn kitty_shows_pictures_and_is_left_without_any() {
    let dir = Dir::new();
    let mut terminal = attach(&dir, Kind::Kitty, &[]);
    wait_for_pictures(&terminal, KITTY_PICTURE, 1);
    for key in ["v", "v", "1", "n", "["] {
        let before = count(&terminal, KITTY_PICTURE);
        terminal.keys(key);
        wait_for_pictures(&terminal, KITTY_PICTURE, before);
    }
    terminal.wait_for("2 of 3");
    // Under what lies over the page there are none.
    let deleted = count(&terminal, KITTY_DELETE);
    terminal.keys("?");
    terminal.wait_for("this help");
    wait_for_pictures(&terminal, KITTY_DELETE, deleted);
    terminal.keys("?q");
    assert!(terminal.wait().success());
    terminal.wait_for("Run done: completed");
    let received = terminal.received();
    assert!(places(&received, KITTY_DELETE).last() > places(&received, KITTY_PICTURE).last(), "pictures are left");
    assert!(places(&received, b"a=T,t=t").is_empty(), "a picture by a file, for which viuer waits for a reply");
}

#[test]
fn every_refresh_of_kitty_fits_a_slow_link_and_none_comes_without_a_change() {
    let dir = Dir::new();
    let mut terminal = attach(&dir, Kind::Kitty, &[]);
    wait_for_pictures(&terminal, KITTY_PICTURE, 1);
    let drawn = count(&terminal, KITTY_PICTURE);
    // A frame without another picture.
    terminal.keys("s");
    terminal.wait_for("the run has ended");
    assert_eq!(count(&terminal, KITTY_PICTURE), drawn);
    for key in ["v", "v", "1", "z"] {
        let before = count(&terminal, KITTY_PICTURE);
        terminal.keys(key);
        wait_for_pictures(&terminal, KITTY_PICTURE, before);
    }
    let received = terminal.received();
    let frames = places(&received, BEGIN_FRAME).into_iter().zip(places(&received, END_FRAME));
    let greatest = frames.map(|(begin, end)| end - begin).max().unwrap();
    assert!((10_000..MOST_BYTES).contains(&greatest), "{greatest} bytes");
}

#[test]
fn no_key_is_lost_while_pictures_are_drawn() {
    let dir = Dir::new();
    let mut terminal = attach(&dir, Kind::Kitty, &[]);
    // Once through the eight pictures and on to the third, and through the ten classes, the predicted and the true.
    terminal.keys(&format!("{}{}", "n".repeat(10), "x".repeat(12)));
    terminal.wait_for("picture 3/8");
    terminal.wait_for("for the predicted class");
    terminal.keys("x");
    terminal.wait_for("for the true class");
}

#[test]
fn a_terminal_with_sixel_gets_it() {
    let dir = Dir::new();
    let terminal = attach(&dir, Kind::Sixel, &[]);
    wait_for_pictures(&terminal, SIXEL_PICTURE, 1);
    assert_eq!(count(&terminal, KITTY_PICTURE), 0);
}

#[test]
fn a_plain_terminal_and_a_mute_one_get_cells() {
    for kind in [Kind::Plain, Kind::Mute] {
        let dir = Dir::new();
        let terminal = attach(&dir, kind, &[]);
        terminal.wait_for("▀▀▀▀▀▀▀▀");
        assert_eq!((count(&terminal, KITTY_PICTURE), count(&terminal, SIXEL_PICTURE)), (0, 0), "{kind:?}");
    }
}

#[test]
fn what_is_asked_for_is_done_or_said() {
    let dir = Dir::new();
    let mut terminal = attach(&dir, Kind::Kitty, &["--images", "blocks"]);
    terminal.wait_for("▀▀▀▀▀▀▀▀");
    assert_eq!(count(&terminal, b"\x1b[c"), 0, "nothing is asked");
    terminal.keys("q");
    let off = dir.terminal_of(Kind::Kitty, ["attach", "done", "--images", "off"]);
    off.wait_for("✓ completed");
    let sixel = dir.terminal_of(Kind::Kitty, ["attach", "done", "--images", "sixel"]);
    sixel.wait_for("the terminal does not say that it knows sixel");
}

#[test]
fn keys_before_the_first_frame_count() {
    let dir = Dir::new();
    let args = ["train", "--no-tui", "--name", "done", "--epochs", "1"];
    dir.command(args.into_iter().chain(TINY)).succeed();
    let mut terminal = dir.terminal(["attach", "done"]);
    eventually("the terminal is asked", || (count(&terminal, b"\x1b[c") > 0).then_some(()));
    terminal.keys("i");
    terminal.wait_for("1 of 1, newest");
}

#[test]
fn resizing_draws_the_pictures_anew() {
    let dir = Dir::new();
    let terminal = attach(&dir, Kind::Kitty, &[]);
    wait_for_pictures(&terminal, KITTY_PICTURE, 1);
    let drawn = count(&terminal, KITTY_PICTURE);
    terminal.resize(150, 50);
    wait_for_pictures(&terminal, KITTY_PICTURE, drawn + 1);
}

#[test]
fn a_probe_can_be_asked_for_while_it_trains() {
    let dir = Dir::new();
    let run = dir.start("far");
    let mut terminal = dir.terminal_of(Kind::Plain, ["attach", "far"]);
    terminal.wait_for("● training");
    terminal.keys("iP");
    wait_for_event(&run, "the command", |event| {
        matches!(event, Event::CommandReceived { command: Command::Probe, .. }).then_some(())
    });
    wait_for_event(&run, "a probe", |event| matches!(event, Event::ProbeSaved(_)).then_some(()));
    terminal.wait_for("▀▀▀▀▀▀▀▀");
}

#[test]
fn doctor_says_how_pictures_are_drawn_and_why() {
    let dir = Dir::new();
    for (kind, said) in [
        (Kind::Kitty, "kitty graphics: the terminal says that it knows it"),
        (Kind::Sixel, "sixel: the terminal says that it knows it"),
        (Kind::Plain, "half blocks in 256 colours: the terminal knows none of"),
        (Kind::Mute, "half blocks in 256 colours: the terminal does not answer"),
    ] {
        let mut terminal = dir.terminal_of(kind, ["doctor"]);
        terminal.wait_for(said);
        assert!(terminal.wait().success());
    }
}
