//! The configurations that taper brings with it, by name.

use std::path::Path;

/// Name, and file.
pub const PRESETS: [(&str, &str); 8] = [
    ("se", include_str!("../../config/se.toml")),
    ("eca", include_str!("../../config/eca.toml")),
    ("spatial", include_str!("../../config/spatial.toml")),
    ("cbam", include_str!("../../config/cbam.toml")),
    ("non-local", include_str!("../../config/non-local.toml")),
    ("fast", include_str!("../../config/fast.toml")),
    ("record", include_str!("../../config/record.toml")),
    ("digits", include_str!("../../config/digits.toml")),
];

/// The file of a preset, where `path` is its name.
pub fn preset(path: &Path) -> Option<&'static str> {
    PRESETS.iter().find(|(name, _)| path == Path::new(name)).map(|(_, text)| *text)
}

/// For people: `se, eca and cbam`.
pub fn preset_names() -> String {
    let names = PRESETS.map(|(name, _)| name);
    let [others @ .., last] = &names;
    format!("{} and {last}", others.join(", "))
}
