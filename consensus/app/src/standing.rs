//! What a node's conduct led to: faults, suspension from committees, and freezes.
//!
//! At the end of an epoch each committee's records are judged. A member that served too few of the rounds in which it
//! was called on, in either role, or left too many of its turns as first choice without a usable proposal, has a fault.
//! The n-th fault suspends it from that ParaTime's committees for 2^n epochs, at most [`MAX_SUSPENSION`]; each epoch in
//! office without one takes a fault back. Too many faults freeze the node, and so does equivocation: a frozen node is
//! elected nowhere until its entity unfreezes it, which it may after a stated epoch. An epoch with too few rounds to
//! judge counts neither way.

use crate::calls::CallContext;
use crate::errors::{CallError, ModuleError};
use crate::genesis::ConsensusParameters;
use crate::{election, epoch, keys, registry, stored};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Address, Epoch, Event, NodeId, ParaTimeId};
use parallax_rounds::{EpochRecord, LivenessParameters};
use parallax_state::{Overlay, StateError, StateView};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Most epochs for which one fault suspends a node.
pub const MAX_SUSPENSION: u64 = 64;

/// Why an unfreezing is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no node {node}")]
    UnknownNode { node: NodeId },
    #[error("the node {node} belongs to the entity {entity}, which has to unfreeze it; {sender} sent this")]
    NotEntity { node: NodeId, entity: Address, sender: Address },
    #[error("the node {node} is not frozen")]
    NotFrozen { node: NodeId },
    #[error("the node {node} is frozen up to epoch {until}, epoch {now} is under way; try again then")]
    TooEarly { node: NodeId, until: Epoch, now: Epoch },
}

impl ModuleError for Error {
    const MODULE: &'static str = "standing";

    fn code(&self) -> u32 {
        match self {
            Self::UnknownNode { .. } => 1,
            Self::NotEntity { .. } => 2,
            Self::NotFrozen { .. } => 3,
            Self::TooEarly { .. } => 4,
        }
    }
}

/// Why a node is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FreezeReason {
    /// Too many faults.
    Liveness,
    /// It contradicted itself.
    Equivocation,
}

impl fmt::Display for FreezeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Liveness => "liveness",
            Self::Equivocation => "equivocation",
        })
    }
}

/// A freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Freeze {
    /// Why.
    pub reason: FreezeReason,
    /// The first epoch in which its entity may unfreeze it.
    pub until: Epoch,
}

/// Faults of a node in one ParaTime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Faults {
    /// How many, less those forgiven.
    pub count: u8,
    /// The first epoch for which it can be elected again.
    pub suspended_until: Epoch,
}

/// Where a node stands. One that never failed has none of it, and nothing is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Standing {
    /// Set while it is frozen.
    pub frozen: Option<Freeze>,
    /// Its faults, by ParaTime.
    pub faults: BTreeMap<ParaTimeId, Faults>,
}

impl Standing {
    /// Whether it may sit in the ParaTime's committee of an epoch.
    pub fn electable(&self, id: &ParaTimeId, epoch: Epoch) -> bool {
        self.frozen.is_none() && self.faults.get(id).is_none_or(|faults| faults.suspended_until <= epoch)
    }
}

// Verdicts.

/// What an epoch's record says of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Too few rounds to say.
    Open,
    Good,
    Fault,
}

fn judge(rules: &LivenessParameters, record: &EpochRecord) -> Verdict {
    let enough = |rounds: u64| rounds > 0 && rounds >= rules.min_live_rounds_for_evaluation;
    let hundredfold = |rounds: u64| u128::from(rounds).saturating_mul(100);
    let of = |percent: u8, rounds: u64| u128::from(percent).saturating_mul(u128::from(rounds));
    let mut faults = Vec::new();
    for role in [&record.worker, &record.backup] {
        if rules.min_live_rounds_percent > 0 && enough(role.called()) {
            faults.push(hundredfold(role.live) < of(rules.min_live_rounds_percent, role.called()));
        }
    }
    let turns = record.missed_as_first.saturating_add(record.scheduled_as_first);
    if rules.max_missed_proposals_percent > 0 && enough(turns) {
        faults.push(hundredfold(record.missed_as_first) > of(rules.max_missed_proposals_percent, turns));
    }
    match (faults.is_empty(), faults.contains(&true)) {
        (true, _) => Verdict::Open,
        (false, true) => Verdict::Fault,
        (false, false) => Verdict::Good,
    }
}

/// Epochs for which the fault that makes this count suspends.
fn suspension(count: u8) -> u64 {
    1u64.checked_shl(u32::from(count)).map_or(MAX_SUSPENSION, |epochs| epochs.min(MAX_SUSPENSION))
}

/// Judges the records of an ended epoch. `next` is the first epoch whose committees are not elected yet.
pub(crate) fn settle(
    overlay: &mut Overlay<'_>,
    parameters: &ConsensusParameters,
    id: &ParaTimeId,
    rules: &LivenessParameters,
    records: &BTreeMap<NodeId, EpochRecord>,
    next: Epoch,
) -> Result<Vec<Event>, StateError> {
    let mut events = Vec::new();
    for (node, record) in records {
        if registry::node(overlay, node)?.is_none() {
            continue;
        }
        let mut standing = standing(overlay, node)?;
        let faults = standing.faults.entry(*id).or_default();
        let told = |name: &str, faults: &Faults| {
            Event::new(name).with("paratime", id).with("node", node).with("faults", faults.count)
        };
        match judge(rules, record) {
            Verdict::Fault => {
                faults.count = faults.count.saturating_add(1);
                faults.suspended_until = next.saturating_add(suspension(faults.count));
                let (count, until) = (faults.count, faults.suspended_until);
                events.push(told("liveness.fault", faults).with("suspended_until", until));
                put(overlay, node, &standing);
                if rules.max_liveness_faults > 0 && count >= rules.max_liveness_faults {
                    let epochs = parameters.freeze_liveness_epochs;
                    events.extend(freeze(overlay, node, FreezeReason::Liveness, next, epochs)?);
                }
            }
            Verdict::Good if faults.count > 0 && faults.suspended_until <= next => {
                faults.count = faults.count.saturating_sub(1);
                events.push(told("liveness.forgiven", faults));
                put(overlay, node, &standing);
            }
            Verdict::Good | Verdict::Open => {}
        }
    }
    Ok(events)
}

/// Freezes a node for so many epochs, of which `first` is the first; 0 freezes nobody. A second freeze lasts at least as
/// long as the one before it.
pub(crate) fn freeze(
    overlay: &mut Overlay<'_>,
    node: &NodeId,
    reason: FreezeReason,
    first: Epoch,
    epochs: u64,
) -> Result<Option<Event>, StateError> {
    if epochs == 0 {
        return Ok(None);
    }
    let until = first.saturating_add(epochs);
    let mut standing = standing(overlay, node)?;
    let frozen = match standing.frozen {
        Some(before) if before.until >= until => before,
        _ => Freeze { reason, until },
    };
    standing.frozen = Some(frozen);
    put(overlay, node, &standing);
    election::ask_again(overlay);
    Ok(Some(Event::new("standing.frozen").with("node", node).with("reason", frozen.reason).with("until", frozen.until)))
}

// Calls.

/// Whether a node may be unfrozen by this sender now.
pub(crate) fn check_unfreeze(view: &dyn StateView, sender: &Address, id: &NodeId) -> Result<(), CallError> {
    let node = registry::node(view, id)?.ok_or(Error::UnknownNode { node: *id })?;
    if node.entity != *sender {
        return Err(Error::NotEntity { node: *id, entity: node.entity, sender: *sender }.into());
    }
    let Some(Freeze { until, .. }) = standing(view, id)?.frozen else {
        return Err(Error::NotFrozen { node: *id }.into());
    };
    let now = epoch::current(view)?.epoch;
    if now < until { Err(Error::TooEarly { node: *id, until, now }.into()) } else { Ok(()) }
}

/// Lifts a freeze. Faults in liveness are settled with it; the node waits for its election as if it had registered now,
/// so that nobody unfreezes a node for a lot that can be foreseen.
pub(crate) fn unfreeze(
    overlay: &mut Overlay<'_>,
    context: &CallContext<'_>,
    node: &NodeId,
) -> Result<Event, CallError> {
    check_unfreeze(overlay, &context.sender, node)?;
    let mut standing = standing(overlay, node)?;
    if standing.frozen.take().is_some_and(|frozen| frozen.reason == FreezeReason::Liveness) {
        standing.faults.clear();
    }
    put(overlay, node, &standing);
    stored::write(overlay, keys::node_since(node), &epoch::current(overlay)?.epoch);
    Ok(Event::new("standing.unfrozen").with("node", node))
}

// State.

fn put(overlay: &mut Overlay<'_>, node: &NodeId, standing: &Standing) {
    let mut kept = standing.clone();
    kept.faults.retain(|_, faults| faults.count > 0);
    if kept == Standing::default() {
        overlay.delete(keys::standing(node));
    } else {
        stored::write(overlay, keys::standing(node), &kept);
    }
}

/// Forgets a node that is removed.
pub(crate) fn forget(overlay: &mut Overlay<'_>, node: &NodeId) {
    overlay.delete(keys::standing(node));
}

/// Where a node stands; all clear if it never failed.
///
/// # Errors
/// If the state cannot be read.
pub fn standing(view: &dyn StateView, node: &NodeId) -> Result<Standing, StateError> {
    Ok(stored::read(view, &keys::standing(node))?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use parallax_rounds::RoleRecord;

    const RULES: LivenessParameters = LivenessParameters {
        min_live_rounds_percent: 75,
        max_missed_proposals_percent: 50,
        min_live_rounds_for_evaluation: 4,
        max_liveness_faults: 3,
    };

    fn role(live: u64, absent: u64, failed: u64) -> RoleRecord {
        RoleRecord { live, absent, failed }
    }

    fn verdict(worker: RoleRecord, backup: RoleRecord, scheduled: u64, missed: u64) -> Verdict {
        let turns = EpochRecord { scheduled_as_first: scheduled, missed_as_first: missed, ..EpochRecord::default() };
        judge(&RULES, &EpochRecord { worker, backup, ..turns })
    }

    #[test]
    fn the_least_share_of_rounds_is_enough_and_one_round_less_is_a_fault() {
        let none = RoleRecord::default();
        assert_eq!(verdict(role(3, 1, 0), none, 0, 0), Verdict::Good);
        assert_eq!(verdict(role(5, 1, 1), none, 0, 0), Verdict::Fault);
        assert_eq!(verdict(role(6, 1, 1), none, 0, 0), Verdict::Good);
    }

    #[test]
    fn too_few_rounds_say_nothing() {
        let none = RoleRecord::default();
        assert_eq!(verdict(role(0, 3, 0), none, 0, 3), Verdict::Open);
        assert_eq!(verdict(role(0, 4, 0), none, 0, 3), Verdict::Fault);
        assert_eq!(verdict(none, none, 0, 0), Verdict::Open);
    }

    #[test]
    fn a_node_that_is_absent_in_one_of_two_roles_is_judged_for_that_role() {
        assert_eq!(verdict(role(100, 0, 0), role(0, 4, 0), 0, 0), Verdict::Fault);
        assert_eq!(verdict(role(0, 4, 0), role(100, 0, 0), 0, 0), Verdict::Fault);
        assert_eq!(verdict(role(100, 0, 0), role(0, 3, 0), 0, 0), Verdict::Good, "three rounds are too few");
    }

    #[test]
    fn half_of_the_turns_may_be_missed_and_no_more() {
        let good = role(100, 0, 0);
        assert_eq!(verdict(good, RoleRecord::default(), 2, 2), Verdict::Good);
        assert_eq!(verdict(good, RoleRecord::default(), 3, 4), Verdict::Fault);
    }

    #[test]
    fn a_rule_that_is_off_judges_nobody() {
        let worst = EpochRecord {
            worker: role(0, 99, 0),
            backup: role(0, 99, 9),
            missed_as_first: 99,
            missed_proposals: 99,
            ..EpochRecord::default()
        };
        assert_eq!(judge(&LivenessParameters::OFF, &worst), Verdict::Open);
        let one = LivenessParameters { max_missed_proposals_percent: 50, ..LivenessParameters::OFF };
        assert_eq!(judge(&one, &worst), Verdict::Fault);
    }

    #[test]
    fn a_suspension_doubles_with_each_fault_up_to_the_cap() {
        let epochs: Vec<u64> = [1, 2, 5, 6, 7, 63, 64, 255].into_iter().map(suspension).collect();
        assert_eq!(epochs, [2, 4, 32, 64, 64, 64, 64, 64]);
    }
}
