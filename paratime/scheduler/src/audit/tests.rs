//! The circuits against the statement, for random values and at every border.

use super::circuit::{audit_program, capacity_outputs, capacity_program};
use super::statement::{Capacity, is_consistent, score};
use crate::model::{Policy, Report};
use parallax_clear::{ClearBackend, ClearCipher, ClearDecryptor};
use parallax_primitives::{Digest, KeyId};
use parallax_runtime::{ClientCipher, Decryptor, FheBackend, Op, Program, ReRandomization};
use proptest::prelude::*;
use std::collections::BTreeMap;

const ALL: [Policy; 3] = [Policy::Pack, Policy::Spread, Policy::Cost];

/// Runs a program on plain digits: what it computes, without stand-in ciphertexts. Asserts every table's domain.
fn interpret(program: &Program, inputs: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut values: Vec<i64> = inputs.iter().flatten().map(|v| i64::from(*v)).collect();
    assert_eq!(values.len(), program.input_blocks());
    let at = |values: &[i64], v: &parallax_runtime::ValueId| values[v.0 as usize];
    for op in program.ops() {
        let next = match op {
            Op::Linear { terms, constant } => {
                terms.iter().fold(i64::from(*constant), |sum, (v, c)| sum + i64::from(*c) * at(&values, v))
            }
            Op::Table { input, table } => table.value(at(&values, input)).expect("in the table's domain"),
            Op::TwoTables { .. } | Op::TwoSigned { .. } | Op::Integer { .. } | Op::Random { .. } => {
                panic!("these circuits have none")
            }
        };
        values.push(next);
    }
    let read = |v| u8::try_from(at(&values, v)).expect("a block");
    program.outputs().iter().map(|blocks| blocks.iter().map(read).collect()).collect()
}

/// The programs of some policies and a price.
struct Bench {
    policies: Vec<Policy>,
    capacity: Program,
    audit: Program,
    price: u8,
}

impl Bench {
    fn new(policies: &[Policy], price: u8) -> Self {
        let capacity = capacity_program(policies).expect("it builds");
        let audit = audit_program(policies, price).expect("it builds");
        Self { policies: policies.to_vec(), capacity, audit, price }
    }

    fn says(&self, report: &Report, capacity: &Capacity) -> bool {
        let mut inputs = vec![report.unchecked_digits(&self.policies).expect("it has every score")];
        inputs.extend(interpret(&self.capacity, &[capacity.unchecked_digits()]));
        match interpret(&self.audit, &inputs)[0][..] {
            [bit @ 0..=1] => bit == 1,
            _ => panic!("one bit"),
        }
    }

    fn check(&self, report: &Report, capacity: &Capacity) -> bool {
        let expected = is_consistent(report, capacity, self.price, &self.policies);
        assert_eq!(self.says(report, capacity), expected, "{:?} {:?}", shown(report), shown_capacity(capacity));
        expected
    }
}

type Row = (u8, u8, u8, u8, u8);

/// What a failure shows: these are test data.
fn shown(r: &Report) -> (Row, Vec<u8>) {
    ((r.cpu, r.memory, r.gpus, r.share, r.latency), r.scores.values().copied().collect())
}

fn shown_capacity(c: &Capacity) -> (u8, u8, u8) {
    (c.cpu, c.memory, c.gpus)
}

/// A report whose scores follow, but for `off` added to the one of a policy.
fn report((cpu, memory, gpus, share, latency): Row, c: &Capacity, price: u8, off: Option<(Policy, u8)>) -> Report {
    let mut report = Report { cpu, memory, gpus, share, latency, labels: 0x5a, scores: BTreeMap::new() };
    for policy in ALL {
        let right = score(policy, &report, c, price).unwrap_or(0);
        let shift = off.filter(|(p, _)| *p == policy).map_or(0, |(_, by)| by);
        report.scores.insert(policy, right.wrapping_add(shift));
    }
    report
}

fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![4 => any::<u8>(), 1 => Just(0u8), 1 => Just(255), 2 => 1u8..8]
}

fn cases(default: u32) -> ProptestConfig {
    // PARALLAX_CASES raises the number for a long run.
    let cases = std::env::var("PARALLAX_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    ProptestConfig { cases, ..ProptestConfig::default() }
}

thread_local! {
    static BENCH: Bench = Bench::new(&ALL, 77);
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn the_circuit_equals_the_statement_for_any_values(
        free in (byte(), byte(), 0u8..16, byte(), 0u8..16),
        capacity in (byte(), byte(), 0u8..16),
        scores in prop_oneof![
            3 => Just(None),
            3 => (0usize..3, prop_oneof![Just(1u8), Just(255), any::<u8>()]).prop_map(Some),
        ],
    ) {
        let capacity = Capacity { cpu: capacity.0, memory: capacity.1, gpus: capacity.2 };
        let off = scores.map(|(policy, by)| (ALL[policy], by));
        BENCH.with(|bench| bench.check(&report(free, &capacity, 77, off), &capacity));
    }

    #[test]
    fn a_consistent_honest_report_is_never_found_false_and_a_wrong_score_always_is(
        capacity in (1u8..=255, 1u8..=255, 0u8..=8),
        parts in (any::<u8>(), any::<u8>(), any::<u8>(), 0u8..=100, 0u8..16),
        wrong in (0usize..3, 1u8..=255),
    ) {
        let capacity = Capacity { cpu: capacity.0, memory: capacity.1, gpus: capacity.2 };
        let of = |part: u8, total: u8| (u16::from(part) * (u16::from(total) + 1) / 256) as u8;
        let share = if capacity.gpus == 0 { 0 } else { parts.3 };
        let free = (of(parts.0, capacity.cpu), of(parts.1, capacity.memory), of(parts.2, capacity.gpus), share, parts.4);
        BENCH.with(|bench| {
            prop_assert!(bench.check(&report(free, &capacity, 77, None), &capacity));
            let lie = report(free, &capacity, 77, Some((ALL[wrong.0], wrong.1)));
            prop_assert!(!bench.check(&lie, &capacity));
            Ok(())
        })?;
    }
}

#[test]
fn corners_are_as_stated() {
    let bench = Bench::new(&ALL, 200);
    let extremes = [0u8, 1, 2, 127, 128, 254, 255];
    let mut consistent = 0u32;
    for (cpu, memory, gpus) in
        extremes.iter().flat_map(|c| extremes.iter().flat_map(move |m| [0u8, 1, 3, 8].map(|g| (*c, *m, g))))
    {
        let capacity = Capacity { cpu, memory, gpus };
        for free in [(cpu, memory, gpus, 100), (0, 0, 0, 0), (cpu / 2, memory / 3, gpus / 2, 99), (cpu, 0, 0, 1)] {
            for latency in [0, 6, 7, 15] {
                let row = (free.0, free.1, free.2, free.3, latency);
                consistent += u32::from(bench.check(&report(row, &capacity, 200, None), &capacity));
            }
        }
    }
    assert!(consistent > 1_000, "{consistent}");
    // One unit more than there is, of each.
    let capacity = Capacity { cpu: 100, memory: 50, gpus: 2 };
    for (row, expected) in [
        ((100, 50, 2, 100, 0), true),
        ((101, 50, 2, 100, 0), false),
        ((100, 51, 2, 100, 0), false),
        ((100, 50, 3, 100, 0), false),
        ((100, 50, 2, 101, 0), false),
    ] {
        assert_eq!(bench.check(&report(row, &capacity, 200, None), &capacity), expected, "{row:?}");
    }
    let none = Capacity { gpus: 0, ..capacity };
    assert!(bench.check(&report((1, 1, 0, 0, 0), &none, 200, None), &none));
    assert!(!bench.check(&report((1, 1, 0, 1, 0), &none, 200, None), &none), "a share of no GPU");
    let many = Capacity { gpus: 9, ..capacity };
    assert!(!bench.check(&report((1, 1, 0, 0, 0), &many, 200, None), &many), "more GPUs than a host may have");
}

#[test]
fn every_cost_score_is_the_one_of_its_class_and_price() {
    let capacity = Capacity { cpu: 1, memory: 1, gpus: 0 };
    for price in [0, 1, 15, 16, 119, 120, 135, 136, 254, 255] {
        let bench = Bench::new(&[Policy::Cost], price);
        for latency in 0..16 {
            let right = report((0, 0, 0, 0, latency), &capacity, price, None);
            for value in 0..=255u8 {
                let mut claimed = right.clone();
                claimed.scores.insert(Policy::Cost, value);
                assert_eq!(bench.check(&claimed, &capacity), Some(&value) == right.scores.get(&Policy::Cost));
            }
        }
    }
}

#[test]
fn the_backend_computes_what_the_interpreter_does() {
    const KEY: KeyId = KeyId([3; 32]);
    let (backend, cipher) = (ClearBackend::new(vec![KEY]), ClearCipher::new(KEY, 1));
    let run = |program: &Program, inputs: &[&[u8]]| {
        let seed = ReRandomization { seed: Digest([9; 32]) };
        let done = backend.evaluate(KEY, program, inputs, &seed, &|| false).expect("the circuit runs");
        assert_eq!(done.pbs, program.pbs());
        done.outputs
    };
    for policies in [&ALL[..], &ALL[..1], &ALL[1..2], &ALL[2..]] {
        let bench = Bench::new(policies, 9);
        let capacity = Capacity { cpu: 192, memory: 96, gpus: 8 };
        let list = cipher.encrypt(&capacity.unchecked_digits(), &Digest::ZERO).expect("in range");
        let stored = run(&bench.capacity, &[&list]);
        assert_eq!(
            stored.len(),
            bench.audit.inputs().len() - 1,
            "the audit takes what the registration stores, and a report"
        );
        for ((kind, made), bytes) in capacity_outputs(policies).iter().zip(bench.capacity.outputs()).zip(&stored) {
            assert_eq!(usize::from(kind.blocks()), made.len());
            let digits = ClearDecryptor::new(KEY).decrypt(bytes, kind.blocks()).expect("it conforms");
            assert!(digits.iter().all(|d| *d <= kind.max()));
        }
        for off in [None, Some((policies[0], 1)), Some((policies[0], 255))] {
            let report = report((100, 40, 3, 100, 2), &capacity, 9, off);
            let digits = report.digits(policies).expect("in range");
            let list = cipher.encrypt(&digits, &Digest::ZERO).expect("in range");
            let inputs: Vec<&[u8]> = std::iter::once(&list).chain(&stored).map(Vec::as_slice).collect();
            let out = run(&bench.audit, &inputs);
            let bit = ClearDecryptor::new(KEY).decrypt(&out[0], 1).expect("it conforms")[0] == 1;
            assert_eq!((bit, bench.check(&report, &capacity)), (off.is_none(), off.is_none()));
        }
    }
}

#[test]
fn an_audit_costs_less_than_a_decision_among_sixty_twice_over() {
    println!("policies                capacity  audit  gas of an audit");
    for policies in [&ALL[..1], &ALL[1..2], &ALL[2..], &ALL[..]] {
        let bench = Bench::new(policies, 9);
        let names: Vec<&str> = policies.iter().map(|p| p.name()).collect();
        let (names, capacity, audit) = (names.join(","), bench.capacity.pbs(), bench.audit.pbs());
        println!("{names:<24}{capacity:>8}  {audit:>5}  {}", bench.audit.gas());
        assert!(audit <= 1_600 && capacity <= 1_200, "{names}");
        assert_eq!(bench.audit.gas(), audit_program(policies, 200).expect("it builds").gas(), "whatever the price");
    }
}

#[test]
fn clients_refuse_capacities_that_no_report_fits() {
    let good = Capacity { cpu: 1, memory: 1, gpus: 8 };
    assert!(good.digits().is_ok());
    for (bad, what) in [
        (Capacity { cpu: 0, ..good }, "CPU"),
        (Capacity { memory: 0, ..good }, "memory"),
        (Capacity { gpus: 9, ..good }, "GPUs"),
    ] {
        assert!(bad.digits().expect_err("it is refused").to_string().contains(what));
    }
}
