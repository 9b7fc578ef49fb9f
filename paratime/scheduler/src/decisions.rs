//! The decisions of a round: which jobs, among which candidates, and their evaluation.
//!
//! Which jobs and which candidates is fixed by the state at the round's start, so the work is known before the round is
//! executed. The comparison itself uses the reports as they are after the round's transactions.

use crate::calls::{Halt, collect};
use crate::circuit::{MAX_FLAGS, Shape};
use crate::costs::{Programs, fee};
use crate::keys;
use crate::params::Params;
use crate::records::{self, Candidate, Decision, Host, Job, ReportInfo, Status, get, open, put, suffix};
use parallax_primitives::{Address, Amount, Digest, Domain, Event, Gas, KeyId, Round};
use parallax_runtime::{Abort, Evaluator, RoundContext, access};
use parallax_state::{Overlay, StateError, StateView};

/// A job to be decided in this round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    /// Its place in the queue.
    queue: Vec<u8>,
    job_id: Digest,
    /// In the beacon's order.
    pub(crate) candidates: Vec<Address>,
}

/// The entropy of one sample: bound to the epoch's beacon and to the first consensus block after the job's inclusion,
/// neither of which its submitter could know.
pub fn entropy(beacon: &Digest, anchor: &Digest, job: &Digest, attempt: u32) -> Digest {
    Digest::of_value(Domain::SchedulerEntropy, &(beacon, anchor, job, attempt))
}

/// Shuffles and keeps the first `count`: Fisher and Yates from the front, each step drawing from a digest of its own.
/// 64 bits modulo at most 10,000 leave a bias below 2^-50.
pub fn sample<T: Clone>(items: &[T], entropy: &Digest, count: usize) -> Vec<T> {
    let mut pool = items.to_vec();
    let taken = count.min(pool.len());
    for step in 0..taken {
        let draw = Digest::of_value(Domain::SchedulerEntropy, &(entropy, step as u64));
        let [a, b, c, d, e, f, g, h, ..] = draw.0;
        let left = (pool.len() - step) as u64;
        let offset = u64::from_le_bytes([a, b, c, d, e, f, g, h]) % left;
        pool.swap(step, step + offset as usize);
    }
    pool.truncate(taken);
    pool
}

/// Every host with its record, in the order of addresses.
pub(crate) fn hosts(view: &dyn StateView) -> Result<Vec<(Address, Host)>, StateError> {
    let entries = view.scan(keys::HOSTS)?;
    entries.iter().map(|(key, value)| Ok((Address(suffix(key, keys::HOSTS)?), open(key, value)?))).collect()
}

/// The hosts with a report under this key that is fresh in this round.
fn fresh(hosts: &[(Address, Host)], params: &Params, round: Round, key: KeyId) -> Vec<Address> {
    let is_fresh = |host: &Host| {
        host.report.is_some_and(|r| {
            r.key_id == key && round.0.saturating_sub(r.round.0) <= params.freshness_rounds && r.round < round
        })
    };
    hosts.iter().filter(|(_, host)| is_fresh(host)).map(|(address, _)| *address).collect()
}

/// The queue in order.
fn queue(view: &dyn StateView) -> Result<Vec<(Vec<u8>, Digest, Job)>, StateError> {
    let entries = view.scan(keys::PENDING)?;
    let read = |(key, value): (Vec<u8>, parallax_state::Value)| {
        let id: Digest = open(&key, &value)?;
        let job = records::need(view, &keys::job(&id))?;
        Ok((key, id, job))
    };
    entries.into_iter().map(read).collect()
}

/// The jobs that this round decides, and the most FHE gas that they take. A job of this very round, or one without
/// candidates enough, waits.
pub(crate) fn select(
    view: &dyn StateView,
    programs: &Programs,
    params: &Params,
    context: &RoundContext,
) -> Result<(Vec<Selected>, Gas), Abort> {
    let (hosts, most) = (hosts(view)?, usize::try_from(params.max_jobs_per_round).unwrap_or(usize::MAX));
    let (mut selected, mut gas) = (Vec::new(), Gas::ZERO);
    for (place, job_id, job) in queue(view)? {
        if selected.len() >= most {
            break;
        }
        let Status::Pending { not_before } = job.status else { continue };
        if not_before > context.round || job.submitted >= context.round {
            continue;
        }
        let anchor = job.anchor.unwrap_or(context.anchor);
        let all = fresh(&hosts, params, context.round, job.key_id);
        if all.len() < job.replication.least_candidates() {
            continue;
        }
        let seed = entropy(&context.beacon, &anchor, &job_id, job.attempts.saturating_add(1));
        let candidates = sample(&all, &seed, params.candidates_per_decision.into());
        if candidates.is_empty() {
            continue;
        }
        // In order: what is behind a decision that finds no room waits with it, so the order is kept.
        let count = u16::try_from(candidates.len()).unwrap_or(u16::MAX);
        let with = gas.saturating_add(programs.decision_gas(count, job.policy, job.replication)?.0);
        if with > params.max_decision_gas {
            break;
        }
        gas = with;
        selected.push(Selected { queue: place, job_id, candidates });
    }
    Ok((selected, gas))
}

/// Whether a job waits that some host could take in the next round, or that waits for its turn.
pub(crate) fn has_work(view: &dyn StateView, params: &Params, next: Round) -> Result<bool, StateError> {
    let queue = queue(view)?;
    if queue.is_empty() {
        return Ok(false);
    }
    let hosts = hosts(view)?;
    let enough = |job: &Job| fresh(&hosts, params, next, job.key_id).len() >= job.replication.least_candidates();
    Ok(queue.iter().any(|(_, _, job)| enough(job)))
}

/// Keeps the anchor of every job that has none yet: this round's names the first consensus block after the last one's.
pub(crate) fn keep_anchors(state: &mut Overlay<'_>, context: &RoundContext) -> Result<(), StateError> {
    for (_, id, mut job) in queue(state)? {
        if job.anchor.is_none() {
            job.anchor = Some(context.anchor);
            put(state, keys::job(&id), &job);
        }
    }
    Ok(())
}

/// The candidates of a decision that can still be compared, in its order, with their records.
fn candidates(
    state: &Overlay<'_>,
    job: &Job,
    selected: &Selected,
) -> Result<Vec<(Address, Host, ReportInfo)>, StateError> {
    let mut found = Vec::new();
    for address in &selected.candidates {
        let host: Host = records::need(state, &keys::host(address))?;
        // A host that has just reported under a newer key cannot be compared with this job.
        if let Some(report) = host.report.filter(|r| r.key_id == job.key_id) {
            found.push((*address, host, report));
        }
    }
    if !job.policy.is_scored() && !found.is_empty() {
        let pointer: u64 = get(state, &keys::pointer())?.unwrap_or(0);
        let start = pointer % found.len() as u64;
        found.rotate_left(start as usize);
    }
    Ok(found)
}

/// The stored ciphertexts that a decision reads, in the order of its circuit.
fn sources(job_id: &Digest, job: &Job, found: &[(Address, Host, ReportInfo)]) -> Vec<Vec<u8>> {
    let mut sources = vec![keys::job_numbers(job_id), keys::job_labels(job_id)];
    for (address, _, report) in found {
        sources.extend([keys::host_numbers(address), keys::host_labels(address)]);
        sources.extend(job.policy.is_scored().then(|| keys::host_score(address, job.policy)));
        sources.extend((0..report.flags).map(|flag| keys::host_flag(address, flag)));
    }
    sources
}

/// Keeps a candidate's new flag: beside the others, or, once they are as many as a circuit adds up, in their place.
fn keep_flag(
    state: &mut Overlay<'_>,
    (address, mut host, mut report): (Address, Host, ReportInfo),
    flag: Vec<u8>,
) -> Candidate {
    let merged = report.flags >= MAX_FLAGS;
    for old in 1..if merged { report.flags } else { 0 } {
        state.delete(keys::host_flag(&address, old));
    }
    let place = if merged { 0 } else { report.flags };
    state.put_cipher(keys::host_flag(&address, place), report.key_id, 1, flag);
    report.flags = place.saturating_add(1);
    host.report = Some(report);
    put(state, keys::host(&address), &host);
    Candidate { host: address, report: report.number }
}

/// Evaluates one decision and writes its outcome. `seed_index` makes its re-randomisation unique in the round, `index`
/// is its position among the decisions. Returns the gas spent: 0 if no candidate is left, or fewer than a gang has.
pub(crate) fn decide(
    state: &mut Overlay<'_>,
    programs: &Programs,
    context: &RoundContext,
    evaluator: &mut Evaluator<'_>,
    (seed_index, index): (u64, u32),
    selected: &Selected,
) -> Result<(Gas, Vec<Event>), Halt> {
    let mut job: Job = records::need(state, &keys::job(&selected.job_id))?;
    let found = candidates(state, &job, selected)?;
    if found.len() < job.replication.least_candidates() {
        return Ok((Gas::ZERO, Vec::new()));
    }
    let shape = Shape {
        scored: job.policy.is_scored(),
        replication: job.replication,
        flags: found.iter().map(|(_, _, report)| report.flags).collect(),
        zones: found.iter().map(|(_, host, _)| host.zone).collect(),
    };
    let program = programs.decision(&shape)?;
    let sources = sources(&selected.job_id, &job, &found);
    let bytes = sources.iter().map(|key| Ok(records::cipher(state, key)?.1)).collect::<Result<Vec<_>, StateError>>()?;
    let inputs: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    let before = evaluator.pbs();
    let mut outputs = evaluator.evaluate(seed_index, job.key_id, &program, &inputs)?.into_iter();
    let pbs = evaluator.pbs().saturating_sub(before);
    let mut next = || outputs.next().ok_or_else(|| Abort::Local("a decision's circuit lacks an output".to_owned()));
    let placed = state.put_cipher(keys::decision_placed(&selected.job_id), job.key_id, 1, next()?);
    let mut positions = Vec::new();
    for replica in 0..job.replication.count {
        let place = keys::decision_position(&selected.job_id, replica);
        if usize::from(replica) < shape.winners() {
            positions.push(state.put_cipher(place, job.key_id, shape.position_blocks(), next()?));
        } else {
            // There may be one of an attempt among more candidates.
            state.delete(place);
        }
    }
    let mut candidates = Vec::with_capacity(found.len());
    for candidate in found {
        candidates.push(keep_flag(state, candidate, next()?));
    }
    if !job.policy.is_scored() {
        let pointer: u64 = get(state, &keys::pointer())?.unwrap_or(0);
        put(state, keys::pointer(), &pointer.wrapping_add(1));
    }
    access::allow_public(state, placed, context.round, selected.job_id);
    put(state, keys::awaiting(&placed.digest), &selected.job_id);
    state.delete(selected.queue.clone());
    let gas = program.gas();
    // The escrow covers every attempt at its largest, so nothing is cut here.
    let price = fee(gas, job.gas_price).unwrap_or(job.escrow).min(job.escrow);
    collect(state, price)?;
    job.escrow = Amount(job.escrow.0.saturating_sub(price.0));
    job.attempts = job.attempts.saturating_add(1);
    job.status = Status::Decided;
    let list = |items: Vec<String>| items.join(",");
    let event = Event::new("scheduler.decided")
        .with("job", selected.job_id)
        .with("attempt", job.attempts)
        .with("candidates", candidates.len())
        .with("hosts", list(candidates.iter().map(|c| c.host.to_string()).collect()))
        .with("pbs", pbs)
        .with("gas", gas)
        .with("placed", placed.digest)
        .with("positions", list(positions.iter().map(|p| p.digest.to_string()).collect()));
    job.decision = Some(Decision { round: context.round, index, candidates, placed, positions, pbs });
    put(state, keys::job(&selected.job_id), &job);
    Ok((gas, vec![event]))
}
