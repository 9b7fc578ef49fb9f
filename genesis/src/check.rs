//! Whether a document can begin a chain. Every rule is checked, so that its author sees all faults at once.

use crate::document::{GenesisDocument, UNSIGNED, VERSION, genesis_root, profile_digest};
use crate::error::{GenesisError, Problem};
use parallax_consensus_app::genesis::ParaTimeDescriptor;
use parallax_consensus_app::tx::{NodeDescriptor, Role};
use parallax_primitives::limits::MAX_VALIDATORS;
use parallax_primitives::{Address, Amount, Digest, NodeId, ParaTimeId, SigningContext};
use parallax_rounds::Committee;
use parallax_runtime::ParaTime;
use parallax_state::Changes;
use std::collections::{BTreeMap, BTreeSet};

/// Most characters of a chain's name.
pub const MAX_CHAIN_ID: usize = 64;
/// The whole, in thousandths.
const WHOLE_PERMILLE: u32 = 1_000;

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.0.push(Problem { field: field.into(), reason: reason.into() });
    }

    fn require(&mut self, holds: bool, field: &str, reason: &str) {
        if !holds {
            self.add(field, reason);
        }
    }

    fn verdict(self) -> Result<(), GenesisError> {
        if self.0.is_empty() { Ok(()) } else { Err(GenesisError::Invalid { problems: self.0 }) }
    }
}

impl GenesisDocument {
    /// Whether the document can begin a chain, as far as can be seen without running a ParaTime.
    ///
    /// # Errors
    /// [`GenesisError::Invalid`] with every fault: the field's path, what is wrong, what to do.
    pub fn check(&self) -> Result<(), GenesisError> {
        let mut problems = Problems::default();
        problems.require(self.version == VERSION, "version", "is not 1, the only format that there is");
        self.check_parameters(&mut problems);
        self.check_accounts(&mut problems);
        self.check_paratime_parts(&mut problems);
        self.check_nodes(&mut problems);
        self.check_committees(&mut problems);
        match self.signing_context() {
            Ok(context) => {
                self.check_signatures(&context, &mut problems);
                // The ledger has the last word: what it would refuse at its start is refused here.
                if problems.0.is_empty()
                    && let Err(e) = self.consensus.validate(context.chain)
                {
                    problems.add("consensus", e.to_string());
                }
            }
            Err(GenesisError::Invalid { problems: found }) => problems.0.extend(found),
            Err(other) => return Err(other),
        }
        problems.verdict()
    }

    /// Runs the genesis of every ParaTime: its parameters must be accepted and lead to the state root that the
    /// document states. Returns the writes of round 0, in the order of the document.
    ///
    /// # Errors
    /// [`GenesisError::Invalid`] naming the ParaTime and the parameter.
    pub fn check_paratimes(&self, kinds: &[&dyn ParaTime]) -> Result<Vec<(ParaTimeId, Changes)>, GenesisError> {
        let mut problems = Problems::default();
        let mut all = Vec::new();
        for (i, (descriptor, part)) in self.consensus.paratimes.iter().zip(&self.paratimes).enumerate() {
            let Some(kind) = kinds.iter().find(|k| k.kind() == descriptor.kind) else {
                let known: Vec<&str> = kinds.iter().map(|k| k.kind()).collect();
                problems.add(
                    format!("consensus.paratimes[{i}].kind"),
                    format!("{:?} is unknown to this program; it runs: {}", descriptor.kind, known.join(", ")),
                );
                continue;
            };
            let limit = descriptor.rounds.max_batch_gas;
            match kind.least_batch_gas(&part.parameters) {
                Ok(least) if least > limit => problems.add(
                    format!("consensus.paratimes[{i}].rounds.max_batch_gas"),
                    format!("is {limit}, a round with its queued work and one transaction may take {least}; raise it"),
                ),
                // A mistake in the parameters is named below.
                Ok(_) | Err(_) => {}
            }
            let changes = match kind.init_genesis(&part.parameters) {
                Ok(changes) => changes,
                Err(reason) => {
                    problems.add(format!("paratimes[{i}].parameters"), reason);
                    continue;
                }
            };
            match genesis_root(descriptor.id, &changes) {
                Ok(root) if root == descriptor.genesis_root => all.push((descriptor.id, changes)),
                Ok(root) => problems.add(
                    format!("consensus.paratimes[{i}].genesis_root"),
                    format!("is {}, but the parameters lead to {root}; state that root", descriptor.genesis_root),
                ),
                Err(e) => problems.add(format!("paratimes[{i}].parameters"), e.to_string()),
            }
        }
        problems.verdict()?;
        Ok(all)
    }

    fn check_parameters(&self, problems: &mut Problems) {
        let genesis = &self.consensus;
        let p = &genesis.parameters;
        let id = &genesis.chain_id;
        let plain = id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        problems.require(
            !id.is_empty() && id.len() <= MAX_CHAIN_ID && plain,
            "consensus.chain_id",
            "must have 1 to 64 characters of a-z, 0-9 and -",
        );
        problems.require(genesis.time_ms > 0, "consensus.time_ms", "is 0; give milliseconds since the Unix epoch");
        problems.require(genesis.beacon != Digest::ZERO, "consensus.beacon", "is zero; give 32 random bytes");
        let at = |name: &str| format!("consensus.parameters.{name}");
        for (name, value) in [
            ("block_interval_ms", p.block_interval_ms),
            ("max_clock_drift_ms", p.max_clock_drift_ms),
            ("epoch_blocks", p.epoch_blocks),
            ("debonding_epochs", p.debonding_epochs),
            ("kept_rounds", p.kept_rounds),
            ("max_validators", u64::from(p.max_validators)),
        ] {
            problems.require(value > 0, &at(name), "is 0, it must be at least 1");
        }
        for (name, value) in [
            ("beacon_threshold_permille", p.beacon_threshold_permille),
            ("slash_wrong_result_permille", p.slash_wrong_result_permille),
            ("slash_treasury_permille", p.slash_treasury_permille),
            ("slash_equivocation_permille", p.slash_equivocation_permille),
            ("reward_reporter_permille", p.reward_reporter_permille),
        ] {
            problems.require(value <= WHOLE_PERMILLE, &at(name), "is more than 1000 thousandths");
        }
        if p.max_validators as usize > MAX_VALIDATORS {
            problems
                .add(at("max_validators"), format!("is {}, the program's limit is {MAX_VALIDATORS}", p.max_validators));
        }
    }

    fn check_accounts(&self, problems: &mut Problems) {
        let mut seen: BTreeMap<Address, usize> = BTreeMap::new();
        let mut total = Amount::ZERO;
        for (i, account) in self.consensus.accounts.iter().enumerate() {
            if let Some(first) = seen.insert(account.address, i) {
                problems.add(
                    format!("consensus.accounts[{i}].address"),
                    format!("{} stands at accounts[{first}] already; merge the two", account.address),
                );
            }
            match total.checked_add(account.balance.0).and_then(|sum| sum.checked_add(account.stake.0)) {
                Some(sum) => total = sum,
                None => problems.add(
                    format!("consensus.accounts[{i}].balance"),
                    "makes the sum of all balances and stakes exceed 128 bits; reduce it",
                ),
            }
        }
    }

    fn check_paratime_parts(&self, problems: &mut Problems) {
        let descriptors = &self.consensus.paratimes;
        if descriptors.len() != self.paratimes.len() {
            problems.add(
                "paratimes",
                format!(
                    "has {} entries, consensus.paratimes has {}; give one each, in the same order",
                    self.paratimes.len(),
                    descriptors.len()
                ),
            );
        }
        let mut ids = BTreeSet::new();
        for (i, d) in descriptors.iter().enumerate() {
            let at = |name: &str| format!("consensus.paratimes[{i}].{name}");
            problems.require(ids.insert(d.id), &at("id"), "stands twice; ids are unique on a chain");
            problems.require(!d.kind.is_empty(), &at("kind"), "is empty");
            problems.require(d.key_set != Digest::ZERO, &at("key_set"), "is zero; give the digest of the key manifest");
            if let Err(e) = d.rounds.validate() {
                problems.add(at("rounds"), e.to_string());
            }
            if let Err(e) = d.rounds.validate_epoch(self.consensus.parameters.epoch_blocks) {
                problems.add(at("rounds"), e.to_string());
            }
        }
        for (i, (part, d)) in self.paratimes.iter().zip(descriptors).enumerate() {
            let at = |name: &str| format!("paratimes[{i}].{name}");
            if part.id != d.id {
                problems.add(at("id"), format!("is {}, consensus.paratimes[{i}] is {}; keep one order", part.id, d.id));
            }
            let digest = profile_digest(&part.profile);
            if digest != d.profile {
                problems.add(
                    at("profile"),
                    format!("has digest {digest}, consensus.paratimes[{i}].profile is {}; make them agree", d.profile),
                );
            }
            self.check_managers(part.managers.parties.as_slice(), part.managers.threshold, &at("managers"), problems);
        }
    }

    fn check_managers(&self, parties: &[NodeId], threshold: u16, at: &str, problems: &mut Problems) {
        problems.require(!parties.is_empty(), at, "has no parties; at least one must be able to decrypt");
        if usize::from(threshold) * 3 >= parties.len().max(1) {
            problems.add(
                format!("{at}.threshold"),
                format!("is {threshold} with {} parties; at most (parties - 1) / 3 may fail", parties.len()),
            );
        }
        let mut seen = BTreeSet::new();
        for (i, party) in parties.iter().enumerate() {
            let field = format!("{at}.parties[{i}]");
            problems.require(seen.insert(party), &field, "stands twice");
            if !self.node(party).is_some_and(|n| n.roles.contains(&Role::KeyManager)) {
                problems.add(field, format!("{party} is no node of consensus.nodes with the role key-manager; add it"));
            }
        }
    }

    fn node(&self, key: &NodeId) -> Option<&NodeDescriptor> {
        self.consensus.nodes.iter().map(|n| &n.descriptor).find(|d| d.node == *key)
    }

    fn paratime(&self, id: &ParaTimeId) -> Option<&ParaTimeDescriptor> {
        self.consensus.paratimes.iter().find(|p| p.id == *id)
    }

    fn check_nodes(&self, problems: &mut Problems) {
        let (mut keys, mut peers, mut vrfs) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut validators = 0usize;
        for (i, node) in self.consensus.nodes.iter().enumerate() {
            let d = &node.descriptor;
            let at = |name: &str| format!("consensus.nodes[{i}].descriptor.{name}");
            problems.require(keys.insert(d.node), &at("node"), "stands twice; a node registers once");
            problems.require(peers.insert(d.peer), &at("peer"), "is another node's too; make a key of its own");
            let roles: BTreeSet<Role> = d.roles.iter().copied().collect();
            problems.require(!roles.is_empty(), &at("roles"), "is empty; give at least one role");
            problems.require(roles.len() == d.roles.len(), &at("roles"), "names a role twice");
            self.check_stake(d, &at("entity"), problems);
            if roles.contains(&Role::Validator) {
                validators += 1;
                problems.require(vrfs.insert(d.vrf), &at("vrf"), "is another validator's too; make a key of its own");
            }
            if roles.contains(&Role::Compute) && d.paratimes.is_empty() {
                problems.add(at("paratimes"), "is empty; a compute node executes at least one");
            }
            for (j, (id, profile)) in d.paratimes.iter().enumerate() {
                let field = format!("{}[{j}]", at("paratimes"));
                match self.paratime(id) {
                    None => problems.add(field, format!("{id} is none of consensus.paratimes")),
                    Some(p) if p.profile != *profile => problems.add(
                        field,
                        format!("has evaluation profile {profile}, the ParaTime needs {}; run that profile", p.profile),
                    ),
                    Some(_) => {}
                }
            }
        }
        problems.require(validators > 0, "consensus.nodes", "has no validator; nobody could make blocks");
        let most = self.consensus.parameters.max_validators as usize;
        if validators > most {
            problems.add("consensus.nodes", format!("has {validators} validators, max_validators is {most}"));
        }
    }

    fn check_stake(&self, d: &NodeDescriptor, field: &str, problems: &mut Problems) {
        let least = self.consensus.parameters.min_node_stake;
        let stake = self.consensus.accounts.iter().find(|a| a.address == d.entity).map_or(Amount::ZERO, |a| a.stake);
        let needs_stake = d.roles.iter().any(|r| matches!(r, Role::Validator | Role::Compute));
        if needs_stake && (stake < least || stake == Amount::ZERO) {
            problems.add(
                field,
                format!(
                    "{} has stake {stake} in consensus.accounts, min_node_stake is {least}; a validator or compute node \
                     needs that, and at least 1",
                    d.entity
                ),
            );
        }
    }

    fn check_committees(&self, problems: &mut Problems) {
        for p in &self.consensus.paratimes {
            let count = self.consensus.committees.iter().filter(|(id, _)| *id == p.id).count();
            if count != 1 {
                problems.add("consensus.committees", format!("seats {count} committees for {}, it needs one", p.id));
            }
        }
        for (i, (id, committee)) in self.consensus.committees.iter().enumerate() {
            let at = format!("consensus.committees[{i}]");
            match self.paratime(id) {
                None => problems.add(at, format!("is for {id}, which is none of consensus.paratimes")),
                Some(p) => self.check_committee(p, committee, &at, problems),
            }
        }
    }

    fn check_committee(&self, p: &ParaTimeDescriptor, c: &Committee, at: &str, problems: &mut Problems) {
        problems.require(c.epoch.0 == 0, &format!("{at}.epoch"), "is not 0, the epoch with which a chain begins");
        for (name, nodes, wanted) in
            [("workers", &c.workers, p.rounds.workers), ("backups", &c.backups, p.rounds.backups)]
        {
            let list = format!("{at}.{name}");
            if nodes.len() != usize::from(wanted) {
                problems.add(list.clone(), format!("has {} nodes, the round parameters want {wanted}", nodes.len()));
            }
            let mut seen = BTreeSet::new();
            for (j, node) in nodes.iter().enumerate() {
                let field = format!("{list}[{j}]");
                problems.require(seen.insert(node), &field, "stands twice in the list");
                let able = self
                    .node(node)
                    .is_some_and(|d| d.roles.contains(&Role::Compute) && d.paratimes.iter().any(|(id, _)| *id == p.id));
                if !able {
                    problems.add(field, format!("{node} is no compute node of consensus.nodes that executes {}", p.id));
                }
            }
        }
    }

    fn check_signatures(&self, context: &SigningContext, problems: &mut Problems) {
        for (i, node) in self.consensus.nodes.iter().enumerate() {
            let field = format!("consensus.nodes[{i}].signature");
            if node.signature == UNSIGNED {
                problems.add(field, format!("is missing; the operator of {} signs the document", node.descriptor.node));
            } else if !node.descriptor.node.verify(context, &node.descriptor, &node.signature) {
                problems.add(
                    field,
                    format!(
                        "is not that of {} over this document; whoever changed the document must have every node sign \
                         it again",
                        node.descriptor.node
                    ),
                );
            }
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
