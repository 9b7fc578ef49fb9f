//! The calls of a transaction in three steps with ever wider access: stateless, stateful, execute.

use crate::application::TxError;
use crate::errors::CallError;
use crate::genesis::ConsensusParameters;
use crate::tx::{Call, TxBody};
use crate::{beacon, evidence, messages, registry, rounds, staking, standing};
use parallax_primitives::{Address, Amount, ChainContext, Event, Gas, Height, Nonce, PublicKey, encode};
use parallax_state::{Overlay, StateView};

/// Bytes of a transaction besides its call: version 1, nonce 8, fee 16, gas limit 8, signer 32, signature 64.
const ENVELOPE_BYTES: usize = 129;

/// What a call knows besides the state.
pub(crate) struct CallContext<'a> {
    /// The chain.
    pub(crate) chain: ChainContext,
    /// The height of the block, or for admission the next one.
    pub(crate) height: Height,
    /// Who signed.
    pub(crate) signer: PublicKey,
    /// Their account.
    pub(crate) sender: Address,
    /// Parameters in force.
    pub(crate) parameters: &'a ConsensusParameters,
}

impl Call {
    /// Signatures inside the call, each charged like the transaction's own.
    pub(crate) fn signatures(&self) -> u64 {
        match self {
            Self::Transfer { .. } | Self::Escrow { .. } | Self::Reclaim { .. } => 0,
            Self::Unfreeze { .. } | Self::SendMessage { .. } => 0,
            Self::RegisterNode { .. } | Self::BeaconProof { .. } | Self::Announce { .. } => 1,
            Self::SubmitEvidence { .. } => 2,
            Self::Commit { commitments, .. } => commitments.len() as u64,
        }
    }

    /// Free tokens that the sender needs besides the fee.
    pub(crate) fn spends(&self) -> Amount {
        match self {
            Self::Transfer { amount, .. } | Self::Escrow { amount, .. } => *amount,
            Self::SendMessage { fee, tokens, .. } => fee.saturating_add(tokens.0),
            _ => Amount::ZERO,
        }
    }

    /// Gas of a transaction of this many bytes with this call. It depends on nothing else, so that it is known before
    /// execution.
    pub fn gas(&self, bytes: usize, parameters: &ConsensusParameters) -> Gas {
        let signatures = self.signatures().saturating_add(1);
        Gas(parameters
            .gas_per_byte
            .0
            .saturating_mul(bytes as u64)
            .saturating_add(parameters.gas_per_signature.0.saturating_mul(signatures)))
    }
}

impl TxBody {
    /// A body with the gas that the call uses and the least fee for it.
    pub fn priced(nonce: Nonce, call: Call, parameters: &ConsensusParameters) -> Self {
        let bytes = encode(&call).len().saturating_add(ENVELOPE_BYTES);
        let gas_limit = call.gas(bytes, parameters);
        let fee = Amount(parameters.min_gas_price.0.saturating_mul(u128::from(gas_limit.0)));
        Self { nonce, fee, gas_limit, call }
    }
}

/// Judges a call by itself.
pub(crate) fn check_stateless(call: &Call, chain: ChainContext, sender: &Address) -> Result<(), TxError> {
    let checked = match call {
        Call::Transfer { amount, .. } => staking::check_amount(*amount).map_err(CallError::from),
        Call::Escrow { to: entity, amount } | Call::Reclaim { from: entity, amount } => {
            staking::check_own_entity(sender, entity)
                .and_then(|()| staking::check_amount(*amount))
                .map_err(CallError::from)
        }
        Call::RegisterNode { node } => registry::check_stateless(node, chain, sender).map_err(CallError::from),
        Call::BeaconProof { .. } => Ok(()),
        Call::Announce { proposal, .. } => rounds::check_announcement(proposal).map_err(CallError::from),
        Call::Commit { commitments, .. } => rounds::check_commitments(commitments).map_err(CallError::from),
        Call::SubmitEvidence { paratime, evidence } => {
            evidence::check_stateless(evidence, chain, paratime).map_err(CallError::from)
        }
        Call::Unfreeze { .. } => Ok(()),
        Call::SendMessage { fee, tokens, data, .. } => {
            messages::check_stateless(*fee, *tokens, data).map_err(CallError::from)
        }
    };
    checked.map_err(TxError::from)
}

/// Judges a call on the state, for admission. A block may find otherwise: the state moves on until then.
pub(crate) fn check_stateful(call: &Call, view: &dyn StateView, context: &CallContext<'_>) -> Result<(), CallError> {
    match call {
        // What these cost is part of what the sender must be able to pay, see `execute::check`.
        Call::Transfer { .. } | Call::Escrow { .. } => Ok(()),
        Call::Reclaim { from, amount } => staking::check_reclaimable(view, from, *amount),
        Call::RegisterNode { node } => registry::check_stateful(view, &node.descriptor, context),
        Call::BeaconProof { epoch, output } => beacon::check_proof(view, context, *epoch, output).map(|_| ()),
        Call::Announce { paratime, .. } | Call::Commit { paratime, .. } => rounds::check_paratime(view, paratime),
        Call::SubmitEvidence { paratime, evidence } => evidence::check_stateful(view, paratime, evidence),
        Call::Unfreeze { node } => standing::check_unfreeze(view, &context.sender, node),
        Call::SendMessage { paratime, fee, .. } => {
            messages::check_fee(*fee, context.parameters)?;
            rounds::check_paratime(view, paratime)
        }
    }
}

/// Executes a call. On an error the caller drops what was written.
pub(crate) fn execute(
    call: &Call,
    overlay: &mut Overlay<'_>,
    context: &CallContext<'_>,
) -> Result<Vec<Event>, CallError> {
    let sender = &context.sender;
    check_stateless(call, context.chain, sender).map_err(CallError::Refused)?;
    match call {
        Call::Transfer { to, amount } => Ok(vec![staking::transfer(overlay, sender, to, *amount)?]),
        Call::Escrow { to, amount } => Ok(vec![staking::escrow(overlay, to, *amount)?]),
        Call::Reclaim { from, amount } => {
            let now = crate::epoch::current(overlay)?.epoch;
            Ok(vec![staking::reclaim(overlay, from, *amount, now, context.parameters)?])
        }
        Call::RegisterNode { node } => Ok(vec![registry::register(overlay, &node.descriptor, context)?]),
        Call::BeaconProof { epoch, output } => Ok(vec![beacon::prove(overlay, context, *epoch, output)?]),
        Call::Announce { paratime, proposal } => rounds::announce(overlay, context, paratime, proposal),
        Call::Commit { paratime, commitments } => rounds::commit(overlay, context, paratime, commitments),
        Call::SubmitEvidence { paratime, evidence } => evidence::submit(overlay, context, paratime, evidence),
        Call::Unfreeze { node } => Ok(vec![standing::unfreeze(overlay, context, node)?]),
        Call::SendMessage { paratime, fee, tokens, data } => {
            messages::queue(overlay, context, paratime, *fee, *tokens, data)
        }
    }
}

/// Runs `step` on an overlay of its own and keeps its writes only if it succeeds.
pub(crate) fn attempt<T>(
    overlay: &mut Overlay<'_>,
    step: impl FnOnce(&mut Overlay<'_>) -> Result<T, CallError>,
) -> Result<T, CallError> {
    let mut inner = Overlay::new(&*overlay);
    let result = step(&mut inner)?;
    let changes = inner.into_changes();
    overlay.apply(changes);
    Ok(result)
}

/// Whether the sender could pay fee and amount now. For admission; in a block the call itself finds out about the amount.
pub(crate) fn check_affordable(
    view: &dyn StateView,
    sender: &Address,
    fee: Amount,
    call: &Call,
) -> Result<(), CallError> {
    staking::check_spendable(view, sender, fee.saturating_add(call.spends().0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staking::{Account, account, grant, transfer};
    use parallax_state::Empty;

    #[test]
    fn an_attempt_that_is_refused_leaves_nothing_behind() {
        let (a, b) = (Address([1; 20]), Address([2; 20]));
        let mut overlay = Overlay::new(&Empty);
        grant(&mut overlay, &a, Amount(10)).unwrap();
        let refused = attempt(&mut overlay, |inner| {
            transfer(inner, &a, &b, Amount(10))?;
            transfer(inner, &a, &b, Amount(1))
        });
        assert!(matches!(refused, Err(CallError::Refused(_))));
        assert_eq!(account(&overlay, &a).unwrap().balance, Amount(10));
        assert_eq!(account(&overlay, &b).unwrap(), Account::default());
        attempt(&mut overlay, |inner| transfer(inner, &a, &b, Amount(4))).unwrap();
        assert_eq!(account(&overlay, &b).unwrap().balance, Amount(4));
    }
}
