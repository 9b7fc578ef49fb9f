//! What a contract of one ParaTime and a scheduling ParaTime say to each other, by messages through the consensus layer.
//!
//! A contract has an account at the scheduling ParaTime, derived from its ParaTime and address
//! ([`parallax_primitives::message::contract_account`]); to that account the list of a request is bound.
//! No key has it, so a request names an *agent*: the account that may have the position decrypted, deals with the host,
//! and anchors the deployment.

use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::limits::MAX_IN_MESSAGE_BYTES;
use parallax_primitives::message::{InMessage, contract_account, paratime_account};
use parallax_primitives::{Address, Amount, Digest, Epoch, ImageDigest, Keccak256, KeyId, ParaTimeId, decode, encode};

/// Most bytes of an encrypted list in a request: what is left of a message by everything else.
pub const MAX_LIST_BYTES: usize = MAX_IN_MESSAGE_BYTES - 1_024;

/// A job that a contract asks for.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct JobRequest {
    /// The contract's ParaTime; the message's caller must be its account.
    pub from: ParaTimeId,
    /// The contract.
    pub contract: Address,
    /// The number by which answers name it.
    pub request: u64,
    /// Who acts for the contract where a signature is needed.
    pub agent: Address,
    /// What each answer pays for its way back; two of them come out of the tokens of this message.
    pub answer_fee: Amount,
    /// What is paid for one unit of FHE gas.
    pub gas_price: Amount,
    /// The key that encrypts the list.
    pub key_id: KeyId,
    /// The epoch to which its proof is bound.
    pub epoch: Epoch,
    /// The list with its proof.
    pub list: Vec<u8>,
    /// How the winner is chosen, as the position of the scheduler's policy: pack, spread, cost, in turn.
    pub policy: u8,
    /// Its tier.
    pub tier: u8,
    /// How many hosts it wants.
    pub replicas: u8,
    /// Whether they are to be in different zones.
    pub zones: bool,
    /// Whether it wants all of them or none.
    pub gang: bool,
    /// What it runs, if it says so.
    pub image: Option<ImageDigest>,
    /// That the image is on the scheduler's list.
    pub image_proof: Vec<Keccak256>,
}

/// What the scheduler answers.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct JobAnswer {
    /// The contract that asked.
    pub contract: Address,
    /// The number of its request.
    pub request: u64,
    /// The answer.
    pub said: Said,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Said {
    /// It is a job now and waits for a decision. What was paid too much comes with this.
    Accepted {
        /// The job's id.
        job: Digest,
    },
    /// It is none. What is left of the deposit comes with this.
    Refused {
        /// The scheduler's code for the reason.
        code: u32,
    },
    /// It was placed. What is left of its escrow comes with this.
    Placed {
        /// The job's id.
        job: Digest,
    },
    /// It was given up after its last attempt. What is left of its escrow comes with this.
    Unplaced {
        /// The job's id.
        job: Digest,
    },
    /// How far a replica has come.
    Deployed {
        /// The job's id.
        job: Digest,
        /// Which replica, counted from 0.
        replica: u8,
        /// The digest of job, image, host and salt.
        anchor: Digest,
        /// 0 accepted, 1 running, 2 finished, 3 failed.
        progress: u8,
    },
}

/// The wire form of both.
#[derive(BorshSerialize, BorshDeserialize)]
enum Wire<T> {
    /// The first format.
    V1(T),
}

impl JobRequest {
    /// The message's data.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(&Wire::V1(self))
    }

    /// The request in a message, if it is one and the ParaTime that it names sent it. Anyone may send a message with any
    /// data; only a ParaTime's account speaks for its contracts.
    pub fn of(message: &InMessage) -> Option<Self> {
        let Wire::V1(request): Wire<Self> = decode("a job's request", &message.data, MAX_IN_MESSAGE_BYTES).ok()?;
        (paratime_account(&request.from) == message.caller).then_some(request)
    }

    /// The contract's account at the scheduler.
    pub fn owner(&self) -> Address {
        contract_account(&self.from, &self.contract)
    }
}

impl JobAnswer {
    /// The message's data.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(&Wire::V1(self))
    }

    /// The answer in these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let Wire::V1(answer): Wire<Self> = decode("a job's answer", bytes, MAX_IN_MESSAGE_BYTES).ok()?;
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> JobRequest {
        JobRequest {
            from: ParaTimeId::named("evm"),
            contract: Address([7; 20]),
            request: 3,
            agent: Address([8; 20]),
            answer_fee: Amount(10),
            gas_price: Amount(1),
            key_id: KeyId([4; 32]),
            epoch: Epoch(2),
            list: vec![1; MAX_LIST_BYTES],
            policy: 0,
            tier: 0,
            replicas: 1,
            zones: false,
            gang: false,
            image: Some(ImageDigest([5; 32])),
            image_proof: vec![Keccak256([6; 32]); 17],
        }
    }

    #[test]
    fn the_largest_request_fits_a_message_and_only_its_paratime_may_send_it() {
        let data = request().to_bytes();
        assert!(data.len() <= MAX_IN_MESSAGE_BYTES, "{} bytes", data.len());
        let from = |caller| InMessage { id: 0, caller, tokens: Amount(1), data: data.clone() };
        assert_eq!(JobRequest::of(&from(paratime_account(&request().from))), Some(request()));
        assert_eq!(JobRequest::of(&from(paratime_account(&ParaTimeId::named("other")))), None);
        assert_eq!(JobRequest::of(&from(Address([7; 20]))), None, "an account cannot pass for a ParaTime");
        assert_ne!(request().owner(), contract_account(&ParaTimeId::named("other"), &request().contract));
    }

    #[test]
    fn an_answer_is_read_as_it_was_written_and_nothing_else_is() {
        let said = Said::Deployed { job: Digest([1; 32]), replica: 2, anchor: Digest([3; 32]), progress: 1 };
        let answer = JobAnswer { contract: Address([7; 20]), request: 3, said };
        let bytes = answer.to_bytes();
        assert_eq!(JobAnswer::from_bytes(&bytes), Some(answer));
        assert_eq!(JobAnswer::from_bytes(&bytes[1..]), None);
        assert_eq!(JobAnswer::from_bytes(&[bytes.clone(), vec![0]].concat()), None);
    }
}
