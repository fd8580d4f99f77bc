//! Sets of disks that are added to a store and emptied, as an operator does it, under a running server and at rest.

use std::path::PathBuf;
use std::process::Command;

use crate::commands::status;
use crate::disks::{OBJECTS, all_are_there, eventually, put_all, states, told};
use crate::server::{Place, complaint, run};

/// Folders beside the store, as arguments.
fn folders(place: &Place, name: &str, count: usize) -> (Vec<PathBuf>, Vec<String>) {
    let folders: Vec<PathBuf> = (0..count).map(|number| place.beside(&format!("{name}{number}"))).collect();
    let arguments = folders.iter().map(|folder| folder.display().to_string()).collect();
    (folders, arguments)
}

#[test]
fn the_layout_of_a_store_is_changed_while_it_serves_and_the_old_disks_go() {
    let place = Place::new();
    let server = place.serve(3, &[]);
    put_all(&server, 0);
    let (new, arguments) = folders(&place, "new", 4);
    let mut command = vec!["set", "add"];
    command.extend(arguments.iter().map(String::as_str));
    let (code, sets) = told(&place, &command);
    assert_eq!(code, 0, "{sets}");
    assert_eq!((&sets[0]["layout"], &sets[1]["layout"]), (&"2+1".into(), &"2+2".into()));
    assert_eq!(sets[1]["number"], 1);
    assert_eq!(states(&place), ["active"; 7]);
    put_all(&server, OBJECTS);

    // A server that is killed finds all of its disks again, with the arguments it was always started with.
    server.kill();
    let server = place.serve(3, &[]);
    all_are_there(&server, 2 * OBJECTS);
    let lesser = place.beside("lesser").display().to_string();
    let refused = run(&["set", "add", &lesser, "--data", &place.data_arg()]);
    assert!(complaint(&refused).contains("survive the loss of 0 of its disks"), "{}", complaint(&refused));
    assert_eq!(states(&place).len(), 7);
    let refused = run(&["set", "drain", "7", "--data", &place.data_arg()]);
    assert!(complaint(&refused).contains("no set 7"), "{}", complaint(&refused));

    let (code, sets) = told(&place, &["set", "drain", "0"]);
    assert_eq!(code, 0, "{sets}");
    assert_eq!(sets.as_array().unwrap().len(), 1);
    assert_eq!(sets[0]["number"], 1);
    all_are_there(&server, 2 * OBJECTS);
    let last = run(&["set", "drain", "1", "--data", &place.data_arg()]);
    assert!(complaint(&last).contains("the only one that takes writes"), "{}", complaint(&last));
    let store_json = place.data().join("store.json");
    eventually("the old disks are forgotten", || {
        let text = std::fs::read_to_string(&store_json).unwrap();
        !text.contains("disk0") && text.contains("new0")
    });
    // The old disks may be unmounted.
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().flatten();
    let open: Vec<PathBuf> = open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).collect();
    let of_disks = open.iter().filter(|target| target.to_string_lossy().contains("/disk"));
    assert_eq!(of_disks.collect::<Vec<_>>(), Vec::<&PathBuf>::new());
    assert!(server.stop().success());

    for number in 0..3 {
        let disk = place.data().join(format!("disk{number}"));
        assert_eq!(std::fs::read_dir(&disk).unwrap().count(), 0, "{} is wiped", disk.display());
        std::fs::remove_dir(disk).unwrap();
    }
    // As many new disks as the parity of the new layout allows may be lost.
    for folder in &new[..2] {
        std::fs::remove_dir_all(folder).unwrap();
    }
    let server = place.serve(3, &[]);
    assert_eq!(status(&place)["layout"], "2+2");
    all_are_there(&server, 2 * OBJECTS);
}

#[test]
fn sets_are_added_and_emptied_at_rest_and_a_store_without_one_of_its_sets_is_refused() {
    let place = Place::new();
    let server = place.serve(1, &[]);
    put_all(&server, 0);
    assert!(server.stop().success());
    let (new, arguments) = folders(&place, "more", 2);
    let (code, sets) = told(&place, &["set", "add", "--layout", "2+0", &arguments[0], &arguments[1]]);
    assert_eq!((code, &sets[1]["layout"]), (0, &"2+0".into()), "{sets}");
    let (_, listed) = told(&place, &["set", "list"]);
    assert_eq!((&listed[1]["set"], &listed[1]["disks"]), (&sets[1]["set"], &sets[1]["disks"]));
    let wrong = run(&["set", "add", "--layout", "2+1", &arguments[0], "--data", &place.data_arg()]);
    assert!(complaint(&wrong).contains("nothing was changed"), "{}", complaint(&wrong));

    let server = place.serve(1, &[]);
    put_all(&server, OBJECTS);
    // On one file system all sets are equally full: there is nothing to move, and the command ends.
    assert_eq!(told(&place, &["set", "rebalance"]).0, 0);
    assert!(server.stop().success());
    assert_eq!(told(&place, &["set", "rebalance"]).0, 0);
    // The set's disks are not mounted.
    for folder in &new {
        std::fs::rename(folder, folder.with_extension("away")).unwrap();
    }
    let refused = run(&["status", "--data", &place.data_arg()]);
    assert!(complaint(&refused).contains("none of the disks of set 1"), "{}", complaint(&refused));
    for folder in &new {
        std::fs::rename(folder.with_extension("away"), folder).unwrap();
    }
    let (code, sets) = told(&place, &["set", "drain", "1"]);
    assert_eq!((code, sets.as_array().unwrap().len()), (0, 1), "{sets}");
    for folder in &new {
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
        std::fs::remove_dir(folder).unwrap();
    }
    let server = place.serve(1, &[]);
    all_are_there(&server, 2 * OBJECTS);
}

#[test]
fn a_set_is_emptied_onto_disks_that_are_not_in_order_only_when_somebody_insists() {
    let place = Place::new();
    let server = place.serve(3, &[]);
    put_all(&server, 0);
    let (_, arguments) = folders(&place, "new", 3);
    let (code, sets) = told(&place, &["set", "add", &arguments[0], &arguments[1], &arguments[2]]);
    assert_eq!(code, 0, "{sets}");
    let (code, _) = told(&place, &["disk", "remove", "3"]);
    assert_eq!(code, 0);
    let refused = run(&["set", "drain", "0", "--data", &place.data_arg()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        complaint(&refused).contains("not all disks are in order (") && complaint(&refused).contains(&arguments[0])
    );
    let (_, listed) = told(&place, &["set", "list"]);
    assert_eq!((&listed[0]["state"], listed.as_array().unwrap().len()), (&"active".into(), 2), "{listed}");
    let (code, sets) = told(&place, &["set", "drain", "0", "--yes"]);
    assert_eq!((code, sets.as_array().unwrap().len()), (0, 1), "{sets}");
    all_are_there(&server, OBJECTS);
}

#[test]
fn a_set_that_is_added_while_descriptors_run_out_leaves_a_store_that_opens() {
    let place = Place::new();
    let server = place.serve(3, &[]);
    put_all(&server, 0);
    assert!(server.stop().success());
    let (_, arguments) = folders(&place, "new", 3);
    let (mut refused, mut added) = (0, false);
    for files in (10..120).step_by(3) {
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_strata")]);
        let tried = limited.args(["set", "add", "--data", &place.data_arg()]).args(&arguments).output().unwrap();
        let sets = told(&place, &["set", "list"]).1.as_array().unwrap().len();
        added = tried.status.success();
        assert!(sets == 1 || sets == 2, "with {files} descriptors: {}", complaint(&tried));
        assert!(!added || sets == 2, "with {files} descriptors: {}", complaint(&tried));
        if sets == 2 {
            break;
        }
        refused += 1;
    }
    assert!(refused > 3, "{refused} refused, added: {added}");
    let server = place.serve(3, &[]);
    all_are_there(&server, OBJECTS);
    put_all(&server, OBJECTS);
    assert_eq!(states(&place), ["active"; 6]);
}
