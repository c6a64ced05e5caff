//! What tmux tells of a pane and of the terminals that show it, and how to speak to these past tmux.

use std::env;
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// tmux answers in milliseconds; a server that hangs costs no more than this.
const LIMIT: Duration = Duration::from_millis(250);

const PANE_FORMAT: &str = "pane|#{version}|#{allow-passthrough}|#{window_id}|#{pane_active}|#{window_zoomed_flag}";
const CLIENT_FORMAT: &str = "client|#{client_tty}|#{client_pid}|#{client_created}|#{window_id}|#{client_termfeatures}|\
                             #{client_termname}|#{client_termtype}";

/// A pane, and the terminals that show its window now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pane {
    /// Programs may speak to the terminal past tmux: `allow-passthrough`.
    pub passes_through: bool,
    /// It gets the keys of its window, and so what terminals answer.
    pub is_active: bool,
    /// Another pane of the window fills it.
    pub is_covered: bool,
    pub clients: Vec<Client>,
}

/// A terminal that shows the pane's window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub tty: String,
    pub pid: u32,
    /// Seconds since the Unix epoch.
    pub created: String,
    pub has_rgb: bool,
    pub has_sixel: bool,
    /// Its `TERM`.
    pub term: String,
    /// Name and version, as it told tmux when it was attached: `kitty(0.41.1)`. Empty if it did not.
    pub kind: String,
}

impl Pane {
    /// The pane of this process.
    ///
    /// # Errors
    /// For people: tmux does not answer.
    pub fn ask() -> Result<Self, String> {
        let pane = env::var("TMUX_PANE").map_err(|_| "TMUX_PANE is not set".to_owned())?;
        let questions = ["display-message", "-p", "-t", &pane, PANE_FORMAT, ";"];
        let of_clients = ["list-clients", "-F", CLIENT_FORMAT, ";", "show-messages", "-T"];
        let answer = output(Command::new("tmux").args(questions).args(of_clients))?;
        Self::parse(&answer).ok_or_else(|| "tmux gives an answer that taper does not understand".to_owned())
    }

    /// Whether anybody sees it, and what is sent past tmux reaches a terminal.
    pub fn is_visible(&self) -> bool {
        !self.is_covered && !self.clients.is_empty()
    }

    /// Whether all terminals that show it have 24-bit colour. `None` while there are none.
    pub fn has_rgb(&self) -> Option<bool> {
        (!self.clients.is_empty()).then(|| self.clients.iter().all(|client| client.has_rgb))
    }

    fn parse(answer: &str) -> Option<Self> {
        let pane = answer.lines().find_map(|line| line.strip_prefix("pane|"))?;
        let [version, passthrough, window, is_active, is_zoomed] =
            pane.split('|').collect::<Vec<_>>().try_into().ok()?;
        let passes_through = match passthrough {
            "1" | "on" | "all" => true,
            // tmux asked nobody before it had the option.
            "" => is_before(version, (3, 3)),
            _ => false,
        };
        let clients = answer
            .lines()
            .filter_map(|line| line.strip_prefix("client|"))
            .filter_map(|line| Client::parse(line, window, answer))
            .collect();
        let is_active = is_active == "1";
        Some(Self { passes_through, is_active, is_covered: is_zoomed == "1" && !is_active, clients })
    }
}

impl Client {
    #[cfg(test)]
    pub fn new(term: &str, kind: &str) -> Self {
        Self {
            tty: String::new(),
            pid: 1,
            created: String::new(),
            has_rgb: false,
            has_sixel: false,
            term: term.to_owned(),
            kind: kind.to_owned(),
        }
    }

    fn parse(line: &str, of_window: &str, answer: &str) -> Option<Self> {
        let mut fields = line.splitn(7, '|');
        let (tty, pid, created, window) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let (features, term, kind) = (fields.next()?, fields.next()?, fields.next()?);
        let has = |feature: &str| features.split(',').any(|known| known == feature);
        (window == of_window).then(|| Self {
            tty: tty.to_owned(),
            pid: pid.parse().unwrap_or_default(),
            created: created.to_owned(),
            has_rgb: has("RGB") || describes_rgb(answer, tty),
            has_sixel: has("sixel"),
            term: term.to_owned(),
            kind: kind.to_owned(),
        })
    }
}

/// Whether the terminal's description, which tmux does not count among the features, has 24-bit colour.
fn describes_rgb(answer: &str, tty: &str) -> bool {
    let of_tty = format!(" for {tty},");
    let is_title = |line: &&str| line.starts_with("Terminal ");
    let mut lines = answer.lines().skip_while(|line| !(is_title(line) && line.contains(&of_tty)));
    lines.next();
    // `  225: Tc: (flag) true`, or `[missing]`.
    let capability = |line: &str| {
        let (_, capability) = line.split_once(": ")?;
        let (name, value) = capability.split_once(": ")?;
        (value != "[missing]" && value != "(flag) false").then(|| name.to_owned())
    };
    let known: Vec<String> = lines.take_while(|line| !is_title(line)).filter_map(capability).collect();
    let has = |name: &str| known.iter().any(|known| known == name);
    has("Tc") || has("RGB") || (has("setrgbf") && has("setrgbb"))
}

/// `3.3a` and `next-3.4` count as 3.3 and 3.4; what has no number is newer than any.
fn is_before(version: &str, (major, minor): (u32, u32)) -> bool {
    let number =
        version.trim_start_matches(|c: char| !c.is_ascii_digit()).trim_end_matches(|c: char| !c.is_ascii_digit());
    let parts: Vec<u32> = number.split('.').filter_map(|part| part.parse().ok()).collect();
    matches!(parts[..], [a, b, ..] if (a, b) < (major, minor))
}

/// Whether what is sent past tmux now reaches a terminal. From another host nobody can tell.
pub fn reaches_terminal() -> bool {
    env::var_os("TMUX").is_none() || Pane::ask().is_ok_and(|pane| pane.is_visible())
}

/// The sequence, for the terminal outside.
pub fn through(sequence: &[u8]) -> Vec<u8> {
    let mut wrapped = b"\x1bPtmux;".to_vec();
    for &byte in sequence {
        if byte == 0x1b {
            wrapped.push(byte);
        }
        wrapped.push(byte);
    }
    wrapped.extend(b"\x1b\\");
    wrapped
}

/// What the program writes, within the limit.
pub fn output(command: &mut Command) -> Result<String, String> {
    let unavailable = |error: io::Error| format!("tmux cannot be asked: {error}");
    let mut child =
        command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(unavailable)?;
    let written = read_within(&mut child, LIMIT);
    if written.is_err() {
        // It may have ended by itself meanwhile.
        let _ = child.kill();
    }
    let status = child.wait().map_err(unavailable)?;
    let text = written.map_err(unavailable)?;
    if status.success() { Ok(text) } else { Err("tmux does not answer for this pane".to_owned()) }
}

fn read_within(child: &mut Child, limit: Duration) -> io::Result<String> {
    let (deadline, mut bytes) = (Instant::now() + limit, vec![]);
    let Some(mut stdout) = child.stdout.take() else { return Ok(String::new()) };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} ms", limit.as_millis())));
        }
        let left = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&left)) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut chunk = [0; 4096];
        match stdout.read(&mut chunk)? {
            0 => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINALS: &str = "\
Terminal 0: xterm-kitty for /dev/pts/1, flags=0x30:
 197: RGB: [missing]
 207: setrgbb: (string) \\033[48:2:%p1%d:%p2%d:%p3%dm
 223: Tc: (flag) true
Terminal 1: xterm-256color for /dev/pts/2, flags=0x30:
 197: RGB: [missing]
 207: setrgbb: [missing]
 223: Tc: [missing]";

    fn pane(of_pane: &str, clients: &[&str]) -> Pane {
        Pane::parse(&format!("pane|{of_pane}\n{}\n{TERMINALS}", clients.join("\n"))).expect("parsed")
    }

    #[test]
    fn a_pane_has_the_clients_that_show_its_window() {
        let here = "client|/dev/pts/1|40|1700|@3|bpaste,title|xterm-kitty|kitty(0.41.1)";
        let elsewhere = "client|/dev/pts/2|41|1701|@4|256,RGB|xterm-256color|";
        let shown = pane("3.3a|1|@3|1|0", &[here, elsewhere]);
        assert!(shown.passes_through && shown.is_active && shown.is_visible());
        let [client] = &shown.clients[..] else { panic!("{shown:?}") };
        assert_eq!((client.kind.as_str(), client.pid), ("kitty(0.41.1)", 40));
        assert!(!pane("3.3a|1|@5|1|0", &[here, elsewhere]).is_visible());
        assert!(!pane("3.3a|1|@3|0|1", &[here]).is_visible(), "another pane fills the window");
        assert!(pane("3.3a|1|@3|0|0", &[here]).is_visible());
        assert_eq!(Pane::parse("no server running"), None);
    }

    #[test]
    fn a_client_has_24_bit_colour_by_feature_or_description() {
        let client = |tty: &str, features: &str| {
            pane("3.3a|1|@3|1|0", &[&format!("client|{tty}|1|1|@3|{features}|xterm|")]).clients.remove(0)
        };
        assert!(client("/dev/pts/1", "title").has_rgb);
        assert!(!client("/dev/pts/2", "256,title").has_rgb);
        assert!(client("/dev/pts/2", "256,RGB,sixel").has_rgb && client("/dev/pts/2", "256,sixel").has_sixel);
    }

    #[test]
    fn what_passes_through_by_version() {
        let passes = |version: &str, option: &str| pane(&format!("{version}|{option}|@3|1|0"), &[]).passes_through;
        assert!(passes("3.3a", "1") && passes("3.5a", "on") && passes("3.5a", "all"));
        assert!(!passes("3.3a", "0") && !passes("3.5a", "off"));
        assert!(passes("3.2a", "") && passes("2.9", "") && !passes("3.3", "") && !passes("master", ""));
        assert!(!passes("next-3.6", "") && !passes("3.10", ""));
    }

    #[test]
    fn escapes_are_doubled_on_the_way_through() {
        assert_eq!(through(b"\x1b[c"), b"\x1bPtmux;\x1b\x1b[c\x1b\\");
    }

    #[test]
    fn a_program_that_hangs_is_not_waited_for() {
        let begin = Instant::now();
        assert!(output(Command::new("sleep").arg("60")).is_err_and(|why| why.contains("no answer within 250 ms")));
        assert!(begin.elapsed() < Duration::from_secs(30));
        assert_eq!(output(Command::new("echo").arg("so")), Ok("so\n".to_owned()));
        assert!(output(&mut Command::new("false")).is_err());
        assert!(output(&mut Command::new("/no/such/program")).is_err());
    }
}
