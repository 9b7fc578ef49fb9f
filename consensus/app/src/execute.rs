//! One transaction, from wire bytes to a receipt.
//!
//! Three verdicts are kept apart. A transaction that cannot stand in a block (undecodable, unsigned, wrong nonce, too
//! poor to pay) leaves no trace and makes a block that holds it invalid. One that stands pays its fee and uses up its
//! nonce, whatever comes of its call. A call that fails changes nothing else.

use crate::application::{Checked, Receipt};
use crate::calls::{self, CallContext, attempt};
use crate::errors::{CallError, ModuleError};
use crate::genesis::ConsensusParameters;
use crate::staking;
use crate::tx::{Transaction, TxBody, tx_digest};
use parallax_primitives::{Address, Amount, ChainContext, DecodeError, Digest, Gas, Height, Nonce, PublicKey};
use parallax_state::{Overlay, StateView};

/// How far ahead of its account a transaction's nonce may be to wait in a pool.
pub const MAX_NONCES_AHEAD: u64 = 64;

/// Why a transaction cannot stand in a block, or not yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Undecodable(#[from] DecodeError),
    #[error(
        "the signature of {signer} does not hold: the transaction was signed for another chain or by another key, or was \
         altered; sign it for chain {chain}"
    )]
    BadSignature { signer: PublicKey, chain: ChainContext },
    #[error(
        "nonce {nonce} of {sender} is used already, the next one is {next}: this transaction, or another one with its nonce, \
         is in the chain"
    )]
    Replay { sender: Address, nonce: Nonce, next: Nonce },
    #[error("nonce {nonce} of {sender} is too far ahead, the next one is {next}; a pool holds nonces below {limit}")]
    NonceAhead { sender: Address, nonce: Nonce, next: Nonce, limit: Nonce },
    #[error("the fee {fee} is too low: a gas limit of {gas_limit} costs at least {needed} base units")]
    FeeTooLow { fee: Amount, gas_limit: Gas, needed: Amount },
    #[error("the gas limit {gas_limit} is too low: this transaction uses {needed}")]
    GasLimitTooLow { gas_limit: Gas, needed: Gas },
}

impl ModuleError for Error {
    const MODULE: &'static str = "auth";

    fn code(&self) -> u32 {
        match self {
            Self::Undecodable(DecodeError::TooLarge { .. }) => 1,
            Self::Undecodable(DecodeError::Malformed { .. }) => 2,
            Self::Undecodable(DecodeError::Trailing { .. }) => 3,
            Self::BadSignature { .. } => 4,
            Self::Replay { .. } => 5,
            Self::NonceAhead { .. } => 6,
            Self::FeeTooLow { .. } => 7,
            Self::GasLimitTooLow { .. } => 8,
        }
    }
}

/// A transaction whose form, signature and price are right.
pub(crate) struct Envelope {
    pub(crate) body: TxBody,
    pub(crate) signer: PublicKey,
    pub(crate) sender: Address,
    pub(crate) digest: Digest,
    pub(crate) gas: Gas,
}

impl Envelope {
    /// Everything that can be judged without the state. The signature comes last: it costs most.
    pub(crate) fn open(bytes: &[u8], chain: ChainContext, parameters: &ConsensusParameters) -> Result<Self, Error> {
        let transaction = Transaction::decode(bytes)?;
        let body = &transaction.signed().body;
        let gas = body.call.gas(bytes.len(), parameters);
        if body.gas_limit < gas {
            return Err(Error::GasLimitTooLow { gas_limit: body.gas_limit, needed: gas });
        }
        let needed = Amount(parameters.min_gas_price.0.saturating_mul(u128::from(body.gas_limit.0)));
        if body.fee < needed {
            return Err(Error::FeeTooLow { fee: body.fee, gas_limit: body.gas_limit, needed });
        }
        let signer = transaction.signed().signer;
        if !transaction.verify(chain) {
            return Err(Error::BadSignature { signer, chain });
        }
        let Transaction::V1(signed) = transaction;
        Ok(Self { body: signed.body, signer, sender: Address::of(&signer), digest: tx_digest(bytes), gas })
    }

    fn context<'a>(&self, chain: ChainContext, height: Height, parameters: &'a ConsensusParameters) -> CallContext<'a> {
        CallContext { chain, height, signer: self.signer, sender: self.sender, parameters }
    }

    /// Whether the transaction may wait for a block after `height`.
    pub(crate) fn admit(
        &self,
        view: &dyn StateView,
        chain: ChainContext,
        height: Height,
        parameters: &ConsensusParameters,
    ) -> Result<Checked, CallError> {
        let (sender, nonce, fee) = (self.sender, self.body.nonce, self.body.fee);
        let next = staking::account(view, &sender)?.nonce;
        let limit = next.saturating_add(MAX_NONCES_AHEAD);
        if nonce < next {
            return Err(Error::Replay { sender, nonce, next }.into());
        }
        if nonce >= limit {
            return Err(Error::NonceAhead { sender, nonce, next, limit }.into());
        }
        let call = &self.body.call;
        calls::check_stateless(call, chain, &sender).map_err(CallError::Refused)?;
        calls::check_affordable(view, &sender, fee, call)?;
        calls::check_stateful(call, view, &self.context(chain, height.next(), parameters))?;
        Ok(Checked { digest: self.digest, sender, nonce, fee, gas_limit: self.body.gas_limit })
    }

    /// Executes the transaction in the block of `height`. An error means that it cannot stand there; then nothing was
    /// written.
    pub(crate) fn execute(
        &self,
        overlay: &mut Overlay<'_>,
        chain: ChainContext,
        height: Height,
        parameters: &ConsensusParameters,
    ) -> Result<Receipt, CallError> {
        let (sender, nonce) = (self.sender, self.body.nonce);
        let next = staking::account(overlay, &sender)?.nonce;
        if nonce < next {
            return Err(Error::Replay { sender, nonce, next }.into());
        }
        if nonce > next {
            return Err(Error::NonceAhead { sender, nonce, next, limit: next.next() }.into());
        }
        staking::charge(overlay, &sender, self.body.fee)?;
        let context = self.context(chain, height, parameters);
        let executed = attempt(overlay, |inner| calls::execute(&self.body.call, inner, &context));
        let (outcome, events) = match executed {
            Ok(events) => (Ok(()), events),
            Err(CallError::Refused(error)) => (Err(error), Vec::new()),
            Err(state) => return Err(state),
        };
        Ok(Receipt { tx: self.digest, gas_used: self.gas, outcome, events })
    }
}
