//! Evidence of equivocation: who judges it, and what it costs.
//!
//! A member of a committee that signed two proposals for one turn, or two commitments to one proposal, loses a part of
//! its entity's stake and cannot be elected for some epochs. One penalty a ParaTime, round and node, however often it
//! contradicted itself there. The penalty needs a seat: a node that had none in that round could not have misled
//! anybody, and what it signs counts nowhere. Evidence is taken while the round is at most `max_evidence_age` rounds
//! back, and from the round under way on; who sat when is remembered for as long.

use crate::calls::CallContext;
use crate::errors::{CallError, ModuleError};
use crate::genesis::ParaTimeDescriptor;
use crate::{epoch, keys, registry, rounds, slashing, standing, stored};
use parallax_primitives::{ChainContext, Event, Height, NodeId, ParaTimeId, Round};
use parallax_rounds::{Committee, Evidence, EvidenceError, Offence, RoundState, Seat};
use parallax_state::{Overlay, StateError, StateView};

/// Why evidence is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("the statements are no evidence: {0}")]
    NotEvidence(#[from] EvidenceError),
    #[error("there is no ParaTime {id} on this chain")]
    UnknownParaTime { id: ParaTimeId },
    #[error("the evidence is about round {round}, the round under way is {current}; send it when that round has begun")]
    Future { round: Round, current: Round },
    #[error("the evidence is about round {round}, {age} rounds back; it is taken up to an age of {most} rounds")]
    Expired { round: Round, age: u64, most: u64 },
    #[error("{node} had no seat in round {round} that it could have misused; only members answer for what they sign")]
    NoSeat { node: NodeId, round: Round },
    #[error("{node} was convicted for round {round} at height {height}; one penalty a round is all there is")]
    Known { node: NodeId, round: Round, height: Height },
    #[error("{node} is not registered any more, nobody answers for it")]
    NotRegistered { node: NodeId },
}

impl ModuleError for Error {
    const MODULE: &'static str = "evidence";

    fn code(&self) -> u32 {
        match self {
            Self::NotEvidence(_) => 1,
            Self::UnknownParaTime { .. } => 2,
            Self::Future { .. } => 3,
            Self::Expired { .. } => 4,
            Self::NoSeat { .. } => 5,
            Self::Known { .. } => 6,
            Self::NotRegistered { .. } => 7,
        }
    }
}

// Calls.

/// What evidence must be, whatever the state: form and signatures.
pub(crate) fn check_stateless(evidence: &Evidence, chain: ChainContext, id: &ParaTimeId) -> Result<(), Error> {
    evidence.verify(chain, *id)?;
    Ok(())
}

/// Whether the evidence may wait for a block: known and expired evidence does not become good again. What is about a
/// later round does, and a pool may lag by a block; that is judged in the block alone.
pub(crate) fn check_stateful(view: &dyn StateView, id: &ParaTimeId, evidence: &Evidence) -> Result<(), CallError> {
    let offence = evidence.offence().map_err(Error::from)?;
    let (paratime, machine) = paratime_of(view, id)?;
    check_age(&paratime, &machine, &offence)?;
    check_unknown(view, id, &offence)
}

/// Convicts the node.
pub(crate) fn submit(
    overlay: &mut Overlay<'_>,
    context: &CallContext<'_>,
    id: &ParaTimeId,
    evidence: &Evidence,
) -> Result<Vec<Event>, CallError> {
    let offence = evidence.offence().map_err(Error::from)?;
    let Offence { node, round, seat } = offence;
    let (paratime, machine) = paratime_of(overlay, id)?;
    if round > machine.round() {
        return Err(Error::Future { round, current: machine.round() }.into());
    }
    check_age(&paratime, &machine, &offence)?;
    check_unknown(overlay, id, &offence)?;
    let seated = office_at(overlay, id, round)?.is_some_and(|c| match seat {
        Seat::Worker => c.is_worker(&node),
        Seat::Any => c.is_worker(&node) || c.is_backup(&node),
    });
    if !seated {
        return Err(Error::NoSeat { node, round }.into());
    }
    let descriptor = registry::node(overlay, &node)?.ok_or(Error::NotRegistered { node })?;
    stored::write(overlay, keys::evidence(id, round, &node), &context.height);
    let mut events = vec![
        Event::new("rounds.evidence")
            .with("paratime", id)
            .with("round", round)
            .with("node", node)
            .with("kind", evidence.kind())
            .with("reporter", context.sender),
    ];
    let parameters = context.parameters;
    events.extend(slashing::equivocation(overlay, parameters, id, &offence, &descriptor.entity, &context.sender)?);
    let (next, epochs) = (epoch::current(overlay)?.epoch.next(), parameters.freeze_equivocation_epochs);
    events.extend(standing::freeze(overlay, &node, standing::FreezeReason::Equivocation, next, epochs)?);
    Ok(events)
}

fn paratime_of(view: &dyn StateView, id: &ParaTimeId) -> Result<(ParaTimeDescriptor, RoundState), CallError> {
    match (registry::paratime(view, id)?, rounds::state(view, id)?) {
        (Some(paratime), Some(machine)) => Ok((paratime, machine)),
        _ => Err(Error::UnknownParaTime { id: *id }.into()),
    }
}

fn check_age(paratime: &ParaTimeDescriptor, machine: &RoundState, offence: &Offence) -> Result<(), Error> {
    let (round, most) = (offence.round, paratime.rounds.max_evidence_age);
    let age = machine.round().0.saturating_sub(round.0);
    if age > most { Err(Error::Expired { round, age, most }) } else { Ok(()) }
}

fn check_unknown(view: &dyn StateView, id: &ParaTimeId, offence: &Offence) -> Result<(), CallError> {
    let Offence { node, round, .. } = *offence;
    match convicted(view, id, round, &node)? {
        Some(height) => Err(Error::Known { node, round, height }.into()),
        None => Ok(()),
    }
}

// Who sat when.

/// Notes which committee is in office from a round on, and forgets what no evidence can ask for any more.
pub(crate) fn took_office(
    overlay: &mut Overlay<'_>,
    id: &ParaTimeId,
    from: Round,
    committee: &Option<Committee>,
    most: u64,
) -> Result<(), StateError> {
    stored::write(overlay, keys::office(id, from), committee);
    let oldest = from.saturating_sub(most);
    let mut known: Vec<Round> = offices(overlay, id)?.into_iter().map(|(round, _)| round).collect();
    // The last one of those that began by the oldest round was in office then.
    let begun = known.iter().filter(|round| **round <= oldest).count();
    known.truncate(begun.saturating_sub(1));
    for round in known {
        overlay.delete(keys::office(id, round));
    }
    Ok(())
}

/// Forgets convictions for a round once it is too old for evidence. Called with the round that begins.
pub(crate) fn forget(overlay: &mut Overlay<'_>, id: &ParaTimeId, current: Round, most: u64) -> Result<(), StateError> {
    let Some(expired) = current.checked_sub(most.saturating_add(1)) else { return Ok(()) };
    let prefix = keys::evidence_of_round(id, expired);
    for (node, _) in stored::scan::<Height>(overlay, &prefix)? {
        let mut key = prefix.clone();
        key.extend_from_slice(&node);
        overlay.delete(key);
    }
    Ok(())
}

fn offices(view: &dyn StateView, id: &ParaTimeId) -> Result<Vec<(Round, Option<Committee>)>, StateError> {
    let mut found = Vec::new();
    for (key, committee) in stored::scan(view, &keys::offices(id))? {
        let from = <[u8; 8]>::try_from(key).map_err(|key| StateError::Corrupt {
            what: format!("the committees of ParaTime {id}"),
            reason: format!("a key ends in {} bytes, a round has 8", key.len()),
        })?;
        found.push((Round(u64::from_be_bytes(from)), committee));
    }
    Ok(found)
}

/// The committee that was in office in a round, as long as evidence about it is taken.
///
/// # Errors
/// If the state cannot be read.
pub fn office_at(view: &dyn StateView, id: &ParaTimeId, round: Round) -> Result<Option<Committee>, StateError> {
    Ok(offices(view, id)?.into_iter().rfind(|(from, _)| *from <= round).and_then(|(_, committee)| committee))
}

/// The height of the block that convicted a node for a round; kept as long as evidence about the round is taken.
///
/// # Errors
/// If the state cannot be read.
pub fn convicted(
    view: &dyn StateView,
    id: &ParaTimeId,
    round: Round,
    node: &NodeId,
) -> Result<Option<Height>, StateError> {
    stored::read(view, &keys::evidence(id, round, node))
}
