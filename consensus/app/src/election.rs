//! Elections: committees by lot, validators by stake.
//!
//! The lot of a node is `H(entropy, ParaTime, role, node)`: nobody can compute it before the epoch's entropy is known,
//! and it differs for each seat. First one node of each entity is seated, in the order of the entities' own lots
//! `H(entropy, ParaTime, role, entity)`, so that more nodes win no entity an earlier seat; of its nodes it is the one with
//! the first lot. Then the other nodes follow in the order of theirs.
//!
//! A lot is only as fair as the choice of what it is drawn on. Towards the end of an epoch the entropy of the next one can
//! be foreseen from the beacon proofs in the chain, and a key with a winning lot is found by trial. A node is therefore
//! electable into committees only from the second epoch after that in which it registered, or last changed its roles or
//! ParaTimes: the entropy of that epoch depends on proofs that nobody can make before the next epoch begins. Validators
//! need no such delay, because stake decides about them and not the lot.
//!
//! A stake carries one node for each `min_node_stake` in it; an entity's nodes count in the order of their keys, and
//! those beyond its stake are not elected.

use crate::genesis::{ConsensusParameters, ParaTimeDescriptor};
use crate::tx::{NodeDescriptor, Role};
use crate::{Validator, ValidatorSet, keys, registry, staking, standing, stored};
use borsh::BorshSerialize;
use parallax_primitives::{Address, Amount, Digest, Domain, Epoch, Event, NodeId, ParaTimeId};
use parallax_rounds::Committee;
use parallax_state::{Overlay, StateError, StateView};
use std::collections::{BTreeMap, BTreeSet};

/// The largest power of one validator. With 120 of them the sum stays below 2^57, and so within the bounds of every
/// engine (CometBFT's is 2^60).
const MAX_POWER: u64 = 1 << 50;

/// The seats of a committee for which lots are drawn.
#[derive(Clone, Copy)]
enum Seat {
    Worker,
    Backup,
}

/// The lot of a node or an entity.
fn lot(entropy: &Digest, paratime: &ParaTimeId, seat: Seat, of: &impl BorshSerialize) -> Digest {
    let seat = match seat {
        Seat::Worker => "worker",
        Seat::Backup => "backup",
    };
    Digest::of_value(Domain::Election, &(entropy, paratime, seat, of))
}

/// Nodes with a role whose registration reaches into an epoch, which their entity's stake carries and which are not
/// frozen. Every node that is kept takes its share of the stake, whatever its role, expiry and standing.
fn eligible(
    view: &dyn StateView,
    parameters: &ConsensusParameters,
    epoch: Epoch,
    role: Role,
) -> Result<Vec<(NodeDescriptor, Amount)>, StateError> {
    let mut found = Vec::new();
    let mut counted: BTreeMap<Address, u128> = BTreeMap::new();
    for node in registry::nodes(view)? {
        let stake = staking::stake(view, &node.entity)?.active;
        let number = counted.entry(node.entity).or_default();
        *number = number.saturating_add(1);
        let carried = *number <= registry::nodes_carried(stake, parameters);
        let frozen = standing::standing(view, &node.node)?.frozen.is_some();
        if node.has_role(role) && node.expires >= epoch && carried && !frozen {
            found.push((node, stake));
        }
    }
    Ok(found)
}

/// Whether a node has waited long enough for a committee of an epoch.
fn has_waited(view: &dyn StateView, node: &NodeId, epoch: Epoch) -> Result<bool, StateError> {
    Ok(registry::node_since(view, node)?.is_none_or(|since| since.next() < epoch))
}

/// A node that may be seated, and its entity.
type Candidate = (NodeId, Address);

/// Seats `count` nodes by lot: first one of each entity, by the lot of the entity, then others by their own. Nodes in
/// `last` are seated only when no other is left.
fn draw(
    candidates: &[Candidate],
    count: usize,
    last: &[NodeId],
    lot_of: impl Fn(&NodeId) -> Digest,
    lot_of_entity: impl Fn(&Address) -> Digest,
) -> Option<Vec<NodeId>> {
    let mut order: Vec<&Candidate> = candidates.iter().collect();
    order.sort_by_key(|(node, _)| (last.contains(node), lot_of(node), *node));
    let mut entities = BTreeSet::new();
    let (mut first, second): (Vec<&Candidate>, Vec<&Candidate>) =
        order.into_iter().partition(|(node, entity)| !last.contains(node) && entities.insert(*entity));
    first.sort_by_key(|(_, entity)| (lot_of_entity(entity), *entity));
    let seated: Vec<NodeId> = first.into_iter().chain(second).map(|seat| seat.0).take(count).collect();
    (seated.len() == count).then_some(seated)
}

/// The committee of a ParaTime for an epoch; `None` if too few nodes can be elected. Backups are nodes that are no
/// workers as far as there are any: a second opinion of the same node is none.
pub(crate) fn committee(
    view: &dyn StateView,
    parameters: &ConsensusParameters,
    paratime: &ParaTimeDescriptor,
    epoch: Epoch,
    entropy: &Digest,
) -> Result<Option<Committee>, StateError> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for (node, _) in eligible(view, parameters, epoch, Role::Compute)? {
        if node.profile(&paratime.id) == Some(paratime.profile)
            && has_waited(view, &node.node, epoch)?
            && standing::standing(view, &node.node)?.electable(&paratime.id, epoch)
        {
            candidates.push((node.node, node.entity));
        }
    }
    let draw_for = |seat, count: u16, last: &[NodeId]| {
        let lot_of = |node: &NodeId| lot(entropy, &paratime.id, seat, node);
        let lot_of_entity = |entity: &Address| lot(entropy, &paratime.id, seat, entity);
        draw(&candidates, usize::from(count), last, lot_of, lot_of_entity)
    };
    let Some(workers) = draw_for(Seat::Worker, paratime.rounds.workers, &[]) else { return Ok(None) };
    let Some(backups) = draw_for(Seat::Backup, paratime.rounds.backups, &workers) else { return Ok(None) };
    Ok(Some(Committee { epoch, workers, backups }))
}

/// Notes that somebody was slashed or frozen: at the end of the block it is seen whether a committee in office has lost
/// a member by it.
pub(crate) fn ask_again(overlay: &mut Overlay<'_>) {
    stored::write(overlay, keys::elect_again(), &true);
}

/// Whether it was noted since the last time.
pub(crate) fn asked_again(overlay: &mut Overlay<'_>) -> Result<bool, StateError> {
    let asked = stored::read::<bool>(overlay, &keys::elect_again())?.is_some();
    if asked {
        overlay.delete(keys::elect_again());
    }
    Ok(asked)
}

/// The members of a committee that may not keep their seats: frozen, or no longer carried by their entity's stake.
pub(crate) fn unseated(
    view: &dyn StateView,
    parameters: &ConsensusParameters,
    committee: &Committee,
    epoch: Epoch,
) -> Result<Vec<NodeId>, StateError> {
    let stay: BTreeSet<NodeId> =
        eligible(view, parameters, epoch, Role::Compute)?.into_iter().map(|(node, _)| node.node).collect();
    let members: BTreeSet<NodeId> = committee.workers.iter().chain(&committee.backups).copied().collect();
    Ok(members.difference(&stay).copied().collect())
}

/// The validators of an epoch: of each entity the node with the smallest key, the entities with the most stake first
/// (at equal stake the smaller address), with one unit of power for each `min_node_stake`. `None` if there is none: a
/// chain keeps its validators rather than stop.
pub(crate) fn validators(
    view: &dyn StateView,
    parameters: &ConsensusParameters,
    epoch: Epoch,
) -> Result<Option<ValidatorSet>, StateError> {
    let mut by_entity: BTreeMap<Address, (NodeId, Amount)> = BTreeMap::new();
    for (node, stake) in eligible(view, parameters, epoch, Role::Validator)? {
        by_entity.entry(node.entity).or_insert((node.node, stake));
    }
    let mut ranked: Vec<(Address, (NodeId, Amount))> = by_entity.into_iter().collect();
    ranked.sort_by_key(|(entity, (_, stake))| (std::cmp::Reverse(*stake), *entity));
    ranked.truncate(usize::try_from(parameters.max_validators).unwrap_or(usize::MAX));
    let unit = parameters.min_node_stake.0.max(1);
    let mut seated: Vec<Validator> = ranked
        .into_iter()
        .map(|(_, (node, stake))| {
            let power = u64::try_from(stake.0 / unit).unwrap_or(MAX_POWER).clamp(1, MAX_POWER);
            Validator { node, power }
        })
        .collect();
    seated.sort_by_key(|validator| validator.node);
    Ok((!seated.is_empty()).then_some(ValidatorSet { validators: seated }))
}

/// What tells of an election.
pub(crate) fn elected(paratime: &ParaTimeId, committee: &Committee) -> Event {
    let list = |nodes: &[NodeId]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    Event::new("election.committee")
        .with("paratime", paratime)
        .with("epoch", committee.epoch)
        .with("workers", list(&committee.workers))
        .with("backups", list(&committee.backups))
}

/// What tells that there was none.
pub(crate) fn not_elected(paratime: &ParaTimeId, epoch: Epoch, reason: &str) -> Event {
    Event::new("election.none").with("paratime", paratime).with("epoch", epoch).with("reason", reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use parallax_primitives::PublicKey;
    use std::cmp::Ordering;

    fn candidate(node: u8, entity: u8) -> Candidate {
        (PublicKey([node; 32]), Address([entity; 20]))
    }

    /// Lots in the order of the keys.
    fn by_key(node: &NodeId) -> Digest {
        Digest(node.0)
    }

    /// Lots of entities in the order of their addresses.
    fn by_address(entity: &Address) -> Digest {
        Digest([entity.0[0]; 32])
    }

    fn seats(candidates: &[Candidate], count: usize, last: &[u8]) -> Option<Vec<u8>> {
        let last: Vec<NodeId> = last.iter().map(|n| PublicKey([*n; 32])).collect();
        draw(candidates, count, &last, by_key, by_address).map(|nodes| nodes.iter().map(|n| n.0[0]).collect())
    }

    #[test]
    fn one_node_of_each_entity_is_seated_before_a_second_of_any() {
        let candidates = [candidate(1, 7), candidate(2, 7), candidate(3, 7), candidate(4, 8), candidate(5, 9)];
        assert_eq!(seats(&candidates, 3, &[]), Some(vec![1, 4, 5]));
        assert_eq!(seats(&candidates, 4, &[]), Some(vec![1, 4, 5, 2]));
        assert_eq!(seats(&candidates, 6, &[]), None, "nobody sits twice in one role");
    }

    #[test]
    fn the_lot_of_the_entity_decides_about_first_seats_whatever_its_nodes_draw() {
        // Entity 9 has the first lots of nodes, and comes after 7 and 8 all the same.
        let candidates = [candidate(1, 9), candidate(2, 9), candidate(3, 9), candidate(5, 8), candidate(6, 7)];
        assert_eq!(seats(&candidates, 2, &[]), Some(vec![6, 5]));
        assert_eq!(seats(&candidates, 4, &[]), Some(vec![6, 5, 1, 2]));
    }

    #[test]
    fn an_entity_with_a_hundred_nodes_has_the_first_seat_no_more_often_than_one_with_one() {
        let many: Vec<Candidate> = (0..100).map(|node| candidate(node, 1)).chain([candidate(200, 2)]).collect();
        let id = ParaTimeId::named("p");
        let wins = (0..200u8).filter(|n| {
            let entropy = Digest([*n; 32]);
            let node = |node: &NodeId| lot(&entropy, &id, Seat::Worker, node);
            let entity = |entity: &Address| lot(&entropy, &id, Seat::Worker, entity);
            draw(&many, 1, &[], node, entity).is_some_and(|seated| seated[0].0[0] != 200)
        });
        // Half of 200 is expected; by lots of nodes alone it would be 198.
        let wins = wins.count();
        assert!((65..=135).contains(&wins), "{wins}");
    }

    #[test]
    fn those_who_come_last_are_seated_only_when_no_other_is_left() {
        let candidates = [candidate(1, 7), candidate(2, 8), candidate(3, 9), candidate(4, 9)];
        assert_eq!(seats(&candidates, 2, &[1]), Some(vec![2, 3]));
        assert_eq!(seats(&candidates, 3, &[1, 2]), Some(vec![3, 4, 1]));
    }

    #[test]
    fn lots_differ_by_entropy_paratime_seat_and_node() {
        let (a, b) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let (p, q) = (ParaTimeId::named("p"), ParaTimeId::named("q"));
        let (x, y) = (Digest([1; 32]), Digest([2; 32]));
        let base = lot(&x, &p, Seat::Worker, &a);
        for other in [
            lot(&y, &p, Seat::Worker, &a),
            lot(&x, &q, Seat::Worker, &a),
            lot(&x, &p, Seat::Backup, &a),
            lot(&x, &p, Seat::Worker, &b),
        ] {
            assert_ne!(base.cmp(&other), Ordering::Equal);
        }
    }
}
