//! Leaves: one an input, one an operation, one a write.

use crate::program::InputKind;
use crate::trace::{Trace, combine, leaves, write_leaves};
use crate::{IntegerOp, Program, ProgramBuilder};
use parallax_primitives::{Digest, Domain, KeyId};
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
    let add = b.integer(IntegerOp::Add, vec![vec![x], vec![y]]);
    b.output(pair.to_vec());
    b.output(add);
    b.build().expect("it is a valid program")
}

#[test]
fn leaves_name_every_input_and_operation_with_its_public_scalars() {
    let program = program();
    let (ciphers, values) = (digests(2), digests(program.value_count()));
    let leaves = leaves(&program, &ciphers, &values).expect("the digests fit");
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
        ]
    );
    assert_eq!(leaves[0].inputs, [ciphers[0]]);
    assert_eq!(leaves[0].output, combine(&values[..2]));
    assert_eq!(leaves[2].inputs, [values[0], values[1]]);
    assert_eq!(leaves[3].output, combine(&values[4..6]));
    assert_eq!(leaves[6].inputs, [values[6], values[7]]);
    assert_eq!(leaves[6].output, values[8]);
}

#[test]
fn digests_that_do_not_fit_are_noticed() {
    let program = program();
    let n = program.value_count();
    assert_eq!(leaves(&program, &digests(1), &digests(n)), None);
    assert_eq!(leaves(&program, &digests(2), &digests(n - 1)), None);
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
