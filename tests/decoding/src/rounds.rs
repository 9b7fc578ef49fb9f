//! Messages of a committee, and the state in which they are counted.

use crate::{canonical, decodes};
use parallax_primitives::message::InMessage;
use parallax_primitives::{
    ChainContext, Digest, Domain, Epoch, Gas, Height, NodeId, ParaTimeId, SecretKey, limits, merkle,
};
use parallax_rounds::{
    Commitment, Committee, Evidence, Outcome, Phase, Proposal, RoundEvent, RoundParameters, RoundState,
    SignedCommitment, SignedProposal, Verified, messages_hash,
};
use std::sync::LazyLock;

pub(crate) const CHAIN: ChainContext = ChainContext(Digest([7; 32]));
const WORKERS: usize = 3;
const BACKUPS: usize = 3;

pub(crate) fn paratime() -> ParaTimeId {
    ParaTimeId::named("decoding")
}

pub(crate) fn digest(n: u64) -> Digest {
    Digest::of_value(Domain::Simulation, &n)
}

/// The committee's keys: workers first. The last worker is the first backup too.
static KEYS: LazyLock<Vec<SecretKey>> = LazyLock::new(|| (1..=5).map(|n| SecretKey::from_seed([n; 32])).collect());

pub(crate) fn member(node: &NodeId) -> Option<&'static SecretKey> {
    KEYS.iter().find(|k| k.public() == *node)
}

pub(crate) fn committee() -> Committee {
    let nodes: Vec<NodeId> = KEYS.iter().map(SecretKey::public).collect();
    let (workers, backups) = (nodes[..WORKERS].to_vec(), nodes[nodes.len() - BACKUPS..].to_vec());
    Committee { epoch: Epoch(0), workers, backups }
}

pub(crate) fn parameters() -> RoundParameters {
    RoundParameters {
        workers: 3,
        backups: 3,
        allowed_stragglers: 1,
        proposer_timeout: 4,
        round_timeout: 6,
        gas_per_block: Gas(10),
        max_batch_gas: Gas(100),
        max_round_interval: 40,
        ..parallax_consensus_app::localnet_rounds()
    }
}

/// Round 1, nothing announced.
pub(crate) static IDLE: LazyLock<RoundState> = LazyLock::new(|| {
    RoundState::new(paratime(), parameters(), digest(0), Some(committee()), Epoch(0), Height(1_000)).unwrap()
});

pub(crate) fn proposal() -> SignedProposal {
    let transactions = vec![digest(1), digest(2)];
    let scheduler = committee().worker_of_rank(IDLE.round(), 0).unwrap();
    let proposal = Proposal {
        scheduler,
        rank: 0,
        round: IDLE.round(),
        previous_hash: IDLE.last_hash(),
        batch_root: merkle::root(&transactions),
        transactions,
        gas: Gas(20),
    };
    SignedProposal::sign(proposal, CHAIN, paratime(), member(&scheduler).unwrap())
}

/// The same round with a live proposal.
pub(crate) static LIVE: LazyLock<RoundState> = LazyLock::new(|| {
    let mut state = IDLE.clone();
    let verified = Verified::<SignedProposal>::check(&state, CHAIN, proposal()).unwrap();
    state.apply(Height(1), RoundEvent::Announcement(verified)).unwrap();
    state
});

pub(crate) fn success(n: u64) -> Outcome {
    Outcome::Success {
        io_root: digest(n),
        state_root: digest(n),
        trace_root: digest(n),
        messages_hash: messages_hash::<parallax_primitives::message::OutMessage>(&[]),
        in_messages_hash: messages_hash::<InMessage>(&[]),
        in_messages_count: 0,
    }
}

pub(crate) fn commitment(worker: usize, outcome: Outcome) -> SignedCommitment {
    let key = &KEYS[worker];
    let commitment = Commitment {
        node: key.public(),
        proposal: LIVE.live().unwrap().digest,
        round: LIVE.round(),
        previous_hash: LIVE.last_hash(),
        outcome,
    };
    SignedCommitment::sign(commitment, vec![], CHAIN, paratime(), key)
}

/// Runs a machine to the end of its round, height by height; each height up to the last has something due.
fn to_the_end(mut state: RoundState) {
    let round = state.round();
    for _ in 0..8 {
        assert_eq!(RoundState::decode(&state.encode()).as_ref(), Ok(&state), "the stored form comes back");
        if state.round() != round {
            return;
        }
        let due = state.due().expect("a round under way ends by itself");
        state.apply(due, RoundEvent::Height).expect("a height is never refused");
    }
    panic!("the round {round} does not end: {state:?}");
}

pub(crate) fn decode_proposal(bytes: &[u8]) -> bool {
    decodes::<SignedProposal>("proposal", bytes, limits::MAX_TX_BYTES)
}

pub(crate) fn check_proposal(bytes: &[u8]) {
    let Some(signed) = canonical::<SignedProposal>("proposal", bytes, limits::MAX_TX_BYTES) else { return };
    let _ = Verified::<SignedProposal>::check(&IDLE, CHAIN, signed.clone());
    // What the scheduler itself could sign: everything but who, where and on what is the input's.
    let rank = signed.proposal.rank % 3;
    let scheduler = committee().worker_of_rank(IDLE.round(), rank).unwrap();
    let proposal =
        Proposal { scheduler, rank, round: IDLE.round(), previous_hash: IDLE.last_hash(), ..signed.proposal };
    let signed = SignedProposal::sign(proposal, CHAIN, paratime(), member(&scheduler).unwrap());
    let verified = Verified::<SignedProposal>::check(&IDLE, CHAIN, signed).expect("signed by the right scheduler");
    let root_holds = verified.get().proposal.root_holds();
    let mut state = IDLE.clone();
    let height = state.window(rank).unwrap();
    match state.apply(height, RoundEvent::Announcement(verified)) {
        Ok(_) => assert!(root_holds, "a live proposal lists what its root says"),
        Err(_) => assert_eq!(state, *IDLE, "what is refused changes nothing"),
    }
    to_the_end(state);
}

pub(crate) fn decode_commitment(bytes: &[u8]) -> bool {
    decodes::<SignedCommitment>("commitment", bytes, limits::MAX_TX_BYTES)
}

pub(crate) fn check_commitment(bytes: &[u8]) {
    let Some(signed) = canonical::<SignedCommitment>("commitment", bytes, limits::MAX_TX_BYTES) else { return };
    let _ = Verified::<SignedCommitment>::check(&LIVE, CHAIN, signed.clone());
    // What each member could sign: everything but who, where and on what is the input's.
    let mut state = LIVE.clone();
    for key in KEYS.iter() {
        let given = signed.commitment.clone();
        let live = LIVE.live().unwrap();
        let node = key.public();
        let (round, previous_hash) = (LIVE.round(), LIVE.last_hash());
        let commitment = Commitment { node, proposal: live.digest, round, previous_hash, outcome: given.outcome };
        let is_scheduler = node == live.signed.proposal.scheduler;
        let messages = if is_scheduler { signed.messages.clone() } else { vec![] };
        let again = SignedCommitment::sign(commitment, messages, CHAIN, paratime(), key);
        let Ok(verified) = Verified::<SignedCommitment>::check(&state, CHAIN, again) else {
            assert_ne!(state.round(), LIVE.round(), "a member's signature holds while its round runs");
            break;
        };
        let before = state.clone();
        match state.apply(Height(2), RoundEvent::Commitment(verified)) {
            Ok(effects) => assert!(
                effects.iter().all(|e| !matches!(e, parallax_rounds::Effect::SlashWrongResult { .. })),
                "nobody is slashed where all say the same"
            ),
            Err(_) => assert_eq!(state, before, "what is refused changes nothing"),
        }
    }
    to_the_end(state);
}

pub(crate) fn decode_evidence(bytes: &[u8]) -> bool {
    decodes::<Evidence>("evidence", bytes, limits::MAX_TX_BYTES)
}

/// Evidence that holds convicts a node of two different statements, in whichever order they were found; whoever signed
/// one of them only is never convicted.
pub(crate) fn check_evidence(bytes: &[u8]) {
    let Some(evidence) = canonical::<Evidence>("evidence", bytes, limits::MAX_TX_BYTES) else { return };
    let (offence, kind) = (evidence.offence(), evidence.kind());
    assert!(offence.is_ok() || evidence.verify(CHAIN, paratime()).is_err(), "{kind}: no offence is proven");
    let again = match &evidence {
        Evidence::Commitments(a, b) => {
            let sign = |signed: &SignedCommitment| {
                member(&signed.commitment.node)
                    .map(|key| SignedCommitment::sign(signed.commitment.clone(), vec![], CHAIN, paratime(), key))
            };
            let (Some(a), Some(b)) = (sign(a), sign(b)) else { return };
            assert_eq!(Evidence::of_commitments(&a, &b), Evidence::of_commitments(&b, &a), "the order does not matter");
            assert!(Evidence::of_commitments(&a, &a).is_none(), "one statement is no evidence");
            Evidence::of_commitments(&a, &b)
        }
        Evidence::Proposals(a, b) => {
            let sign = |signed: &SignedProposal| {
                member(&signed.proposal.scheduler)
                    .map(|key| SignedProposal::sign(signed.proposal.clone(), CHAIN, paratime(), key))
            };
            let (Some(a), Some(b)) = (sign(a), sign(b)) else { return };
            assert_eq!(Evidence::of_proposals(&a, &b), Evidence::of_proposals(&b, &a), "the order does not matter");
            assert!(Evidence::of_proposals(&a, &a).is_none(), "one statement is no evidence");
            Evidence::of_proposals(&a, &b)
        }
    };
    if let Some(again) = again {
        assert!(again.verify(CHAIN, paratime()).is_ok(), "what contradicts itself and is signed convicts");
        assert!(again.verify(ChainContext(Digest([8; 32])), paratime()).is_err(), "on no other chain");
    } else {
        assert!(offence.is_err(), "an offence can be proven by who finds it");
    }
}

pub(crate) fn decode_state(bytes: &[u8]) -> bool {
    RoundState::decode(bytes).is_ok()
}

/// The state comes from proofs and snapshots as well as from the own disk: reading from it must be safe whatever it
/// holds. It is applied to only by the ledger that wrote it.
pub(crate) fn check_state(bytes: &[u8]) {
    let Ok(state) = RoundState::decode(bytes) else { return };
    assert_eq!(state.encode(), bytes, "a round state has one encoding");
    let _ =
        (state.due(), state.round(), state.has_work(), state.offered_in_messages().len(), state.queued_in_messages());
    for rank in [0, 1, state.parameters().workers, u16::MAX] {
        let _ = (state.window(rank), state.heartbeat(rank));
        let _ = state.committee().map(|c| c.worker_of_rank(state.round(), rank));
    }
    for height in [Height(0), state.epoch_end(), Height::MAX] {
        if let Some(room) = state.gas_room(height) {
            assert!(room <= state.parameters().max_batch_gas, "no more room than a batch may have");
        }
    }
    if let (Some(committee), Phase::Announced { live, .. } | Phase::Detect { live, .. } | Phase::Resolve { live, .. }) =
        (state.committee(), state.phase())
    {
        let scheduler = live.signed.proposal.scheduler;
        let _ = committee.rank_of(state.round(), &scheduler);
        let _ = Verified::<SignedProposal>::check(&state, CHAIN, live.signed.clone());
    }
}
