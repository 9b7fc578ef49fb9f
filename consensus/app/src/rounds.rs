//! The round machines in the ledger: they are fed from transactions, heights and epochs, and what they decide is
//! carried out here. The machine itself is [`parallax_rounds`].

use crate::calls::CallContext;
use crate::epoch::{self, EpochInfo};
use crate::errors::{CallError, ModuleError};
use crate::genesis::{ConsensusGenesis, ConsensusParameters};
use crate::{evidence, keys, messages, registry, slashing, standing, stored};
use parallax_primitives::message::InMessage;
use parallax_primitives::{Event, Height, NodeId, ParaTimeId, Round, limits};
use parallax_rounds::{
    Commitment, Committee, Effect, EpochRecord, Outcome, ParaTimeBlock, Phase, RoundError, RoundEvent, RoundState,
    SignedCommitment, SignedProposal, Verified,
};
use parallax_state::{Overlay, StateError, StateView, Value};
use std::collections::BTreeMap;

/// Why a round call is refused. Codes below 100 are those of [`RoundError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Round(#[from] RoundError),
    #[error("there is no ParaTime {id} on this chain")]
    UnknownParaTime { id: ParaTimeId },
    #[error("the transaction carries {count} commitments; it may carry 1 to {max}")]
    CommitmentCount { count: usize, max: usize },
    #[error("the proposal lists {count} transactions; a batch has at most {max}")]
    BatchSize { count: usize, max: usize },
}

impl ModuleError for Error {
    const MODULE: &'static str = "rounds";

    fn code(&self) -> u32 {
        match self {
            Self::Round(error) => error.code(),
            Self::UnknownParaTime { .. } => 101,
            Self::CommitmentCount { .. } => 102,
            Self::BatchSize { .. } => 103,
        }
    }
}

// Events.

fn event(name: &str, paratime: &ParaTimeId, round: Round) -> Event {
    Event::new(name).with("paratime", paratime).with("round", round)
}

fn ended(name: &str, block: &ParaTimeBlock) -> Event {
    event(name, &block.paratime, block.round).with("block", block.hash()).with("state_root", block.state_root)
}

// Genesis.

/// Starts every ParaTime at round 1 with its first committee.
pub(crate) fn genesis(
    overlay: &mut Overlay<'_>,
    document: &ConsensusGenesis,
    epoch: &EpochInfo,
) -> Result<(), StateError> {
    for paratime in &document.paratimes {
        let committee = document.committees.iter().find(|(id, _)| *id == paratime.id).map(|(_, c)| c.clone());
        let state = RoundState::new(
            paratime.id,
            paratime.rounds.clone(),
            paratime.genesis_root,
            committee,
            epoch.epoch,
            epoch.next_first_height,
        )
        .map_err(|error| impossible(&paratime.id, &error))?;
        store_block(overlay, state.last_block(), document.parameters.kept_rounds);
        put_state(overlay, &state)?;
    }
    Ok(())
}

// Calls.

/// What an announcement must be, whatever the state.
pub(crate) fn check_announcement(proposal: &SignedProposal) -> Result<(), Error> {
    let (count, max) = (proposal.proposal.transactions.len(), limits::MAX_BATCH_TXS);
    if count > max { Err(Error::BatchSize { count, max }) } else { Ok(()) }
}

/// What a list of commitments must be, whatever the state.
pub(crate) fn check_commitments(commitments: &[SignedCommitment]) -> Result<(), Error> {
    let (count, max) = (commitments.len(), limits::MAX_COMMITMENTS_PER_TX);
    if count == 0 || count > max { Err(Error::CommitmentCount { count, max }) } else { Ok(()) }
}

/// Whether the ParaTime exists. Whether a message is for the round under way is judged in the block alone: a pool that
/// lags by a block would otherwise drop what the next block needs.
pub(crate) fn check_paratime(view: &dyn StateView, id: &ParaTimeId) -> Result<(), CallError> {
    match registry::paratime(view, id)? {
        Some(_) => Ok(()),
        None => Err(Error::UnknownParaTime { id: *id }.into()),
    }
}

/// Puts a proposal to the round machine.
pub(crate) fn announce(
    overlay: &mut Overlay<'_>,
    context: &CallContext<'_>,
    id: &ParaTimeId,
    proposal: &SignedProposal,
) -> Result<Vec<Event>, CallError> {
    let mut machine = machine(overlay, id)?;
    let verified = Verified::<SignedProposal>::check(&machine, context.chain, proposal.clone()).map_err(Error::from)?;
    let mut events = Vec::new();
    feed(overlay, context, &mut machine, RoundEvent::Announcement(verified), &mut events)?;
    Ok(events)
}

/// Puts an event of a transaction to a machine and carries out what follows.
pub(crate) fn feed(
    overlay: &mut Overlay<'_>,
    context: &CallContext<'_>,
    machine: &mut RoundState,
    event: RoundEvent,
    events: &mut Vec<Event>,
) -> Result<(), CallError> {
    let (id, round) = (machine.paratime(), machine.round());
    let effects = machine.apply(context.height, event).map_err(Error::from)?;
    put_state(overlay, machine)?;
    events.extend(carry_out(overlay, context.parameters, &id, round, effects, Records::ToBeJudged)?);
    Ok(())
}

/// Queues a message at a machine. Nothing else follows from it.
pub(crate) fn enqueue(
    overlay: &mut Overlay<'_>,
    height: Height,
    machine: &mut RoundState,
    message: InMessage,
) -> Result<(), CallError> {
    machine.apply(height, RoundEvent::InMessageQueued(message)).map_err(Error::from)?;
    Ok(put_state(overlay, machine)?)
}

/// Puts commitments to the round machine, one by one; each stands or falls alone. The call fails if none is accepted.
pub(crate) fn commit(
    overlay: &mut Overlay<'_>,
    context: &CallContext<'_>,
    id: &ParaTimeId,
    commitments: &[SignedCommitment],
) -> Result<Vec<Event>, CallError> {
    let mut machine = machine(overlay, id)?;
    let (mut events, mut accepted, mut first_refusal) = (Vec::new(), 0u32, None);
    for signed in commitments {
        let (node, round) = (signed.commitment.node, machine.round());
        let seat = seat(&machine, &node);
        let applied = Verified::<SignedCommitment>::check(&machine, context.chain, signed.clone())
            .and_then(|verified| machine.apply(context.height, RoundEvent::Commitment(verified)));
        match applied {
            Ok(effects) => {
                accepted = accepted.saturating_add(1);
                events.push(committed(id, round, &signed.commitment, seat));
                put_state(overlay, &machine)?;
                events.extend(carry_out(overlay, context.parameters, id, round, effects, Records::ToBeJudged)?);
            }
            Err(error) => {
                events.push(
                    event("rounds.commitment_refused", id, round)
                        .with("node", node)
                        .with("code", error.code())
                        .with("reason", &error),
                );
                first_refusal.get_or_insert(error);
            }
        }
    }
    match first_refusal {
        Some(error) if accepted == 0 => Err(Error::Round(error).into()),
        _ => Ok(events),
    }
}

/// As what a commitment of this node counts now.
fn seat(machine: &RoundState, node: &NodeId) -> &'static str {
    let resolving = matches!(machine.phase(), Phase::Resolve { .. });
    let is = |role: fn(&Committee, &NodeId) -> bool| machine.committee().is_some_and(|c| role(c, node));
    match (is(Committee::is_worker) && !resolving, is(Committee::is_backup)) {
        (true, true) => "worker,backup",
        (true, false) => "worker",
        (false, _) => "backup",
    }
}

/// The event of a commitment that counts. It stays when the round is over and the machine has forgotten the vote.
fn committed(id: &ParaTimeId, round: Round, commitment: &Commitment, seat: &str) -> Event {
    let told = event("rounds.commitment", id, round)
        .with("node", commitment.node)
        .with("proposal", commitment.proposal)
        .with("seat", seat);
    match (&commitment.outcome, commitment.outcome.vote()) {
        (Outcome::Success { state_root, trace_root, .. }, Some(vote)) => told
            .with("outcome", "success")
            .with("vote", vote)
            .with("state_root", state_root)
            .with("trace_root", trace_root),
        _ => told.with("outcome", "failure"),
    }
}

// Heights and epochs.

/// Tells every machine that the block's transactions are done.
pub(crate) fn end_block(
    overlay: &mut Overlay<'_>,
    height: Height,
    parameters: &ConsensusParameters,
) -> Result<Vec<Event>, StateError> {
    let mut events = Vec::new();
    for paratime in registry::paratimes(overlay)? {
        events.extend(drive(overlay, height, parameters, &paratime.id, RoundEvent::Height, Records::ToBeJudged)?);
    }
    Ok(events)
}

/// Judges what a committee did in the epoch that ends, before the next one is elected. During a resolution the records
/// are not complete; they are judged when it has ended, and count for the election after that.
pub(crate) fn settle(
    overlay: &mut Overlay<'_>,
    parameters: &ConsensusParameters,
    id: &ParaTimeId,
    next: &EpochInfo,
) -> Result<Vec<Event>, StateError> {
    let Some(machine) = state(overlay, id)? else { return Ok(Vec::new()) };
    if matches!(machine.phase(), Phase::Resolve { .. }) {
        return Ok(Vec::new());
    }
    let rules = machine.parameters().liveness;
    standing::settle(overlay, parameters, id, &rules, machine.records(), next.epoch)
}

/// Tells a machine that its epoch is over, or that another committee takes office within it.
pub(crate) fn epoch_ended(
    overlay: &mut Overlay<'_>,
    height: Height,
    parameters: &ConsensusParameters,
    id: &ParaTimeId,
    committee: Option<Committee>,
    next: &EpochInfo,
) -> Result<Vec<Event>, StateError> {
    let ended = RoundEvent::EpochEnded { committee, epoch: next.epoch, epoch_end: next.next_first_height };
    drive(overlay, height, parameters, id, ended, Records::Judged)
}

/// Whether the records that an epoch's end gives out were judged by [`settle`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Records {
    Judged,
    ToBeJudged,
}

fn drive(
    overlay: &mut Overlay<'_>,
    height: Height,
    parameters: &ConsensusParameters,
    id: &ParaTimeId,
    event: RoundEvent,
    records: Records,
) -> Result<Vec<Event>, StateError> {
    let Some(mut machine) = state(overlay, id)? else { return Ok(Vec::new()) };
    let round = machine.round();
    let effects = machine.apply(height, event).map_err(|error| impossible(id, &error))?;
    put_state(overlay, &machine)?;
    carry_out(overlay, parameters, id, round, effects, records)
}

/// Carries out what a machine decided in a round, in its order.
fn carry_out(
    overlay: &mut Overlay<'_>,
    parameters: &ConsensusParameters,
    id: &ParaTimeId,
    round: Round,
    effects: Vec<Effect>,
    judged: Records,
) -> Result<Vec<Event>, StateError> {
    let mut events = Vec::new();
    for effect in effects {
        if let Some(block) = effect.block() {
            store_block(overlay, block, parameters.kept_rounds);
            if let Some(paratime) = registry::paratime(overlay, id)? {
                evidence::forget(overlay, id, block.round.next(), paratime.rounds.max_evidence_age)?;
            }
        }
        match effect {
            Effect::Finalize(finalized) => {
                let proposal = &finalized.proposal.proposal;
                events.push(
                    ended("rounds.finalized", &finalized.block)
                        .with("io_root", finalized.block.io_root)
                        .with("trace_root", finalized.block.trace_root)
                        .with("proposal", finalized.block.proposal)
                        .with("scheduler", proposal.scheduler)
                        .with("transactions", proposal.transactions.len())
                        .with("discrepancy", finalized.discrepancy),
                );
                events.extend(messages::send(overlay, (id, &finalized.block), parameters, finalized.messages())?);
            }
            Effect::SlashWrongResult { nodes, agreed } => {
                events.extend(slashing::wrong_result(overlay, parameters, id, round, &nodes, &agreed)?);
            }
            Effect::EpochSettled { epoch, rounds, records } => {
                events.push(event("liveness.settled", id, round).with("epoch", epoch).with("accepted", rounds));
                if judged == Records::ToBeJudged {
                    events.extend(settle_late(overlay, parameters, id, &records)?);
                }
            }
            told => events.extend(tell(id, round, &told)),
        }
    }
    Ok(events)
}

/// Judges records that were complete only after the next epoch had begun.
fn settle_late(
    overlay: &mut Overlay<'_>,
    parameters: &ConsensusParameters,
    id: &ParaTimeId,
    records: &BTreeMap<NodeId, EpochRecord>,
) -> Result<Vec<Event>, StateError> {
    let Some(paratime) = registry::paratime(overlay, id)? else { return Ok(Vec::new()) };
    let next = epoch::current(overlay)?.epoch.next();
    standing::settle(overlay, parameters, id, &paratime.rounds.liveness, records, next)
}

/// The events of effects that change nothing else in the ledger.
fn tell(id: &ParaTimeId, round: Round, effect: &Effect) -> Option<Event> {
    Some(match effect {
        Effect::Announced { proposal, scheduler, rank, deadline } => event("rounds.announced", id, round)
            .with("proposal", proposal)
            .with("scheduler", scheduler)
            .with("rank", rank)
            .with("deadline", deadline),
        Effect::ProposalDropped { proposal, next_rank } => {
            event("rounds.proposal_dropped", id, round).with("proposal", proposal).with("next_rank", next_rank)
        }
        Effect::Discrepancy { proposal, cause, deadline } => event("rounds.discrepancy", id, round)
            .with("proposal", proposal)
            .with("cause", cause)
            .with("deadline", deadline),
        Effect::Fail { block, reason, .. } => ended("rounds.failed", block).with("reason", reason),
        Effect::EpochTransition { block, .. } => ended("rounds.epoch_transition", block),
        Effect::Suspend { block, .. } => ended("rounds.suspended", block),
        Effect::ChargeLiveness { node, reason } => {
            event("liveness.charged", id, round).with("node", node).with("reason", reason)
        }
        // The credit stands in the machine's records; an event a node and round would tell nothing more.
        Effect::LivenessCredit { .. }
        | Effect::Finalize(_)
        | Effect::SlashWrongResult { .. }
        | Effect::EpochSettled { .. } => return None,
    })
}

// State.

/// What cannot be after validation of genesis and elections of the right size.
fn impossible(id: &ParaTimeId, error: &RoundError) -> StateError {
    StateError::Corrupt { what: format!("the round machine of ParaTime {id}"), reason: error.to_string() }
}

fn store_block(overlay: &mut Overlay<'_>, block: &ParaTimeBlock, kept: u64) {
    stored::write(overlay, keys::paratime_latest(&block.paratime), block);
    stored::write(overlay, keys::paratime_block(&block.paratime, block.round), block);
    if let Some(old) = block.round.checked_sub(kept) {
        overlay.delete(keys::paratime_block(&block.paratime, old));
    }
}

/// Stores a machine, and its committee beside it where it is another one than before. A committee takes office with a
/// round and not within one.
fn put_state(overlay: &mut Overlay<'_>, machine: &RoundState) -> Result<(), StateError> {
    let id = machine.paratime();
    overlay.put(keys::round_state(&id), machine.encode());
    let seated = machine.committee().cloned();
    if committee(overlay, &id)? == seated {
        return Ok(());
    }
    match &seated {
        Some(committee) => stored::write(overlay, keys::committee(&id), committee),
        None => overlay.delete(keys::committee(&id)),
    }
    evidence::took_office(overlay, &id, machine.round(), &seated, machine.parameters().max_evidence_age)
}

/// The round machine of a ParaTime that a call names.
pub(crate) fn machine(view: &dyn StateView, id: &ParaTimeId) -> Result<RoundState, CallError> {
    state(view, id)?.ok_or_else(|| Error::UnknownParaTime { id: *id }.into())
}

/// The round machine of a ParaTime.
///
/// # Errors
/// If the state cannot be read.
pub fn state(view: &dyn StateView, id: &ParaTimeId) -> Result<Option<RoundState>, StateError> {
    let corrupt = |reason: String| StateError::Corrupt { what: format!("the round machine of ParaTime {id}"), reason };
    match view.get(&keys::round_state(id))? {
        None => Ok(None),
        Some(Value::Plain(bytes)) => RoundState::decode(&bytes).map(Some).map_err(|e| corrupt(e.to_string())),
        Some(Value::Cipher(_)) => Err(corrupt("a ciphertext stands where public bytes belong".to_owned())),
    }
}

/// The committee in office; `None` while the ParaTime has none.
///
/// # Errors
/// If the state cannot be read.
pub fn committee(view: &dyn StateView, id: &ParaTimeId) -> Result<Option<Committee>, StateError> {
    stored::read(view, &keys::committee(id))
}

/// The last block of a ParaTime.
///
/// # Errors
/// If the state cannot be read.
pub fn latest(view: &dyn StateView, id: &ParaTimeId) -> Result<Option<ParaTimeBlock>, StateError> {
    stored::read(view, &keys::paratime_latest(id))
}

/// The block of a round, while it is kept.
///
/// # Errors
/// If the state cannot be read.
pub fn block(view: &dyn StateView, id: &ParaTimeId, round: Round) -> Result<Option<ParaTimeBlock>, StateError> {
    stored::read(view, &keys::paratime_block(id, round))
}

/// The ParaTimes in whose committee in office a node sits.
///
/// # Errors
/// If the state cannot be read.
pub fn seats(view: &dyn StateView, node: &NodeId) -> Result<Vec<(ParaTimeId, Committee)>, StateError> {
    let mut found = Vec::new();
    for paratime in registry::paratimes(view)? {
        if let Some(committee) = committee(view, &paratime.id)?
            && (committee.is_worker(node) || committee.is_backup(node))
        {
            found.push((paratime.id, committee));
        }
    }
    Ok(found)
}
