//! A seeded simulation of the committee protocol: everything that decides is the real code, everything around it is
//! virtual.
//!
//! **Real**: the ledger ([`parallax_consensus_app::Ledger`]) with the round machines in it, the worker's state machine,
//! journal, result store, pool and steps ([`parallax_worker`]), the node's outbox, the scheduling ParaTime on the
//! `clear` backend, the state trees. **Virtual**: time, the network between nodes, disks (the memory store, which can
//! fail), the order of tasks, and who misbehaves. One seed decides all of it; the same seed is the same run, which the
//! audit hash over every delivered event and every block's state root shows.
//!
//! **Assumed**: that the validators agree on one chain that grows by a block every 500 ms (the consensus engine's
//! business); nodes see its blocks late and at different times. Signatures, hashes and the VRF are real; FHE is not:
//! the `clear` backend computes on plaintext, with digests that depend on what real ciphertexts depend on.
//!
//! **Broken on purpose**, as the seed says: messages are delayed, lost, doubled and reordered; parts of the network are
//! cut off from each other or from the chain; nodes crash before and after every step of the worker, are killed at any
//! time, restart from their disk; writes fail with and without effect; clocks run at half to twice the speed; machines
//! are slow; validators starve the beacon; and Byzantine nodes of each [`Byzantine`] kind act. About one seed in twelve
//! has more of them than the protocol assumes; for these only what must hold then is checked. In a quarter of the seeds
//! with faults results are kept for one to four rounds, so that whoever falls behind needs a whole state. After the time
//! of faults a quiet time shows that the network comes back.
//!
//! **What it finds.** `tests/checkers.rs` shows each checker a run that breaks its property. Faults put into the code
//! under test on purpose, and what the first 60 seeds say of them:
//!
//! | fault | found by |
//! | --- | --- |
//! | a node commits a peer's result with any root | `agreement` |
//! | a failed round moves the anchor | `re-execution` |
//! | a restarted worker forgets its proposals | `equivocation` |
//! | a node that agreed is slashed with the offenders | `slashed` |
//!
//! **Not here**: several ParaTimes on one chain, registrations that change, key managers (decisions stay unanswered),
//! snapshot sync of the ledger, and the engine itself.
//!
//! The properties stand in `check.rs`. Start with [`run`], then `world.rs` (events), `shell.rs` (a node), `byzantine.rs`.

// The program is a shell: it counts seconds and uses threads for several seeds at once. A run itself uses neither.
#![forbid(unsafe_code)]

mod byzantine;
mod chain;
mod check;
mod clients;
mod dispute;
mod log;
mod network;
mod node;
mod oracle;
mod parties;
mod rng;
mod scenario;
mod shell;
mod world;

pub use log::{Coverage, Violation};
pub use rng::Rng;
pub use scenario::{BLOCK_MS, Byzantine, CrashPlan, DiskPlan, Links, Machine, Partition, Scenario};

pub use parallax_worker::{CrashStep, Where};

use parallax_primitives::Digest;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The hash over every delivered event and every block's state root.
    pub audit: Digest,
    /// How often each kind of thing happened.
    pub coverage: Coverage,
    /// Broken properties, the first one first; empty if all held.
    pub violations: Vec<Violation>,
    /// The transcript, one line an event, if it was asked for.
    pub transcript: Vec<String>,
}

/// Runs a seed. A panic inside a node is a violation like any other.
pub fn run(seed: u64, transcript: bool) -> Report {
    run_scenario(Scenario::of(seed), transcript)
}

/// Runs a scenario, which need not be that of its seed.
pub fn run_scenario(scenario: Scenario, transcript: bool) -> Report {
    let seed = scenario.seed;
    let failed = |checker: &'static str, what: String| Report {
        seed,
        audit: Digest::ZERO,
        coverage: Coverage::new(),
        violations: vec![Violation { checker, what }],
        transcript: Vec::new(),
    };
    let world = catch_unwind(AssertUnwindSafe(|| world::World::new(scenario, transcript)));
    let mut world = match world {
        Ok(Ok(world)) => world,
        Ok(Err(error)) => return failed("setup", error),
        Err(panic) => return failed("panic", text_of(&*panic)),
    };
    // The world is looked at after a panic for its transcript and counters only.
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) if world.log.violations.is_empty() => world.violation("ledger", error),
        Ok(Err(_)) => {}
        Err(panic) => world.violation("panic", text_of(&*panic)),
    }
    let (audit, lines, coverage, violations) = world.log.finish();
    Report { seed, audit, coverage, violations, transcript: lines.unwrap_or_default() }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|t| (*t).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a text".to_owned())
}
