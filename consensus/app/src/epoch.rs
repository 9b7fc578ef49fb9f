//! Epochs: spans of blocks with one beacon value, one set of committees and one set of validators.
//!
//! The last block of an epoch, after its transactions and its rounds, closes the beacon, frees debonded stake, drops
//! long-expired nodes, judges what the committees did, elects validators and committees, and hands the committees to the
//! round machines.
//!
//! Within an epoch a committee is elected again only when a member of it was slashed below the least stake, or frozen: by
//! the same entropy, so that the seats of the others depend on nothing that anybody can choose.

use crate::genesis::{ConsensusGenesis, ConsensusParameters};
use crate::{ValidatorSet, beacon, election, keys, registry, rounds, staking, stored, validators};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{ChainContext, Digest, Epoch, Event, Height};
use parallax_state::{Overlay, StateError, StateView};
use serde::{Deserialize, Serialize};

/// The epoch under way.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct EpochInfo {
    /// Its number.
    pub epoch: Epoch,
    /// Its first height.
    pub first_height: Height,
    /// The first height of the next one.
    pub next_first_height: Height,
    /// Its entropy.
    pub entropy: Digest,
    /// Whether enough validators contributed for it to have committees.
    pub committees: bool,
}

/// Writes epoch 0, which begins at height 1.
pub(crate) fn genesis(overlay: &mut Overlay<'_>, document: &ConsensusGenesis) -> EpochInfo {
    let first_height = Height(1);
    let info = EpochInfo {
        epoch: Epoch::ZERO,
        first_height,
        next_first_height: first_height.saturating_add(document.parameters.epoch_blocks),
        entropy: document.beacon,
        committees: true,
    };
    stored::write(overlay, keys::epoch(), &info);
    info
}

/// The epoch under way.
///
/// # Errors
/// If the state cannot be read.
pub fn current(view: &dyn StateView) -> Result<EpochInfo, StateError> {
    stored::require(view, &keys::epoch())
}

/// What the end of an epoch led to.
#[derive(Default)]
pub(crate) struct Turned {
    pub(crate) events: Vec<Event>,
    pub(crate) validators: Option<ValidatorSet>,
}

/// Ends the epoch if `height` is its last block.
pub(crate) fn end_block(
    overlay: &mut Overlay<'_>,
    chain: ChainContext,
    height: Height,
    parameters: &ConsensusParameters,
) -> Result<Turned, StateError> {
    let now = current(overlay)?;
    if height.next() < now.next_first_height {
        return Ok(Turned::default());
    }
    let seats = validators::at(overlay, height)?;
    let beacon = beacon::close(overlay, chain, &now, &seats, parameters)?;
    let next = EpochInfo {
        epoch: now.epoch.next(),
        first_height: now.next_first_height,
        next_first_height: now.next_first_height.saturating_add(parameters.epoch_blocks),
        entropy: beacon.entropy,
        committees: beacon.enough,
    };
    stored::write(overlay, keys::epoch(), &next);
    let mut events = vec![
        Event::new("beacon.epoch")
            .with("epoch", next.epoch)
            .with("first_height", next.first_height)
            .with("contributions", beacon.contributions)
            .with("committees", beacon.enough),
    ];
    events.extend(staking::release(overlay, next.epoch)?);
    events.extend(registry::expire(overlay, next.epoch, parameters)?);
    let paratimes = registry::paratimes(overlay)?;
    for paratime in &paratimes {
        events.extend(rounds::settle(overlay, parameters, &paratime.id, &next)?);
    }
    let validators = election::validators(overlay, parameters, next.epoch)?;
    for paratime in paratimes {
        let committee = if next.committees {
            election::committee(overlay, parameters, &paratime, next.epoch, &next.entropy)?
        } else {
            None
        };
        events.push(match &committee {
            Some(committee) => election::elected(&paratime.id, committee),
            None if next.committees => election::not_elected(&paratime.id, next.epoch, "too few nodes can be elected"),
            None => election::not_elected(&paratime.id, next.epoch, "too few beacon proofs"),
        });
        events.extend(rounds::epoch_ended(overlay, height, parameters, &paratime.id, committee, &next)?);
    }
    Ok(Turned { events, validators })
}

/// Fills the seats anew of committees that lost a member by a slash or a freeze in this block. A resolution under way is
/// judged by those who began it first.
pub(crate) fn elect_again(
    overlay: &mut Overlay<'_>,
    height: Height,
    parameters: &ConsensusParameters,
) -> Result<Vec<Event>, StateError> {
    let mut events = Vec::new();
    if !election::asked_again(overlay)? {
        return Ok(events);
    }
    let now = current(overlay)?;
    for paratime in registry::paratimes(overlay)? {
        let Some(machine) = rounds::state(overlay, &paratime.id)? else { continue };
        let Some(committee) = machine.awaiting_committee().unwrap_or(machine.committee()) else { continue };
        let lost = election::unseated(overlay, parameters, committee, now.epoch)?;
        if lost.is_empty() {
            continue;
        }
        let next = election::committee(overlay, parameters, &paratime, now.epoch, &now.entropy)?;
        for node in &lost {
            events.push(Event::new("election.unseated").with("paratime", paratime.id).with("node", node));
        }
        events.push(match &next {
            Some(committee) => election::elected(&paratime.id, committee),
            None => election::not_elected(&paratime.id, now.epoch, "too few nodes can be elected"),
        });
        events.extend(rounds::epoch_ended(overlay, height, parameters, &paratime.id, next, &now)?);
    }
    Ok(events)
}
