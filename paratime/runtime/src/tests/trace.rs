//! Leaves: one an input, one an operation, one a write.

use crate::program::InputKind;
use crate::trace::{ProvenLeaf, Trace, TraceLeaf, check, combine, leaf_count, leaves, output_digests, write_leaves};
use crate::{IntegerOp, Program, ProgramBuilder};
use parallax_primitives::{Digest, Domain, KeyId, merkle};
use parallax_state::{Changes, CipherRef, Value, blob_digest};

fn digests(n: usize) -> Vec<Digest> {
    (0..n).map(|i| Digest::of_value(Domain::Simulation, &(i as u64))).collect()
}

fn program() -> Program {
    let mut b = ProgramBuilder::new();
    let list = b.input(InputKind::Proven { blocks: 2 });
    let kept = b.input(InputKind::Stored { blocks: 1, max: 7 });
    let sum = b.linear(&[(list[0], 2), (list[1], -1)], 3);
    let _ = sum;
    let pair = b.two_tables(kept[0], [[1, 2, 3, 4, 5, 6, 7, 8], [0; 8]]);
    let (x, y) = (b.map(list[0], |x| x & 3), b.map(list[1], |x| x & 3));
    let add = b.radix(IntegerOp::Add, &[vec![x].into(), vec![y].into()]);
    b.output(pair.to_vec());
    b.output(add);
    b.build().expect("it is a valid program")
}

#[test]
fn leaves_name_every_input_and_operation_with_its_public_scalars() {
    let program = program();
    let (ciphers, values) = (digests(2), digests(program.value_count()));
    let leaves = leaves(&program, &ciphers, &values, &digests(2)).expect("the digests fit");
    let names: Vec<&str> = leaves.iter().map(|l| l.opcode.as_str()).collect();
    assert_eq!(
        names,
        [
            "input.expand 2",
            "input.stored 1 max 7",
            "linear [2,-1] + 3",
            "table.two [1,2,3,4,5,6,7,8] [0,0,0,0,0,0,0,0]",
            "table.map [0,1,2,3,0,1,2,3,0,1,2,3,0,1,2,3]",
            "table.map [0,1,2,3,0,1,2,3,0,1,2,3,0,1,2,3]",
            "integer.add [1,1]",
            "output 2",
            "output 1",
        ]
    );
    assert_eq!(leaves[0].inputs, [ciphers[0]]);
    assert_eq!(leaves[0].output, combine(&values[..2]));
    assert_eq!(leaves[2].inputs, [values[0], values[1]]);
    assert_eq!(leaves[3].output, combine(&values[4..6]));
    assert_eq!(leaves[6].inputs, [values[6], values[7]]);
    assert_eq!(leaves[6].output, values[8]);
    assert_eq!((&leaves[7].inputs[..], leaves[7].output), (&values[4..6], digests(2)[0]));
    assert_eq!(output_digests(&leaves), digests(2));
}

#[test]
fn digests_that_do_not_fit_are_noticed() {
    let program = program();
    let n = program.value_count();
    assert_eq!(leaves(&program, &digests(1), &digests(n), &digests(2)), None);
    assert_eq!(leaves(&program, &digests(2), &digests(n - 1), &digests(2)), None);
    assert_eq!(leaves(&program, &digests(2), &digests(n), &digests(1)), None);
}

#[test]
fn every_write_is_a_leaf_and_the_root_binds_order_and_place() {
    let cipher = CipherRef { key_id: KeyId([1; 32]), blocks: 1, digest: Digest([7; 32]) };
    let mut changes = Changes::default();
    changes.writes.insert(b"a".to_vec(), Some(Value::Plain(vec![1])));
    changes.writes.insert(b"b".to_vec(), Some(Value::Cipher(cipher)));
    changes.writes.insert(b"c".to_vec(), None);
    let leaves = write_leaves(&changes);
    let names: Vec<&str> = leaves.iter().map(|l| l.opcode.as_str()).collect();
    assert_eq!(names, ["state.put", "state.put_cipher", "state.delete"]);
    assert_eq!((leaves[0].output, leaves[1].output), (blob_digest(&[1]), cipher.digest));
    let mut swapped = leaves.clone();
    swapped.swap(0, 1);
    assert_ne!(Trace { leaves }.root(), Trace { leaves: swapped }.root());
}

/// Digests of all values and outputs of [`program`], none like another.
fn honest() -> (Program, Vec<Digest>, Vec<TraceLeaf>) {
    let program = program();
    let all = digests(2 + program.value_count() + 2);
    let (ciphers, rest) = all.split_at(2);
    let (values, outputs) = rest.split_at(program.value_count());
    let leaves = leaves(&program, ciphers, values, outputs).expect("the digests fit");
    (program, ciphers.to_vec(), leaves)
}

#[test]
fn leaves_of_another_program_or_of_other_inputs_are_told_by_their_place() {
    let (program, ciphers, honest) = honest();
    assert_eq!(honest.len(), leaf_count(&program));
    assert_eq!(check(&program, &ciphers, &honest), Ok(output_digests(&honest)));
    assert_eq!(check(&program, &ciphers, &honest[..5]), Err(5), "too few");
    assert_eq!(check(&program, &[ciphers[1], ciphers[0]], &honest), Err(0), "other inputs");
    // A result of an operation with several has no leaf of its own: who reads it first is believed, and the next
    // reader, or the combination, contradicts.
    for (at, told) in [0, 1, 4, 3, 4, 5, 6, 3, 8].into_iter().enumerate() {
        let mut renamed = honest.clone();
        renamed[at].opcode.push('x');
        assert_eq!(check(&program, &ciphers, &renamed), Err(at), "an opcode");
        let mut rewired = honest.clone();
        rewired[at].inputs[0] = Digest([7; 32]);
        assert_eq!(check(&program, &ciphers, &rewired), Err(told), "an input of leaf {at}");
    }
    let mut bent = honest.clone();
    bent[3].output = Digest([9; 32]);
    assert_eq!(check(&program, &ciphers, &bent), Err(3), "the results do not make the combination");
    bent = honest.clone();
    bent[4].output = Digest([9; 32]);
    assert_eq!(check(&program, &ciphers, &bent), Err(6), "the addition reads something else");
}

#[test]
fn a_proven_leaf_holds_for_its_place_and_root_only() {
    let (.., leaves) = honest();
    let trace = Trace { leaves };
    let proof = merkle::prove(&trace.digests(), 4).expect("there is such a leaf");
    let proven = ProvenLeaf { leaf: trace.leaves[4].clone(), proof };
    assert!(proven.verify(&trace.root()));
    let mut moved = proven.clone();
    moved.proof.index = 5;
    assert!(!moved.verify(&trace.root()));
    let mut altered = proven.clone();
    altered.leaf.output.0[0] ^= 1;
    assert!(!altered.verify(&trace.root()));
    assert!(!proven.verify(&Digest::ZERO));
}

#[test]
fn the_form_of_a_leaf_and_of_a_root_is_pinned() {
    let (.., leaves) = honest();
    let first = Trace::leaf_digest(0, &leaves[0]);
    assert_eq!(first.to_string(), "0xdc03bc1e27ff2b1ee672d7dea2364357ff67feafb0118eb1fd2042e321a37386");
    assert_eq!(
        Trace { leaves }.root().to_string(),
        "0xa9246c26e3dafcbbdf8a382e8a41677f0ed4a5c64a6daa0098be3f6ef107c72e"
    );
}
