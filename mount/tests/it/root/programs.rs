//! Programs that people really run, each with its own check of the result.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::support::{Drive, Numbers, have, run};

/// A tree with what trees have: nested folders, many small files, a larger one, links, modes, odd names.
fn plant(at: &Path) {
    let mut numbers = Numbers(99);
    for folder in 0..6 {
        let folder = at.join(format!("folder {folder}/inner"));
        fs::create_dir_all(&folder).expect("made");
        for file in 0..25 {
            let len = usize::try_from(numbers.below(9000)).expect("small");
            fs::write(folder.join(format!("file-{file}.txt")), numbers.bytes(len)).expect("written");
        }
    }
    fs::write(at.join("large"), numbers.bytes(5_000_000)).expect("written");
    fs::write(at.join("empty"), "").expect("written");
    fs::write(at.join("program.sh"), "#!/bin/sh\necho ran\n").expect("written");
    fs::set_permissions(at.join("program.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
    fs::hard_link(at.join("large"), at.join("same as large")).expect("linked");
    std::os::unix::fs::symlink("folder 1/inner", at.join("link")).expect("linked");
    std::os::unix::fs::symlink("missing", at.join("dangling")).expect("linked");
}

#[test]
fn git_clones_commits_packs_and_finds_nothing_to_complain_about() {
    let Some(drive) = Drive::new() else { return };
    if !have("git") {
        return;
    }
    let outside = tempfile::tempdir().expect("a temporary directory");
    plant(outside.path());
    let commit = ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm"];
    run(outside.path(), "git", &["init", "-q", "."]);
    run(outside.path(), "git", &["add", "-A"]);
    run(outside.path(), "git", &[&commit[..], &["one"]].concat());
    run(drive.top(), "git", &["clone", "-q", outside.path().to_str().expect("text"), "clone"]);
    let clone = drive.at("clone");
    assert_eq!(run(&clone, "git", &["status", "--porcelain"]), "");
    fs::write(clone.join("folder 1/inner/file-1.txt"), "changed").expect("written");
    assert_eq!(run(&clone, "git", &["status", "--porcelain"]).lines().count(), 1);
    run(&clone, "git", &[&commit[..], &["two", "-a"]].concat());
    run(&clone, "git", &["checkout", "-q", "HEAD~1"]);
    run(&clone, "git", &["checkout", "-q", "-"]);
    run(&clone, "git", &["gc", "-q"]);
    run(&clone, "git", &["fsck", "--full", "--strict"]);
    assert_eq!(run(&clone, "git", &["status", "--porcelain"]), "");
}

#[test]
fn tar_brings_a_tree_in_and_out_again_unchanged() {
    let Some(drive) = Drive::new() else { return };
    if !have("tar") {
        return;
    }
    let outside = tempfile::tempdir().expect("a temporary directory");
    let tree = outside.path().join("tree");
    fs::create_dir(&tree).expect("made");
    plant(&tree);
    run(outside.path(), "tar", &["cf", "in.tar", "tree"]);
    run(drive.top(), "tar", &["xpf", outside.path().join("in.tar").to_str().expect("text")]);
    run(outside.path(), "diff", &["-r", "--no-dereference", "tree", drive.at("tree").to_str().expect("text")]);
    assert_eq!(run(&drive.at("tree"), "./program.sh", &[]), "ran\n");
    let (one, two) = (drive.at("tree/large"), drive.at("tree/same as large"));
    assert_eq!(fs::metadata(one).expect("there").ino(), fs::metadata(two).expect("there").ino());
    run(drive.top(), "tar", &["cf", "out.tar", "tree"]);
    run(drive.top(), "tar", &["df", "out.tar", "-C", outside.path().to_str().expect("text")]);
}

#[test]
fn rsync_with_everything_kept_finds_nothing_left_to_do() {
    let Some(drive) = Drive::new() else { return };
    if !have("rsync") {
        return;
    }
    let outside = tempfile::tempdir().expect("a temporary directory");
    plant(outside.path());
    let from = format!("{}/", outside.path().display());
    run(drive.top(), "rsync", &["-aHX", &from, "copy/"]);
    assert_eq!(run(drive.top(), "rsync", &["-aHXnc", "--delete", "--itemize-changes", &from, "copy/"]), "");
    fs::write(outside.path().join("empty"), "no more").expect("written");
    run(drive.top(), "rsync", &["-aHX", "--inplace", "--delete", &from, "copy/"]);
    assert_eq!(fs::read_to_string(drive.at("copy/empty")).expect("read"), "no more");
}

#[test]
fn sqlite_works_with_both_kinds_of_journal() {
    let Some(drive) = Drive::new() else { return };
    if !have("python3") {
        return;
    }
    let script = "
import sqlite3
for journal in ['wal', 'delete']:
    c = sqlite3.connect(journal + '.db')
    assert c.execute('pragma journal_mode=' + journal).fetchone()[0] == journal
    c.execute('create table t(a integer primary key, b blob)')
    for n in range(60):
        c.execute('insert into t(b) values(randomblob(2000))')
        c.commit()
    c.execute('delete from t where a % 2')
    c.commit()
    c.execute('vacuum')
    assert c.execute('pragma integrity_check').fetchone()[0] == 'ok'
    assert c.execute('select count(*) from t').fetchone()[0] == 30
";
    run(drive.top(), "python3", &["-c", script]);
}

#[test]
fn editors_save_by_writing_beside_syncing_and_renaming() {
    let Some(drive) = Drive::new() else { return };
    for round in 0..40 {
        let text = format!("version {round}\n").repeat(100 + round);
        let mut beside = fs::File::create_new(drive.at(".file.tmp")).expect("created");
        beside.write_all(text.as_bytes()).expect("written");
        beside.sync_all().expect("synced");
        drop(beside);
        fs::rename(drive.at(".file.tmp"), drive.at("file")).expect("renamed");
        assert_eq!(fs::read_to_string(drive.at("file")).expect("read"), text);
    }
    assert_eq!(fs::read_dir(drive.top()).expect("listed").count(), 1);
}

#[test]
fn copying_moving_and_removing_trees_leaves_nothing_behind() {
    let Some(drive) = Drive::new() else { return };
    let tree = drive.at("tree");
    fs::create_dir(&tree).expect("made");
    plant(&tree);
    run(drive.top(), "cp", &["-a", "tree", "copy"]);
    run(drive.top(), "diff", &["-r", "--no-dereference", "tree", "copy"]);
    run(drive.top(), "mv", &["copy", "moved"]);
    run(drive.top(), "diff", &["-r", "--no-dereference", "tree", "moved"]);
    run(drive.top(), "rm", &["-r", "tree", "moved"]);
    assert_eq!(fs::read_dir(drive.top()).expect("listed").count(), 0);
}

#[test]
fn dd_writes_and_reads_with_every_block_size() {
    let Some(drive) = Drive::new() else { return };
    if !have("dd") {
        return;
    }
    let data = Numbers(7).bytes(700_001);
    fs::write(drive.at("in"), &data).expect("written");
    for size in ["512", "1000", "4096", "7777", "65536", "131071", "1M"] {
        for flags in [&["conv=fsync"][..], &["conv=fdatasync,sparse"], &["conv=notrunc"]] {
            let block = format!("bs={size}");
            run(drive.top(), "dd", &[&["if=in", "of=out", "status=none", &block], flags].concat());
            assert!(fs::read(drive.at("out")).expect("read") == data, "blocks of {size} bytes, {flags:?}");
        }
    }
}
