//! The modules of `src` are in an order: a file uses its own top-level module and those before it, and no two files use each
//! other, however long the way round. Tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The top-level modules, from the lowest.
const ORDER: [&str; 35] = [
    "allocator",
    "version",
    "random",
    "ordinary_file",
    "held_folder",
    "cache_folder",
    "format",
    "text",
    "ticks",
    "simd",
    "ranks",
    "checksum",
    "durable",
    "suggest",
    "terminal_kind",
    "metrics",
    "render",
    "config",
    "data",
    "ops",
    "model",
    "optim",
    "average",
    "schedule",
    "cuda",
    "run",
    "system",
    "export",
    "reproduce",
    "explain",
    "train",
    "terminal_image",
    "tui",
    "cli",
    "commands",
];

/// Crates that a module does without.
const FORBIDDEN: [(&str, &[&str]); 14] = [
    ("metrics", CANDLE),
    ("render", CANDLE),
    ("config", CANDLE),
    ("run", CANDLE),
    ("system", CANDLE),
    ("export", CANDLE),
    ("export", TERMINAL),
    ("reproduce", CANDLE),
    ("reproduce", TERMINAL),
    ("terminal_image", CANDLE),
    ("tui", CANDLE),
    ("model", TERMINAL),
    ("explain", TERMINAL),
    ("train", TERMINAL),
];
const CANDLE: &[&str] = &["candle_core", "candle_nn"];
const TERMINAL: &[&str] = &["ratatui", "crossterm", "viuer"];

/// A module by its path, `["run", "socket", "client"]`.
type Module = Vec<String>;

/// Every module of `src` that is a file, but for the roots of library and program.
fn modules() -> BTreeMap<Module, Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = BTreeMap::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let relative = path.strip_prefix(&src).expect("it is in src");
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = relative.display().to_string();
                let mut module: Module =
                    relative.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
                if module.last().is_some_and(|last| last == "mod") {
                    module.pop();
                }
                if !["lib.rs", "main.rs"].contains(&file.as_str()) {
                    let text = fs::read_to_string(&path).expect("a source file");
                    modules.insert(module, Source { file, tokens: without_tests(tokens(&text)) });
                }
            }
        }
    }
    let declared_for_tests = test_modules(&src, &modules);
    modules.retain(|module, _| !declared_for_tests.iter().any(|test| module.starts_with(test)));
    modules
}

struct Source {
    file: String,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    line: usize,
    text: String,
}

/// Words, `::` and single signs; without comments, strings and characters.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut tokens, mut index, mut line) = (Vec::new(), 0, 1);
    while index < chars.len() {
        let start = index;
        if at(index) == '/' && at(index + 1) == '/' {
            while index < chars.len() && at(index) != '\n' {
                index += 1;
            }
        } else if at(index) == '/' && at(index + 1) == '*' {
            while index < chars.len() && !(at(index) == '*' && at(index + 1) == '/') {
                index += 1;
            }
            index += 2;
        } else if at(index) == '"' {
            index += 1;
            while index < chars.len() && at(index) != '"' {
                index += if at(index) == '\\' { 2 } else { 1 };
            }
            index += 1;
        } else if at(index) == '\'' && (at(index + 1) == '\\' || at(index + 2) == '\'') {
            index += if at(index + 1) == '\\' { 3 } else { 2 };
            while index < chars.len() && at(index) != '\'' {
                index += 1;
            }
            index += 1;
        } else if is_word(at(index)) {
            while is_word(at(index)) {
                index += 1;
            }
            let word: String = chars[start..index].iter().collect();
            let hashes = chars[index..].iter().take_while(|c| **c == '#').count();
            if word.ends_with('r') && word.len() <= 2 && at(index + hashes) == '"' {
                let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                index += hashes + 1;
                while index < chars.len() && !chars[index..].starts_with(&end) {
                    index += 1;
                }
                index += end.len();
            } else {
                tokens.push(Token { line, text: word });
            }
        } else if at(index) == ':' && at(index + 1) == ':' {
            index += 2;
            tokens.push(Token { line, text: "::".to_owned() });
        } else {
            index += 1;
            if !at(start).is_whitespace() {
                tokens.push(Token { line, text: at(start).to_string() });
            }
        }
        line += chars[start..index.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

fn texts(tokens: &[Token]) -> impl Iterator<Item = &str> {
    tokens.iter().map(|token| token.text.as_str())
}

fn is_test_attribute(tokens: &[Token]) -> bool {
    texts(tokens).take(7).eq(["#", "[", "cfg", "(", "test", ")", "]"])
}

/// The index behind the item that begins at `start`.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0;
    for (index, text) in texts(tokens).enumerate().skip(start) {
        match text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 && (text == "}" || text == ";") {
            return index + 1;
        }
    }
    tokens.len()
}

/// Items under `#[cfg(test)]` are left out.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        if is_test_attribute(&tokens[index..]) {
            index = item_end(&tokens, index + 7);
        } else {
            kept.push(tokens[index].clone());
            index += 1;
        }
    }
    kept
}

/// Modules that are declared under `#[cfg(test)]` and have a file of their own.
fn test_modules(src: &Path, modules: &BTreeMap<Module, Source>) -> Vec<Module> {
    let files = modules.iter().map(|(module, source)| (module.clone(), source.file.as_str()));
    let mut found = Vec::new();
    for (module, file) in files.chain([(vec![], "lib.rs")]) {
        let tokens = tokens(&fs::read_to_string(src.join(file)).expect("a source file"));
        for index in (0..tokens.len()).filter(|&index| is_test_attribute(&tokens[index..])) {
            let item = &tokens[index + 7..item_end(&tokens, index + 7)];
            if let Some(at) = texts(item).position(|text| text == "mod")
                && item.last().is_some_and(|last| last.text == ";")
            {
                found.push([&module[..], &[item[at + 1].text.clone()]].concat());
            }
        }
    }
    found
}

/// The paths that a file names, from the root of the crate, with their lines; `a::{b, c::d}` is two.
fn paths(module: &Module, tokens: &[Token]) -> Vec<(usize, Vec<String>)> {
    let children: BTreeSet<&str> = tokens
        .windows(3)
        .filter(|three| three[0].text == "mod" && three[2].text == ";")
        .map(|three| three[1].text.as_str())
        .collect();
    let mut paths = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let is_inner = index > 0 && ["::", "."].contains(&tokens[index - 1].text.as_str());
        let goes_on = tokens.get(index + 1).is_some_and(|next| next.text == "::");
        if is_inner || !goes_on {
            continue;
        }
        let base: &[String] = match token.text.as_str() {
            "crate" => &[],
            "self" => module,
            "super" => &module[..module.len() - 1],
            child if children.contains(child) => module,
            _ => continue,
        };
        let first = if children.contains(token.text.as_str()) { index } else { index + 2 };
        tree(tokens, first, base.to_vec(), &mut paths);
    }
    paths
}

/// Reads `a::{b, c::d}` from `index` on; returns the index behind it.
fn tree(tokens: &[Token], mut index: usize, mut path: Vec<String>, paths: &mut Vec<(usize, Vec<String>)>) -> usize {
    loop {
        let Some(token) = tokens.get(index) else { return index };
        match token.text.as_str() {
            "{" => {
                index += 1;
                while tokens.get(index).is_some_and(|token| token.text != "}") {
                    index = tree(tokens, index, path.clone(), paths);
                    while tokens.get(index).is_some_and(|token| token.text != "," && token.text != "}") {
                        index += 1;
                    }
                    if tokens.get(index).is_some_and(|token| token.text == ",") {
                        index += 1;
                    }
                }
                return index + 1;
            }
            "super" => drop(path.pop()),
            "self" => {}
            name => path.push(name.to_owned()),
        }
        index += 1;
        if tokens.get(index).is_none_or(|next| next.text != "::") {
            paths.push((token.line, path));
            return index;
        }
        index += 1;
    }
}

/// What each file uses of the others, with the line.
fn uses(modules: &BTreeMap<Module, Source>) -> BTreeMap<Module, BTreeMap<Module, usize>> {
    let used_by = |module: &Module, source: &Source| {
        let mut used = BTreeMap::new();
        for (line, path) in paths(module, &source.tokens) {
            let target = (1..=path.len()).rev().map(|len| path[..len].to_vec()).find(|path| modules.contains_key(path));
            if let Some(target) = target
                && target != *module
            {
                used.entry(target).or_insert(line);
            }
        }
        used
    };
    modules.iter().map(|(module, source)| (module.clone(), used_by(module, source))).collect()
}

fn position(module: &Module) -> usize {
    let top = &module[0];
    ORDER.iter().position(|known| known == top).unwrap_or_else(|| panic!("{top} is not in the table of modules"))
}

#[test]
fn no_file_uses_a_later_module() {
    let modules = modules();
    let mut arrows = Vec::new();
    for (module, used) in uses(&modules) {
        for (target, line) in used {
            if position(&target) > position(&module) {
                arrows.push(format!("src/{}:{line} uses {}", modules[&module].file, target.join("::")));
            }
        }
    }
    assert!(arrows.is_empty(), "upwards:\n{}", arrows.join("\n"));
}

#[test]
fn no_files_use_each_other() {
    let modules = modules();
    let uses = uses(&modules);
    let mut circles = BTreeSet::new();
    for start in uses.keys() {
        // The shortest way back, by breadth.
        let mut came_from: BTreeMap<&Module, &Module> = BTreeMap::new();
        let mut queue = std::collections::VecDeque::from([start]);
        while let Some(module) = queue.pop_front() {
            for next in uses[module].keys().filter(|next| !came_from.contains_key(*next)).collect::<Vec<_>>() {
                came_from.insert(next, module);
                queue.push_back(next);
            }
        }
        let Some(mut module) = came_from.get(start).copied() else { continue };
        let mut circle = vec![start];
        while module != start {
            circle.push(module);
            module = came_from[module];
        }
        let lowest = circle.iter().enumerate().min_by_key(|(_, module)| **module).map_or(0, |(index, _)| index);
        circle.rotate_left(lowest);
        circle.push(circle[0]);
        circle.reverse();
        let line = |pair: &[&Module]| format!("src/{}:{}", modules[pair[0]].file, uses[pair[0]][pair[1]]);
        circles.insert(circle.windows(2).map(line).collect::<Vec<_>>().join(" → "));
    }
    assert!(circles.is_empty(), "circles:\n{}", circles.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn no_module_uses_a_crate_that_it_does_without() {
    let mut found = Vec::new();
    for (module, source) in modules() {
        for (top, crates) in FORBIDDEN {
            let uses = source.tokens.iter().filter(|token| module[0] == top && crates.contains(&token.text.as_str()));
            found.extend(uses.map(|token| format!("src/{}:{} uses {}", source.file, token.line, token.text)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn paths_are_read_from_source() {
    let source = r##"
        //! use crate::no::comment;
        mod child;
        use crate::a::{self, b::{C, d::*}, e as f};
        pub use child::Thing;
        fn g<'a>(x: &'a str) { super::h(&r#"crate::no::string"#, '"', "crate::no"); x.child::<u8>(); }
        #[cfg(test)]
        mod tests { use crate::no::test; }
        fn i() { vec![crate::j::K; 2]; }
    "##;
    let module: Module = ["run", "socket"].map(String::from).to_vec();
    let found = paths(&module, &without_tests(tokens(source)));
    let found: Vec<String> = found.iter().map(|(line, path)| format!("{line} {}", path.join("::"))).collect();
    let expected = ["4 a", "4 a::b::C", "4 a::b::d::*", "4 a::e", "5 run::socket::child::Thing", "6 run::h", "9 j::K"];
    assert_eq!(found, expected);
}
