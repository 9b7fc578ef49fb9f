//! Nodes and ParaTimes.
//!
//! A node is registered by its entity with a descriptor that the node itself signed, so that neither can speak for
//! the other. A registration counts up to and including its epoch of expiry; the record stays until the debonding
//! time is over, so that a late verdict still finds the entity that answers for it.
//!
//! Three rules keep a registration from being fitted to what is already known. A node's VRF key never changes, else a
//! validator could search for one with the output that it likes. The epoch since which a node has its roles and
//! ParaTimes is kept, and elections let it wait. And each node kept here needs a `min_node_stake` of its own from its
//! entity, an expired one too: otherwise an entity could hold many and choose at the last moment which of them counts.

use crate::calls::CallContext;
use crate::errors::{CallError, ModuleError};
use crate::genesis::{ConsensusParameters, ParaTimeDescriptor};
use crate::tx::{NodeDescriptor, Role, SignedNodeDescriptor};
use crate::{keys, staking, standing, stored};
use parallax_primitives::{
    Address, Amount, ChainContext, Digest, Domain, Epoch, Event, NodeId, ParaTimeId, SigningContext,
};
use parallax_state::{Overlay, StateError, StateView};

/// Most ParaTimes that a node may register for.
pub const MAX_NODE_PARATIMES: usize = 64;
/// Most epochs that a registration by transaction may reach ahead.
pub const MAX_REGISTRATION_EPOCHS: u64 = 10_000;

/// Why a registration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("the descriptor names the entity {entity}, but {sender} sent it; the entity itself has to send it")]
    NotEntity { entity: Address, sender: Address },
    #[error("the node {node} did not sign this descriptor for this chain; sign it with the node's key")]
    BadSignature { node: NodeId },
    #[error("the descriptor of {node} is not usable: {reason}")]
    BadDescriptor { node: NodeId, reason: String },
    #[error("the node {node} belongs to the entity {entity}; a node does not change hands")]
    OtherEntity { node: NodeId, entity: Address },
    #[error(
        "the registration of {node} would expire in epoch {expires}, epoch {now} is under way; it may reach {latest} at most"
    )]
    BadExpiry { node: NodeId, expires: Epoch, now: Epoch, latest: Epoch },
    #[error("there is no ParaTime {id}")]
    UnknownParaTime { id: ParaTimeId },
    #[error(
        "the entity {entity} has {active} base units of active stake, its node number {number} needs {needed}; escrow more \
         first"
    )]
    TooLittleStake { entity: Address, active: Amount, number: usize, needed: Amount },
    #[error(
        "the node {node} is registered with another VRF key, which it has to keep; for a new one register a new node"
    )]
    OtherVrfKey { node: NodeId },
}

impl ModuleError for Error {
    const MODULE: &'static str = "registry";

    fn code(&self) -> u32 {
        match self {
            Self::NotEntity { .. } => 1,
            Self::BadSignature { .. } => 2,
            Self::BadDescriptor { .. } => 3,
            Self::OtherEntity { .. } => 4,
            Self::BadExpiry { .. } => 5,
            Self::UnknownParaTime { .. } => 6,
            Self::TooLittleStake { .. } => 7,
            Self::OtherVrfKey { .. } => 8,
        }
    }
}

impl NodeDescriptor {
    /// Whether the node has a role.
    pub fn has_role(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// The profile with which the node executes a ParaTime.
    pub fn profile(&self, id: &ParaTimeId) -> Option<Digest> {
        self.paratimes.iter().find(|(paratime, _)| paratime == id).map(|(_, profile)| *profile)
    }

    /// What is wrong with the descriptor whatever the state.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let strictly_sorted = |all: &[ParaTimeId]| all.windows(2).all(|pair| pair[0] < pair[1]);
        let ids: Vec<ParaTimeId> = self.paratimes.iter().map(|(id, _)| *id).collect();
        if self.roles.is_empty() || !self.roles.windows(2).all(|pair| pair[0] < pair[1]) {
            return Some("the roles must be at least one, sorted, each once");
        }
        if ids.len() > MAX_NODE_PARATIMES {
            return Some("it names more than 64 ParaTimes");
        }
        if !strictly_sorted(&ids) {
            return Some("the ParaTimes must be sorted by id, each once");
        }
        if !ids.is_empty() && !self.has_role(Role::Compute) {
            return Some("it names ParaTimes without the role compute");
        }
        None
    }
}

impl SignedNodeDescriptor {
    /// Whether the node signed the descriptor: under [`Domain::Genesis`] inside the genesis document, else under
    /// [`Domain::Transaction`].
    #[must_use]
    pub fn verify(&self, domain: Domain, chain: ChainContext) -> bool {
        self.descriptor.node.verify(&SigningContext::new(domain, chain), &self.descriptor, &self.signature)
    }
}

pub use parallax_primitives::message::paratime_account;

// Genesis.

/// Writes the nodes and ParaTimes of genesis; their signatures have been checked with the document.
pub(crate) fn genesis(overlay: &mut Overlay<'_>, nodes: &[SignedNodeDescriptor], paratimes: &[ParaTimeDescriptor]) {
    for signed in nodes {
        stored::write(overlay, keys::node(&signed.descriptor.node), &signed.descriptor);
    }
    for descriptor in paratimes {
        stored::write(overlay, keys::paratime(&descriptor.id), descriptor);
    }
}

// Calls.

/// What a registration must be, whatever the state.
pub(crate) fn check_stateless(
    signed: &SignedNodeDescriptor,
    chain: ChainContext,
    sender: &Address,
) -> Result<(), Error> {
    let descriptor = &signed.descriptor;
    let node = descriptor.node;
    if descriptor.entity != *sender {
        return Err(Error::NotEntity { entity: descriptor.entity, sender: *sender });
    }
    if let Some(reason) = descriptor.fault() {
        return Err(Error::BadDescriptor { node, reason: reason.to_owned() });
    }
    if !signed.verify(Domain::Transaction, chain) {
        return Err(Error::BadSignature { node });
    }
    Ok(())
}

/// Whether the state admits a registration.
pub(crate) fn check_stateful(
    view: &dyn StateView,
    descriptor: &NodeDescriptor,
    context: &CallContext<'_>,
) -> Result<(), CallError> {
    let id = descriptor.node;
    if let Some(known) = node(view, &id)? {
        if known.entity != descriptor.entity {
            return Err(Error::OtherEntity { node: id, entity: known.entity }.into());
        }
        if known.vrf != descriptor.vrf {
            return Err(Error::OtherVrfKey { node: id }.into());
        }
    }
    let now = crate::epoch::current(view)?.epoch;
    let latest = now.saturating_add(MAX_REGISTRATION_EPOCHS);
    if descriptor.expires < now || descriptor.expires > latest {
        return Err(Error::BadExpiry { node: id, expires: descriptor.expires, now, latest }.into());
    }
    for (id, _) in &descriptor.paratimes {
        if paratime(view, id)?.is_none() {
            return Err(Error::UnknownParaTime { id: *id }.into());
        }
    }
    check_stake(view, descriptor, context.parameters)
}

/// Whether the entity's stake carries the node: a known one at its place among the entity's nodes, a new one behind
/// all of them.
fn check_stake(
    view: &dyn StateView,
    descriptor: &NodeDescriptor,
    parameters: &ConsensusParameters,
) -> Result<(), CallError> {
    let entity = descriptor.entity;
    let active = staking::stake(view, &entity)?.active;
    let mut own = nodes(view)?.into_iter().filter(|known| known.entity == entity).map(|known| known.node);
    let mut others = 0usize;
    // Counts up to the node itself, or all if it is not among them.
    while own.next().is_some_and(|node| node != descriptor.node) {
        others = others.saturating_add(1);
    }
    let number = others.saturating_add(1);
    if number as u128 > nodes_carried(active, parameters) {
        let needed = Amount(parameters.min_node_stake.0.saturating_mul(number as u128));
        return Err(Error::TooLittleStake { entity, active, number, needed }.into());
    }
    Ok(())
}

/// How many nodes a stake carries: one for each `min_node_stake`.
pub(crate) fn nodes_carried(active: Amount, parameters: &ConsensusParameters) -> u128 {
    active.0.checked_div(parameters.min_node_stake.0).unwrap_or(u128::MAX)
}

/// Registers or renews a node. A renewal with the same roles and ParaTimes, while the registration still counts, keeps
/// the epoch since which the node waits for its election.
pub(crate) fn register(
    overlay: &mut Overlay<'_>,
    descriptor: &NodeDescriptor,
    context: &CallContext<'_>,
) -> Result<Event, CallError> {
    check_stateful(overlay, descriptor, context)?;
    let (id, now) = (descriptor.node, crate::epoch::current(overlay)?.epoch);
    let unchanged = node(overlay, &id)?.is_some_and(|known| {
        known.expires >= now && known.roles == descriptor.roles && known.paratimes == descriptor.paratimes
    });
    if !unchanged {
        stored::write(overlay, keys::node_since(&id), &now);
    }
    stored::write(overlay, keys::node(&descriptor.node), descriptor);
    Ok(Event::new("registry.node")
        .with("node", descriptor.node)
        .with("entity", descriptor.entity)
        .with("expires", descriptor.expires))
}

/// Removes nodes whose expiry lies the debonding time back.
pub(crate) fn expire(
    overlay: &mut Overlay<'_>,
    epoch: Epoch,
    parameters: &ConsensusParameters,
) -> Result<Vec<Event>, StateError> {
    let mut events = Vec::new();
    for descriptor in nodes(overlay)? {
        if descriptor.expires.saturating_add(parameters.debonding_epochs) < epoch {
            overlay.delete(keys::node(&descriptor.node));
            overlay.delete(keys::node_since(&descriptor.node));
            standing::forget(overlay, &descriptor.node);
            events.push(Event::new("registry.removed").with("node", descriptor.node));
        }
    }
    Ok(events)
}

// State.

/// A registered node, also one that has expired and is still kept.
///
/// # Errors
/// If the state cannot be read.
pub fn node(view: &dyn StateView, id: &NodeId) -> Result<Option<NodeDescriptor>, StateError> {
    stored::read(view, &keys::node(id))
}

/// The epoch in which a node registered with the roles and ParaTimes that it has; `None` for one that has them since
/// genesis, and for one that is not registered.
///
/// # Errors
/// If the state cannot be read.
pub fn node_since(view: &dyn StateView, id: &NodeId) -> Result<Option<Epoch>, StateError> {
    stored::read(view, &keys::node_since(id))
}

/// Every registered node, in the order of keys.
///
/// # Errors
/// If the state cannot be read.
pub fn nodes(view: &dyn StateView) -> Result<Vec<NodeDescriptor>, StateError> {
    Ok(stored::scan(view, keys::NODES)?.into_iter().map(|(_, node)| node).collect())
}

/// A ParaTime.
///
/// # Errors
/// If the state cannot be read.
pub fn paratime(view: &dyn StateView, id: &ParaTimeId) -> Result<Option<ParaTimeDescriptor>, StateError> {
    stored::read(view, &keys::paratime(id))
}

/// Every ParaTime, in the order of ids.
///
/// # Errors
/// If the state cannot be read.
pub fn paratimes(view: &dyn StateView) -> Result<Vec<ParaTimeDescriptor>, StateError> {
    Ok(stored::scan(view, keys::PARATIMES)?.into_iter().map(|(_, paratime)| paratime).collect())
}
