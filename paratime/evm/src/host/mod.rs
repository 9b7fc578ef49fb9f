//! The host contracts, in Rust: what Solidity libraries for encrypted values call at fixed addresses.
//!
//! They behave as the published contracts (`@fhevm/host-contracts` 0.10.0) do towards a caller: returns, reverts,
//! events, handles, and the layout of storage and transient storage, all in the EVM's journal. What differs is EVM gas,
//! which is charged by a table, and that nobody can replace their code: `upgradeToAndCall` always reverts.
//!
//! A `DELEGATECALL` to a host contract reverts: it would run on the caller's storage, where nothing of it lies.

mod abi;
mod acl;
mod executor;
mod frame;
mod hcu;
mod input_verifier;
pub mod jobs;
mod kms_verifier;
mod pauser;
mod protocol;
mod provider;
pub(crate) mod signers;
pub mod slots;

#[cfg(test)]
pub(crate) mod testing {
    //! Encoding of calls, for tests.
    pub(crate) use super::abi::{Out, encode};
}

pub use executor::Op;
pub use hcu::{MAX_DEPTH, MAX_PER_TRANSACTION, UNITS_PER_GAS, units};
pub use input_verifier::{DOMAIN_NAME as INPUT_DOMAIN, structure as input_structure};
pub use kms_verifier::{DOMAIN_NAME as DECRYPTION_DOMAIN, structure as decryption_structure};
pub(crate) use provider::Hosts;

use abi::{bare, error, selector, word};
use frame::{Frame, Outcome};
use revm::primitives::{Address, B256, Bytes, U256, address, b256};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The access control list.
pub const ACL: Address = address!("50157CFfD6bBFA2DECe204a89ec419c23ef5755D");
/// The executor.
pub const EXECUTOR: Address = address!("e3a9105a3a932253A70F126eb1E3b589C643dD24");
/// The verifier of public decryptions.
pub const KMS_VERIFIER: Address = address!("901F8942346f7AB3a01F6D7613119Bca447Bb030");
/// The same once more, where the published Hardhat plugin looks for it.
pub const KMS_VERIFIER_OF_PLUGIN: Address = address!("bE0E383937d564D7FF0BC3b46c51f0bF8d5C311A");
/// The verifier of inputs.
pub const INPUT_VERIFIER: Address = address!("36772142b74871f255CbD7A3e89B401d3e45825f");
/// The limits on homomorphic complexity.
pub const HCU_LIMIT: Address = address!("233ff88A48c172d29F675403e6A8e302b0F032D9");
/// The set of pausers.
pub const PAUSER_SET: Address = address!("34e3ed8472e409dbf8fdf933ca996dc75e4be126");

/// Who decrypts, as versions of the published contracts tell it that no package has yet.
pub const PROTOCOL_CONFIG: Address = address!("44aA028fd264C76BF4A8f8B4d8A5272f6AE25CAc");
/// Where contracts submit jobs to the scheduling ParaTime. Not one of the published contracts.
pub const JOBS: Address = address!("506172616c6c6178000000000000000000000001");

/// Every host contract of the published package.
pub const ALL: [Address; 7] =
    [ACL, EXECUTOR, KMS_VERIFIER, KMS_VERIFIER_OF_PLUGIN, INPUT_VERIFIER, HCU_LIMIT, PAUSER_SET];

/// Every host contract, and what is Parallax's own.
pub const NATIVE: [Address; 9] =
    [ACL, EXECUTOR, KMS_VERIFIER, KMS_VERIFIER_OF_PLUGIN, INPUT_VERIFIER, HCU_LIMIT, PAUSER_SET, PROTOCOL_CONFIG, JOBS];

/// The code at each address: `INVALID`. It is never run, but Solidity asks whether there is any.
pub const CODE: [u8; 1] = [0xfe];

/// The functions of each contract by selector.
struct Table {
    acl: BTreeMap<[u8; 4], acl::Function>,
    executor: BTreeMap<[u8; 4], executor::Function>,
    hcu: BTreeMap<[u8; 4], hcu::Function>,
    input_verifier: BTreeMap<[u8; 4], input_verifier::Function>,
    kms_verifier: BTreeMap<[u8; 4], kms_verifier::Function>,
    pauser: BTreeMap<[u8; 4], pauser::Function>,
    jobs: BTreeMap<[u8; 4], jobs::Function>,
    protocol: BTreeMap<[u8; 4], protocol::Function>,
    upgrades: BTreeMap<[u8; 4], Upgrade>,
}

/// What published contracts have because they lie behind proxies.
#[derive(Clone, Copy)]
enum Upgrade {
    Initialize,
    Reinitialize,
    InitializeVerifier,
    ReinitializeVerifier,
    InterfaceVersion,
    OnlyProxy,
}

/// Which initialisers a contract has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// One without arguments.
    Once,
    /// And a second one.
    Twice,
    /// One with signers.
    VerifierOnce,
    /// And a second one.
    VerifierTwice,
}

fn indexed<T>(functions: Vec<(String, T)>) -> BTreeMap<[u8; 4], T> {
    functions.into_iter().map(|(signature, function)| (selector(&signature), function)).collect()
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| Table {
        acl: indexed(acl::functions()),
        executor: indexed(executor::functions()),
        hcu: indexed(hcu::functions()),
        input_verifier: indexed(input_verifier::functions()),
        kms_verifier: indexed(kms_verifier::functions()),
        pauser: indexed(pauser::functions()),
        jobs: indexed(jobs::functions()),
        protocol: indexed(protocol::functions()),
        upgrades: indexed(
            [
                ("initializeFromEmptyProxy()", Upgrade::Initialize),
                ("reinitializeV2()", Upgrade::Reinitialize),
                ("initializeFromEmptyProxy(address,uint64,address[],uint256)", Upgrade::InitializeVerifier),
                ("reinitializeV2(address[],uint256)", Upgrade::ReinitializeVerifier),
                ("UPGRADE_INTERFACE_VERSION()", Upgrade::InterfaceVersion),
                ("proxiableUUID()", Upgrade::OnlyProxy),
                ("upgradeToAndCall(address,bytes)", Upgrade::OnlyProxy),
            ]
            .map(|(signature, function)| (signature.to_owned(), function))
            .to_vec(),
        ),
    })
}

/// A function that has to do with upgrades, or none at all. Everything was initialised at genesis.
fn upgrade(selector: [u8; 4], data: &[u8], contract: Behind) -> Outcome<Bytes> {
    let verifier = matches!(contract, Behind::VerifierOnce | Behind::VerifierTwice);
    match table().upgrades.get(&selector) {
        Some(Upgrade::Initialize) if !verifier => Err(error("NotInitializingFromEmptyProxy()", &[])),
        Some(Upgrade::InitializeVerifier) if verifier => {
            let args = abi::Args::new(data, 4)?;
            args.address(0)?;
            args.uint64(1)?;
            args.addresses(2)?;
            Err(error("NotInitializingFromEmptyProxy()", &[]))
        }
        Some(Upgrade::Reinitialize) if contract == Behind::Twice => Err(error("InvalidInitialization()", &[])),
        Some(Upgrade::ReinitializeVerifier) if contract == Behind::VerifierTwice => {
            abi::Args::new(data, 2)?.addresses(0)?;
            Err(error("InvalidInitialization()", &[]))
        }
        Some(Upgrade::InterfaceVersion) => Ok(abi::returns(&[abi::Out::text("5.0.0")])),
        Some(Upgrade::OnlyProxy) => Err(error("UUPSUnauthorizedCallContext()", &[])),
        _ => Err(bare()),
    }
}

/// Only the owner of the access control list goes on.
fn only_host_owner(frame: &mut Frame<'_>) -> Outcome<()> {
    let sender = frame.caller;
    if frame.call(ACL, acl::owner)? == sender {
        return Ok(());
    }
    Err(error("NotHostOwner(address)", &[word(sender)]))
}

/// A call with calldata to the contract at `to`.
fn call(frame: &mut Frame<'_>, to: Address, input: &[u8]) -> Outcome<Bytes> {
    let Some((first, data)) = input.split_first_chunk::<4>() else { return Err(bare()) };
    match to {
        ACL => acl::dispatch(frame, *first, data),
        EXECUTOR => executor::dispatch(frame, *first, data),
        HCU_LIMIT => hcu::dispatch(*first, data),
        INPUT_VERIFIER => input_verifier::dispatch(frame, *first, data),
        KMS_VERIFIER | KMS_VERIFIER_OF_PLUGIN => kms_verifier::dispatch(frame, *first, data),
        JOBS => jobs::dispatch(frame, *first, data),
        PROTOCOL_CONFIG => protocol::dispatch(frame, *first, data),
        _ => pauser::dispatch(frame, *first, data),
    }
}

/// Who signs for a verifier, and the domain of its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    /// The contract of the other chain that the signatures name.
    pub contract: Address,
    /// That chain.
    pub chain_id: u64,
    /// Who may sign.
    pub signers: Vec<Address>,
    /// How many signatures are needed.
    pub threshold: u64,
}

/// The slot in which OpenZeppelin's contracts note how often they were initialised.
const INITIALIZED: B256 = b256!("f0c57e16840df040f15088dc2f81fe391c3923bec73e23a9662efc9c229c6a00");

/// The storage of the host contracts at genesis.
pub fn genesis_storage(
    owner: Address,
    pausers: &[Address],
    inputs: &Verifier,
    decryptions: &Verifier,
) -> Vec<(Address, U256, U256)> {
    let mut out = vec![(ACL, acl::OWNER.into(), word(owner).into())];
    for (contract, version) in [
        (ACL, 3u64),
        (EXECUTOR, 2),
        (HCU_LIMIT, 2),
        (INPUT_VERIFIER, 3),
        (KMS_VERIFIER, 2),
        (KMS_VERIFIER_OF_PLUGIN, 2),
    ] {
        out.push((contract, INITIALIZED.into(), U256::from(version)));
    }
    for account in pausers {
        let slot = revm::primitives::keccak256([word(*account).0, [0; 32]].concat());
        out.push((PAUSER_SET, slot.into(), U256::ONE));
    }
    let storage = |names: &signers::Names, name: &str, v: &Verifier| {
        signers::genesis(names.storage, name, (v.contract, v.chain_id), &v.signers, v.threshold)
    };
    let slots = storage(&input_verifier::NAMES, INPUT_DOMAIN, inputs);
    out.extend(slots.into_iter().map(|(slot, value)| (INPUT_VERIFIER, slot, value)));
    for contract in [KMS_VERIFIER, KMS_VERIFIER_OF_PLUGIN] {
        let slots = storage(&kms_verifier::NAMES, DECRYPTION_DOMAIN, decryptions);
        out.extend(slots.into_iter().map(|(slot, value)| (contract, slot, value)));
    }
    out
}
