//! Messages between a ParaTime and the consensus layer. Outgoing ones are executed as the ParaTime's account when a
//! round is finalised; incoming ones wait in a queue of the ParaTime and are consumed in order.

use crate::hash::{Digest, Domain};
use crate::ids::{Address, Amount, ParaTimeId};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// From a ParaTime to the consensus layer.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub enum OutMessage {
    /// Native tokens from the ParaTime's account.
    Transfer {
        /// The recipient.
        to: Address,
        /// How much.
        amount: Amount,
    },
    /// A message to another ParaTime, which finds it in its queue with the account of the sending ParaTime as caller.
    Call {
        /// The recipient; not the sending ParaTime itself.
        to: ParaTimeId,
        /// What goes to the recipient's treasury, beside the tokens.
        fee: Amount,
        /// Tokens that come with it.
        tokens: Amount,
        /// In the recipient's encoding, at most [`crate::limits::MAX_IN_MESSAGE_BYTES`].
        data: Vec<u8>,
    },
}

/// The account of a ParaTime: where its treasury lies and from which its messages pay. No key has this address,
/// because the digest is of another form than that of a public key.
pub fn paratime_account(id: &ParaTimeId) -> Address {
    shortened(Digest::of_value(Domain::Address, &("paratime", id)))
}

/// The account that a contract of one ParaTime has in the others. No key has this address either.
pub fn contract_account(paratime: &ParaTimeId, contract: &Address) -> Address {
    shortened(Digest::of_value(Domain::Address, &("contract", paratime, contract)))
}

fn shortened(digest: Digest) -> Address {
    let mut address = Address::default();
    address.0.iter_mut().zip(digest.0).for_each(|(to, from)| *to = from);
    address
}

/// What became of one outgoing message. The ParaTime is told in its next accepted round, in the order in which it sent
/// them.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct MessageResult {
    /// The consensus module that refused it; empty if it was executed.
    pub module: String,
    /// The module's stable code; 0 if it was executed.
    pub code: u32,
}

impl MessageResult {
    /// That of a message that was executed.
    pub fn done() -> Self {
        Self { module: String::new(), code: 0 }
    }

    /// Whether it was executed.
    pub fn is_done(&self) -> bool {
        self.code == 0
    }
}

/// From the consensus layer to a ParaTime.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct InMessage {
    /// Position in the ParaTime's queue since genesis.
    pub id: u64,
    /// Who sent it.
    pub caller: Address,
    /// Tokens that came with it, already on the ParaTime's account.
    pub tokens: Amount,
    /// The ParaTime's own encoding.
    pub data: Vec<u8>,
}
