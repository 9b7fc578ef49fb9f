//! `JobGateway`: where contracts submit jobs to the scheduling ParaTime, and read what became of them. This contract is
//! Parallax's own; its interface is `examples/contracts/IJobGateway.sol`, the whole way of a job `docs/contract-jobs.md`.
//!
//! Submitting emits an event with the message to the scheduler; the round that executes the transaction sends what the
//! events of its successful transactions say (`jobs.rs` of the crate), and writes answers into the storage here.
//!
//! | slot | what |
//! | --- | --- |
//! | 0 | the scheduling ParaTime; zero: there is none |
//! | 1 | what a message pays, in base units of the consensus layer's token |
//! | 2 | wei of a base unit |
//! | 3 | this ParaTime |
//! | 4 | how many requests there have been |
//! | 5 | how many of them the consensus layer has not taken or refused yet |
//! | mapping 6 | a request: contract and status, job, refunded wei, module and code of a refusal |
//! | mapping 7 | of a request and a replica: the anchor, and how far it has come |

use super::abi::{self, Args, Out, bare, error, number, word};
use super::frame::{Frame, Outcome};
use parallax_primitives::limits::MAX_IN_MESSAGE_BYTES;
use parallax_primitives::message::contract_account;
use parallax_primitives::{Address as Account, Amount, Epoch, ImageDigest, Keccak256, KeyId, ParaTimeId};
use parallax_runtime::jobs::JobRequest;
use revm::primitives::{Address, Bytes, U256, keccak256};

/// Requests that may wait for the consensus layer at one time: they stand in the state meanwhile.
pub const MAX_WAITING: u64 = 16;
/// How many messages a request pays for: its own, and two answers.
pub const MESSAGES: u64 = 3;
/// Words of the public terms of a job.
const TERMS: usize = 10;
/// The event of a request. Its data are the tokens of the message and the message.
pub const SUBMITTED: &str = "JobSubmitted(uint256,address,uint256,bytes)";

/// The slots.
pub(crate) mod slot {
    pub(crate) const SCHEDULER: u64 = 0;
    pub(crate) const FEE: u64 = 1;
    pub(crate) const WEI: u64 = 2;
    pub(crate) const PARATIME: u64 = 3;
    pub(crate) const REQUESTS: u64 = 4;
    pub(crate) const WAITING: u64 = 5;
    pub(super) const RECORDS: u64 = 6;
    pub(super) const DEPLOYMENTS: u64 = 7;
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Status {
    /// There is no such request.
    None = 0,
    /// On its way to the scheduler.
    Submitted = 1,
    /// The consensus layer did not take the message; everything it carried came back.
    NotSent = 2,
    /// It is a job that waits for its decision.
    Accepted = 3,
    /// The scheduler refused it; what was left came back.
    Refused = 4,
    /// It was placed; what was left of its escrow came back.
    Placed = 5,
    /// It was given up; what was left of its escrow came back.
    Unplaced = 6,
}

/// Where a request's record begins.
pub(crate) fn record(request: U256) -> U256 {
    keccak256([request.to_be_bytes::<32>(), U256::from(slot::RECORDS).to_be_bytes()].concat()).into()
}

/// Where the record of a replica's deployment begins.
pub(crate) fn deployment(request: U256, replica: u8) -> U256 {
    let outer = keccak256([request.to_be_bytes::<32>(), U256::from(slot::DEPLOYMENTS).to_be_bytes()].concat());
    keccak256([U256::from(replica).to_be_bytes::<32>(), outer.0].concat()).into()
}

/// The first word of a record: contract and status.
pub(crate) fn head(contract: Address, status: Status) -> U256 {
    U256::from_be_bytes(word(contract).0) | (U256::from(status as u8) << 160)
}

/// The storage at genesis.
pub(crate) fn genesis(paratime: ParaTimeId, scheduler: ParaTimeId, fee: Amount, wei: u64) -> Vec<(U256, U256)> {
    [
        (slot::SCHEDULER, U256::from_be_bytes(scheduler.0)),
        (slot::FEE, U256::from(fee.0)),
        (slot::WEI, U256::from(wei)),
        (slot::PARATIME, U256::from_be_bytes(paratime.0)),
    ]
    .map(|(slot, value)| (U256::from(slot), value))
    .to_vec()
}

/// The functions, by selector.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    Submit,
    Job,
    Deployment,
    Account,
    Fee,
    Scheduler,
    Version,
}

/// Every function with its signature.
pub(super) fn functions() -> Vec<(String, Function)> {
    const TERMS: &str = "(bytes32,uint64,uint8,uint8,uint8,bool,bool,uint128,address,bytes32)";
    [
        (format!("submitJob({TERMS},bytes,bytes32[])"), Function::Submit),
        ("jobOf(uint256)".to_owned(), Function::Job),
        ("deploymentOf(uint256,uint8)".to_owned(), Function::Deployment),
        ("accountOf(address)".to_owned(), Function::Account),
        ("messageFee()".to_owned(), Function::Fee),
        ("scheduler()".to_owned(), Function::Scheduler),
        ("getVersion()".to_owned(), Function::Version),
    ]
    .to_vec()
}

fn uint8(args: Args<'_>, index: usize) -> Outcome<u8> {
    u8::try_from(args.uint256(index)).map_err(|_| bare())
}

fn flag(args: Args<'_>, index: usize) -> Outcome<bool> {
    match uint8(args, index)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(bare()),
    }
}

/// A call.
pub(super) fn dispatch(frame: &mut Frame<'_>, selector: [u8; 4], data: &[u8]) -> Outcome<Bytes> {
    let Some(function) = super::table().jobs.get(&selector) else { return Err(bare()) };
    if !frame.value.is_zero() && !matches!(function, Function::Submit) {
        return Err(bare());
    }
    let read = |frame: &mut Frame<'_>, slot: u64| frame.sload(U256::from(slot));
    let out = match function {
        Function::Submit => return submit(frame, Args::new(data, TERMS + 2)?),
        Function::Version => vec![Out::text("JobGateway v0.1.0")],
        Function::Scheduler => vec![Out::number(read(frame, slot::SCHEDULER)?)],
        Function::Fee => vec![Out::number(read(frame, slot::FEE)?.saturating_mul(read(frame, slot::WEI)?))],
        Function::Account => {
            let contract = Args::new(data, 1)?.address(0)?;
            let own = ParaTimeId(read(frame, slot::PARATIME)?.to_be_bytes());
            vec![Out::address(Address::from(contract_account(&own, &Account(contract.into_array())).0))]
        }
        Function::Job => {
            let at = record(Args::new(data, 1)?.uint256(0));
            frame.keccak(&[0; 64])?;
            let mut next = at;
            let mut field = || {
                let value = frame.sload(next);
                next = next.wrapping_add(U256::ONE);
                value
            };
            let (head, job, refunded, module, code) = (field()?, field()?, field()?, field()?, field()?);
            let bytes = head.to_be_bytes::<32>();
            let status = Out::number(U256::from(bytes[11]));
            let mut out = vec![Out::address(Address::from_slice(&bytes[12..])), status];
            out.extend([job, refunded, module, code].map(Out::number));
            out
        }
        Function::Deployment => {
            let args = Args::new(data, 2)?;
            let at = deployment(args.uint256(0), uint8(args, 1)?);
            frame.keccak(&[0; 64])?;
            frame.keccak(&[0; 64])?;
            vec![Out::number(frame.sload(at)?), Out::number(frame.sload(at.wrapping_add(U256::ONE))?)]
        }
    };
    Ok(abi::returns(&out))
}

/// What the value of a call pays: the fee of the message and the tokens that go with it.
fn payment(frame: &mut Frame<'_>) -> Outcome<(Amount, Amount)> {
    let (fee, wei) = (frame.sload(U256::from(slot::FEE))?, frame.sload(U256::from(slot::WEI))?);
    let least = fee.saturating_mul(wei).saturating_mul(U256::from(MESSAGES));
    if frame.value < least {
        return Err(error("ValueTooLow(uint256)", &[number(least)]));
    }
    let whole = frame.value.checked_rem(wei).is_some_and(|rest| rest.is_zero());
    let tokens = frame.value.checked_div(wei).and_then(|tokens| tokens.checked_sub(fee));
    match (u128::try_from(fee), tokens.map(u128::try_from)) {
        (Ok(fee), Some(Ok(tokens))) if whole => Ok((Amount(fee), Amount(tokens))),
        _ => Err(error("NotWholeTokens(uint256)", &[number(wei)])),
    }
}

fn submit(frame: &mut Frame<'_>, args: Args<'_>) -> Outcome<Bytes> {
    let (list, proof) = (args.bytes(TERMS)?, args.words(TERMS + 1)?);
    let gas_price = u128::try_from(args.uint256(7)).map_err(|_| bare())?;
    let image = args.bytes32(9);
    let (policy, tier, replicas) = (uint8(args, 2)?, uint8(args, 3)?, uint8(args, 4)?);
    let (zones, gang, agent, epoch) = (flag(args, 5)?, flag(args, 6)?, args.address(8)?, args.uint64(1)?);
    frame.writable()?;
    let scheduler = frame.sload(U256::from(slot::SCHEDULER))?;
    if scheduler.is_zero() {
        return Err(error("NoScheduler()", &[]));
    }
    let (fee, tokens) = payment(frame)?;
    let waiting = frame.sload(U256::from(slot::WAITING))?;
    if waiting >= U256::from(MAX_WAITING) {
        return Err(error("TooManyWaiting()", &[]));
    }
    let request = frame.sload(U256::from(slot::REQUESTS))?;
    let own = ParaTimeId(frame.sload(U256::from(slot::PARATIME))?.to_be_bytes());
    let message = JobRequest {
        from: own,
        contract: Account(frame.caller.into_array()),
        request: u64::try_from(request).map_err(|_| bare())?,
        agent: Account(agent.into_array()),
        answer_fee: fee,
        gas_price: Amount(gas_price),
        key_id: KeyId(args.bytes32(0).0),
        epoch: Epoch(epoch),
        list: list.to_vec(),
        policy,
        tier,
        replicas,
        zones,
        gang,
        image: (!image.is_zero()).then_some(ImageDigest(image.0)),
        image_proof: proof.into_iter().map(|node| Keccak256(node.0)).collect(),
    }
    .to_bytes();
    if message.len() > MAX_IN_MESSAGE_BYTES {
        return Err(error("MessageTooLarge(uint256)", &[number(U256::from(message.len()))]));
    }
    frame.sstore(U256::from(slot::REQUESTS), request.saturating_add(U256::ONE))?;
    frame.sstore(U256::from(slot::WAITING), waiting.saturating_add(U256::ONE))?;
    frame.sstore(record(request), head(frame.caller, Status::Submitted))?;
    let data = abi::encode(&[Out::number(U256::from(tokens.0)), Out::Bytes(message)]);
    frame.emit(SUBMITTED, &[number(request), word(frame.caller)], data)?;
    Ok(abi::returns(&[Out::number(request)]))
}
