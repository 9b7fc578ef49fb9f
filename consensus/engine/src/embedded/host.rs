//! The application's side of the agreement: a thread that answers the library's messages one at a time.
//!
//! A proposal's way: its announcement and pieces are assembled ([`super::parts`]), the block is decoded and its bytes
//! are made durable, it is executed on the parent's state, and only then does the library hear of it and vote. A
//! decision finds the execution cached and writes it with block and certificate at once.
//!
//! Any error ends the thread, and with it the engine: a node that cannot read its state must not vote.

use super::codec::{certificate_from, certificate_to};
use super::context::{Address, Consensus, Height, Members, Value, turn};
use super::journal::{Journal, Undecided};
use super::parts::{Assembled, Assembler, Part, SignedInit};
use super::{MAX_SYNC_BATCH, now_ms};
use crate::blocks::{decode_block, encode_block};
use crate::driver::{BLOCK_LIMITS, CommittedBlock, Driver, Tip};
use crate::{EngineError, Mempool};
use malachite::app::engine::host::{HeightParams, Next, SyncedValueOutcome};
use malachite::app::streaming::{StreamContent, StreamId, StreamMessage};
use malachite::app::types::{LocallyProposedValue, ProposedValue};
use malachite::{AppMsg, Channels, NetworkMsg};
use malachite_core::{LinearTimeouts, Round, ValidatorSet as _, Validity};
use malachite_sync::RawDecidedValue;
use parallax_consensus_app::{Application, Block, ConsensusEvidence, Executed, InvalidBlock, transactions_root};
use parallax_primitives::{ChainContext, Digest, NodeId, SecretKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};

/// Rounds ahead of the current one for which announcements are taken.
const MAX_ROUNDS_AHEAD: u32 = 16;
/// Different blocks that are taken from the proposer of one round; two prove that it equivocates.
const MAX_VALUES_PER_ROUND: usize = 2;

/// What a host needs besides the application.
pub(super) struct Setup {
    pub(super) chain: ChainContext,
    pub(super) me: NodeId,
    /// A validator's key; `None` on a node that only follows.
    pub(super) key: Option<SecretKey>,
    pub(super) timeouts: LinearTimeouts,
    pub(super) block_interval: Duration,
    pub(super) max_clock_drift: Duration,
    pub(super) mempool: Arc<dyn Mempool>,
    pub(super) committed: broadcast::Sender<Arc<CommittedBlock>>,
    pub(super) evidence: broadcast::Sender<ConsensusEvidence>,
    pub(super) tip: watch::Sender<Tip>,
}

/// A block that may be decided.
struct Candidate {
    block: Block,
    bytes: Vec<u8>,
    inits: Vec<SignedInit>,
    /// The outcome of its execution, once its parent is committed.
    verdict: Option<Result<Executed, InvalidBlock>>,
}

pub(super) struct Host<A> {
    setup: Setup,
    driver: Driver<A>,
    journal: Journal,
    assembler: Assembler,
    candidates: BTreeMap<(u64, Digest), Candidate>,
    /// Validators of the heights at hand.
    members: BTreeMap<u64, Members>,
    round: u32,
    streams: u64,
    network: mpsc::Sender<NetworkMsg<Consensus>>,
}

impl<A: Application + Sync> Host<A> {
    /// Takes up what the journal kept.
    pub(super) fn open(
        setup: Setup,
        driver: Driver<A>,
        journal: Journal,
        network: mpsc::Sender<NetworkMsg<Consensus>>,
    ) -> Result<Self, EngineError> {
        let mut candidates = BTreeMap::new();
        for Undecided { bytes, inits } in journal.above(driver.tip().height.0)? {
            let block = decode_block(&bytes).map_err(|e| parallax_state::StateError::Corrupt {
                what: "column journal, an undecided block".into(),
                reason: e.to_string(),
            })?;
            let key = (block.header.height.0, block.header.hash());
            candidates.insert(key, Candidate { block, bytes, inits, verdict: None });
        }
        setup.tip.send_replace(driver.tip());
        Ok(Self {
            setup,
            driver,
            journal,
            assembler: Assembler::default(),
            candidates,
            members: BTreeMap::new(),
            round: 0,
            streams: 0,
            network,
        })
    }

    /// Answers until the library closes the channel.
    pub(super) fn run(mut self, mut channels: Channels<Consensus>) -> Result<(), EngineError> {
        while let Some(message) = channels.consensus.blocking_recv() {
            self.answer(message)?;
        }
        Ok(())
    }

    /// A reply that finds nobody means that the library is stopping; the channel's end follows.
    fn answer(&mut self, message: AppMsg<Consensus>) -> Result<(), EngineError> {
        match message {
            AppMsg::ConsensusReady { reply } => {
                let _ = reply.send(self.next_height()?);
            }
            AppMsg::StartedRound { height, round, reply_value, .. } => {
                self.round = round.as_u32().unwrap_or(0);
                let _ = reply_value.send(self.seen(height, self.round)?);
            }
            AppMsg::GetValue { height, round, reply, .. } => {
                if let Some((value, init)) = self.propose(height, round)? {
                    let _ = reply.send(LocallyProposedValue::new(height, round, Value(value)));
                    self.publish(height, value, &init);
                }
            }
            AppMsg::ReceivedProposalPart { from, published_by, part, reply } => {
                let publisher = published_by.unwrap_or(from).to_bytes();
                let _ = reply.send(self.receive(&publisher, part.content)?);
            }
            AppMsg::RestreamProposal { height, round, valid_round, address, value_id } => {
                self.restream(height, round, valid_round, address, value_id)?;
            }
            AppMsg::Decided { certificate, reply, .. } => {
                self.decide(&certificate)?;
                let _ = reply.send(());
            }
            AppMsg::Finalized { certificate, evidence, reply, .. } => {
                self.report(certificate.height, &evidence);
                let (height, params) = self.next_height()?;
                let _ = reply.send(Next::Start(height, params));
            }
            AppMsg::GetHistoryMinHeight { reply } => {
                let earliest = self.driver.blocks().earliest()?;
                let _ = reply.send(Height(earliest.unwrap_or(self.driver.tip().height.next()).0));
            }
            AppMsg::GetDecidedValues { range, reply } => {
                let _ = reply.send(self.decided(*range.start(), *range.end())?);
            }
            AppMsg::ProcessSyncedValue { height, round, proposer, value_bytes, reply } => {
                let _ = reply.send(self.synced(height, round, proposer, value_bytes.to_vec())?);
            }
            // Every height disables extensions, so the library neither asks for one nor accepts one.
            AppMsg::ExtendVote { reply, .. } => {
                let _ = reply.send(None);
            }
            AppMsg::VerifyVoteExtensions { extensions, reply, .. } => {
                let refused = malachite_consensus::VoteExtensionError::InvalidVoteExtension;
                let _ = reply.send(extensions.into_iter().map(|(a, _)| (a, Err(refused.clone()))).collect());
            }
        }
        Ok(())
    }

    /// The height after the last commit, with its validators.
    fn next_height(&mut self) -> Result<(Height, HeightParams<Consensus>), EngineError> {
        let height = self.driver.tip().height.next().0;
        let members = self.members(height)?.clone();
        if members.count() == 0 {
            let reason = format!("the ledger has no validator at height {height}");
            return Err(EngineError::Config { setting: "validators", reason });
        }
        self.round = 0;
        Ok((Height(height), HeightParams::new(members, self.setup.timeouts, Some(self.setup.block_interval))))
    }

    fn members(&mut self, height: u64) -> Result<&Members, EngineError> {
        if !self.members.contains_key(&height) {
            let set = self.driver.app().validators(parallax_primitives::Height(height))?;
            self.members.insert(height, Members::from(&set));
        }
        Ok(self.members.entry(height).or_default())
    }

    /// Executes a candidate if its parent is committed, once, and says what a proposal of it is worth.
    fn judge(&mut self, key: (u64, Digest)) -> Result<Option<Validity>, EngineError> {
        let next = self.driver.tip().height.next().0;
        let Some(candidate) = self.candidates.get_mut(&key).filter(|_| key.0 == next) else { return Ok(None) };
        if candidate.verdict.is_none() {
            candidate.verdict = Some(match self.driver.execute(&candidate.block) {
                Err(InvalidBlock::State(error)) => return Err(error.into()),
                Err(reason) => {
                    tracing::warn!(height = key.0, value = %key.1, %reason, "block.invalid");
                    Err(reason)
                }
                executed => executed,
            });
        }
        Ok(candidate.verdict.as_ref().map(|verdict| Validity::from_bool(verdict.is_ok())))
    }

    /// What the library is told of a candidate as announced by `init`. Beyond execution: the header's time must not
    /// be ahead of our clock, and a first proposal must carry its proposer's own header. An old time is no fault: a
    /// block that was locked in an earlier round keeps its time however long agreement takes.
    fn proposed(
        &mut self,
        key: (u64, Digest),
        init: &SignedInit,
    ) -> Result<Option<ProposedValue<Consensus>>, EngineError> {
        let Some(mut validity) = self.judge(key)? else { return Ok(None) };
        let Some(header) = self.candidates.get(&key).map(|c| &c.block.header) else { return Ok(None) };
        let init = &init.init;
        let drift = u64::try_from(self.setup.max_clock_drift.as_millis()).unwrap_or(u64::MAX);
        let ahead = header.time_ms > now_ms().saturating_add(drift);
        let foreign = init.valid_round.is_none() && header.proposer != init.proposer;
        if ahead || foreign {
            let reason =
                if ahead { "its time is ahead of this node's clock" } else { "its header names another proposer" };
            tracing::warn!(height = key.0, value = %key.1, reason, "block.refused");
            validity = Validity::Invalid;
        }
        Ok(Some(ProposedValue {
            height: Height(key.0),
            round: Round::new(init.round),
            valid_round: init.valid_round.map_or(Round::Nil, Round::new),
            proposer: Address(init.proposer),
            value: Value(key.1),
            validity,
        }))
    }

    /// Everything announced for a round so far, also before a crash.
    fn seen(&mut self, height: Height, round: u32) -> Result<Vec<ProposedValue<Consensus>>, EngineError> {
        let announced: Vec<(Digest, SignedInit)> = self
            .at_height(height.0)
            .flat_map(|(value, c)| c.inits.iter().filter(|s| s.init.round == round).map(move |s| (value, s.clone())))
            .collect();
        let mut values = Vec::new();
        for (value, init) in announced {
            values.extend(self.proposed((height.0, value), &init)?);
        }
        Ok(values)
    }

    fn at_height(&self, height: u64) -> impl Iterator<Item = (Digest, &Candidate)> {
        let range = (height, Digest::ZERO)..=(height, Digest([0xff; 32]));
        self.candidates.range(range).map(|((_, value), candidate)| (*value, candidate))
    }

    /// The value to propose: the one already proposed in this round, or a new block, durable before it is named.
    fn propose(&mut self, height: Height, round: Round) -> Result<Option<(Digest, SignedInit)>, EngineError> {
        let (Some(key), Some(number)) = (self.setup.key.clone(), round.as_u32()) else { return Ok(None) };
        let me = self.setup.me;
        let earlier = self
            .at_height(height.0)
            .flat_map(|(value, c)| c.inits.iter().map(move |signed| (value, signed)))
            .find(|(_, signed)| signed.init.round == number && signed.init.proposer == me)
            .map(|(value, signed)| (value, signed.clone()));
        if earlier.is_some() {
            return Ok(earlier);
        }
        if height.0 != self.driver.tip().height.next().0 {
            tracing::warn!(height = height.0, "asked to propose a height that does not follow the last commit");
            return Ok(None);
        }
        let candidates = self.setup.mempool.candidates(BLOCK_LIMITS);
        let (block, executed) = self.driver.propose(me, now_ms(), candidates)?;
        let (value, bytes) = (block.header.hash(), encode_block(&block));
        let place = (height.0, number, None);
        let Some(init) = SignedInit::sign(self.setup.chain, &key, place, value, &bytes) else { return Ok(None) };
        self.keep(block, bytes, vec![init.clone()], Some(Ok(executed)))?;
        Ok(Some((value, init)))
    }

    /// Makes a candidate durable, or adds announcements to the one at hand. Returns its key.
    fn keep(
        &mut self,
        block: Block,
        bytes: Vec<u8>,
        inits: Vec<SignedInit>,
        verdict: Option<Result<Executed, InvalidBlock>>,
    ) -> Result<(u64, Digest), EngineError> {
        let key = (block.header.height.0, block.header.hash());
        let fresh = !self.candidates.contains_key(&key);
        let candidate =
            self.candidates.entry(key).or_insert_with(|| Candidate { block, bytes, inits: Vec::new(), verdict: None });
        let before = candidate.inits.len();
        for init in inits {
            if !candidate.inits.contains(&init) {
                candidate.inits.push(init);
            }
        }
        if verdict.is_some() {
            candidate.verdict = verdict;
        }
        if fresh || candidate.inits.len() > before {
            let undecided = Undecided { bytes: candidate.bytes.clone(), inits: candidate.inits.clone() };
            self.journal.keep(key.0, &key.1, &undecided)?;
        }
        Ok(key)
    }

    /// A part from the proposal topic. Returns the value if its block is complete and can be judged now.
    fn receive(
        &mut self,
        publisher: &[u8],
        content: StreamContent<Part>,
    ) -> Result<Option<ProposedValue<Consensus>>, EngineError> {
        let assembled = match content {
            StreamContent::Data(Part::Init(signed)) => {
                if let Some(reason) = self.refuse(&signed)? {
                    tracing::debug!(
                        height = signed.init.height,
                        round = signed.init.round,
                        reason,
                        "announcement.refused"
                    );
                    return Ok(None);
                }
                let key = (signed.init.height, signed.init.value);
                if let Some(known) = self.candidates.get(&key) {
                    let (block, bytes) = (known.block.clone(), known.bytes.clone());
                    self.keep(block, bytes, vec![signed.clone()], None)?;
                    return self.proposed(key, &signed);
                }
                self.assembler.announce(signed)
            }
            StreamContent::Data(Part::Piece(piece)) => {
                if self.candidates.contains_key(&(piece.height, piece.value)) {
                    return Ok(None);
                }
                self.assembler.piece(publisher, piece)
            }
            StreamContent::Fin => None,
        };
        let Some(Assembled { inits, bytes }) = assembled else { return Ok(None) };
        let Some(first) = inits.first().cloned() else { return Ok(None) };
        let Some(block) = whole(&bytes, first.init.height, Some(first.init.value)) else {
            tracing::warn!(height = first.init.height, proposer = %first.init.proposer.short(), "block.malformed");
            return Ok(None);
        };
        // If several rounds announced it, the library hears of the others as they start.
        let current = inits.iter().find(|s| s.init.round == self.round).cloned().unwrap_or(first);
        let key = self.keep(block, bytes, inits, None)?;
        self.proposed(key, &current)
    }

    /// Why an announcement is not taken, or nothing.
    fn refuse(&mut self, signed: &SignedInit) -> Result<Option<&'static str>, EngineError> {
        let (init, next) = (&signed.init, self.driver.tip().height.next().0);
        // Validators are known up to two heights past the last commit; a block further ahead comes by sync.
        if init.height < next || init.height > next.saturating_add(1) {
            return Ok(Some("its height is decided or too far ahead"));
        }
        let current = if init.height == next { self.round } else { 0 };
        if init.round > current.saturating_add(MAX_ROUNDS_AHEAD) {
            return Ok(Some("its round is too far ahead"));
        }
        let members = self.members(init.height)?;
        let expected = members.get_by_index(turn(members.count(), init.height, Round::new(init.round)));
        if expected.map(|member| malachite_core::Validator::address(member).0) != Some(init.proposer) {
            return Ok(Some("it is not its proposer's turn"));
        }
        let others = self
            .at_height(init.height)
            .filter(|(value, c)| *value != init.value && c.inits.iter().any(|s| s.init.round == init.round))
            .count();
        if others >= MAX_VALUES_PER_ROUND {
            return Ok(Some("its proposer announced other blocks for this round"));
        }
        Ok(signed.refuse(self.setup.chain))
    }

    /// Sends a known block again: as it was announced for this round, or, if it is our turn to propose it again,
    /// under a new announcement.
    fn restream(
        &mut self,
        height: Height,
        round: Round,
        valid_round: Round,
        address: Address,
        value: Digest,
    ) -> Result<(), EngineError> {
        let (Some(candidate), Some(number)) = (self.candidates.get(&(height.0, value)), round.as_u32()) else {
            return Ok(());
        };
        if let Some(init) = candidate.inits.iter().find(|s| s.init.round == number).cloned() {
            self.publish(height, value, &init);
            return Ok(());
        }
        let Some(key) = self.setup.key.clone().filter(|_| address.0 == self.setup.me) else { return Ok(()) };
        let (block, bytes) = (candidate.block.clone(), candidate.bytes.clone());
        let place = (height.0, number, valid_round.as_u32());
        if let Some(init) = SignedInit::sign(self.setup.chain, &key, place, value, &bytes) {
            self.keep(block, bytes, vec![init.clone()], None)?;
            self.publish(height, value, &init);
        }
        Ok(())
    }

    /// Sends announcement and pieces. A closed channel means that the library is stopping.
    fn publish(&mut self, height: Height, value: Digest, init: &SignedInit) {
        let Some(candidate) = self.candidates.get(&(height.0, value)) else { return };
        // A stream's name is new each time, or the gossip would take a repetition for a duplicate.
        self.streams = self.streams.wrapping_add(1);
        let name =
            [&height.0.to_be_bytes()[..], &self.setup.me.0[..8], &self.streams.to_be_bytes(), &now_ms().to_be_bytes()];
        let stream = StreamId::new(name.concat().into());
        for (sequence, part) in (0u64..).zip(init.parts(&candidate.bytes)) {
            let message = StreamMessage::new(stream.clone(), sequence, StreamContent::Data(part));
            if self.network.blocking_send(NetworkMsg::PublishProposalPart(message)).is_err() {
                return;
            }
        }
    }

    /// Commits a decision. One that is committed already is the library replaying its log.
    fn decide(&mut self, certificate: &malachite_core::CommitCertificate<Consensus>) -> Result<(), EngineError> {
        let key = (certificate.height.0, certificate.value_id);
        let height = parallax_primitives::Height(key.0);
        if height <= self.driver.tip().height {
            return Ok(());
        }
        self.judge(key)?;
        let Some(Candidate { block, verdict: Some(verdict), .. }) = self.candidates.remove(&key) else {
            return Err(EngineError::MissingBlock { height, value: key.1 });
        };
        let executed = verdict.map_err(|reason| EngineError::InvalidDecision { height, reason })?;
        let forget = self.journal.forget(key.0)?;
        let committed = self.driver.commit(block, certificate_from(certificate), executed, forget)?;
        self.candidates.retain(|(h, _), _| *h > key.0);
        self.members.retain(|h, _| *h > key.0);
        self.assembler.forget(key.0);
        let (txs, root) = (committed.block.transactions.len(), committed.app_hash.short());
        tracing::info!(height = key.0, round = certificate.round.as_i64(), txs, root, "block.commit");
        self.setup.mempool.committed(height, &committed.block.transactions);
        self.setup.tip.send_replace(self.driver.tip());
        // Nobody listening is no fault.
        let _ = self.setup.committed.send(Arc::new(committed));
        Ok(())
    }

    /// Hands double signs on. They reach the ledger in a transaction, because other nodes may not have seen them.
    fn report(&self, height: Height, evidence: &malachite_consensus::MisbehaviorEvidence<Consensus>) {
        let guilty: std::collections::BTreeSet<NodeId> =
            evidence.votes.iter().map(|(a, _)| a.0).chain(evidence.proposals.iter().map(|(a, _)| a.0)).collect();
        for validator in guilty {
            tracing::warn!(height = height.0, validator = %validator.short(), "validator.double_sign");
            let height = parallax_primitives::Height(height.0);
            let _ = self.setup.evidence.send(ConsensusEvidence { validator, height });
        }
    }

    /// Decided blocks for a peer that is behind.
    fn decided(&self, first: Height, last: Height) -> Result<Vec<RawDecidedValue<Consensus>>, EngineError> {
        let mut values = Vec::new();
        let last = last.0.min(self.driver.tip().height.0).min(first.0.saturating_add(MAX_SYNC_BATCH as u64 - 1));
        for height in (first.0..=last).map(parallax_primitives::Height) {
            let blocks = self.driver.blocks();
            let (Some(bytes), Some(ours)) = (blocks.block_bytes(height)?, blocks.certificate(height)?) else { break };
            let Some(certificate) = certificate_to(&ours) else { break };
            values.push(RawDecidedValue::new(bytes.into(), certificate));
        }
        Ok(values)
    }

    /// A decided block from a peer; the library has verified its certificate. Its time is not judged: others did.
    /// It is made durable too, because after a crash the library may decide it from its log without asking again.
    fn synced(
        &mut self,
        height: Height,
        round: Round,
        proposer: Address,
        bytes: Vec<u8>,
    ) -> Result<SyncedValueOutcome<Consensus>, EngineError> {
        if height.0 != self.driver.tip().height.next().0 {
            return Ok(SyncedValueOutcome::LocalTransientError);
        }
        let Some(block) = whole(&bytes, height.0, None) else { return Ok(SyncedValueOutcome::PeerFault) };
        let key = self.keep(block, bytes, Vec::new(), None)?;
        let Some(validity) = self.judge(key)? else { return Ok(SyncedValueOutcome::LocalTransientError) };
        Ok(SyncedValueOutcome::Verdict(ProposedValue {
            height,
            round,
            valid_round: Round::Nil,
            proposer,
            value: Value(key.1),
            validity,
        }))
    }
}

/// A block from bytes, if its header has this height (and hash) and its transactions are those of its header. The
/// last matters before anything is kept under the header's hash: other transactions under the same header would make
/// a good value look invalid.
fn whole(bytes: &[u8], height: u64, value: Option<Digest>) -> Option<Block> {
    let block = decode_block(bytes).ok()?;
    let header = &block.header;
    let matches = header.height.0 == height
        && value.is_none_or(|value| header.hash() == value)
        && header.transactions_root == transactions_root(&block.transactions);
    matches.then_some(block)
}
