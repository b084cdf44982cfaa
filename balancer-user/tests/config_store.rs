//! Turns files on disk into loaded configs: directories, secret files, the last good config, and the watch on changes.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use balancer_user::{
    config::ErrorKind,
    store::{Loaded, Store},
};
use tempfile::TempDir;
use tokio::time::timeout;

const DEMO: &str = include_str!("../../examples/demo.toml");

/// The demo config in three parts: gateway and hosts, red, blue.
fn parts() -> [&'static str; 3] {
    let red = DEMO.find("[[projects]]").expect("red");
    let blue = red + 1 + DEMO[red + 1..].find("[[projects]]").expect("blue");
    [&DEMO[..red], &DEMO[red..blue], &DEMO[blue..]]
}

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = TempDir::new().expect("temporary directory");
    for (name, text) in files {
        fs::write(directory.path().join(name), text).expect("file");
    }
    directory
}

fn load(path: &Path) -> Loaded {
    Store::new(path).load().unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn files_of_a_directory_are_one_config() {
    let [gateway, red, blue] = parts();
    let split =
        directory(&[("00.toml", gateway), ("10.toml", red), ("20.toml", blue), (".hidden.toml", "x"), ("README", "x")]);
    let whole = directory(&[("demo.toml", DEMO)]);
    let other_order = directory(&[("00.toml", blue), ("10.toml", red), ("20.toml", gateway)]);
    let (split, whole, other_order) =
        (load(split.path()), load(&whole.path().join("demo.toml")), load(other_order.path()));
    assert_eq!(split.desired, whole.desired);
    assert_eq!(split.sources.len(), 3);
    assert_eq!((&split.digest, split.generation), (&whole.digest, whole.generation));
    assert_eq!((&other_order.digest, other_order.generation), (&whole.digest, whole.generation));
}

#[test]
fn mistakes_of_every_file_are_found_with_the_file_and_its_own_key_path() {
    let [gateway, red, blue] = parts();
    let blue = blue.replace("vni = 200", "vni = 100").replacen("host = \"host1\"", "host = \"host9\"", 1);
    let gateway_again = format!("generation = 3\n{gateway}");
    let again = gateway_again.split("[[hosts]]").next().expect("gateway");
    let files = directory(&[
        ("a.toml", &format!("generation = 2\n{gateway}")),
        ("b.toml", red),
        ("c.toml", &blue),
        ("d.toml", again),
    ]);
    let errors = Store::new(files.path()).load().expect_err("mistakes");
    let found: Vec<_> = errors
        .errors()
        .iter()
        .map(|error| (error.file.file_name().and_then(|name| name.to_str()), error.path.as_str(), error.kind))
        .collect();
    assert_eq!(
        found,
        [
            (Some("c.toml"), "projects[0].vni", ErrorKind::Duplicate),
            (Some("c.toml"), "projects[0].containers[0].host", ErrorKind::UnknownReference),
            (Some("d.toml"), "generation", ErrorKind::Duplicate),
            (Some("d.toml"), "gateway", ErrorKind::Duplicate),
        ],
        "{errors}"
    );
    assert!(errors.to_string().ends_with("4 errors"));
}

#[test]
fn what_cannot_be_read_is_named() {
    let empty = directory(&[]);
    let binary = directory(&[]);
    fs::write(binary.path().join("x.toml"), [b'a', 0xff]).expect("file");
    for (path, words) in [
        (empty.path().to_owned(), "no *.toml file"),
        (empty.path().join("x.toml"), "No such file"),
        (binary.path().to_owned(), "not UTF-8 from byte 1"),
    ] {
        let errors = Store::new(&path).load().expect_err("unreadable");
        assert_eq!(errors.errors()[0].kind, ErrorKind::Unreadable);
        assert!(errors.to_string().contains(words), "{errors}");
    }
}

#[test]
fn secret_file_is_relative_to_the_config_and_counts_as_its_content() {
    let text = DEMO.replace("hash_secret = \"7d0f5b9c1e4a4b0c9f6a2d8e3c5b7a91\"", "hash_secret_file = \"secret\"");
    let files =
        directory(&[("demo.toml", &text), ("secret", "7d0f5b9c1e4a4b0c9f6a2d8e3c5b7a91\n"), ("inline.toml", DEMO)]);
    let (from_file, inline) = (load(&files.path().join("demo.toml")), load(&files.path().join("inline.toml")));
    assert_eq!(from_file.desired, inline.desired);
    assert_eq!((from_file.digest, from_file.generation), (inline.digest, inline.generation));

    fs::write(files.path().join("secret"), "7d0f5b9c1e4a4b0c9f6a2d8e3c5b7a9x").expect("file");
    let errors = Store::new(files.path().join("demo.toml")).load().expect_err("bad secret");
    assert_eq!((errors.errors().len(), errors.errors()[0].kind), (1, ErrorKind::BadValue));
    assert!(!format!("{errors} {errors:?}").contains("7d0f5b"));
}

#[test]
fn last_good_config_comes_back_as_it_was() {
    let text = DEMO.replace("hash_secret = \"7d0f5b9c1e4a4b0c9f6a2d8e3c5b7a91\"", "hash_secret_file = \"secret\"");
    let [gateway, red, blue] = [&text[..text.find("[[projects]]").expect("red")], parts()[1], parts()[2]];
    let files = directory(&[
        ("0.toml", gateway),
        ("1.toml", red),
        ("2.toml", blue),
        ("secret", "7d0f5b9c1e4a4b0c9f6a2d8e3c5b7a91"),
    ]);
    let state = directory(&[]);
    let state_dir = state.path().join("deeper");
    assert!(Loaded::last_good(&state_dir).expect("nothing is no error").is_none());

    let loaded = load(files.path());
    for _ in 0..2 {
        loaded.keep(&state_dir).expect("kept");
    }
    let back = Loaded::last_good(&state_dir).expect("readable").expect("there");
    assert_eq!((&back.desired, &back.digest, back.generation), (&loaded.desired, &loaded.digest, loaded.generation));
    let file = state_dir.join("last-good.toml");
    assert_eq!(back.sources, std::slice::from_ref(&file));
    assert_eq!(fs::metadata(&file).expect("file").permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&state_dir).expect("directory").count(), 1);
}

#[tokio::test]
async fn watch_reports_each_change_once_and_nothing_else() {
    let files = directory(&[("demo.toml", DEMO)]);
    let file = files.path().join("demo.toml");
    let store = Store::new(&file);
    let mut watch = store.watch().expect("watched");
    let moment = Duration::from_millis(700);

    fs::write(&file, DEMO).expect("same text");
    fs::File::options().append(true).open(&file).expect("touched");
    fs::write(files.path().join("other.toml"), "x").expect("another file");
    assert!(timeout(moment, watch.changed()).await.is_err(), "nothing changed");

    fs::write(&file, format!("{DEMO}# 1\n")).expect("written");
    timeout(moment * 5, watch.changed()).await.expect("a change");
    assert!(timeout(moment, watch.changed()).await.is_err(), "reported once");

    // As an editor saves: the old file goes, a new one takes its name.
    let aside = files.path().join("demo.toml.new");
    fs::write(&aside, format!("{DEMO}# 2\n")).expect("written");
    fs::rename(&file, files.path().join("demo.toml~")).expect("renamed");
    fs::rename(&aside, &file).expect("renamed");
    timeout(moment * 5, watch.changed()).await.expect("a change");
    assert!(timeout(moment, watch.changed()).await.is_err(), "reported once");
}

#[tokio::test]
async fn watch_on_a_directory_sees_files_come_and_go() {
    let [gateway, red, _] = parts();
    let files = directory(&[("a.toml", gateway)]);
    let mut watch = Store::new(files.path()).watch().expect("watched");
    let moment = Duration::from_millis(700);

    // Cut off while it waits for quiet, the watch still knows of the change.
    fs::write(files.path().join("b.toml"), red).expect("written");
    assert!(timeout(Duration::from_millis(100), watch.changed()).await.is_err());
    timeout(moment * 5, watch.changed()).await.expect("a file came");

    fs::write(files.path().join("README"), "x").expect("written");
    assert!(timeout(moment, watch.changed()).await.is_err(), "no config");

    fs::remove_file(files.path().join("b.toml")).expect("removed");
    timeout(moment * 5, watch.changed()).await.expect("a file went");
}
