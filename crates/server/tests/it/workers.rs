//! The background workers of a server as operators and programs see them: all of them in the same way.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::commands::status;
use crate::disks::{eventually, put_all, told};
use crate::http;
use crate::s3::S3;
use crate::server::{Place, Server, run};

/// The page that tells people of them.
const PAGE: &str = include_str!("../../../../docs/operate/running.md");
/// Of the page, those that are there only while there is something to do for them.
const NOW_AND_THEN: [&str; 1] = ["eraser"];

fn workers(place: &Place) -> Vec<Value> {
    status(place)["workers"].as_array().unwrap().clone()
}

fn worker(place: &Place, name: &str) -> Value {
    workers(place).into_iter().find(|worker| worker["name"] == name).unwrap_or_else(|| panic!("no worker {name}"))
}

fn names(place: &Place) -> BTreeSet<String> {
    workers(place).iter().map(|worker| worker["name"].as_str().unwrap().to_owned()).collect()
}

fn ask(server: &Server<'_>, path: &str) -> http::Answer {
    http::request(http::authority(&server.door("admin", "url")), "GET", path, &[], b"")
}

/// The names in the first column of the table of workers.
fn documented() -> BTreeSet<String> {
    let table = PAGE.split("| worker | does | counts |").nth(1).expect("the table of workers");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
    rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn every_worker_is_in_the_status_the_metrics_and_the_documentation_in_the_same_way() {
    let place = Place::new();
    let server = place.serve(3, &[]);
    let shown = names(&place);
    let mut expected = documented();
    NOW_AND_THEN.iter().for_each(|name| assert!(expected.remove(*name), "{name}"));
    assert_eq!(shown, expected, "what the server shows, and what docs/operate/running.md says");

    let metrics = ask(&server, "/metrics").text();
    let table = String::from_utf8(run(&["status", "--data", &place.data_arg()]).stdout).unwrap();
    for worker in workers(&place) {
        let (name, unit) = (worker["name"].as_str().unwrap(), worker["unit"].as_str().unwrap());
        let keys: Vec<&String> = worker.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            [
                "bound",
                "budget",
                "cursor",
                "does",
                "errors",
                "failure",
                "handled",
                "name",
                "rounds",
                "since",
                "state",
                "unit",
                "waits_for"
            ]
        );
        assert!(table.contains(worker["does"].as_str().unwrap()), "{name} in {table}");
        for sample in [
            format!("strata_worker_rounds_total{{worker=\"{name}\"}} "),
            format!("strata_worker_errors_total{{worker=\"{name}\"}} "),
            format!("strata_worker_handled_total{{worker=\"{name}\",unit=\"{unit}\"}} "),
            format!("strata_worker_cursor{{worker=\"{name}\",unit=\"{unit}\"}} "),
            format!("strata_worker_bound{{worker=\"{name}\",unit=\"{unit}\"}} "),
            format!("strata_worker_budget_bytes_per_second{{worker=\"{name}\"}} "),
            format!("strata_worker_failing_since_timestamp_seconds{{worker=\"{name}\"}} 0\n"),
        ] {
            assert!(metrics.contains(&sample), "{sample}");
        }
        let states =
            metrics.lines().filter(|line| line.starts_with(&format!("strata_worker_state{{worker=\"{name}\"")));
        let states: Vec<&str> = states.collect();
        assert_eq!((states.len(), states.iter().filter(|line| line.ends_with(" 1")).count()), (5, 1), "{states:?}");
    }
    assert_eq!(ask(&server, "/health/workers").text(), "well\n");
    assert!(server.stop().success());
    assert_eq!(workers(&place), [] as [Value; 0], "nobody works in a store at rest");
}

#[test]
fn what_workers_have_done_is_counted_and_a_paused_one_says_so() {
    let place = Place::new();
    let server = place.serve(3, &["--scrub-interval", "off", "--scrub-pace", "64MiB"]);
    put_all(&server, 0);
    let s3 = S3::of(&server);
    for n in 0..6 {
        assert_eq!(s3.send("DELETE", &format!("/box/o{n}"), "", &[], b"").status, 204);
    }
    assert_eq!(told(&place, &["heal"]).0, 0);
    let heal = worker(&place, "heal");
    assert!(heal["cursor"].as_u64() > Some(0), "{heal}");
    assert_eq!(
        (&heal["cursor"], &heal["rounds"], &heal["state"]),
        (&heal["bound"], &Value::from(1), &Value::from("idle"))
    );

    assert_eq!(told(&place, &["reclaim", "--wait"]).0, 0);
    for name in ["mover", "reclaim", "checkpoint"] {
        let worker = worker(&place, name);
        assert!(worker["rounds"].as_u64() > Some(0) && worker["handled"].as_u64() > Some(0), "{worker}");
        assert_eq!(worker["budget"]["bytes_per_second"], 64 << 20, "{worker}");
    }

    assert_eq!(told(&place, &["fsck"]).0, 0);
    let check = worker(&place, "check");
    assert!(check["handled"].as_u64() > Some(0) && check["rounds"] == 1, "{check}");
    assert_eq!((&check["budget"]["part_of_time"], &check["budget"]["yields"]), (&Value::from(2), &Value::from(true)));

    told(&place, &["scrub", "--pause", "--pace", "1MiB"]);
    let scrub = worker(&place, "scrub");
    assert_eq!(
        (&scrub["state"], &scrub["budget"]["bytes_per_second"]),
        (&Value::from("paused"), &Value::from(1 << 20))
    );
    told(&place, &["scrub", "--resume"]);
    assert_eq!(worker(&place, "scrub")["state"], "idle");
    assert!(server.stop().success());
}

/// Two of three disks are pulled: nothing can be written.
#[test]
fn workers_say_what_they_wait_for_and_what_they_fail_by() {
    let place = Place::new();
    let server = place.serve(3, &[]);
    put_all(&server, 0);
    for disk in ["disk1", "disk2"] {
        std::fs::rename(place.data().join(disk), place.beside(disk)).unwrap();
    }
    let s3 = S3::of(&server);
    eventually("it is noticed", || s3.send("PUT", "/box/refused", "", &[], b"no").status == 503);
    for name in ["writer", "mover"] {
        eventually("it waits", || worker(&place, name)["waits_for"] == "the write quorum");
        assert_eq!(worker(&place, name)["state"], "waiting");
    }
    let failure = worker(&place, "writer")["failure"].clone();
    assert!(failure["what"].as_str().unwrap().contains("write quorum lost"), "{failure}");
    let health = ask(&server, "/health/workers");
    assert!(health.status == 503 && health.text().contains("writer fails since"), "{}", health.text());

    for disk in ["disk1", "disk2"] {
        std::fs::rename(place.beside(disk), place.data().join(disk)).unwrap();
    }
    eventually("it writes again", || worker(&place, "writer")["failure"].is_null());
    eventually("they are healed", || worker(&place, "heal")["rounds"].as_u64() > Some(0));
    eventually("all is well", || ask(&server, "/health/workers").status == 200);
    assert!(server.stop().success());
}
