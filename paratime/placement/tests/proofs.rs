//! The proof of a placement, from the decision to the host that reads it; and every way to falsify one.

#![allow(clippy::unwrap_used)]

mod common;

use common::{CHAIN, World, address, client, id, light, party, seed, v1};
use parallax_consensus_app::light::{LightClient, ProofBundle};
use parallax_kms::OpenError;
use parallax_placement::{Placement, PlacementProof, PlacementProofV1, ProofError, Reader};
use parallax_primitives::seal::OpeningKey;
use parallax_primitives::{Address, ChainContext, Digest, Epoch, Height, ParaTimeId, SecretKey};
use parallax_runtime::decryption::{Payload, SignedAnswer, SignedPermit};
use parallax_scheduler::keys;

fn reader(host: Address) -> Reader {
    Reader { paratime: id(), host, job: None, height: Height(500) }
}

fn open(proof: &PlacementProofV1) -> Result<Placement, ProofError> {
    v1(proof).open(&light(), id(), Height(500))
}

/// The world, its first job and the proof of its placement.
fn first() -> (World, Vec<Digest>, PlacementProofV1) {
    let (mut world, jobs) = World::placed();
    let proof = world.proof(10, &jobs[0]);
    (world, jobs, proof)
}

/// Signs an answer anew after a change, as a key manager that lies would.
fn resigned(proof: &PlacementProofV1, key: &SecretKey, change: impl Fn(&mut SignedAnswer)) -> PlacementProofV1 {
    let mut changed = proof.clone();
    for answer in &mut changed.answers {
        change(answer);
        *answer = SignedAnswer::sign(answer.answer.clone(), CHAIN, key);
    }
    changed
}

#[test]
fn the_chosen_host_believes_the_proof_and_every_other_host_refuses_it() {
    let (mut world, jobs) = World::placed();
    for (owner, job) in (10u8..).zip(&jobs) {
        let proof = world.proof(owner, job);
        let placement = open(&proof).unwrap();
        assert_eq!((placement.job, placement.owner), (*job, address(&client(owner))));
        assert_eq!(placement.shown.0, world.round);
        let decision = world.job(job).decision.unwrap();
        assert!(decision.candidates.iter().any(|c| c.host == placement.host && c.report == placement.report));
        let mut believers = 0;
        for n in 0..4 {
            let host = address(&client(n));
            match v1(&proof).verify(&light(), &reader(host)) {
                Ok(seen) => {
                    assert_eq!((seen.host, &seen), (host, &placement));
                    believers += 1;
                }
                Err(error) => assert_eq!(error, ProofError::OtherHost { host }),
            }
        }
        assert_eq!(believers, 1);
    }
}

#[test]
fn a_proof_survives_its_file_and_shows_no_host_or_key_in_debug_or_error() {
    let (_, _, proof) = first();
    let host = open(&proof).unwrap().host;
    let file = v1(&proof).to_json().unwrap();
    assert_eq!(PlacementProof::from_json(&file).unwrap(), v1(&proof));
    let shown = format!("{:?} {:?}", proof.opening, open(&proof).unwrap());
    assert!(!shown.contains(&host.to_string()) && !shown.contains("7777"), "{shown}");
    let refused = v1(&proof).verify(&light(), &reader(address(&client(60)))).unwrap_err();
    assert!(!refused.to_string().contains(&host.to_string()), "{refused}");
    let cut = PlacementProof::from_json(&file[..file.len() / 2]).unwrap_err();
    assert!(matches!(cut, ProofError::Malformed(_)), "{cut}");
    let altered = String::from_utf8(file.to_vec()).unwrap().replacen("\"opening\"", "\"secret\"", 1);
    assert!(matches!(PlacementProof::from_json(altered.as_bytes()), Err(ProofError::Malformed(_))));
}

#[test]
fn a_proof_of_another_job_or_of_another_owner_is_refused() {
    let (world, jobs, proof) = first();
    let host = open(&proof).unwrap().host;
    let expecting = Reader { job: Some(jobs[1]), ..reader(host) };
    let error = v1(&proof).verify(&light(), &expecting).unwrap_err();
    assert_eq!(error, ProofError::OtherJob { expected: jobs[1], given: jobs[0] });
    // The answers of one job beside the record of another.
    let mixed = PlacementProofV1 { job: jobs[1], record: world.prove(&keys::job(&jobs[1])), ..proof.clone() };
    assert_eq!(open(&mixed), Err(ProofError::BadPermit), "the permit is not of the second job's owner");
    let own = world.permit(&client(11), &jobs[1], &seed(0x77));
    let mixed = PlacementProofV1 { permit: own, ..mixed };
    assert_eq!(open(&mixed), Err(ProofError::OtherAnswer { party: 0, what: "job" }));
    // A record of another key than the job's.
    let mixed = PlacementProofV1 { record: world.prove(&keys::job(&jobs[1])), ..proof.clone() };
    assert_eq!(open(&mixed), Err(ProofError::OtherKey { what: "job" }));
    // A permit that somebody else signs for the same ciphertext.
    let stolen = world.permit(&client(11), &jobs[0], &seed(0x77));
    assert_eq!(open(&PlacementProofV1 { permit: stolen, ..proof }), Err(ProofError::BadPermit));
}

#[test]
fn an_expired_proof_is_refused() {
    let (_, _, proof) = first();
    let host = open(&proof).unwrap().host;
    let late = Reader { height: Height(1_001), ..reader(host) };
    let error = v1(&proof).verify(&light(), &late).unwrap_err();
    assert_eq!(error, ProofError::Expired { expires: Height(1_000), current: Height(1_001) });
    assert!(v1(&proof).verify(&light(), &Reader { height: Height(1_000), ..reader(host) }).is_ok());
    // A longer life than the owner asked the key managers for.
    let mut longer = proof.permit.permit.clone();
    longer.expires = Height(9_999);
    let extended = PlacementProofV1 { permit: SignedPermit::sign(longer, CHAIN, &client(10)), ..proof };
    assert_eq!(open(&extended), Err(ProofError::OtherAnswer { party: 0, what: "permit" }));
}

#[test]
fn an_owner_cannot_make_the_key_managers_say_something_else() {
    let (world, _, proof) = first();
    // Sealed anew, with another position: the signature is not over it.
    let mut forged = proof.clone();
    let (_, to) = OpeningKey::from_seed(&proof.opening.0);
    let info = parallax_runtime::decryption::request_digest(&proof.permit.permit);
    let rng = &mut <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(5);
    let other = parallax_primitives::seal::seal(rng, &to, &info.0, &[2, 0]).unwrap();
    forged.answers[0].answer.payload = Payload::Sealed(other);
    assert_eq!(open(&forged), Err(ProofError::Answers(OpenError::BadSignature { party: 0 })));
    // Signed by itself, or by a party of an old epoch.
    let own = resigned(&proof, &client(10), |_| ());
    assert_eq!(open(&own), Err(ProofError::Answers(OpenError::BadSignature { party: 0 })));
    let old = resigned(&proof, &party(), |a| a.answer.epoch = Epoch(1));
    assert_eq!(open(&old), Err(ProofError::Answers(OpenError::BadSignature { party: 0 })));
    // Another key pair: neither its own nor with a new permit.
    let other = PlacementProofV1 { opening: seed(0x78), ..proof.clone() };
    assert_eq!(open(&other), Err(ProofError::OtherKeyPair));
    let permit = world.permit(&client(10), &proof.job, &seed(0x78));
    let other = PlacementProofV1 { permit, ..other };
    assert_eq!(open(&other), Err(ProofError::OtherAnswer { party: 0, what: "permit" }));
    // The same answer twice does not count twice, and none is not enough.
    let twice = PlacementProofV1 { answers: vec![proof.answers[0].clone(), proof.answers[0].clone()], ..proof.clone() };
    assert_eq!(open(&twice), Err(ProofError::Answers(OpenError::DuplicateParty { party: 0 })));
    assert!(matches!(open(&PlacementProofV1 { answers: vec![], ..proof }), Err(ProofError::Malformed(_))));
}

#[test]
fn an_answer_given_under_another_root_or_about_something_else_is_refused() {
    let (mut world, _, proof) = first();
    for (what, change) in [
        ("state of the ParaTime", (|a| a.answer.state_root = Digest([1; 32])) as fn(&mut SignedAnswer)),
        ("state of the ParaTime", |a| a.answer.round = a.answer.round.next()),
        ("job", |a| a.answer.subject = Digest([1; 32])),
        ("permit", |a| a.answer.request = Digest([1; 32])),
        ("key", |a| a.answer.key_id = parallax_primitives::KeyId([9; 32])),
    ] {
        let changed = resigned(&proof, &party(), change);
        assert_eq!(open(&changed), Err(ProofError::OtherAnswer { party: 0, what }));
    }
    // The state moves on: the answer and both proofs must be of one round.
    let old = world.round;
    world.run(&[]);
    let newer = PlacementProofV1 { record: world.prove(&keys::job(&proof.job)), ..proof.clone() };
    assert_eq!(
        open(&newer),
        Err(ProofError::TwoStates {
            job: parallax_primitives::Round(world.round),
            params: parallax_primitives::Round(old)
        })
    );
    let both = PlacementProofV1 { params: world.prove(&keys::params()), ..newer };
    assert_eq!(open(&both), Err(ProofError::OtherAnswer { party: 0, what: "state of the ParaTime" }));
    // An old state can be proven later.
    let again = PlacementProofV1 {
        record: world.prove_at(old, &keys::job(&proof.job)),
        params: world.prove_at(old, &keys::params()),
        ..proof
    };
    assert!(open(&again).is_ok());
}

#[test]
fn headers_and_states_that_the_chain_does_not_hold_are_refused() {
    let (world, _, proof) = first();
    let altered = |change: fn(&mut parallax_consensus_app::light::ProofBundleV1)| {
        let ProofBundle::V1(mut inner) = proof.record.clone();
        change(&mut inner);
        open(&PlacementProofV1 { record: ProofBundle::V1(inner), ..proof.clone() })
    };
    for refused in [
        altered(|b| b.header.app_hash = Digest([3; 32])),
        altered(|b| b.certificate.signatures.clear()),
        altered(|b| b.paratime.as_mut().unwrap().block.state_root = Digest([3; 32])),
        altered(|b| b.validators.validators[0].power = 5),
    ] {
        assert!(matches!(refused, Err(ProofError::NotProven { what: "job", .. })), "{refused:?}");
    }
    // Only the ledger's part, without the ParaTime's.
    assert_eq!(altered(|b| b.paratime = None), Err(ProofError::OtherKey { what: "job" }));
    let elsewhere = LightClient::from_validators_hash(ChainContext(Digest([9; 32])), Digest([3; 32]));
    let refused = v1(&proof).open(&elsewhere, id(), Height(500));
    assert!(matches!(refused, Err(ProofError::NotProven { .. })), "{refused:?}");
    // Of another ParaTime than the host's.
    let refused = v1(&proof).open(&light(), ParaTimeId::named("other"), Height(500));
    assert_eq!(refused, Err(ProofError::OtherKey { what: "job" }));
    // A job that is not there.
    let none = Digest([0x99; 32]);
    let absent = PlacementProofV1 { job: none, record: world.prove(&keys::job(&none)), ..proof.clone() };
    assert_eq!(open(&absent), Err(ProofError::NoJob { job: none, round: parallax_primitives::Round(world.round) }));
}

#[test]
fn a_job_that_is_not_placed_has_no_proof() {
    let (mut world, jobs) = World::placed();
    let proof = world.proof(10, &jobs[0]);
    // A state from before the placement: the record is there, a winner is not.
    let early = (2..world.round)
        .find(|round| {
            let ProofBundle::V1(inner) = world.prove_at(*round, &keys::job(&jobs[0]));
            inner.paratime.unwrap().proof.value().is_some()
        })
        .unwrap();
    let old = PlacementProofV1 {
        record: world.prove_at(early, &keys::job(&jobs[0])),
        params: world.prove_at(early, &keys::params()),
        ..proof
    };
    assert_eq!(open(&old), Err(ProofError::NotPlaced { job: jobs[0], status: "pending" }));
}
