//! The program `parallax`.

use clap::Parser as _;
use parallax_node::cli::Cli;
use parallax_node::error::{EXIT_REFUSED, Refused};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("parallax: {error:#}");
            if error.downcast_ref::<Refused>().is_some() {
                return ExitCode::from(EXIT_REFUSED as u8);
            }
            ExitCode::FAILURE
        }
    }
}
