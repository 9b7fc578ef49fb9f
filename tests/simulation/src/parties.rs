//! Who takes part, and the genesis document of the run.

use crate::scenario::Scenario;
use parallax_clear::ClearBackend;
use parallax_consensus_app::genesis::{ConsensusGenesis, GenesisAccount, ParaTimeDescriptor};
use parallax_consensus_app::localnet_parameters;
use parallax_consensus_app::tx::{NodeDescriptor, Role, SignedNodeDescriptor};
use parallax_memory_store::MemoryStore;
use parallax_primitives::vrf::VrfSecretKey;
use parallax_primitives::{
    Address, Amount, ChainContext, Digest, Domain, Epoch, Gas, KeyId, NodeId, ParaTimeId, SecretKey, SigningContext,
};
use parallax_rounds::Committee;
use parallax_runtime::ParaTime as _;
use parallax_runtime::decryption::KeyManagers;
use parallax_scheduler::{Genesis, GenesisAccount as ParaTimeAccount, KIND, Params, Policy, Scheduler};
use parallax_state::{Changes, Database, Namespace, StateError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The validators; consensus itself is assumed, they only feed the beacon.
pub(crate) const VALIDATORS: usize = 3;
const STAKE: u128 = 10_000_000;
const BALANCE: u128 = 1_000_000_000_000;
/// What each client of the ParaTime has there.
pub(crate) const FUNDS: u128 = 1_000_000_000_000;

/// A validator or compute node with its operator.
pub(crate) struct Operator {
    pub(crate) node: SecretKey,
    pub(crate) vrf: VrfSecretKey,
    entity: SecretKey,
}

/// Keys, names and the chain's constants.
pub(crate) struct Parties {
    pub(crate) chain: ChainContext,
    pub(crate) paratime: ParaTimeId,
    pub(crate) key: KeyId,
    pub(crate) validators: Vec<Operator>,
    pub(crate) computes: Vec<Operator>,
    pub(crate) clients: Vec<SecretKey>,
    pub(crate) manager: SecretKey,
    /// Compute nodes by key.
    pub(crate) index: BTreeMap<NodeId, usize>,
}

fn seed(seed: u64, role: u8, number: usize) -> [u8; 32] {
    Digest::of_value(Domain::Simulation, &("key", seed, role, number as u64)).0
}

impl Operator {
    fn new(of: u64, role: u8, number: usize) -> Self {
        Self {
            node: SecretKey::from_seed(seed(of, role, number)),
            vrf: VrfSecretKey::from_seed(seed(of, role + 1, number)),
            entity: SecretKey::from_seed(seed(of, role + 2, number)),
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.node.public()
    }

    pub(crate) fn entity(&self) -> Address {
        Address::of(&self.entity.public())
    }

    fn signed(&self, role: Role, paratimes: Vec<(ParaTimeId, Digest)>, chain: ChainContext) -> SignedNodeDescriptor {
        let descriptor = NodeDescriptor {
            node: self.id(),
            entity: self.entity(),
            roles: vec![role],
            vrf: self.vrf.public(),
            peer: self.id(),
            paratimes,
            expires: Epoch(1_000_000),
        };
        let signature = self.node.sign(&SigningContext::new(Domain::Genesis, chain), &descriptor);
        SignedNodeDescriptor { descriptor, signature }
    }
}

impl Parties {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let of = scenario.seed;
        let computes: Vec<Operator> = (0..scenario.machines.len()).map(|n| Operator::new(of, 0, n)).collect();
        Self {
            chain: ChainContext(Digest::of_value(Domain::Simulation, &("chain", of))),
            paratime: ParaTimeId::named("scheduler"),
            key: KeyId([7; 32]),
            validators: (0..VALIDATORS).map(|n| Operator::new(of, 10, n)).collect(),
            index: computes.iter().enumerate().map(|(n, o)| (o.id(), n)).collect(),
            computes,
            // One more than take part: the last one acts only when faults have stopped.
            clients: (0..=scenario.clients).map(|n| SecretKey::from_seed(seed(of, 20, n))).collect(),
            manager: SecretKey::from_seed(seed(of, 30, 0)),
        }
    }

    /// The name of a node in the transcript.
    pub(crate) fn name(&self, node: &NodeId) -> String {
        self.index.get(node).map_or_else(|| "n?".to_owned(), |n| format!("n{n}"))
    }

    /// The state of the ParaTime's round 0.
    pub(crate) fn paratime_genesis(&self) -> Result<Changes, String> {
        let managers = KeyManagers { parties: vec![self.manager.public()], threshold: 0, epoch: Epoch(1) };
        // The smallest batch of a scenario holds this and a report.
        let max_decision_gas = Gas(150_000);
        let params = Params {
            max_decision_gas,
            candidates_per_decision: 3,
            max_jobs_per_round: 2,
            policies: vec![Policy::Pack],
            ..Params::localnet(managers)
        };
        let accounts = self.clients.iter().chain([&self.manager]);
        let genesis = Genesis {
            params,
            accounts: accounts
                .map(|key| ParaTimeAccount { address: Address::of(&key.public()), balance: Amount(FUNDS) })
                .collect(),
        };
        let json = serde_json::to_value(&genesis).map_err(|e| e.to_string())?;
        Scheduler::new(self.paratime).init_genesis(&json)
    }

    pub(crate) fn consensus_genesis(&self, scenario: &Scenario, genesis_root: Digest) -> ConsensusGenesis {
        let profile = ClearBackend::new(vec![self.key]).profile_digest();
        let ids: Vec<NodeId> = self.computes.iter().map(Operator::id).collect();
        let rounds = &scenario.rounds;
        let (workers, backups) = (usize::from(rounds.workers), usize::from(rounds.backups));
        let committee = Committee {
            epoch: Epoch::ZERO,
            workers: ids.iter().take(workers).copied().collect(),
            // From the other end, so that nodes sit in both roles only where they must.
            backups: ids.iter().rev().take(backups).copied().collect(),
        };
        let mut accounts = Vec::new();
        for operator in self.validators.iter().chain(&self.computes) {
            accounts.push((operator.entity(), STAKE));
            accounts.push((Address::of(&operator.id()), 0));
        }
        accounts.extend(self.clients.iter().map(|key| (Address::of(&key.public()), 0)));
        let mut parameters = localnet_parameters();
        parameters.epoch_blocks = scenario.epoch_blocks;
        parameters.kept_rounds = 1_000;
        let validators = self.validators.iter().map(|o| o.signed(Role::Validator, vec![], self.chain));
        let computes =
            self.computes.iter().map(|o| o.signed(Role::Compute, vec![(self.paratime, profile)], self.chain));
        ConsensusGenesis {
            chain_id: "simulation".to_owned(),
            time_ms: 1_000,
            parameters,
            accounts: accounts
                .into_iter()
                .map(|(address, stake)| GenesisAccount { address, balance: Amount(BALANCE), stake: Amount(stake) })
                .collect(),
            nodes: validators.chain(computes).collect(),
            paratimes: vec![ParaTimeDescriptor {
                id: self.paratime,
                kind: KIND.to_owned(),
                rounds: rounds.clone(),
                profile,
                key_set: Digest(self.key.0),
                genesis_root,
            }],
            committees: vec![(self.paratime, committee)],
            beacon: Digest::of_value(Domain::Simulation, &("beacon", scenario.seed)),
        }
    }

    /// A store with the ParaTime's genesis state, and its root.
    pub(crate) fn genesis_store(&self) -> Result<(MemoryStore, Digest), StateError> {
        let store = MemoryStore::new();
        let tree = Database::open(Arc::new(store.clone()))?.tree(Namespace::ParaTime(self.paratime));
        let changes = self.paratime_genesis().map_err(StateError::Store)?;
        let root = tree.commit(tree.prepare(0, &changes)?, Default::default())?;
        Ok((store, root))
    }
}

/// The digest by which a registration names a profile.
trait ProfileDigest {
    fn profile_digest(&self) -> Digest;
}

impl ProfileDigest for ClearBackend {
    fn profile_digest(&self) -> Digest {
        use parallax_runtime::FheBackend as _;
        Digest::of_value(Domain::Simulation, self.profile())
    }
}
