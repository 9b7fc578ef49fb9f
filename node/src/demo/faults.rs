//! What the demonstration shows of disputes: discrepancies, who was slashed and by how much; and whether all nodes
//! hold the same roots.

use super::say;
use crate::light;
use eyre::Result;
use parallax_consensus_app::tx::Role;
use parallax_genesis::GenesisDocument;
use parallax_localnet::Running;
use parallax_primitives::{Amount, Digest, Height, ParaTimeId, Round};
use parallax_rpc::types::ChainEvent;
use parallax_rpc::{Client, ConsensusApiClient, NodeApiClient, ParaTimeApiClient, limits};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long nodes may take to reach one round.
const LEVEL_LIMIT: Duration = Duration::from_secs(60);

async fn any_validator(running: &Running) -> Result<Client> {
    let name = running.plan().nodes.iter().find(|n| n.role == Role::Validator).map(|n| n.name.clone());
    Ok(running.client(&name.unwrap_or_default())?)
}

/// The stake of every node's entity.
pub(super) async fn stakes(running: &Running) -> Result<BTreeMap<String, Amount>> {
    let rpc = any_validator(running).await?;
    let mut stakes = BTreeMap::new();
    for node in &running.plan().nodes {
        stakes.insert(node.name.clone(), rpc.account(node.entity).await?.stake);
    }
    Ok(stakes)
}

async fn events(rpc: &Client) -> Result<Vec<ChainEvent>> {
    let tip = rpc.health().await?.height;
    let (mut all, mut from) = (Vec::new(), Height(1));
    while from <= tip {
        let to = from.saturating_add(limits::MAX_EVENT_SPAN - 1).min(tip);
        all.extend(NodeApiClient::events(rpc, from, Some(to), None).await?);
        from = to.next();
    }
    Ok(all)
}

/// Prints disputes and their consequences.
pub(super) async fn report(running: &Running, before: &BTreeMap<String, Amount>) -> Result<()> {
    let rpc = any_validator(running).await?;
    let shown = ["rounds.discrepancy", "rounds.failed", "staking.slashed", "liveness.charged"];
    let mut name_of = BTreeMap::new();
    for node in &running.plan().nodes {
        name_of.insert(node.node.to_string(), node.name.clone());
        name_of.insert(node.entity.to_string(), format!("the entity of {}", node.name));
    }
    for found in events(&rpc).await?.iter().filter(|e| shown.contains(&e.event.name.as_str())) {
        let attributes = found.event.attributes.iter().filter(|(name, _)| name != "paratime");
        let text: Vec<String> =
            attributes.map(|(name, value)| format!("{name} {}", name_of.get(value).unwrap_or(value))).collect();
        say(format_args!("height {:>5}  {:<20} {}", found.height, found.event.name, text.join(", ")));
    }
    for (name, now) in stakes(running).await? {
        let then = before.get(&name).copied().unwrap_or_default();
        if then != now {
            say(format_args!("stake of {name}: {then} before, {now} after"));
        }
    }
    Ok(())
}

/// Compares state roots over all compute nodes, each proven by the node itself, and the ledger's over all that follow
/// the chain.
pub(super) async fn roots_agree(running: &Running, id: ParaTimeId) -> Result<bool> {
    let trust = light::from_genesis(&GenesisDocument::load(&running.genesis())?)?;
    let alive = |role: Role| {
        let nodes = running.nodes();
        running.plan().nodes.iter().filter(move |n| {
            let refused =
                |name: &str| nodes.iter().any(|s| s.name == name && s.phase == parallax_localnet::NodePhase::Refused);
            n.role == role && !refused(&n.name)
        })
    };
    let rpc = any_validator(running).await?;
    let height = rpc.health().await?.height.saturating_sub(1);
    let mut ledger = BTreeMap::new();
    for node in alive(Role::Validator).chain(alive(Role::Compute)) {
        let root = at_level(|| async {
            let rpc = running.client(&node.name)?;
            Ok(ConsensusApiClient::block(&rpc, Some(height)).await?)
        })
        .await?;
        ledger.insert(node.name.clone(), Some(root.app_hash));
    }
    let first = alive(Role::Compute).next().map(|n| n.name.clone()).unwrap_or_default();
    let round = ParaTimeApiClient::block(&running.client(&first)?, id, None).await?.round;
    let mut paratime = BTreeMap::new();
    for node in alive(Role::Compute) {
        let root = at_level(|| own_root(running, &node.name, id, round, &trust)).await?;
        paratime.insert(node.name.clone(), root);
    }
    let one = |roots: &BTreeMap<String, Option<Digest>>| {
        roots.values().next().is_some_and(|first| first.is_some() && roots.values().all(|root| root == first))
    };
    for (what, at, roots) in [("ledger", height.0, &ledger), ("scheduler", round.0, &paratime)] {
        if one(roots) {
            let root = roots.values().next().copied().flatten().unwrap_or_default();
            say(format_args!("{what} root at {at} on all {} nodes: {root}", roots.len()));
        } else {
            say(format_args!("{what} roots at {at} DIFFER: {roots:?}"));
        }
    }
    Ok(one(&ledger) && one(&paratime))
}

/// The root that a node's own tree has after a round: the node proves a value, and the proof is checked against a
/// header. `None`: its tree does not lead to the root that consensus finalised.
async fn own_root(
    running: &Running,
    name: &str,
    id: ParaTimeId,
    round: Round,
    trust: &parallax_consensus_app::light::LightClient,
) -> Result<Option<Digest>> {
    let key = parallax_scheduler::keys::params();
    let bundle = ParaTimeApiClient::proof(&running.client(name)?, id, key.into(), Some(round)).await?;
    let holds = match bundle.verify(trust) {
        Ok(_) => true,
        Err(error) if error.is_about_state() => false,
        Err(error) => return Err(error.into()),
    };
    let parallax_rpc::ProofBundle::V1(bundle) = bundle;
    Ok(bundle.paratime.filter(|_| holds).map(|p| p.block.state_root))
}

/// Repeats a question that a node cannot answer yet because it is a moment behind.
async fn at_level<T, F: Future<Output = Result<T>>>(ask: impl Fn() -> F) -> Result<T> {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if begun.elapsed() >= LEVEL_LIMIT => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
}
