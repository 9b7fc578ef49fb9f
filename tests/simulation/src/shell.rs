//! A node's shell under virtual time: what [`parallax_worker::Worker`] does with tasks and threads, as events. The
//! state machine, the result store, the journal, the pool, the outbox and the steps between two waits are the node's
//! own code; this file is only the order in which they are called, durable things first, with a crash point before and
//! after each step.

use crate::network::Message;
use crate::node::{BatchFetch, Done, Fetched, Order, Pending, ResultFetch, ResultPart, Stop, Task};
use crate::world::{Event, World, price};
use parallax_consensus_app::tx::{Call, Transaction};
use parallax_primitives::{Address, Digest, Gas, Height, Round, limits};
use parallax_rounds::{Evidence, ParaTimeBlock, SignedCommitment, SignedProposal, Statement};
use parallax_runtime::{Abort, Replay, RoundContext};
use parallax_state::StateError;
use parallax_worker::event::{Dispute, WorkerEvent};
use parallax_worker::{Action, CrashStep, Journal, PeerRequest, PeerResponse, StateFetch, Step, Where, Work, steps};
use std::collections::BTreeSet;

/// How long a node waits for a peer, milliseconds of its clock.
const ANSWER_MS: u64 = 700;
/// The pause before peers are asked again.
const RETRY_MS: u64 = 500;
/// Most heights between the newest block and the one up to which an outbox was told.
const MAX_TOLD: u64 = 10_000;

impl World {
    /// Passes a crash point.
    pub(crate) fn pass(&mut self, node: usize, place: Where, step: CrashStep) -> Result<(), Stop> {
        let Some(n) = self.nodes.get_mut(node) else { return Ok(()) };
        let count = n.passed.entry((place, step)).or_default();
        *count = count.saturating_add(1);
        let count = *count;
        let planned = !self.quiet
            && self
                .scenario
                .crashes
                .iter()
                .any(|c| c.node == node && c.place == place && c.step == step && c.at == count);
        if planned { Err(Stop::At(place, step)) } else { Ok(()) }
    }

    /// Reads the chain anew, as far as its blocks have reached this node.
    pub(crate) fn look(&mut self, node: usize) -> Result<(), Stop> {
        let Some(height) = self.nodes.get(node).map(|n| n.seen) else { return Ok(()) };
        let Some(view) = self.chain.round_view(&self.parties, height) else { return Ok(()) };
        self.attack_on_block(node, &view);
        self.handle(node, WorkerEvent::Block(Box::new(view)))?;
        for statement in self.said_in_blocks(node, height) {
            self.handle(node, WorkerEvent::Heard(Box::new(statement)))?;
        }
        self.look_for_work(node)?;
        self.flush(node)
    }

    /// What members said in the transactions of the blocks that this node has not looked through yet.
    fn said_in_blocks(&self, node: usize, until: Height) -> Vec<Statement> {
        let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) else { return Vec::new() };
        let (mut at, mut said) = (run.told, Vec::new());
        while at < until {
            at = at.next();
            let transactions = self.chain.made(at).map_or(&[][..], |made| &made.block.transactions);
            for transaction in transactions.iter().filter_map(|tx| Transaction::decode(tx).ok()) {
                match &transaction.signed().body.call {
                    Call::Announce { proposal, .. } => said.push(Statement::Proposal(proposal.clone())),
                    Call::Commit { commitments, .. } => {
                        said.extend(commitments.iter().cloned().map(Statement::Commitment));
                    }
                    _ => {}
                }
            }
        }
        said
    }

    /// Looks whether there is work.
    pub(crate) fn look_for_work(&mut self, node: usize) -> Result<(), Stop> {
        let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) else { return Ok(()) };
        let count = run.pool.ready();
        let snapshot = run.results.snapshot(run.core.applied())?;
        let queued = self.runtime.has_work(&snapshot).unwrap_or(false);
        let work = Work { waiting: count > 0 || queued, queued, full: queued || count >= limits::MAX_BATCH_TXS };
        self.handle(node, WorkerEvent::Work(work))
    }

    /// Gives the state machine an event and carries out what follows.
    pub(crate) fn handle(&mut self, node: usize, event: WorkerEvent) -> Result<(), Stop> {
        let Some(run) = self.nodes.get_mut(node).and_then(|n| n.running.as_mut()) else { return Ok(()) };
        let Step { persist, then } = run.core.apply(event);
        if !persist.is_empty() {
            self.pass(node, Where::Before, CrashStep::Persist)?;
            if let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) {
                run.journal.append(&persist)?;
            }
            self.pass(node, Where::After, CrashStep::Persist)?;
        }
        for action in then {
            self.perform(node, action)?;
        }
        Ok(())
    }

    fn perform(&mut self, node: usize, action: Action) -> Result<(), Stop> {
        match action {
            Action::Propose { context, limit } => self.spawn(node, 5, Task::Plan { context, limit }),
            Action::PublishProposal(signed) => self.spawn(node, 1, Task::Publish(signed)),
            Action::SubmitAnnounce(signed) => self.spawn(node, 1, Task::Announce(signed)),
            Action::SubmitCommitment(vote) => self.spawn(node, 1, Task::Commit(vote)),
            Action::SubmitEvidence(evidence) => return self.report(node, evidence),
            Action::FetchTransactions(signed) => {
                let token = self.begin_job(node, signed.proposal.digest());
                self.spawn(node, 1, Task::FetchBatch(BatchFetch { signed, token, peers: Vec::new() }));
            }
            Action::StartExecution { proposal, context, dispute } => {
                self.start_execution(node, proposal, context, dispute);
            }
            Action::CompareTraces(dispute) => self.spawn(node, 1, Task::Compare(dispute)),
            Action::Cancel { proposal } => {
                self.pass(node, Where::Before, CrashStep::Cancel)?;
                if let Some(run) = self.nodes.get_mut(node).and_then(|n| n.running.as_mut()) {
                    run.jobs.remove(&proposal);
                }
                return self.pass(node, Where::After, CrashStep::Cancel);
            }
            Action::CommitState { round } => {
                if let Some(run) = self.nodes.get_mut(node).and_then(|n| n.running.as_mut()) {
                    run.jobs.clear();
                }
                self.spawn(node, 5, Task::CommitState(round));
            }
            Action::FetchResult { round } => self.spawn(node, 1, Task::FetchResult(round)),
            Action::FetchState { round } => {
                if let Some(run) = self.nodes.get_mut(node).and_then(|n| n.running.as_mut()) {
                    run.jobs.clear();
                }
                self.say(node, || format!("is behind what peers keep, fetches the state after round {round}"));
                self.spawn(node, 1, Task::FetchState(round));
            }
            Action::Prune { before } => self.spawn(node, 5, Task::Prune(before)),
        }
        Ok(())
    }

    /// Lets a task begin within so many milliseconds: tasks of one step begin in any order.
    fn spawn(&mut self, node: usize, within_ms: u64, task: Task) {
        let delay = self.rng.range(0, within_ms);
        self.schedule(node, delay, task);
    }

    pub(crate) fn schedule(&mut self, node: usize, delay: u64, task: Task) {
        let Some(life) = self.nodes.get(node).map(|n| n.life) else { return };
        self.after(delay, Event::Task { node, life, task: Box::new(task) });
    }

    /// Work on a proposal begins; work on it from before is void.
    fn begin_job(&mut self, node: usize, proposal: Digest) -> u64 {
        let token = self.fresh_id();
        if let Some(run) = self.nodes.get_mut(node).and_then(|n| n.running.as_mut()) {
            run.jobs.insert(proposal, token);
        }
        token
    }

    pub(crate) fn is_wanted(&self, node: usize, proposal: &Digest, token: u64) -> bool {
        let run = self.nodes.get(node).and_then(|n| n.running.as_ref());
        run.is_some_and(|run| run.jobs.get(proposal) == Some(&token))
    }

    fn start_execution(
        &mut self,
        node: usize,
        signed: SignedProposal,
        context: RoundContext,
        dispute: Option<Dispute>,
    ) {
        let digest = signed.proposal.digest();
        if let Some(abort) = self.refuses(node, &signed) {
            return self.spawn(node, 5, Task::Refuse { proposal: digest, abort });
        }
        let token = self.begin_job(node, digest);
        let max_gas = self.scenario.rounds.max_batch_gas;
        let per_pbs = match self.quiet {
            true => 0,
            false => self.scenario.machines.get(node).map_or(0, |m| m.ms_per_pbs),
        };
        let delay = (signed.proposal.gas.0 / 1_000).saturating_mul(per_pbs).saturating_add(self.rng.range(1, 20));
        let order = Order { signed, context, token, max_gas, prefix: Vec::new() };
        match dispute.filter(|d| d.needed().is_some()) {
            Some(dispute) => self.schedule(node, 1, Task::Resume { dispute, order }),
            None => self.schedule(node, delay, Task::Execute(order)),
        }
    }

    /// Runs a task between its crash points.
    pub(crate) fn task(&mut self, node: usize, task: Task) -> Result<(), Stop> {
        let step = task.step();
        self.pass(node, Where::Before, step)?;
        match task {
            Task::Plan { context, limit } => self.plan(node, &context, limit)?,
            Task::Publish(signed) => self.publish(node, signed),
            Task::Announce(signed) => self.announce(node, signed)?,
            Task::Commit(vote) => self.commit(node, vote)?,
            Task::FetchBatch(fetch) => self.fetch_batch(node, fetch)?,
            Task::Execute(order) => self.execute(node, &order)?,
            Task::Resume { dispute, order } => self.inquire(node, dispute, Some(order))?,
            Task::Compare(dispute) => self.inquire(node, dispute, None)?,
            Task::CommitLate(vote) => self.bring(node, vote)?,
            Task::Refuse { proposal, abort } => self.handle(node, WorkerEvent::Aborted { proposal, abort })?,
            Task::CommitState(round) => self.commit_state(node, round)?,
            Task::FetchResult(round) => self.fetch_result(node, round, false)?,
            Task::FetchState(round) => self.fetch_result(node, round, true)?,
            Task::Prune(before) => {
                if let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) {
                    run.results.prune(before)?;
                }
            }
        }
        self.pass(node, Where::After, step)
    }

    fn plan(&mut self, node: usize, context: &RoundContext, limit: Gas) -> Result<(), Stop> {
        let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) else { return Ok(()) };
        let planned = steps::plan(&run.results, &*self.runtime, run.pool.candidates(), context, limit);
        if let Err(abort) = &planned {
            self.log.count("plan refused");
            self.say(node, || format!("cannot plan round {}: {abort}", context.round));
            // A failed disk is the process's end, as in the worker's shell, when the next write fails.
        }
        let batch = self.twist_plan(node, planned.ok());
        self.handle(node, WorkerEvent::Planned { round: context.round, batch })
    }

    fn publish(&mut self, node: usize, signed: SignedProposal) {
        for (to, signed) in self.twist_publication(node, signed) {
            self.note_proposal(node, &signed);
            self.send(node, to, Message::Proposal(signed));
        }
    }

    fn announce(&mut self, node: usize, signed: SignedProposal) -> Result<(), Stop> {
        let Some(signed) = self.twist_announcement(node, signed) else { return Ok(()) };
        self.note_proposal(node, &signed);
        let round = signed.proposal.round;
        let (digest, name) = (signed.proposal.digest(), self.proposal_name(&signed));
        self.say(node, || format!("announces {name}: {} transactions", signed.proposal.transactions.len()));
        self.checks.proposals.insert(digest, signed.clone());
        let call = Call::Announce { paratime: self.parties.paratime, proposal: signed };
        self.call(node, round, call)
    }

    fn commit(&mut self, node: usize, vote: SignedCommitment) -> Result<(), Stop> {
        for vote in self.twist_commitment(node, vote) {
            self.bring(node, vote)?;
        }
        Ok(())
    }

    /// Brings a commitment on chain.
    fn bring(&mut self, node: usize, vote: SignedCommitment) -> Result<(), Stop> {
        self.note_commitment(node, &vote);
        let round = vote.commitment.round;
        let text = self.vote_name(&vote);
        self.say(node, || format!("commits in round {round}: {text}"));
        let call = Call::Commit { paratime: self.parties.paratime, commitments: vec![vote] };
        self.call(node, round, call)
    }

    /// Brings evidence on chain; nothing of it is lost that another node could not find too.
    fn report(&mut self, node: usize, evidence: Box<Evidence>) -> Result<(), Stop> {
        let Ok(offence) = evidence.offence() else { return Ok(()) };
        let name = self.parties.name(&offence.node);
        self.say(node, || format!("reports {name} for two {} in round {}", evidence.kind(), offence.round));
        self.log.count("evidence reported");
        let call = Call::SubmitEvidence { paratime: self.parties.paratime, evidence };
        let price = price(&call, &self.chain.parameters);
        if let Some(run) = self.nodes.get_mut(node).and_then(|n| n.running.as_mut()) {
            run.outbox.push(call, price);
        }
        self.flush(node)
    }

    /// Puts a call into the node's outbox; what an earlier round wanted on chain is of no use any more.
    pub(crate) fn call(&mut self, node: usize, round: Round, call: Call) -> Result<(), Stop> {
        let price = price(&call, &self.chain.parameters);
        if let Some(run) = self.nodes.get_mut(node).and_then(|n| n.running.as_mut()) {
            run.outbox.retain(|call| !is_of_earlier_round(call, round));
            run.outbox.push(call, price);
        }
        self.flush(node)
    }

    /// Signs and sends what is due.
    fn flush(&mut self, node: usize) -> Result<(), Stop> {
        let Some(n) = self.nodes.get_mut(node) else { return Ok(()) };
        let (height, address) = (n.seen, Address::of(&n.key.public()));
        let Some(run) = n.running.as_mut() else { return Ok(()) };
        let mut included = BTreeSet::new();
        let mut steps = 0u64;
        while run.told < height && steps < MAX_TOLD {
            run.told = run.told.next();
            steps = steps.saturating_add(1);
            if let Some(made) = self.chain.made(run.told) {
                included.extend(made.digests.iter().copied());
            }
        }
        if run.outbox.is_empty() {
            return Ok(());
        }
        let nonce = self.chain.nonce(height, &address)?;
        for bytes in run.outbox.due(height, nonce, &included) {
            self.send_to_chain(node, &bytes);
        }
        Ok(())
    }

    /// A gossiped proposal arrives. The node's own filter looks at form and signature; the state machine at the rest.
    pub(crate) fn proposal(&mut self, node: usize, signed: SignedProposal) -> Result<(), Stop> {
        if !signed.verify(self.parties.chain, self.parties.paratime) {
            self.log.count("gossip refused");
            return Ok(());
        }
        self.handle(node, WorkerEvent::ProposalReceived(signed))
    }

    /// A transaction of the ParaTime arrives: from a client, then it is gossiped, or from a peer.
    pub(crate) fn admit(&mut self, node: usize, bytes: Vec<u8>, from_client: bool) -> Result<(), Stop> {
        let Some(n) = self.nodes.get_mut(node) else { return Ok(()) };
        let fhe = from_client.then_some(&*n.fhe);
        let Some(run) = n.running.as_mut() else { return Ok(()) };
        match run.admit(&self.parties.chain, &*self.runtime, &bytes, fhe) {
            Ok(()) => {}
            Err(_) => {
                self.log.count("transaction not pooled");
                return Ok(());
            }
        }
        if from_client {
            for to in 0..self.nodes.len() {
                if to != node {
                    self.send(node, to, Message::Transaction(bytes.clone()));
                }
            }
        }
        self.look_for_work(node)
    }

    /// Answers a peer.
    pub(crate) fn serve(
        &mut self,
        node: usize,
        from: usize,
        life: u64,
        id: u64,
        request: &PeerRequest,
    ) -> Result<(), Stop> {
        let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) else { return Ok(()) };
        // A read that fails is an answer that does not come.
        let Ok(response) = run.results.serve(request) else { return Ok(()) };
        let Some(response) = self.twist_answer(node, response) else { return Ok(()) };
        self.send(node, from, Message::Response { life, id, response: Some(response) });
        Ok(())
    }

    /// Asks a peer; the answer, or its absence, comes back to [`World::answered`].
    pub(crate) fn ask(&mut self, node: usize, peer: usize, request: PeerRequest, pending: Pending) {
        let id = self.fresh_id();
        let timeout = self.local(node, ANSWER_MS);
        let Some(n) = self.nodes.get_mut(node) else { return };
        let life = n.life;
        if let Some(run) = n.running.as_mut() {
            run.pending.insert(id, pending);
        }
        self.log.count("peer asked");
        self.send(node, peer, Message::Request { from: node, life, id, request });
        self.after(timeout, Event::Timeout { node, life, id });
    }

    pub(crate) fn answered(&mut self, node: usize, id: u64, answer: Option<PeerResponse>) -> Result<(), Stop> {
        let run = self.nodes.get_mut(node).and_then(|n| n.running.as_mut());
        match run.and_then(|run| run.pending.remove(&id)) {
            None => Ok(()),
            Some(Pending::Batch(fetch)) => self.batch_answered(node, *fetch, answer),
            Some(Pending::Result(fetch)) => self.result_answered(node, *fetch, answer),
            Some(Pending::Dispute(inquiry)) => self.dispute_answered(node, *inquiry, answer),
        }
    }

    /// Everyone but this node, `first` last, because the last one is asked first.
    fn peers(&self, node: usize, first: Option<usize>) -> Vec<usize> {
        let mut peers: Vec<usize> = self.parties.index.values().copied().filter(|p| *p != node).collect();
        peers.reverse();
        if let Some(first) = first.filter(|f| *f != node) {
            peers.retain(|p| *p != first);
            peers.push(first);
        }
        peers
    }

    fn fetch_batch(&mut self, node: usize, mut fetch: BatchFetch) -> Result<(), Stop> {
        let (digest, proposal) = (fetch.signed.proposal.digest(), &fetch.signed.proposal);
        if !self.is_wanted(node, &digest, fetch.token) {
            return Ok(());
        }
        let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) else { return Ok(()) };
        let held = match run.results.batch(proposal.round, &proposal.batch_root)? {
            Some(held) => Some(held),
            None => proposal.transactions.iter().map(|d| run.pool.get(d).map(<[u8]>::to_vec)).collect(),
        };
        if let Some(transactions) = held {
            return self.have_batch(node, &fetch, &transactions);
        }
        let scheduler = self.parties.index.get(&proposal.scheduler).copied();
        fetch.peers = self.peers(node, scheduler);
        self.ask_for_batch(node, fetch);
        Ok(())
    }

    fn ask_for_batch(&mut self, node: usize, mut fetch: BatchFetch) {
        let Some(peer) = fetch.peers.pop() else {
            // Nobody has it: again after a pause. The state machine cancels it when the proposal falls.
            let pause = self.local(node, RETRY_MS);
            return self.schedule(node, pause, Task::FetchBatch(fetch));
        };
        let proposal = &fetch.signed.proposal;
        let request = PeerRequest::Batch { round: proposal.round, batch_root: proposal.batch_root };
        self.ask(node, peer, request, Pending::Batch(Box::new(fetch)));
    }

    fn batch_answered(&mut self, node: usize, fetch: BatchFetch, answer: Option<PeerResponse>) -> Result<(), Stop> {
        if !self.is_wanted(node, &fetch.signed.proposal.digest(), fetch.token) {
            return Ok(());
        }
        match steps::batch_of(&fetch.signed, answer) {
            Ok(Some(transactions)) => {
                self.log.count("batch fetched");
                self.have_batch(node, &fetch, &transactions)
            }
            Ok(None) => {
                self.ask_for_batch(node, fetch);
                Ok(())
            }
            Err(_) => {
                self.log.count("peer lied about a batch");
                self.ask_for_batch(node, fetch);
                Ok(())
            }
        }
    }

    fn have_batch(&mut self, node: usize, fetch: &BatchFetch, transactions: &[Vec<u8>]) -> Result<(), Stop> {
        let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) else { return Ok(()) };
        run.results.put_batch(fetch.signed.proposal.round, transactions)?;
        self.handle(node, WorkerEvent::TransactionsArrived { proposal: fetch.signed.proposal.digest() })
    }

    fn execute(&mut self, node: usize, order: &Order) -> Result<(), Stop> {
        let (header, round) = (&order.signed.proposal, &order.context);
        let proposal = header.digest();
        if !self.is_wanted(node, &proposal, order.token) {
            return Ok(());
        }
        let Some(n) = self.nodes.get(node) else { return Ok(()) };
        let Some(run) = n.running.as_ref() else { return Ok(()) };
        let known = |digest: &Digest| run.results.blob(digest).ok().flatten();
        let replay = Replay::new(&*n.fhe, &order.prefix, &known);
        let executed = steps::execute(&run.results, &*self.runtime, &replay, header, round, order.max_gas, &|| false);
        let replayed = replay.finish();
        if replayed.replayed > 0 {
            self.log.count("execution resumed");
        }
        if replayed.contradicted.is_some() {
            self.log.count("prefix contradicted");
        }
        let event = match executed {
            Ok((outcome, execution)) => {
                self.pass(node, Where::Before, CrashStep::StoreResult)?;
                if let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) {
                    run.results.put_execution(round.round, proposal, &execution, &replayed)?;
                }
                self.pass(node, Where::After, CrashStep::StoreResult)?;
                self.log.count("executions");
                let done = Done { outcome, messages: execution.messages };
                let Done { outcome, messages } = self.twist_outcome(node, &order.signed, done);
                WorkerEvent::Executed { proposal, outcome, messages }
            }
            Err(abort) => {
                self.log.count(match abort {
                    Abort::InvalidBatch(_) => "execution refused",
                    Abort::Cancelled => "execution cancelled",
                    Abort::Local(_) => "execution failed locally",
                });
                self.say(node, || format!("does not execute round {}: {abort}", round.round));
                match self.pretends(node, &order.signed) {
                    Some(outcome) => WorkerEvent::Executed { proposal, outcome, messages: Vec::new() },
                    None => WorkerEvent::Aborted { proposal, abort },
                }
            }
        };
        self.handle(node, event)
    }

    /// The block of a round, if this node has seen it.
    fn known_block(&self, node: usize, round: Round) -> Option<ParaTimeBlock> {
        let seen = self.nodes.get(node).map_or(Height::ZERO, |n| n.seen);
        self.chain.ended.get(&round).filter(|block| block.height <= seen).cloned()
    }

    fn commit_state(&mut self, node: usize, round: Round) -> Result<(), Stop> {
        let Some(block) = self.known_block(node, round) else {
            return self.handle(node, WorkerEvent::ResultMissing { round });
        };
        let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) else { return Ok(()) };
        let done = match run.results.commit_held(&block) {
            Ok(done) => done,
            Err(error @ StateError::Corrupt { .. }) => {
                if self.checks.sound {
                    self.violation("state", format!("n{node} in round {round}: {error}"));
                }
                return Err(Stop::Disk(error));
            }
            Err(error) => return Err(error.into()),
        };
        match done {
            true => self.applied(node, &block),
            false => self.handle(node, WorkerEvent::ResultMissing { round }),
        }
    }

    /// Tells pool and state machine that a round's state is committed.
    fn applied(&mut self, node: usize, block: &ParaTimeBlock) -> Result<(), Stop> {
        let round = block.round;
        let Some(run) = self.nodes.get_mut(node).and_then(|n| n.running.as_mut()) else { return Ok(()) };
        let executed = run.results.executed(block)?;
        // As in the node, a pool that cannot read keeps what it has.
        drop(run.settle_pool(&self.parties.chain, &*self.runtime, round, &executed));
        self.check_applied(node, block)?;
        self.handle(node, WorkerEvent::Applied { round })?;
        self.look_for_work(node)
    }

    fn fetch_result(&mut self, node: usize, round: Round, whole: bool) -> Result<(), Stop> {
        let Some(block) = self.known_block(node, round) else {
            return self.handle(node, WorkerEvent::FetchFailed { round });
        };
        let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) else { return Ok(()) };
        if whole && run.results.commit_unchanged(&block)? {
            return self.applied(node, &block);
        }
        let peers = self.peers(node, None);
        self.ask_for_result(node, ResultFetch { block, whole, peers, part: ResultPart::Result })
    }

    /// Asks the next peer for the result, or the state, from its beginning.
    fn ask_for_result(&mut self, node: usize, mut fetch: ResultFetch) -> Result<(), Stop> {
        let round = fetch.block.round;
        let Some(peer) = fetch.peers.last().copied() else {
            return self.handle(node, WorkerEvent::FetchFailed { round });
        };
        let (part, request) = match fetch.whole {
            true => {
                let state = StateFetch::new(fetch.block.clone());
                let request = state.request();
                (ResultPart::State(state), request)
            }
            false => (ResultPart::Result, PeerRequest::Result { round, proposal: fetch.block.proposal }),
        };
        fetch.part = part;
        self.ask(node, peer, request, Pending::Result(Box::new(fetch)));
        Ok(())
    }

    fn result_answered(
        &mut self,
        node: usize,
        mut fetch: ResultFetch,
        answer: Option<PeerResponse>,
    ) -> Result<(), Stop> {
        match fetch.part.clone() {
            ResultPart::Result => {
                let Some(giver) = fetch.peers.pop() else { return Ok(()) };
                let Some(result) = steps::result_of(&fetch.block, answer) else {
                    return self.ask_for_result(node, fetch);
                };
                let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) else { return Ok(()) };
                // Committed by another way meanwhile.
                if run.results.applied()?.is_some_and(|applied| applied >= fetch.block.round) {
                    let block = fetch.block;
                    return self.applied(node, &block);
                }
                if !run.results.is_accepted(&fetch.block, &result)? {
                    self.log.count("peer lied about a result");
                    return self.ask_for_result(node, fetch);
                }
                self.fetch_ciphertexts(node, fetch, Fetched::Result(result), giver)
            }
            ResultPart::State(state) => self.state_answered(node, fetch, state, answer),
            ResultPart::Blobs { of, giver, mut missing, mut ask } => {
                let Some(digest) = missing.first().copied() else { return Ok(()) };
                match steps::blob_of(&digest, answer) {
                    Ok(Some(bytes)) => {
                        let run = self.nodes.get(node).and_then(|n| n.running.as_ref());
                        if let Some(run) = run {
                            of.put_blob(&run.results, bytes)?;
                        }
                        self.log.count("ciphertext fetched");
                        missing.remove(0);
                        fetch.part = ResultPart::Blobs { of, giver, missing, ask: Vec::new() };
                        return self.next_blob(node, fetch);
                    }
                    Ok(None) => {}
                    Err(_) => self.log.count("peer sent a corrupt ciphertext"),
                }
                match ask.pop() {
                    // Nobody gives it; what came is kept for the next try.
                    None => self.ask_for_result(node, fetch),
                    Some(peer) => {
                        fetch.part = ResultPart::Blobs { of, giver, missing, ask };
                        self.ask(node, peer, PeerRequest::Blob { digest }, Pending::Result(Box::new(fetch)));
                        Ok(())
                    }
                }
            }
        }
    }

    /// A part of a state came, or did not.
    fn state_answered(
        &mut self,
        node: usize,
        mut fetch: ResultFetch,
        mut state: StateFetch,
        answer: Option<PeerResponse>,
    ) -> Result<(), Stop> {
        let Some(giver) = fetch.peers.last().copied() else { return Ok(()) };
        match state.take(answer) {
            Ok(Some(false)) => {
                let request = state.request();
                fetch.part = ResultPart::State(state);
                self.ask(node, giver, request, Pending::Result(Box::new(fetch)));
                return Ok(());
            }
            Ok(Some(true)) => {
                let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) else { return Ok(()) };
                if let Some(state) = run.results.judge_state(state)? {
                    fetch.peers.pop();
                    return self.fetch_ciphertexts(node, fetch, Fetched::State(state), giver);
                }
                self.log.count("peer lied about a state");
            }
            Ok(None) => {}
            Err(_) => self.log.count("peer lied about a state"),
        }
        fetch.peers.pop();
        self.ask_for_result(node, fetch)
    }

    fn fetch_ciphertexts(
        &mut self,
        node: usize,
        mut fetch: ResultFetch,
        of: Fetched,
        giver: usize,
    ) -> Result<(), Stop> {
        let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) else { return Ok(()) };
        let missing = of.missing(&run.results)?;
        fetch.part = ResultPart::Blobs { of, giver, missing, ask: Vec::new() };
        self.next_blob(node, fetch)
    }

    /// Asks for the next ciphertext, or commits when all are here.
    fn next_blob(&mut self, node: usize, mut fetch: ResultFetch) -> Result<(), Stop> {
        let ResultPart::Blobs { of, giver, missing, .. } = &fetch.part else { return Ok(()) };
        if let Some(digest) = missing.first().copied() {
            let (of, giver, missing) = (of.clone(), *giver, missing.clone());
            let mut ask = self.peers(node, Some(giver));
            let Some(peer) = ask.pop() else { return self.ask_for_result(node, fetch) };
            fetch.part = ResultPart::Blobs { of, giver, missing, ask };
            self.ask(node, peer, PeerRequest::Blob { digest }, Pending::Result(Box::new(fetch)));
            return Ok(());
        }
        let Some(run) = self.nodes.get(node).and_then(|n| n.running.as_ref()) else { return Ok(()) };
        if of.commit(&run.results, &fetch.block)? {
            self.log.count(of.name());
            let block = fetch.block;
            return self.applied(node, &block);
        }
        self.ask_for_result(node, fetch)
    }
}

fn is_of_earlier_round(call: &Call, round: Round) -> bool {
    match call {
        Call::Announce { proposal, .. } => proposal.proposal.round < round,
        Call::Commit { commitments, .. } => commitments.iter().all(|c| c.commitment.round < round),
        _ => false,
    }
}
