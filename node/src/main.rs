//! The program `parallax`.

use clap::Parser as _;
use parallax_node::cli::Cli;
use parallax_node::error::{EXIT_REFUSED, Refused};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("parallax: {}", explain(&error));
            if error.downcast_ref::<Refused>().is_some() {
                return ExitCode::from(EXIT_REFUSED as u8);
            }
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes in one line. A node's refusal is shown in its own words, and a cause that repeats what is
/// there already is left out.
fn explain(error: &eyre::Report) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let words = match cause.downcast_ref::<jsonrpsee::core::client::Error>() {
            Some(jsonrpsee::core::client::Error::Call(refusal)) => refusal.message().to_owned(),
            _ => cause.to_string(),
        };
        if text.is_empty() {
            text = words;
        } else if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
    }
    text
}
