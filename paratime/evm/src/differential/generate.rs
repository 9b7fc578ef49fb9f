//! Random transactions that reach deep into the host contracts: most calls are as a contract would make them, on handles
//! that exist, and some are wrong in each way that the contracts look for.

use super::random::Random;
use super::{CALLERS, Counts, GATEWAY, Shown, Side, address_of, attester};
use crate::handle::{FheType, compose};
use crate::host::{
    ACL, ALL, DECRYPTION_DOMAIN, EXECUTOR, HCU_LIMIT, INPUT_DOMAIN, INPUT_VERIFIER, KMS_VERIFIER,
    KMS_VERIFIER_OF_PLUGIN, Op, PAUSER_SET, decryption_structure, input_structure, signers,
};
use crate::params::LOCALNET_CHAIN_ID;
use revm::primitives::{Address, B256, U256, hex, keccak256};

/// One transaction.
pub(super) struct Step {
    pub(super) to: Address,
    pub(super) input: Vec<u8>,
    /// Its calls, in words for people.
    pub(super) calls: Vec<String>,
}

pub(super) struct Generator {
    random: Random,
    /// Handles of the transactions before.
    handles: Vec<B256>,
    /// Handles that the transaction made so far: its caller may use those.
    current: Vec<B256>,
    /// Proofs that were used, with the user and the handles.
    proofs: Vec<(Address, Vec<u8>, Vec<B256>)>,
    /// Static calls in this transaction: what halts takes nearly all the gas that there is.
    statics: usize,
}

/// One call.
struct Call {
    kind: u8,
    to: Address,
    value: u8,
    data: Vec<u8>,
}

impl Call {
    fn plain(to: Address, data: Vec<u8>) -> Self {
        Self { kind: 0, to, value: 0, data }
    }

    fn encode(&self) -> Vec<u8> {
        let length = (self.data.len() as u32).to_be_bytes();
        [&[self.kind], self.to.as_slice(), &[self.value], &length[1..], &self.data].concat()
    }

    fn words(&self) -> String {
        format!("  kind {} to {} value {} data {}", self.kind, self.to, self.value, hex::encode(&self.data))
    }
}

/// An argument.
enum Arg {
    Word(B256),
    Bytes(Vec<u8>),
    Words(Vec<B256>),
    List(Vec<Vec<u8>>),
}

fn address(a: Address) -> Arg {
    Arg::Word(a.into_word())
}

fn number(n: u64) -> Arg {
    Arg::Word(B256::from(U256::from(n)))
}

fn call(signature: &str, args: &[Arg]) -> Vec<u8> {
    use crate::host::testing::{Out, encode};
    let values: Vec<Out> = args
        .iter()
        .map(|arg| match arg {
            Arg::Word(word) => Out::Word(*word),
            Arg::Bytes(bytes) => Out::Bytes(bytes.clone()),
            Arg::Words(words) => Out::Words(words.clone()),
            Arg::List(list) => Out::List(list.clone()),
        })
        .collect();
    [&keccak256(signature)[..4], &encode(&values)].concat()
}

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

impl Generator {
    pub(super) fn new(random: Random) -> Self {
        Self { random, handles: Vec::new(), current: Vec::new(), proofs: Vec::new(), statics: 0 }
    }

    /// How many transactions the sequence has.
    pub(super) fn turns(&mut self) -> usize {
        2 + self.random.below(5)
    }

    /// How many blocks later the next one is.
    pub(super) fn blocks(&mut self) -> u64 {
        self.random.below(3) as u64
    }

    /// The next transaction: calls of one of the callers, each made with a view of what those before return.
    pub(super) fn step(&mut self, native: &mut Side, block: u64) -> Step {
        let to = *self.random.pick(&CALLERS);
        self.statics = 0;
        self.handles.append(&mut self.current);
        let (mut input, mut calls) = (Vec::new(), Vec::new());
        let burst = self.random.once_in(25);
        let wide = self.random.once_in(3);
        let count = if burst { 27 } else { 1 + self.random.below(10) };
        for turn in 0..count {
            let made = match (burst, wide) {
                (true, true) => self.wide(turn),
                (true, false) => self.heavy(),
                _ => self.call(to, 0),
            };
            input.extend(made.encode());
            calls.push(made.words());
            let shown = native.run(block, to, &input, false);
            self.current = results(&shown);
        }
        Step { to, input, calls }
    }

    /// Remembers what happened.
    pub(super) fn learn(&mut self, shown: &Shown, counts: &mut Counts) {
        let mut count = |what: String| *counts.entry(what).or_default() += 1;
        count(format!("transaction {}", if shown.success { "succeeded" } else { "reverted" }));
        for log in &shown.logs {
            let topic = log.topics().first().copied().unwrap_or_default();
            let op = Op::ALL.into_iter().find(|op| keccak256(op.event()) == topic);
            count(op.map_or_else(|| format!("other event of {}", log.address), |op| format!("event {}", op.name())));
        }
        for (ok, data) in entries(&shown.output) {
            match (ok, data.get(..4)) {
                (true, _) => count("call succeeded".to_owned()),
                (false, Some(selector)) => count(format!("call reverted with {}", name(selector))),
                (false, None) => count("call reverted with nothing".to_owned()),
            }
        }
        let keep = self.handles.len().saturating_sub(40);
        self.handles.drain(..keep);
    }

    /// An operation that costs much, on the newest handles: what runs into the limits.
    fn heavy(&mut self) -> Call {
        let newest = self.current.last().copied().filter(|h| h[30] == 6 && !self.random.once_in(3));
        let data = match newest {
            Some(handle) => {
                let scalar = u8::from(self.random.once_in(2));
                let right = if scalar == 1 { B256::with_last_byte(7) } else { handle };
                let op = *self.random.pick(&[Op::Mul, Op::Mul, Op::Mul, Op::Add]);
                call(&op.function(), &[Arg::Word(handle), Arg::Word(right), flag(scalar)])
            }
            None => call(&Op::TrivialEncrypt.function(), &[Arg::Word(self.random.word().into()), number(6)]),
        };
        Call::plain(EXECUTOR, data)
    }

    /// In turns a new value and its square: what runs into the limit on all operations together.
    fn wide(&mut self, turn: usize) -> Call {
        let data = match self.current.last() {
            Some(handle) if turn % 2 == 1 => {
                call(&Op::Mul.function(), &[Arg::Word(*handle), Arg::Word(*handle), flag(0)])
            }
            _ => call(&Op::TrivialEncrypt.function(), &[Arg::Word(self.random.word().into()), number(6)]),
        };
        Call::plain(EXECUTOR, data)
    }

    fn call(&mut self, sender: Address, depth: usize) -> Call {
        let (to, data) = match self.random.below(40) {
            0..=19 => (EXECUTOR, self.operation()),
            20..=27 => (ACL, self.access(sender, depth)),
            28..=29 => (ACL, self.governance()),
            30..=32 => self.input(sender),
            33..=34 => self.decryption(),
            35 => self.verifier(),
            36 => (PAUSER_SET, self.pausers()),
            37 => (HCU_LIMIT, self.limits()),
            38 => (*self.random.pick(&ALL), self.question()),
            _ if depth < 2 => {
                let inner = *self.random.pick(&CALLERS);
                let calls = 1 + self.random.below(4);
                let mut data: Vec<u8> = (0..calls).flat_map(|_| self.call(inner, depth + 1).encode()).collect();
                if self.random.once_in(4) {
                    data.extend(Call { kind: 2, to: inner, value: 0, data: vec![1, 2, 3] }.encode());
                }
                (inner, data)
            }
            _ => (EXECUTOR, self.operation()),
        };
        let mut made = Call::plain(to, data);
        if ALL.contains(&to) {
            self.spoil(&mut made);
        }
        made
    }

    /// Makes one call in some that is not as it should be.
    fn spoil(&mut self, made: &mut Call) {
        match self.random.below(60) {
            0 => made.value = 1,
            1 if self.statics < 2 => {
                made.kind = 1;
                self.statics += 1;
            }
            2 => {
                let keep = self.random.below(made.data.len() + 1);
                made.data.truncate(keep);
            }
            3 if made.data.len() > 4 => {
                let at = 4 + self.random.below(made.data.len() - 4);
                made.data[at] ^= 1 << self.random.below(8);
            }
            4 => made.data.extend([0; 40]),
            5 if self.random.once_in(3) => made.data = self.random.bytes(4),
            _ => {}
        }
    }

    fn kind(&mut self) -> u8 {
        match self.random.below(20) {
            0 => self.random.below(90) as u8,
            _ => self.random.pick(&TYPES).number(),
        }
    }

    /// A handle: mostly one that was made, mostly of this type.
    fn handle(&mut self, kind: Option<u8>) -> B256 {
        self.handle_of(|h| kind.is_none_or(|k| h[30] == k))
    }

    /// A handle that an operation mostly takes as its left operand.
    fn operand(&mut self, op: Op) -> B256 {
        self.handle_of(|h| crate::handle::type_of(h).is_some_and(|kind| op.takes(kind)))
    }

    fn handle_of(&mut self, fits: impl Fn(&B256) -> bool) -> B256 {
        if self.random.once_in(30) {
            let kind = FheType::new(self.random.below(84) as u8).unwrap_or(FheType::BOOL);
            let mut out = compose(self.random.word().into(), 0xff, LOCALNET_CHAIN_ID, kind);
            if self.random.once_in(3) {
                out[30] = self.random.next() as u8;
            }
            return out;
        }
        let older = self.current.is_empty() || self.random.once_in(5);
        let pool = if older { &self.handles } else { &self.current };
        let fit: Vec<B256> = pool.iter().copied().filter(|h| fits(h)).collect();
        let fit = if fit.is_empty() || self.random.once_in(15) { pool.clone() } else { fit };
        if fit.is_empty() { B256::ZERO } else { *self.random.pick(&fit) }
    }

    fn scalar(&mut self) -> B256 {
        match self.random.below(6) {
            0 => B256::ZERO,
            1 => B256::from(self.random.word()),
            2 => B256::from(U256::ONE << self.random.below(256)),
            _ => B256::with_last_byte(self.random.next() as u8),
        }
    }

    fn operation(&mut self) -> Vec<u8> {
        let op = *self.random.pick(&Op::ALL);
        let few = self.current.len() < 2 && !self.random.once_in(3);
        match op {
            _ if few || self.random.once_in(6) => {
                let kind = if self.random.once_in(3) { 0 } else { u64::from(self.kind()) };
                call(&Op::TrivialEncrypt.function(), &[Arg::Word(self.scalar()), number(kind)])
            }
            op if op.is_binary() => {
                let left = self.operand(op);
                let wants_scalar = matches!(op, Op::Div | Op::Rem) || self.random.once_in(3);
                let scalar = if self.random.once_in(25) { self.random.below(4) as u8 } else { u8::from(wants_scalar) };
                let right = if scalar == 1 { self.scalar() } else { self.handle(Some(left[30])) };
                call(&op.function(), &[Arg::Word(left), Arg::Word(right), flag(scalar)])
            }
            Op::Neg | Op::Not => call(&op.function(), &[Arg::Word(self.operand(op))]),
            Op::Cast => {
                let kind = u64::from(self.kind());
                call(&op.function(), &[Arg::Word(self.operand(op)), number(kind)])
            }
            Op::IfThenElse => {
                let (control, yes) = (self.handle(Some(0)), self.operand(op));
                let no = self.handle(Some(yes[30]));
                call(&op.function(), &[Arg::Word(control), Arg::Word(yes), Arg::Word(no)])
            }
            Op::Rand => call(&op.function(), &[number(u64::from(self.kind()))]),
            Op::RandBounded => {
                let bound = if self.random.once_in(5) { self.scalar() } else { B256::with_last_byte(16) };
                call(&op.function(), &[Arg::Word(bound), number(u64::from(self.kind()))])
            }
            _ => call(&Op::TrivialEncrypt.function(), &[Arg::Word(self.scalar()), number(u64::from(self.kind()))]),
        }
    }

    fn account(&mut self) -> Address {
        match self.random.below(8) {
            0 => EXECUTOR,
            1 => Address::ZERO,
            2 => Address::repeat_byte(self.random.below(3) as u8),
            _ => *self.random.pick(&CALLERS),
        }
    }

    fn access(&mut self, sender: Address, depth: usize) -> Vec<u8> {
        let handle = Arg::Word(self.handle(None));
        let other = self.account();
        match self.random.below(14) {
            0..=3 => call("allow(bytes32,address)", &[handle, address(other)]),
            4 | 5 => call("allowTransient(bytes32,address)", &[handle, address(other)]),
            6 => {
                let count = self.random.below(4);
                let list = (0..count).map(|_| self.handle(None)).collect();
                call("allowForDecryption(bytes32[])", &[Arg::Words(list)])
            }
            7 => call("cleanTransientStorage()", &[]),
            8 | 9 => {
                let some = 1_700_000_000 + self.random.below(20_000) as u64;
                let later = if self.random.once_in(2) { 1_700_010_000 } else { some };
                let contract = self.account();
                let delegate = "delegateForUserDecryption(address,address,uint64)";
                call(delegate, &[address(other), address(contract), number(later)])
            }
            10 => {
                let contract = self.account();
                call("revokeDelegationForUserDecryption(address,address)", &[address(other), address(contract)])
            }
            11 if depth < 2 => {
                let count = self.random.below(4);
                let list = (0..count).map(|_| self.access(sender, depth + 1)).collect();
                call("multicall(bytes[])", &[Arg::List(list)])
            }
            12 => call("isAllowed(bytes32,address)", &[handle, address(sender)]),
            _ => {
                let (delegate, contract) = (self.account(), self.account());
                let asked = "isHandleDelegatedForUserDecryption(address,address,address,bytes32)";
                call(asked, &[address(other), address(delegate), address(contract), handle])
            }
        }
    }

    fn governance(&mut self) -> Vec<u8> {
        let other = self.account();
        match self.random.below(10) {
            0 => call("pause()", &[]),
            1..=3 => call("unpause()", &[]),
            4 => call("blockAccount(address)", &[address(other)]),
            5 | 6 => call("unblockAccount(address)", &[address(other)]),
            7 => call("transferOwnership(address)", &[address(other)]),
            8 => call("acceptOwnership()", &[]),
            _ if self.random.once_in(10) => call("renounceOwnership()", &[]),
            _ => call("unpause()", &[]),
        }
    }

    fn pausers(&mut self) -> Vec<u8> {
        let (one, other) = (self.account(), self.account());
        match self.random.below(4) {
            0 => call("addPauser(address)", &[address(one)]),
            1 => call("removePauser(address)", &[address(one)]),
            2 => call("swapPauser(address,address)", &[address(one), address(other)]),
            _ => call("isPauser(address)", &[address(one)]),
        }
    }

    fn limits(&mut self) -> Vec<u8> {
        let (kind, handle) = (number(self.kind().into()), self.handle(None));
        match self.random.below(3) {
            0 => call("checkHCUForFheRand(uint8,bytes32)", &[kind, Arg::Word(handle)]),
            1 => {
                let words = [kind, flag(0), Arg::Word(handle), Arg::Word(handle), Arg::Word(handle)];
                call("checkHCUForFheAdd(uint8,bytes1,bytes32,bytes32,bytes32)", &words)
            }
            _ => call("checkHCUForCast(uint8,bytes32,bytes32)", &[kind, Arg::Word(handle), Arg::Word(handle)]),
        }
    }

    fn question(&mut self) -> Vec<u8> {
        let signature = *self.random.pick(&[
            "getVersion()",
            "owner()",
            "pendingOwner()",
            "paused()",
            "getFHEVMExecutorAddress()",
            "getPauserSetAddress()",
            "getACLAddress()",
            "getHCULimitAddress()",
            "getInputVerifierAddress()",
            "getHandleVersion()",
            "getThreshold()",
            "getCoprocessorSigners()",
            "getKmsSigners()",
            "eip712Domain()",
            "EIP712_INPUT_VERIFICATION_TYPE()",
            "EIP712_INPUT_VERIFICATION_TYPEHASH()",
            "EIP712_PUBLIC_DECRYPT_TYPE()",
            "DECRYPTION_RESULT_TYPEHASH()",
            "UPGRADE_INTERFACE_VERSION()",
            "proxiableUUID()",
            "initializeFromEmptyProxy()",
            "reinitializeV2()",
            "cleanTransientStorage()",
            "nothing()",
        ]);
        let (handle, one, other) = (self.handle(None), self.account(), self.account());
        match self.random.below(6) {
            0 => call("persistAllowed(bytes32,address)", &[Arg::Word(handle), address(one)]),
            1 => call("allowedTransient(bytes32,address)", &[Arg::Word(handle), address(one)]),
            2 => call("isAllowedForDecryption(bytes32)", &[Arg::Word(handle)]),
            3 => {
                let asked = "getUserDecryptionDelegationExpirationDate(address,address,address)";
                call(asked, &[address(one), address(other), address(self.account())])
            }
            4 => {
                let asked = *self.random.pick(&["isAccountDenied(address)", "isPauser(address)", "isSigner(address)"]);
                call(asked, &[address(if self.random.once_in(2) { one } else { address_of(&attester(1)) })])
            }
            _ => call(signature, &[]),
        }
    }

    fn signatures(&mut self, digest: B256) -> Vec<u8> {
        let count = if self.random.once_in(5) { self.random.below(5) } else { 2 };
        let first = self.random.below(3) as u8;
        let mut out = vec![];
        for n in 0..count as u8 {
            let who = if self.random.once_in(12) { self.random.below(4) as u8 } else { (first + n) % 3 };
            let (signature, id) =
                attester(who).sign_prehash_recoverable(digest.as_slice()).expect("a digest can be signed");
            let mut bytes = [signature.to_bytes().as_slice(), &[27 + id.to_byte()]].concat();
            if self.random.once_in(15) {
                let at = self.random.below(65);
                bytes[at] ^= 1 << self.random.below(8);
            }
            out.extend(bytes);
        }
        out
    }

    fn input(&mut self, sender: Address) -> (Address, Vec<u8>) {
        let again = !self.proofs.is_empty() && self.random.once_in(3);
        let (user, mut proof, handles) = if again {
            self.random.pick(&self.proofs).clone()
        } else {
            let user = self.account();
            let count = self.random.below(4);
            let handles: Vec<B256> = (0..count).map(|index| self.fresh(index as u8)).collect();
            let extra = if self.random.once_in(3) { self.random.bytes(5) } else { vec![] };
            let structure = input_structure(&handles, user, sender, U256::from(LOCALNET_CHAIN_ID), &extra);
            let (contract, chain) = GATEWAY;
            let digest = signers::typed_data_digest(INPUT_DOMAIN.as_bytes(), b"1", chain, contract, structure);
            let signatures = self.signatures(digest);
            let counts = [count as u8, (signatures.len() / 65) as u8];
            let listed: Vec<u8> = handles.iter().flat_map(|h| h.0).collect();
            (user, [counts.to_vec(), listed, signatures, extra].concat(), handles)
        };
        self.proofs.push((user, proof.clone(), handles.clone()));
        if self.random.once_in(12) && !proof.is_empty() {
            let keep = self.random.below(proof.len());
            proof.truncate(keep);
        }
        let handle =
            if handles.is_empty() || self.random.once_in(12) { self.fresh(1) } else { *self.random.pick(&handles) };
        self.handles.push(handle);
        let user = if self.random.once_in(12) { self.account() } else { user };
        if self.random.once_in(4) {
            let context = "verifyInput((address,address),bytes32,bytes)";
            let args = [address(user), address(sender), Arg::Word(handle), Arg::Bytes(proof)];
            return (INPUT_VERIFIER, call(context, &args));
        }
        let kind = if self.random.once_in(12) { self.kind() } else { handle[30] };
        let args = [Arg::Word(handle), address(user), Arg::Bytes(proof), number(kind.into())];
        (EXECUTOR, call(&Op::VerifyInput.function(), &args))
    }

    /// The handle of an input.
    fn fresh(&mut self, index: u8) -> B256 {
        let kind = *self.random.pick(&TYPES);
        let chain = if self.random.once_in(20) { 1 } else { LOCALNET_CHAIN_ID };
        let mut out = compose(self.random.word().into(), index, chain, kind);
        if self.random.once_in(20) {
            out[31] = 1;
        }
        out
    }

    fn decryption(&mut self) -> (Address, Vec<u8>) {
        let handles: Vec<B256> = (0..self.random.below(3)).map(|_| self.handle(None)).collect();
        let (result, extra) = (self.random.bytes(40), vec![0; self.random.below(2)]);
        let (contract, chain) = GATEWAY;
        let structure = decryption_structure(&handles, &result, &extra);
        let digest = signers::typed_data_digest(DECRYPTION_DOMAIN.as_bytes(), b"1", chain, contract, structure);
        let signatures = self.signatures(digest);
        let mut proof = [&[(signatures.len() / 65) as u8], signatures.as_slice(), &extra].concat();
        if self.random.once_in(10) {
            let keep = self.random.below(proof.len());
            proof.truncate(keep);
        }
        let to = *self.random.pick(&[KMS_VERIFIER, KMS_VERIFIER_OF_PLUGIN]);
        let signature = "verifyDecryptionEIP712KMSSignatures(bytes32[],bytes,bytes)";
        (to, call(signature, &[Arg::Words(handles), Arg::Bytes(result), Arg::Bytes(proof)]))
    }

    fn verifier(&mut self) -> (Address, Vec<u8>) {
        let to = *self.random.pick(&[KMS_VERIFIER, INPUT_VERIFIER]);
        if self.random.once_in(2) {
            return (to, call("setThreshold(uint256)", &[number(self.random.below(5) as u64)]));
        }
        let mut signers: Vec<B256> = (0..3).map(|n| address_of(&attester(n)).into_word()).collect();
        match self.random.below(6) {
            0 => signers.clear(),
            1 => signers.push(B256::ZERO),
            2 => signers.push(signers[0]),
            3 => signers.truncate(2),
            _ => {}
        }
        let threshold = number(1 + self.random.below(4) as u64);
        (to, call("defineNewContext(address[],uint256)", &[Arg::Words(signers), threshold]))
    }
}

fn flag(scalar: u8) -> Arg {
    Arg::Word(B256::right_padding_from(&[scalar]))
}

/// The results of a caller.
fn entries(output: &[u8]) -> Vec<(bool, Vec<u8>)> {
    let (mut rest, mut out) = (output, Vec::new());
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        let Some((data, more)) = tail.split_at_checked(length) else { break };
        out.push((head[0] == 1, data.to_vec()));
        rest = more;
    }
    out
}

/// The handles that a transaction made.
fn results(shown: &Shown) -> Vec<B256> {
    let made = shown.logs.iter().filter(|log| log.address == EXECUTOR);
    let last = |data: &[u8]| data.len().checked_sub(32).map(|at| B256::from_slice(&data[at..]));
    let known =
        made.filter(|log| log.topics().first().is_some_and(|t| Op::ALL.iter().any(|op| keccak256(op.event()) == *t)));
    // An event of an input ends in its proof, so its result is not last there.
    known
        .filter(|log| log.topics()[0] != keccak256(Op::VerifyInput.event()))
        .filter_map(|log| last(&log.data.data))
        .collect()
}

/// The errors that the contracts have. The long run must meet each of them.
pub(super) const ERRORS: [&str; 61] = [
    "ACLNotAllowed(bytes32,address)",
    "AlreadyDelegatedOrRevokedInSameBlock(address,address,address,uint256)",
    "AccountAlreadyBlocked(address)",
    "AccountAlreadyPauser(address)",
    "AccountNotBlocked(address)",
    "AccountNotPauser(address)",
    "CallerMustBeFHEVMExecutorContract()",
    "CoprocessorAlreadySigner()",
    "CoprocessorSignerNull()",
    "DelegateCannotBeContractAddress(address)",
    "DeserializingDecryptionProofFail()",
    "DeserializingInputProofFail()",
    "DivisionByZero()",
    "ECDSAInvalidSignature()",
    "ECDSAInvalidSignatureS(bytes32)",
    "EmptyDecryptionProof()",
    "EmptyInputProof()",
    "EnforcedPause()",
    "ExpectedPause()",
    "ExpirationDateAlreadySetToSameValue(address,address,address,uint256)",
    "ExpirationDateBeforeOneHour()",
    "FailedCall()",
    "HCUTransactionDepthLimitExceeded()",
    "HCUTransactionLimitExceeded()",
    "HandlesListIsEmpty()",
    "IncompatibleTypes()",
    "InvalidChainId()",
    "InvalidHandleVersion()",
    "InvalidIndex()",
    "InvalidInitialization()",
    "InvalidInputHandle()",
    "InvalidNullPauser()",
    "InvalidSigner(address)",
    "InvalidType()",
    "IsNotScalar()",
    "KMSAlreadySigner()",
    "KMSInvalidSigner(address)",
    "KMSSignatureThresholdNotReached(uint256)",
    "KMSSignerNull()",
    "KMSZeroSignature()",
    "NotDelegatedYet(address,address,address)",
    "NotHostOwner(address)",
    "NotInitializingFromEmptyProxy()",
    "NotPauser(address)",
    "NotPowerOfTwo()",
    "OwnableUnauthorizedAccount(address)",
    "Panic(uint256)",
    "ScalarByteIsNotBoolean()",
    "SenderCannotBeContractAddress(address)",
    "SenderCannotBeDelegate(address)",
    "SenderDenied(address)",
    "SenderNotAllowed(address)",
    "SignatureThresholdNotReached(uint256)",
    "SignaturesVerificationFailed()",
    "SignersSetIsEmpty()",
    "ThresholdIsAboveNumberOfSigners()",
    "ThresholdIsNull()",
    "UUPSUnauthorizedCallContext()",
    "UnsupportedType()",
    "UpperBoundAboveMaxTypeValue()",
    "ZeroSignature()",
];

/// The name of an error by its selector.
fn name(selector: &[u8]) -> String {
    let found = ERRORS.iter().find(|signature| keccak256(signature)[..4] == *selector);
    found.map_or_else(|| hex::encode(selector), |signature| (*signature).to_owned())
}
