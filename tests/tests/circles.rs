//! Imports within a crate: files that import each other in a circle are read as one, so no circle has more than three.
//!
//! What is read is the text, by a small resolver: `use` trees, and paths in the code that begin with `crate`, `super`, `self` or the name
//! of a child module. A path leads to the file that defines what it names: a name that a module only hands on (`pub use`) is followed to
//! where it comes from, so that handing on hides no circle. The root of a crate declares all of its files and counts as none of them.
//! Not seen are methods, which need no import, and what macros make.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Most files of a circle.
const CIRCLE_MAX: usize = 3;

/// The product sources from the engine upwards.
const CRATES: &[&str] = &[
    "crates/engine",
    "crates/content",
    "crates/namespace",
    "crates/runtime",
    "crates/check",
    "crates/iam",
    "crates/gate",
    "crates/http",
    "crates/etag",
    "crates/door-s3",
    "crates/door-webdav",
    "crates/door-nfs",
    "crates/door-admin",
    "crates/server",
    "mount",
];

/// The path of a module within its crate; empty for the root.
type Module = Vec<String>;
type Modules = BTreeMap<Module, Source>;

/// One file.
#[derive(Default)]
struct Source {
    /// What its `use` lines bring in: the name here, and the path from the root of the crate.
    brought: BTreeMap<String, Module>,
    /// The modules of which it brings in everything.
    all_of: Vec<Module>,
    /// Every path it names within the crate, from the root.
    named: Vec<Module>,
    /// What it defines.
    defines: BTreeSet<String>,
}

#[derive(Clone, PartialEq, Debug)]
enum Token {
    Word(String),
    Path,
    Sign(char),
}

/// A text without its comments, strings and characters.
fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            raw.find("\"#").map_or(rest.len(), |end| end + 5)
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |end| end + 2)
        } else if let Some(escaped) = rest.strip_prefix("'\\") {
            escaped.chars().next().map_or(0, char::len_utf8) + 2
        } else if first == '\'' && rest.chars().nth(2) == Some('\'') {
            rest.char_indices().nth(3).map_or(rest.len(), |(at, _)| at)
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        out.push(' ');
        rest = &rest[skipped..];
    }
    out
}

fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_alphanumeric() || c == '_' {
            let mut word = c.to_string();
            while let Some(more) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                word.push(more);
            }
            found.push(Token::Word(word));
        } else if c == ':' && chars.next_if_eq(&':').is_some() {
            found.push(Token::Path);
        } else if !c.is_whitespace() {
            found.push(Token::Sign(c));
        }
    }
    found
}

/// The leaves of a `use` tree behind `prefix`, each with the name it has here (`*` for everything); leaves `at` behind the tree.
fn leaves(tokens: &[Token], at: &mut usize, prefix: &[String], found: &mut Vec<(Module, String)>) {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.get(*at) {
        match token {
            Token::Word(word) if word == "as" => {
                let Some(Token::Word(name)) = tokens.get(*at + 1) else { return };
                found.push((path, name.clone()));
                *at += 2;
                return;
            }
            Token::Word(word) => path.push(word.clone()),
            Token::Path => {}
            Token::Sign('*') => {
                found.push((path, "*".to_owned()));
                *at += 1;
                return;
            }
            Token::Sign('{') => {
                *at += 1;
                while !matches!(tokens.get(*at), None | Some(Token::Sign('}'))) {
                    leaves(tokens, at, &path, found);
                    if tokens.get(*at) == Some(&Token::Sign(',')) {
                        *at += 1;
                    }
                }
                *at += 1;
                return;
            }
            Token::Sign(_) => break,
        }
        *at += 1;
    }
    if path.len() > prefix.len() {
        if path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let name = path.last().cloned().unwrap_or_default();
        found.push((path, name));
    }
}

/// A path as it stands in module `here`, from the root of the crate; `None` where it leads out of the crate.
fn from_root(here: &[String], path: &[String], is_module: &dyn Fn(&[String]) -> bool) -> Option<Module> {
    let first = path.first()?;
    match first.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([here, &path[1..]].concat()),
        "super" => {
            let up = path.iter().take_while(|part| *part == "super").count();
            Some([here.get(..here.len().checked_sub(up)?)?, &path[up..]].concat())
        }
        child => is_module(&[here, &[child.to_owned()]].concat()).then(|| [here, path].concat()),
    }
}

fn read_source(here: &Module, text: &str, is_module: &dyn Fn(&[String]) -> bool) -> Source {
    const DEFINING: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "const", "static", "union"];
    let tokens = tokens(&bare(text));
    let mut source = Source::default();
    let mut at = 0;
    while at < tokens.len() {
        let Token::Word(word) = &tokens[at] else {
            at += 1;
            continue;
        };
        if word == "use" {
            at += 1;
            let mut found = Vec::new();
            leaves(&tokens, &mut at, &[], &mut found);
            for (path, name) in found {
                let Some(path) = from_root(here, &path, is_module) else { continue };
                source.named.push(path.clone());
                match name.as_str() {
                    "*" => source.all_of.push(path),
                    _ => drop(source.brought.insert(name, path)),
                }
            }
            continue;
        }
        if DEFINING.contains(&word.as_str())
            && let Some(Token::Word(name)) = tokens.get(at + 1)
        {
            source.defines.insert(name.clone());
        }
        let mut path = vec![word.clone()];
        let behind_path = at > 0 && tokens[at - 1] == Token::Path;
        // `pub(in crate::module)` says who may import, and imports nothing.
        let visibility = [Token::Word("pub".to_owned()), Token::Sign('('), Token::Word("in".to_owned())];
        let is_visibility = tokens[..at].ends_with(&visibility);
        at += 1;
        while let (Some(Token::Path), Some(Token::Word(next))) = (tokens.get(at), tokens.get(at + 1)) {
            path.push(next.clone());
            at += 2;
        }
        if path.len() > 1
            && !behind_path
            && !is_visibility
            && let Some(path) = from_root(here, &path, is_module)
        {
            source.named.push(path);
        }
    }
    source
}

/// The product part of a file, and the modules that it declares for its tests alone.
fn product_of(text: &str) -> (String, Vec<String>) {
    let (mut product, mut for_tests) = (String::new(), Vec::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line != "#[cfg(test)]" {
            product.push_str(line);
            product.push('\n');
            continue;
        }
        while lines.next_if(|line| line.starts_with("#[")).is_some() {}
        let Some(item) = lines.next() else { break };
        if let Some(name) = item.strip_suffix(';').and_then(|item| item.rsplit_once("mod ")).map(|(_, name)| name) {
            for_tests.push(name.to_owned());
        } else if item.ends_with('{') {
            // Until what is at the margin closes.
            lines.by_ref().find(|line| *line == "}");
        }
    }
    (product, for_tests)
}

/// Files of one crate by their modules.
fn modules_of(files: &[(Module, String)]) -> Modules {
    let mut texts = BTreeMap::new();
    let mut for_tests = BTreeSet::new();
    for (module, text) in files {
        let (product, tests) = product_of(text);
        for_tests.extend(tests.into_iter().map(|name| [&module[..], &[name]].concat()));
        texts.insert(module.clone(), product);
    }
    texts.retain(|module, _| !for_tests.iter().any(|tests: &Module| module.starts_with(tests)));
    let is_module = |path: &[String]| texts.contains_key(path);
    texts.iter().map(|(module, text)| (module.clone(), read_source(module, text, &is_module))).collect()
}

/// The module whose file defines what a path names.
fn defining(modules: &Modules, path: &[String], hops: usize) -> Option<Module> {
    let len = (0..=path.len()).rev().find(|len| modules.contains_key(&path[..*len]))?;
    let (module, rest) = (&path[..len], &path[len..]);
    let source = &modules[module];
    let Some(name) = rest.first().filter(|_| hops > 0) else { return Some(module.to_vec()) };
    if source.defines.contains(name) {
        return Some(module.to_vec());
    }
    if let Some(from) = source.brought.get(name).filter(|from| &from[..] != path) {
        return defining(modules, &[&from[..], &rest[1..]].concat(), hops - 1);
    }
    for all in &source.all_of {
        let hands_on = |source: &Source| source.defines.contains(name) || source.brought.contains_key(name);
        if modules.get(all).is_some_and(hands_on) {
            return defining(modules, &[&all[..], rest].concat(), hops - 1);
        }
    }
    Some(module.to_vec())
}

/// The circles of a crate, each with the imports that make it.
fn circles(modules: &Modules) -> Vec<(BTreeSet<String>, Vec<String>)> {
    let mut imports: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (module, source) in modules.iter().filter(|(module, _)| !module.is_empty()) {
        let of = source.named.iter().filter_map(|path| defining(modules, path, 8));
        imports.insert(module.clone(), of.filter(|other| other != module && !other.is_empty()).collect());
    }
    let reached = |from: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = next.pop() {
            let fresh = imports[&module].iter().filter(|other| !seen.contains(*other)).cloned().collect::<Vec<_>>();
            seen.extend(fresh.iter().cloned());
            next.extend(fresh);
        }
        seen
    };
    let reach: BTreeMap<&Module, BTreeSet<Module>> = imports.keys().map(|module| (module, reached(module))).collect();
    let (mut found, mut done) = (Vec::new(), BTreeSet::new());
    for (module, others) in &reach {
        if done.contains(*module) || !others.contains(*module) {
            continue;
        }
        let circle: BTreeSet<&Module> = others.iter().filter(|other| reach[*other].contains(*module)).collect();
        done.extend(circle.iter().map(|module| (*module).clone()));
        let name = |module: &Module| module.join("::");
        let within = |module: &Module| {
            let to = imports[module].iter().filter(|other| circle.contains(other));
            to.map(|other| format!("{} -> {}", name(module), name(other))).collect::<Vec<_>>()
        };
        let arrows = circle.iter().flat_map(|module| within(module)).collect();
        found.push((circle.iter().map(|module| name(module)).collect(), arrows));
    }
    found
}

/// The sources of a crate, by the modules that their files are.
fn files_of(folder: &str) -> Vec<(Module, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("the sources can be listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { walk(&path, files) } else { files.push(path) }
        }
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join("src");
    let mut files = Vec::new();
    walk(&source, &mut files);
    let module = |path: &Path| -> Option<Module> {
        let inside = path.strip_prefix(&source).ok()?.with_extension("");
        let parts = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect::<Vec<_>>();
        Some(if parts == ["lib"] || parts == ["main"] { Vec::new() } else { parts })
    };
    let is_source = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "rs");
    let read = |path: &PathBuf| Some((module(path)?, std::fs::read_to_string(path).ok()?));
    files.iter().filter(|path| is_source(path)).filter_map(read).collect()
}

#[test]
fn no_circle_of_imports_is_larger_than_three_files() {
    for folder in CRATES {
        let modules = modules_of(&files_of(folder));
        assert!(!modules.is_empty(), "{folder} has no sources");
        for (files, imports) in circles(&modules) {
            assert!(
                files.len() <= CIRCLE_MAX,
                "{folder}: {} files import each other in a circle, of {CIRCLE_MAX} allowed: {imports:#?}",
                files.len()
            );
        }
    }
}

/// A crate of these files: module, text.
fn planted(files: &[(&str, &str)]) -> Vec<(BTreeSet<String>, Vec<String>)> {
    let module = |path: &str| path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let files: Vec<(Module, String)> = files.iter().map(|(path, text)| (module(path), (*text).to_owned())).collect();
    circles(&modules_of(&files))
}

#[test]
fn a_planted_circle_of_four_is_found_however_its_imports_are_written() {
    let found = planted(&[
        ("", "mod a; mod b; mod c; mod d;\npub use c::Third as Handed;"),
        ("a", "mod inner;\nuse std::fmt;\nuse crate::{b::{self, Second}, nothing::Else};\npub struct First;"),
        ("a::inner", "use super::First;"),
        // Through the root, which hands the name on under another one.
        (
            "b",
            "// use crate::a::First;\nconst TEXT: &str = \"use crate::a::First;\";\nuse crate::Handed;\npub struct Second;",
        ),
        ("c", "pub struct Third;\nfn third() { let quote = '\"'; crate::d::fourth(); }"),
        ("d", "use super::a as other;\npub fn fourth() {}\n#[cfg(test)]\nmod tests {\n    use crate::c::Third;\n}\n"),
    ]);
    let names = |files: &BTreeSet<String>| files.iter().cloned().collect::<Vec<_>>();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(names(&found[0].0), ["a", "b", "c", "d"]);
    assert_eq!(found[0].1, ["a -> b", "b -> c", "c -> d", "d -> a"]);
}

#[test]
fn what_points_down_is_no_circle() {
    let found = planted(&[
        ("", "mod a; mod b;\n#[cfg(test)]\nmod rig;"),
        ("a", "mod child;\npub use child::Name;\nfn of() { child::made(); }"),
        ("a::child", "pub(in crate::a) struct Name;\npub fn made() {}"),
        // The name is the child's: `a` is not imported.
        ("b", "use crate::a::Name;\npub struct Other;"),
        ("rig", "use crate::b::Other;"),
        ("a::tests", "use super::*;"),
    ]);
    assert!(found.is_empty(), "{found:?}");
    let found =
        planted(&[("", ""), ("a", "use crate::b::B;\npub struct A;"), ("b", "use crate::a::A;\npub struct B;")]);
    assert_eq!(found.len(), 1, "two that import each other are one");
}
