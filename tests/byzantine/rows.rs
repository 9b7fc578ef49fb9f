//! The table.
//!
//! In round 1 the worker of rank 0 is `compute-1` where there are two workers (in round 2 `compute-0`, and so on), and
//! `compute-2` where there are three: `rank(i, r) = (r + i) mod W`. Rounds begin only with work, so the first transfer is
//! round 1. A fault that is bound to round 1 therefore makes its node the scheduler, or another worker, by its number.

use parallax_localnet::ParaTimeKind;

/// What a row's network runs, and its sizes. The block interval is that of `run`.
pub(crate) struct Shape {
    pub(crate) paratime: ParaTimeKind,
    pub(crate) validators: u16,
    pub(crate) workers: u16,
    pub(crate) backups: u16,
    pub(crate) stragglers: u16,
    /// Compute nodes without a seat in the first committee.
    pub(crate) spare: u16,
    /// Blocks a round without FHE work may take.
    pub(crate) round_timeout: u64,
    /// The longest time from one round to the next without work, in blocks.
    pub(crate) round_interval: Option<u64>,
    /// Blocks in an epoch; `None`: so many that none ends.
    pub(crate) epoch: Option<u64>,
    /// Whether nodes can be cut off.
    pub(crate) links: bool,
    /// Whether backups resume where workers began to differ.
    pub(crate) resume: bool,
}

/// Two workers, one backup: the smallest committee that can decide a dispute.
const SMALL: Shape = Shape {
    paratime: ParaTimeKind::Scheduler,
    validators: 1,
    workers: 2,
    backups: 1,
    stragglers: 0,
    spare: 0,
    round_timeout: 12,
    round_interval: None,
    epoch: None,
    links: false,
    resume: false,
};
/// Three backups, so that one of them can be outvoted.
const WIDE: Shape = Shape { backups: 3, ..SMALL };
/// Deadlines longer than a node takes to start again: a crash costs no round.
const PATIENT: Shape = Shape { round_timeout: 400, ..SMALL };
/// Deadlines that FHE work keeps on a busy machine.
const SLOW: Shape = Shape { round_timeout: 120, ..SMALL };
/// Three workers of which one may be late.
const LATE: Shape = Shape { workers: 3, stragglers: 1, ..SMALL };

/// One node waits for a seat that becomes free.
const SPARE: Shape = Shape { spare: 1, ..SMALL };

/// The confidential EVM.
const EVM: Shape = Shape { paratime: ParaTimeKind::Evm, ..SMALL };
/// The same with two workers and three backups who have time for FHE work.
const EVM_WIDE: Shape = Shape { paratime: ParaTimeKind::Evm, backups: 3, ..SLOW };

/// What a row does, in order.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    /// Transfers, each in a round of its own.
    Transfer(u32),
    /// A transfer that is submitted and not waited for; what waits is waited for by the next [`Step::Transfer`].
    Submit,
    /// The row's FHE work: with the scheduler a host registers and sends one encrypted report, each in a round of its
    /// own; in the EVM a token is deployed, an encrypted amount brought in, and minted, which are three rounds.
    Encrypted,
    /// Transfers until an epoch has ended.
    NextEpoch,
    /// Waits until an event like this has been seen.
    Await(&'static str),
    /// SIGKILL, and the nodes stay down.
    Down(&'static [&'static str]),
    /// They are started again.
    Up(&'static [&'static str]),
    /// Cuts nodes off from all others.
    Isolate(&'static [&'static str]),
    /// Cuts the chain in two halves neither of which can decide: no block may come until they are joined again.
    Halt(&'static [&'static str]),
    /// Joins what was cut off.
    Heal,
    /// SIGKILL of nodes chosen by the seed, one after another while transfers go on.
    KillSome(u32),
}

/// One scenario and what must come of it. Events are matched as `name attribute=value ...`; nodes go by their names.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) faults: &'static [(&'static str, &'static str)],
    pub(crate) steps: &'static [Step],
    /// Events that must occur.
    pub(crate) must: &'static [&'static str],
    /// Events that must not occur.
    pub(crate) never: &'static [&'static str],
    /// Who is slashed, by how much and for what: exactly these.
    pub(crate) slashed: &'static [(&'static str, u128, &'static str)],
    /// Who is charged for liveness and why: exactly these, each once or more.
    pub(crate) charged: &'static [(&'static str, &'static str)],
    /// Rounds that fail: exactly so many, or with `None` at least one.
    pub(crate) failed: Option<usize>,
    /// Words that the log of a node must contain.
    pub(crate) logs: &'static [(&'static str, &'static str)],
    /// Whether nodes must have died, and been started again, at least so often in all.
    pub(crate) deaths: u32,
    /// The first operation on which workers differ, which the nodes must name; `None` if none is to be named.
    pub(crate) named: Option<&'static str>,
    /// Whether it is in the default suite.
    pub(crate) default: bool,
}

/// A row in which nothing happens; the others say what differs.
const ROW: Row = Row {
    name: "",
    shape: SMALL,
    faults: &[],
    steps: &[Step::Transfer(1)],
    must: &[],
    never: &[],
    slashed: &[],
    charged: &[],
    failed: Some(0),
    logs: &[],
    deaths: 0,
    named: None,
    default: false,
};

/// A tenth of a node's stake of a million.
const TENTH: u128 = 100_000;
const WRONG: &str = "wrong-result";
const EQUIVOCATION: &str = "equivocation";

/// Every row.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "honest",
        steps: &[Step::Transfer(2)],
        never: &["rounds.discrepancy", "rounds.proposal_dropped"],
        default: true,
        ..ROW
    },
    Row {
        name: "dishonest worker",
        faults: &[("compute-0", "wrong-root@1")],
        must: &["rounds.discrepancy cause=votes", "rounds.finalized scheduler=compute-1 discrepancy=true"],
        slashed: &[("compute-0", TENTH, WRONG)],
        default: true,
        ..ROW
    },
    Row {
        name: "dishonest scheduler",
        faults: &[("compute-1", "wrong-root-scheduler@1")],
        must: &["rounds.discrepancy cause=votes", "rounds.failed round=1 reason=scheduler-wrong"],
        slashed: &[("compute-1", TENTH, WRONG)],
        failed: Some(1),
        default: true,
        ..ROW
    },
    Row {
        name: "runaway scheduler",
        faults: &[("compute-1", "runaway@1")],
        must: &["rounds.proposal_dropped round=1", "rounds.finalized round=1 scheduler=compute-0 discrepancy=false"],
        charged: &[("compute-1", "scheduler-silent")],
        ..ROW
    },
    Row {
        name: "bogus transactions",
        faults: &[("compute-1", "bogus-transactions@1")],
        must: &["rounds.proposal_dropped round=1", "rounds.finalized round=1 scheduler=compute-0 discrepancy=false"],
        charged: &[("compute-1", "scheduler-silent")],
        default: true,
        ..ROW
    },
    Row {
        name: "invalid batch root",
        faults: &[("compute-1", "invalid-batch-root@1")],
        must: &[
            "refused call=rounds.announce signer=compute-1",
            "rounds.announced round=1 scheduler=compute-0 rank=1",
            "rounds.finalized round=1 scheduler=compute-0 discrepancy=false",
        ],
        never: &["rounds.announced round=1 scheduler=compute-1"],
        ..ROW
    },
    Row {
        name: "straggling worker",
        faults: &[("compute-0", "straggler@1")],
        must: &["rounds.discrepancy cause=timeout", "rounds.finalized round=1 scheduler=compute-1 discrepancy=true"],
        charged: &[("compute-0", "worker-absent")],
        ..ROW
    },
    Row {
        name: "straggling scheduler",
        faults: &[("compute-1", "straggler@1")],
        must: &[
            "rounds.proposal_dropped round=1",
            "rounds.discrepancy cause=timeout",
            "rounds.finalized round=1 scheduler=compute-0 discrepancy=true",
        ],
        charged: &[("compute-1", "scheduler-silent"), ("compute-1", "worker-absent")],
        ..ROW
    },
    Row {
        name: "straggling worker and backup",
        shape: WIDE,
        faults: &[("compute-0", "straggler@1"), ("compute-3", "straggler@1")],
        must: &["rounds.discrepancy cause=timeout", "rounds.finalized round=1 discrepancy=true"],
        charged: &[("compute-0", "worker-absent")],
        ..ROW
    },
    Row {
        name: "straggling worker within S",
        shape: LATE,
        faults: &[("compute-0", "straggler@1")],
        must: &["rounds.finalized round=1 scheduler=compute-2 discrepancy=false"],
        never: &["rounds.discrepancy", "rounds.proposal_dropped"],
        charged: &[("compute-0", "worker-absent")],
        default: true,
        ..ROW
    },
    Row {
        name: "straggling scheduler within S",
        shape: LATE,
        faults: &[("compute-2", "straggler@1")],
        must: &["rounds.proposal_dropped round=1", "rounds.finalized round=1 scheduler=compute-0 discrepancy=false"],
        never: &["rounds.discrepancy"],
        charged: &[("compute-2", "scheduler-silent"), ("compute-2", "worker-absent")],
        ..ROW
    },
    Row {
        name: "failing worker",
        faults: &[("compute-0", "failure@1")],
        must: &["rounds.discrepancy cause=failures", "rounds.finalized round=1 scheduler=compute-1 discrepancy=true"],
        charged: &[("compute-0", "failure")],
        default: true,
        ..ROW
    },
    Row {
        name: "failing scheduler",
        faults: &[("compute-1", "failure@1")],
        must: &[
            "refused call=rounds.commit signer=compute-1",
            "rounds.proposal_dropped round=1",
            "rounds.finalized round=1 scheduler=compute-0",
        ],
        charged: &[("compute-1", "scheduler-silent"), ("compute-1", "failure")],
        ..ROW
    },
    Row {
        name: "pre-emption",
        // From round 2 on: in an idle round, such as the first, every rank's window is open by the time work comes.
        faults: &[("compute-0", "preempt@2.."), ("compute-1", "preempt@2..")],
        steps: &[Step::Transfer(4)],
        must: &[
            "refused call=rounds.announce signer=compute-0",
            "refused call=rounds.announce signer=compute-1",
            "rounds.announced rank=0",
        ],
        never: &["rounds.announced rank=1"],
        ..ROW
    },
    Row {
        name: "dishonest backup",
        shape: WIDE,
        faults: &[("compute-0", "failure@1"), ("compute-3", "wrong-root-backup@1")],
        must: &["rounds.discrepancy cause=failures", "rounds.finalized round=1 discrepancy=true"],
        slashed: &[("compute-3", TENTH, WRONG)],
        charged: &[("compute-0", "failure")],
        ..ROW
    },
    Row {
        name: "two wrong in different ways",
        shape: WIDE,
        faults: &[("compute-0", "wrong-root@1"), ("compute-3", "wrong-root-backup@1")],
        must: &["rounds.discrepancy cause=votes", "rounds.finalized round=1 scheduler=compute-1 discrepancy=true"],
        slashed: &[("compute-0", TENTH, WRONG), ("compute-3", TENTH, WRONG)],
        ..ROW
    },
    // Whoever contradicts itself is found by honest nodes alone, and loses its seat in the block that convicts it. The
    // round under way may end with that, and the next committee then takes its transactions.
    Row {
        name: "worker signs two votes",
        shape: SPARE,
        faults: &[("compute-0", "equivocate-vote@1")],
        steps: &[Step::Transfer(1), Step::Await("rounds.epoch_transition"), Step::Transfer(1)],
        must: &[
            "rounds.evidence round=1 node=compute-0 kind=commitments",
            "standing.frozen node=compute-0 reason=equivocation until=3",
            "election.unseated node=compute-0",
        ],
        never: &["rounds.discrepancy", "rounds.proposal_dropped", "rounds.suspended"],
        slashed: &[("compute-0", TENTH, EQUIVOCATION)],
        ..ROW
    },
    Row {
        name: "scheduler signs two proposals",
        shape: SPARE,
        faults: &[("compute-1", "equivocate-proposal@1")],
        steps: &[Step::Transfer(1), Step::Await("rounds.epoch_transition"), Step::Transfer(1)],
        must: &[
            "rounds.announced round=1 scheduler=compute-1 rank=0",
            "refused call=rounds.announce signer=compute-1",
            "rounds.evidence round=1 node=compute-1 kind=proposals",
            "standing.frozen node=compute-1 reason=equivocation until=3",
            "election.unseated node=compute-1",
        ],
        never: &["rounds.discrepancy", "rounds.proposal_dropped", "rounds.suspended"],
        slashed: &[("compute-1", TENTH, EQUIVOCATION)],
        ..ROW
    },
    Row {
        name: "another batch in gossip than on chain",
        // Nobody waits for the seat, so that one of the two that are left sits in both lists.
        faults: &[("compute-1", "equivocate-batches@1")],
        steps: &[Step::Transfer(1), Step::Await("rounds.epoch_transition"), Step::Transfer(1)],
        must: &[
            "rounds.announced round=1 scheduler=compute-1 rank=0",
            "rounds.evidence round=1 node=compute-1 kind=proposals",
            "standing.frozen node=compute-1 reason=equivocation until=3",
            "election.unseated node=compute-1",
        ],
        never: &["rounds.discrepancy", "rounds.proposal_dropped", "rounds.suspended"],
        slashed: &[("compute-1", TENTH, EQUIVOCATION)],
        ..ROW
    },
    Row {
        name: "cheat at the end of an epoch",
        shape: Shape { round_timeout: 6, epoch: Some(160), ..SMALL },
        faults: &[("compute-0", "epoch-cheat")],
        steps: &[Step::NextEpoch],
        must: &["rounds.discrepancy cause=votes", "rounds.epoch_transition"],
        slashed: &[("compute-0", TENTH, WRONG)],
        failed: Some(0),
        ..ROW
    },
    Row {
        name: "tampering relay",
        shape: WIDE,
        faults: &[("compute-4", "tamper-relay")],
        steps: &[Step::Transfer(6)],
        never: &["rounds.discrepancy", "rounds.proposal_dropped"],
        logs: &[("compute-4", "node.fault_tampers"), ("compute-0", "peer.penalised"), ("compute-1", "peer.penalised")],
        ..ROW
    },
    Row {
        name: "all workers down",
        shape: Shape { round_interval: Some(40), ..SMALL },
        steps: &[
            Step::Transfer(1),
            Step::Down(&["compute-0", "compute-1"]),
            Step::Submit,
            Step::Await("rounds.failed reason=no-proposal"),
            Step::Up(&["compute-0", "compute-1"]),
            Step::Transfer(1),
        ],
        must: &["rounds.failed reason=no-proposal"],
        charged: &[("compute-0", "no-proposal"), ("compute-1", "no-proposal")],
        failed: None,
        ..ROW
    },
    Row {
        name: "all backups down",
        shape: WIDE,
        faults: &[("compute-1", "wrong-root@2")],
        steps: &[
            Step::Transfer(1),
            Step::Down(&["compute-2", "compute-3", "compute-4"]),
            // Round 2 fails, and round 3 takes its transactions.
            Step::Transfer(1),
            Step::Up(&["compute-2", "compute-3", "compute-4"]),
        ],
        must: &["rounds.discrepancy round=2 cause=votes", "rounds.failed round=2 reason=timeout"],
        charged: &[("compute-2", "backup-absent"), ("compute-3", "backup-absent"), ("compute-4", "backup-absent")],
        failed: Some(1),
        ..ROW
    },
    Row {
        name: "kill -9 of a worker at every step",
        shape: PATIENT,
        faults: &[
            ("compute-0", "crash-at=before-persist+after-publish-proposal+before-store-result+after-submit-commitment"),
            ("compute-1", "crash-at=after-persist+before-submit-announce+after-store-result+before-commit-state"),
        ],
        steps: &[Step::Transfer(6)],
        never: &["staking.slashed"],
        deaths: 8,
        ..ROW
    },
    Row {
        name: "kill -9 of workers and backup at every other step",
        shape: PATIENT,
        faults: &[
            (
                "compute-0",
                "crash-at=before-propose+after-submit-announce+before-start-execution+after-fetch-transactions",
            ),
            (
                "compute-1",
                "crash-at=after-propose+before-publish-proposal+after-start-execution+before-submit-commitment",
            ),
            (
                "compute-2",
                "crash-at=before-fetch-result+after-fetch-result+before-fetch-transactions+after-commit-state",
            ),
        ],
        steps: &[Step::Transfer(6)],
        never: &["staking.slashed"],
        deaths: 12,
        ..ROW
    },
    Row {
        name: "kill -9 of any node at any time",
        shape: Shape { validators: 4, ..PATIENT },
        steps: &[Step::Transfer(1), Step::KillSome(6)],
        never: &["staking.slashed"],
        deaths: 6,
        ..ROW
    },
    Row {
        name: "a worker and a validator cut off, healed",
        shape: Shape { validators: 4, links: true, ..SMALL },
        steps: &[
            Step::Transfer(1),
            Step::Isolate(&["validator-0", "compute-0"]),
            Step::Transfer(2),
            Step::Heal,
            Step::Transfer(1),
        ],
        must: &["rounds.discrepancy cause=timeout", "rounds.finalized round=2 scheduler=compute-1 discrepancy=true"],
        charged: &[("compute-0", "worker-absent")],
        ..ROW
    },
    Row {
        name: "the chain cut in halves, healed",
        shape: Shape { validators: 4, links: true, ..SMALL },
        steps: &[
            Step::Transfer(1),
            Step::Halt(&["validator-0", "validator-1", "compute-1"]),
            Step::Heal,
            Step::Transfer(1),
        ],
        ..ROW
    },
    Row {
        name: "corrupt ciphertext to a syncing peer",
        shape: SLOW,
        // The first peer that the backup asks.
        faults: &[("compute-0", "corrupt-blob")],
        steps: &[Step::Encrypted],
        never: &["rounds.discrepancy"],
        logs: &[("compute-0", "node.fault_corrupts"), ("compute-2", "worker.peer_sent_a_corrupt_ciphertext")],
        ..ROW
    },
    Row {
        name: "one flipped ciphertext bit",
        // The report is round 2, which compute-0 schedules.
        shape: SLOW,
        faults: &[("compute-1", "flip-bit")],
        steps: &[Step::Encrypted],
        must: &["rounds.discrepancy round=2 cause=votes", "rounds.finalized round=2 discrepancy=true"],
        slashed: &[("compute-1", TENTH, WRONG)],
        named: Some("table.map"),
        ..ROW
    },
    Row {
        name: "one flipped ciphertext bit, backups resume",
        shape: Shape { resume: true, ..SLOW },
        faults: &[("compute-1", "flip-bit")],
        steps: &[Step::Encrypted],
        must: &["rounds.discrepancy round=2 cause=votes", "rounds.finalized round=2 discrepancy=true"],
        slashed: &[("compute-1", TENTH, WRONG)],
        named: Some("table.map"),
        ..ROW
    },
    // The EVM. Where there is FHE work, round 1 deploys, round 2 takes the encrypted input, and round 3 mints.
    Row {
        name: "EVM: dishonest worker",
        shape: EVM,
        faults: &[("compute-0", "wrong-root@1")],
        must: &["rounds.discrepancy round=1 cause=votes", "rounds.finalized scheduler=compute-1 discrepancy=true"],
        slashed: &[("compute-0", TENTH, WRONG)],
        ..ROW
    },
    Row {
        name: "EVM: dishonest scheduler",
        shape: EVM,
        faults: &[("compute-1", "wrong-root-scheduler@1")],
        must: &["rounds.discrepancy round=1 cause=votes", "rounds.failed round=1 reason=scheduler-wrong"],
        slashed: &[("compute-1", TENTH, WRONG)],
        failed: Some(1),
        ..ROW
    },
    Row {
        name: "EVM: one flipped bit in an encrypted input",
        // The first program of all.
        shape: EVM_WIDE,
        faults: &[("compute-1", "flip-bit")],
        steps: &[Step::Encrypted],
        must: &["rounds.discrepancy round=2 cause=votes", "rounds.finalized round=2 discrepancy=true"],
        slashed: &[("compute-1", TENTH, WRONG)],
        named: Some("table.map"),
        ..ROW
    },
    Row {
        name: "EVM: one flipped bit in what a contract computes",
        // The second one, in the round that compute-1 schedules.
        shape: EVM_WIDE,
        faults: &[("compute-0", "flip-bit=1")],
        steps: &[Step::Encrypted],
        must: &["rounds.discrepancy round=3 cause=votes", "rounds.finalized round=3 discrepancy=true"],
        slashed: &[("compute-0", TENTH, WRONG)],
        named: Some("integer.select"),
        ..ROW
    },
];
