//! What the demonstration prints for each job, and at its end.

use super::cluster::Outcome;
use super::say;

/// The columns' names.
pub(super) fn header() {
    say(format_args!(
        "{:<18}{:>6}{:>9}{:>12}{:>8}{:>9}  {:<18}{:<20}{:<20}AGREES",
        "JOB", "ROUND", "ATTEMPTS", "CANDIDATES", "PBS", "SECONDS", "STATE ROOT", "HOST", "REFERENCE"
    ));
}

/// One job.
pub(super) fn row(o: &Outcome) {
    let root = o.state_root.to_string();
    let root = root.get(..16).unwrap_or(&root);
    say(format_args!(
        "{:<18}{:>6}{:>9}{:>12}{:>8}{:>9.1}  {:<18}{:<20}{:<20}{}",
        o.job,
        o.round.0,
        o.attempts,
        o.candidates,
        o.pbs,
        o.seconds,
        root,
        o.host.as_deref().unwrap_or("-"),
        o.reference.as_deref().unwrap_or("-"),
        if o.agrees { "yes" } else { "NO" },
    ));
}

/// All jobs.
pub(super) fn summary(outcomes: &[Outcome], seconds: f64) {
    let placed = outcomes.iter().filter(|o| o.host.is_some()).count();
    let attempts: u64 = outcomes.iter().map(|o| u64::from(o.attempts)).sum();
    let agreed = outcomes.iter().filter(|o| o.agrees).count();
    let pbs: u64 = outcomes.iter().map(|o| o.pbs).sum();
    let looked_at: u64 = outcomes.iter().map(|o| o.candidates as u64).sum();
    let decisions = outcomes.len().max(1) as f64;
    say(format_args!(
        "\n{} jobs, {placed} placed, {} not placed, {attempts} attempts; {agreed} of {} equal to the reference",
        outcomes.len(),
        outcomes.len() - placed,
        outcomes.len()
    ));
    say(format_args!(
        "{seconds:.0} s in all, {:.1} s a job; {:.1} PBS a candidate in the last attempts",
        seconds / decisions,
        pbs as f64 / looked_at.max(1) as f64
    ));
}
