//! The circuits against the plaintext reference.

use crate::circuit::{MAX_CANDIDATES, decision_program, job_program, report_program};
use crate::model::{Policy, Report, Request};
use crate::reference;
use parallax_clear::{ClearBackend, ClearCipher, ClearDecryptor};
use parallax_primitives::{Digest, KeyId};
use parallax_runtime::{ClientCipher, Decryptor, FheBackend, Op, Program, ReRandomization, Table};
use proptest::prelude::*;
use std::collections::BTreeMap;

const KEY: KeyId = KeyId([3; 32]);

/// The circuits on the clear backend, outside any round.
struct Bench {
    backend: ClearBackend,
    cipher: ClearCipher,
}

/// A decision's outcome, decrypted.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    winner: Option<usize>,
    excluded: Vec<bool>,
}

impl Bench {
    fn new() -> Self {
        Self { backend: ClearBackend::new(vec![KEY]), cipher: ClearCipher::new(KEY, 1) }
    }

    fn run(&self, program: &Program, inputs: &[&[u8]]) -> Vec<Vec<u8>> {
        let seed = ReRandomization { seed: Digest([9; 32]) };
        let done = self.backend.evaluate(KEY, program, inputs, &seed, &|| false).expect("the circuit runs");
        assert_eq!(done.pbs, program.pbs());
        done.outputs
    }

    fn open(&self, cipher: &[u8], blocks: u16) -> Vec<u8> {
        ClearDecryptor::new(KEY).decrypt(cipher, blocks).expect("an output conforms").to_vec()
    }

    fn list(&self, digits: &[u8]) -> Vec<u8> {
        self.cipher.encrypt(digits, &Digest::ZERO).expect("digits are in range")
    }

    /// A report's ciphertexts: numbers, labels, score, excluded.
    fn report(&self, report: &Report) -> Vec<Vec<u8>> {
        let list = self.list(&report.unchecked_digits(&[Policy::Pack]).expect("it has a score"));
        self.run(&report_program(1).expect("it builds"), &[&list])
    }

    fn decide(&self, reports: &[Vec<Vec<u8>>], request: &Request) -> Outcome {
        let job = self.run(&job_program().expect("it builds"), &[&self.list(&request.unchecked_digits())]);
        let inputs: Vec<&[u8]> = job.iter().chain(reports.iter().flatten()).map(Vec::as_slice).collect();
        let out = self.run(&decision_program(reports.len() as u16).expect("it builds"), &inputs);
        let (placed, position) = (self.open(&out[0], 1), self.open(&out[1], 2));
        let index = usize::from(position[0]) + 16 * usize::from(position[1]);
        assert!(placed[0] == 1 || index == 0, "a position is given only with a placement");
        let excluded = out[2..].iter().map(|c| self.open(c, 1)[0] == 1).collect();
        Outcome { winner: (placed[0] == 1).then_some(index), excluded }
    }
}

/// The reference's outcome for fresh reports.
fn expected(reports: &[Report], request: &Request) -> Outcome {
    let rows: Vec<(&Report, bool)> = reports.iter().map(|r| (r, false)).collect();
    let winner = reference::decide(&rows, request, Policy::Pack);
    let excluded = reports.iter().enumerate().map(|(i, r)| !r.is_valid() || winner == Some(i)).collect();
    Outcome { winner, excluded }
}

fn check(bench: &Bench, reports: &[Report], request: &Request) {
    let encrypted: Vec<_> = reports.iter().map(|r| bench.report(r)).collect();
    assert_eq!(bench.decide(&encrypted, request), expected(reports, request), "the circuit and the reference differ");
}

type Row = (u8, u8, u8, u8, u8, u8, u8);

fn report((cpu, memory, gpus, share, labels, latency, score): Row) -> Report {
    Report { cpu, memory, gpus, share, labels, latency, scores: BTreeMap::from([(Policy::Pack, score)]) }
}

fn request((cpu, memory, gpus, share, need, latency, _): Row) -> Request {
    Request { cpu, memory, gpus, share, need, latency }
}

/// Any value, and often one at an end or near another's, so that comparisons are close and ties happen.
fn byte(max: u8) -> impl Strategy<Value = u8> {
    prop_oneof![0..=max, Just(0), Just(max), max / 2..=max / 2 + 2]
}

/// GPUs and shares also over their range, as a hostile sender has them.
fn row() -> impl Strategy<Value = Row> {
    let gpus = prop_oneof![8 => 0u8..=8, 1 => 9u8..=15];
    let share = prop_oneof![8 => 0u8..=100, 1 => 101u8..=255, 1 => 96u8..=104];
    let score = prop_oneof![any::<u8>(), 0u8..4];
    (byte(255), byte(255), gpus, share, any::<u8>(), byte(15), score)
}

/// A request that some hosts satisfy, and sometimes any at all.
fn wish() -> impl Strategy<Value = Row> {
    let modest = (0u8..140, 0u8..140, 0u8..4, 0u8..60, prop_oneof![Just(0u8), Just(1), Just(64), Just(130)], 6u8..=15);
    prop_oneof![4 => modest.prop_map(|(c, m, g, s, n, l)| (c, m, g, s, n, l, 0)), 1 => row()]
}

fn cases(default: u32) -> ProptestConfig {
    // PARALLAX_CASES raises the number for a long run.
    let cases = std::env::var("PARALLAX_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    ProptestConfig { cases, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn the_encrypted_decision_equals_the_reference(
        rows in prop::collection::vec(row(), 1..=12), wanted in wish(),
    ) {
        let reports: Vec<Report> = rows.into_iter().map(report).collect();
        check(&Bench::new(), &reports, &request(wanted));
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn so_it_does_among_many_candidates(
        rows in prop::collection::vec(row(), 13..=usize::from(MAX_CANDIDATES)), wanted in wish(),
    ) {
        let reports: Vec<Report> = rows.into_iter().map(report).collect();
        check(&Bench::new(), &reports, &request(wanted));
    }

    #[test]
    fn jobs_one_after_the_other_see_who_was_chosen_before(
        rows in prop::collection::vec(row(), 1..=20), wanted in prop::collection::vec(wish(), 1..=4),
    ) {
        let bench = Bench::new();
        let reports: Vec<Report> = rows.into_iter().map(report).collect();
        let mut encrypted: Vec<_> = reports.iter().map(|r| bench.report(r)).collect();
        let program = decision_program(reports.len() as u16).expect("it builds");
        let mut chosen = vec![false; reports.len()];
        for wanted in wanted.into_iter().map(request) {
            let job = bench.run(&job_program().expect("it builds"), &[&bench.list(&wanted.unchecked_digits())]);
            let inputs: Vec<&[u8]> = job.iter().chain(encrypted.iter().flatten()).map(Vec::as_slice).collect();
            let out = bench.run(&program, &inputs);
            let rows: Vec<(&Report, bool)> = reports.iter().zip(&chosen).map(|(r, c)| (r, *c)).collect();
            let winner = reference::decide(&rows, &wanted, Policy::Pack);
            let position = bench.open(&out[1], 2);
            let index = usize::from(position[0]) + 16 * usize::from(position[1]);
            prop_assert_eq!((bench.open(&out[0], 1)[0] == 1).then_some(index), winner);
            if let Some(winner) = winner {
                chosen[winner] = true;
            }
            for (host, excluded) in encrypted.iter_mut().zip(out.into_iter().skip(2)) {
                host[3] = excluded;
            }
        }
    }
}

fn plenty(score: u8) -> Report {
    report((255, 255, 8, 100, 255, 0, score))
}

#[test]
fn nothing_feasible_places_nothing_and_excludes_nobody() {
    let bench = Bench::new();
    for n in [1, 4, 16, 17, 60] {
        let reports = vec![report((1, 1, 0, 0, 0, 15, 0)); n];
        let outcome = bench
            .decide(&reports.iter().map(|r| bench.report(r)).collect::<Vec<_>>(), &request((2, 0, 0, 0, 0, 15, 0)));
        assert_eq!(outcome, Outcome { winner: None, excluded: vec![false; n] });
    }
}

#[test]
fn all_equal_goes_to_the_first() {
    for n in [1, 2, 15, 16, 17, 31, 60] {
        check(&Bench::new(), &vec![plenty(7); n], &Request::default());
        assert_eq!(expected(&vec![plenty(7); n], &Request { latency: 15, ..Request::default() }).winner, Some(0));
    }
}

#[test]
fn every_position_can_win_among_sixty() {
    let bench = Bench::new();
    for winner in 0..60 {
        let mut reports = vec![plenty(200); 60];
        reports[winner] = plenty(199);
        let encrypted: Vec<_> = reports.iter().map(|r| bench.report(r)).collect();
        assert_eq!(bench.decide(&encrypted, &Request::default()).winner, Some(winner));
    }
}

#[test]
fn each_field_decides_at_its_very_border() {
    // One candidate that is exactly enough, and each way to be one short of it.
    let wanted = (100, 33, 4, 96, 0b1010_0110, 7, 0);
    let enough = (100, 33, 4, 96, 0b1010_0110, 7, 0);
    let (bench, exact) = (Bench::new(), report(enough));
    let winner = |r: &Report| bench.decide(&[bench.report(r)], &request(wanted)).winner;
    assert_eq!(winner(&exact), Some(0));
    assert_eq!(winner(&Report { cpu: 99, ..exact.clone() }), None);
    assert_eq!(winner(&Report { memory: 32, ..exact.clone() }), None);
    assert_eq!(winner(&Report { gpus: 3, ..exact.clone() }), None);
    assert_eq!(winner(&Report { share: 95, ..exact.clone() }), None);
    assert_eq!(winner(&Report { latency: 8, ..exact.clone() }), None);
    for bit in 0..8 {
        let labels = exact.labels & !(1 << bit);
        let lost = exact.labels != labels;
        assert_eq!(winner(&Report { labels, ..exact.clone() }), (!lost).then_some(0), "label {bit}");
    }
}

#[test]
fn a_report_over_its_range_is_never_chosen() {
    let bench = Bench::new();
    for hostile in [(255, 255, 9, 100, 255, 0, 0), (255, 255, 15, 0, 255, 0, 0), (255, 255, 8, 101, 255, 0, 0)] {
        let reports = [report(hostile), plenty(255)];
        let encrypted: Vec<_> = reports.iter().map(|r| bench.report(r)).collect();
        let outcome = bench.decide(&encrypted, &Request { latency: 15, ..Request::default() });
        assert_eq!(outcome, Outcome { winner: Some(1), excluded: vec![true, true] });
    }
    for share in 101..=255u8 {
        let out = bench.report(&report((0, 0, 0, share, 0, 0, 0)));
        assert_eq!(bench.open(&out[3], 1), [1], "share {share}");
    }
    for share in 0..=100u8 {
        let out = bench.report(&report((0, 0, 8, share, 0, 15, 0)));
        assert_eq!(bench.open(&out[3], 1), [0], "share {share}");
    }
}

#[test]
fn every_output_block_has_a_mask_of_its_own() {
    // A table of zeros has the zero polynomial, which stays without a mask under every rotation.
    for n in [1, 2, 3, 15, 16, 17, 32, 33, 60u16] {
        let program = decision_program(n).expect("it builds");
        let mut made_by = vec![None; program.input_blocks()];
        for op in program.ops() {
            made_by.extend(std::iter::repeat_n(Some(op), op.results()));
        }
        for value in program.outputs().iter().flatten() {
            let masked = match made_by[value.0 as usize].expect("no output is an input") {
                Op::Table { table: Table::Map(entries), .. } => entries.iter().any(|e| *e != 0),
                Op::Table { .. } => true,
                Op::TwoTables { tables, .. } => tables.iter().flatten().any(|e| *e != 0),
                Op::Linear { terms, .. } => !terms.is_empty(),
                Op::Integer { .. } => true,
            };
            assert!(masked, "{n} candidates, value {}", value.0);
        }
    }
}

#[test]
fn a_decision_costs_at_most_thirty_bootstraps_a_candidate() {
    println!("candidates  bootstraps  a candidate  gas");
    for n in [1, 4, 16, 32, 60u16] {
        let program = decision_program(n).expect("it builds");
        let pbs = program.pbs();
        println!(
            "{n:>10}  {pbs:>10}  {:>8}.{:02}  {}",
            pbs / u64::from(n),
            pbs * 100 / u64::from(n) % 100,
            program.gas()
        );
        assert!(n < 4 || pbs <= 30 * u64::from(n));
    }
    println!("report, one policy: {}", report_program(1).expect("it builds").pbs());
    println!("job: {}", job_program().expect("it builds").pbs());
    assert!(decision_program(0).is_err() && decision_program(61).is_err());
}
