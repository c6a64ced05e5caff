//! `taper doctor`: what this machine and terminal offer, and what may go wrong; or whether a run is whole.

mod machine;
mod run_health;

use std::env;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::shell::say;
use crate::cli::{DoctorArgs, Drawing};
use crate::commands::failure;
use crate::config::Config;
use crate::cuda::Card;
use crate::data;
use crate::format;
use crate::run::dir::RunsDir;
use crate::run::lock::has_flock;
use crate::simd;
use crate::terminal_image::half_blocks::Palette;
use crate::terminal_image::{self, Background, Detected, is_utf8_locale, variable};
use crate::terminal_kind::no_cursor;
use crate::train::device;
use crate::tui::theme::Chosen;

pub fn doctor(runs: &RunsDir, args: &DoctorArgs) -> Result<u8> {
    match &args.run {
        Some(name) => run_health::examine(&runs.open(name)?, args.repair),
        None => describe_machine(runs, args.drawing),
    }
}

fn describe_machine(runs: &RunsDir, drawing: Drawing) -> Result<u8> {
    let config = Config::load(None, &[])?;
    let mut findings = vec![("device".to_owned(), describe_device(&config))];
    findings.extend(describe_cards().map(|cards| ("CUDA".to_owned(), cards)));
    findings.extend([
        (
            "threads".to_owned(),
            std::thread::available_parallelism().map_or_else(|error| error.to_string(), |n| n.to_string()),
        ),
        ("SIMD".to_owned(), describe_simd()),
    ]);
    findings.extend(machine::findings(existing_folder(runs)));
    let background = if drawing.theme.asks(&variable) { Background::Asked } else { Background::Unasked };
    // As the dashboard does.
    let detected = terminal_image::detect_in_shell(drawing.images, background);
    findings.extend([
        ("data".to_owned(), describe_data(&config)),
        ("runs".to_owned(), describe_runs(runs)),
        ("terminal".to_owned(), describe_terminal(detected.as_ref().ok())),
    ]);
    if let Ok(detected) = &detected {
        let Chosen { theme, why } = drawing.theme.choose(detected.background, detected.palette, &variable);
        let encoding = describe_encoding(detected.is_utf8, is_utf8_locale(variable));
        findings.push(("encoding".to_owned(), encoding.to_owned()));
        findings.push(("theme".to_owned(), format!("{theme}: {why}")));
    }
    findings.extend([("images".to_owned(), describe_images(&detected)), ("logout".to_owned(), describe_logout())]);
    for (subject, finding) in findings {
        say(format!("{subject:<10}{finding}"))?;
    }
    Ok(0)
}

fn describe_device(config: &Config) -> String {
    match device::open(config) {
        Ok(found) => found.describe(),
        Err(error) => failure::describe(&error),
    }
}

/// The cards as CUDA counts them. None: there is none, and the device says why.
fn describe_cards() -> Option<String> {
    let describe = |card: Card| {
        let Card { ordinal, name, capability, driver, memory_bytes, .. } = card;
        let memory = format::bytes(memory_bytes as u64);
        format!("cuda:{ordinal} {name}, compute capability {capability}, {memory}, driver of CUDA {driver}")
    };
    let cards = Card::all().ok().filter(|cards| !cards.is_empty())?;
    Some(cards.into_iter().map(describe).collect::<Vec<_>>().join("; "))
}

/// What the kernels take of what they find at run time.
fn describe_simd() -> String {
    let path = match simd::chosen() {
        Ok(path) if env::var_os(simd::VARIABLE).is_some() => format!("{path}, forced by {}", simd::VARIABLE),
        Ok(path) => path.to_string(),
        Err(error) => error.to_string(),
    };
    format!("{path}; this CPU has {}", cpu_features())
}

#[cfg(target_arch = "x86_64")]
fn cpu_features() -> String {
    let features = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
    ];
    let found: Vec<&str> = features.iter().filter(|(_, found)| *found).map(|(name, _)| *name).collect();
    if found.is_empty() { "sse2 only".to_owned() } else { found.join(", ") }
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_features() -> String {
    format!("what every {} has", env::consts::ARCH)
}

fn describe_data(config: &Config) -> String {
    match data::source::open(&config.data, config.run.seed) {
        Ok(source) => {
            let notice = source.notice.map_or(String::new(), |notice| format!("; {notice}"));
            let (train, test) = (source.train.len(), source.test.len());
            format!("{} ({}), {train} + {test} images{notice}", source.name, source.origin)
        }
        Err(error) => failure::describe(&error),
    }
}

/// Of the folders in which the runs will lie, the innermost that is there.
fn existing_folder(runs: &RunsDir) -> &Path {
    let is_absent = |path: &&Path| path.metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let existing = runs.path().ancestors().find(|path| !is_absent(path)).unwrap_or(Path::new("."));
    if existing.as_os_str().is_empty() { Path::new(".") } else { existing }
}

fn describe_runs(runs: &RunsDir) -> String {
    let path = runs.path().display();
    match has_flock(existing_folder(runs)) {
        Ok(true) => format!("{path}: writable, with flock"),
        Ok(false) => format!("{path}: no flock here; whether a trainer lives can be told only on its own host"),
        Err(error) => format!("{path}: {error}; choose another with --runs-dir"),
    }
}

/// The terminal was asked as the dashboard asks it.
fn describe_terminal(detected: Option<&Detected>) -> String {
    let mut parts = Vec::new();
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if io::stdout().is_terminal() && (size.ws_col == 0 || size.ws_row == 0) => {
            parts.push("of no size: taken for 80x24, or COLUMNS x LINES".to_owned());
        }
        Ok(size) if io::stdout().is_terminal() => parts.push(format!("{}x{}", size.ws_col, size.ws_row)),
        _ => parts.push("stdout is no terminal: training runs in the foreground with plain lines".to_owned()),
    }
    parts.extend(match no_cursor() {
        Some(why) => Some(format!("{why}: plain lines instead of the dashboard")),
        None => variable("TERM").map(|term| format!("TERM={term}")),
    });
    parts.extend(detected.map(|detected| colours(detected.palette, variable("NO_COLOR").is_some()).to_owned()));
    if variable("TMUX").is_some() {
        parts.push("in tmux".to_owned());
    } else if variable("STY").is_some() {
        parts.push("in screen".to_owned());
    }
    if variable("SSH_CONNECTION").is_some() {
        parts.push("over SSH".to_owned());
    }
    parts.join(", ")
}

fn describe_encoding(is_utf8: Option<bool>, is_utf8_locale: bool) -> &'static str {
    match (is_utf8, is_utf8_locale) {
        (None, true) => "UTF-8, by the locale",
        (None, false) => "UTF-8 is assumed: the locale is another one, and the terminal does not say; try LANG=C.UTF-8",
        (Some(true), _) => "UTF-8, as the terminal says",
        (Some(false), _) => {
            "ASCII: the terminal does not take UTF-8; set its encoding to UTF-8 for lines, dots and images"
        }
    }
}

fn describe_images(detected: &io::Result<Detected>) -> String {
    match detected {
        Ok(Detected { backend, why, advice, .. }) => {
            let advice: String = advice.iter().map(|advice| format!("\n{:<10}for {advice}", "")).collect();
            format!("{backend}: {why}{advice}")
        }
        Err(error) => error.to_string(),
    }
}

/// Those that taper takes, whatever `TERM` stands for.
fn colours(palette: Palette, no_color: bool) -> &'static str {
    match palette {
        Palette::Shades if no_color => "no colours (NO_COLOR)",
        Palette::Shades => "no colours",
        Palette::Colours256 => "256 colours",
        Palette::TrueColour => "true colour",
    }
}

/// Some hosts end a user's processes at logout: then a detached trainer dies with the connection.
fn describe_logout() -> String {
    if !Path::new("/run/systemd/system").is_dir() {
        return "no systemd here: training survives it".to_owned();
    }
    let output = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let kills = output(
        "busctl",
        &[
            "get-property",
            "org.freedesktop.login1",
            "/org/freedesktop/login1",
            "org.freedesktop.login1.Manager",
            "KillUserProcesses",
        ],
    );
    let user = rustix::process::getuid().as_raw().to_string();
    let lingers = output("loginctl", &["show-user", &user, "--property=Linger", "--value"]);
    verdict(kills.as_deref(), lingers.as_deref())
}

fn verdict(kills: Option<&str>, lingers: Option<&str>) -> String {
    match (kills, lingers) {
        (Some("b false"), _) => "training survives it (KillUserProcesses=no)".to_owned(),
        (_, Some("yes")) => "training survives it (lingering is enabled)".to_owned(),
        (Some(_), _) => "this host ends your processes at logout (KillUserProcesses=yes); the cure: \
                         loginctl enable-linger"
            .to_owned(),
        (None, _) => "logind does not say whether it ends your processes at logout; if it does: \
                      loginctl enable-linger"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_logind_says_and_the_cure() {
        assert!(verdict(Some("b false"), None).starts_with("training survives"));
        assert!(verdict(Some("b true"), Some("yes")).starts_with("training survives"));
        assert!(verdict(Some("b true"), Some("no")).ends_with("loginctl enable-linger"));
        assert!(verdict(None, None).ends_with("loginctl enable-linger"));
    }
}
