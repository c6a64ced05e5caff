//! Images in real pseudo-terminals that answer like kitty, like iTerm2, like xterm with sixel, like a plain terminal, or
//! not at all.

use std::ops::Range;

use taper::run::event::{Command, Event};

use crate::binary::{Dir, Kind, TINY, Terminal, eventually, wait_for_event};

const BEGIN_FRAME: &[u8] = b"\x1b[?2026h";
const END_FRAME: &[u8] = b"\x1b[?2026l";
const KITTY_IMAGE: &[u8] = b"\x1b_Gf=32,a=T,";
const KITTY_DELETE: &[u8] = b"\x1b_Ga=d,";
const ITERM2_IMAGE: &[u8] = b"\x1b]1337;File=";
const SIXEL_IMAGE: &[u8] = b"\x1bP";
const HALF_BLOCK: &[u8] = "▀".as_bytes();
/// What the issue allows a refresh over a slow link.
const MOST_BYTES: usize = 60_000;

/// A finished run with three epochs, each with its probe, on its page of images.
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

/// The bytes of the greatest of the frames that begin in what was received.
fn greatest_frame(received: &[u8]) -> usize {
    let ends = places(received, END_FRAME);
    let bytes = |begin: usize| ends.iter().find(|&&end| end > begin).map(|end| end - begin);
    places(received, BEGIN_FRAME).into_iter().filter_map(bytes).max().unwrap()
}

/// Waits until so many images were drawn since `before`, in whole frames.
fn wait_for_images(terminal: &Terminal, part: &[u8], more_than: usize) {
    eventually("images are drawn", || {
        let received = terminal.received();
        let drawn = places(&received, part).len() > more_than;
        (drawn && places(&received, BEGIN_FRAME).len() == places(&received, END_FRAME).len()).then_some(())
    });
}

#[test]
fn kitty_shows_images_and_is_left_without_any() {
    let dir = Dir::new();
    let mut terminal = attach(&dir, Kind::Kitty, &[]);
    wait_for_images(&terminal, KITTY_IMAGE, 1);
    for key in ["v", "v", "v", "1", "n", "["] {
        let before = count(&terminal, KITTY_IMAGE);
        terminal.keys(key);
        wait_for_images(&terminal, KITTY_IMAGE, before);
    }
    terminal.wait_for("2 of 3");
    // Under what lies over the page there are none.
    let deleted = count(&terminal, KITTY_DELETE);
    terminal.keys("?");
    terminal.wait_for("this help");
    wait_for_images(&terminal, KITTY_DELETE, deleted);
    terminal.keys("?q");
    assert!(terminal.wait().success());
    terminal.wait_for("Run done: completed");
    let received = terminal.received();
    assert!(places(&received, KITTY_DELETE).last() > places(&received, KITTY_IMAGE).last(), "images are left");
    assert!(places(&received, b"a=T,t=t").is_empty(), "an image by a file, for which viuer waits for a reply");
}

#[test]
fn every_refresh_of_kitty_fits_a_slow_link_and_none_comes_without_a_change() {
    let dir = Dir::new();
    let mut terminal = attach(&dir, Kind::Kitty, &[]);
    wait_for_images(&terminal, KITTY_IMAGE, 1);
    let drawn = count(&terminal, KITTY_IMAGE);
    // A frame without another image.
    terminal.keys("s");
    terminal.wait_for("the run has ended");
    assert_eq!(count(&terminal, KITTY_IMAGE), drawn);
    for key in ["v", "v", "v", "1", "z"] {
        let before = count(&terminal, KITTY_IMAGE);
        terminal.keys(key);
        wait_for_images(&terminal, KITTY_IMAGE, before);
    }
    let greatest = greatest_frame(&terminal.received());
    assert!((10_000..MOST_BYTES).contains(&greatest), "{greatest} bytes");
}

/// Presses keys, one after the other, and waits until each has done what it should; gives the bytes of the greatest frame.
fn greatest_after(terminal: &mut Terminal, keys: &[(&str, &str)]) -> usize {
    let from = terminal.received().len();
    for (key, shown) in keys {
        terminal.keys(key);
        terminal.wait_for(shown);
    }
    wait_for_images(terminal, HALF_BLOCK, 0);
    greatest_frame(&terminal.received()[from..])
}

#[test]
fn every_refresh_of_half_blocks_fits_a_slow_link_and_none_comes_without_a_change() {
    let dir = Dir::new();
    let mut terminal = attach(&dir, Kind::TrueColour, &[]);
    wait_for_images(&terminal, HALF_BLOCK, 0);
    // What a new probe, a class or a layer draws anew is one image of 48 x 24 cells; beside the other is its colour bar.
    let lines: Vec<usize> = terminal.contents().lines().map(|line| line.matches('▀').count()).collect();
    assert_eq!(lines.iter().filter(|&&cells| cells == 2 * 48 + 1).count(), 24, "{lines:?}");
    let refresh = greatest_after(
        &mut terminal,
        &[
            ("[", "epoch 2  "),
            ("[", "epoch 1  "),
            ("x", "for the true class"),
            ("x", "evidence for airplane"),
            ("x", "evidence for automobile"),
            ("]", "epoch 2  "),
        ],
    );
    assert!((20_000..MOST_BYTES).contains(&refresh), "{refresh} bytes");
    // And so is one alone.
    terminal.keys("z");
    let alone = greatest_after(
        &mut terminal,
        &[("n", "image 2/8"), ("n", "image 3/8"), ("\x1b[D", " image  "), ("n", "image 4/8"), ("n", "image 5/8")],
    );
    // With its colour bar and the probabilities of the classes, which change with it.
    assert!((20_000..MOST_BYTES).contains(&alone), "{alone} bytes");

    // Frames without another image.
    let drawn = count(&terminal, HALF_BLOCK);
    terminal.keys("s");
    terminal.wait_for("the run has ended");
    terminal.keys("1");
    terminal.wait_for("of conv1");
    eventually("the message goes", || (!terminal.contents().contains("the run has ended")).then_some(()));
    assert_eq!(count(&terminal, HALF_BLOCK), drawn);

    // The panel beside the charts.
    terminal.keys("z\x7f");
    terminal.wait_for("Batch Loss");
    terminal.resize(50, 200);
    terminal.wait_for("image 5/8");
    let panel = greatest_after(
        &mut terminal,
        &[
            ("n", "image 6/8"),
            ("v", "Heat Map of conv1"),
            ("v", "Attention of conv1"),
            ("n", "image 7/8"),
            ("v", "Maps of conv1"),
            ("n", "image 8/8"),
            ("v", "Grad-CAM of conv1"),
            ("n", "image 1/8"),
        ],
    );
    assert!((20_000..MOST_BYTES).contains(&panel), "{panel} bytes");
    println!("{refresh} bytes of a refresh, {alone} of an image alone, {panel} in the panel");
}

/// An image by iTerm2's protocol.
struct Inline {
    /// In what was received.
    place: Range<usize>,
    columns: usize,
    rows: usize,
    image: image::DynamicImage,
}

fn inline_images(received: &[u8]) -> Vec<Inline> {
    let whole = |start: usize| {
        let sequence = &received[start + ITERM2_IMAGE.len()..];
        let length = sequence.iter().position(|&byte| byte == 7)?;
        let (arguments, data) = std::str::from_utf8(&sequence[..length]).unwrap().split_once(':').unwrap();
        let argument = |name: &str| {
            let mut pairs = arguments.split(';').filter_map(|argument| argument.split_once('='));
            pairs.find(|(key, _)| *key == name).unwrap_or_else(|| panic!("no {name} in {arguments}")).1
        };
        assert_eq!(argument("inline"), "1", "or it would be a download");
        let file = from_base64(data);
        assert_eq!(argument("size"), file.len().to_string());
        Some(Inline {
            place: start..start + ITERM2_IMAGE.len() + length + 1,
            columns: argument("width").parse().unwrap(),
            rows: argument("height").parse().unwrap(),
            image: image::load_from_memory(&file).unwrap(),
        })
    };
    places(received, ITERM2_IMAGE).into_iter().filter_map(whole).collect()
}

pub fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte: u8| DIGITS.iter().position(|&digit| digit == byte).expect("a digit of base64") as u32;
    assert_eq!(text.len() % 4, 0);
    let digits: Vec<u32> = text.trim_end_matches('=').bytes().map(digit).collect();
    let bytes = digits.chunks(4).flat_map(|group| {
        let bits = group.iter().enumerate().fold(0, |bits, (place, digit)| bits | digit << (18 - 6 * place));
        bits.to_be_bytes().into_iter().skip(1).take(group.len() - 1)
    });
    bytes.collect()
}

/// For a cell that an image lies in.
const OF_IMAGE: &str = "¤";

/// What a terminal of 120 x 40 shows in which an image lies in cells, until something else is written there.
fn replayed(received: &[u8]) -> String {
    let mut terminal = vt100::Parser::new(40, 120, 0);
    let mut done = 0;
    for Inline { place, columns, rows, .. } in inline_images(received) {
        terminal.process(&received[done..place.start]);
        let (top, left) = terminal.screen().cursor_position();
        for row in top..top + rows as u16 {
            let cells = format!("\x1b[{};{}H{}", row + 1, left + 1, OF_IMAGE.repeat(columns));
            terminal.process(cells.as_bytes());
        }
        done = place.end;
    }
    terminal.process(&received[done..]);
    terminal.screen().contents()
}

/// Waits until the terminal shows so many cells of images, in whole frames; gives what it shows.
fn wait_for_cells(terminal: &Terminal, cells: usize) -> String {
    eventually("images have so many cells", || {
        let received = terminal.received();
        let shown = replayed(&received);
        let is_whole = places(&received, BEGIN_FRAME).len() == places(&received, END_FRAME).len();
        (is_whole && shown.matches(OF_IMAGE).count() == cells).then_some(shown)
    })
}

#[test]
fn iterm2_shows_images_and_is_left_without_any() {
    let dir = Dir::new();
    let mut terminal = attach(&dir, Kind::Iterm2, &[]);
    wait_for_images(&terminal, ITERM2_IMAGE, 1);
    assert_eq!((count(&terminal, KITTY_IMAGE), count(&terminal, SIXEL_IMAGE)), (0, 0));
    let images = inline_images(&terminal.received());
    let sizes: Vec<_> = images.iter().map(|inline| (inline.image.width(), inline.image.height())).collect();
    assert_eq!(sizes, [(64, 64); 2], "native: the terminal scales them");
    // Characters are twice as high as wide.
    assert!(images.iter().all(|inline| inline.columns == 2 * inline.rows && inline.rows > 20));
    let of_two = 2 * images[0].columns * images[0].rows;
    let shown = wait_for_cells(&terminal, of_two);
    assert!(shown.contains("evidence for") && shown.contains("esc back"), "{shown}");
    let last_row = shown.lines().last().unwrap();
    assert!(!last_row.contains(OF_IMAGE), "an image there would scroll the screen");

    // Other images of the same places, and others in their place.
    terminal.keys("n");
    wait_for_images(&terminal, ITERM2_IMAGE, 3);
    wait_for_cells(&terminal, of_two);
    terminal.keys("v");
    wait_for_images(&terminal, ITERM2_IMAGE, 4 + 3);
    let all = inline_images(&terminal.received());
    let of_heat_maps: usize = all[4..].iter().map(|inline| inline.columns * inline.rows).sum();
    wait_for_cells(&terminal, of_heat_maps);

    // Under what lies over the page there are none, neither in cells nor, as Konsole has them, between cells and text.
    let deleted = count(&terminal, KITTY_DELETE);
    terminal.keys("?");
    let shown = wait_for_cells(&terminal, 0);
    assert!(shown.contains("this help"), "{shown}");
    assert!(count(&terminal, KITTY_DELETE) > deleted);
    terminal.keys("?");
    wait_for_cells(&terminal, of_heat_maps);
    let greatest = greatest_frame(&terminal.received());
    assert!((10_000..MOST_BYTES).contains(&greatest), "{greatest} bytes");

    terminal.keys("q");
    assert!(terminal.wait().success());
    terminal.wait_for("Run done: completed");
    let shown = replayed(&terminal.received());
    assert!(!shown.contains(OF_IMAGE) && shown.contains("Run done: completed"), "{shown}");
}

#[test]
fn no_key_is_lost_while_images_are_drawn() {
    let dir = Dir::new();
    let mut terminal = attach(&dir, Kind::Kitty, &[]);
    // Once through the eight images and on to the third, and through the ten classes, the predicted and the true.
    terminal.keys(&format!("{}{}", "n".repeat(10), "x".repeat(12)));
    terminal.wait_for("image 3/8");
    terminal.wait_for("for the predicted class");
    terminal.keys("x");
    terminal.wait_for("for the true class");
}

#[test]
fn a_terminal_with_sixel_gets_it() {
    let dir = Dir::new();
    let terminal = attach(&dir, Kind::Sixel, &[]);
    wait_for_images(&terminal, SIXEL_IMAGE, 1);
    assert_eq!(count(&terminal, KITTY_IMAGE), 0);
}

#[test]
fn a_plain_terminal_and_a_mute_one_get_cells() {
    for kind in [Kind::Plain, Kind::Mute] {
        let dir = Dir::new();
        let terminal = attach(&dir, kind, &[]);
        terminal.wait_for("▀▀▀▀▀▀▀▀");
        assert_eq!((count(&terminal, KITTY_IMAGE), count(&terminal, SIXEL_IMAGE)), (0, 0), "{kind:?}");
    }
}

#[test]
fn what_is_asked_for_is_done_or_said() {
    let dir = Dir::new();
    let mut terminal = attach(&dir, Kind::Kitty, &["--images", "blocks", "--theme", "dark"]);
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
fn resizing_draws_the_images_anew() {
    let dir = Dir::new();
    let terminal = attach(&dir, Kind::Kitty, &[]);
    wait_for_images(&terminal, KITTY_IMAGE, 1);
    let drawn = count(&terminal, KITTY_IMAGE);
    terminal.resize(50, 150);
    wait_for_images(&terminal, KITTY_IMAGE, drawn + 1);
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
fn doctor_says_how_images_are_drawn_and_why() {
    let dir = Dir::new();
    for (kind, said) in [
        (Kind::Kitty, "kitty graphics: the terminal says that it knows it"),
        (Kind::Iterm2, "iTerm2 inline images: by TERM_PROGRAM"),
        (Kind::TrueColour, "half blocks in true colour: the terminal knows none of"),
        (Kind::Sixel, "sixel: the terminal says that it knows it"),
        (Kind::Plain, "half blocks in 256 colours: the terminal knows none of"),
        (Kind::Mute, "half blocks in 256 colours: the terminal does not answer"),
    ] {
        let mut terminal = dir.terminal_of(kind, ["doctor"]);
        terminal.wait_for(said);
        assert!(terminal.wait().success());
    }
}
