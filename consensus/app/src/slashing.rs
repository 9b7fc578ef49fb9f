//! Slashing for a wrong result and for equivocation, and what becomes of the tokens.

use crate::genesis::ConsensusParameters;
use crate::{election, registry, staking};
use parallax_primitives::{Address, Amount, Event, NodeId, ParaTimeId, Round};
use parallax_rounds::Offence;
use parallax_state::{Overlay, StateError, StateView};
use std::collections::BTreeSet;

/// Takes `slash_wrong_result_permille` of the stake of each offender's entity, once for each of its nodes.
/// `slash_treasury_permille` of it goes to the ParaTime's account; the rest in equal parts to the entities of the nodes
/// that agreed, one part a node, never to an entity that is slashed. What does not divide, and everything if nobody is
/// left to reward, goes to the ParaTime's account too.
pub(crate) fn wrong_result(
    overlay: &mut Overlay<'_>,
    parameters: &ConsensusParameters,
    paratime: &ParaTimeId,
    round: Round,
    offenders: &[NodeId],
    agreed: &[NodeId],
) -> Result<Vec<Event>, StateError> {
    let mut events = Vec::new();
    let mut taken = Amount::ZERO;
    let mut slashed = BTreeSet::new();
    for node in offenders {
        let Some(entity) = entity_of(overlay, node)? else { continue };
        let amount = staking::take_stake(overlay, &entity, parameters.slash_wrong_result_permille)?;
        taken = taken.saturating_add(amount.0);
        slashed.insert(entity);
        events.push(slashed_for("wrong-result", paratime, round, node, &entity, amount));
    }
    if !slashed.is_empty() {
        election::ask_again(overlay);
    }
    let mut rewarded = Vec::new();
    for node in agreed {
        if let Some(entity) = entity_of(overlay, node)?
            && !slashed.contains(&entity)
        {
            rewarded.push(entity);
        }
    }
    let treasury = staking::permille_of(taken, parameters.slash_treasury_permille);
    let reward = taken.saturating_sub(treasury.0);
    let part = reward.0.checked_div(rewarded.len() as u128).map_or(Amount::ZERO, Amount);
    let mut rest = taken;
    if part > Amount::ZERO {
        for entity in &rewarded {
            staking::grant(overlay, entity, part)?;
            rest = rest.saturating_sub(part.0);
            events.push(paid("staking.reward", paratime, entity, part));
        }
    }
    if rest > Amount::ZERO {
        let account = registry::paratime_account(paratime);
        staking::grant(overlay, &account, rest)?;
        events.push(paid("staking.treasury", paratime, &account, rest));
    }
    Ok(events)
}

/// Takes `slash_equivocation_permille` of the stake of the offender's entity. `reward_reporter_permille` of it goes to who
/// reported it, unless that is the offender itself or its entity; the rest to the ParaTime's account.
pub(crate) fn equivocation(
    overlay: &mut Overlay<'_>,
    parameters: &ConsensusParameters,
    paratime: &ParaTimeId,
    offence: &Offence,
    entity: &Address,
    reporter: &Address,
) -> Result<Vec<Event>, StateError> {
    let taken = staking::take_stake(overlay, entity, parameters.slash_equivocation_permille)?;
    election::ask_again(overlay);
    let mut events = vec![slashed_for("equivocation", paratime, offence.round, &offence.node, entity, taken)];
    let own = *reporter == *entity || *reporter == Address::of(&offence.node);
    let reward = match own {
        true => Amount::ZERO,
        false => staking::permille_of(taken, parameters.reward_reporter_permille),
    };
    for (name, account, amount) in [
        ("staking.reward", *reporter, reward),
        ("staking.treasury", registry::paratime_account(paratime), taken.saturating_sub(reward.0)),
    ] {
        if amount > Amount::ZERO {
            staking::grant(overlay, &account, amount)?;
            events.push(paid(name, paratime, &account, amount));
        }
    }
    Ok(events)
}

fn slashed_for(
    reason: &str,
    paratime: &ParaTimeId,
    round: Round,
    node: &NodeId,
    entity: &Address,
    amount: Amount,
) -> Event {
    Event::new("staking.slashed")
        .with("paratime", paratime)
        .with("round", round)
        .with("node", node)
        .with("entity", entity)
        .with("amount", amount)
        .with("reason", reason)
}

fn paid(name: &str, paratime: &ParaTimeId, account: &Address, amount: Amount) -> Event {
    Event::new(name).with("paratime", paratime).with("account", account).with("amount", amount)
}

fn entity_of(view: &dyn StateView, node: &NodeId) -> Result<Option<Address>, StateError> {
    Ok(registry::node(view, node)?.map(|descriptor| descriptor.entity))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genesis::GenesisAccount;
    use crate::tx::{NodeDescriptor, Role, SignedNodeDescriptor};
    use parallax_primitives::vrf::VrfPublicKey;
    use parallax_primitives::{Epoch, PublicKey, Signature};
    use parallax_state::Empty;

    fn entity(index: u8) -> Address {
        Address([index; 20])
    }

    /// A state with one node for each pair of node and entity; every entity stakes 1,000.
    fn state(nodes: &[(u8, u8)]) -> Overlay<'static> {
        let mut overlay = Overlay::new(&Empty);
        let entities: BTreeSet<u8> = nodes.iter().map(|(_, entity)| *entity).collect();
        let accounts: Vec<GenesisAccount> = entities
            .into_iter()
            .map(|e| GenesisAccount { address: entity(e), balance: Amount::ZERO, stake: Amount(1_000) })
            .collect();
        staking::genesis(&mut overlay, &accounts);
        let signed: Vec<SignedNodeDescriptor> = nodes
            .iter()
            .map(|(node, e)| SignedNodeDescriptor {
                descriptor: NodeDescriptor {
                    node: PublicKey([*node; 32]),
                    entity: entity(*e),
                    roles: vec![Role::Compute],
                    vrf: VrfPublicKey::default(),
                    peer: PublicKey::default(),
                    paratimes: vec![],
                    expires: Epoch(9),
                },
                signature: Signature([0; 64]),
            })
            .collect();
        registry::genesis(&mut overlay, &signed, &[]);
        overlay
    }

    /// Slashes a tenth, 300 of a thousand for the treasury. Returns what the treasury, and entities 1 to 3, got.
    fn slash(overlay: &mut Overlay<'_>, offenders: &[u8], agreed: &[u8]) -> [u128; 4] {
        let mut parameters = crate::localnet_parameters();
        (parameters.slash_wrong_result_permille, parameters.slash_treasury_permille) = (100, 300);
        let nodes = |all: &[u8]| all.iter().map(|n| PublicKey([*n; 32])).collect::<Vec<NodeId>>();
        let id = ParaTimeId::named("p");
        wrong_result(overlay, &parameters, &id, Round(1), &nodes(offenders), &nodes(agreed)).unwrap();
        let balance = |address: &Address| staking::account(&*overlay, address).unwrap().balance.0;
        [balance(&registry::paratime_account(&id)), balance(&entity(1)), balance(&entity(2)), balance(&entity(3))]
    }

    #[test]
    fn an_entity_that_is_slashed_gets_no_reward_for_its_other_node() {
        let mut overlay = state(&[(1, 1), (2, 2), (3, 3), (4, 1)]);
        assert_eq!(slash(&mut overlay, &[1], &[2, 3, 4]), [30, 0, 35, 35]);
        assert_eq!(staking::stake(&overlay, &entity(1)).unwrap().active, Amount(900));
    }

    #[test]
    fn what_does_not_divide_goes_to_the_treasury() {
        let mut overlay = state(&[(1, 1), (2, 2), (3, 3), (4, 3)]);
        assert_eq!(slash(&mut overlay, &[1], &[2, 3, 4]), [31, 0, 23, 46]);
    }

    #[test]
    fn without_anybody_to_reward_the_treasury_takes_all() {
        let mut overlay = state(&[(1, 1), (2, 2)]);
        assert_eq!(slash(&mut overlay, &[1], &[]), [100, 0, 0, 0]);
        // Each wrong node costs a tenth of what is left then; nodes that are not registered cost nobody.
        assert_eq!(slash(&mut overlay, &[1, 2, 77], &[77]), [100 + 90 + 100, 0, 0, 0]);
    }
}
