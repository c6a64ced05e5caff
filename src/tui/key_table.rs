//! The keys of a screen that is not a run's: one table that drives dispatch, the footer and the help.

use ratatui::crossterm::event::KeyEvent;

use super::keys::Key;

/// What a key does.
#[derive(Clone, Copy, Debug)]
pub struct KeyBinding<A> {
    /// The footer shows the first.
    pub keys: &'static [Key],
    pub action: A,
    /// A word or two for the footer; empty where only the help shows it.
    pub label: &'static str,
    /// What it does, for the help; empty where the text of the binding before covers it.
    pub help: &'static str,
}

/// What `event` means.
pub fn action<A: Copy>(bindings: &[KeyBinding<A>], event: &KeyEvent) -> Option<A> {
    bindings.iter().find(|binding| binding.keys.iter().any(|key| key.matches(event))).map(|binding| binding.action)
}

/// For the footer: each key and its label.
pub fn labels<A>(bindings: &[KeyBinding<A>]) -> Vec<(String, &'static str)> {
    let labelled = bindings.iter().filter(|binding| !binding.label.is_empty());
    labelled.map(|binding| (binding.keys[0].to_string(), binding.label)).collect()
}

/// For the help: the keys of each line, and what they do.
pub fn help<A>(bindings: &[KeyBinding<A>]) -> Vec<(String, &'static str)> {
    let names = |keys: &[Key]| keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    merged(bindings.iter().map(|binding| (names(binding.keys), binding.help)))
}

/// Keys without a text of their own join those before them.
pub fn merged(bindings: impl IntoIterator<Item = (String, &'static str)>) -> Vec<(String, &'static str)> {
    let mut rows: Vec<(String, &str)> = vec![];
    for (names, help) in bindings {
        match rows.last_mut() {
            Some((keys, _)) if help.is_empty() => *keys = format!("{keys} {names}"),
            _ => rows.push((names, help)),
        }
    }
    rows
}

/// Fails where two bindings have the same key.
#[cfg(test)]
pub fn assert_keys_are_unique<A: std::fmt::Debug>(bindings: &[KeyBinding<A>]) {
    let keys: Vec<Key> = bindings.iter().flat_map(|binding| binding.keys).copied().collect();
    for (index, key) in keys.iter().enumerate() {
        assert!(!keys[..index].contains(key), "{key} is bound twice");
    }
}
