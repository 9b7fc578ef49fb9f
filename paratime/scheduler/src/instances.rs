//! Random batches of decisions with the reference's answer beside them, for tests and benchmarks on any backend.
//!
//! A batch is a cluster and a few jobs, one after the other: reports at the ends of their ranges and over them, near
//! ties, hosts that were chosen before and hosts that report again in between, every policy, replicas with and without
//! zones and gangs. [`run`] evaluates one with the circuits as the ParaTime does, and compares everything that is
//! encrypted: `placed`, each position, and who may not be chosen any more.

use crate::circuit::{MAX_FLAGS, Shape, decision_program, job_program, report_program};
use crate::model::{MAX_GPUS, MAX_LATENCY, MAX_REPLICAS, MAX_SHARE, Policy, Replication, Report, Request, Spread};
use crate::reference::{Candidate, decide};
use parallax_runtime::{Program, ProgramError};
use std::collections::BTreeMap;

/// The policies of every batch, in the order of a report's scores.
pub const POLICIES: [Policy; 4] = [Policy::Pack, Policy::Spread, Policy::Cost, Policy::PriorityRoundRobin];

/// Numbers that follow from a seed (SplitMix64, Steele and others, 2014).
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `limit`, or 0 if that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }

    /// One time in `times`.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn byte(&mut self, max: u8) -> u8 {
        self.below(u64::from(max) + 1) as u8
    }

    /// Any value of a range, and often one at its ends or in its middle, so that comparisons are close.
    fn close(&mut self, max: u8) -> u8 {
        match self.below(6) {
            0 => 0,
            1 => max,
            2 => max / 2 + self.byte(2.min(max - max / 2)),
            _ => self.byte(max),
        }
    }

    /// A random order of `0..count`, of which the first `take` are kept.
    fn sample(&mut self, count: usize, take: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..count).collect();
        for step in 0..take.min(count) {
            let other = step + self.below((count - step) as u64) as usize;
            all.swap(step, other);
        }
        all.truncate(take);
        all
    }
}

/// A job among candidates.
#[derive(Clone, Debug)]
pub struct Job {
    /// What it asks for.
    pub request: Request,
    /// How winners are chosen.
    pub policy: Policy,
    /// How many there are.
    pub replication: Replication,
    /// Hosts by number, in the order of the decision.
    pub candidates: Vec<usize>,
}

/// What happens next.
#[derive(Clone, Debug)]
pub enum Step {
    /// A host reports, again or for the first time.
    Report(usize, Report),
    /// A job is decided.
    Decide(Job),
}

/// A cluster and what happens to it.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The zone of each host.
    pub zones: Vec<u16>,
    /// How many flags each host's exclusion has at first, as after so many decisions that did not choose it.
    pub flags: Vec<u8>,
    /// Reports of all hosts, then decisions, with reports in between.
    pub steps: Vec<Step>,
}

fn report(numbers: &mut Numbers) -> Report {
    let hostile = numbers.once_in(10);
    let (gpus, share) = if hostile {
        (numbers.byte(15), numbers.byte(255))
    } else {
        (numbers.close(MAX_GPUS), numbers.close(MAX_SHARE))
    };
    let few = numbers.once_in(2);
    let scores = POLICIES.iter().filter(|p| p.is_scored());
    let scores = scores.map(|p| (*p, if few { numbers.byte(3) } else { numbers.close(255) })).collect();
    let labels = if numbers.once_in(2) { 255 } else { numbers.byte(255) };
    Report {
        cpu: numbers.close(255),
        memory: numbers.close(255),
        gpus,
        share,
        labels,
        latency: numbers.close(MAX_LATENCY),
        scores,
    }
}

/// A request that is close to what a host has, or modest, or anything at all, over its ranges too.
fn request(numbers: &mut Numbers, near: &Report) -> Request {
    let mut part = |value: u8, max: u8| match numbers.below(5) {
        0 => value.saturating_add(1).min(max),
        1 | 2 => value.min(max),
        _ => numbers.byte(value.min(max)),
    };
    let close = Request {
        cpu: part(near.cpu, 255),
        memory: part(near.memory, 255),
        gpus: part(near.gpus, 15),
        share: part(near.share, 255),
        need: near.labels,
        latency: near.latency,
    };
    match numbers.below(8) {
        0 => Request {
            cpu: numbers.byte(255),
            memory: numbers.byte(255),
            gpus: numbers.byte(15),
            share: numbers.byte(255),
            need: numbers.byte(255),
            latency: numbers.byte(15),
        },
        1..=3 => {
            let need = if numbers.once_in(3) { 1 << numbers.below(8) } else { 0 };
            let (cpu, memory) = (numbers.byte(90), numbers.byte(90));
            Request { cpu, memory, gpus: numbers.byte(2), share: numbers.byte(40), need, latency: 15 - numbers.byte(3) }
        }
        4 => close,
        _ => Request { need: close.need & numbers.byte(255) & numbers.byte(255), latency: MAX_LATENCY, ..close },
    }
}

fn replication(numbers: &mut Numbers, candidates: usize) -> Replication {
    let count = if numbers.once_in(2) { 1 } else { 1 + numbers.byte(MAX_REPLICAS - 1) };
    let gang = numbers.once_in(3);
    let most = u8::try_from(candidates).unwrap_or(u8::MAX);
    Replication {
        count: if gang { count.min(most) } else { count },
        spread: if numbers.once_in(3) { Spread::Zone } else { Spread::None },
        gang,
    }
}

/// The batch of a seed with at most `most` hosts, at least one.
pub fn batch(seed: u64, most: usize) -> Batch {
    let mut numbers = Numbers::new(seed);
    let numbers = &mut numbers;
    let limit = if numbers.once_in(4) { most } else { most.min(8) };
    let count = 1 + numbers.below(limit as u64) as usize;
    let areas = 1 + numbers.below(5);
    let mut reports: Vec<Report> = (0..count).map(|_| report(numbers)).collect();
    if numbers.once_in(8) {
        // All alike: ties everywhere.
        let one = report(numbers);
        reports = vec![one; count];
    }
    let mut batch = Batch {
        zones: (0..count).map(|_| numbers.below(areas) as u16).collect(),
        flags: (0..count).map(|_| if numbers.once_in(2) { 1 } else { 1 + numbers.byte(MAX_FLAGS - 1) }).collect(),
        steps: reports.iter().cloned().enumerate().map(|(i, r)| Step::Report(i, r)).collect(),
    };
    for _ in 0..=numbers.below(3) {
        let take = 1 + numbers.below(count as u64) as usize;
        let candidates = numbers.sample(count, take);
        let near = candidates.first().and_then(|i| reports.get(*i)).cloned().unwrap_or_default();
        let request = request(numbers, &near);
        let policy = POLICIES.get(numbers.below(4) as usize).copied().unwrap_or(Policy::Pack);
        let replication = replication(numbers, candidates.len());
        batch.steps.push(Step::Decide(Job { request, policy, replication, candidates }));
        if numbers.once_in(3) {
            let (host, again) = (numbers.below(count as u64) as usize, report(numbers));
            if let Some(slot) = reports.get_mut(host) {
                *slot = again.clone();
            }
            batch.steps.push(Step::Report(host, again));
        }
    }
    batch
}

/// What evaluates programs, with a form of its own for ciphertexts.
pub trait Engine {
    /// One ciphertext.
    type Cipher: Clone;

    /// A ciphertext of these blocks, as if it stood in the state.
    fn store(&mut self, blocks: &[u8]) -> Self::Cipher;

    /// Evaluates a program whose one input is a proven list of these digits.
    fn proven(&mut self, program: &Program, digits: &[u8]) -> Vec<Self::Cipher>;

    /// Evaluates a program on stored ciphertexts.
    fn evaluate(&mut self, program: &Program, inputs: &[Self::Cipher]) -> Vec<Self::Cipher>;

    /// Decrypts.
    fn open(&mut self, cipher: &Self::Cipher, blocks: u16) -> Vec<u8>;
}

/// What a run has spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Decisions.
    pub decisions: u64,
    /// Candidates, added up over the decisions.
    pub candidates: u64,
    /// Replicas placed.
    pub placed: u64,
    /// Bootstraps of the decisions.
    pub pbs: u64,
}

/// A host's ciphertexts.
struct Telemetry<C> {
    numbers: C,
    labels: C,
    scores: BTreeMap<Policy, C>,
    flags: Vec<C>,
}

/// The encrypted side of a batch.
struct Encrypted<'a, E: Engine> {
    engine: &'a mut E,
    hosts: BTreeMap<usize, Telemetry<E::Cipher>>,
    report: Program,
    job: Program,
}

/// Evaluates a batch and compares it with the reference.
///
/// # Errors
/// What differs, and in which step.
pub fn run<E: Engine>(batch: &Batch, engine: &mut E) -> Result<Spent, String> {
    let text = |e: ProgramError| e.to_string();
    let scores = POLICIES.iter().filter(|p| p.is_scored()).count() as u16;
    let (report, job) = (report_program(scores).map_err(text)?, job_program().map_err(text)?);
    let mut side = Encrypted { engine, hosts: BTreeMap::new(), report, job };
    let (mut reports, mut chosen): (BTreeMap<usize, Report>, BTreeMap<usize, bool>) = Default::default();
    let mut spent = Spent::default();
    for (number, step) in batch.steps.iter().enumerate() {
        match step {
            Step::Report(host, report) => {
                let more = if reports.contains_key(host) { 1 } else { batch.flags.get(*host).copied().unwrap_or(1) };
                side.report(*host, report, more)?;
                reports.insert(*host, report.clone());
                chosen.insert(*host, false);
            }
            Step::Decide(job) => {
                let none = Report::default();
                let rows: Vec<Candidate<'_>> = job
                    .candidates
                    .iter()
                    .map(|i| Candidate {
                        report: reports.get(i).unwrap_or(&none),
                        chosen: chosen.get(i).copied().unwrap_or(true),
                        zone: batch.zones.get(*i).copied().unwrap_or(0),
                    })
                    .collect();
                let expected = decide(&rows, &job.request, job.policy, job.replication);
                let (got, pbs) = side.decide(job, &batch.zones).map_err(|e| format!("step {number}: {e}"))?;
                if got != expected {
                    return Err(format!("step {number}: the circuit chose {got:?}, the reference {expected:?}"));
                }
                for winner in expected.iter().filter_map(|position| job.candidates.get(*position)) {
                    chosen.insert(*winner, true);
                }
                spent.decisions += 1;
                spent.candidates += rows.len() as u64;
                spent.placed += expected.len() as u64;
                spent.pbs += pbs;
                for host in &job.candidates {
                    let out = reports.get(host).is_none_or(|r| !r.is_valid()) || chosen.get(host) == Some(&true);
                    if side.excluded(*host)? != out {
                        return Err(format!("step {number}: host {host} is excluded on one side only"));
                    }
                }
            }
        }
    }
    Ok(spent)
}

impl<E: Engine> Encrypted<'_, E> {
    fn report(&mut self, host: usize, report: &Report, flags: u8) -> Result<(), String> {
        let digits = report.unchecked_digits(&POLICIES).map_err(|e| e.to_string())?;
        let mut out = self.engine.proven(&self.report, &digits).into_iter();
        let mut next = || out.next().ok_or("the circuit of a report lacks an output");
        let (numbers, labels) = (next()?, next()?);
        let mut scores = BTreeMap::new();
        for policy in POLICIES.iter().filter(|p| p.is_scored()) {
            scores.insert(*policy, next()?);
        }
        let mut all = vec![next()?];
        all.extend((1..flags).map(|_| self.engine.store(&[0])));
        self.hosts.insert(host, Telemetry { numbers, labels, scores, flags: all });
        Ok(())
    }

    /// The winners, and the bootstraps.
    fn decide(&mut self, job: &Job, zones: &[u16]) -> Result<(Vec<usize>, u64), String> {
        let mut inputs = self.engine.proven(&self.job, &job.request.unchecked_digits());
        let mut shape = Shape {
            scored: job.policy.is_scored(),
            replication: job.replication,
            flags: Vec::new(),
            zones: job.candidates.iter().map(|i| zones.get(*i).copied().unwrap_or(0)).collect(),
        };
        for host in &job.candidates {
            let host = self.hosts.get(host).ok_or("a candidate never reported")?;
            shape.flags.push(u8::try_from(host.flags.len()).unwrap_or(u8::MAX));
            inputs.extend([host.numbers.clone(), host.labels.clone()]);
            inputs.extend(host.scores.get(&job.policy).cloned());
            inputs.extend(host.flags.iter().cloned());
        }
        let program = decision_program(&shape).map_err(|e| e.to_string())?;
        let mut out = self.engine.evaluate(&program, &inputs).into_iter();
        let mut next = || out.next().ok_or("the circuit of a decision lacks an output");
        let placed = self.engine.open(&next()?, 1);
        let mut winners = Vec::new();
        let mut missing = false;
        for _ in 0..shape.winners() {
            let blocks = self.engine.open(&next()?, shape.position_blocks());
            let (position, found) = match (&blocks[..], &placed[..]) {
                ([low, high], [placed]) => (usize::from(*low) + 16 * usize::from(*high), *placed),
                ([low, high, found], _) => (usize::from(*low) + 16 * usize::from(*high), *found),
                _ => return Err("a position has the wrong number of blocks".to_owned()),
            };
            match found {
                1 if !missing => winners.push(position),
                0 if position == 0 => missing = true,
                _ => return Err(format!("found {found} at position {position}, after a missing one: {missing}")),
            }
        }
        if placed != [u8::from(!winners.is_empty())] {
            return Err(format!("placed is {placed:?} with winners {winners:?}"));
        }
        for host in &job.candidates {
            let flag = next()?;
            let host = self.hosts.get_mut(host).ok_or("a candidate never reported")?;
            if host.flags.len() >= usize::from(MAX_FLAGS) {
                host.flags.clear();
            }
            host.flags.push(flag);
        }
        Ok((winners, program.pbs()))
    }

    /// Whether a host may not be chosen: the sum of its flags.
    fn excluded(&mut self, host: usize) -> Result<bool, String> {
        let flags = self.hosts.get(&host).map(|h| h.flags.clone()).unwrap_or_default();
        let sum: u8 = flags.iter().flat_map(|flag| self.engine.open(flag, 1)).sum();
        if sum > 1 { Err(format!("the flags of host {host} add up to {sum}")) } else { Ok(sum == 1) }
    }
}
