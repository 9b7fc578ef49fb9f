//! What operations cost, by tfhe's counter: one program an operation, and the comparison with its price.

use super::child;
use parallax_fhe::TfheBackend;
use parallax_primitives::{Digest, Gas};
use parallax_runtime::{
    FheBackend, InputKind, IntegerOp, Op, Operand, Program, ProgramBuilder, ReRandomization, Table, ValueId, gas,
};
use std::path::Path;

/// Blocks of the input: eight digits of two bits and a bit. Larger operands repeat the digits.
const DIGITS: usize = 8;
const BLOCKS: u16 = DIGITS as u16 + 1;

/// A program, its name, and the number of linear combinations in it.
pub(crate) struct Priced {
    pub(crate) name: String,
    pub(crate) program: Program,
    linear: u64,
}

impl Priced {
    fn new(name: String, kind: InputKind, body: impl FnOnce(&mut ProgramBuilder, &[ValueId]) -> Vec<ValueId>) -> Self {
        let mut p = ProgramBuilder::new();
        let values = p.input(kind);
        p.assume(values[DIGITS], 0, 1, "the test encrypts a bit");
        let output = body(&mut p, &values);
        p.output(output);
        let program = p.build().unwrap();
        let linear = program.ops().iter().filter(|op| matches!(op, Op::Linear { .. })).count() as u64;
        Self { name, program, linear }
    }

    /// The price of so many bootstraps in this program: re-randomisation and linear combinations are apart.
    pub(crate) fn gas(&self, pbs: u64) -> Gas {
        Gas(pbs * gas::PBS + u64::from(BLOCKS) * gas::RERANDOMIZATION + self.linear * gas::LINEAR)
    }
}

/// Taking in a proven list, which is also the input of the others.
pub(crate) fn expansion() -> Priced {
    Priced::new("expansion".to_owned(), InputKind::Proven { blocks: BLOCKS }, |_, values| values.to_vec())
}

/// How many of [`large`] are not priced exactly.
pub(crate) const BOUNDS: usize = 3;

const STORED: InputKind = InputKind::Stored { blocks: BLOCKS, max: 3 };

/// Tables and linear combinations.
fn basic() -> Vec<Priced> {
    let new = |name: &str, body: fn(&mut ProgramBuilder, ValueId, ValueId) -> Vec<ValueId>| {
        Priced::new(name.to_owned(), STORED, |p, values| body(p, values[0], values[1]))
    };
    vec![
        new("linear", |p, x, _| vec![p.linear(&[(x, -1)], 3)]),
        new("table.map", |p, x, _| vec![p.map(x, |v| 15 - v)]),
        new("table.nonnegative", |p, x, y| {
            let difference = p.linear(&[(x, 1), (y, -1)], 0);
            vec![p.table(difference, Table::NonNegative { amplitude: 7 })]
        }),
        new("table.folded", |p, x, y| {
            let difference = p.linear(&[(x, 1), (y, -1)], 0);
            vec![p.folded(difference, std::array::from_fn(|x| x as u8), 15)]
        }),
        new("table.two-signed", |p, x, y| {
            let difference = p.linear(&[(x, 1), (y, -1)], 0);
            p.two_signed(difference, [[1, 2, 3, 4, 5, 6, 7, 8, 9], [0; 9]]).to_vec()
        }),
        new("table.two", |p, x, _| p.two_tables(x, [[0, 1, 2, 3, 4, 5, 6, 7], [9; 8]]).to_vec()),
    ]
}

/// An integer operation on operands of `blocks`.
fn integer(op: IntegerOp, blocks: usize) -> Priced {
    Priced::new(format!("{} on {blocks} blocks", op.name()), STORED, |p, values| {
        let operand = |from: usize| Operand::Value((0..blocks).map(|i| values[(from + i) % DIGITS]).collect());
        let mut operands = vec![operand(0)];
        if op.arity() > 1 {
            operands.push(operand(DIGITS / 2));
        }
        if op == IntegerOp::Select {
            operands.insert(0, values[DIGITS..].into());
        }
        p.radix(op, &operands)
    })
}

fn integers(sizes: &[usize]) -> impl Iterator<Item = Priced> {
    let on_values = IntegerOp::ALL.into_iter().filter(|op| op.accepts_value() && !op.is_shift());
    let on_values: Vec<IntegerOp> = on_values.collect();
    sizes.iter().flat_map(move |n| on_values.clone().into_iter().map(|op| integer(op, *n)))
}

/// Every operation, integers on 1, 2 and 4 blocks: 231 bootstraps with the expansion, about six core-seconds.
pub(crate) fn small() -> Vec<Priced> {
    basic().into_iter().chain(integers(&[1, 2, 4])).collect()
}

/// Integers of the other sizes that are priced exactly, and some beyond where formula or bound begin: 2,146 bootstraps,
/// about 55 core-seconds. The last [`BOUNDS`] are priced by a bound.
pub(crate) fn large() -> Vec<Priced> {
    use IntegerOp::{Eq, Lt, Min, Mul, Ne};
    let beyond = [(Lt, 16), (Min, 16), (Lt, 60), (Eq, 16), (Ne, 32), (Mul, 11), (Mul, 16), (Lt, 64)];
    integers(&[3, 5, 6, 7, 8]).chain(beyond.map(|(op, n)| integer(op, n))).collect()
}

/// What the counter says of the expansion and then of each program of a task of the child process, where nothing else
/// spends a bootstrap.
pub(crate) fn counted(task: &str, dir: &Path) -> Vec<u64> {
    std::fs::write(dir.join("input"), super::list(&[3, 1, 0, 2, 1, 3, 2, 0, 1])).unwrap();
    let report = child(task, dir);
    report.lines().filter_map(|l| l.strip_prefix("CHILD ")).map(|l| l.parse().unwrap()).collect()
}

/// The child's part: the count of the expansion, then of each program on the expanded input.
pub(crate) fn count(backend: &TfheBackend, programs: &[Priced], dir: &Path) {
    let seed = ReRandomization { seed: Digest([4; 32]) };
    let run = |program: &Program, input: &[u8]| {
        tfhe::reset_pbs_count();
        let mut done = backend.evaluate(backend.key_ids()[0], program, &[input], &seed, &|| false).unwrap();
        println!("\nCHILD {}", tfhe::get_pbs_count());
        done.outputs.remove(0)
    };
    let stored = run(&expansion().program, &std::fs::read(dir.join("input")).unwrap());
    for priced in programs {
        run(&priced.program, &stored);
    }
}
