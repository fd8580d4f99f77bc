//! The form of the tree: what a reader may rely on without looking.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file longer than this hides a second concern.
const LINES_MAX: usize = 800;
/// The same of those from the engine upwards, tests left out.
const UPPER_LINES_MAX: usize = 500;
const UPPER: &[&str] = &[
    "crates/engine/src",
    "crates/content/src",
    "crates/namespace/src",
    "crates/runtime/src",
    "crates/check/src",
    "crates/iam/src",
    "crates/gate/src",
    "crates/http/src",
    "crates/etag/src",
    "crates/door-s3/src",
    "crates/door-webdav/src",
    "crates/door-nfs/src",
    "crates/door-admin/src",
    "crates/server/src",
    "mount/src",
];
/// Words that begin a path within the repository when a page cites one.
const ROOTS: &[&str] = &["crates/", "mount/", "tests/", "docs/", "packaging/", ".ci/", ".config/", ".cargo/"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Files of the repository with this ending: those git knows or would add; without git, those in the folders of [`ROOTS`].
fn files(ending: &str) -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let mut found: Vec<PathBuf> = match listed {
        Ok(listed) if listed.status.success() => {
            let names = String::from_utf8(listed.stdout).expect("names of files are text");
            names.split('\0').filter(|name| !name.is_empty()).map(|name| root().join(name)).collect()
        }
        _ => {
            let mut all = Vec::new();
            ROOTS.iter().for_each(|folder| walk(&root().join(folder), &mut all));
            all
        }
    };
    found.retain(|path| path.is_file() && path.to_string_lossy().ends_with(ending));
    assert!(!found.is_empty(), "no file ends in {ending}");
    found
}

fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { walk(&path, into) } else { into.push(path) }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_source_file_opens_by_saying_what_it_is_for() {
    let silent: Vec<_> = files(".rs").into_iter().filter(|path| !read(path).starts_with("//! ")).collect();
    assert!(silent.is_empty(), "these files do not open with `//!`: {silent:?}");
}

#[test]
fn no_source_file_is_longer_than_a_head_can_hold() {
    let long: Vec<_> = files(".rs").into_iter().filter(|path| read(path).lines().count() > LINES_MAX).collect();
    assert!(long.is_empty(), "these files have more than {LINES_MAX} lines: {long:?}");
    let is_upper = |path: &Path| {
        let path = path.to_string_lossy();
        UPPER.iter().any(|part| path.contains(part)) && !path.ends_with("tests.rs")
    };
    let all = files(".rs").into_iter().filter(|path| is_upper(path));
    let long: Vec<_> = all.filter(|path| read(path).lines().count() > UPPER_LINES_MAX).collect();
    assert!(long.is_empty(), "these files have more than {UPPER_LINES_MAX} lines: {long:?}");
}

#[test]
fn every_path_that_a_page_cites_exists() {
    let mut missing = Vec::new();
    for page in files(".md") {
        let text = read(&page);
        for cited in cited_paths(&text) {
            if !root().join(&cited).exists() {
                missing.push(format!("{}: {cited}", page.display()));
            }
        }
        let folder = page.parent().expect("a page lies in a folder");
        for target in link_targets(&text) {
            if !folder.join(&target).exists() {
                missing.push(format!("{}: ({target})", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "cited but not there: {missing:#?}");
}

#[test]
fn every_page_below_docs_can_be_reached_from_another() {
    let pages = files(".md");
    let texts: Vec<(PathBuf, String)> = pages.iter().map(|page| (page.clone(), read(page))).collect();
    let lost: Vec<_> = pages
        .iter()
        .filter(|page| page.starts_with(root().join("docs")))
        .filter(|page| {
            let name = page.file_name().expect("a file has a name").to_string_lossy().into_owned();
            !texts.iter().any(|(other, text)| other != *page && text.contains(&name))
        })
        .collect();
    assert!(lost.is_empty(), "no page leads to {lost:?}");
}

/// Words in backticks that look like a path of this repository.
fn cited_paths(text: &str) -> Vec<String> {
    let in_ticks = text.split('`').skip(1).step_by(2);
    in_ticks
        .filter(|word| ROOTS.iter().any(|root| word.starts_with(root)))
        .filter(|word| !word.contains([' ', '*', '<', '{', '\n']))
        .map(|word| word.trim_end_matches('/').to_owned())
        .collect()
}

/// Targets of links to files, without anchors.
fn link_targets(text: &str) -> Vec<String> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with('#') && !target.contains([' ', '\n']))
        .map(|target| target.split('#').next().unwrap_or_default().to_owned())
        .filter(|target| !target.is_empty())
        .collect()
}

#[test]
fn paths_and_links_are_found_in_a_page() {
    let page =
        "see `crates/seam/src/lib.rs`, `cargo test` and [the glossary](docs/glossary.md#chunk) or [out](https://x)";
    assert_eq!(cited_paths(page), ["crates/seam/src/lib.rs"]);
    assert_eq!(link_targets(page), ["docs/glossary.md"]);
}
