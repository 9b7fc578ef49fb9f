//! The checkers: they stand outside the nodes and use nothing of a node's verdicts.
//!
//! They read the blocks of the chain and what honest nodes send, execute every accepted batch on a replica of their
//! own, count the votes that stand in blocks by a few lines of their own, and know who is Byzantine.
//!
//! What must hold while the protocol's assumption does (in each committee fewer than W - S Byzantine workers, and fewer
//! than half of the backups):
//! - `agreement`: no node commits a state with another root than consensus finalised, and a round has one root;
//! - `re-execution`: an accepted result is what an honest execution of the batch gives, trace and io roots included;
//! - `justified`: an accepted round has its scheduler's own commitment and W equal votes of workers (at the deadline
//!   W - S, and no other), or a strict majority of backups; a round that failed for want of a verdict had none;
//! - `slashed`: whoever is slashed for a wrong result is Byzantine, and is exactly who voted against the verdict;
//! - `charged`: in a calm run no honest node is charged for its liveness, except in a round in which a Byzantine node
//!   announced something: it may have withheld the batch, shown another one, or published a proposal that the chain
//!   then refused;
//! - `convergence`: once faults stop, new work is accepted and every node commits it.
//!
//! What must hold always: `rounds` (numbers without gap, blocks that build on each other, one live proposal, no rank
//! before its window, no deadline before its height), `votes` (one vote a node and proposal), `equivocation` (no honest
//! node signs two things where one is allowed, over all its lives), `ledger` (the application's own invariants, the
//! supply among them, after every block), and that every block executed again from genesis gives the same roots.

use crate::oracle::{Oracle, Verdict};
use crate::parties::Parties;
use crate::world::World;
use parallax_consensus_app::tx::{Call, Transaction};
use parallax_memory_store::MemoryStore;
use parallax_primitives::{Digest, Domain, Event, Height, NodeId, PublicKey, Round};
use parallax_rounds::{BlockKind, Committee, ParaTimeBlock, SignedCommitment, SignedProposal, messages_hash};
use parallax_state::StateError;
use std::collections::{BTreeMap, BTreeSet};

/// Most commitments that are kept for replays.
const MAX_KEPT: usize = 64;

/// What is known of the round under way, from blocks alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// From when the lowest rank that is left may announce.
    since: Height,
    from_rank: u16,
    /// The live proposal, the height of its announcement and its deadline.
    live: Option<(Digest, Height, Height)>,
    /// Since when, and until when, it is being resolved.
    resolving: Option<(Height, Height)>,
    /// Accepted votes by node.
    votes: BTreeMap<NodeId, Option<Digest>>,
    /// Whoever announced in this round.
    schedulers: BTreeSet<NodeId>,
}

/// What all checkers share.
pub(crate) struct Checks {
    /// Whether the protocol's assumption held so far.
    pub(crate) sound: bool,
    /// When faults stopped.
    pub(crate) quiet_since: Option<Height>,
    /// The transaction that must be executed then.
    pub(crate) wish: Option<Digest>,
    /// Every proposal that anybody signed.
    pub(crate) proposals: BTreeMap<Digest, SignedProposal>,
    /// Commitments that were submitted, a bounded number.
    pub(crate) commitments: Vec<SignedCommitment>,
    /// Every transaction that a client made.
    pub(crate) transactions: BTreeMap<Digest, Vec<u8>>,
    pub(crate) oracle: Oracle,
    tally: Tally,
    /// What honest nodes signed: proposals by round and rank, commitments by proposal.
    proposed: BTreeMap<(usize, Round, u16), Digest>,
    committed: BTreeMap<(usize, Digest), Digest>,
    /// The last round whose end was checked.
    checked: Round,
    /// Results that were slashed for in the round under way.
    slashed: BTreeSet<NodeId>,
    /// Whether a verdict of the round said who is to be slashed.
    expected: Option<BTreeSet<NodeId>>,
    names: BTreeMap<Digest, String>,
    results: BTreeMap<Digest, usize>,
}

impl Checks {
    pub(crate) fn new(parties: &Parties, store: MemoryStore) -> Result<Self, StateError> {
        Ok(Self {
            sound: true,
            quiet_since: None,
            wish: None,
            proposals: BTreeMap::new(),
            commitments: Vec::new(),
            transactions: BTreeMap::new(),
            oracle: Oracle::new(parties, store)?,
            tally: Tally::default(),
            proposed: BTreeMap::new(),
            committed: BTreeMap::new(),
            checked: Round::ZERO,
            slashed: BTreeSet::new(),
            expected: None,
            names: BTreeMap::new(),
            results: BTreeMap::new(),
        })
    }

    /// The nonce of an account in the finalised state of the ParaTime.
    pub(crate) fn paratime_nonce(&self, key: Option<PublicKey>) -> u64 {
        key.map_or(0, |key| self.oracle.nonce(&key))
    }
}

impl World {
    /// A short name for a proposal: round and rank, with a letter for each further one.
    pub(crate) fn proposal_name(&mut self, signed: &SignedProposal) -> String {
        let digest = signed.proposal.digest();
        if let Some(name) = self.checks.names.get(&digest) {
            return name.clone();
        }
        let base = format!("proposal {}.{}", signed.proposal.round, signed.proposal.rank);
        let others = self.checks.names.values().filter(|name| name.starts_with(&base)).count();
        let letter = u8::try_from(others).ok().filter(|n| *n > 0).map(|n| char::from(b'a'.saturating_add(n)));
        let name = format!("{base}{}", letter.map(String::from).unwrap_or_default());
        self.checks.names.insert(digest, name.clone());
        name
    }

    /// A short name for a vote: the results of a run are numbered in the order of their appearance.
    pub(crate) fn vote_name(&mut self, vote: &SignedCommitment) -> String {
        match vote.commitment.outcome.vote() {
            None => "failure".to_owned(),
            Some(value) => {
                let next = self.checks.results.len().saturating_add(1);
                format!("result #{}", self.checks.results.entry(value).or_insert(next))
            }
        }
    }

    /// An honest node sends a proposal.
    pub(crate) fn note_proposal(&mut self, node: usize, signed: &SignedProposal) {
        let digest = signed.proposal.digest();
        self.checks.proposals.insert(digest, signed.clone());
        if !self.is_honest(node) {
            return;
        }
        let slot = (node, signed.proposal.round, signed.proposal.rank);
        let first = *self.checks.proposed.entry(slot).or_insert(digest);
        if first != digest {
            let what = format!("n{node} signed two proposals for round {} and rank {}", slot.1, slot.2);
            self.violation("equivocation", what);
        }
    }

    /// An honest node sends a commitment.
    pub(crate) fn note_commitment(&mut self, node: usize, vote: &SignedCommitment) {
        if self.checks.commitments.len() >= MAX_KEPT {
            self.checks.commitments.remove(0);
        }
        self.checks.commitments.push(vote.clone());
        if !self.is_honest(node) {
            return;
        }
        let digest = Digest::of_value(Domain::Simulation, &vote.commitment);
        let first = *self.checks.committed.entry((node, vote.commitment.proposal)).or_insert(digest);
        if first != digest {
            let what = format!("n{node} signed two commitments for one proposal of round {}", vote.commitment.round);
            self.violation("equivocation", what);
        }
    }

    /// A node committed the state after a round.
    pub(crate) fn check_applied(&mut self, node: usize, block: &ParaTimeBlock) -> Result<(), StateError> {
        let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) else { return Ok(()) };
        let root = run.results.tree().root_at(block.round.0)?;
        self.log.audit(self.now, 10, node, &root.0);
        if root != block.state_root {
            let what = format!("n{node} has another root after round {} than was finalised", block.round);
            self.violation("agreement", what);
        }
        Ok(())
    }

    /// Whether the assumption holds for a committee.
    fn assumed(&self, committee: &Committee) -> bool {
        let byzantine = |nodes: &[NodeId]| {
            nodes.iter().filter(|n| self.parties.index.get(n).is_some_and(|n| !self.is_honest(*n))).count()
        };
        let rounds = &self.scenario.rounds;
        let workers =
            byzantine(&committee.workers) < usize::from(rounds.workers.saturating_sub(rounds.allowed_stragglers));
        let backups = committee.backups.is_empty() || byzantine(&committee.backups) * 2 < committee.backups.len();
        workers && backups
    }

    fn check_assumption(&mut self) {
        let view = self.chain.view(self.height());
        let holds = view.and_then(|v| v.rounds.committee()).is_none_or(|committee| self.assumed(committee));
        if !holds && self.checks.sound && self.checks.quiet_since.is_none() {
            self.checks.sound = false;
            self.log.count("assumption broken");
            let height = self.height().0;
            self.log.say(self.now, height, "CHECK", || "from here on more is Byzantine than is assumed".to_owned());
        }
    }

    /// Checks the newest block.
    pub(crate) fn check_block(&mut self) -> Result<(), String> {
        self.check_assumption();
        let height = self.height();
        let Some(made) = self.chain.newest() else { return Ok(()) };
        let (transactions, executed) = (made.block.transactions.clone(), made.executed.clone());
        for (bytes, receipt) in transactions.iter().zip(&executed.receipts) {
            let Ok(Transaction::V1(signed)) = Transaction::decode(bytes) else { continue };
            if let Err(error) = &receipt.outcome {
                self.log.count(&format!("refused {}/{}", error.module, error.code));
                let text = self.plain(&format!("{} refused: {error}", signed.body.call.name()));
                self.log.say(self.now, height.0, "chain", || text);
                continue;
            }
            self.see_call(&signed.body.call, &receipt.events);
        }
        for event in &executed.events {
            self.see_event(event);
        }
        self.check_ended()?;
        self.check_open()
    }

    fn see_call(&mut self, call: &Call, events: &[Event]) {
        match call {
            Call::Announce { proposal, .. } => {
                self.checks.proposals.insert(proposal.proposal.digest(), proposal.clone());
                for event in events {
                    self.see_event(event);
                }
            }
            Call::Commit { commitments, .. } => {
                let mut each = commitments.iter();
                for event in events {
                    if event.name == "rounds.commitment" || event.name == "rounds.commitment_refused" {
                        let vote = each.next();
                        if let Some(vote) = vote.filter(|_| event.name == "rounds.commitment") {
                            self.see_vote(vote);
                        }
                    }
                    self.see_event(event);
                }
            }
            _ => {
                for event in events {
                    self.see_event(event);
                }
            }
        }
    }

    fn see_vote(&mut self, vote: &SignedCommitment) {
        let (node, round) = (vote.commitment.node, vote.commitment.round);
        let live = self.checks.tally.live.map(|(digest, ..)| digest);
        if live != Some(vote.commitment.proposal) {
            self.violation("votes", format!("a vote in round {round} on no live proposal was accepted"));
        }
        if self.checks.tally.votes.insert(node, vote.commitment.outcome.vote()).is_some() {
            let name = self.parties.name(&node);
            self.violation("votes", format!("{name} voted twice in round {round}"));
        }
    }

    fn node_of(event: &Event) -> Option<NodeId> {
        event.get("node")?.parse().ok()
    }

    fn number(event: &Event, key: &str) -> u64 {
        event.get(key).and_then(|v| v.parse().ok()).unwrap_or(0)
    }

    fn see_event(&mut self, event: &Event) {
        let (height, now) = (self.height(), self.now);
        let text = self.told(event);
        if let Some(text) = text.map(|text| self.plain(&text)) {
            self.log.say(now, height.0, "chain", || text);
        }
        let reason = event.get("reason").or(event.get("cause")).unwrap_or_default().to_owned();
        match event.name.as_str() {
            "rounds.announced" => self.see_announcement(event),
            "rounds.proposal_dropped" => {
                let due = self.checks.tally.live.take().map(|(.., deadline)| deadline);
                if due.is_none_or(|due| height < due) {
                    self.violation("rounds", format!("a proposal was dropped at {height}, its deadline is {due:?}"));
                }
                self.checks.tally.from_rank = u16::try_from(Self::number(event, "next_rank")).unwrap_or(u16::MAX);
                self.checks.tally.since = height;
                self.checks.tally.votes.clear();
                self.log.count("proposal dropped");
            }
            "rounds.discrepancy" => {
                let until = Height(Self::number(event, "deadline"));
                if self.checks.tally.resolving.replace((height, until)).is_some() {
                    self.violation("rounds", format!("two discrepancies in one round, at {height}"));
                }
                self.log.count(&format!("discrepancy {reason}"));
            }
            "rounds.finalized" => {
                let kind = if event.get("discrepancy") == Some("true") { "after a discrepancy" } else { "clean" };
                self.log.count(&format!("finalized {kind}"));
                self.log.count("rounds");
                self.judge(event);
            }
            "rounds.failed" => {
                self.log.count(&format!("failed {reason}"));
                self.log.count("rounds");
                self.judge_failure(&reason);
            }
            "rounds.epoch_transition" => {
                let phase = self.phase_before();
                self.log.count(&format!("epoch transition while {phase}"));
                self.log.count("rounds");
            }
            "rounds.suspended" => {
                self.log.count("suspended");
                self.log.count("rounds");
            }
            "staking.slashed" => self.see_slash(event, &reason),
            "liveness.charged" => self.see_charge(event, &reason),
            _ => {}
        }
    }

    fn phase_before(&self) -> &'static str {
        match (&self.checks.tally.live, &self.checks.tally.resolving) {
            (_, Some(_)) => "resolve",
            (None, None) => "idle",
            (Some((digest, ..)), None) => {
                let scheduler = self.checks.proposals.get(digest).map(|p| p.proposal.scheduler);
                let committed = scheduler.is_some_and(|s| self.checks.tally.votes.contains_key(&s));
                if committed { "detect" } else { "announced" }
            }
        }
    }

    fn see_announcement(&mut self, event: &Event) {
        let height = self.height();
        self.log.count("announced");
        if self.checks.tally.live.is_some() {
            self.violation("rounds", format!("a second proposal went live at {height}"));
        }
        let rank = u16::try_from(Self::number(event, "rank")).unwrap_or(u16::MAX);
        let tally = &self.checks.tally;
        let turn =
            self.scenario.rounds.proposer_timeout.saturating_mul(u64::from(rank.saturating_sub(tally.from_rank)));
        if rank < tally.from_rank || height < tally.since.saturating_add(turn) {
            self.violation("rounds", format!("rank {rank} announced at {height}, outside its window"));
        }
        if let Some(scheduler) = event.get("scheduler").and_then(|s| s.parse::<NodeId>().ok()) {
            self.checks.tally.schedulers.insert(scheduler);
        }
        let deadline = Height(Self::number(event, "deadline"));
        if let Some(digest) = event.get("proposal").and_then(|d| d.parse::<Digest>().ok()) {
            self.checks.tally.live = Some((digest, height, deadline));
        }
        if rank > 0 {
            self.log.count("announced by a later rank");
        }
    }

    fn see_slash(&mut self, event: &Event, reason: &str) {
        self.log.count(&format!("slashed {reason}"));
        let Some(node) = Self::node_of(event) else { return };
        let honest = self.parties.index.get(&node).is_none_or(|n| self.is_honest(*n));
        if honest && self.checks.sound {
            let name = self.parties.name(&node);
            self.violation("slashed", format!("{name} is honest and was slashed: {reason}"));
        }
        if reason == "wrong-result" {
            self.checks.slashed.insert(node);
        }
    }

    fn see_charge(&mut self, event: &Event, reason: &str) {
        self.log.count(&format!("charged {reason}"));
        let Some(node) = Self::node_of(event) else { return };
        let honest = self.parties.index.get(&node).is_some_and(|n| self.is_honest(*n));
        let lured =
            self.checks.tally.schedulers.iter().any(|s| self.parties.index.get(s).is_none_or(|n| !self.is_honest(*n)));
        if honest && self.scenario.calm && self.checks.sound && !lured && !self.byzantine_publishes() {
            let name = self.parties.name(&node);
            self.violation("charged", format!("{name} is honest, nothing disturbs it, and it was charged: {reason}"));
        }
    }

    /// Whether some Byzantine node may have shown proposals that the chain never took.
    fn byzantine_publishes(&self) -> bool {
        use crate::scenario::Byzantine::{EquivocatingProposals, InvalidBatchRoot, Preemption, Replay};
        let misleads = [EquivocatingProposals, InvalidBatchRoot, Preemption, Replay];
        self.scenario.byzantine.iter().any(|(_, kind)| misleads.contains(kind))
    }

    /// The text with names for the nodes and proposals in it, and what else is hexadecimal shortened.
    fn plain(&self, text: &str) -> String {
        const HEX: usize = 64;
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("0x") {
            let (before, found) = rest.split_at(at);
            out.push_str(before);
            let digits = found.bytes().skip(2).take_while(u8::is_ascii_hexdigit).count();
            let (token, after) = found.split_at(digits.saturating_add(2));
            let node = token.parse::<NodeId>().ok().filter(|id| self.parties.index.contains_key(id));
            let named = token.parse::<Digest>().ok().and_then(|d| self.checks.names.get(&d).cloned());
            match (node.map(|id| self.parties.name(&id)), named) {
                (Some(name), _) | (None, Some(name)) => out.push_str(&name),
                (None, None) if digits >= HEX => out.push_str(token.get(..10).unwrap_or(token)),
                (None, None) => out.push_str(token),
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// A few words on an event, with names.
    fn told(&self, event: &Event) -> Option<String> {
        let named = |digest: Option<&str>| {
            let digest = digest.and_then(|d| d.parse::<Digest>().ok());
            digest.and_then(|d| self.checks.names.get(&d).cloned()).unwrap_or_else(|| "a proposal".to_owned())
        };
        let node = || Self::node_of(event).map_or_else(|| "n?".to_owned(), |n| self.parties.name(&n));
        let get = |key: &str| event.get(key).unwrap_or("?").to_owned();
        Some(match event.name.as_str() {
            "rounds.announced" => format!("{} is live until {}", named(event.get("proposal")), get("deadline")),
            "rounds.proposal_dropped" => {
                format!("{} is dropped, rank {} is next", named(event.get("proposal")), get("next_rank"))
            }
            "rounds.discrepancy" => format!("discrepancy ({}), backups until {}", get("cause"), get("deadline")),
            "rounds.finalized" => format!("round {} is finalised, discrepancy {}", get("round"), get("discrepancy")),
            "rounds.failed" => format!("round {} failed: {}", get("round"), get("reason")),
            "rounds.epoch_transition" => format!("round {} ends with the epoch", get("round")),
            "rounds.suspended" => format!("round {} ends, the ParaTime is suspended", get("round")),
            "rounds.commitment" => format!("vote of {}: {}", node(), get("outcome")),
            "rounds.commitment_refused" => format!("vote of {} refused: {}", node(), get("reason")),
            "staking.slashed" => format!("{} is slashed by {}: {}", node(), get("amount"), get("reason")),
            "liveness.charged" => format!("{} is charged: {}", node(), get("reason")),
            "beacon.epoch" => format!("epoch {} begins, committees {}", get("epoch"), get("committees")),
            _ => return None,
        })
    }

    /// Votes on a value among these seats.
    fn count(&self, seats: &[NodeId], value: Digest) -> usize {
        seats.iter().filter(|n| self.checks.tally.votes.get(n) == Some(&Some(value))).count()
    }

    /// The committee in whose hands the round under way is.
    fn committee(&self) -> Option<Committee> {
        let before = Height(self.height().0.saturating_sub(1));
        self.chain.view(before)?.rounds.committee().cloned()
    }

    /// Judges an accepted round by the votes that stand in blocks.
    fn judge(&mut self, event: &Event) {
        let height = self.height();
        let unjust = |world: &mut Self, what: &str| {
            world.violation("justified", format!("a round was accepted at {height}: {what}"));
        };
        let (Some((live, _, deadline)), Some(committee)) = (self.checks.tally.live, self.committee()) else {
            return unjust(self, "no proposal was live");
        };
        let scheduler = self.checks.proposals.get(&live).map(|p| p.proposal.scheduler).unwrap_or_default();
        let Some(Some(value)) = self.checks.tally.votes.get(&scheduler).copied() else {
            return unjust(self, "its scheduler did not commit");
        };
        let disputed = event.get("discrepancy") == Some("true");
        if disputed != self.checks.tally.resolving.is_some() {
            return unjust(self, "it is not as disputed as the block says");
        }
        if disputed {
            if self.count(&committee.backups, value) * 2 <= committee.backups.len() {
                unjust(self, "no strict majority of backups agreed");
            }
            let wrong = self.checks.tally.votes.iter().filter(|(_, v)| v.is_some_and(|v| v != value)).map(|(n, _)| *n);
            self.checks.expected = Some(wrong.collect());
            return;
        }
        let (workers, equal) = (committee.workers.len(), self.count(&committee.workers, value));
        let votes = committee.workers.iter().filter_map(|n| self.checks.tally.votes.get(n).copied().flatten());
        let differs = votes.into_iter().any(|v| v != value);
        let enough = workers.saturating_sub(usize::from(self.scenario.rounds.allowed_stragglers));
        if differs || equal < enough || (equal < workers && height < deadline) {
            unjust(self, &format!("{equal} of {workers} workers agreed, the deadline is {deadline}"));
        }
    }

    /// Judges a failed round: what had a verdict must not fail for want of one, and no deadline comes early.
    fn judge_failure(&mut self, reason: &str) {
        let height = self.height();
        let Some(committee) = self.committee() else { return };
        let tally = self.checks.tally.clone();
        let live = tally.live.and_then(|(digest, ..)| self.checks.proposals.get(&digest));
        let scheduler = live.map(|p| p.proposal.scheduler).unwrap_or_default();
        let claimed = tally.votes.get(&scheduler).copied().flatten();
        let values: BTreeSet<Digest> = tally.votes.values().filter_map(|v| *v).collect();
        let verdict = values.into_iter().find(|v| self.count(&committee.backups, *v) * 2 > committee.backups.len());
        let due = tally.resolving.map(|(_, until)| until);
        let fault = match reason {
            "scheduler-wrong" => {
                let wrong = tally.votes.iter().filter(|(_, v)| v.is_some() && **v == claimed).map(|(n, _)| *n);
                self.checks.expected = Some(wrong.collect());
                (verdict.is_none() || verdict == claimed).then_some("no majority of backups differs from the scheduler")
            }
            "timeout" if due.is_none_or(|due| height < due) => Some("the deadline is not there yet"),
            "timeout" | "no-majority" | "failures" if verdict.is_some() => Some("a majority of backups had spoken"),
            "no-backups" if !committee.backups.is_empty() => Some("there are backups"),
            _ => None,
        };
        if let Some(fault) = fault {
            self.violation("justified", format!("a round failed at {height} ({reason}): {fault}"));
        }
    }

    /// Checks the rounds that ended with this block, and begins the next tally.
    fn check_ended(&mut self) -> Result<(), String> {
        let height = self.height();
        let ended: Vec<ParaTimeBlock> =
            self.chain.ended.range(self.checks.checked.next()..).map(|(_, block)| block.clone()).collect();
        if ended.is_empty() {
            return Ok(());
        }
        self.check_slashed();
        for block in ended {
            let last = self.chain.ended.get(&self.checks.checked).map(ParaTimeBlock::hash);
            if block.round != self.checks.checked.next() || Some(block.previous_hash) != last || block.height != height
            {
                self.violation("rounds", format!("round {} does not follow {}", block.round, self.checks.checked));
            }
            self.check_executed(&block)?;
            self.checks.checked = block.round;
        }
        self.checks.tally = Tally { since: height, ..Tally::default() };
        // What was announced in this block after the end belongs to the next round.
        Ok(())
    }

    /// Compares who was slashed with who voted against the verdict.
    fn check_slashed(&mut self) {
        let (slashed, expected) = (std::mem::take(&mut self.checks.slashed), self.checks.expected.take());
        let (height, first) = (self.height(), self.scenario.rounds.slash_from == 1);
        match expected {
            None if !slashed.is_empty() => {
                self.violation("slashed", format!("slashed at {height} without a verdict"));
            }
            Some(expected) if first && expected != slashed => {
                let names = |nodes: &BTreeSet<NodeId>| nodes.iter().map(|n| self.parties.name(n)).collect::<Vec<_>>();
                let what = format!("at {height} {:?} were wrong and {:?} slashed", names(&expected), names(&slashed));
                self.violation("slashed", what);
            }
            _ => {}
        }
    }

    /// Executes an accepted batch on the checkers' own replica.
    fn check_executed(&mut self, block: &ParaTimeBlock) -> Result<(), String> {
        if block.kind != BlockKind::Normal
            && block.messages_hash != messages_hash::<parallax_primitives::message::OutMessage>(&[])
        {
            self.violation("rounds", format!("round {} ended without a result and with messages", block.round));
        }
        let verdict = self.follow(block)?;
        match verdict {
            Verdict::Same => Ok(()),
            Verdict::Differs(what) if self.checks.sound => {
                self.violation("re-execution", format!("round {}: {what}", block.round));
                Err(format!("round {} is not what an honest execution gives", block.round))
            }
            Verdict::Differs(_) => {
                self.log.count("wrong result accepted beyond the assumption");
                Ok(())
            }
        }
    }

    /// Checks that the round under way is not held up.
    fn check_open(&mut self) -> Result<(), String> {
        let height = self.height();
        let rounds = self.scenario.rounds.clone();
        if let Some((digest, announced, _)) = self.checks.tally.live {
            let gas = self.checks.proposals.get(&digest).map(|p| p.proposal.gas).unwrap_or_default();
            let most = rounds.deadline(gas).saturating_add(rounds.resolve_deadline(gas));
            if height > announced.saturating_add(most) {
                self.violation("rounds", format!("a proposal of {announced} is still live at {height}"));
            }
        }
        Ok(())
    }

    /// Whether the run has shown what it was for.
    pub(crate) fn finished(&mut self) -> bool {
        let Some(since) = self.checks.quiet_since else { return false };
        let waited = self.height().0.saturating_sub(since.0);
        if !self.checks.sound || self.scenario.beyond {
            return waited > 20;
        }
        self.converged() || waited > self.patience()
    }

    /// Blocks that the network may take from the end of faults to progress: an election and its first rounds.
    fn patience(&self) -> u64 {
        self.scenario.epoch_blocks.saturating_mul(2).saturating_add(80)
    }

    fn converged(&self) -> bool {
        let granted = self.checks.wish.is_some_and(|wish| self.checks.oracle.executed(&wish));
        let last = self.chain.view(self.height()).map_or(Round::ZERO, |v| v.rounds.last_block().round);
        granted && self.nodes.iter().all(|n| n.running.as_ref().is_some_and(|r| r.core.applied() >= last))
    }

    /// The checks at the end.
    pub(crate) fn check_end(&mut self) {
        if !self.checks.sound || self.scenario.beyond || !self.log.violations.is_empty() || self.converged() {
            return;
        }
        let view = self.chain.view(self.height());
        let seated = view.is_some_and(|v| v.rounds.committee().is_some());
        let granted = self.checks.wish.is_some_and(|wish| self.checks.oracle.executed(&wish));
        let last = view.map_or(Round::ZERO, |v| v.rounds.last_block().round);
        let phase = view.map_or("?", |v| v.rounds.phase().name());
        if !seated {
            self.log.count("no committee at the end");
            return;
        }
        let applied: Vec<u64> =
            self.nodes.iter().map(|n| n.running.as_ref().map_or(0, |r| r.core.applied().0)).collect();
        let what = format!(
            "{} blocks after the faults the last transaction is {}executed; round {last} is over, the next one is \
             {phase}, the nodes have applied {applied:?}",
            self.patience(),
            if granted { "" } else { "not " }
        );
        self.violation("convergence", what);
    }
}
