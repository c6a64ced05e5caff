//! Where a program keeps what it can do without, for one user.

use std::ffi::OsString;
use std::path::PathBuf;

/// taper's own, by the environment.
pub fn cache_folder() -> Option<PathBuf> {
    by(|variable| std::env::var_os(variable))
}

/// As the XDG Base Directory Specification has it.
fn by(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("taper"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_users_cache() {
        let with = |set: &'static [(&str, &str)]| {
            by(move |name| set.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).into()))
        };
        assert_eq!(with(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/h")]), Some("/c/taper".into()));
        assert_eq!(with(&[("XDG_CACHE_HOME", ""), ("HOME", "/h")]), Some("/h/.cache/taper".into()));
        assert_eq!(with(&[("HOME", "h")]), None);
    }
}
