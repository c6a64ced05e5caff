//! Which files are to be predicted: those that are named, those in folders, and those listed on stdin.

use std::ffi::OsString;
use std::io::{self, BufRead};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

use crate::data::folder::scan;

/// What stands for a list on stdin.
const STDIN: &str = "-";

/// What ends a name in a list on stdin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    Newline,
    /// As `find -print0` has it, for names with newlines.
    Null,
}

#[derive(Debug, PartialEq)]
pub struct Input {
    pub path: PathBuf,
    pub unusable: Option<Unusable>,
}

/// Why a path cannot be read as an image, where that is known before it is opened.
#[derive(Debug, PartialEq)]
pub struct Unusable(pub String);

/// Sends what the names stand for, in their order, until all are sent or nobody waits any more.
pub fn send(names: &[OsString], separator: Separator, sender: &SyncSender<Input>) {
    for name in names {
        let path = PathBuf::from(name);
        let is_awaited = match () {
            () if name == STDIN => send_list(&mut io::stdin().lock(), separator, sender),
            () if path.is_dir() => send_folder(&path, sender),
            () => sender.send(Input { path, unusable: None }).is_ok(),
        };
        if !is_awaited {
            return;
        }
    }
}

fn send_folder(folder: &Path, sender: &SyncSender<Input>) -> bool {
    let mut found = scan::images_in(folder).peekable();
    if found.peek().is_none() {
        let unusable = Some(Unusable("there are no images in this folder".into()));
        return sender.send(Input { path: folder.into(), unusable }).is_ok();
    }
    let mut inputs = found.map(|found| match found {
        Ok(path) => Input { path, unusable: None },
        Err(left_out) => Input { unusable: Some(Unusable(left_out.reason.to_string())), path: left_out.path },
    });
    inputs.all(|input| sender.send(input).is_ok())
}

fn send_list(list: &mut impl BufRead, separator: Separator, sender: &SyncSender<Input>) -> bool {
    let end = match separator {
        Separator::Newline => b'\n',
        Separator::Null => 0,
    };
    loop {
        let mut name = vec![];
        match list.read_until(end, &mut name) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                let unusable = Some(Unusable(error.to_string()));
                return sender.send(Input { path: STDIN.into(), unusable }).is_ok();
            }
        }
        if name.last() == Some(&end) {
            name.pop();
        }
        if name.is_empty() {
            continue;
        }
        let path = PathBuf::from(OsString::from_vec(name));
        let is_awaited = if path.is_dir() {
            send_folder(&path, sender)
        } else {
            sender.send(Input { path, unusable: None }).is_ok()
        };
        if !is_awaited {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn sent(names: &[&OsStr]) -> Vec<Input> {
        let (sender, inputs) = sync_channel(100);
        let names: Vec<OsString> = names.iter().map(|&name| name.to_owned()).collect();
        send(&names, Separator::Newline, &sender);
        drop(sender);
        inputs.iter().collect()
    }

    #[test]
    fn folders_are_looked_through_and_files_are_taken_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["b/2.png", "a.jpg", "b/1.PNG", "b/notes.txt", "c/phone.heic", ".hidden/3.png"] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let inputs = sent(&[folder.path().as_os_str(), OsStr::new("no such file")]);
        let names: Vec<_> =
            inputs.iter().map(|input| input.path.strip_prefix(folder.path()).unwrap_or(&input.path)).collect();
        assert_eq!(names, ["a.jpg", "b/1.PNG", "b/2.png", "c/phone.heic", "no such file"].map(Path::new));
        let unusable: Vec<bool> = inputs.iter().map(|input| input.unusable.is_some()).collect();
        assert_eq!(unusable, [false, false, false, true, false]);
        let empty = tempfile::tempdir().unwrap();
        let [input] = &sent(&[empty.path().as_os_str()])[..] else { panic!("one input") };
        assert_eq!(input.unusable, Some(Unusable("there are no images in this folder".into())));
    }

    #[test]
    fn a_list_has_a_name_a_line_or_before_each_null() {
        let listed = |text: &[u8], separator| {
            let (sender, inputs) = sync_channel(100);
            assert!(send_list(&mut &text[..], separator, &sender));
            drop(sender);
            inputs.iter().map(|input| input.path).collect::<Vec<_>>()
        };
        assert_eq!(listed(b"a b.png\n\nc.png", Separator::Newline), ["a b.png", "c.png"].map(PathBuf::from));
        assert_eq!(listed(b"a\nb.png\0c.png\0", Separator::Null), ["a\nb.png", "c.png"].map(PathBuf::from));
    }

    #[test]
    fn it_ends_when_nobody_waits() {
        let (sender, inputs) = sync_channel(1);
        drop(inputs);
        assert!(!send_list(&mut &b"a.png\nb.png\n"[..], Separator::Newline, &sender));
    }
}
