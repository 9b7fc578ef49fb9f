//! The decisions of a round: which jobs, among which candidates, and their evaluation.
//!
//! Which jobs and which candidates is fixed by the state at the round's start, so the work is known before the round is
//! executed. The comparison itself uses the reports as they are after the round's transactions.

use crate::calls::{Halt, collect};
use crate::circuit::POSITION_BLOCKS;
use crate::costs::{Programs, fee};
use crate::keys;
use crate::params::Params;
use crate::records::{self, Candidate, Decision, Host, Job, Status, open, put, suffix};
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

/// The jobs that this round decides. A job of this very round, or one without candidates, waits.
pub(crate) fn select(
    view: &dyn StateView,
    params: &Params,
    context: &RoundContext,
) -> Result<Vec<Selected>, StateError> {
    let (hosts, most) = (hosts(view)?, usize::try_from(params.max_jobs_per_round).unwrap_or(usize::MAX));
    let mut selected = Vec::new();
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
        let seed = entropy(&context.beacon, &anchor, &job_id, job.attempts.saturating_add(1));
        let candidates = sample(&all, &seed, params.candidates_per_decision.into());
        if !candidates.is_empty() {
            selected.push(Selected { queue: place, job_id, candidates });
        }
    }
    Ok(selected)
}

/// The FHE gas of these decisions, at most.
pub(crate) fn planned_gas(programs: &Programs, selected: &[Selected]) -> Result<Gas, Abort> {
    selected
        .iter()
        .try_fold(Gas::ZERO, |sum, one| Ok(sum.saturating_add(programs.decision(one.candidates.len())?.gas().0)))
}

/// Whether a job waits that some host could take in the next round, or that waits for its turn.
pub(crate) fn has_work(view: &dyn StateView, params: &Params, next: Round) -> Result<bool, StateError> {
    let queue = queue(view)?;
    if queue.is_empty() {
        return Ok(false);
    }
    let hosts = hosts(view)?;
    Ok(queue.iter().any(|(_, _, job)| !fresh(&hosts, params, next, job.key_id).is_empty()))
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

/// Evaluates one decision and writes its outcome. `seed_index` makes its re-randomisation unique in the round, `index`
/// is its position among the decisions. Returns the gas spent: 0 if no candidate is left.
pub(crate) fn decide(
    state: &mut Overlay<'_>,
    programs: &Programs,
    context: &RoundContext,
    evaluator: &mut Evaluator<'_>,
    (seed_index, index): (u64, u32),
    selected: &Selected,
) -> Result<(Gas, Vec<Event>), Halt> {
    let mut job: Job = records::need(state, &keys::job(&selected.job_id))?;
    let mut candidates = Vec::new();
    for address in &selected.candidates {
        let host: Host = records::need(state, &keys::host(address))?;
        // A host that has just reported under a newer key cannot be compared with this job.
        if let Some(report) = host.report.filter(|r| r.key_id == job.key_id) {
            candidates.push(Candidate { host: *address, report: report.number });
        }
    }
    if candidates.is_empty() {
        return Ok((Gas::ZERO, Vec::new()));
    }
    let program = programs.decision(candidates.len())?;
    let mut sources = vec![keys::job_numbers(&selected.job_id), keys::job_labels(&selected.job_id)];
    for Candidate { host, .. } in &candidates {
        sources.extend([keys::host_numbers(host), keys::host_labels(host)]);
        sources.extend([keys::host_score(host, job.policy), keys::host_excluded(host)]);
    }
    let bytes = sources.iter().map(|key| Ok(records::cipher(state, key)?.1)).collect::<Result<Vec<_>, StateError>>()?;
    let inputs: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    let before = evaluator.pbs();
    let mut outputs = evaluator.evaluate(seed_index, job.key_id, program, &inputs)?.into_iter();
    let pbs = evaluator.pbs().saturating_sub(before);
    let mut next = || outputs.next().ok_or_else(|| Abort::Local("a decision's circuit lacks an output".to_owned()));
    let placed = state.put_cipher(keys::decision_placed(&selected.job_id), job.key_id, 1, next()?);
    let place = keys::decision_position(&selected.job_id);
    let position = state.put_cipher(place, job.key_id, POSITION_BLOCKS, next()?);
    for Candidate { host, .. } in &candidates {
        state.put_cipher(keys::host_excluded(host), job.key_id, 1, next()?);
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
    let event = Event::new("scheduler.decided")
        .with("job", selected.job_id)
        .with("attempt", job.attempts)
        .with("candidates", candidates.len())
        .with("hosts", candidates.iter().map(|c| c.host.to_string()).collect::<Vec<_>>().join(","))
        .with("pbs", pbs)
        .with("gas", gas)
        .with("placed", placed.digest)
        .with("position", position.digest);
    job.decision = Some(Decision { round: context.round, index, candidates, placed, position, pbs });
    put(state, keys::job(&selected.job_id), &job);
    Ok((gas, vec![event]))
}
