//! Downloads a file over HTTP, from where an earlier download broke off.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::data::progress::Progress;

/// Attempts in a row that bring nothing, once something has come.
const FRUITLESS_ATTEMPTS: u32 = 5;
/// A server that is silent for so long is taken for gone.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// Why a download did not come to its end.
pub enum Failure {
    /// Worth another attempt.
    Network(anyhow::Error),
    /// An HTTP status.
    Refused(String),
    Write(io::Error),
}

pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(SILENCE_LIMIT))
        .timeout_recv_response(Some(SILENCE_LIMIT))
        .timeout_per_read(Some(SILENCE_LIMIT))
        .build()
        .into()
}

/// Downloads what is missing of `part` from `url`, with further attempts as long as they bring something.
///
/// # Errors
/// See [`Failure`]. What has come is kept in `part`.
pub fn download(agent: &ureq::Agent, url: &str, part: &Path) -> Result<(), Failure> {
    let mut file = OpenOptions::new().create(true).append(true).open(part).map_err(Failure::Write)?;
    let mut progress = Progress::of_download();
    let mut fruitless = 0;
    let mut anything_came = false;
    loop {
        let before = file.metadata().map_err(Failure::Write)?.len();
        let failure = match download_some(agent, url, &mut file, before, &mut progress) {
            Ok(()) => break,
            Err(Failure::Network(error)) => error,
            Err(failure) => return Err(failure),
        };
        let bytes = file.metadata().map_err(Failure::Write)?.len();
        fruitless = if bytes > before { 0 } else { fruitless + 1 };
        anything_came |= bytes > before;
        if !anything_came || fruitless == FRUITLESS_ATTEMPTS {
            return Err(Failure::Network(failure));
        }
        progress.say(&format!("{failure:#}; going on from byte {bytes}"));
        std::thread::sleep(Duration::from_secs(fruitless.into()));
    }
    file.sync_all().map_err(Failure::Write)
}

/// One request, for what follows the first `have` bytes.
fn download_some(
    agent: &ureq::Agent,
    url: &str,
    file: &mut File,
    have: u64,
    progress: &mut Progress,
) -> Result<(), Failure> {
    // A compressed transfer would make the range one of other bytes.
    let mut request = agent.get(url).header("Accept-Encoding", "identity");
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let mut response = request.call().map_err(|error| Failure::Network(error.into()))?;
    let status = response.status();
    let mut at = have;
    let total = match status.as_u16() {
        206 if content_range(&response).is_some_and(|(start, _)| start == have) => {
            content_range(&response).map(|(_, total)| total)
        }
        // Another range than was asked for, or none: from the start.
        206 | 416 if have > 0 => {
            file.set_len(0).map_err(Failure::Write)?;
            return download_some(agent, url, file, 0, progress);
        }
        200 => {
            file.set_len(0).map_err(Failure::Write)?;
            at = 0;
            response.body().content_length()
        }
        _ => return Err(Failure::Refused(status.to_string())),
    };
    progress.set_total(total);
    let mut body = response.body_mut().as_reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = body.read(&mut buffer).map_err(|error| Failure::Network(error.into()))?;
        if read == 0 {
            break;
        }
        file.write_all(&buffer[..read]).map_err(Failure::Write)?;
        at += read as u64;
        progress.set(at);
    }
    match total {
        Some(total) if at < total => Err(Failure::Network(anyhow!("the connection ended at byte {at} of {total}"))),
        _ => Ok(()),
    }
}

/// Start and total of `Content-Range: bytes START-END/TOTAL`.
fn content_range<T>(response: &ureq::http::Response<T>) -> Option<(u64, u64)> {
    let value = response.headers().get("content-range")?.to_str().ok()?;
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
}
