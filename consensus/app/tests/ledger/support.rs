//! A small chain: 4 validators and 5 compute nodes, each of its own entity, one ParaTime, three users.

use parallax_consensus_app::genesis::{ConsensusGenesis, GenesisAccount, ParaTimeDescriptor};
use parallax_consensus_app::tx::{Call, NodeDescriptor, Role, SignedNodeDescriptor, Transaction, TxBody};
use parallax_consensus_app::{
    Application, Block, BlockContext, BlockLimits, Executed, Header, InvalidBlock, Ledger, Receipt, check_invariants,
    ledger, localnet_parameters, rounds, staking, transactions_root,
};
use parallax_memory_store::MemoryStore;
use parallax_primitives::message::{InMessage, OutMessage};
use parallax_primitives::vrf::VrfSecretKey;
use parallax_primitives::{
    Address, Amount, ChainContext, Digest, Domain, Epoch, Event, Gas, Height, NodeId, ParaTimeId, SecretKey,
    SigningContext, merkle,
};
use parallax_rounds::{
    Commitment, Committee, LivenessParameters, Outcome, Proposal, Resolution, RoundParameters, RoundState,
    SignedCommitment, SignedProposal, messages_hash,
};
use parallax_state::{Batch, Database, StateView};
use std::sync::Arc;

pub(crate) const LIMITS: BlockLimits = BlockLimits { max_bytes: 1 << 20, max_txs: 1_000 };
pub(crate) const EPOCH_BLOCKS: u64 = 40;
pub(crate) const STAKE: u128 = 1_000_000;
pub(crate) const BALANCE: u128 = 10_000_000;

pub(crate) struct Operator {
    pub(crate) entity: SecretKey,
    pub(crate) node: SecretKey,
    pub(crate) vrf: VrfSecretKey,
}

impl Operator {
    fn new(index: u8) -> Self {
        Self {
            entity: SecretKey::from_seed([index; 32]),
            node: SecretKey::from_seed([100 + index; 32]),
            vrf: VrfSecretKey::from_seed([200 + index; 32]),
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.node.public()
    }

    pub(crate) fn entity(&self) -> Address {
        Address::of(&self.entity.public())
    }

    pub(crate) fn descriptor(&self, roles: &[Role], paratimes: Vec<(ParaTimeId, Digest)>) -> NodeDescriptor {
        NodeDescriptor {
            node: self.id(),
            entity: self.entity(),
            roles: roles.to_vec(),
            vrf: self.vrf.public(),
            peer: self.id(),
            paratimes,
            expires: Epoch(100),
        }
    }

    pub(crate) fn sign(&self, descriptor: NodeDescriptor, domain: Domain, chain: ChainContext) -> SignedNodeDescriptor {
        let signature = self.node.sign(&SigningContext::new(domain, chain), &descriptor);
        SignedNodeDescriptor { descriptor, signature }
    }
}

pub(crate) struct Net {
    pub(crate) ledger: Ledger,
    pub(crate) chain: ChainContext,
    pub(crate) validators: Vec<Operator>,
    pub(crate) computes: Vec<Operator>,
    pub(crate) users: Vec<SecretKey>,
    pub(crate) paratime: ParaTimeId,
}

pub(crate) fn digest(tag: &str) -> Digest {
    Digest::of_bytes(Domain::Simulation, tag.as_bytes())
}

pub(crate) fn profile() -> Digest {
    digest("profile")
}

pub(crate) fn chain() -> ChainContext {
    ChainContext(digest("chain"))
}

pub(crate) fn round_parameters() -> RoundParameters {
    RoundParameters {
        workers: 2,
        backups: 3,
        allowed_stragglers: 0,
        proposer_timeout: 2,
        round_timeout: 2,
        gas_per_block: Gas(1_000),
        max_batch_gas: Gas(1_000),
        max_round_interval: 12,
        slash_from: 1,
        resolution: Resolution::Full,
        liveness: LivenessParameters::OFF,
        max_evidence_age: 100,
    }
}

pub(crate) fn operators() -> (Vec<Operator>, Vec<Operator>) {
    ((1..=4).map(Operator::new).collect(), (11..=15).map(Operator::new).collect())
}

pub(crate) fn users() -> Vec<SecretKey> {
    (31..=33).map(|i| SecretKey::from_seed([i; 32])).collect()
}

pub(crate) fn genesis() -> ConsensusGenesis {
    let (validators, computes) = operators();
    let paratime = ParaTimeId::named("test");
    let mut accounts = Vec::new();
    for operator in validators.iter().chain(&computes) {
        accounts.push((operator.entity(), STAKE));
        accounts.push((Address::of(&operator.id()), 0));
    }
    accounts.extend(users().iter().map(|user| (Address::of(&user.public()), 0)));
    let node = |o: &Operator, roles: &[Role], p| o.sign(o.descriptor(roles, p), Domain::Genesis, chain());
    let nodes = validators
        .iter()
        .map(|o| node(o, &[Role::Validator], vec![]))
        .chain(computes.iter().map(|o| node(o, &[Role::Compute], vec![(paratime, profile())])))
        .collect();
    let ids: Vec<NodeId> = computes.iter().map(Operator::id).collect();
    let mut parameters = localnet_parameters();
    parameters.epoch_blocks = EPOCH_BLOCKS;
    parameters.kept_rounds = 3;
    ConsensusGenesis {
        chain_id: "test".to_owned(),
        time_ms: 1_000,
        parameters,
        accounts: accounts
            .into_iter()
            .map(|(address, stake)| GenesisAccount { address, balance: Amount(BALANCE), stake: Amount(stake) })
            .collect(),
        nodes,
        paratimes: vec![ParaTimeDescriptor {
            id: paratime,
            kind: "test".to_owned(),
            rounds: round_parameters(),
            profile: profile(),
            key_set: digest("key set"),
            genesis_root: digest("root 0"),
        }],
        committees: vec![(
            paratime,
            Committee { epoch: Epoch::ZERO, workers: ids[..2].to_vec(), backups: ids[2..].to_vec() },
        )],
        beacon: digest("beacon"),
    }
}

pub(crate) fn database() -> Database {
    Database::open(Arc::new(MemoryStore::new())).unwrap()
}

impl Net {
    pub(crate) fn new() -> Self {
        Self::of(genesis())
    }

    pub(crate) fn of(document: ConsensusGenesis) -> Self {
        let mut ledger = Ledger::new(database(), document, chain()).unwrap().checked(true);
        ledger.init_genesis().unwrap();
        let (validators, computes) = operators();
        Self { ledger, chain: chain(), validators, computes, users: users(), paratime: ParaTimeId::named("test") }
    }

    pub(crate) fn view(&self) -> Box<dyn StateView + Send + Sync> {
        self.ledger.snapshot().unwrap()
    }

    pub(crate) fn height(&self) -> Height {
        self.ledger.last_committed().unwrap().0
    }

    pub(crate) fn root(&self) -> Digest {
        self.ledger.last_committed().unwrap().1
    }

    pub(crate) fn account(&self, address: &Address) -> staking::Account {
        staking::account(&*self.view(), address).unwrap()
    }

    pub(crate) fn balance(&self, address: &Address) -> u128 {
        self.account(address).balance.0
    }

    pub(crate) fn stake(&self, address: &Address) -> staking::Stake {
        staking::stake(&*self.view(), address).unwrap()
    }

    pub(crate) fn machine(&self) -> RoundState {
        rounds::state(&*self.view(), &self.paratime).unwrap().unwrap()
    }

    /// A transaction with the least fee and the account's next nonce plus `ahead`.
    pub(crate) fn tx_ahead(&self, key: &SecretKey, call: Call, ahead: u64) -> Vec<u8> {
        let nonce = self.account(&Address::of(&key.public())).nonce.saturating_add(ahead);
        let parameters = ledger::parameters(&*self.view()).unwrap();
        Transaction::sign(TxBody::priced(nonce, call, &parameters), self.chain, key).encode()
    }

    pub(crate) fn tx(&self, key: &SecretKey, call: Call) -> Vec<u8> {
        self.tx_ahead(key, call, 0)
    }

    pub(crate) fn proposer(&self) -> NodeId {
        self.validators[0].id()
    }

    pub(crate) fn context(&self, header: &Header) -> BlockContext {
        BlockContext {
            height: header.height,
            time_ms: header.time_ms,
            hash: header.hash(),
            proposer: header.proposer,
            signers: vec![],
            evidence: vec![],
        }
    }

    pub(crate) fn propose(&self, candidates: Vec<Vec<u8>>) -> Block {
        let context = BlockContext {
            height: self.height().next(),
            time_ms: 0,
            hash: Digest::ZERO,
            proposer: self.proposer(),
            signers: vec![],
            evidence: vec![],
        };
        self.ledger.propose(&*self.view(), &context, candidates, LIMITS).unwrap()
    }

    /// A block with exactly these transactions, valid or not.
    pub(crate) fn block_with(&self, transactions: Vec<Vec<u8>>) -> Block {
        let mut block = self.propose(vec![]);
        block.header.transactions_root = transactions_root(&transactions);
        block.transactions = transactions;
        block
    }

    pub(crate) fn deliver(&self, block: &Block) -> Result<Executed, InvalidBlock> {
        self.ledger.deliver(&*self.view(), &self.context(&block.header), block)
    }

    /// Delivers and commits a block; all invariants hold after it.
    pub(crate) fn apply(&mut self, block: &Block) -> Executed {
        let executed = self.deliver(block).unwrap();
        self.ledger.commit(executed.clone(), Batch::default()).unwrap();
        assert_eq!(self.root(), executed.app_hash);
        check_invariants(&*self.view()).unwrap();
        executed
    }

    /// Proposes, checks that nothing was dropped, and commits.
    pub(crate) fn run(&mut self, transactions: Vec<Vec<u8>>) -> Executed {
        let wanted = transactions.len();
        let block = self.propose(transactions);
        assert_eq!(block.transactions.len(), wanted, "the proposal dropped a transaction");
        self.apply(&block)
    }

    /// One transaction in a block of its own.
    pub(crate) fn send(&mut self, key: &SecretKey, call: Call) -> Receipt {
        let tx = self.tx(key, call);
        self.run(vec![tx]).receipts.remove(0)
    }

    /// Empty blocks up to and including a height; returns their events.
    pub(crate) fn run_to(&mut self, height: Height) -> Vec<Event> {
        let mut events = Vec::new();
        while self.height() < height {
            events.extend(self.run(vec![]).events);
        }
        events
    }

    pub(crate) fn operator(&self, node: &NodeId) -> &Operator {
        self.computes.iter().find(|o| o.id() == *node).unwrap()
    }

    /// The proposal of a rank for the round under way.
    pub(crate) fn proposal(&self, rank: u16) -> SignedProposal {
        let machine = self.machine();
        let scheduler = machine.committee().unwrap().worker_of_rank(machine.round(), rank).unwrap();
        let transactions = vec![digest("tx 1"), digest("tx 2")];
        let proposal = Proposal {
            scheduler,
            rank,
            round: machine.round(),
            previous_hash: machine.last_hash(),
            batch_root: merkle::root(&transactions),
            transactions,
            gas: Gas(1_000),
        };
        SignedProposal::sign(proposal, self.chain, self.paratime, &self.operator(&scheduler).node)
    }

    /// A verdict on the live proposal that consumes no messages.
    pub(crate) fn verdict(&self, node: &NodeId, state_root: Digest, messages: Vec<OutMessage>) -> SignedCommitment {
        self.verdict_consuming(node, state_root, &[], messages)
    }

    /// A verdict on the live proposal.
    pub(crate) fn verdict_consuming(
        &self,
        node: &NodeId,
        state_root: Digest,
        consumed: &[InMessage],
        messages: Vec<OutMessage>,
    ) -> SignedCommitment {
        let machine = self.machine();
        let live = machine.live().expect("a proposal is live");
        let sent = messages_hash(&messages);
        let commitment = Commitment {
            node: *node,
            proposal: live.digest,
            round: machine.round(),
            previous_hash: machine.last_hash(),
            outcome: Outcome::Success {
                io_root: digest("io"),
                state_root,
                trace_root: digest("trace"),
                messages_hash: sent,
                in_messages_hash: messages_hash(consumed),
                in_messages_count: consumed.len() as u32,
            },
        };
        let attached = if live.signed.proposal.scheduler == *node { messages } else { vec![] };
        SignedCommitment::sign(commitment, attached, self.chain, self.paratime, &self.operator(node).node)
    }

    pub(crate) fn announce(&mut self, rank: u16) -> Receipt {
        let proposal = self.proposal(rank);
        let key = self.operator(&proposal.proposal.scheduler).node.clone();
        self.send(&key, Call::Announce { paratime: self.paratime, proposal })
    }

    pub(crate) fn commit(&mut self, commitments: Vec<SignedCommitment>) -> Executed {
        let relay = self.users[0].clone();
        let tx = self.tx(&relay, Call::Commit { paratime: self.paratime, commitments });
        self.run(vec![tx])
    }
}

/// The events of a name in a block, of transactions and outside.
pub(crate) fn events<'a>(executed: &'a Executed, name: &str) -> Vec<&'a Event> {
    let of_receipts = executed.receipts.iter().flat_map(|r| &r.events);
    of_receipts.chain(&executed.events).filter(|e| e.name == name).collect()
}
