//! `parallax-sim`: runs seeds, prints what happened in them, and ends with an error if a property was broken.
//!
//! ```sh
//! parallax-sim --seed 7               # one seed, with its transcript
//! parallax-sim --seeds 0..10000 --jobs 2
//! ```

// The program measures how long seeds take and runs several at once; the runs themselves use neither clock nor threads.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use clap::Parser;
use parallax_simulation::{Coverage, Report, run};
use std::ops::Range;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Runs the committee protocol under seeds and checks it.
#[derive(Parser)]
#[command(name = "parallax-sim", version)]
struct Arguments {
    /// Runs this seed and prints its transcript.
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Runs these seeds and prints a table; the last one is not included.
    #[arg(long, value_name = "A..B", value_parser = seeds, default_value = "0..200")]
    seeds: Range<u64>,
    /// Seeds that run at once.
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: u64,
    /// Leaves the transcript out.
    #[arg(long)]
    quiet: bool,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let parse = |part: &str| part.trim().parse::<u64>().map_err(|e| format!("{part:?} is no seed: {e}"));
    let (from, to) = text.split_once("..").ok_or("write a range as A..B, for example 0..200")?;
    let range = parse(from)?..parse(to)?;
    if range.is_empty() { Err(format!("{text} holds no seed")) } else { Ok(range) }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic inside a node is a finding of its seed; what was told of it where it happened is only noise here, but
    // the place is worth having.
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        eprintln!("panic at {place}: {info}");
    }));
    let clean = match arguments.seed {
        Some(seed) => one(seed, !arguments.quiet),
        None => many(arguments.seeds, arguments.jobs.max(1)),
    };
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(seed: u64, transcript: bool) -> bool {
    let started = Instant::now();
    let report = run(seed, transcript);
    for line in &report.transcript {
        println!("{line}");
    }
    table(&report.coverage);
    println!("seed {seed}, audit {}, {:.3} s", report.audit, started.elapsed().as_secs_f64());
    tell(&report);
    report.violations.is_empty()
}

fn many(seeds: Range<u64>, jobs: u64) -> bool {
    let started = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let done: Mutex<Vec<(Duration, Report)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end {
                        return;
                    }
                    let began = Instant::now();
                    let report = run(seed, false);
                    let took = began.elapsed();
                    tell(&report);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((took, report));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(_, report)| report.seed);
    summary(&seeds, &done, started.elapsed())
}

fn summary(seeds: &Range<u64>, done: &[(Duration, Report)], took: Duration) -> bool {
    let mut all = Coverage::new();
    let mut audit = blake3::Hasher::new();
    for (_, report) in done {
        audit.update(&report.audit.0);
        for (what, count) in &report.coverage {
            let sum = all.entry(what.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
    table(&all);
    let mut times: Vec<Duration> = done.iter().map(|(took, _)| *took).collect();
    times.sort();
    let seconds = |at: usize| times.get(at).map_or(0.0, Duration::as_secs_f64);
    let failing: Vec<String> =
        done.iter().filter(|(_, r)| !r.violations.is_empty()).map(|(_, r)| r.seed.to_string()).collect();
    let sum = |prefix: &str| -> u64 {
        all.iter().filter(|(what, _)| what.starts_with(prefix)).fold(0, |sum, (_, n)| sum.saturating_add(*n))
    };
    println!();
    println!("{:<40} {}..{}", "seeds", seeds.start, seeds.end);
    println!("{:<40} {}", "rounds", sum("rounds"));
    println!("{:<40} {}", "blocks", sum("blocks"));
    println!("{:<40} {}", "discrepancies", sum("discrepancy "));
    println!("{:<40} {}", "failed rounds", sum("failed "));
    println!("{:<40} {}", "crashes", sum("crashes"));
    println!("{:<40} {:.3}", "median seconds a seed", seconds(times.len() / 2));
    println!("{:<40} {:.3}", "longest seed, seconds", seconds(times.len().saturating_sub(1)));
    println!("{:<40} {:.1}", "seconds in all", took.as_secs_f64());
    println!("{:<40} 0x{}", "audit of all", audit.finalize().to_hex());
    println!("{:<40} {}", "seeds with a broken property", failing.len());
    if !failing.is_empty() {
        println!("{:<40} {}", "", failing.join(" "));
    }
    failing.is_empty()
}

fn table(coverage: &Coverage) {
    for (what, count) in coverage {
        println!("{what:<40} {count}");
    }
}

/// Tells of broken properties, with what is needed to see them again.
fn tell(report: &Report) {
    for violation in &report.violations {
        eprintln!("seed {}: {}: {}", report.seed, violation.checker, violation.what);
    }
    if !report.violations.is_empty() {
        eprintln!("seed {} at commit {}; see it with: parallax-sim --seed {}", report.seed, commit(), report.seed);
    }
}

/// The commit of the sources that this was built from, as far as they are still there.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changed) if !changed.is_empty() => format!("{commit} with changes"),
        _ => commit,
    }
}
