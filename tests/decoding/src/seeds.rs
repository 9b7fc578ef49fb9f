//! Valid encodings, a few for each target: where fuzzing begins. Deterministic, so that they can be written again
//! after a format has changed: `cargo run -p parallax-decoding --example seeds -- fuzz/corpus`.

use crate::messages::user;
use crate::rounds::{self, CHAIN, LIVE, digest, paratime, success};
use crate::{evm, ledger, messages};
use parallax_consensus_app::tx::Call;
use parallax_evm::permit;
use parallax_kms::{AuditEntry, AuditRecord, DecryptionRequest, DecryptionResponse, Refusal};
use parallax_primitives::message::{InMessage, OutMessage};
use parallax_primitives::seal::OpeningKey;
use parallax_primitives::{
    Address, Amount, Digest, Epoch, EthereumKey, EthereumSignature, Event, Gas, Height, KeyId, Nonce, Round, encode,
    merkle,
};
use parallax_rounds::{Evidence, FailureReason, Outcome, RoundEvent, SignedCommitment, Verified, messages_hash};
use parallax_runtime::decryption::{Answer, Payload, Permit, SignedAnswer, SignedPermit};
use parallax_runtime::{Trace, TraceLeaf, TxResult};
use parallax_scheduler::{Call as SchedulerCall, EncryptedList, TxBody};
use parallax_state::{CipherRef, Value};
use parallax_worker::{PeerRequest, PeerResponse, Record, RoundResult, StatePart};

/// A seed: the target's name, its own, and the bytes.
pub type Seed = (&'static str, &'static str, Vec<u8>);

fn tagged<T: borsh::BorshSerialize>(tag: u8, value: &T) -> Vec<u8> {
    [&[tag][..], &encode(value)].concat()
}

/// All seeds.
pub fn all() -> Vec<Seed> {
    [of_rounds(), of_peers(), of_ledger(), of_decryption(), of_evm()].concat()
}

fn of_evm() -> Vec<Seed> {
    evm::seeds().into_iter().map(|(name, bytes)| ("evm_transaction", name, bytes)).collect()
}

fn of_rounds() -> Vec<Seed> {
    let failure = Outcome::Failure { reason: FailureReason::Unavailable };
    let mut paying = rounds::commitment(2, success(1));
    paying.messages = vec![OutMessage::Transfer { to: Address([1; 20]), amount: Amount(5) }];
    if let Outcome::Success { messages_hash: named, .. } = &mut paying.commitment.outcome {
        *named = messages_hash(&paying.messages);
    }
    let mut seeds = vec![
        ("proposal", "valid", encode(&rounds::proposal())),
        ("commitment", "success", encode(&rounds::commitment(0, success(1)))),
        ("commitment", "failure", encode(&rounds::commitment(1, failure.clone()))),
        ("commitment", "messages", encode(&paying)),
    ];
    let (one, two) = (rounds::commitment(0, success(1)), rounds::commitment(0, success(2)));
    seeds.extend(Evidence::of_commitments(&one, &two).map(|e| ("evidence", "commitments", encode(&e))));
    let mut other = rounds::proposal();
    other.proposal.gas = Gas(21);
    seeds.extend(Evidence::of_proposals(&rounds::proposal(), &other).map(|e| ("evidence", "proposals", encode(&e))));
    // One state a phase.
    let mut state = LIVE.clone();
    seeds.push(("round_state", "idle", rounds::IDLE.encode()));
    seeds.push(("round_state", "announced", state.encode()));
    let mut commit = |worker, outcome| {
        let signed = rounds::commitment(worker, outcome);
        let verified = Verified::<SignedCommitment>::check(&state, CHAIN, signed).unwrap();
        state.apply(Height(2), RoundEvent::Commitment(verified)).unwrap();
        state.encode()
    };
    let scheduler =
        rounds::committee().workers.iter().position(|w| *w == LIVE.live().unwrap().signed.proposal.scheduler);
    let scheduler = scheduler.unwrap();
    seeds.push(("round_state", "detect", commit(scheduler, success(1))));
    seeds.push(("round_state", "resolve", commit((scheduler + 1) % 3, success(2))));
    let message = InMessage { id: 0, caller: Address([2; 20]), tokens: Amount(3), data: vec![1, 2, 3] };
    state.apply(Height(3), RoundEvent::InMessageQueued(message)).unwrap();
    state
        .apply(Height(3), RoundEvent::EpochEnded { committee: None, epoch: Epoch(1), epoch_end: Height(2_000) })
        .unwrap();
    seeds.push(("round_state", "handover", state.encode()));
    seeds
}

fn of_peers() -> Vec<Seed> {
    let leaf = |n: u64| TraceLeaf {
        opcode: "table.map [0,1,2,3]".to_owned(),
        inputs: vec![digest(n), digest(n + 1)],
        output: digest(n + 2),
    };
    let reference = CipherRef { key_id: KeyId([1; 32]), blocks: 2, digest: digest(3) };
    let result = RoundResult {
        round: Round(1),
        proposal: digest(1),
        results: vec![TxResult { tx: digest(2), gas: Gas(3), outcome: Ok(vec![1]) }],
        events: vec![Event::new("job.accepted").with("job", 7)],
        writes: [
            (b"a".to_vec(), Some(Value::Plain(vec![1, 2]))),
            (b"b".to_vec(), Some(Value::Cipher(reference))),
            (b"c".to_vec(), None),
        ]
        .into_iter()
        .collect(),
        gas: Gas(20),
        pbs: 4,
    };
    let values = vec![(vec![1], Value::Plain(vec![2])), (vec![2], Value::Cipher(reference))];
    let state = StatePart { values, last: true };
    let body = |call| TxBody { chain: CHAIN, paratime: paratime(), nonce: Nonce(0), gas_price: Amount(1), call };
    let list = EncryptedList { key_id: KeyId([1; 32]), epoch: Epoch(0), bytes: vec![7; 24] };
    let root = merkle::root(&[digest(1)]);
    vec![
        ("trace", "three", encode(&Trace { leaves: vec![leaf(1), leaf(2), leaf(3)] })),
        ("trace", "empty", encode(&Trace::default())),
        ("peer_message", "ask-batch", tagged(0, &PeerRequest::Batch { round: Round(1), batch_root: root })),
        ("peer_message", "ask-result", tagged(0, &PeerRequest::Result { round: Round(1), proposal: digest(1) })),
        ("peer_message", "ask-blob", tagged(0, &PeerRequest::Blob { digest: digest(1) })),
        ("peer_message", "ask-state", tagged(0, &PeerRequest::State { round: Round(1), after: vec![1; 3] })),
        ("peer_message", "state", tagged(1, &PeerResponse::State(Some(state)))),
        ("peer_message", "batch", tagged(1, &PeerResponse::Batch(Some(vec![vec![1; 3], vec![]])))),
        ("peer_message", "result", tagged(1, &PeerResponse::Result(Some(result)))),
        ("peer_message", "blob", tagged(1, &PeerResponse::Blob(Some(vec![9; 40])))),
        ("peer_message", "proposed", tagged(2, &Record::Proposed(rounds::proposal()))),
        ("peer_message", "voted", tagged(2, &Record::Voted(rounds::commitment(0, success(1))))),
        (
            "scheduler_transaction",
            "transfer",
            body(SchedulerCall::Transfer { to: Address([1; 20]), amount: Amount(5) }).sign(&user()),
        ),
        ("scheduler_transaction", "report", body(SchedulerCall::ReportTelemetry(list)).sign(&user())),
        (
            "scheduler_transaction",
            "answer",
            body(SchedulerCall::DeliverAnswer { answers: vec![answer()] }).sign(&user()),
        ),
    ]
}

fn of_ledger() -> Vec<Seed> {
    let tx = |call| ledger::transaction(call).encode();
    let commitments = vec![rounds::commitment(0, success(1)), rounds::commitment(1, success(2))];
    let (one, two) = (rounds::commitment(0, success(1)), rounds::commitment(0, success(2)));
    let evidence = Evidence::of_commitments(&one, &two).map(Box::new);
    let convict = |evidence| Call::SubmitEvidence { paratime: paratime(), evidence };
    let convict = evidence.map(|evidence| ("consensus_transaction", "evidence", tx(convict(evidence))));
    let mut seeds = vec![
        ("consensus_transaction", "transfer", tx(Call::Transfer { to: Address([1; 20]), amount: Amount(5) })),
        ("consensus_transaction", "escrow", tx(Call::Escrow { to: Address::of(&user().public()), amount: Amount(5) })),
        (
            "consensus_transaction",
            "reclaim",
            tx(Call::Reclaim { from: Address::of(&user().public()), amount: Amount(5) }),
        ),
        (
            "consensus_transaction",
            "announce",
            tx(Call::Announce { paratime: paratime(), proposal: rounds::proposal() }),
        ),
        ("consensus_transaction", "commit", tx(Call::Commit { paratime: paratime(), commitments })),
        ("proof", "bundle", tagged(2, &ledger::bundle())),
        ("proof", "set", tagged(3, &ledger::set())),
    ];
    seeds.extend(convict);
    let names = ["present", "absent"];
    seeds.extend(ledger::state_proofs().iter().zip(names).map(|(proof, name)| ("proof", name, tagged(0, proof))));
    let items: Vec<_> = (0..5).map(digest).collect();
    seeds.extend(merkle::prove(&items, 3).map(|proof| ("proof", "list", tagged(1, &proof))));
    seeds
}

fn answer() -> SignedAnswer {
    let answer = Answer {
        paratime: paratime(),
        key_id: KeyId([1; 32]),
        cipher: digest(1),
        request: digest(2),
        party: 0,
        parties: 1,
        threshold: 0,
        epoch: Epoch(0),
        height: Height(3),
        round: Round(2),
        state_root: digest(3),
        subject: digest(4),
        payload: Payload::Public(vec![1]),
    };
    SignedAnswer::sign(answer, CHAIN, &messages::user())
}

/// A user's request for a value of a contract, whose signature holds.
fn request() -> permit::SignedPermit {
    let (contract, key) = (Address([0xc1; 20]), EthereumKey::derive(&[7; 32]));
    let permit = permit::Permit {
        public_key: OpeningKey::from_seed(&[3; 32]).1,
        contracts: vec![contract],
        delegator: Some(Address([0xd1; 20])),
        start: 1_800_000_000,
        days: 7,
        extra: vec![0],
    };
    // An `euint64` of chain 31337.
    let mut handle = [0xab; 32];
    handle[22..].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0x7a, 0x69, 5, 0]);
    let signature = key.sign(&permit.digest(31_337, &Address([0x5f; 20])).0);
    permit::SignedPermit {
        permit,
        user: key.address(),
        pairs: vec![permit::Pair { handle: Digest(handle), contract }],
        signature: signature.unwrap_or(EthereumSignature([0; 65])),
    }
}

fn of_decryption() -> Vec<Seed> {
    let permit = Permit {
        paratime: paratime(),
        cipher: digest(1),
        requester: user().public(),
        seal_to: OpeningKey::from_seed(&[3; 32]).1,
        expires: Height(50),
    };
    let permit = SignedPermit::sign(permit, CHAIN, &user());
    let entry = AuditEntry {
        paratime: paratime(),
        cipher: digest(1),
        requester: Some(Address::of(&user().public())),
        request: digest(2),
        height: Height(3),
        outcome: Err((4, "refused".to_owned())),
    };
    let refusal = DecryptionResponse::RefusalV1 { code: 4, message: "no grant".to_owned() };
    vec![
        (
            "decryption",
            "public",
            tagged(0, &DecryptionRequest::PublicV1 { cipher: digest(1), bundle: ledger::bundle() }),
        ),
        ("decryption", "user", tagged(0, &DecryptionRequest::UserV1 { permit, bundle: ledger::bundle() })),
        ("decryption", "answer", tagged(1, &DecryptionResponse::AnswerV1(Box::new(answer())))),
        ("decryption", "refusal", tagged(1, &refusal)),
        ("decryption", "audit", tagged(2, &AuditRecord::V1(entry))),
        (
            "decryption",
            "audit-user",
            tagged(2, &AuditRecord::evm_user(paratime(), &request(), Height(3), &Err(Refusal::OtherGrant))),
        ),
        ("decryption", "permit", tagged(3, &request())),
        ("decryption", "permit-json", [&[4][..], &serde_json::to_vec(&request()).unwrap()].concat()),
    ]
}
