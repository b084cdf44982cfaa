//! Turns any text into a config or a list of mistakes, each of which names a place; what is accepted once is accepted as it is printed.
#![no_main]

use std::path::PathBuf;

use balancer_user::config::{Source, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // A file that the text names would make the outcome depend on the machine.
    if text.contains("hash_secret_file") {
        return;
    }
    let parsed = |text: &str| parse(&[Source { file: PathBuf::from("fuzz.toml"), text: text.to_owned() }], "gw1");
    match parsed(text) {
        Ok(config) => assert_eq!(parsed(text).map(|again| again.digest).ok(), Some(config.digest)),
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
});
