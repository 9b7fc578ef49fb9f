use super::*;
use crate::seams::{CrashPoint, CrashStep, StoreJournal, Where};
use parallax_clear::{ClearBackend, ClearCipher};
use parallax_memory_store::MemoryStore;
use parallax_primitives::{ParaTimeId, Round};
use parallax_runtime::{ClientCipher, InputKind, ProgramBuilder};

#[test]
fn every_fault_is_read_from_the_text_that_it_prints() {
    let points = CrashStep::ALL.into_iter().flat_map(|s| [(Where::Before, s), (Where::After, s)]);
    let single = points.clone().map(|(place, step)| CrashPoints::one(place, step));
    let mut faults: Vec<Fault> = FaultKind::NAMED.into_iter().map(Fault::from).collect();
    faults.push(FaultKind::FlipBit { skip: 3 }.into());
    faults.extend(single.chain(CrashPoints::of(points)).map(|points| Fault::from(FaultKind::CrashAt(points))));
    for kind in FaultKind::NAMED.into_iter().filter(|kind| kind.has_rounds()) {
        for rounds in ["7", "7..10", "0.."] {
            faults.push(Fault { kind, rounds: Some(rounds.parse().unwrap()) });
        }
    }
    for fault in faults {
        assert_eq!(fault.to_string().parse(), Ok(fault));
    }
}

#[test]
fn a_text_that_is_no_fault_is_refused_with_what_there_is() {
    let points = ["crash-at=", "crash-at=persist", "crash-at=during-persist", "crash-at=after-lunch"];
    for bad in ["", "wrong", "flip-bit=", "flip-bit=last"].into_iter().chain(points) {
        let error = bad.parse::<Fault>().unwrap_err().to_string();
        assert!(error.contains("crash-at=POINT") && error.contains("wrong-root"), "{error}");
    }
    for bad in ["silent@", "silent@x", "silent@3..3", "silent@5..2", "silent@..4"] {
        let error = bad.parse::<Fault>().unwrap_err().to_string();
        assert!(error.contains("names no rounds") && error.contains("KIND@7..10"), "{error}");
    }
    let unbound = "flip-bit@3".parse::<Fault>().unwrap_err().to_string();
    assert!(unbound.contains("`flip-bit` is not bound to rounds"), "{unbound}");
}

#[test]
fn rounds_begin_with_the_first_and_end_before_the_last() {
    let rounds: Rounds = "3..5".parse().unwrap();
    let within = |n| rounds.contains(Round(n));
    assert_eq!([within(2), within(3), within(4), within(5)], [false, true, true, false]);
    let open: Rounds = "3..".parse().unwrap();
    assert!(!open.contains(Round(2)) && open.contains(Round(u64::MAX)));
}

#[test]
fn a_fault_is_refused_outside_a_localnet() {
    let fault: Fault = "silent@2".parse().unwrap();
    assert_eq!(fault.allowed(true), Ok(fault));
    let error = fault.allowed(false).unwrap_err();
    assert_eq!(error.to_string(), "the fault `silent@2` is refused: this chain is no localnet");
}

#[test]
fn a_process_ends_at_one_point_and_at_the_next_one_in_its_next_life() {
    let store = Arc::new(MemoryStore::new());
    let (first, second) = ((Where::After, CrashStep::StoreResult), (Where::Before, CrashStep::CommitState));
    let points = CrashPoints::of([first, second]).unwrap();
    let life = || {
        let journal = StoreJournal::open(store.clone(), ParaTimeId::named("test")).unwrap();
        CrashAt::new(points, Arc::new(journal))
    };
    let reached = |life: &CrashAt, (place, step): (Where, CrashStep)| life.reached(place, step);
    let one = life();
    assert!(!reached(&one, (Where::Before, CrashStep::StoreResult)), "no point of this node's");
    assert!(reached(&one, first));
    assert!(!reached(&one, second), "another task passes it while the process ends");
    let two = life();
    assert!(!reached(&two, first), "once in the life of a home directory");
    assert!(reached(&two, second));
    let three = life();
    assert!(!reached(&three, first) && !reached(&three, second));
}

#[test]
fn a_flipped_bit_is_first_seen_at_the_operation_that_it_was_flipped_in() {
    let key = KeyId([3; 32]);
    let honest = Arc::new(ClearBackend::new(vec![key]));
    let mut builder = ProgramBuilder::new();
    let input = builder.input(InputKind::Proven { blocks: 1 });
    let mapped = builder.map(input[0], |n| n / 2);
    let again = builder.map(mapped, |n| (n + 1) % 16);
    builder.output(vec![mapped]);
    builder.output(vec![again]);
    let program = builder.build().unwrap();
    let metadata = Digest([1; 32]);
    let list = ClearCipher::new(key, 1).encrypt(&[2], &metadata).unwrap();
    let inputs: [&[u8]; 1] = [&list];
    let seed = ReRandomization { seed: Digest([9; 32]) };
    let evaluate = |backend: &dyn FheBackend| backend.evaluate(key, &program, &inputs, &seed, &|| false).unwrap();
    let right = evaluate(&*honest);
    let faulty = FlipBit::new(honest, 1);
    assert_eq!(evaluate(&faulty), right, "the first program is left alone");
    let wrong = evaluate(&faulty);
    let bits = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(x, y)| (x ^ y).count_ones()).sum::<u32>();
    assert_eq!(bits(&right.outputs[0], &wrong.outputs[0]), 0, "computed before the flip");
    assert_eq!(bits(&right.outputs[1], &wrong.outputs[1]), 1);
    let first = right.leaves.iter().zip(&wrong.leaves).position(|(a, b)| a != b).unwrap();
    assert_eq!(first, 2, "one input, then two operations: the second one");
    assert!(wrong.leaves[first].opcode.starts_with("table.map"));
    assert_eq!(wrong.leaves[first].inputs, right.leaves[first].inputs);
    assert_eq!(evaluate(&faulty), right, "once");
}
