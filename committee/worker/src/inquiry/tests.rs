use super::*;
use crate::seams::TracePart;
use parallax_primitives::{Round, SecretKey};

fn leaf(n: u8) -> TraceLeaf {
    TraceLeaf { opcode: "add".to_owned(), inputs: vec![], output: Digest([n; 32]) }
}

fn trace(leaves: &[u8]) -> Trace {
    Trace { leaves: leaves.iter().map(|n| leaf(*n)).collect() }
}

/// A dispute of workers with these traces.
fn dispute(traces: &[&Trace], resume_from: Option<u16>) -> Dispute {
    let node = |n: usize| SecretKey::from_seed([u8::try_from(n).unwrap() + 1; 32]).public();
    let votes = traces.iter().enumerate().map(|(n, trace)| (node(n), trace.root())).collect();
    Dispute { round: Round(3), proposal: Digest([9; 32]), votes, resume_from }
}

fn verified(trace: &Trace) -> (Digest, TraceDigests) {
    (trace.root(), TraceDigests::verified(trace.digests(), &trace.root()).unwrap())
}

fn digests(count: u64, items: &[Digest]) -> Option<PeerResponse> {
    Some(PeerResponse::TraceDigests(Some(TracePart { count, items: items.to_vec() })))
}

#[test]
fn digests_count_only_if_all_of_them_lie_under_the_signed_root() {
    let (right, other) = (trace(&[1, 2, 3]), trace(&[1, 2, 4]));
    let (given, dispute) = (right.digests(), dispute(&[&right], None));
    let mut fetch = DigestsFetch::new(right.root());
    assert_eq!(fetch.take(digests(3, &given[..2])), Digests::Part);
    let next = PeerRequest::TraceDigests { round: Round(3), proposal: dispute.proposal, from: 2 };
    assert_eq!(fetch.request(&dispute), next);
    assert_eq!(fetch.take(digests(3, &given[2..])), Digests::Verified(verified(&right).1));

    let taken = |answer| DigestsFetch::new(right.root()).take(answer);
    assert_eq!(taken(digests(3, &other.digests())), Digests::False);
    assert_eq!(taken(digests(3, &[])), Digests::False, "it would never end");
    assert_eq!(taken(digests(MAX_TRACE_LEAVES as u64 + 1, &given)), Digests::Withheld, "no trace is that long");
    assert_eq!(taken(Some(PeerResponse::TraceDigests(None))), Digests::Withheld);
    assert_eq!(taken(None), Digests::Withheld);
}

#[test]
fn leaves_are_taken_up_to_the_first_that_is_not_the_agreed_one_and_go_on_from_there_with_another_peer() {
    let right = trace(&[1, 2, 3]);
    let part =
        |leaves: &[u8]| Some(PeerResponse::TraceLeaves(Some(TracePart { count: 3, items: trace(leaves).leaves })));
    let mut fetch = LeavesFetch::new(right.digests());
    assert!(fetch.take(part(&[1, 7, 3])));
    assert_eq!(fetch.complete(), None);
    let request = fetch.request(&dispute(&[&right], None));
    assert!(matches!(request, PeerRequest::TraceLeaves { from: 1, .. }), "{request:?}");
    assert!(!fetch.take(part(&[7])), "nothing of it is right");
    assert!(!fetch.take(None));
    assert!(fetch.take(part(&[2, 3, 4])), "what is more than wanted is left out");
    assert_eq!(fetch.complete(), Some(&right.leaves[..]));
}

#[test]
fn a_common_beginning_is_agreed_on_only_by_so_many_traces_that_one_is_honest() {
    let (a, b) = (trace(&[1, 2, 3]), trace(&[1, 2, 4]));
    let both: BTreeMap<_, _> = [verified(&a), verified(&b)].into();
    let one: BTreeMap<_, _> = [verified(&a)].into();
    let agreed = |resume_from, traces: &BTreeMap<_, _>| {
        let dispute = dispute(&[&a, &b], resume_from);
        Compared::of(&dispute, traces.clone()).agreed(&dispute).map(|digests| digests.len())
    };
    assert_eq!(agreed(Some(2), &both), Some(2), "the first two operations");
    assert_eq!(agreed(Some(2), &one), None, "the second trace was withheld");
    assert_eq!(agreed(Some(1), &one), Some(3), "one worker is honest by itself");
    assert_eq!(agreed(Some(3), &both), None, "too few voted");
    assert_eq!(agreed(Some(0), &both), None, "nobody proves nothing");
    assert_eq!(agreed(None, &both), None, "the ParaTime has everything executed");
    let apart = trace(&[5]);
    let dispute = dispute(&[&a, &apart], Some(2));
    assert_eq!(Compared::of(&dispute, [verified(&a), verified(&apart)].into()).agreed(&dispute), None);
}
