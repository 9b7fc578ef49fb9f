//! What the builder accepts, what it knows, and what it refuses.

use crate::builder::MAX_OUTPUT_BLOCKS;
use crate::program::{Fact, InputKind, MAX_NOISE, Table, ValueId};
use crate::{IntegerOp, ProgramBuilder, ProgramError};
use proptest::prelude::*;

fn stored(blocks: u16, max: u8) -> InputKind {
    InputKind::Stored { blocks, max }
}

/// What the builder makes of one circuit on sixteen blocks of 0..=15.
fn build(circuit: impl FnOnce(&mut ProgramBuilder, &[ValueId])) -> Result<crate::Program, ProgramError> {
    let mut b = ProgramBuilder::new();
    let v = b.input(stored(16, 15));
    circuit(&mut b, &v);
    b.output(vec![v[0]]);
    b.build()
}

#[test]
fn a_table_takes_only_what_is_in_its_domain() {
    let ok = |min: i32, max: i32| {
        build(|b, v| {
            let spread = b.map(v[0], |x| if x > 7 { (max - min) as u8 } else { 0 });
            let x = b.linear(&[(spread, 1)], min);
            b.map(x, |x| x);
        })
    };
    assert!(ok(0, 15).is_ok());
    assert!(matches!(ok(-1, 2), Err(ProgramError::OutOfDomain { min: -1, domain_min: 0, .. })));
    assert!(matches!(ok(11, 16), Err(ProgramError::OutOfDomain { max: 16, domain_max: 15, .. })));
    assert!(
        build(|b, v| {
            let x = b.linear(&[(v[0], 1), (v[1], -1)], -1);
            b.non_negative(x, 1);
        })
        .is_ok()
    );
    let below = build(|b, v| {
        let x = b.linear(&[(v[0], 1), (v[1], -1)], -2);
        b.non_negative(x, 1);
    });
    assert!(matches!(below, Err(ProgramError::OutOfDomain { min: -17, .. })));
    assert!(matches!(
        build(|b, v| {
            b.two_tables(v[0], [[0; 8]; 2]);
        }),
        Err(ProgramError::OutOfDomain { max: 15, domain_max: 7, .. })
    ));
}

#[test]
fn noise_is_counted_over_independent_sources() {
    let noise = |terms: &[(usize, i32)]| {
        let mut b = ProgramBuilder::new();
        let v = b.input(stored(30, 1));
        let pair = b.two_tables(v[0], [[0, 1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]]);
        let all: Vec<ValueId> = v.iter().copied().chain(pair).collect();
        let terms: Vec<(ValueId, i32)> = terms.iter().map(|(i, c)| (all[*i], *c)).collect();
        let twice = b.linear(&terms, 0);
        b.output(vec![v[0]]);
        b.build().map(|p| p.facts()[twice.0 as usize].noise)
    };
    assert_eq!(noise(&[(0, 1), (1, 1), (2, -1)]), Ok(3));
    assert_eq!(noise(&[(0, 3), (1, 4)]), Ok(MAX_NOISE));
    assert_eq!(noise(&[(0, 1), (0, 1)]), Ok(4), "one value twice is one source with coefficient 2");
    assert_eq!(noise(&[(30, 1), (31, 1)]), Ok(4), "two results of one bootstrap count as correlated");
    let many: Vec<(usize, i32)> = (0..26).map(|i| (i, 1)).collect();
    assert!(matches!(noise(&many), Err(ProgramError::TooNoisy { noise: 26, limit: 25, .. })));
    assert!(matches!(noise(&[(0, 5), (1, 1)]), Err(ProgramError::TooNoisy { noise: 26, .. })));
}

#[test]
fn the_same_operation_on_the_same_values_is_one_source_of_noise_and_costs_once() {
    let mut b = ProgramBuilder::new();
    let v = b.input(stored(4, 3));
    let again = |b: &mut ProgramBuilder| {
        let sum = b.linear(&[(v[0], 1), (v[1], 1)], 0);
        let table = b.map(sum, |x| x / 3);
        let pair = b.two_tables(v[2], [[0, 1, 1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]]);
        let number = b.radix(IntegerOp::Add, &[vec![v[2], v[3]].into(), vec![v[2], v[3]].into()]);
        (sum, table, pair, number)
    };
    let (first, second) = (again(&mut b), again(&mut b));
    assert_eq!(first, second);
    // In another order of its terms, and merged from parts, a sum is the same one.
    assert_eq!(b.linear(&[(v[1], 1), (v[0], 2), (v[0], -1)], 0), first.0);
    assert_ne!(b.map(first.0, |x| x / 2), first.1, "another table is another bootstrap");
    let twice = b.linear(&[(first.1, 1), (second.1, 1)], 0);
    b.output(vec![first.1]);
    let program = b.build().expect("it is a valid program");
    assert_eq!(program.facts()[twice.0 as usize].noise, 4, "not 2, as for independent ones");
    assert_eq!(program.ops().len(), 6);
}

#[test]
fn what_cancels_is_known_to_cancel() {
    let program = build(|b, v| {
        let sum = b.linear(&[(v[0], 1), (v[1], 1)], 3);
        let back = b.linear(&[(sum, 1), (v[1], -1)], 0);
        b.assume(back, 3, 18, "it is what the builder knows already");
    })
    .expect("it is a valid program");
    assert_eq!(program.facts().last(), Some(&Fact { min: 3, max: 18, noise: 1 }));
}

#[test]
fn an_output_is_four_bits_with_nominal_noise() {
    let output = |terms: &'static [(usize, i32)], constant| {
        let mut b = ProgramBuilder::new();
        let v = b.input(stored(2, 7));
        let terms: Vec<(ValueId, i32)> = terms.iter().map(|(i, c)| (v[*i], *c)).collect();
        let x = b.linear(&terms, constant);
        b.output(vec![x]);
        b.build()
    };
    assert!(output(&[(0, 1)], 8).is_ok());
    assert!(output(&[(0, -1)], 7).is_ok());
    assert!(output(&[], 3).is_ok());
    assert!(matches!(output(&[(0, 1)], 9), Err(ProgramError::BadOutput { max: 16, .. })));
    assert!(matches!(output(&[(0, 1)], -1), Err(ProgramError::BadOutput { min: -1, .. })));
    assert!(matches!(output(&[(0, 1), (1, 1)], 0), Err(ProgramError::BadOutput { noise: 2, .. })));
}

#[test]
fn mistakes_in_form_are_refused() {
    let bad_table = build(|b, v| {
        b.table(v[0], Table::Map([16; 16]));
    });
    assert!(matches!(bad_table, Err(ProgramError::BadTable { op: 0 })));
    for amplitude in [0, 16] {
        let bad = build(|b, v| {
            b.non_negative(v[0], amplitude);
        });
        assert!(matches!(bad, Err(ProgramError::BadTable { .. })));
    }
    for (entries, sum) in [([0; 16], 0), ([0; 16], 16), ([4; 16], 3)] {
        let bad = build(|b, v| {
            b.folded(v[0], entries, sum);
        });
        assert!(matches!(bad, Err(ProgramError::BadTable { .. })));
    }
    let unknown = build(|b, _| {
        b.map(ValueId(99), |x| x);
    });
    assert!(matches!(unknown, Err(ProgramError::UnknownValue { value: 99, .. })));
    let late = build(|b, v| {
        b.map(v[0], |x| x);
        b.input(stored(1, 1));
    });
    assert!(matches!(late, Err(ProgramError::InputAfterOperation { input: 1 })));
    let wide = build(|b, v| {
        b.radix(IntegerOp::Add, &[vec![v[0]].into(), vec![v[1]].into()]);
    });
    assert!(matches!(wide, Err(ProgramError::BadOperands { .. })), "a block of an integer holds two bits");
    let contradiction = build(|b, v| b.assume(v[0], 16, 20, "it is false"));
    assert!(matches!(contradiction, Err(ProgramError::Contradiction { .. })));
    assert!(matches!(ProgramBuilder::new().build(), Err(ProgramError::Size { what: "outputs", .. })));
    let full = |blocks: usize| {
        let mut p = ProgramBuilder::new();
        let value = p.linear(&[], 1);
        p.output(vec![value; blocks]);
        p.output(vec![value; MAX_OUTPUT_BLOCKS / 2]);
        p.build()
    };
    assert!(full(MAX_OUTPUT_BLOCKS / 2).is_ok());
    let error = full(MAX_OUTPUT_BLOCKS / 2 + 1).unwrap_err();
    assert_eq!(error, ProgramError::Size { what: "blocks of all outputs", actual: 16_385, limit: 16_384 });
}

#[test]
fn counts_digest_and_gas_follow_from_the_program() {
    let make = |amplitude| {
        let mut b = ProgramBuilder::new();
        let v = b.input(InputKind::Proven { blocks: 2 });
        let d = b.linear(&[(v[0], 1), (v[1], -1)], 0);
        let s = b.non_negative(d, amplitude);
        b.output(vec![s]);
        b.build().expect("it is a valid program")
    };
    let program = make(1);
    assert_eq!((program.pbs(), program.value_count(), program.input_blocks()), (3, 4, 2));
    assert_eq!(program.gas().0, 3 * crate::gas::PBS + 2 * crate::gas::RERANDOMIZATION + crate::gas::LINEAR);
    assert_eq!(program.digest(), make(1).digest());
    assert_ne!(program.digest(), make(2).digest());
}

proptest! {
    /// Random circuits of linear steps and tables, evaluated on random inputs: every value is within what the builder
    /// claims of it.
    #[test]
    fn every_value_stays_within_its_claimed_range(
        inputs in prop::collection::vec(0u8..=15, 4),
        steps in prop::collection::vec((0usize..40, 0usize..40, -2i32..=2, -3i32..=3, 0u8..4), 1..25),
    ) {
        let mut b = ProgramBuilder::new();
        let v = b.input(stored(4, 15));
        let mut values: Vec<(ValueId, i64)> = v.iter().zip(&inputs).map(|(v, x)| (*v, i64::from(*x))).collect();
        let mut refused = 0;
        for (i, j, c, constant, kind) in steps {
            let ((x, a), (y, bb)) = (values[i % values.len()], values[j % values.len()]);
            let mut attempt = ProgramBuilder::new();
            std::mem::swap(&mut attempt, &mut b);
            // A step that the builder refuses is undone by building on from a copy without it.
            let copy = attempt.clone();
            let (id, number) = match kind {
                0 => (attempt.linear(&[(x, 1), (y, c)], constant), a + i64::from(c) * bb + i64::from(constant)),
                1 => (attempt.map(x, |x| x / 3), a / 3),
                2 => {
                    let entries: [u8; 16] = std::array::from_fn(|x| x as u8 / 2 + 1);
                    let entry = i64::from(entries[a.rem_euclid(16) as usize]);
                    (attempt.folded(x, entries, 9), if a >= 0 { entry } else { 9 - entry })
                }
                _ => (attempt.non_negative(x, 9), if a >= 0 { 9 } else { 0 }),
            };
            let mut probe = attempt.clone();
            probe.output(vec![v[0]]);
            match probe.build() {
                Ok(program) => {
                    let fact = program.facts()[id.0 as usize];
                    prop_assert!((fact.min..=fact.max).contains(&number), "{number} is not in {fact:?}");
                    prop_assert!(fact.noise <= MAX_NOISE);
                    values.push((id, number));
                    b = attempt;
                }
                Err(_) => {
                    refused += 1;
                    b = copy;
                }
            }
        }
        prop_assert!(refused <= 25);
    }
}

#[test]
fn trivial_encryptions_whose_digits_are_one_value_take_every_operation() {
    use crate::{FheType, Operand, Scalar};
    for ty in FheType::ALL {
        for op in IntegerOp::ALL.into_iter().filter(|op| op.arity() == 2) {
            for byte in [0, 1, 0x55, 0xff] {
                let number = Scalar([byte; 32]);
                let mut b = ProgramBuilder::new();
                let x = b.trivial(ty, number);
                let out = b.integer(op, ty, &[Operand::Value(x), Operand::Scalar(number)]);
                b.output(out);
                let noisy = matches!(b.build(), Err(ProgramError::TooNoisy { .. }));
                assert!(!noisy, "{} of {ty} on {byte:#x} repeated", op.name());
            }
        }
    }
}
