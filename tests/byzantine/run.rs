//! Carries out a row and compares what came of it with what must.

use crate::observe::{Observer, POLL, Told, asked};
use crate::replay;
use crate::rows::{Row, Shape, Step};
use crate::work::{ROUND, Work, work};
use eyre::{Result, ensure, eyre};
use parallax_consensus_app::tx::Role;
use parallax_genesis::GenesisDocument;
use parallax_localnet::fixture::NODE_STAKE;
use parallax_localnet::{Fixture, Localnet, Running, StartOptions};
use parallax_node::light;
use parallax_primitives::{Digest, Round};
use parallax_rounds::Resolution;
use parallax_rpc::{ConsensusApiClient, NodeApiClient, ParaTimeApiClient, ProofBundle};
use parallax_runtime::TraceLeaf;
use rand::{Rng as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// Milliseconds from one block to the next.
const BLOCK_MS: u64 = 250;
/// Blocks that a rank has to announce: three seconds, which an honest node keeps to on a busy machine.
const PROPOSER_TIMEOUT: u64 = 12;
/// How long something may take to show.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a chain that is cut in halves is watched for a block.
const WATCHED: Duration = Duration::from_secs(4);
/// Most bootstraps in a batch: what the scheduler's largest decision and call need.
const MAX_BATCH_PBS: u64 = 4_800;
/// Blocks that a full batch is expected to take.
const BATCH_BLOCKS: u64 = 10;

/// The head of the table.
pub(crate) fn header() {
    line("SCENARIO", "ROUNDS", "DISPUTES", "SLASHED", "CHARGED FOR LIVENESS", "TIME", "");
}

fn line(name: &str, rounds: &str, disputes: &str, slashed: &str, charged: &str, time: &str, end: &str) {
    println!("{name:<51} {rounds:<18} {disputes:<24} {slashed:<38} {charged:<52} {time:>6}  {end}");
}

fn fixture(shape: &Shape) -> Fixture {
    // An epoch holds ten of the longest deadlines; where one must end soon, batches count as quick.
    let batch_blocks = if shape.epoch.is_some() { 2 } else { BATCH_BLOCKS };
    Fixture {
        chain_id: "parallax-byzantine".to_owned(),
        paratimes: vec![shape.paratime],
        validators: shape.validators,
        compute: shape.workers + shape.backups + shape.spare,
        workers: shape.workers,
        backups: shape.backups,
        accounts: 4,
        block_interval_ms: BLOCK_MS,
        pbs_per_block: MAX_BATCH_PBS / batch_blocks,
        max_batch_pbs: MAX_BATCH_PBS,
        jobs_per_round: 1,
        epoch_blocks: Some(shape.epoch.unwrap_or((shape.round_timeout + BATCH_BLOCKS) * 10 + 10_000)),
        stragglers: shape.stragglers,
        proposer_timeout: PROPOSER_TIMEOUT,
        round_timeout: shape.round_timeout,
        max_round_interval: shape.round_interval,
        links: shape.links,
        resolution: if shape.resume { Resolution::Resume } else { Resolution::Full },
        ..Fixture::default()
    }
}

/// Runs a row and prints its line. False: something was not as it must be.
pub(crate) async fn row(row: &Row, program: &Path, seed: u64) -> bool {
    let begun = Instant::now();
    let dir = tempfile::tempdir().expect("a directory for the localnet");
    let outcome = carried_out(row, program, seed, &dir.path().join("net")).await;
    let seconds = format!("{:.1} s", begun.elapsed().as_secs_f64());
    let wrong = match outcome {
        Ok(Shown { rounds, disputes, slashed, charged, wrong }) => {
            let end = if wrong.is_empty() { "ok" } else { "FAILED" };
            line(row.name, &rounds, &disputes, &slashed, &charged, &seconds, end);
            wrong
        }
        Err(error) => {
            line(row.name, "", "", "", "", &seconds, "FAILED");
            vec![format!("{error:#}")]
        }
    };
    if wrong.is_empty() {
        return true;
    }
    let dir = dir.keep();
    for wrong in wrong {
        println!("    {wrong}");
    }
    println!("    PARALLAX_SEED={seed}; the nodes' logs are in {}", dir.join("net/logs").display());
    false
}

/// A line of the table, and what was not as it must be.
struct Shown {
    rounds: String,
    disputes: String,
    slashed: String,
    charged: String,
    wrong: Vec<String>,
}

async fn carried_out(row: &Row, program: &Path, seed: u64, dir: &Path) -> Result<Shown> {
    let faults = row.faults.iter().map(|(node, kind)| format!("{node}={kind}").parse()).collect::<Result<_, String>>();
    let options =
        StartOptions { program: program.to_owned(), faults: faults.map_err(|e| eyre!(e))?, ..StartOptions::new(dir)? };
    let running = Localnet::start(fixture(&row.shape), options).await?;
    let outcome = tokio::time::timeout(ROUND * 3, driven(row, &running, seed)).await;
    running.stop().await;
    outcome.map_err(|_| eyre!("it did not end within {:?}", ROUND * 3))?
}

async fn driven(row: &Row, running: &Running, seed: u64) -> Result<Shown> {
    let mut driver = Driver::new(row, running, seed).await?;
    for step in row.steps {
        driver.step(step).await?;
    }
    // The chain goes on.
    driver.step(&Step::Transfer(2)).await?;
    driver.compare(row).await
}

struct Driver<'a> {
    running: &'a Running,
    observer: Observer,
    work: Box<dyn Work>,
    random: rand::rngs::StdRng,
    /// Nodes that are down.
    down: BTreeSet<String>,
}

impl<'a> Driver<'a> {
    async fn new(row: &Row, running: &'a Running, seed: u64) -> Result<Self> {
        let plan = running.plan();
        // Nodes that do nothing wrong and stay up are asked first.
        let troubled = |name: &str| {
            let named = |names: &[&str]| names.contains(&name);
            row.faults.iter().any(|(node, _)| *node == name)
                || row.steps.iter().any(|step| match step {
                    Step::Down(names) | Step::Isolate(names) | Step::Halt(names) => named(names),
                    _ => false,
                })
        };
        let (mut good, bad): (Vec<_>, Vec<_>) =
            plan.nodes.iter().filter(|n| n.role == Role::Compute).partition(|n| !troubled(&n.name));
        good.extend(bad);
        let names: Vec<String> = good.iter().map(|n| n.name.clone()).collect();
        Ok(Self {
            running,
            observer: Observer::new(running)?,
            work: work(&row.shape, plan, &names).await?,
            random: rand::rngs::StdRng::seed_from_u64(seed),
            down: BTreeSet::new(),
        })
    }

    async fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Transfer(count) => {
                for _ in 0..*count {
                    self.work.submit().await?;
                    self.work.settle().await?;
                }
            }
            Step::Submit => self.work.submit().await?,
            Step::Encrypted => self.work.encrypted().await?,
            Step::NextEpoch => {
                let epoch = || async { Ok(NodeApiClient::status(self.observer.rpc()).await?.epoch) };
                let before = asked(epoch).await?;
                while asked(|| async { Ok(NodeApiClient::status(self.observer.rpc()).await?.epoch) }).await? == before {
                    self.work.submit().await?;
                    self.work.settle().await?;
                }
            }
            Step::Await(pattern) => self.seen(pattern).await?,
            Step::Down(names) => {
                for name in *names {
                    self.running.down(name)?;
                    self.down.insert((*name).to_owned());
                }
                self.gone(names).await?;
            }
            Step::Up(names) => {
                for name in *names {
                    self.running.up(name)?;
                    self.down.remove(*name);
                }
                tokio::time::sleep(POLL * 2).await;
                self.running.wait_ready().await?;
            }
            Step::Isolate(names) => self.running.isolate(names)?,
            Step::Halt(names) => self.halt(names).await?,
            Step::Heal => self.running.isolate(&[])?,
            Step::KillSome(count) => {
                for _ in 0..*count {
                    let nodes: Vec<&str> = self.running.plan().nodes.iter().map(|n| n.name.as_str()).collect();
                    let victim = nodes[self.random.gen_range(0..nodes.len())];
                    let pause = self.random.gen_range(0..1_500);
                    self.work.submit().await?;
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    self.running.kill(victim)?;
                    self.work.settle().await?;
                }
                self.running.wait_ready().await?;
            }
        }
        Ok(())
    }

    /// Waits until the processes of these nodes have ended.
    async fn gone(&self, names: &[&str]) -> Result<()> {
        let begun = Instant::now();
        while self.running.nodes().iter().any(|n| names.contains(&n.name.as_str()) && n.pid.is_some()) {
            ensure!(begun.elapsed() < PATIENCE, "{names:?} did not end");
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Cuts the chain in halves and sees that neither decides a block.
    async fn halt(&self, names: &[&str]) -> Result<()> {
        self.running.isolate(names)?;
        // What both halves had before may still be decided.
        tokio::time::sleep(WATCHED / 2).await;
        let heights = || async {
            let mut heights = BTreeMap::new();
            for node in self.running.plan().nodes.iter().filter(|n| n.role == Role::Validator) {
                heights.insert(node.name.clone(), self.running.client(&node.name)?.health().await?.height);
            }
            Ok::<_, eyre::Report>(heights)
        };
        let before = asked(heights).await?;
        tokio::time::sleep(WATCHED).await;
        let after = asked(heights).await?;
        ensure!(before == after, "half of the validators decided blocks: {before:?}, then {after:?}");
        Ok(())
    }

    async fn seen(&self, pattern: &str) -> Result<()> {
        let begun = Instant::now();
        let name = pattern.split(' ').next().unwrap_or_default();
        while !self.observer.events(name).await?.iter().any(|told| told.fits(pattern)) {
            ensure!(begun.elapsed() < PATIENCE, "this was not seen within {PATIENCE:?}: {pattern}");
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Reads what came of it all and compares.
    async fn compare(mut self, row: &Row) -> Result<Shown> {
        self.work.settle().await?;
        let id = self.work.id();
        let plan = self.running.plan();
        let mut wrong = Vec::new();
        let last = self.observer.last(id).await?;
        for node in plan.nodes.iter().filter(|n| n.role == Role::Compute && !self.down.contains(&n.name)) {
            if let Err(error) = self.has_root(&node.name, &last).await {
                wrong.push(format!("{}: {error:#}", node.name));
            }
        }
        wrong.extend(self.work.wrong().await?);
        let blocks = replay::chain(self.observer.rpc(), id).await?;
        if let Some(executed) = self.work.executed() {
            let genesis = GenesisDocument::load(&self.running.genesis())?;
            if let Err(error) = replay::agrees(self.observer.rpc(), &genesis, id, &blocks, executed).await {
                wrong.push(format!("{error:#}"));
            }
        }
        let mut events = self.observer.events("").await?;
        events.extend(self.observer.refused().await?);
        compare_events(row, &events, &mut wrong);
        let operation = match row.named {
            Some(name) => self.named(name, &events).await.map(Some),
            None => Ok(None),
        };
        let slashed = self.compare_slashes(row, &events, &mut wrong).await?;
        let charged = compare_charges(row, &events, &mut wrong);
        self.compare_nodes(row, &mut wrong);
        let kinds = self.observer.blocks(id).await?;
        let failed = kinds.get("failed").copied().unwrap_or_default();
        if row.failed.map_or(failed == 0, |exactly| exactly != failed) {
            wrong.push(format!("{failed} rounds failed"));
        }
        if !wrong.is_empty() {
            let shown =
                ["rounds.", "staking.slashed", "staking.reward", "liveness.", "refused", "election.", "standing."];
            wrong.extend(
                events
                    .iter()
                    .map(Told::to_string)
                    .filter(|t| shown.iter().any(|s| t.starts_with(s)))
                    .map(|t| format!("  {t}")),
            );
        }
        let rounds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let mut disputes = disputes(&events);
        match operation {
            Ok(None) => {}
            Ok(Some((index, leaf))) => disputes = format!("{disputes}, {index} {}", name(&leaf)),
            Err(error) => wrong.push(format!("{error:#}")),
        }
        Ok(Shown { rounds: rounds.join(" "), disputes, slashed, charged, wrong })
    }

    /// The first operation on which workers differ, as a node found and proves it: its index, and what the first of them
    /// says of it. It must be of this name, and they must differ in its result alone.
    async fn named(&self, expected: &str, events: &[Told]) -> Result<(u64, TraceLeaf)> {
        let told =
            events.iter().find(|t| t.is("rounds.discrepancy")).ok_or_else(|| eyre!("there was no discrepancy"))?;
        let round = Round(told.get("round").parse()?);
        let proposal: Digest = told.get("proposal").parse().map_err(|e: String| eyre!(e))?;
        let divergence = asked(|| async {
            for node in self.running.plan().nodes.iter().filter(|n| n.role == Role::Compute) {
                let view = self.running.client(&node.name)?.dispute(self.work.id(), round, proposal).await?;
                if let Some(found) = view.divergence.filter(|d| d.found.len() > 1) {
                    return Ok(found);
                }
            }
            Err(eyre!("no node names the operation on which the workers differ"))
        });
        let divergence = divergence.await?;
        divergence.verify()?;
        let leaves: Option<Vec<&TraceLeaf>> =
            divergence.found.iter().map(|found| divergence.leaf_of(found).map(|proven| &proven.leaf)).collect();
        let leaves = leaves.ok_or_else(|| eyre!("a trace ends where the other goes on"))?;
        let first = *leaves.first().ok_or_else(|| eyre!("no leaf was found"))?;
        ensure!(name(first) == expected, "the operation named is {}, it should be {expected}", first.opcode);
        ensure!(
            leaves.iter().all(|leaf| leaf.opcode == first.opcode && leaf.inputs == first.inputs),
            "the workers differ in more than the result of one operation: {leaves:?}"
        );
        Ok((divergence.agreed, first.clone()))
    }

    /// Whether a node's own tree leads to the root that consensus finalised, proven by the node.
    async fn has_root(&self, name: &str, last: &parallax_rounds::ParaTimeBlock) -> Result<()> {
        let trust = light::from_genesis(&GenesisDocument::load(&self.running.genesis())?)?;
        let key = self.work.key();
        let bundle = asked(|| async {
            let rpc = self.running.client(name)?;
            Ok(ParaTimeApiClient::proof(&rpc, self.work.id(), key.clone().into(), Some(last.round)).await?)
        })
        .await?;
        bundle.verify(&trust)?;
        let ProofBundle::V1(bundle) = bundle;
        let root = bundle.paratime.map(|p| p.block.state_root);
        ensure!(root == Some(last.state_root), "it proves root {root:?}, consensus finalised {}", last.state_root);
        Ok(())
    }

    /// Who lost stake, by the events and by the accounts, and where it went.
    async fn compare_slashes(&self, row: &Row, events: &[Told], wrong: &mut Vec<String>) -> Result<String> {
        let amount = |told: &Told| told.get("amount").parse::<u128>().unwrap_or_default();
        let mut seen = Vec::new();
        let (mut taken, mut paid, mut lost) = (0u128, 0u128, BTreeMap::<String, u128>::new());
        for told in events {
            if told.is("staking.slashed") {
                seen.push((told.get("node").to_owned(), amount(told), told.get("reason").to_owned()));
                taken += amount(told);
                *lost.entry(told.get("entity").to_owned()).or_default() += amount(told);
            } else if told.is("staking.reward") || told.is("staking.treasury") {
                paid += amount(told);
            }
        }
        seen.sort();
        let mut expected: Vec<_> = row.slashed.iter().map(|(n, a, r)| ((*n).to_owned(), *a, (*r).to_owned())).collect();
        expected.sort();
        if seen != expected {
            wrong.push(format!("slashed are {seen:?}, it should be {expected:?}"));
        }
        if taken != paid {
            wrong.push(format!("{taken} were taken and {paid} paid out"));
        }
        for node in &self.running.plan().nodes {
            let account = asked(|| async { Ok(self.observer.rpc().account(node.entity).await?) }).await?;
            let expected = NODE_STAKE.0 - lost.get(&node.name).copied().unwrap_or_default();
            if account.stake.0 != expected {
                wrong.push(format!("the stake of {} is {}, it should be {expected}", node.name, account.stake));
            }
        }
        Ok(or_dash(seen.iter().map(|(node, amount, reason)| format!("{node} {amount} {reason}")).collect()))
    }

    /// What the processes and their logs show.
    fn compare_nodes(&self, row: &Row, wrong: &mut Vec<String>) {
        for (node, words) in row.logs {
            let log = self.running.plan().node(node).and_then(|n| std::fs::read_to_string(&n.log).ok());
            if !log.is_some_and(|log| log.contains(words)) {
                wrong.push(format!("the log of {node} does not say {words}"));
            }
        }
        let deaths: u32 = self.running.nodes().iter().map(|n| n.restarts).sum();
        if deaths < row.deaths {
            wrong.push(format!("nodes died {deaths} times, {} at least were meant to", row.deaths));
        }
    }
}

/// The name of an operation, without the numbers that it computes with.
fn name(leaf: &TraceLeaf) -> &str {
    leaf.opcode.split(' ').next().unwrap_or_default()
}

fn compare_events(row: &Row, events: &[Told], wrong: &mut Vec<String>) {
    for pattern in row.must {
        if !events.iter().any(|told| told.fits(pattern)) {
            wrong.push(format!("this did not happen: {pattern}"));
        }
    }
    for pattern in row.never {
        if let Some(told) = events.iter().find(|told| told.fits(pattern)) {
            wrong.push(format!("this must not happen: {told}"));
        }
    }
}

/// Who was charged for liveness: exactly those of the row.
fn compare_charges(row: &Row, events: &[Told], wrong: &mut Vec<String>) -> String {
    let charges = events.iter().filter(|told| told.is("liveness.charged"));
    let seen: BTreeSet<(&str, &str)> = charges.map(|told| (told.get("node"), told.get("reason"))).collect();
    let expected: BTreeSet<(&str, &str)> = row.charged.iter().copied().collect();
    if seen != expected {
        wrong.push(format!("charged are {seen:?}, it should be {expected:?}"));
    }
    or_dash(seen.iter().map(|(node, reason)| format!("{node} {reason}")).collect())
}

/// What the detector did beyond clean rounds.
fn disputes(events: &[Told]) -> String {
    let mut all: BTreeMap<String, usize> = BTreeMap::new();
    for told in events {
        if told.is("rounds.discrepancy") {
            *all.entry(told.get("cause").to_owned()).or_default() += 1;
        } else if told.is("rounds.proposal_dropped") {
            *all.entry("dropped".to_owned()).or_default() += 1;
        }
    }
    or_dash(all.iter().map(|(what, count)| if *count > 1 { format!("{count} {what}") } else { what.clone() }).collect())
}

fn or_dash(parts: Vec<String>) -> String {
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}
