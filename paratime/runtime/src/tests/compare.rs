//! Comparison of traces, and the record of what it showed.

use crate::compare::{ComparedTrace, Divergence, Found, NotProven, TraceDigests, compare};
use crate::trace::{ProvenLeaf, Trace, TraceLeaf};
use parallax_primitives::{Digest, Domain, NodeId, Round, SecretKey, decode, encode, merkle};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn node(n: u8) -> NodeId {
    SecretKey::from_seed([n + 1; 32]).public()
}

fn leaf(n: u64) -> TraceLeaf {
    let digest = Digest::of_value(Domain::Simulation, &n);
    TraceLeaf { opcode: format!("table.map [{n}]"), inputs: vec![digest], output: digest }
}

fn trace(numbers: &[u64]) -> Trace {
    Trace { leaves: numbers.iter().map(|n| leaf(*n)).collect() }
}

fn proven(trace: &Trace, index: usize) -> ProvenLeaf {
    let proof = merkle::prove(&trace.digests(), index).expect("there is such a leaf");
    ProvenLeaf { leaf: trace.leaves[index].clone(), proof }
}

#[test]
fn equal_traces_agree_to_their_end_and_no_operation_is_named() {
    let one = TraceDigests::of(&trace(&[1, 2, 3]));
    let found = compare(&BTreeMap::from([(node(0), &one), (node(1), &one)]));
    assert_eq!((found.agreed, found.groups), (3, vec![]));
    assert_eq!(compare(&BTreeMap::new()).agreed, 0);
}

#[test]
fn digests_that_do_not_lie_under_the_root_are_not_taken() {
    let honest = trace(&[1, 2, 3]);
    let (mut digests, root) = (honest.digests(), honest.root());
    assert!(TraceDigests::verified(digests.clone(), &root).is_some());
    assert!(TraceDigests::verified(digests[..2].to_vec(), &root).is_none(), "the root binds the count");
    digests.swap(0, 1);
    assert!(TraceDigests::verified(digests, &root).is_none());
}

proptest! {
    #[test]
    fn the_first_leaf_that_any_two_have_otherwise_is_named_with_who_has_what(
        length in 1usize..80,
        faults in proptest::collection::vec(proptest::option::of(0usize..80), 2..6),
    ) {
        // Each replica with a fault has another leaf there and everywhere after it, as a wrong value spreads.
        let of = |n: usize, fault: Option<usize>| {
            let from = fault.map_or(length, |f| f % length);
            let number = |i: usize| if i < from { i as u64 } else { 1_000 * (n as u64 + 1) + i as u64 };
            TraceDigests::of(&trace(&(0..length).map(number).collect::<Vec<_>>()))
        };
        let all: Vec<TraceDigests> = faults.iter().enumerate().map(|(n, f)| of(n, *f)).collect();
        let by_node: BTreeMap<NodeId, &TraceDigests> = all.iter().enumerate().map(|(n, t)| (node(n as u8), t)).collect();
        let found = compare(&by_node);
        let first = faults.iter().flatten().map(|f| f % length).min();
        prop_assert_eq!(found.agreed, first.unwrap_or(length) as u64);
        prop_assert_eq!(found.groups.is_empty(), first.is_none());
        let named: usize = found.groups.iter().map(|(_, nodes)| nodes.len()).sum();
        prop_assert_eq!(named, if first.is_none() { 0 } else { all.len() });
        for (digest, nodes) in &found.groups {
            for node in nodes {
                prop_assert_eq!(by_node[node].digests().get(found.agreed as usize).copied(), *digest);
            }
        }
        // Some other replica than the first may be the reference: the outcome is the same from every end.
        let backwards: BTreeMap<NodeId, &TraceDigests> =
            all.iter().rev().enumerate().map(|(n, t)| (node(n as u8), t)).collect();
        prop_assert_eq!(compare(&backwards).agreed, found.agreed);
    }

    #[test]
    fn a_trace_that_ends_early_differs_where_it_ends(short in 0usize..20, more in 1usize..20) {
        let numbers: Vec<u64> = (0..(short + more) as u64).collect();
        let (long, cut) = (TraceDigests::of(&trace(&numbers)), TraceDigests::of(&trace(&numbers[..short])));
        let found = compare(&BTreeMap::from([(node(0), &long), (node(1), &cut)]));
        prop_assert_eq!(found.agreed, short as u64);
        prop_assert_eq!(&found.groups[0], &(None, vec![node(1)]));
        prop_assert_eq!(&found.groups[1].1, &vec![node(0)]);
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(record) = decode::<Divergence>("divergence", &bytes, 1 << 20) {
            let _ = record.verify();
            prop_assert_eq!(encode(&record), bytes.clone());
        }
        if let Ok(leaf) = decode::<ProvenLeaf>("leaf", &bytes, 1 << 20) {
            prop_assert!(!leaf.verify(&Digest([1; 32])));
            prop_assert_eq!(encode(&leaf), bytes);
        }
    }

    #[test]
    fn a_record_with_any_bit_changed_is_refused_or_says_the_same(bit in 0usize..4_000) {
        let (record, ..) = record();
        let mut bytes = encode(&record);
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = decode::<Divergence>("divergence", &bytes, 1 << 20)
            && other.verify().is_ok()
        {
            // Round, proposal and how many leaves a trace has are not what the leaves prove.
            prop_assert_eq!(other.found, record.found);
            prop_assert_eq!(other.agreed, record.agreed);
        }
    }
}

fn record() -> (Divergence, Trace, Trace) {
    let (honest, wrong) = (trace(&[1, 2, 3, 4]), trace(&[1, 2, 30, 40]));
    let traces = [(node(0), &honest), (node(1), &wrong)];
    let record = Divergence {
        round: Round(7),
        proposal: Digest([1; 32]),
        traces: traces
            .iter()
            .map(|(node, t)| ComparedTrace { node: *node, trace_root: t.root(), leaves: Some(4) })
            .collect(),
        agreed: 2,
        found: traces.iter().map(|(node, t)| Found { nodes: vec![*node], leaf: Some(proven(t, 2)) }).collect(),
    };
    (record, honest, wrong)
}

#[test]
fn a_record_is_checked_against_the_votes_and_nothing_else_passes() {
    let (record, honest, wrong) = record();
    assert_eq!(record.verify(), Ok(()));
    assert_eq!(record.leaf_of(&record.found[0]).map(|p| p.proof.index), Some(2));
    let bad = |n: u8| Err(NotProven::BadProof { node: node(n), index: 2 });
    let mut other = record.clone();
    other.traces[1].trace_root = honest.root();
    assert_eq!(other.verify(), bad(1), "the node voted for something else");
    other = record.clone();
    other.found[1].leaf = Some(proven(&wrong, 3));
    assert_eq!(other.verify(), bad(1), "a leaf of the same trace, but not the first that differs");
    other = record.clone();
    other.found[1].leaf = None;
    assert_eq!(other.verify(), bad(1), "no leaf at all");
    other = record.clone();
    other.found[1].nodes.push(node(5));
    assert_eq!(other.verify(), Err(NotProven::UnknownNode(node(5))));
    other = record.clone();
    other.traces[1].trace_root = honest.root();
    other.found[1].leaf = other.found[0].leaf.clone();
    assert_eq!(other.verify(), Err(NotProven::SameLeaf));
}

#[test]
fn a_record_of_a_trace_that_ends_shows_its_last_leaf() {
    let (mut record, _, _) = record();
    let short = trace(&[1, 2]);
    record.traces[1] = ComparedTrace { node: node(1), trace_root: short.root(), leaves: Some(2) };
    record.found[1].leaf = Some(proven(&short, 1));
    assert_eq!(record.verify(), Ok(()));
    assert_eq!(record.leaf_of(&record.found[1]), None);
    // The last but one leaf of a longer trace is no proof that it ends there.
    let long = trace(&[1, 2, 3]);
    record.traces[1].trace_root = long.root();
    record.found[1].leaf = Some(proven(&long, 1));
    assert!(record.verify().is_err());
}
