//! Settings from flags, variables and files: what wins, what is refused and in which words.

use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser};

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    store: StoreSettings,
    #[command(flatten)]
    doors: DoorSettings,
}

/// What `flags` over the file `toml` come to. Variables of the environment are left out.
fn check(flags: &str, toml: &str) -> Result<Config, String> {
    let command = Line::command().mut_args(|argument| argument.env(None::<&str>));
    let matches = command
        .try_get_matches_from(std::iter::once("strata").chain(flags.split_whitespace()))
        .map_err(|error| error.to_string())?;
    let line = Line::from_arg_matches(&matches).map_err(|error| error.to_string())?;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("strata.toml");
    std::fs::write(&path, toml).unwrap();
    Config::load(Some(&path), line.store, line.doors).map_err(|ConfigError(what)| what)
}

fn refusal(flags: &str, toml: &str) -> String {
    check(flags, toml).expect_err("these settings must be refused")
}

#[test]
fn the_defaults_are_one_disk_on_loopback_with_fixed_ports() {
    let config = check("--data /nowhere/store", "").unwrap();
    assert_eq!(config.store.disks, [PathBuf::from("/nowhere/store/disk0")]);
    assert_eq!(config.store.layout.to_string(), "1+0");
    assert_eq!(config.store.durability, DurabilityClass::Strict);
    for (door, address) in [
        (config.s3, "127.0.0.1:9000"),
        (config.webdav, "127.0.0.1:9001"),
        (config.admin, "127.0.0.1:9002"),
        (config.nfs, "127.0.0.1:12049"),
    ] {
        assert_eq!(door.to_string(), address);
    }
}

#[test]
fn a_flag_beats_the_file_and_the_file_beats_the_default() {
    let config =
        check("--data /a --region eu-flag-1", "data = '/b'\nregion = 'eu-file-1'\nparity = 1\ndisks = 6").unwrap();
    assert_eq!(config.store.data, Path::new("/a"));
    assert_eq!(config.region, "eu-flag-1");
    assert!(config.s3_sigv2 && !check("--data /a --s3-sigv2 off", "").unwrap().s3_sigv2);
    assert!(!check("--data /a", "s3-sigv2 = 'off'").unwrap().s3_sigv2);
    assert_eq!(config.store.layout.to_string(), "5+1");
}

#[test]
fn domains_and_limits_of_the_doors_can_be_set() {
    let config = check("--data /a --domain s3.example.com,store.lan --connections 50", "requests = 7").unwrap();
    assert_eq!(config.domains, ["s3.example.com", "store.lan"]);
    assert_eq!((config.connections, config.requests), (Some(50), 7));
}

#[test]
fn the_share_may_have_another_name_behind_a_proxy() {
    let config = check("--data /a --webdav-url https://files.example:8443/", "trusted-proxies = ['10.0.0.1']").unwrap();
    assert_eq!(config.webdav_authority.as_deref(), Some("files.example:8443"));
    assert_eq!(config.trusted_proxies, ["10.0.0.1".parse().unwrap()]);
}

#[test]
fn named_disks_on_the_command_line_replace_a_number_in_the_file() {
    let config = check("--data /a --disk /x --disk /y", "disks = 6").unwrap();
    assert_eq!(config.store.disks, [PathBuf::from("/x"), PathBuf::from("/y")]);
}

#[test]
fn auto_takes_free_ports_only_for_doors_without_an_address() {
    let config = check("--data /a --ports auto --s3-listen 127.0.0.1:7000 --nfs-listen off", "").unwrap();
    assert_eq!(config.s3.to_string(), "127.0.0.1:7000");
    assert_eq!(config.webdav.to_string(), "127.0.0.1:0");
    assert_eq!(config.nfs, Listen::Off);
}

#[test]
fn an_existing_store_says_how_many_disks_it_has() {
    let folder = tempfile::tempdir().unwrap();
    // disk2 is missing: a gap is a lost disk, not the end of the set.
    for number in [0, 1, 3] {
        std::fs::create_dir(folder.path().join(format!("disk{number}"))).unwrap();
    }
    let config = check(&format!("--data {}", folder.path().display()), "").unwrap();
    assert_eq!(config.store.disks.len(), 4);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_name() {
    assert!(refusal("--data /a", "s3_listen = 'off'").ends_with("unknown key `s3_listen`; did you mean `s3-listen`?"));
    assert!(refusal("--data /a", "colour = 'red'").contains("the keys are data, disks, disk, parity"));
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    for (flags, toml, expected) in [
        ("", "", "no folder for the store; name one with --data DIR"),
        ("--data /a", "disks = 0", "1 to 20 disks, not 0"),
        ("--data /a", "disks = 300", "disks = 300"),
        ("--data /a --disks 2 --parity 2", "", "parity is at most 1"),
        ("--data /a", "cache-size = '1KiB'", "cache-size 1 KiB is too small; at least 16 MiB"),
        ("--data /a --cache-size 9000TiB", "", "too large; at most"),
        ("--data /a", "cache-size = 'plenty'", "`plenty` is not a size; write a number and a unit, such as 64MiB"),
        ("--data /a", "cache-size = -5", "a size cannot be negative"),
        ("--data /a --segment-size 8389000", "", "not a whole number of MiB"),
        ("--data /a", "durability = 'maybe'", "unknown variant `maybe`, expected `strict` or `relaxed`"),
        ("--data /a --s3-listen 9000", "", "such as 127.0.0.1:9000"),
        ("--data /a --s3-listen 127.0.0.1:9001", "", "the doors s3 and webdav cannot both listen on 127.0.0.1:9001"),
        ("--data /a --mount /a", "", "would hide /a"),
        ("--data /a/b --mount /a", "", "would hide /a/b/disk0"),
        ("--data /a --disk /x --disk /x", "", "disk /x is named twice"),
        ("--data /a --disks 2 --disk /x", "", "cannot be used with"),
        ("--data /a", "disk = ['/x']\ndisks = 1", "give one of the two"),
        ("--data /a --region US_EAST", "", "letters, digits and dashes"),
        ("--data /a --trusted-proxies here", "", "trusted-proxies: `here` is no address range"),
        ("--data /a --webdav-url files.example", "", "does not begin with http:// or https://"),
        ("--data /a --webdav-url https://files.example/dav/", "", "has a path"),
        ("--data /a --webdav-url https:///", "", "has no host name"),
        ("--data /a --nfs-clients 10.0.0.0/40", "", "nfs-clients: `10.0.0.0/40` is no address range"),
        ("--data /a --threads 0", "", "outside 1 to 512"),
        ("--data /a --connections 0", "", "connections 0 is outside 1 to 1024"),
        ("--data /a", "connections = 1025", "connections 1025 is outside 1 to 1024"),
        ("--data /a", "requests = 70000", "requests 70000 is outside 1 to 65536"),
        ("--data /a --domain s3.example.com:9000", "", "distinct host names without a port"),
        ("--data /a", "domain = ['a.example', 'b.a.example']", "distinct host names"),
        ("--data /a", "data = [", "TOML parse error at line 1"),
    ] {
        let what = refusal(flags, toml);
        assert!(what.contains(expected), "{flags} {toml}: {what}");
    }
}

#[test]
fn a_missing_configuration_file_is_named() {
    let path = Path::new("/nowhere/strata.toml");
    let ConfigError(what) = Config::load(Some(path), StoreSettings::default(), DoorSettings::default()).unwrap_err();
    assert!(what.starts_with("the configuration file /nowhere/strata.toml cannot be read"), "{what}");
}

/// The shipped example, and the same with every setting switched on.
fn example() -> (&'static str, String) {
    let text = include_str!("../../../../packaging/strata.toml");
    // Settings are commented out as `#key = value`, prose as `# words`.
    let full = text.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with([' ', '#']) && !setting.is_empty() => format!("{setting}\n"),
        _ => format!("{line}\n"),
    });
    (text, full.collect())
}

#[test]
fn the_shipped_example_shows_every_key_and_is_valid_as_it_is_and_in_full() {
    let (text, full) = example();
    file::parse(text).unwrap();
    for key in file::known_keys() {
        assert!(full.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key} is not shown");
    }
    let full: String =
        full.lines().filter(|line| !line.starts_with("disks ")).map(|line| format!("{line}\n")).collect();
    check("", &full).unwrap();
}

#[test]
fn the_defaults_that_are_shown_are_the_ones_that_hold() {
    let (text, full) = example();
    // Settings whose shown value is a choice; the others show their default.
    let choices = [
        "disk ",
        "disks ",
        "parity ",
        "mount ",
        "allow-other ",
        "threads ",
        "nfs-squash ",
        "domain ",
        "connections ",
        "webdav-url ",
        "segment-size ",
        "index-engine ",
    ];
    let shown = full.lines().filter(|line| !choices.iter().any(|key| line.starts_with(key)));
    let shown: String = shown.map(|line| format!("{line}\n")).collect();
    assert_eq!(check("", &shown).unwrap(), check("", text).unwrap());
    for argument in Line::command().get_arguments() {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let promised = help.split_once("[default: ").and_then(|(_, rest)| rest.strip_suffix(']'));
        let (Some(key), Some(promised)) = (argument.get_long(), promised) else {
            continue;
        };
        if !promised.contains(' ') {
            let line = full.lines().find_map(|line| line.strip_prefix(&format!("{key} = "))).unwrap();
            assert_eq!(line.trim_matches('"'), promised, "{key}");
        }
    }
}

#[test]
fn a_store_keeps_the_layout_it_was_made_with() {
    let folder = tempfile::tempdir().unwrap();
    let disks: Vec<_> = ["/mnt/a", "/mnt/b", "/mnt/c"].map(PathBuf::from).into();
    Remembered { layout: Layout::for_disks(3, None).unwrap(), several: false, made: true, disks: disks.clone() }
        .save(folder.path())
        .unwrap();
    let data = format!("--data {}", folder.path().display());
    let config = check(&data, "").unwrap();
    assert_eq!((config.store.disks, config.store.layout.to_string()), (disks, "2+1".into()));
    assert!(check(&format!("{data} --disk /x --disk /y --disk /z"), "").is_ok());
    assert!(refusal(&format!("{data} --disks 2"), "").contains("has 3 disks (2+1), not 2; name all of them"));
    assert!(refusal(&format!("{data} --parity 2"), "").contains("was made with parity 1, not 2"));
}

#[test]
fn what_a_store_was_made_with_says_nothing_once_sets_were_added() {
    let folder = tempfile::tempdir().unwrap();
    let disks: Vec<PathBuf> = ["/mnt/a", "/mnt/b", "/mnt/c", "/mnt/d"].map(PathBuf::from).into();
    let kept = Remembered { layout: Layout { data: 1, parity: 1 }, several: true, made: true, disks: disks.clone() };
    kept.save(folder.path()).unwrap();
    let data = format!("--data {}", folder.path().display());
    assert_eq!(check(&format!("{data} --disks 6"), "").unwrap().store.disks, disks);
    // Disks that are named come first, and those of the sets that joined are found all the same.
    let all = check(&format!("{data} --disk /mnt/b --disk /mnt/e"), "").unwrap().store.disks;
    assert_eq!(all, ["/mnt/b", "/mnt/e", "/mnt/a", "/mnt/c", "/mnt/d"].map(PathBuf::from));
}
