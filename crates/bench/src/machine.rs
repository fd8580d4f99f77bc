//! The small print: where and how the figures were taken, so that nobody has to guess what they mean.

use std::path::Path;

use serde_json::{Value, json};

use crate::clock::{amz_date, unix_seconds};
use crate::options::Options;

fn first_line(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

/// Type and name of the file system that holds `path`.
fn file_system(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let holding = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (_, at, kind) = (words.next()?, words.next()?, words.next()?);
            path.starts_with(at).then_some((at.len(), kind))
        })
        .max_by_key(|(length, _)| *length);
    holding.map_or("unknown", |(_, kind)| kind).to_owned()
}

/// All of it, as the first JSON line has it.
pub(crate) fn describe(options: &Options, below: &Path) -> Value {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let memory = first_line("/proc/meminfo");
    let memory_kib: u64 = memory.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or_default();
    json!({
        "date": amz_date(unix_seconds()),
        "cpu": model.trim_start_matches([' ', '\t', ':']),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory_gib": memory_kib >> 20,
        "kernel": first_line("/proc/sys/kernel/osrelease"),
        "load": first_line("/proc/loadavg").split(' ').next(),
        "file_system": file_system(below),
        "layout": options.layout.word(),
        "durability": options.durability.word(),
        "repetitions": options.repetitions(),
        "index_engine": options.index_engine.first().map_or("default", String::as_str),
        "quick": options.quick,
        "peers": options.peers,
    })
}

/// The same for people.
pub(crate) fn words(about: &Value) -> String {
    let word = |field: &str| about[field].as_str().map_or_else(|| about[field].to_string(), str::to_owned);
    let quick = if about["quick"] == true {
        "--quick: one short repetition, good to see that everything works and for nothing else\n"
    } else {
        ""
    };
    format!(
        "{}, {} cores, {} GiB, Linux {}, {}; load {} at the start, {}\n\
         layout {}, index engine {}, durability {} unless a subject's name says otherwise; median of {}; peers run with their defaults, which \
         do not sync\n\
         generator and servers share the cores; times of CPU come in ticks of 10 ms; ratios above 1 are better than what \
         they compare with\n{quick}",
        word("cpu"),
        word("cores"),
        word("memory_gib"),
        word("kernel"),
        word("file_system"),
        word("load"),
        word("date"),
        word("layout"),
        word("index_engine"),
        word("durability"),
        word("repetitions"),
    )
}
