//! A contract submits encrypted jobs to the scheduling ParaTime and reads what became of them: both ParaTimes and the
//! ledger between them, on the clear backend.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types, dead_code, unreachable_pub)]

#[path = "../../../consensus/app/tests/ledger/support.rs"]
mod ledger;
#[path = "../../../paratime/evm/tests/support/wallet.rs"]
mod wallet;
#[path = "contract_jobs/world.rs"]
mod world;

use parallax_evm::control::{self, Action};
use parallax_evm::host;
use parallax_primitives::message::{contract_account, paratime_account};
use parallax_primitives::{Address, Digest, ImageDigest, ParaTimeId};
use parallax_runtime::gas;
use parallax_runtime::jobs::{JobAnswer, Said};
use parallax_scheduler::anchors::{Acknowledgement, Progress};
use parallax_scheduler::{Call, Code};
use revm::primitives::{Address as Contract, B256, TxKind, U256, hex, keccak256};
use world::{CHAIN_ID, FEE, WEI, World, address, calldata, client, evm_id, run, scheduler_id, terms, word};

/// Tokens that pay a job of these tests, with plenty to spare.
const DEPOSIT: u128 = 50_000_000;

const SUBMITTED: u64 = 1;
const NOT_SENT: u64 = 2;
const ACCEPTED: u64 = 3;
const REFUSED: u64 = 4;
const PLACED: u64 = 5;

fn wei(tokens: u128) -> U256 {
    U256::from(tokens) * U256::from(WEI)
}

/// What a job's replica came to as the contract reads it: whether it was placed, the anchor, the progress.
fn result(world: &World, contract: Contract, request: u64) -> (bool, Digest, u64) {
    let found = world.ask(contract, "result(uint256)", &[word(request.into())]);
    (found[0] == word(1), Digest(found[1].0), U256::from_be_bytes(found[2].0).to())
}

#[test]
fn a_contract_submits_an_encrypted_job_and_reads_the_anchored_result() {
    let mut world = World::new(scheduler_id());
    let contract = world.deploy(1_000_000_000);
    let owner = contract_account(&evm_id(), &Address(contract.into_array()));
    let told = world.ask(host::JOBS, "accountOf(address)", &[contract.into_word()]);
    assert_eq!(told[0], Contract::from(owner.0).into_word(), "a client finds out for whom to encrypt");
    let (held, spent) = (world.held(&evm_id()), DEPOSIT);
    let list = world.job_list(contract);
    let input = world.run(&list);
    let receipt = world.send(TxKind::Call(contract), spent * WEI, input);
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    assert_eq!(world.status(0).0, SUBMITTED);
    assert_eq!(world.held(&evm_id()), held - spent, "the tokens have left the EVM");
    assert_eq!(world.wei(host::JOBS), U256::ZERO, "and so has the wei");
    // The scheduler's next round consumes the request; the contract learns the job's id and has its change.
    world.settle();
    let (status, job, change, ..) = world.status(0);
    assert_eq!((status, world.job(&job).owner), (ACCEPTED, owner));
    assert!(change > U256::ZERO);
    // It was decided meanwhile; the key manager says how.
    let answer = world.answer(&job);
    world.scheduler_round(&[answer]);
    world.settle();
    let (status, _, refunded, ..) = world.status(0);
    assert_eq!(status, PLACED);
    assert!(refunded >= change, "what is left of the escrow has come back, too");
    assert_eq!(refunded, wei(world.returned), "nothing that came back is lost");
    assert_eq!(world.wei(contract), refunded);
    // Only the agent may have the position decrypted; it anchors what the host has acknowledged.
    let agent = client(10);
    assert_eq!(world.host_for(&job, &owner), None);
    let host = world.host_for(&job, &address(&agent)).expect("the sample has room");
    let said = Acknowledgement {
        chain: world.net.chain,
        paratime: scheduler_id(),
        job,
        replica: 0,
        round: world.job(&job).decision.unwrap().round,
        image: ImageDigest([9; 32]),
        host,
        salt: Digest([0x5a; 32]),
        status: Progress::Accepted,
    };
    let before = world.scheduler_balance(&address(&agent));
    let tx = world.tx(&agent, Call::AnchorDeployment { job, replica: 0, anchor: said.anchor() });
    world.scheduler_round(&[tx]);
    let fee = u128::from(gas::TRANSACTION);
    assert_eq!(world.scheduler_balance(&address(&agent)), before - fee - FEE, "the agent pays for the news");
    world.settle();
    assert_eq!(result(&world, contract, 0), (true, said.anchor(), 1));
    assert_eq!(world.send(TxKind::Call(contract), 0, calldata("finish(uint256)", &[word(0)]))["status"], "0x0");
    for status in [Progress::Running, Progress::Finished] {
        let tx = world.tx(&agent, Call::UpdateStatus { job, replica: 0, status });
        world.scheduler_round(&[tx]);
    }
    world.settle();
    assert_eq!(result(&world, contract, 0), (true, said.anchor(), 3));
    let receipt = world.send(TxKind::Call(contract), 0, calldata("finish(uint256)", &[word(0)]));
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    assert_eq!(receipt["logs"][0]["topics"][0], keccak256("Ran(uint256,bytes32)").to_string());
    // Whoever paid gets back what it did not cost.
    let alice = world.alice.address();
    let before = world.wei(alice);
    let receipt = world.send(TxKind::Call(contract), 0, calldata("reclaim(uint256)", &[word(0)]));
    assert_eq!((receipt["status"].as_str(), world.wei(contract)), (Some("0x1"), U256::ZERO));
    assert!(world.wei(alice) > before);
}

#[test]
fn a_request_with_a_bad_proof_or_too_little_for_the_job_pays_for_the_check_and_holds_nobody_up() {
    let mut world = World::new(scheduler_id());
    let contract = world.deploy(1_000_000_000);
    let (good, foreign) = (world.job_list(contract), world.job_list(Contract::repeat_byte(7)));
    let calls = [(DEPOSIT, world.run(&foreign)), (3 * FEE + 10, world.run(&good)), (DEPOSIT, world.run(&good))];
    let txs: Vec<Vec<u8>> =
        calls.into_iter().map(|(tokens, input)| world.signed(TxKind::Call(contract), tokens * WEI, input)).collect();
    let done = world.evm_round(&txs);
    assert_eq!(done.messages.len(), 3);
    world.settle();
    let (status, _, refunded, module, code) = world.status(0);
    assert_eq!((status, module.as_str(), code), (REFUSED, "scheduler", Code::BadProof as u64));
    let cost = u128::from(gas::TRANSACTION + gas::PROOF);
    // Its own message, one answer, and the gas of the check.
    assert_eq!(refunded, wei(DEPOSIT - 2 * FEE - cost));
    let (status, _, refunded, _, code) = world.status(1);
    assert_eq!((status, code), (REFUSED, Code::Unaffordable as u64));
    assert_eq!(refunded, wei(FEE), "ten tokens did not even pay for looking");
    assert_eq!(world.status(2).0, ACCEPTED, "what stands behind them is a job");
    assert_eq!(wei(world.returned), world.wei(contract));
}

#[test]
fn a_policy_that_the_scheduler_does_not_have_is_refused_and_a_replica_count_too() {
    let mut world = World::new(scheduler_id());
    let contract = world.deploy(1_000_000_000);
    let list = world.job_list(contract);
    let wrong = [(2, 1, Code::PolicyNotEnabled), (2, 4, Code::BadField), (4, 9, Code::BadField)];
    for (request, (at, value, code)) in (0..).zip(wrong) {
        let mut terms = terms(&list);
        terms[at] = word(value);
        let receipt = world.send(TxKind::Call(contract), DEPOSIT * WEI, run(&terms, &list.bytes));
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        world.settle();
        let (status, _, _, _, found) = world.status(request);
        assert_eq!((status, found), (REFUSED, code as u64));
    }
}

#[test]
fn the_host_contract_takes_no_request_that_could_not_be_answered() {
    let mut world = World::new(scheduler_id());
    let contract = world.deploy(1_000_000_000);
    let list = world.job_list(contract);
    let input = world.run(&list);
    let data = |receipt: &serde_json::Value| receipt["failure"]["revert"].as_str().unwrap_or("").to_owned();
    let reverts = |world: &mut World, value: u128, input: Vec<u8>, error: &str| {
        let receipt = world.send(TxKind::Call(contract), value, input);
        let selector = hex::encode(&keccak256(error)[..4]);
        assert!(data(&receipt).contains(&selector), "{error}: {receipt}");
    };
    reverts(&mut world, 3 * FEE * WEI - 1, input.clone(), "ValueTooLow(uint256)");
    reverts(&mut world, 0, input.clone(), "ValueTooLow(uint256)");
    reverts(&mut world, DEPOSIT * WEI + 1, input.clone(), "NotWholeTokens(uint256)");
    reverts(&mut world, DEPOSIT * WEI, run(&terms(&list), &[1; 24 * 1024]), "MessageTooLarge(uint256)");
    let batch: Vec<Vec<u8>> =
        (0..17).map(|_| world.signed(TxKind::Call(contract), 3 * FEE * WEI, input.clone())).collect();
    let done = world.evm_round(&batch);
    assert_eq!(done.messages.len(), 16);
    let error = hex::encode(&keccak256("TooManyWaiting()")[..4]);
    assert!(data(&world.receipt(&batch[16])).contains(&error));
    world.evm_round(&[]);
    let receipt = world.send(TxKind::Call(contract), 3 * FEE * WEI, input);
    assert_eq!(receipt["status"], "0x1", "their time is over when the ledger has taken them");
    assert_eq!(world.wei(host::JOBS), U256::ZERO);
}

#[test]
fn what_the_ledger_does_not_take_comes_back_and_the_contract_is_told_why() {
    // To a ParaTime that does not exist.
    let mut world = World::new(ParaTimeId::named("nobody"));
    let contract = world.deploy(1_000_000_000);
    let (list, held) = (world.job_list(contract), world.held(&evm_id()));
    let input = world.run(&list);
    world.send(TxKind::Call(contract), DEPOSIT * WEI, input);
    world.evm_round(&[]);
    let (status, _, refunded, module, code) = world.status(0);
    assert_eq!((status, module.as_str(), code, refunded), (NOT_SENT, "rounds", 101, wei(DEPOSIT)));
    assert_eq!((world.wei(contract), world.held(&evm_id())), (wei(DEPOSIT), held));
    // To a scheduler whose queue is full.
    let mut world = World::new(scheduler_id());
    let contract = world.deploy(1_000_000_000);
    for _ in 0..128 {
        world.message(scheduler_id(), 1, vec![]);
    }
    let list = world.job_list(contract);
    let input = world.run(&list);
    world.send(TxKind::Call(contract), DEPOSIT * WEI, input.clone());
    world.evm_round(&[]);
    let (status, _, refunded, module, code) = world.status(0);
    assert_eq!((status, module.as_str(), code, refunded), (NOT_SENT, "rounds", 22, wei(DEPOSIT)));
    // When it has room again, so has the contract.
    world.scheduler_round(&[]);
    world.scheduler_round(&[]);
    world.send(TxKind::Call(contract), DEPOSIT * WEI, input);
    world.settle();
    assert_eq!(world.status(1).0, ACCEPTED);
    // With wei that nothing at the ledger stands behind.
    let more = world.held(&evm_id()) + 1;
    let input = world.run(&list);
    world.send(TxKind::Call(contract), more * WEI, input);
    world.evm_round(&[]);
    let (status, _, refunded, module, code) = world.status(2);
    assert_eq!((status, module.as_str(), code, refunded), (NOT_SENT, "staking", 1, wei(more)));
}

#[test]
fn an_answer_that_finds_the_queue_of_the_evm_full_is_sent_again() {
    let mut world = World::new(scheduler_id());
    let contract = world.deploy(1_000_000_000);
    let list = world.job_list(contract);
    let input = world.run(&list);
    world.send(TxKind::Call(contract), DEPOSIT * WEI, input);
    world.evm_round(&[]);
    for _ in 0..128 {
        world.message(evm_id(), 1, vec![]);
    }
    let mut sent = world.scheduler_round(&[]);
    if sent.messages.is_empty() {
        sent = world.scheduler_round(&[]);
    }
    assert_eq!(sent.messages.len(), 1);
    let told = world.scheduler_round(&[]);
    assert!(told.events.iter().any(|e| e.name == "scheduler.answer_failed"), "{:?}", told.events);
    assert!(told.messages.is_empty(), "not at once");
    world.settle();
    assert_eq!(world.status(0).0, ACCEPTED);
    // The tokens of the attempt that failed have not been counted by the ledger.
    world.returned -= world::tokens(&sent.messages[0]);
    assert_eq!(world.wei(contract), wei(world.returned));
}

#[test]
fn going_back_to_a_snapshot_does_not_give_an_answer_to_another_request() {
    let mut world = World::new(scheduler_id());
    let contract = world.deploy(1_000_000_000);
    let list = world.job_list(contract);
    let control = |salt: u8, action| control::bytes(CHAIN_ID, [salt; 32], action);
    world.evm_round(&[control(1, Action::Snapshot)]);
    let input = world.run(&list);
    world.send(TxKind::Call(contract), DEPOSIT * WEI, input);
    let alice = world.alice.address();
    let before = world.wei(alice);
    world.evm_round(&[control(2, Action::Revert(1))]);
    assert!(world.wei(alice) > before, "the snapshot is back");
    world.rewind(1);
    // The job is on its way all the same. Another one has another number, and each has its own answer.
    let input = world.run(&list);
    world.send(TxKind::Call(contract), DEPOSIT * WEI, input);
    world.settle();
    let (first, second) = (world.status(0), world.status(1));
    assert_eq!((first.0, second.0), (ACCEPTED, ACCEPTED));
    assert_ne!(first.1, second.1, "they are two jobs");
}

#[test]
fn nobody_speaks_for_a_contract_or_for_the_scheduler_by_a_message_of_their_own() {
    let mut world = World::new(scheduler_id());
    let contract = world.deploy(1_000_000_000);
    let list = world.job_list(contract);
    let input = world.run(&list);
    let receipt = world.send(TxKind::Call(contract), DEPOSIT * WEI, input);
    // A copy of the request, sent by a user: a deposit, and no job.
    let log = receipt["logs"][0]["data"].as_str().unwrap();
    let bytes = hex::decode(log.trim_start_matches("0x")).unwrap();
    let length: usize = U256::from_be_slice(&bytes[64..96]).to();
    let request = bytes[96..96 + length].to_vec();
    let user = address(&world.net.users[0].clone());
    let before = world.scheduler_balance(&user);
    world.message(scheduler_id(), 777, request);
    // A made up answer: a deposit, too.
    let said = Said::Placed { job: Digest([1; 32]) };
    let answer = JobAnswer { contract: Address(contract.into_array()), request: 0, said };
    world.message(evm_id(), 555, answer.to_bytes());
    assert_ne!(user, paratime_account(&scheduler_id()));
    world.settle();
    assert_eq!(world.status(0).0, ACCEPTED);
    assert_eq!(world.scheduler_balance(&user) - before, 777);
    assert_eq!(world.wei(Contract::from(user.0)), wei(555));
    let owner = contract_account(&evm_id(), &Address(contract.into_array()));
    assert_eq!(world.scheduler_balance(&owner), 0, "a contract's account holds nothing between messages");
    let number = world.ask(contract, "sponsor(uint256)", &[B256::ZERO]);
    assert_eq!(number[0], world.alice.address().into_word());
}
