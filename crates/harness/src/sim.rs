//! Rows over simulated disks: no thread of the product, no wall clock, every failure replayable from what is printed.

mod corrupt;
mod crash;
mod feed;
mod full;
mod gateways;
mod iofail;
mod layout;
mod log;
mod loss;
mod model;
mod mover;
mod replace;
mod rig;
mod sets;
mod sled;
mod states;
mod step;
mod swarm;
mod takeover;
mod trouble;
mod upgrade;
mod workload;

use crate::row::Row;

/// The rows, in the order of the table.
pub(crate) const ROWS: &[Row] = &[
    loss::ROW,
    crash::ROW,
    iofail::ROW,
    swarm::ROW,
    corrupt::ROW,
    sled::ROW,
    sled::FJALL,
    replace::ROW,
    gateways::ROW,
    feed::ROW,
];

#[cfg(test)]
mod tests {
    //! Each row in a form that takes seconds: that it runs, finds something to do and finds nothing wrong.

    use clap::Parser;

    use crate::options::Options;
    use crate::row;

    fn kept(name: &str) {
        // On a machine that is busy with other things the first case alone may take longer than the seconds that are enough elsewhere.
        for seconds in ["4", "60"] {
            let options = ["strata-harness", name, "--short", "--seconds", seconds, "--threads", "1"];
            let options = Options::parse_from(options);
            let report = row::named(name).and_then(|row| row::report_of(row, &options)).expect("it runs");
            assert!(report.kept(), "{:?}", report.violations);
            if report.figures.first().is_some_and(|figure| figure.value > 0.0) {
                return;
            }
        }
        panic!("nothing was done in a minute");
    }

    #[test]
    fn loss_of_disks() {
        kept("loss");
    }

    #[test]
    fn power_cuts() {
        kept("crash");
    }

    #[test]
    fn followed_events() {
        kept("feed");
    }

    #[test]
    fn failing_io() {
        kept("iofail");
    }

    #[test]
    fn simulated_stores() {
        kept("swarm");
    }

    #[test]
    fn corruption() {
        kept("corrupt");
    }

    #[test]
    fn damaged_indexes() {
        kept("sled");
    }

    #[test]
    fn damaged_indexes_of_the_other_engine() {
        kept("fjall");
    }

    #[test]
    fn replaced_disks() {
        kept("replace");
    }

    #[test]
    fn several_name_spaces_over_one_store() {
        kept("gateways");
    }

    #[test]
    fn a_run_that_adds_to_another_goes_on_where_it_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().to_str().expect("a name");
        let run = |seconds: &str| {
            let options = ["strata-harness", "crash", "--add", "--out", out, "--threads", "1", "--seconds", seconds];
            row::named("crash").and_then(|row| row::report_of(row, &Options::parse_from(options))).expect("it runs")
        };
        let first = run("1");
        let second = run("2");
        assert!(first.next_case > 0 && second.first_case == first.next_case && second.next_case > first.next_case);
        assert!(second.figures[0].value > first.figures[0].value, "{:?} {:?}", first.figures, second.figures);
        assert_eq!(second.runs.len(), 2);
    }
}
