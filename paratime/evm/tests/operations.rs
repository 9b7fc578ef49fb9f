//! Every operation of the executor, through the EVM and on the clear backend, against arithmetic on plain numbers: each
//! type, with ciphertexts and with a scalar on the right, corner values and seeded random ones.

mod support;

use parallax_evm::handle::FheType;
use parallax_evm::host::{ACL, EXECUTOR, Op, units};
use revm::primitives::{Address, B256, TxKind, U256, hex};
use support::wallet::Wallet;
use support::{Net, calldata, creation, entries, entry};

const CALLER: &str = include_str!("../contracts/Caller.hex");
const SEED: u64 = 0x0b5e_55ed;

const TYPES: [FheType; 8] = [
    FheType::BOOL,
    FheType::UINT8,
    FheType::UINT16,
    FheType::UINT32,
    FheType::UINT64,
    FheType::UINT128,
    FheType::UINT160,
    FheType::UINT256,
];

fn bits(kind: FheType) -> usize {
    usize::from(kind.bits().expect("it can be computed with"))
}

fn reduced(kind: FheType, n: U256) -> U256 {
    n & (U256::MAX >> (256 - bits(kind)))
}

/// What an operation on plain numbers gives, as the Solidity library says.
fn plain(op: Op, kind: FheType, a: U256, b: U256) -> U256 {
    let k = bits(kind);
    let amount = usize::try_from(b % U256::from(k)).expect("it is small");
    let rotate = |left: usize| if left == 0 { a } else { (a << left) | (a >> (k - left)) };
    let out = match op {
        Op::Add => a.wrapping_add(b),
        Op::Sub => a.wrapping_sub(b),
        Op::Mul => a.wrapping_mul(b),
        Op::Div => a / b,
        Op::Rem => a % b,
        Op::BitAnd => a & b,
        Op::BitOr => a | b,
        Op::BitXor => a ^ b,
        Op::Shl => a << amount,
        Op::Shr => a >> amount,
        Op::Rotl => rotate(amount),
        Op::Rotr => rotate((k - amount) % k),
        Op::Eq => U256::from(a == b),
        Op::Ne => U256::from(a != b),
        Op::Ge => U256::from(a >= b),
        Op::Gt => U256::from(a > b),
        Op::Le => U256::from(a <= b),
        Op::Lt => U256::from(a < b),
        Op::Min => a.min(b),
        Op::Max => a.max(b),
        Op::Neg => U256::ZERO.wrapping_sub(a),
        Op::Not => !a,
        other => panic!("{other:?} is tested elsewhere"),
    };
    reduced(kind, out)
}

struct Lab {
    net: Net,
    caller: Address,
    seed: u64,
    checked: usize,
}

/// One operation: its calldata, and what must come out.
struct Case {
    what: String,
    data: Vec<u8>,
    expected: U256,
}

impl Lab {
    fn new() -> Self {
        let mut net = Net::new(|genesis| genesis.params.max_transaction_fhe_gas = support::LIMIT);
        let code = creation(&hex::decode(CALLER.trim()).expect("it is hexadecimal"));
        let caller = net.deploy(&Wallet::development(0), code);
        Self { net, caller, seed: SEED, checked: 0 }
    }

    /// splitmix64
    fn random(&mut self) -> U256 {
        let mut limbs = [0; 4];
        for limb in &mut limbs {
            self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *limb = z ^ (z >> 27);
        }
        U256::from_limbs(limbs)
    }

    /// The handles that calls of the executor return, without making them.
    fn handles(&self, calls: &[Vec<u8>]) -> Vec<B256> {
        let input: Vec<u8> = calls.iter().flat_map(|data| entry(EXECUTOR, data)).collect();
        let output = self.net.call(Wallet::development(0).address(), self.caller, &input);
        let results = entries(&output);
        for ((ok, data), call) in results.iter().zip(calls) {
            assert!(ok, "{} reverted with {}", hex::encode(call), hex::encode(data));
        }
        results.iter().map(|(_, data)| B256::from_slice(data)).collect()
    }

    fn trivial(kind: FheType, n: U256) -> Vec<u8> {
        calldata("trivialEncrypt(uint256,uint8)", &[n.into(), B256::with_last_byte(kind.number())])
    }

    /// Makes the calls in one transaction, lets the caller keep the results, and compares them decrypted.
    fn check(&mut self, before: &[Vec<u8>], cases: &[Case]) {
        let calls: Vec<Vec<u8>> = before.iter().cloned().chain(cases.iter().map(|c| c.data.clone())).collect();
        let results = self.handles(&calls).split_off(before.len());
        let mut input: Vec<u8> = calls.iter().flat_map(|data| entry(EXECUTOR, data)).collect();
        for handle in &results {
            let allow = calldata("allow(bytes32,address)", &[*handle, self.caller.into_word()]);
            input.extend(entry(ACL, &allow));
        }
        let alice = Wallet::development(0);
        let mut tx = self.net.unsigned(&alice, TxKind::Call(self.caller), input);
        tx.gas_limit = 30_000_000;
        let tx = alice.transaction(&tx);
        self.net.round(std::slice::from_ref(&tx));
        let receipt = self.net.receipt(&tx);
        assert_eq!(receipt["status"], "0x1", "{}", receipt["failure"]);
        for (case, handle) in cases.iter().zip(results) {
            assert_eq!(self.net.decrypt(handle), case.expected, "{} (seed {SEED:#x})", case.what);
            self.checked += 1;
        }
    }

    /// All binary and unary operations of a type on two numbers.
    fn pair(&mut self, kind: FheType, a: U256, b: U256) {
        let before = [Self::trivial(kind, a), Self::trivial(kind, b)];
        let [left, right] = self.handles(&before)[..] else { panic!("two handles") };
        let mut cases = Vec::new();
        for op in Op::ALL.into_iter().filter(|op| op.is_binary() && op.takes(kind)) {
            for scalar in [false, true] {
                if units(op, scalar, kind).is_none() || (matches!(op, Op::Div | Op::Rem) && b.is_zero()) {
                    continue;
                }
                let word = if scalar { b.into() } else { right };
                let flag = B256::right_padding_from(&[u8::from(scalar)]);
                let what = format!("{op:?} of {} bits, scalar {scalar}: {a}, {b}", bits(kind));
                let expected = plain(op, kind, a, b);
                cases.push(Case { what, data: calldata(&op.function(), &[left, word, flag]), expected });
            }
        }
        for op in [Op::Neg, Op::Not].into_iter().filter(|op| op.takes(kind)) {
            let what = format!("{op:?} of {} bits: {a}", bits(kind));
            cases.push(Case { what, data: calldata(&op.function(), &[left]), expected: plain(op, kind, a, a) });
        }
        self.check(&before, &cases);
    }
}

#[test]
fn every_operation_of_every_type_agrees_with_plain_arithmetic() {
    let mut lab = Lab::new();
    for kind in TYPES {
        let max = reduced(kind, U256::MAX);
        let half = (max >> 1) + U256::ONE;
        let (r, s, t) = (lab.random(), lab.random(), lab.random());
        let amount = reduced(kind, t) % U256::from(bits(kind));
        let pairs = [(r, s), (s, amount), (max, max), (U256::ZERO, max), (half, U256::from(3)), (max, U256::ONE)];
        for (a, b) in pairs {
            lab.pair(kind, reduced(kind, a), reduced(kind, b));
        }
    }
    println!("{} results", lab.checked);
    assert!(lab.checked > 1_000, "{} results", lab.checked);
}

#[test]
fn a_choice_takes_what_its_condition_says_for_every_type() {
    let mut lab = Lab::new();
    for kind in TYPES {
        let (yes, no) = (reduced(kind, lab.random()), reduced(kind, lab.random()));
        let before = [
            Lab::trivial(FheType::BOOL, U256::ONE),
            Lab::trivial(FheType::BOOL, U256::ZERO),
            Lab::trivial(kind, yes),
            Lab::trivial(kind, no),
        ];
        let [true_, false_, a, b] = lab.handles(&before)[..] else { panic!("four handles") };
        let case = |condition, expected| Case {
            what: format!("a choice of {} bits", bits(kind)),
            data: calldata(&Op::IfThenElse.function(), &[condition, a, b]),
            expected,
        };
        lab.check(&before, &[case(true_, yes), case(false_, no)]);
    }
}

#[test]
fn casts_and_trivial_encryptions_cut_and_fill_up() {
    let mut lab = Lab::new();
    for from in TYPES.into_iter().filter(|kind| Op::Cast.takes(*kind)) {
        let n = reduced(from, lab.random());
        let before = [Lab::trivial(from, n)];
        let handle = lab.handles(&before)[0];
        let to = TYPES.into_iter().filter(|to| Op::Cast.takes(*to) && *to != FheType::BOOL && *to != from);
        let cases: Vec<Case> = to
            .map(|to| Case {
                what: format!("a cast of {n} from {} to {} bits", bits(from), bits(to)),
                data: calldata(&Op::Cast.function(), &[handle, B256::with_last_byte(to.number())]),
                expected: reduced(to, n),
            })
            .collect();
        lab.check(&before, &cases);
    }
    for kind in TYPES {
        let n = lab.random();
        let what = format!("{n} of {} bits", bits(kind));
        lab.check(&[], &[Case { what, data: Lab::trivial(kind, n), expected: reduced(kind, n) }]);
    }
}
