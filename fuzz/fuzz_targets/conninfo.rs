//! Any connection string is read or refused, and no message repeats a password.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgark::pg::{ConnSettings, Environment};

fuzz_target!(|text: &str| {
    let environment = Environment::of_process();
    let given = format!("{text} password=pa55w0rd-of-fuzz");
    for text in [text, given.as_str()] {
        match ConnSettings::resolve(&environment, Some(text), &[]) {
            Ok(settings) => assert!(!settings.to_string().contains("pa55w0rd-of-fuzz")),
            Err(error) => assert!(!error.to_string().contains("pa55w0rd-of-fuzz"), "{error}"),
        }
    }
});
