//! The ledger: [`crate::Application`] over the consensus tree of a [`Database`].
//!
//! Execution is a function of the parent's state and the block. Who signed the parent, and evidence that one node saw
//! and another did not, are no part of a block; the ledger therefore reads neither from the context.

mod application;
mod history;
mod proposal;
mod snapshots;

use crate::application::{BlockContext, InvalidBlock};
use crate::block::{Block, Header, ValidatorSet, transactions_root};
use crate::genesis::{ConsensusGenesis, ConsensusParameters};
use crate::validate::GenesisError;
use crate::{election, epoch, keys, registry, rounds, staking, stored, validators};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Address, ChainContext, Digest, Epoch, Event, Height, NodeId};
use parallax_state::{Changes, Database, Empty, Namespace, Overlay, Snapshot, StateError, StateView, Tree};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Which chain a state belongs to.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ChainInfo {
    /// Its name.
    pub chain_id: String,
    /// The digest that every signature on it covers.
    pub chain: ChainContext,
    /// The time of genesis, milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// Why a ledger cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The document cannot be run.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The database holds another chain.
    #[error(
        "the database holds the chain {found_id} ({found}), the genesis document is of {expected_id} ({expected}); use the \
         home directory of that chain, or an empty one"
    )]
    OtherChain {
        /// The name of the chain in the database.
        found_id: String,
        /// Its context.
        found: ChainContext,
        /// The name in the document.
        expected_id: String,
        /// The document's context.
        expected: ChainContext,
    },
    /// The database cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The consensus ledger. Cheap to clone; clones share the database, and only one of them may commit.
#[derive(Clone)]
pub struct Ledger {
    database: Database,
    tree: Tree,
    genesis: Arc<ConsensusGenesis>,
    chain: ChainContext,
    keep_versions: Option<u64>,
    checked: bool,
}

impl Ledger {
    /// Opens the ledger of a chain on a database. Writes nothing; see [`crate::Application::init_genesis`].
    ///
    /// # Errors
    /// If the document cannot be run, the database holds another chain, or it cannot be read.
    pub fn new(database: Database, genesis: ConsensusGenesis, chain: ChainContext) -> Result<Self, LedgerError> {
        genesis.validate(chain)?;
        let tree = database.tree(Namespace::Consensus);
        let ledger = Self { database, tree, genesis: Arc::new(genesis), chain, keep_versions: None, checked: false };
        if ledger.elect_first()?.is_none() {
            return Err(GenesisError(
                "no node can be a validator: list one with the role validator whose entity has min_node_stake"
                    .to_owned(),
            )
            .into());
        }
        if ledger.tree.latest()?.is_some() {
            let found = chain_info(&ledger.tree.latest_snapshot()?)?;
            if found.chain != chain {
                return Err(LedgerError::OtherChain {
                    found_id: found.chain_id,
                    found: found.chain,
                    expected_id: ledger.genesis.chain_id.clone(),
                    expected: chain,
                });
            }
        }
        Ok(ledger)
    }

    /// Keeps only the last so many heights of state (at least 3), pruned in bounded steps after each commit. Without
    /// it every height is kept. A local choice: it changes no root.
    #[must_use]
    pub fn keep_versions(mut self, versions: Option<u64>) -> Self {
        self.keep_versions = versions.map(|n| n.max(3));
        self
    }

    /// Whether [`crate::check_invariants`] is asked after every block, and a block after which one is broken is an error.
    /// Off unless it is switched on, because the check reads every account: for tests and simulations. It changes no
    /// root.
    #[must_use]
    pub fn checked(mut self, on: bool) -> Self {
        self.checked = on;
        self
    }

    /// The chain.
    pub fn chain(&self) -> ChainContext {
        self.chain
    }

    /// The genesis document.
    pub fn genesis(&self) -> &ConsensusGenesis {
        &self.genesis
    }

    /// The database below.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The state after a height.
    ///
    /// # Errors
    /// If the height is not kept.
    pub fn view(&self, height: Height) -> Result<Snapshot, StateError> {
        self.tree.snapshot(height.0)
    }

    /// The writes of genesis, on an empty state.
    fn genesis_changes(&self) -> Result<Changes, StateError> {
        let document = &*self.genesis;
        let mut overlay = Overlay::new(&Empty);
        let info = ChainInfo { chain_id: document.chain_id.clone(), chain: self.chain, time_ms: document.time_ms };
        stored::write(&mut overlay, keys::chain(), &info);
        stored::write(&mut overlay, keys::parameters(), &document.parameters);
        staking::genesis(&mut overlay, &document.accounts);
        registry::genesis(&mut overlay, &document.nodes, &document.paratimes);
        let first = epoch::genesis(&mut overlay, document);
        rounds::genesis(&mut overlay, document, &first)?;
        if let Some(set) = election::validators(&overlay, &document.parameters, Epoch::ZERO)? {
            validators::genesis(&mut overlay, &set);
        }
        Ok(overlay.into_changes())
    }

    /// The first validators.
    fn elect_first(&self) -> Result<Option<ValidatorSet>, StateError> {
        let mut overlay = Overlay::new(&Empty);
        staking::genesis(&mut overlay, &self.genesis.accounts);
        registry::genesis(&mut overlay, &self.genesis.nodes, &[]);
        election::validators(&overlay, &self.genesis.parameters, Epoch::ZERO)
    }

    /// The header that a block with these transactions must have on this state; its time is the earliest possible.
    fn expected_header(
        &self,
        view: &dyn StateView,
        proposer: NodeId,
        transactions: &[Vec<u8>],
    ) -> Result<Header, StateError> {
        let parent = self.parent(view)?;
        let height = parent.height.next();
        Ok(Header {
            height,
            parent: parent.hash,
            time_ms: parent.time_ms.saturating_add(1),
            proposer,
            app_hash: self.tree.root_at(parent.height.0)?,
            transactions_root: transactions_root(transactions),
            validators_hash: validators::at(view, height)?.hash(),
            next_validators_hash: validators::at(view, height.next())?.hash(),
        })
    }

    /// What the next block builds on.
    fn parent(&self, view: &dyn StateView) -> Result<Parent, StateError> {
        Ok(match stored::read::<Header>(view, &keys::last_header())? {
            Some(header) => Parent { height: header.height, hash: header.hash(), time_ms: header.time_ms },
            None => Parent { height: Height::ZERO, hash: self.chain.0, time_ms: chain_info(view)?.time_ms },
        })
    }

    /// Checks the header against the parent's state.
    fn check_header(&self, view: &dyn StateView, context: &BlockContext, block: &Block) -> Result<(), InvalidBlock> {
        let header = &block.header;
        let wanted = self.expected_header(view, header.proposer, &block.transactions)?;
        let wrong = |field| Err(InvalidBlock::Header { height: header.height, field });
        if header.height != wanted.height || context.height != header.height {
            return wrong("height");
        }
        if header.parent != wanted.parent {
            return wrong("parent");
        }
        if header.time_ms < wanted.time_ms || context.time_ms != header.time_ms {
            return wrong("time_ms");
        }
        let known = validators::at(view, header.height)?.power_of(&header.proposer) > 0;
        if !known || context.proposer != header.proposer {
            return wrong("proposer");
        }
        if header.app_hash != wanted.app_hash {
            return wrong("app_hash");
        }
        if header.transactions_root != wanted.transactions_root {
            return wrong("transactions_root");
        }
        if header.validators_hash != wanted.validators_hash {
            return wrong("validators_hash");
        }
        if header.next_validators_hash != wanted.next_validators_hash {
            return wrong("next_validators_hash");
        }
        if context.hash != Digest::ZERO && context.hash != header.hash() {
            return wrong("hash");
        }
        Ok(())
    }

    /// What happens after the transactions of a block: fees, rounds, epoch, validators, header.
    fn end_block(
        &self,
        overlay: &mut Overlay<'_>,
        header: &Header,
        parameters: &ConsensusParameters,
    ) -> Result<(Vec<Event>, Option<ValidatorSet>), StateError> {
        let height = header.height;
        let proposer: Option<Address> = registry::node(overlay, &header.proposer)?.map(|node| node.entity);
        let mut events = staking::pay_proposer(overlay, proposer.as_ref())?;
        events.extend(rounds::end_block(overlay, height, parameters)?);
        let turned = epoch::end_block(overlay, self.chain, height, parameters)?;
        events.extend(turned.events);
        events.extend(epoch::elect_again(overlay, height, parameters)?);
        let updates = validators::advance(overlay, height, turned.validators)?;
        stored::write(overlay, keys::last_header(), header);
        Ok((events, updates))
    }
}

/// What a block builds on.
struct Parent {
    height: Height,
    hash: Digest,
    time_ms: u64,
}

/// Which chain a state belongs to.
///
/// # Errors
/// If the state cannot be read.
pub fn chain_info(view: &dyn StateView) -> Result<ChainInfo, StateError> {
    stored::require(view, &keys::chain())
}

/// The parameters in force.
///
/// # Errors
/// If the state cannot be read.
pub fn parameters(view: &dyn StateView) -> Result<ConsensusParameters, StateError> {
    stored::require(view, &keys::parameters())
}

/// The header of the last block; `None` before the first.
///
/// # Errors
/// If the state cannot be read.
pub fn last_header(view: &dyn StateView) -> Result<Option<Header>, StateError> {
    stored::read(view, &keys::last_header())
}
