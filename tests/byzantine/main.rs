//! Byzantine scenarios on real processes: every row of a table starts a localnet with dishonest, dead or cut-off nodes,
//! gives it work, and says what must come of it.
//!
//! A row is data ([`rows`]); one driver ([`run`]) carries it out with the clients of the row's ParaTime ([`work`]), reads
//! the chain ([`observe`]), executes the finalised batches again ([`replay`]), and compares. Most rows move tokens inside
//! a ParaTime, which takes no bootstrap, so a round takes as long as its blocks; the few that need ciphertexts have one
//! report evaluated by the scheduler, or one amount minted in the EVM.
//!
//! ```text
//! scripts/byzantine                 every row, one after another, and the table
//! scripts/byzantine straggler       the rows whose name contains this
//! cargo test --workspace            the six rows of the default suite
//! ```
//!
//! `PARALLAX_SEED` chooses what is left to chance (which node is killed when); it is printed, and nothing is tried
//! twice. A row that fails leaves its directory with the nodes' logs and names it.

// A test may use a clock to wait for processes, and a failed expectation should end it where it stands.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::unwrap_used)]

mod observe;
mod replay;
mod rows;
mod run;
mod work;

use rows::{ROWS, Row};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// What the command line asks for: the flags that matter of those that `cargo test` passes to every test program.
struct Asked {
    all: bool,
    list: bool,
    names: Vec<String>,
}

impl Asked {
    fn read() -> Self {
        let mut asked = Self { all: false, list: false, names: vec![] };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--ignored" | "--include-ignored" => asked.all = true,
                "--list" => asked.list = true,
                // Their values are no names of rows.
                "--skip" | "--format" | "--color" | "--test-threads" => drop(args.next()),
                other if other.starts_with('-') => {}
                name => asked.names.push(name.to_owned()),
            }
        }
        asked
    }

    fn wants(&self, row: &Row) -> bool {
        (self.all || row.default) && (self.names.is_empty() || self.names.iter().any(|name| row.name.contains(name)))
    }
}

/// The program under test under a name of its own, so that a build meanwhile does not change it.
fn program(dir: &Path) -> PathBuf {
    let (built, own) = (Path::new(env!("CARGO_BIN_EXE_parallax")), dir.join("parallax"));
    if std::fs::hard_link(built, &own).is_err() {
        std::fs::copy(built, &own).expect("the program under test can be copied");
    }
    own
}

fn main() -> ExitCode {
    let asked = Asked::read();
    let wanted: Vec<&Row> = ROWS.iter().filter(|row| asked.wants(row)).collect();
    if asked.list {
        for row in wanted {
            println!("{}: test", row.name);
        }
        return ExitCode::SUCCESS;
    }
    if wanted.is_empty() {
        println!("no row of the Byzantine table has such a name");
        return ExitCode::SUCCESS;
    }
    let seed = std::env::var("PARALLAX_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    println!(
        "\nByzantine scenarios on real processes, {} of {} rows, PARALLAX_SEED={seed}\n",
        wanted.len(),
        ROWS.len()
    );
    run::header();
    let home = tempfile::tempdir().expect("a directory for the program");
    let program = program(home.path());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let begun = Instant::now();
    let mut failed = 0usize;
    for row in &wanted {
        failed += usize::from(!runtime.block_on(run::row(row, &program, seed)));
    }
    let passed = wanted.len() - failed;
    println!("\n{passed} rows passed, {failed} failed, {:.0} s\n", begun.elapsed().as_secs_f64());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
