//! End to end: real node processes, real consensus, real TFHE, through the same commands that a user types.
//!
//! Each test runs a localnet of its own in a directory of its own on free ports; they take turns, because one localnet
//! fills a small machine. The FHE key sets come from the cache and are made once. Bootstraps on this machine take about
//! 30 core-milliseconds: each placement test spends about 1,000, the guide to contracts 800 at each worker, the others
//! few or none. The auction, with 862 at each worker, is behind `--ignored`.

// A test may use a clock to wait for processes, and a failed expectation should end it where it stands.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::unwrap_used)]

mod auction;
mod contracts;
mod evm;
mod key_manager;
mod network;
mod placement;
mod standing;
mod wrong_input;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

/// Waits for this test's turn. A test that failed before does not stop the others.
fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program under test.
fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_parallax"))
}

/// Runs the program to its end.
fn parallax(dir: &Path, args: &[&str]) -> Output {
    Command::new(program()).args(args).current_dir(dir).output().expect("the program under test can be started")
}

/// Standard output and standard error of a run, for assertions and their messages.
fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
