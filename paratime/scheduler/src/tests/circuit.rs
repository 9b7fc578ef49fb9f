//! The circuits against the plaintext reference.

use crate::circuit::{MAX_CANDIDATES, MAX_FLAGS, Shape, decision_program, job_program, report_program};
use crate::instances::{Batch, Engine, Job, POLICIES, Spent, Step, batch, run};
use crate::model::{MAX_REPLICAS, Policy, Replication, Report, Request, Spread};
use crate::reference::{Candidate, decide};
use parallax_clear::{ClearBackend, ClearCipher, ClearDecryptor, compute};
use parallax_primitives::{Digest, Gas, KeyId};
use parallax_runtime::{
    ClientCipher, Decryptor, FheBackend, InputKind, Op, Program, ProgramBuilder, ReRandomization, Table,
};
use proptest::prelude::*;

const KEY: KeyId = KeyId([3; 32]);

/// The circuits on numbers alone.
struct Plain;

impl Engine for Plain {
    type Cipher = Vec<u8>;

    fn store(&mut self, blocks: &[u8]) -> Vec<u8> {
        blocks.to_vec()
    }

    fn proven(&mut self, program: &Program, digits: &[u8]) -> Vec<Vec<u8>> {
        compute(program, &[digits.to_vec()]).expect("the circuit runs")
    }

    fn evaluate(&mut self, program: &Program, inputs: &[Vec<u8>]) -> Vec<Vec<u8>> {
        compute(program, inputs).expect("the circuit runs")
    }

    fn open(&mut self, cipher: &Vec<u8>, _: u16) -> Vec<u8> {
        cipher.clone()
    }
}

/// The circuits on the clear backend, with ciphertexts, noise checked a second time, and bootstraps counted.
struct Bytes {
    backend: ClearBackend,
    cipher: ClearCipher,
}

impl Bytes {
    fn new() -> Self {
        Self { backend: ClearBackend::new(vec![KEY]), cipher: ClearCipher::new(KEY, 1) }
    }

    fn run(&self, program: &Program, inputs: &[&[u8]]) -> Vec<Vec<u8>> {
        let seed = ReRandomization { seed: Digest([9; 32]) };
        let done = self.backend.evaluate(KEY, program, inputs, &seed, &|| false).expect("the circuit runs");
        assert_eq!(done.pbs, program.pbs());
        done.outputs
    }
}

impl Engine for Bytes {
    type Cipher = Vec<u8>;

    fn store(&mut self, blocks: &[u8]) -> Vec<u8> {
        let mut b = ProgramBuilder::new();
        let list = b.input(InputKind::Proven { blocks: blocks.len() as u16 });
        b.output(list);
        self.proven(&b.build().expect("it builds"), blocks).remove(0)
    }

    fn proven(&mut self, program: &Program, digits: &[u8]) -> Vec<Vec<u8>> {
        let list = self.cipher.encrypt(digits, &Digest::ZERO).expect("digits are in range");
        self.run(program, &[&list])
    }

    fn evaluate(&mut self, program: &Program, inputs: &[Vec<u8>]) -> Vec<Vec<u8>> {
        self.run(program, &inputs.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    fn open(&mut self, cipher: &Vec<u8>, blocks: u16) -> Vec<u8> {
        ClearDecryptor::new(KEY).decrypt(cipher, blocks).expect("an output conforms").to_vec()
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// PARALLAX_CASES and PARALLAX_SEED choose another run.
#[test]
fn random_batches_of_every_policy_and_option_are_decided_as_the_reference_decides() {
    let (cases, first) = (number("PARALLAX_CASES", 3_000), number("PARALLAX_SEED", 1_000_000));
    println!("seeds {first}..{}", first + cases);
    let mut spent = Spent::default();
    for seed in first..first + cases {
        let done = run(&batch(seed, MAX_CANDIDATES.into()), &mut Plain).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        spent.decisions += done.decisions;
        spent.placed += done.placed;
    }
    println!("{cases} batches, {} decisions, {} replicas placed", spent.decisions, spent.placed);
    assert!(spent.placed > spent.decisions / 3, "most seeds must place something, or this shows nothing");
}

#[test]
fn so_they_are_with_ciphertexts_and_the_noise_of_every_argument_checked_again() {
    for seed in 0..40 {
        run(&batch(seed, 16), &mut Bytes::new()).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

type Row = (u8, u8, u8, u8, u8, u8, u8);

fn report((cpu, memory, gpus, share, labels, latency, score): Row) -> Report {
    let scores = [(Policy::Pack, score), (Policy::Spread, 255 - score), (Policy::Cost, score / 2)];
    Report { cpu, memory, gpus, share, labels, latency, scores: scores.into_iter().collect() }
}

fn request((cpu, memory, gpus, share, need, latency): (u8, u8, u8, u8, u8, u8)) -> Request {
    Request { cpu, memory, gpus, share, need, latency }
}

fn plenty(score: u8) -> Report {
    report((255, 255, 8, 100, 255, 0, score))
}

const ONE: Replication = Replication { count: 1, spread: Spread::None, gang: false };

/// What the reference says of fresh hosts, after the circuit has been seen to say the same, with hosts in zones of three.
fn winners(reports: &[Report], request: &Request, policy: Policy, replication: Replication) -> Vec<usize> {
    let zones: Vec<u16> = (0..reports.len()).map(|i| (i / 3) as u16).collect();
    let candidates = reports.iter().zip(&zones).map(|(report, zone)| Candidate { report, chosen: false, zone: *zone });
    let expected = decide(&candidates.collect::<Vec<_>>(), request, policy, replication);
    let job = Job { request: *request, policy, replication, candidates: (0..reports.len()).collect() };
    let mut steps: Vec<Step> = reports.iter().cloned().enumerate().map(|(i, r)| Step::Report(i, r)).collect();
    steps.push(Step::Decide(job));
    let batch = Batch { zones, flags: vec![1; reports.len()], steps };
    run(&batch, &mut Plain).unwrap_or_else(|e| panic!("{policy:?}, {replication:?}: {e}"));
    expected
}

fn only(reports: &[Report], request: &Request) -> Option<usize> {
    winners(reports, request, Policy::Pack, ONE).first().copied()
}

#[test]
fn nothing_feasible_places_nothing_and_excludes_nobody() {
    for n in [1, 2, 4, 16, 17, 60] {
        for policy in POLICIES {
            let reports = vec![report((1, 1, 0, 0, 0, 15, 0)); n];
            assert_eq!(winners(&reports, &request((2, 0, 0, 0, 0, 15)), policy, ONE), [0; 0]);
        }
    }
}

#[test]
fn all_equal_goes_to_the_first() {
    for n in [1, 2, 15, 16, 17, 31, 32, 60] {
        for policy in POLICIES {
            assert_eq!(winners(&vec![plenty(7); n], &request((0, 0, 0, 0, 0, 15)), policy, ONE), [0]);
        }
    }
}

#[test]
fn one_candidate_wins_or_nobody_does() {
    for policy in POLICIES {
        for count in 1..=MAX_REPLICAS {
            let many = Replication { count, ..ONE };
            assert_eq!(winners(&[plenty(255)], &request((255, 255, 8, 100, 255, 0)), policy, many), [0]);
            assert_eq!(
                winners(&[report((254, 255, 8, 100, 255, 0, 0))], &request((255, 0, 0, 0, 0, 15)), policy, many),
                [0; 0]
            );
        }
    }
}

#[test]
fn every_position_can_win_among_sixty() {
    for winner in 0..60 {
        let mut reports = vec![plenty(200); 60];
        reports[winner] = plenty(199);
        assert_eq!(only(&reports, &Request::default()), Some(winner));
        // In turn, those before it have no room.
        let mut reports = vec![report((0, 255, 8, 100, 255, 0, 0)); 60];
        reports[winner..].fill(plenty(255));
        assert_eq!(winners(&reports, &request((1, 0, 0, 0, 0, 15)), Policy::PriorityRoundRobin, ONE), [winner]);
    }
}

#[test]
fn every_bit_of_a_score_decides() {
    for bit in 0..8u8 {
        for base in [0, !(1 << bit)] {
            let reports = [plenty(base | 1 << bit), plenty(base & !(1 << bit)), plenty(base | 1 << bit)];
            assert_eq!(only(&reports, &Request::default()), Some(1), "bit {bit} of {base:08b}");
        }
    }
}

#[test]
fn each_field_decides_at_its_very_border() {
    // One candidate that is exactly enough, and each way to be one short of it.
    let wanted = request((100, 33, 4, 96, 0b1010_0110, 7));
    let exact = report((100, 33, 4, 96, 0b1010_0110, 7, 0));
    let winner = |r: Report| only(&[r], &wanted);
    assert_eq!(winner(exact.clone()), Some(0));
    assert_eq!(winner(Report { cpu: 99, ..exact.clone() }), None);
    assert_eq!(winner(Report { memory: 32, ..exact.clone() }), None);
    assert_eq!(winner(Report { gpus: 3, ..exact.clone() }), None);
    assert_eq!(winner(Report { share: 95, ..exact.clone() }), None);
    assert_eq!(winner(Report { latency: 8, ..exact.clone() }), None);
    for bit in 0..8 {
        let labels = exact.labels & !(1 << bit);
        let lost = exact.labels != labels;
        assert_eq!(winner(Report { labels, ..exact.clone() }), (!lost).then_some(0), "label {bit}");
    }
    // Everything wrong at once, and the ends of the ranges.
    assert_eq!(only(&[report((0, 0, 0, 0, 0, 15, 0))], &request((255, 255, 8, 100, 255, 0))), None);
    assert_eq!(only(&[report((0, 0, 0, 0, 0, 15, 0))], &request((0, 0, 0, 0, 0, 15))), Some(0));
    assert_eq!(only(&[plenty(0)], &request((255, 255, 8, 100, 255, 0))), Some(0));
}

#[test]
fn a_value_over_its_range_is_harmless() {
    for hostile in [(255, 255, 9, 100, 255, 0, 0), (255, 255, 15, 0, 255, 0, 0), (255, 255, 8, 101, 255, 0, 0)] {
        assert_eq!(only(&[report(hostile), plenty(255)], &request((0, 0, 0, 0, 0, 15))), Some(1));
        assert_eq!(only(&[report(hostile)], &request((0, 0, 0, 0, 0, 15))), None);
    }
    let program = report_program(1).expect("it builds");
    let excluded = |r: &Report| {
        let digits = r.unchecked_digits(&[Policy::Pack]).expect("it has a score");
        compute(&program, &[digits]).expect("it runs")[3][0]
    };
    for share in 0..=255u8 {
        assert_eq!(excluded(&report((0, 0, 8, share, 0, 15, 0))), u8::from(share > 100), "share {share}");
    }
    for gpus in 0..=15u8 {
        assert_eq!(excluded(&report((0, 0, gpus, 100, 0, 15, 0))), u8::from(gpus > 8), "{gpus} GPUs");
    }
    // A request over the ranges is one that no host meets.
    for over in [(0, 0, 9, 0, 0, 15), (0, 0, 0, 101, 0, 15), (0, 0, 15, 255, 0, 15)] {
        assert_eq!(only(&[plenty(0), plenty(1)], &request(over)), None);
    }
}

#[test]
fn replicas_go_to_different_hosts_or_zones_and_a_gang_is_placed_whole_or_not_at_all() {
    let any = request((0, 0, 0, 0, 0, 15));
    let nine: Vec<Report> = [5, 1, 3, 9, 2, 9, 4, 7, 8].into_iter().map(plenty).collect();
    let places = |count, spread, gang| winners(&nine, &any, Policy::Pack, Replication { count, spread, gang });
    assert_eq!(places(4, Spread::None, false), [1, 4, 2, 6]);
    assert_eq!(places(3, Spread::Zone, false), [1, 4, 6], "zones are of three hosts each");
    assert_eq!(places(5, Spread::Zone, false), [1, 4, 6], "there are three zones");
    assert_eq!(places(5, Spread::Zone, true), [0; 0]);
    assert_eq!(places(3, Spread::Zone, true), [1, 4, 6]);
    assert_eq!(places(8, Spread::None, true), [1, 4, 2, 6, 0, 7, 8, 3]);
    // Two have room: three do not fit together, and two of any number do.
    let room = |i: usize| if i % 4 == 1 { plenty(0) } else { report((0, 0, 0, 0, 0, 15, 0)) };
    let some: Vec<Report> = (0..8).map(room).collect();
    let wanted = request((9, 0, 0, 0, 0, 15));
    for policy in POLICIES {
        let places = |count, gang| winners(&some, &wanted, policy, Replication { count, spread: Spread::None, gang });
        assert_eq!((places(2, true), places(3, true)), (vec![1, 5], vec![]));
        assert_eq!((places(2, false), places(3, false)), (vec![1, 5], vec![1, 5]));
    }
}

#[test]
fn an_exclusion_holds_however_many_decisions_there_were_since() {
    let job = |cpu: u8| {
        Step::Decide(Job {
            request: request((cpu, 0, 0, 0, 0, 15)),
            policy: Policy::Pack,
            replication: ONE,
            candidates: vec![0, 1, 2],
        })
    };
    let mut steps: Vec<Step> = (0..3).map(|i| Step::Report(i, report((10, 0, 0, 0, 0, 0, i as u8)))).collect();
    // The first one wins; then nobody fits, for longer than flags are kept apart; then the second one wins.
    steps.push(job(10));
    steps.extend((0..3 * MAX_FLAGS).map(|_| job(11)));
    steps.push(job(10));
    let spent = run(&Batch { zones: vec![0; 3], flags: vec![1; 3], steps }, &mut Plain).expect("as the reference");
    assert_eq!(spent.placed, 2);
}

/// Every kind of decision, smaller and larger than the groups of the circuit.
fn shapes() -> Vec<Shape> {
    let mut all = Vec::new();
    for n in [1, 2, 3, 8, 16, 17, 33, 60u16] {
        for scored in [true, false] {
            for count in if n > 8 { [1, 2] } else { [1, MAX_REPLICAS] } {
                for spread in [Spread::None, Spread::Zone] {
                    for gang in [false, true] {
                        let replication = Replication { count, spread, gang };
                        if usize::from(n) >= replication.least_candidates() {
                            all.push(Shape::fresh(n, scored, replication));
                            all.push(Shape::largest(n, scored, replication));
                        }
                    }
                }
            }
        }
    }
    all
}

fn most(candidates: u16, scored: bool, replication: Replication) -> Gas {
    Shape::most_gas(candidates, scored, replication).expect("it builds")
}

#[test]
fn no_decision_costs_more_than_the_most_of_its_size() {
    for shape in shapes().into_iter().filter(|s| s.replication.count != 2) {
        let gas = decision_program(&shape).expect("it builds").gas();
        assert!(gas <= most(shape.flags.len() as u16, shape.scored, shape.replication), "{shape:?}");
    }
    for n in 2..=20u16 {
        let two = Replication { count: 2, spread: Spread::Zone, gang: false };
        assert!(most(n - 1, true, two) <= most(n, true, two), "fewer candidates cost less");
    }
}

#[test]
fn no_way_to_share_three_zones_makes_a_decision_among_five_cost_more_than_the_most() {
    for (count, gang) in [(2, false), (4, false), (2, true), (4, true)] {
        let replication = Replication { count, spread: Spread::Zone, gang };
        let most = most(5, true, replication);
        for n in 0..3u16.pow(5) {
            let zones = (0..5).map(|i| n / 3u16.pow(i) % 3).collect();
            let shape = Shape { scored: true, replication, flags: vec![MAX_FLAGS; 5], zones };
            let gas = decision_program(&shape).expect("it builds").gas();
            assert!(gas <= most, "{gas} of {most}: {shape:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_flags_and_zones_make_a_decision_cost_more_than_the_most_of_its_size(
        hosts in prop::collection::vec((1..=MAX_FLAGS, any::<u16>()), 1..=32),
        (scored, zoned, gang) in any::<(bool, bool, bool)>(),
        (zones, count) in (1u16..=12, 1..=MAX_REPLICAS),
    ) {
        let count = if gang { count.min(hosts.len() as u8) } else { count };
        let spread = if zoned { Spread::Zone } else { Spread::None };
        let replication = Replication { count, spread, gang };
        let (flags, zones) = hosts.into_iter().map(|(flags, zone)| (flags, zone % zones)).unzip();
        let shape = Shape { scored, replication, flags, zones };
        let gas = decision_program(&shape).expect("it builds").gas();
        prop_assert!(gas <= most(shape.flags.len() as u16, scored, replication), "{:?}", shape);
    }
}

#[test]
fn every_output_block_has_a_mask_of_its_own() {
    // A table of zeros has the zero polynomial, which stays without a mask under every rotation.
    for shape in shapes() {
        let program = decision_program(&shape).expect("it builds");
        let mut made_by = vec![None; program.input_blocks()];
        for op in program.ops() {
            made_by.extend(std::iter::repeat_n(Some(op), op.results()));
        }
        for value in program.outputs().iter().flatten() {
            let masked = match made_by[value.0 as usize].expect("no output is an input") {
                Op::Table { table: Table::Map(entries), .. } => entries.iter().any(|e| *e != 0),
                Op::Table { .. } => true,
                Op::TwoTables { tables, .. } => tables.iter().flatten().any(|e| *e != 0),
                Op::TwoSigned { tables, .. } => tables.iter().flatten().any(|e| *e != 0),
                Op::Linear { terms, .. } => !terms.is_empty(),
                Op::Integer { .. } | Op::Random { .. } => true,
            };
            assert!(masked, "{shape:?}, value {}", value.0);
        }
    }
}

/// The figures of the documentation.
#[test]
fn a_decision_costs_at_most_twenty_two_bootstraps_a_candidate_and_job() {
    println!(
        "candidates  scored: fresh, largest, a candidate   in turn, a candidate   two replicas, gang of two, of eight"
    );
    for n in [4, 8, 16, 32, 48, 60u16] {
        let pbs = |shape: Shape| decision_program(&shape).expect("it builds").pbs();
        let many = |count, gang| Replication { count, spread: Spread::None, gang };
        let hundredths = |pbs: u64| format!("{}.{:02}", pbs / u64::from(n), pbs * 100 / u64::from(n) % 100);
        let (fresh, largest) = (pbs(Shape::fresh(n, true, ONE)), pbs(Shape::largest(n, true, ONE)));
        let turn = pbs(Shape::fresh(n, false, ONE));
        let two = pbs(Shape::fresh(n, true, many(2, false)));
        let eight = if n >= 8 { pbs(Shape::fresh(n, true, many(8, true))) } else { 0 };
        println!(
            "{n:>10}  {fresh} {largest} {} {}   {turn} {}   {two} {} {eight}",
            hundredths(fresh),
            hundredths(largest),
            hundredths(turn),
            pbs(Shape::fresh(n, true, many(2, true))),
        );
        assert!(n < 16 || largest <= 22 * u64::from(n), "{largest} among {n}");
        assert!(n < 16 || turn <= 14 * u64::from(n), "{turn} in turn among {n}");
    }
    println!("report with three scores: {}", report_program(3).expect("it builds").pbs());
    println!("job: {}", job_program().expect("it builds").pbs());
    for outside in [0, 61] {
        assert!(decision_program(&Shape::fresh(outside, true, ONE)).is_err());
    }
    assert!(decision_program(&Shape::fresh(4, true, Replication { count: 9, ..ONE })).is_err());
    assert!(
        decision_program(&Shape::fresh(4, true, Replication { count: 5, spread: Spread::None, gang: true })).is_err()
    );
}
