use super::*;
use parallax_clear::{ClearBackend, ClearCipher};
use parallax_runtime::{ClientCipher, InputKind, ProgramBuilder};

#[test]
fn every_fault_is_read_from_the_text_that_it_prints() {
    let mut faults = vec![
        FaultKind::WrongRoot,
        FaultKind::WrongRootScheduler,
        FaultKind::Silent,
        FaultKind::Failure,
        FaultKind::FlipBit,
        FaultKind::OtherFftPlan,
    ];
    for step in CrashStep::ALL {
        faults.push(FaultKind::CrashAt(Where::Before, step));
        faults.push(FaultKind::CrashAt(Where::After, step));
    }
    for fault in faults {
        assert_eq!(fault.to_string().parse(), Ok(fault));
    }
    for bad in ["", "wrong", "crash-at=", "crash-at=persist", "crash-at=during-persist", "crash-at=after-lunch"] {
        let error = bad.parse::<FaultKind>().unwrap_err();
        assert!(error.to_string().contains("crash-at=STEP"), "{error}");
    }
}

#[test]
fn a_fault_is_refused_outside_a_localnet() {
    assert_eq!(FaultKind::Silent.allowed(true), Ok(FaultKind::Silent));
    let error = FaultKind::Silent.allowed(false).unwrap_err();
    assert_eq!(error.to_string(), "the fault `silent` is refused: this chain is no localnet");
}

#[test]
fn a_flipped_bit_changes_one_output_and_one_leaf_once() {
    let key = KeyId([3; 32]);
    let honest = Arc::new(ClearBackend::new(vec![key]));
    let mut builder = ProgramBuilder::new();
    let input = builder.input(InputKind::Proven { blocks: 1 });
    let mapped = builder.map(input[0], |n| n);
    builder.output(vec![mapped]);
    let program = builder.build().unwrap();
    let metadata = Digest([1; 32]);
    let list = ClearCipher::new(key, 1).encrypt(&[2], &metadata).unwrap();
    let inputs: [&[u8]; 1] = [&list];
    let seed = ReRandomization { seed: Digest([9; 32]) };
    let evaluate = |backend: &dyn FheBackend| {
        backend.verify_input(key, &list, 1, &metadata).unwrap();
        backend.evaluate(key, &program, &inputs, &seed, &|| false).unwrap()
    };
    let right = evaluate(&*honest);
    let faulty = FlipBit::new(honest);
    let wrong = evaluate(&faulty);
    let bits = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(x, y)| (x ^ y).count_ones()).sum::<u32>();
    assert_eq!(bits(&right.outputs[0], &wrong.outputs[0]), 1);
    let differing = right.leaves.iter().zip(&wrong.leaves).filter(|(a, b)| a != b).count();
    assert_eq!(differing, 1);
    assert_eq!(evaluate(&faulty), right, "once");
}
