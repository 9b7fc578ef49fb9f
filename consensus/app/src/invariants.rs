//! What must hold after every block. Tests and simulations check it, by themselves or with [`crate::Ledger::checked`];
//! a node does not, because it reads every account.

use crate::{epoch, ledger, registry, rounds, staking, standing, validators};
use parallax_primitives::{Amount, Height};
use parallax_rounds::Phase;
use parallax_state::{StateError, StateView};

/// A broken invariant: a fault of this program or of the stored state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvariantError {
    /// Tokens were made or destroyed.
    #[error("accounts, stakes and pool hold {actual} base units, the supply is {supply}")]
    Supply {
        /// What all hold together.
        actual: Amount,
        /// What should be.
        supply: Amount,
    },
    /// Something else.
    #[error("{0}")]
    Broken(String),
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

fn broken<T>(what: String) -> Result<T, InvariantError> {
    Err(InvariantError::Broken(what))
}

/// Checks every invariant on a state:
/// - accounts, active and debonding stake, and the fee pool sum up to the supply;
/// - every committee member in office is a registered node, and no committee has other sizes than its descriptor;
/// - nobody sits in a committee while frozen, unless a resolution under way holds it in office;
/// - the last block of a ParaTime is the one that its machine builds on;
/// - the validator sets of the next two heights are known, sorted, and neither empty nor without power.
///
/// # Errors
/// The first broken one.
pub fn check_invariants(view: &dyn StateView) -> Result<(), InvariantError> {
    check_supply(view)?;
    check_rounds(view)?;
    let height = ledger::last_header(view)?.map_or(Height::ZERO, |header| header.height);
    for ahead in [1, 2] {
        let set = validators::at(view, height.saturating_add(ahead))?;
        let sorted = set.validators.windows(2).all(|pair| matches!(pair, [a, b] if a.node < b.node));
        if set.validators.is_empty() || !sorted || set.validators.iter().any(|v| v.power == 0) {
            return broken(format!("the validator set of height {} is not usable", height.saturating_add(ahead)));
        }
    }
    let now = epoch::current(view)?;
    if height >= now.next_first_height || height.next() < now.first_height {
        return broken(format!("height {height} is not in epoch {}", now.epoch));
    }
    Ok(())
}

fn check_supply(view: &dyn StateView) -> Result<(), InvariantError> {
    let mut actual = staking::common_pool(view)?;
    for (_, account) in staking::accounts(view)? {
        actual = actual.saturating_add(account.balance.0);
    }
    for (_, stake) in staking::stakes(view)? {
        actual = actual.saturating_add(stake.total().0);
    }
    let supply = staking::supply(view)?;
    if actual == supply { Ok(()) } else { Err(InvariantError::Supply { actual, supply }) }
}

fn check_rounds(view: &dyn StateView) -> Result<(), InvariantError> {
    for paratime in registry::paratimes(view)? {
        let id = paratime.id;
        let Some(machine) = rounds::state(view, &id)? else {
            return broken(format!("ParaTime {id} has no round machine"));
        };
        if rounds::latest(view, &id)?.as_ref() != Some(machine.last_block()) {
            return broken(format!("the last block of ParaTime {id} is not the one its machine builds on"));
        }
        let seated = rounds::committee(view, &id)?;
        if seated.as_ref() != machine.committee() {
            return broken(format!("the committee of ParaTime {id} is not its machine's"));
        }
        let resolving = matches!(machine.phase(), Phase::Resolve { .. });
        for node in seated.iter().flat_map(|c| c.workers.iter().chain(&c.backups)) {
            if registry::node(view, node)?.is_none() {
                return broken(format!("{node} sits in the committee of ParaTime {id} and is not registered"));
            }
            if !resolving && standing::standing(view, node)?.frozen.is_some() {
                return broken(format!("{node} sits in the committee of ParaTime {id} and is frozen"));
            }
        }
    }
    Ok(())
}
