//! Elections: committees by lot, validators by stake.
//!
//! The lot of a node is `H(entropy, ParaTime, role, node)`: nobody can compute it before the epoch's entropy is known,
//! and it differs for each seat. Nodes stand in the order of their lots; first one node of each entity is seated,
//! then others, so that an entity gains no second seat from a second node while another entity waits.

use crate::genesis::{ConsensusParameters, ParaTimeDescriptor};
use crate::tx::{NodeDescriptor, Role};
use crate::{Validator, ValidatorSet, registry, staking};
use parallax_primitives::{Address, Amount, Digest, Domain, Epoch, Event, NodeId, ParaTimeId};
use parallax_rounds::Committee;
use parallax_state::{StateError, StateView};
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

fn lot(entropy: &Digest, paratime: &ParaTimeId, seat: Seat, node: &NodeId) -> Digest {
    let seat = match seat {
        Seat::Worker => "worker",
        Seat::Backup => "backup",
    };
    Digest::of_value(Domain::Election, &(entropy, paratime, seat, node))
}

/// Nodes with a role whose registration reaches into an epoch and whose entity has the least stake.
fn eligible(
    view: &dyn StateView,
    parameters: &ConsensusParameters,
    epoch: Epoch,
    role: Role,
) -> Result<Vec<(NodeDescriptor, Amount)>, StateError> {
    let mut found = Vec::new();
    for node in registry::nodes(view)? {
        let stake = staking::stake(view, &node.entity)?.active;
        if node.has_role(role) && node.expires >= epoch && stake >= parameters.min_node_stake {
            found.push((node, stake));
        }
    }
    Ok(found)
}

/// A node that may be seated, and its entity.
type Candidate = (NodeId, Address);

/// Seats `count` nodes by lot. Nodes in `last` are seated only when no other is left.
fn draw(
    candidates: &[Candidate],
    count: usize,
    last: &[NodeId],
    lot_of: impl Fn(&NodeId) -> Digest,
) -> Option<Vec<NodeId>> {
    let mut order: Vec<&Candidate> = candidates.iter().collect();
    order.sort_by_key(|(node, _)| (last.contains(node), lot_of(node), *node));
    let mut entities = BTreeSet::new();
    let (first, second): (Vec<&Candidate>, Vec<&Candidate>) =
        order.into_iter().partition(|(node, entity)| !last.contains(node) && entities.insert(*entity));
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
    let candidates: Vec<Candidate> = eligible(view, parameters, epoch, Role::Compute)?
        .into_iter()
        .filter(|(node, _)| node.profile(&paratime.id) == Some(paratime.profile))
        .map(|(node, _)| (node.node, node.entity))
        .collect();
    let draw_for = |seat, count: u16, last: &[NodeId]| {
        draw(&candidates, usize::from(count), last, |node| lot(entropy, &paratime.id, seat, node))
    };
    let Some(workers) = draw_for(Seat::Worker, paratime.rounds.workers, &[]) else { return Ok(None) };
    let Some(backups) = draw_for(Seat::Backup, paratime.rounds.backups, &workers) else { return Ok(None) };
    Ok(Some(Committee { epoch, workers, backups }))
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

    fn seats(candidates: &[Candidate], count: usize, last: &[u8]) -> Option<Vec<u8>> {
        let last: Vec<NodeId> = last.iter().map(|n| PublicKey([*n; 32])).collect();
        draw(candidates, count, &last, by_key).map(|nodes| nodes.iter().map(|n| n.0[0]).collect())
    }

    #[test]
    fn one_node_of_each_entity_is_seated_before_a_second_of_any() {
        let candidates = [candidate(1, 7), candidate(2, 7), candidate(3, 7), candidate(4, 8), candidate(5, 9)];
        assert_eq!(seats(&candidates, 3, &[]), Some(vec![1, 4, 5]));
        assert_eq!(seats(&candidates, 4, &[]), Some(vec![1, 4, 5, 2]));
        assert_eq!(seats(&candidates, 6, &[]), None, "nobody sits twice in one role");
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
