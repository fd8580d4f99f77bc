//! Imports point down only, and wire types stop at their door: kept over what cargo itself says about the workspace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// The layers of ARCHITECTURE.md from the bottom up. A crate may use the crates of the lines above its own.
const LAYERS: &[&[&str]] = &[
    &["strata-seam"],
    &["strata-erasure", "strata-chunk", "strata-keys"],
    &["strata-disk"],
    &["strata-ledger", "strata-index"],
    &["strata-engine"],
    &["strata-cache"],
    &["strata-content"],
    &["strata-namespace"],
    &["strata-runtime", "strata-check"],
    &["strata-iam", "strata-gate"],
    &["strata-http"],
    &["strata-etag"],
    &["strata-door-s3", "strata-door-webdav", "strata-door-nfs", "strata-door-admin", "strata-mount"],
    &["strata-server"],
    &["strata-scheduled"],
    &["strata-bench", "strata-harness", "strata-tests"],
];

/// Crates from outside that one crate of ours alone may use, each with the reason in one word.
const FENCED: &[(&str, &str, &str)] = &[
    ("s3s", "strata-door-s3", "wire"),
    ("dav-server", "strata-door-webdav", "wire"),
    ("nfsserve", "strata-door-nfs", "wire"),
    ("fuser", "strata-mount", "wire"),
    ("axum", "strata-door-admin", "wire"),
    ("sled", "strata-index", "engine"),
    ("fjall", "strata-index", "engine"),
    ("reed-solomon-simd", "strata-erasure", "format"),
    ("fastcdc", "strata-chunk", "format"),
    ("chacha20poly1305", "strata-keys", "format"),
];

/// Crates that may neither wait nor be woken: given clock, randomness and disks, they are deterministic.
const SYNCHRONOUS: &[&str] = &[
    "strata-seam",
    "strata-erasure",
    "strata-chunk",
    "strata-keys",
    "strata-disk",
    "strata-ledger",
    "strata-index",
    "strata-engine",
    "strata-cache",
    "strata-content",
    "strata-namespace",
    "strata-runtime",
    "strata-check",
];

/// Crates that may know the log and the index. Whoever is above asks them.
const BELOW: &[&str] = &["strata-engine", "strata-content", "strata-runtime"];

fn workspace() -> Metadata {
    MetadataCommand::new().no_deps().exec().expect("cargo describes the workspace")
}

/// Every dependency of the packages that ends up in a product, with the package that has it.
fn product_dependencies(metadata: &Metadata) -> impl Iterator<Item = (&Package, &str)> {
    metadata.packages.iter().flat_map(|package| {
        let used = package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
        used.map(move |dependency| (package, dependency.name.as_str()))
    })
}

#[test]
fn every_crate_has_its_layer() {
    let metadata = workspace();
    let mut members: Vec<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let mut placed: Vec<&str> = LAYERS.concat();
    members.sort_unstable();
    placed.sort_unstable();
    assert_eq!(members, placed, "a crate without a layer, or a layer without its crate");
}

#[test]
fn imports_point_down_only() {
    let height: BTreeMap<&str, usize> =
        LAYERS.iter().enumerate().flat_map(|(height, names)| names.iter().map(move |name| (*name, height))).collect();
    let metadata = workspace();
    let upward: Vec<String> = product_dependencies(&metadata)
        .filter_map(|(package, used)| {
            let (from, to) = (height.get(package.name.as_str())?, height.get(used)?);
            (to >= from).then(|| format!("{} uses {used}", package.name))
        })
        .collect();
    assert!(upward.is_empty(), "these imports do not point down: {upward:?}");
}

#[test]
fn in_the_content_store_only_the_mover_knows_the_ledger() {
    // Beside it what puts a store together, and what tells errors apart.
    let allowed = ["/src/mover.rs:", "/src/mover/", "/src/store.rs:", "/src/error.rs:"];
    let words = ["strata_ledger", "strata_index", ".ledger()", ".index()"];
    let mut elsewhere = lines_with("crates/content", &words);
    elsewhere.retain(|line| !allowed.iter().any(|path| line.contains(path)));
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
}

#[test]
fn wire_types_stop_at_their_door() {
    let metadata = workspace();
    // Tests too: a test that speaks a foreign wire type ties the crate to it just as well.
    let strayed: Vec<String> = metadata
        .packages
        .iter()
        .flat_map(|package| package.dependencies.iter().map(move |dependency| (package, dependency.name.as_str())))
        .filter_map(|(package, used)| {
            let (_, owner, reason) = FENCED.iter().find(|(name, _, _)| *name == used)?;
            (package.name.as_str() != *owner).then(|| format!("{} uses {used} ({reason}: {owner} only)", package.name))
        })
        .collect();
    assert!(strayed.is_empty(), "{strayed:?}");
}

#[test]
fn the_log_and_the_index_are_reached_through_the_layers_above_them_alone() {
    // What measures or tests a store takes it apart.
    let exempt = ["strata-harness", "strata-bench", "strata-tests"];
    let metadata = workspace();
    let reaching: Vec<String> = product_dependencies(&metadata)
        .filter(|(_, used)| ["strata-ledger", "strata-index"].contains(used))
        .filter(|(package, _)| !BELOW.contains(&package.name.as_str()) && !exempt.contains(&package.name.as_str()))
        .map(|(package, used)| format!("{} uses {used}", package.name))
        .collect();
    assert!(reaching.is_empty(), "{reaching:?}");
    for folder in ["crates/namespace", "crates/check", "crates/server", "crates/door-admin"] {
        let found = lines_with(folder, &[".ledger()", ".index()"]);
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn no_door_knows_another() {
    let doors = LAYERS.iter().find(|layer| layer.contains(&"strata-door-s3")).expect("the doors have a layer");
    let metadata = workspace();
    let neighbours: Vec<String> = product_dependencies(&metadata)
        .filter(|(package, used)| doors.contains(&package.name.as_str()) && doors.contains(used))
        .map(|(package, used)| format!("{} uses {used}", package.name))
        .collect();
    assert!(neighbours.is_empty(), "{neighbours:?}");
}

#[test]
fn the_layers_below_the_doors_do_not_wait() {
    let metadata = workspace();
    let waiting: Vec<String> = product_dependencies(&metadata)
        .filter(|(package, used)| {
            SYNCHRONOUS.contains(&package.name.as_str()) && ["tokio", "async-trait", "hyper"].contains(used)
        })
        .map(|(package, used)| format!("{} uses {used}", package.name))
        .collect();
    assert!(waiting.is_empty(), "{waiting:?}");
}

#[test]
fn the_fences_are_the_ones_cargo_deny_is_told() {
    let told = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deny.toml")).unwrap();
    for (name, owner, _) in FENCED.iter().filter(|(_, _, reason)| *reason != "format") {
        let line = format!("{{ crate = \"{name}\", wrappers = [\"{owner}\"");
        assert!(told.contains(&line), "deny.toml lacks {line}");
    }
}

/// The sources of a crate, without its tests.
fn sources_of(crate_folder: &str) -> Vec<(PathBuf, String)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(crate_folder).join("src")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the sources can be listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).expect("a source can be read");
                let product = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
                found.push((path, product));
            }
        }
    }
    assert!(!found.is_empty(), "{crate_folder} has no sources");
    found
}

/// Lines of code, not of comments, with one of these words.
fn lines_with(crate_folder: &str, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources_of(crate_folder) {
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}: {}", path.display(), line.trim()));
            }
        }
    }
    found
}

#[test]
fn one_place_decides_who_may_do_what() {
    // What the caller is, what mode bits come out as, and the decision itself.
    let allowed = ["authority.rs", "mode.rs", "types.rs"];
    let decides = [".superuser", ".may_make_buckets", "bits_for("];
    let mut elsewhere = lines_with("crates/namespace", &decides);
    elsewhere.retain(|line| !allowed.iter().any(|name| line.contains(&format!("src/{name}:"))));
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
}

#[test]
fn the_core_has_no_words_of_the_wire() {
    // Nor a door by its name: `Door` says what a door states of itself.
    let words = [
        "etag",
        "ETag",
        "md5",
        "Md5",
        "x-amz",
        "content-type",
        "http::",
        "nfsstat",
        "Door::S3",
        "Door::Mount",
        "Door::Nfs",
    ];
    for folder in ["crates/engine", "crates/content", "crates/namespace"] {
        let found = lines_with(folder, &words);
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn network_doors_reach_blocking_threads_by_one_bridge() {
    for door in ["crates/door-s3", "crates/door-webdav", "crates/door-nfs", "crates/door-admin", "crates/http"] {
        let found = lines_with(door, &["spawn_blocking", "block_in_place", "thread::spawn"]);
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn no_door_decides_or_reaches_below_the_name_space() {
    for door in ["crates/door-s3", "crates/door-webdav", "crates/door-nfs", "crates/door-admin", "mount"] {
        let found = lines_with(door, &[".superuser", ".store()", ".mending()", "records::", "checking::"]);
        assert!(found.is_empty(), "{found:#?}");
    }
}
