//! From the proof to the anchor on the chain, and what a host or an owner cannot make up.

#![allow(clippy::unwrap_used)]

mod common;

use common::{World, client, id, light, v1};
use parallax_placement::{AcknowledgementError, Placement, acknowledge, check, countersign};
use parallax_primitives::{Digest, Height, ImageDigest, SecretKey};
use parallax_scheduler::{Call, Progress, SignedAcknowledgement};

const IMAGE: ImageDigest = ImageDigest([9; 32]);

/// The first job's placement, and its host's key.
fn placement(world: &mut World, jobs: &[Digest]) -> (Placement, SecretKey) {
    let proof = world.proof(10, &jobs[0]);
    let placement = v1(&proof).open(&light(), id(), Height(500)).unwrap();
    let host = (0..4).map(client).find(|key| common::address(key) == placement.host).unwrap();
    (placement, host)
}

#[test]
fn host_and_owner_go_from_proof_to_anchor_and_the_chain_takes_what_both_signed() {
    let (mut world, jobs) = World::placed();
    let (placement, host) = placement(&mut world, &jobs);
    let accepted = acknowledge(&placement, &host, Some(IMAGE), Progress::Accepted).unwrap();
    let both = countersign(&placement, accepted, &client(10)).unwrap();
    let anchor = both.host.acknowledgement.anchor();
    let batch = [world.tx(&client(10), Call::AnchorDeployment { job: jobs[0], replica: 0, anchor })];
    world.run(&batch);
    // A later word opens the same anchor: the salt is the same.
    let finished = acknowledge(&placement, &host, Some(IMAGE), Progress::Finished).unwrap();
    let both = countersign(&placement, finished, &client(10)).unwrap();
    assert_eq!(both.host.acknowledgement.anchor(), anchor);
    let file = serde_json::to_string(&both).unwrap();
    assert_eq!(serde_json::from_str::<parallax_scheduler::Countersigned>(&file).unwrap(), both);
    let batch = [world.tx(&host, Call::OpenAnchor(Box::new(both)))];
    let done = world.run(&batch);
    assert_eq!(done.events[0].name, "scheduler.anchor_opened");
}

#[test]
fn nobody_acknowledges_for_another_and_nothing_but_this_placement_is_countersigned() {
    let (mut world, jobs) = World::placed();
    let (placement, host) = placement(&mut world, &jobs);
    let stranger = (0..4).map(client).find(|key| common::address(key) != placement.host).unwrap();
    let refused = acknowledge(&placement, &stranger, Some(IMAGE), Progress::Accepted).unwrap_err();
    assert_eq!(refused, AcknowledgementError::NotTheHost);
    assert!(!refused.to_string().contains(&placement.host.to_string()));
    let refused = acknowledge(&placement, &host, None, Progress::Accepted);
    assert_eq!(refused, Err(AcknowledgementError::NoImage { job: jobs[0] }));
    let named = Placement { image: Some(ImageDigest([1; 32])), ..placement.clone() };
    let refused = acknowledge(&named, &host, Some(IMAGE), Progress::Accepted);
    assert!(matches!(refused, Err(AcknowledgementError::OtherImage { .. })));
    let good = acknowledge(&placement, &host, Some(IMAGE), Progress::Accepted).unwrap();
    assert_eq!(check(&named, &good), Err(AcknowledgementError::Other { what: "image" }));
    let refused = countersign(&placement, good.clone(), &client(11));
    assert_eq!(refused, Err(AcknowledgementError::NotTheOwner { job: jobs[0] }));
    // One byte of the word, or of another job's, or of another host's.
    let mut altered = good.clone();
    altered.acknowledgement.status = Progress::Finished;
    assert_eq!(check(&placement, &altered), Err(AcknowledgementError::BadSignature));
    let mut said = good.acknowledgement.clone();
    said.job = jobs[1];
    let replayed = SignedAcknowledgement::sign(said, &host);
    assert_eq!(check(&placement, &replayed), Err(AcknowledgementError::Other { what: "job or decision" }));
    let mut said = good.acknowledgement.clone();
    said.host = common::address(&stranger);
    let foreign = SignedAcknowledgement::sign(said, &stranger);
    assert_eq!(check(&placement, &foreign), Err(AcknowledgementError::Other { what: "host" }));
    assert_eq!(check(&placement, &good), Ok(()));
}
