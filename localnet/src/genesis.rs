//! The genesis document of a localnet: nodes, committees, accounts, and the parameters of each ParaTime.

use crate::error::LocalnetError;
use crate::fixture::{ACCOUNT_BALANCE, Fixture, NODE_BALANCE, NODE_STAKE, ParaTimeKind};
use crate::keys::KeySet;
use crate::plan::{Account, PlannedNode};
use parallax_consensus_app::genesis::{ConsensusGenesis, GenesisAccount, ParaTimeDescriptor};
use parallax_consensus_app::tx::{NodeDescriptor, Role, SignedNodeDescriptor};
use parallax_evm::EvmParaTime;
use parallax_evm::params::{SchedulerLink, Signers};
use parallax_genesis::{GenesisDocument, NodeKeys, ParaTimeGenesis, UNSIGNED, document, genesis_root, profile_digest};
use parallax_primitives::message::paratime_account;
use parallax_primitives::{Address, Amount, Digest, Domain, Epoch, Gas, NodeId, ParaTimeId};
use parallax_rounds::Committee;
use parallax_runtime::ParaTime;
use parallax_runtime::decryption::KeyManagers;
use parallax_scheduler::Scheduler;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Epochs for which the first registrations count: a localnet is not kept for so long.
const REGISTERED_EPOCHS: u64 = 1_000_000;
/// The chain that the key managers' signatures for contracts name, and the two contracts there. A localnet has no such
/// chain; these are what tools for the published contracts take for one that runs on a developer's machine.
const GATEWAY_CHAIN: u64 = 10_901;
const GATEWAY_INPUTS: &str = "0x812b06e1cdce800494b79ffe4f925a504a9a9810";
const GATEWAY_DECRYPTIONS: &str = "0x5ffdaab0373e62e2ea2944776209aef29e631a64";

/// The id of a localnet's ParaTime.
pub(crate) fn paratime_id(kind: ParaTimeKind) -> ParaTimeId {
    ParaTimeId::named(kind.name())
}

/// The keys of a localnet's node, which everyone can compute.
pub(crate) fn node_keys(name: &str) -> NodeKeys {
    NodeKeys::well_known(&format!("localnet {name}"))
}

/// The key set of a ParaTime that the fixture names.
pub(crate) fn key_set(keys: &BTreeMap<ParaTimeKind, KeySet>, kind: ParaTimeKind) -> Result<&KeySet, LocalnetError> {
    let missing = || LocalnetError::BadFixture { field: "keys", reason: format!("there is no key set for {kind}") };
    keys.get(&kind).ok_or_else(missing)
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// One ParaTime of the document.
struct Part {
    descriptor: ParaTimeDescriptor,
    genesis: ParaTimeGenesis,
}

/// The document, signed by all nodes.
pub(crate) fn document(
    fixture: &Fixture,
    nodes: &[PlannedNode],
    accounts: &[Account],
    keys: &BTreeMap<ParaTimeKind, KeySet>,
) -> Result<GenesisDocument, LocalnetError> {
    let of = |role: Role| nodes.iter().filter(move |n| n.role == role);
    let managers =
        KeyManagers { parties: of(Role::KeyManager).map(|n| n.node).collect(), threshold: 0, epoch: Epoch(0) };
    let (mut parts, mut funded) = (Vec::new(), Vec::new());
    for kind in fixture.paratimes.iter().copied() {
        let parameters = match kind {
            ParaTimeKind::Scheduler => scheduler_parameters(fixture, accounts, managers.clone()),
            ParaTimeKind::Evm => {
                let genesis =
                    evm_genesis(fixture, of(Role::KeyManager), managers.clone()).map_err(|reason| bad(kind, reason))?;
                let address = paratime_account(&paratime_id(kind));
                funded.push(GenesisAccount { address, balance: genesis.backing(), stake: Amount::ZERO });
                serde_json::to_value(genesis).map_err(|e| e.to_string())
            }
        };
        parts.push(part(fixture, kind, parameters, key_set(keys, kind)?, managers.clone())?);
    }
    let compute: Vec<NodeId> = of(Role::Compute).map(|n| n.node).collect();
    let (workers, backups) = (usize::from(fixture.workers), usize::from(fixture.backups));
    let committee = Committee {
        epoch: Epoch(0),
        workers: compute.iter().take(workers).copied().collect(),
        backups: compute.iter().skip(workers).take(backups).copied().collect(),
    };
    let time_ms = now_ms();
    let consensus = ConsensusGenesis {
        chain_id: fixture.chain_id.clone(),
        time_ms,
        parameters: fixture.parameters(),
        accounts: nodes
            .iter()
            .map(|n| GenesisAccount { address: n.entity, balance: NODE_BALANCE, stake: NODE_STAKE })
            .chain(accounts.iter().map(|a| GenesisAccount {
                address: a.address,
                balance: ACCOUNT_BALANCE,
                stake: Amount::ZERO,
            }))
            .chain(funded)
            .collect(),
        nodes: nodes.iter().map(|n| unsigned(n, &parts)).collect(),
        committees: parts.iter().map(|p| (p.descriptor.id, committee.clone())).collect(),
        paratimes: parts.iter().map(|p| p.descriptor.clone()).collect(),
        beacon: Digest::of_value(Domain::Simulation, &("localnet beacon", &fixture.chain_id, time_ms)),
    };
    let paratimes = parts.into_iter().map(|p| p.genesis).collect();
    let mut document = GenesisDocument { version: document::VERSION, consensus, paratimes };
    for node in nodes {
        document.sign(&node_keys(&node.name).consensus)?;
    }
    Ok(document)
}

fn bad(kind: ParaTimeKind, reason: String) -> LocalnetError {
    LocalnetError::BadFixture { field: kind.name(), reason }
}

fn part(
    fixture: &Fixture,
    kind: ParaTimeKind,
    parameters: Result<Json, String>,
    keys: &KeySet,
    managers: KeyManagers,
) -> Result<Part, LocalnetError> {
    let bad = |reason: String| bad(kind, reason);
    let id = paratime_id(kind);
    let parameters = parameters.map_err(bad)?;
    let program: Box<dyn ParaTime> = match kind {
        ParaTimeKind::Scheduler => Box::new(Scheduler::new(id)),
        ParaTimeKind::Evm => Box::new(EvmParaTime::new(id)),
    };
    let changes = program.init_genesis(&parameters).map_err(bad)?;
    let descriptor = ParaTimeDescriptor {
        id,
        kind: kind.name().to_owned(),
        rounds: fixture.rounds(kind),
        profile: profile_digest(&keys.profile),
        key_set: Digest(keys.key_id.0),
        genesis_root: genesis_root(id, &changes).map_err(|e| bad(e.to_string()))?,
    };
    Ok(Part { descriptor, genesis: ParaTimeGenesis { id, parameters, profile: keys.profile.clone(), managers } })
}

fn scheduler_parameters(fixture: &Fixture, accounts: &[Account], managers: KeyManagers) -> Result<Json, String> {
    // A quarter of every batch is left to transactions.
    let batch = fixture.rounds(ParaTimeKind::Scheduler).max_batch_gas.0;
    let max_decision_gas = Gas(batch - batch / 4);
    // The first well-known account governs.
    let governance = accounts.first().map(|a| a.address);
    let usual = parallax_scheduler::Params::localnet(managers);
    let params = parallax_scheduler::Params {
        max_jobs_per_round: fixture.jobs_per_round,
        max_decision_gas,
        governance,
        ..usual
    };
    let balances = accounts
        .iter()
        .map(|a| parallax_scheduler::GenesisAccount { address: a.address, balance: ACCOUNT_BALANCE })
        .collect();
    serde_json::to_value(parallax_scheduler::Genesis { params, accounts: balances }).map_err(|e| e.to_string())
}

/// The EVM with its development accounts. The key managers attest inputs and sign decryptions.
fn evm_genesis<'a>(
    fixture: &Fixture,
    managers: impl Iterator<Item = &'a PlannedNode>,
    key_managers: KeyManagers,
) -> Result<parallax_evm::params::Genesis, String> {
    let signers: Vec<Address> = managers.map(|n| node_keys(&n.name).ethereum.address()).collect();
    let threshold = u64::from(key_managers.threshold).saturating_add(1);
    let signing = |contract: &str| {
        let contract = contract.parse().map_err(|_| format!("{contract} is no address"))?;
        Ok::<_, String>(Signers { contract, chain_id: GATEWAY_CHAIN, signers: signers.clone(), threshold })
    };
    let (inputs, decryptions) = (signing(GATEWAY_INPUTS)?, signing(GATEWAY_DECRYPTIONS)?);
    let usual = parallax_evm::params::Params::localnet(key_managers, inputs, decryptions);
    // One transaction may take a batch of its own.
    let max_transaction_fhe_gas = fixture.rounds(ParaTimeKind::Evm).max_batch_gas;
    // Contracts submit jobs to the scheduling ParaTime, where there is one.
    let scheduler = fixture.paratimes.contains(&ParaTimeKind::Scheduler).then(|| SchedulerLink {
        paratime: paratime_id(ParaTimeKind::Scheduler),
        message_fee: parallax_consensus_app::localnet_parameters().min_in_message_fee,
    });
    let params = parallax_evm::params::Params { max_transaction_fhe_gas, scheduler, ..usual };
    Ok(parallax_evm::params::Genesis::localnet(params))
}

fn unsigned(node: &PlannedNode, parts: &[Part]) -> SignedNodeDescriptor {
    let keys = node_keys(&node.name);
    let executed = parts.iter().map(|p| (p.descriptor.id, p.descriptor.profile));
    SignedNodeDescriptor {
        descriptor: NodeDescriptor {
            node: node.node,
            entity: node.entity,
            roles: vec![node.role],
            vrf: keys.vrf().public(),
            peer: keys.peer.public(),
            paratimes: if node.role == Role::Compute { executed.collect() } else { vec![] },
            expires: Epoch(REGISTERED_EPOCHS),
        },
        signature: UNSIGNED,
    }
}
