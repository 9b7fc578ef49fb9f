//! `parallax round`: what the replicas of a round said, and where they began to differ.
//!
//! The node that is asked is not believed: commitments carry the signatures of their nodes, and a trace counts only if
//! its digests, or a leaf with its Merkle proof, lie under the root that its node signed.

use super::RpcArgs;
use super::names::Names;
use super::query::paratime_or_scheduler;
use clap::{Args, Subcommand};
use eyre::{Result, bail, eyre};
use parallax_primitives::limits::MAX_TRACE_LEAVES;
use parallax_primitives::{Digest, NodeId, ParaTimeId, Round};
use parallax_rounds::{BlockKind, Outcome};
use parallax_rpc::types::{Committed, RoundReport};
use parallax_rpc::{Client, ParaTimeApiClient};
use parallax_runtime::compare::{ComparedTrace, Found, compare};
use parallax_runtime::{Divergence, ProvenLeaf, TraceDigests};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

#[derive(Debug, Subcommand)]
pub(super) enum RoundCommand {
    /// What the replicas voted and when, and why the round ended so
    Show(ShowArgs),
    /// The trace with which a replica executed the round, checked against its vote
    Trace(TraceArgs),
    /// The first operation on which the replicas differ, with what each of them has there
    Compare(CompareArgs),
}

/// Which round.
#[derive(Debug, Args)]
pub(super) struct RoundArgs {
    /// The round
    round: Round,
    /// The ParaTime's id or kind [default: the only one, or the scheduler]
    #[arg(long)]
    paratime: Option<String>,
    /// In JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    rpc: RpcArgs,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    round: RoundArgs,
}

#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    #[command(flatten)]
    round: RoundArgs,
    /// The replica: its name in the localnet, its id, or how that begins
    #[arg(long)]
    node: String,
    /// The index of one operation; without it only the length of the trace is shown
    #[arg(long)]
    index: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    #[command(flatten)]
    round: RoundArgs,
    /// The replicas to compare, separated by commas [default: all that voted for a result]
    #[arg(long, value_delimiter = ',')]
    nodes: Vec<String>,
}

impl RoundCommand {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::Show(args) => {
                let asked = Asked::connect(&args.round).await?;
                if args.round.json {
                    return super::print_json(&asked.report);
                }
                print(&show(&asked))
            }
            Self::Trace(args) => trace(args).await,
            Self::Compare(args) => compare_traces(args).await,
        }
    }
}

fn print(text: &str) -> Result<()> {
    use std::io::Write as _;
    // A reader that has gone away is no fault of ours.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

/// A node's report of a round, with the votes that carry their node's signature.
struct Asked {
    rpc: Client,
    id: ParaTimeId,
    report: RoundReport,
    names: Names,
}

/// A vote for a result.
struct Vote {
    node: NodeId,
    proposal: Digest,
    vote: Digest,
    trace_root: Digest,
}

impl Asked {
    async fn connect(args: &RoundArgs) -> Result<Self> {
        let rpc = args.rpc.connect().await?;
        let id = paratime_or_scheduler(&rpc, args.paratime.as_deref()).await?;
        let mut report = rpc.round_report(id, args.round).await?;
        let chain = crate::client::chain_of(&rpc).await?;
        let all = report.votes.len();
        report.votes.retain(|vote| vote.commitment.verify(chain, id));
        if report.votes.len() != all {
            bail!("the node shows commitments that their nodes have not signed; ask another one with --rpc");
        }
        let names = Names::of(chain);
        Ok(Self { rpc, id, report, names })
    }

    fn name(&self, node: &NodeId) -> String {
        self.names.name(node)
    }

    fn list(&self, nodes: &[NodeId]) -> String {
        self.names.list(nodes)
    }

    fn named(&self, text: &str) -> String {
        self.names.named(text)
    }

    /// The node that a text means, among those that committed.
    fn node(&self, text: &str) -> Result<NodeId> {
        let nodes: BTreeSet<NodeId> = self.report.votes.iter().map(|v| v.commitment.commitment.node).collect();
        let nodes: Vec<NodeId> = nodes.into_iter().collect();
        self.names.find(text, &nodes, &format!("committed in round {}", self.report.round))
    }

    /// The votes for a result of the round's last proposal that has any.
    fn votes(&self) -> Vec<Vote> {
        let of = |committed: &Committed| {
            let commitment = &committed.commitment.commitment;
            let Outcome::Success { trace_root, .. } = commitment.outcome else { return None };
            let vote = commitment.outcome.vote()?;
            Some(Vote { node: commitment.node, proposal: commitment.proposal, vote, trace_root })
        };
        let mut votes: Vec<Vote> = self.report.votes.iter().filter_map(of).collect();
        if let Some(last) = votes.last().map(|v| v.proposal) {
            votes.retain(|v| v.proposal == last);
        }
        votes
    }

    /// The digests of a node's trace, verified against its vote; `None` if it does not serve them.
    async fn digests(&self, vote: &Vote) -> Result<Option<TraceDigests>> {
        let mut digests: Vec<Digest> = Vec::new();
        loop {
            let from = digests.len() as u64;
            let part = self.rpc.trace_digests(self.id, self.report.round, vote.proposal, vote.node, from).await?;
            let Some(part) = part else { return Ok(None) };
            let ended = part.digests.is_empty();
            digests.extend(part.digests);
            if digests.len() > MAX_TRACE_LEAVES {
                return Ok(None);
            }
            if ended || digests.len() as u64 >= part.count {
                return Ok(TraceDigests::verified(digests, &vote.trace_root));
            }
        }
    }

    /// One leaf of a node's trace, verified against its vote.
    async fn leaf(&self, vote: &Vote, index: u64) -> Result<Option<ProvenLeaf>> {
        let leaf = self.rpc.trace_leaf(self.id, self.report.round, vote.proposal, vote.node, index).await?;
        match leaf {
            Some(leaf) if leaf.proof.index != index || !leaf.verify(&vote.trace_root) => {
                bail!(
                    "{} serves an operation {index} that does not lie under the trace root of its vote, {}",
                    self.name(&vote.node),
                    vote.trace_root
                )
            }
            other => Ok(other),
        }
    }
}

/// How the round ended, in a line.
fn ending(report: &RoundReport) -> String {
    let told = |name: &str, attribute: &str| {
        let event = report.events.iter().rev().find(|e| e.event.name == name)?;
        event.event.get(attribute).map(str::to_owned)
    };
    let Some(block) = &report.block else { return "is under way".to_owned() };
    let why = match block.kind {
        BlockKind::Normal if told("rounds.finalized", "discrepancy").as_deref() == Some("true") => {
            "was accepted by the backups".to_owned()
        }
        BlockKind::Normal => "was accepted, nobody differed".to_owned(),
        BlockKind::RoundFailed => format!("failed: {}", told("rounds.failed", "reason").unwrap_or_default()),
        BlockKind::EpochTransition => "was ended by its epoch".to_owned(),
        BlockKind::Suspended => "was ended by a suspension".to_owned(),
    };
    format!("{why}, at height {}", block.height)
}

/// The round in text.
fn show(asked: &Asked) -> String {
    let report = &asked.report;
    let mut out = format!("round {} of ParaTime {} {}\n", report.round, report.paratime, ending(report));
    let _ = writeln!(out, "\nwhat happened, blocks {} to {}", report.from, report.to);
    for told in &report.events {
        let shown = told.event.attributes.iter().filter(|(name, _)| name != "paratime" && name != "round");
        let text: Vec<String> = shown.map(|(name, value)| format!("{name} {}", asked.named(value))).collect();
        let _ = writeln!(out, "  {:>7}  {:<22} {}", told.height.to_string(), told.event.name, text.join(", "));
    }
    let _ = writeln!(out, "\nwhat the replicas committed to, signatures checked");
    for committed in &report.votes {
        let commitment = &committed.commitment.commitment;
        let said = match (&commitment.outcome, commitment.outcome.vote()) {
            (Outcome::Success { state_root, trace_root, .. }, Some(vote)) => {
                format!("vote {} state {} trace {}", vote.short(), state_root.short(), trace_root.short())
            }
            (Outcome::Failure { reason }, _) => format!("failure: {reason:?}"),
            _ => String::new(),
        };
        let _ = writeln!(
            out,
            "  {:>7}  {:<13} {}  {said}",
            committed.height.to_string(),
            committed.seat,
            asked.name(&commitment.node)
        );
    }
    let mut by_vote: BTreeMap<Digest, Vec<NodeId>> = BTreeMap::new();
    for vote in asked.votes() {
        by_vote.entry(vote.vote).or_default().push(vote.node);
    }
    if by_vote.len() > 1 {
        let _ = writeln!(out, "\nresults voted for");
        for (vote, nodes) in &by_vote {
            let _ = writeln!(out, "  {}  {}", vote.short(), asked.list(nodes));
        }
        let _ = writeln!(out, "`parallax round compare {}` says where they began to differ", report.round);
    }
    out
}

fn write_leaf(out: &mut String, proven: &ProvenLeaf) {
    let leaf = &proven.leaf;
    let _ = writeln!(out, "  operation  {} of {}", proven.proof.index, proven.proof.count);
    let _ = writeln!(out, "  opcode     {}", leaf.opcode);
    for input in &leaf.inputs {
        let _ = writeln!(out, "  input      {input}");
    }
    let _ = writeln!(out, "  output     {}", leaf.output);
}

async fn trace(args: TraceArgs) -> Result<()> {
    let asked = Asked::connect(&args.round).await?;
    let node = asked.node(&args.node)?;
    let votes = asked.votes();
    let name = asked.name(&node);
    let vote = votes.iter().find(|v| v.node == node);
    let vote = vote.ok_or_else(|| eyre!("{name} voted for no result in round {}", args.round.round))?;
    let mut out = format!("{name} voted in round {} for the trace root {}\n", args.round.round, vote.trace_root);
    let Some(index) = args.index else {
        let digests = asked.digests(vote).await?;
        let digests = digests.ok_or_else(|| eyre!("{name} serves no trace under that root"))?;
        if args.round.json {
            return super::print_json(&digests.digests());
        }
        let _ = writeln!(out, "  {} operations lie under it, verified", digests.digests().len());
        return print(&out);
    };
    let leaf = asked.leaf(vote, index).await?;
    let leaf = leaf.ok_or_else(|| eyre!("{name} serves no operation {index} of its trace"))?;
    if args.round.json {
        return super::print_json(&leaf);
    }
    write_leaf(&mut out, &leaf);
    let _ = writeln!(out, "  Merkle proof of {} digests verified against that root", leaf.proof.path.len());
    print(&out)
}

/// Compares traces as a member of the committee does, through the node that is asked.
async fn compare_traces(args: CompareArgs) -> Result<()> {
    let asked = Asked::connect(&args.round).await?;
    let mut votes = asked.votes();
    if !args.nodes.is_empty() {
        let wanted = args.nodes.iter().map(|n| asked.node(n)).collect::<Result<BTreeSet<NodeId>>>()?;
        votes.retain(|v| wanted.contains(&v.node));
    }
    let Some(proposal) = votes.first().map(|v| v.proposal) else {
        bail!("none of these replicas voted for a result in round {}; see `parallax round show`", args.round.round)
    };
    let record = divergence(&asked, &votes, proposal).await?;
    record.verify().map_err(|e| eyre!("what the node serves proves nothing: {e}"))?;
    let dispute = asked.rpc.dispute(asked.id, args.round.round, proposal).await?;
    if args.round.json {
        return super::print_json(&serde_json::json!({ "divergence": record, "node": dispute }));
    }
    let mut out = compared(&asked, &record, &votes);
    if let Some(effort) = dispute.effort {
        let _ = writeln!(
            out,
            "\nthe node asked spent {} PBS on {} of {} programs; what it took over would have cost {}",
            effort.spent_pbs,
            effort.evaluated,
            effort.evaluated.saturating_add(effort.replayed),
            effort.saved_pbs
        );
    }
    print(&out)
}

/// Fetches the traces of these votes, and the leaves at which they part.
async fn divergence(asked: &Asked, votes: &[Vote], proposal: Digest) -> Result<Divergence> {
    let mut traces: BTreeMap<Digest, TraceDigests> = BTreeMap::new();
    for vote in votes {
        if !traces.contains_key(&vote.trace_root)
            && let Some(trace) = asked.digests(vote).await?
        {
            traces.insert(vote.trace_root, trace);
        }
    }
    let by_node: BTreeMap<NodeId, &TraceDigests> =
        votes.iter().filter_map(|v| Some((v.node, traces.get(&v.trace_root)?))).collect();
    let comparison = compare(&by_node);
    let mut found = Vec::new();
    for (digest, nodes) in comparison.groups {
        let index = if digest.is_some() { Some(comparison.agreed) } else { comparison.agreed.checked_sub(1) };
        let mut leaf = None;
        for vote in votes.iter().filter(|v| nodes.contains(&v.node)) {
            if let (None, Some(index)) = (&leaf, index) {
                leaf = asked.leaf(vote, index).await?;
            }
        }
        found.push(Found { nodes, leaf });
    }
    let compared = votes.iter().map(|v| ComparedTrace {
        node: v.node,
        trace_root: v.trace_root,
        leaves: traces.get(&v.trace_root).map(|t| t.digests().len() as u64),
    });
    Ok(Divergence { round: asked.report.round, proposal, traces: compared.collect(), agreed: comparison.agreed, found })
}

/// A comparison in text.
fn compared(asked: &Asked, record: &Divergence, votes: &[Vote]) -> String {
    let mut out = format!("round {}, proposal {}\n", record.round, record.proposal);
    for trace in &record.traces {
        let what = match trace.leaves {
            Some(leaves) => format!("{leaves} operations, verified"),
            None => "no trace under that root is served".to_owned(),
        };
        let _ = writeln!(out, "  {}  trace {}  {what}", asked.name(&trace.node), trace.trace_root.short());
    }
    if record.found.is_empty() {
        let different: BTreeSet<Digest> = votes.iter().map(|v| v.vote).collect();
        let _ = writeln!(out, "\nthese traces agree in all {} operations", record.agreed);
        if different.len() > 1 {
            let _ = writeln!(out, "the votes differ all the same: some do not follow from their own trace");
        }
        return out;
    }
    let _ = writeln!(
        out,
        "\nthe first {} operations agree; operation {} is the first that differs (Merkle proofs verified)",
        record.agreed, record.agreed
    );
    for found in &record.found {
        let _ = writeln!(out, "\n{}", asked.list(&found.nodes));
        match record.leaf_of(found) {
            Some(proven) => write_leaf(&mut out, proven),
            None => {
                let _ = writeln!(out, "  the trace ends before it");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use parallax_primitives::{ChainContext, Height, SecretKey, merkle};
    use parallax_rounds::{Commitment, SignedCommitment};
    use parallax_runtime::{Trace, TraceLeaf};

    const CHAIN: ChainContext = ChainContext(Digest([7; 32]));

    fn key(n: u8) -> SecretKey {
        SecretKey::from_seed([n + 1; 32])
    }

    fn trace(outputs: &[u8]) -> Trace {
        let leaf = |n: &u8| TraceLeaf { opcode: format!("table.map [{n}]"), inputs: vec![], output: Digest([*n; 32]) };
        Trace { leaves: outputs.iter().map(leaf).collect() }
    }

    /// A report with a vote for each trace, of nodes named `compute-0` and on.
    fn asked(traces: &[&Trace]) -> Asked {
        let id = ParaTimeId::named("test");
        let empty = Digest::ZERO;
        let vote = |(n, trace): (u8, &&Trace)| {
            let outcome = Outcome::Success {
                io_root: empty,
                state_root: empty,
                trace_root: trace.root(),
                messages_hash: empty,
                in_messages_hash: empty,
                in_messages_count: 0,
            };
            let commitment =
                Commitment { node: key(n).public(), proposal: empty, round: Round(3), previous_hash: empty, outcome };
            let commitment = SignedCommitment::sign(commitment, vec![], CHAIN, id, &key(n));
            Committed { height: Height(9), seat: "worker".to_owned(), commitment }
        };
        let report = RoundReport {
            paratime: id,
            round: Round(3),
            from: Height(5),
            to: Height(9),
            block: None,
            proposals: vec![],
            votes: (0..).zip(traces).map(vote).collect(),
            events: vec![],
        };
        let names = (0..traces.len() as u8).map(|n| (key(n).public(), format!("compute-{n}"))).collect();
        let names = Names::given(names);
        Asked { rpc: Client::new("http://127.0.0.1:1").unwrap(), id, report, names }
    }

    // Under a runtime, because a client of the RPC may need one.
    #[tokio::test]
    async fn a_node_is_meant_by_its_name_or_by_how_its_id_begins() {
        let honest = trace(&[1, 2]);
        let asked = asked(&[&honest, &honest]);
        assert_eq!(asked.node("compute-1").unwrap(), key(1).public());
        let id = key(0).public().to_string();
        assert_eq!(asked.node(&id).unwrap(), key(0).public());
        assert_eq!(asked.node(&id[..10]).unwrap(), key(0).public());
        let error = asked.node("compute-7").unwrap_err().to_string();
        assert!(error.contains("no node compute-7 committed in round 3") && error.contains("compute-0"), "{error}");
        assert!(asked.node("0x").is_err(), "too few digits to mean anyone");
    }

    #[tokio::test]
    async fn a_comparison_names_the_operation_and_says_when_none_is_to_blame() {
        let (honest, wrong) = (trace(&[1, 2, 3]), trace(&[1, 5, 6]));
        let asked = asked(&[&honest, &wrong]);
        let votes = asked.votes();
        let found = |n: u8, trace: &Trace| {
            let proof = merkle::prove(&trace.digests(), 1).unwrap();
            Found { nodes: vec![key(n).public()], leaf: Some(ProvenLeaf { leaf: trace.leaves[1].clone(), proof }) }
        };
        let compared_trace =
            |vote: &Vote| ComparedTrace { node: vote.node, trace_root: vote.trace_root, leaves: Some(3) };
        let mut record = Divergence {
            round: Round(3),
            proposal: Digest::ZERO,
            traces: votes.iter().map(compared_trace).collect(),
            agreed: 1,
            found: vec![found(0, &honest), found(1, &wrong)],
        };
        assert_eq!(record.verify(), Ok(()));
        let text = compared(&asked, &record, &votes);
        for part in ["operation 1 is the first that differs", "compute-1", "table.map [5]", "operation  1 of 3"] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
        record.found.clear();
        record.agreed = 3;
        let text = compared(&asked, &record, &votes);
        assert!(text.contains("agree in all 3 operations"), "{text}");
        assert!(text.contains("some do not follow from their own trace"), "{text}");
    }
}
