//! The run: virtual time, the queue of events, and what each event does.

use crate::chain::Chain;
use crate::check::Checks;
use crate::clients::Clients;
use crate::log::Log;
use crate::network::{End, Message, Network};
use crate::node::{Node, Stop, Task};
use crate::parties::Parties;
use crate::rng::Rng;
use crate::scenario::{BLOCK_MS, Byzantine, Scenario};
use parallax_consensus_app::beacon;
use parallax_consensus_app::outbox::{Outbox, Price};
use parallax_consensus_app::tx::{Call, tx_digest};
use parallax_memory_store::FaultPlan;
use parallax_primitives::{Address, Amount, Digest, Domain, Epoch, Height, encode};
use parallax_runtime::ParaTime;
use parallax_scheduler::Scheduler;
use parallax_worker::WorkerConfig;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most events of one run: far more than any honest one has, so a run that does not end is a finding.
const MAX_EVENTS: u64 = 3_000_000;
/// Of how many seeds one has its chain executed again: it costs a seventh of a run, and is the ledger's determinism
/// alone.
const AGAIN_EVERY: u64 = 4;
/// Bytes of a transaction besides its call.
const ENVELOPE_BYTES: usize = 129;
/// Blocks after which a proposal or commitment that is not on chain is submitted again.
const RESUBMIT_BLOCKS: u64 = 3;

/// What can happen.
pub(crate) enum Event {
    /// The next block is made.
    Block,
    /// A block reaches a node.
    Seen { node: usize, height: Height },
    /// A message reaches a node.
    Deliver { to: usize, message: Message },
    /// A transaction reaches the chain's pool; `from` hears if it is refused.
    Submit { from: Option<usize>, bytes: Vec<u8> },
    /// A task of a node's life begins, or goes on.
    Task { node: usize, life: u64, task: Box<Task> },
    /// A question was not answered in time.
    Timeout { node: usize, life: u64, id: u64 },
    /// A node is started again.
    Restart { node: usize },
    /// A node is killed.
    Kill { node: usize },
    /// A disk begins to fail.
    Disk { plan: usize },
    /// A client acts.
    Client,
    /// A client's transaction reaches a node, as a call of its interface.
    Submission { to: usize, bytes: Vec<u8> },
    /// Faults stop.
    Quiet,
}

pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) parties: Parties,
    pub(crate) rng: Rng,
    pub(crate) now: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Event>,
    pub(crate) chain: Chain,
    pub(crate) nodes: Vec<Node>,
    validators: Vec<(Outbox, Epoch)>,
    pub(crate) network: Network,
    pub(crate) clients: Clients,
    pub(crate) checks: Checks,
    pub(crate) log: Log,
    pub(crate) runtime: Arc<dyn ParaTime>,
    pub(crate) quiet: bool,
    /// Tokens of jobs and ids of requests.
    pub(crate) next_id: u64,
    genesis_root: Digest,
}

impl World {
    pub(crate) fn new(scenario: Scenario, transcript: bool) -> Result<Self, String> {
        let parties = Parties::new(&scenario);
        let (store, genesis_root) = parties.genesis_store().map_err(|e| e.to_string())?;
        let chain = Chain::new(&parties, &scenario, genesis_root)?;
        let nodes: Result<Vec<Node>, _> =
            (0..scenario.machines.len()).map(|n| Node::new(&parties, n, scenario.kind(n))).collect();
        let runtime: Arc<dyn ParaTime> = Arc::new(Scheduler::new(parties.paratime));
        let mut rng = Rng::new(scenario.seed);
        let clients = Clients::new(&parties, &scenario, rng.fork());
        let checks = Checks::new(&parties, store).map_err(|e| e.to_string())?;
        let validators =
            parties.validators.iter().map(|v| (Outbox::new(parties.chain, v.node.clone()), Epoch::ZERO)).collect();
        let network = Network::new(scenario.links);
        let mut world = Self {
            scenario,
            parties,
            rng,
            now: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            chain,
            nodes: nodes.map_err(|e| e.to_string())?,
            validators,
            network,
            clients,
            checks,
            log: Log::new(transcript),
            runtime,
            quiet: false,
            next_id: 0,
            genesis_root,
        };
        world.begin();
        Ok(world)
    }

    fn begin(&mut self) {
        self.introduce();
        for node in 0..self.nodes.len() {
            self.start(node);
        }
        self.after(BLOCK_MS, Event::Block);
        self.after(100, Event::Client);
        for (node, at) in self.scenario.kills.clone() {
            self.after(at, Event::Kill { node });
        }
        for plan in 0..self.scenario.disks.len() {
            let at = self.scenario.disks.get(plan).map_or(0, |p| p.from_ms);
            self.after(at, Event::Disk { plan });
        }
        self.after(self.scenario.quiet_from_ms(), Event::Quiet);
    }

    /// The first lines of the transcript.
    fn introduce(&mut self) {
        let (s, now) = (self.scenario.clone(), self.now);
        let r = &s.rounds;
        self.log.say(now, 0, "seed", || {
            format!(
                "{}: {} nodes, W {} B {} S {}, epochs of {} blocks, faults for {} blocks{}{}",
                s.seed,
                s.machines.len(),
                r.workers,
                r.backups,
                r.allowed_stragglers,
                s.epoch_blocks,
                s.fault_blocks,
                if s.calm { ", calm" } else { "" },
                if s.beyond { ", beyond the assumption" } else { "" },
            )
        });
        for (node, kind) in &s.byzantine {
            self.log.say(now, 0, &format!("n{node}"), || format!("is Byzantine: {kind}"));
            self.log.count(&format!("byzantine {kind}"));
        }
    }

    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.sequence = self.sequence.saturating_add(1);
        self.queue.insert((self.now.saturating_add(delay), self.sequence), event);
    }

    pub(crate) fn fresh_id(&mut self) -> u64 {
        self.next_id = self.next_id.saturating_add(1);
        self.next_id
    }

    pub(crate) fn height(&self) -> Height {
        self.chain.height()
    }

    /// How a node misbehaves now.
    pub(crate) fn kind(&self, node: usize) -> Option<Byzantine> {
        self.nodes.get(node).and_then(|n| n.kind)
    }

    /// Whether the checkers hold a node for honest.
    pub(crate) fn is_honest(&self, node: usize) -> bool {
        !self.scenario.listed || self.scenario.kind(node).is_none()
    }

    pub(crate) fn say(&mut self, who: usize, text: impl FnOnce() -> String) {
        let height = self.chain.height().0;
        self.log.say(self.now, height, &format!("n{who}"), text);
    }

    pub(crate) fn violation(&mut self, checker: &'static str, what: String) {
        let height = self.chain.height().0;
        self.log.violation(self.now, height, checker, what);
    }

    /// Runs to the end.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        let mut events = 0u64;
        while let Some(((now, _), event)) = self.queue.pop_first() {
            self.now = now;
            events = events.saturating_add(1);
            if events > MAX_EVENTS {
                self.violation("terminates", format!("more than {MAX_EVENTS} events"));
                break;
            }
            self.dispatch(event)?;
            if self.finished() || self.log.violations.len() >= 8 {
                break;
            }
        }
        self.end()
    }

    fn dispatch(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Block => self.block()?,
            Event::Seen { node, height } => {
                self.log.audit(self.now, 1, node, &height.0.to_le_bytes());
                if let Some(n) = self.nodes.get_mut(node) {
                    n.seen = n.seen.max(height);
                }
                self.guarded(node, Self::look);
            }
            Event::Deliver { to, message } => self.deliver(to, message),
            Event::Submit { from, bytes } => self.submitted(from, bytes),
            Event::Task { node, life, task } => {
                if self.alive(node, life) {
                    self.guarded(node, |world, n| world.task(n, *task));
                }
            }
            Event::Timeout { node, life, id } => {
                if self.alive(node, life) {
                    self.guarded(node, |world, n| world.answered(n, id, None));
                }
            }
            Event::Restart { node } => self.start(node),
            Event::Kill { node } => self.stop(node, &Stop::Killed),
            Event::Disk { plan } => self.fail_disk(plan),
            Event::Client => self.client(),
            Event::Submission { to, bytes } => {
                self.log.audit(self.now, 2, to, &tx_digest(&bytes).0);
                self.guarded(to, |world, n| world.admit(n, bytes, true));
            }
            Event::Quiet => self.calm_down(),
        }
        Ok(())
    }

    pub(crate) fn alive(&self, node: usize, life: u64) -> bool {
        self.nodes.get(node).is_some_and(|n| n.life == life && n.running.is_some())
    }

    /// Runs what a node does; a failure ends its process.
    pub(crate) fn guarded(&mut self, node: usize, act: impl FnOnce(&mut Self, usize) -> Result<(), Stop>) {
        if self.nodes.get(node).is_none_or(|n| n.running.is_none()) {
            return;
        }
        if let Err(stop) = act(self, node) {
            self.stop(node, &stop);
        }
    }

    /// Ends a node's process; it is started again after a while.
    pub(crate) fn stop(&mut self, node: usize, why: &Stop) {
        let down_ms = if self.quiet { 50 } else { self.rng.range(50, 8_000) };
        let Some(n) = self.nodes.get_mut(node) else { return };
        if n.running.take().is_none() {
            return;
        }
        let text = match why {
            Stop::At(place, step) => format!("{place} {step}"),
            Stop::Disk(_) => "disk".to_owned(),
            Stop::Killed => "killed".to_owned(),
        };
        self.log.audit(self.now, 3, node, text.as_bytes());
        self.log.count("crashes");
        self.log.count(&format!("crash {text}"));
        self.say(node, || match why {
            Stop::Disk(error) => format!("stops: {error}"),
            _ => format!("crashes ({text})"),
        });
        self.after(down_ms, Event::Restart { node });
    }

    /// Starts a node's process.
    fn start(&mut self, node: usize) {
        let (chain, paratime) = (self.parties.chain, self.parties.paratime);
        let retention_rounds = self.scenario.retention_rounds;
        let Some(n) = self.nodes.get_mut(node) else { return };
        if n.running.is_some() {
            return;
        }
        let config = WorkerConfig {
            chain,
            paratime,
            key: n.key.clone(),
            flush_blocks: 1,
            resubmit_blocks: RESUBMIT_BLOCKS,
            retention_rounds,
        };
        let forgets = self.scenario.forgetful == Some(node);
        match n.start(&self.parties, config, forgets) {
            Ok(()) => {
                let life = n.life;
                if life > 1 {
                    self.say(node, || format!("starts again, life {life}"));
                }
                self.guarded(node, Self::look);
            }
            // The state layer writes when it opens an empty store only, so this is no injected fault.
            Err(error) => self.violation("restart", format!("n{node} cannot start from its disk: {error}")),
        }
    }

    fn fail_disk(&mut self, plan: usize) {
        let Some(plan) = self.scenario.disks.get(plan).copied() else { return };
        if self.quiet {
            return;
        }
        if let Some(n) = self.nodes.get(plan.node)
            && n.running.is_some()
        {
            let store = n.store();
            store.set_faults(Some(FaultPlan { at_write: store.writes().saturating_add(1), fault: plan.fault }));
            self.log.count(&format!("disk fault {:?}", plan.fault));
        }
    }

    /// Makes a block, checks it, and sends it out.
    fn block(&mut self) -> Result<(), String> {
        // A proposer need not have every transaction.
        let mut rng = self.rng.fork();
        let held = if self.quiet || self.scenario.calm { 0 } else { 100 };
        let time = self.now.saturating_add(1_000);
        self.chain.make(&self.parties, time, || rng.chance(held))?;
        let height = self.chain.height();
        let hash = self.chain.newest().map_or(Digest::ZERO, |m| m.executed.app_hash);
        self.log.audit(self.now, 4, 0, &hash.0);
        self.log.count("blocks");
        self.check_block()?;
        for node in 0..self.nodes.len() {
            self.send_block(node, height);
        }
        self.contribute();
        self.after(BLOCK_MS, Event::Block);
        Ok(())
    }

    fn send_block(&mut self, node: usize, height: Height) {
        if self.network.cut(&self.scenario, self.now, End::Outside, End::Node(node)) {
            return;
        }
        let lag = match self.quiet {
            true => 20,
            false => self.scenario.machines.get(node).map_or(0, |m| m.lag_ms),
        };
        let delay = lag.saturating_add(self.rng.below(lag / 4 + 10));
        self.after(delay, Event::Seen { node, height });
    }

    /// Validators feed the beacon.
    fn contribute(&mut self) {
        let height = self.chain.height();
        let Some(view) = self.chain.view(height).cloned() else { return };
        let target = view.epoch.next();
        let dark = !self.quiet && self.scenario.dark_epochs.contains(&target.0);
        let Some(made) = self.chain.newest() else { return };
        let included = made.digests.clone();
        for v in 0..self.validators.len() {
            let Some(operator) = self.parties.validators.get(v) else { continue };
            let address = Address::of(&operator.id());
            let Ok(nonce) = self.chain.nonce(height, &address) else { continue };
            let input = beacon::input(self.parties.chain, target, &view.beacon);
            let Some((outbox, proven)) = self.validators.get_mut(v) else { continue };
            if *proven < target && !(dark && v > 0) {
                *proven = target;
                outbox.retain(|_| false);
                let call = Call::BeaconProof { epoch: target, output: operator.vrf.evaluate_with(&input, input.0) };
                let price = price(&call, &self.chain.parameters);
                outbox.push(call, price);
            }
            for bytes in outbox.due(height, nonce, &included) {
                let delay = self.rng.range(1, 100);
                self.after(delay, Event::Submit { from: None, bytes });
            }
        }
    }

    /// A transaction reaches the chain's pool.
    fn submitted(&mut self, from: Option<usize>, bytes: Vec<u8>) {
        let digest = tx_digest(&bytes);
        self.log.audit(self.now, 5, from.unwrap_or(usize::from(u8::MAX)), &digest.0);
        if let Err(error) = self.chain.submit(bytes) {
            self.log.count(&format!("not pooled {}/{}", error.module, error.code));
            let passing = ["mempool", "auth", "state"].contains(&error.module.as_str());
            if let Some(run) = from.filter(|_| !passing).and_then(|n| self.nodes.get_mut(n)?.running.as_mut()) {
                run.outbox.refused(&digest);
            }
        }
    }

    /// Sends a message from a node to a node.
    pub(crate) fn send(&mut self, from: usize, to: usize, message: Message) {
        if self.network.cut(&self.scenario, self.now, End::Node(from), End::Node(to)) {
            self.log.count("message cut off");
            return;
        }
        let delays = self.network.delays(&mut self.rng);
        match delays.len() {
            0 => self.log.count("message lost"),
            1 => {}
            _ => self.log.count("message doubled"),
        }
        for delay in delays {
            self.after(delay, Event::Deliver { to, message: message.clone() });
        }
    }

    /// Sends a node's transaction to the chain.
    pub(crate) fn send_to_chain(&mut self, from: usize, bytes: &[u8]) {
        if self.network.cut(&self.scenario, self.now, End::Node(from), End::Outside) {
            self.log.count("transaction cut off");
            return;
        }
        for delay in self.network.delays(&mut self.rng) {
            self.after(delay, Event::Submit { from: Some(from), bytes: bytes.to_vec() });
        }
    }

    fn deliver(&mut self, to: usize, message: Message) {
        match message {
            Message::Proposal(signed) => {
                self.log.audit(self.now, 6, to, &signed.proposal.digest().0);
                self.guarded(to, |world, n| world.proposal(n, signed));
            }
            Message::Transaction(bytes) => {
                self.log.audit(self.now, 7, to, &tx_digest(&bytes).0);
                self.guarded(to, |world, n| world.admit(n, bytes, false));
            }
            Message::Request { from, life, id, request } => {
                self.log.audit(self.now, 8, to, &encode(&request));
                self.guarded(to, |world, n| world.serve(n, from, life, id, &request));
            }
            Message::Response { life, id, response } => {
                let content = Digest::of_value(Domain::Simulation, &response);
                self.log.audit(self.now, 9, to, &content.0);
                if self.alive(to, life) {
                    self.guarded(to, |world, n| world.answered(n, id, response));
                }
            }
        }
    }

    /// A node's delay on its own clock.
    pub(crate) fn local(&self, node: usize, ms: u64) -> u64 {
        let rate = match self.quiet {
            true => 1_000,
            false => self.scenario.machines.get(node).map_or(1_000, |m| m.clock_permille),
        };
        ms.saturating_mul(rate) / 1_000
    }

    /// Faults stop: the network heals, every node is up and behaves.
    fn calm_down(&mut self) {
        self.quiet = true;
        self.network.calm_down();
        let height = self.chain.height();
        self.log.say(self.now, height.0, "QUIET", || "faults stop, the network heals".to_owned());
        for node in 0..self.nodes.len() {
            if let Some(n) = self.nodes.get_mut(node) {
                if self.scenario.repent {
                    n.repent();
                }
                n.store().set_faults(None);
            }
            self.start(node);
            self.send_block(node, height);
        }
        self.checks.quiet_since = Some(height);
        self.last_wish();
    }

    /// The last checks.
    fn end(&mut self) -> Result<(), String> {
        self.check_end();
        if !self.scenario.seed.is_multiple_of(AGAIN_EVERY) {
            return Ok(());
        }
        let again = self.chain.execute_again(&self.parties, &self.scenario, self.genesis_root);
        if let Err(error) = &again {
            self.violation("ledger", error.clone());
        }
        again
    }
}

/// The price of a call, as a node reckons it.
pub(crate) fn price(call: &Call, parameters: &parallax_consensus_app::genesis::ConsensusParameters) -> Price {
    let bytes = encode(call).len().saturating_add(ENVELOPE_BYTES);
    let gas_limit = call.gas(bytes, parameters);
    let fee = Amount(parameters.min_gas_price.0.saturating_mul(u128::from(gas_limit.0)));
    Price { fee, gas_limit }
}
