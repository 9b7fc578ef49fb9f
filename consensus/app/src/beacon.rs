//! The beacon: entropy of an epoch from the VRF outputs of the validators of the epoch before it.
//!
//! A validator has exactly one output for an epoch, so all that it can choose is whether to show it. Whoever shows
//! last can bias one bit a validator; the threshold bounds how many may stay silent before an epoch has no committees.

use crate::calls::CallContext;
use crate::epoch::EpochInfo;
use crate::errors::{CallError, ModuleError};
use crate::genesis::ConsensusParameters;
use crate::{ValidatorSet, keys, registry, stored};
use parallax_primitives::vrf::VrfOutput;
use parallax_primitives::{ChainContext, Digest, Domain, Epoch, Event, NodeId};
use parallax_state::{Overlay, StateError, StateView};

/// Why a beacon proof is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("the proof is for epoch {given}, proofs are taken for epoch {wanted} now")]
    WrongEpoch { given: Epoch, wanted: Epoch },
    #[error(
        "{node} is not a registered validator at this height; only validators contribute, signing with their node key"
    )]
    NotValidator { node: NodeId },
    #[error("{node} has contributed to epoch {epoch} already")]
    Duplicate { node: NodeId, epoch: Epoch },
    #[error("the VRF proof of {node} does not hold for epoch {epoch}; check the registered VRF key and the chain")]
    BadProof { node: NodeId, epoch: Epoch },
}

impl ModuleError for Error {
    const MODULE: &'static str = "beacon";

    fn code(&self) -> u32 {
        match self {
            Self::WrongEpoch { .. } => 1,
            Self::NotValidator { .. } => 2,
            Self::Duplicate { .. } => 3,
            Self::BadProof { .. } => 4,
        }
    }
}

/// The input on which validators evaluate their VRF for `epoch`; `previous` is the entropy of the epoch before it.
pub fn input(chain: ChainContext, epoch: Epoch, previous: &Digest) -> Digest {
    Digest::of_value(Domain::Beacon, &("input", chain, epoch, previous))
}

/// Judges a proof on the state and returns its value.
pub(crate) fn check_proof(
    view: &dyn StateView,
    context: &CallContext<'_>,
    epoch: Epoch,
    output: &VrfOutput,
) -> Result<Digest, CallError> {
    let now = crate::epoch::current(view)?;
    let (node, wanted) = (context.signer, now.epoch.next());
    if epoch != wanted {
        return Err(Error::WrongEpoch { given: epoch, wanted }.into());
    }
    let descriptor = registry::node(view, &node)?.ok_or(Error::NotValidator { node })?;
    if crate::validators::at(view, context.height)?.power_of(&node) == 0 {
        return Err(Error::NotValidator { node }.into());
    }
    if contributed(view, epoch, &node)? {
        return Err(Error::Duplicate { node, epoch }.into());
    }
    let value = descriptor.vrf.verify(&input(context.chain, epoch, &now.entropy), output);
    Ok(value.ok_or(Error::BadProof { node, epoch })?)
}

/// Records a validator's contribution.
pub(crate) fn prove(
    overlay: &mut Overlay<'_>,
    context: &CallContext<'_>,
    epoch: Epoch,
    output: &VrfOutput,
) -> Result<Event, CallError> {
    let value = check_proof(overlay, context, epoch, output)?;
    stored::write(overlay, keys::beacon_proof(epoch, &context.signer), &value);
    Ok(Event::new("beacon.proof").with("epoch", epoch).with("node", context.signer))
}

/// What the next epoch begins with.
pub(crate) struct Outcome {
    /// Its entropy.
    pub(crate) entropy: Digest,
    /// How many validators contributed.
    pub(crate) contributions: u64,
    /// Whether those are enough for committees.
    pub(crate) enough: bool,
}

/// Closes the collection for the epoch after `now` and clears it from the state. The contributions are taken in the
/// order of node keys. Also with too few of them the entropy moves on, so that no VRF input ever returns.
pub(crate) fn close(
    overlay: &mut Overlay<'_>,
    chain: ChainContext,
    now: &EpochInfo,
    validators: &ValidatorSet,
    parameters: &ConsensusParameters,
) -> Result<Outcome, StateError> {
    let next = now.epoch.next();
    let mut values: Vec<(NodeId, Digest)> = Vec::new();
    for (key, value) in stored::scan::<Digest>(overlay, &keys::beacon_proofs(next))? {
        if let Ok(node) = <[u8; 32]>::try_from(key.as_slice()).map(parallax_primitives::PublicKey) {
            overlay.delete(keys::beacon_proof(next, &node));
            if validators.power_of(&node) > 0 {
                values.push((node, value));
            }
        }
    }
    let contributions = values.len() as u64;
    let seats = validators.validators.len() as u64;
    let needed = seats.saturating_mul(u64::from(parameters.beacon_threshold_permille));
    let enough = contributions > 0 && contributions.saturating_mul(1000) >= needed;
    let entropy = Digest::of_value(Domain::Beacon, &("entropy", chain, next, now.entropy, values));
    Ok(Outcome { entropy, contributions, enough })
}

// State.

/// Whether a validator has contributed to an epoch.
///
/// # Errors
/// If the state cannot be read.
pub fn contributed(view: &dyn StateView, epoch: Epoch, node: &NodeId) -> Result<bool, StateError> {
    Ok(view.get(&keys::beacon_proof(epoch, node))?.is_some())
}
