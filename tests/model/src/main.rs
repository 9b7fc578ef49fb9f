//! Explores the model of a round for a committee of any size:
//! `cargo run --manifest-path tests/model/Cargo.toml -- --workers 4 --backups 3`. What is explored, and why the reduction is
//! sound, stands in the text of the library.

use parallax_model::{Setup, Value, explore};
use std::process::ExitCode;

const USAGE: &str = "usage: model --suite | [--workers N] [--backups N] [--stragglers N] [--dual N] [--ranks N] [--window BLOCKS] \
    [--slash-from N] [--threads N] [--inbox] [--undisturbed] [--unreduced]\n\
    workers - stragglers must be at least 2; --dual seats that many workers among the backups too";

/// The setup and the number of threads.
fn arguments(args: &[String]) -> Result<(Setup, usize), String> {
    let (mut setup, mut threads) = (Setup::of(3, 3, 0), 2);
    let mut rest = args.iter();
    while let Some(flag) = rest.next() {
        let mut number = || {
            let text = rest.next().ok_or_else(|| format!("{flag} needs a number"))?;
            text.parse::<usize>().map_err(|e| format!("{flag} {text}: {e}"))
        };
        match flag.as_str() {
            "--workers" => setup.workers = number()?,
            "--backups" => setup.backups = number()?,
            "--stragglers" => setup.stragglers = number()?,
            "--dual" => setup.dual = number()?,
            "--ranks" => setup.ranks = u16::try_from(number()?).map_err(|e| e.to_string())?,
            "--window" => setup.window = number()? as u64,
            "--slash-from" => setup.slash_from = u32::try_from(number()?).map_err(|e| e.to_string())?,
            "--threads" => threads = number()?,
            "--inbox" => {
                setup.inbox = true;
                setup.values.push(Value::Phantom);
            }
            "--undisturbed" => setup.disturbed = false,
            "--unreduced" => setup.reduced = false,
            other => return Err(format!("{other} is no flag of this program")),
        }
    }
    if setup.workers < setup.stragglers + 2 || setup.workers > 8 || setup.backups > 8 {
        return Err("2 to 8 workers that are no stragglers, and at most 8 backups".to_owned());
    }
    if setup.dual > setup.workers.min(setup.backups) || usize::from(setup.ranks) > setup.workers || setup.window == 0 {
        return Err("--dual and --ranks are at most the size of the lists, --window at least 1".to_owned());
    }
    Ok((setup, threads))
}

/// Explores the committees of the tests up to the first violation.
fn suite() -> ExitCode {
    for (what, setup) in Setup::suite() {
        let report = explore(&setup, 2);
        println!("{what}: {} states, {} steps", report.states, report.steps);
        if let Some((property, path)) = report.violations.first() {
            println!("BROKEN: {property}\n  {path}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args == ["--suite"] {
        return suite();
    }
    let (setup, threads) = match arguments(&args) {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    println!(
        "{} workers, {} backups ({} in both), {} stragglers, {} ranks announce",
        setup.workers, setup.backups, setup.dual, setup.stragglers, setup.ranks
    );
    let report = explore(&setup, threads);
    println!("{} states, {} steps, depth {}", report.states, report.steps, report.depth);
    println!("{} of {} properties hold", report.properties - report.violations.len(), report.properties);
    for (property, path) in &report.violations {
        println!("BROKEN: {property}\n  {path}");
    }
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
