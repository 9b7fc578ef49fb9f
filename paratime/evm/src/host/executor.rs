//! `FHEVMExecutor`: symbolic execution. Each operation checks types and access, names its result, counts it and emits
//! one event. Nothing is computed on ciphertexts here; that follows from the events ([`crate::graph`]).

use super::abi::{self, Args, Out, Panic, bare, error, number, panic, word};
use super::frame::{Frame, Outcome};
use super::{ACL, HCU_LIMIT, INPUT_VERIFIER, acl, hcu, input_verifier};
use crate::handle::{self, FheType, Preimage};
use revm::primitives::{B256, Bytes, U256, b256};

/// Where the counter of random values lies.
const COUNTER: B256 = b256!("4613e1771f6b755d243e536fb5a23c5b15e2826575fee921e8fe7a22a760c800");

/// The operations, numbered as handles and the published enum number them.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Op {
    Add = 0,
    Sub,
    Mul,
    Div,
    Rem,
    BitAnd,
    BitOr,
    BitXor,
    Shl,
    Shr,
    Rotl,
    Rotr,
    Eq,
    Ne,
    Ge,
    Gt,
    Le,
    Lt,
    Min,
    Max,
    Neg,
    Not,
    VerifyInput,
    Cast,
    TrivialEncrypt,
    IfThenElse,
    Rand,
    RandBounded,
}

impl Op {
    /// Every operation, by number.
    pub const ALL: [Self; 28] = [
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::Div,
        Self::Rem,
        Self::BitAnd,
        Self::BitOr,
        Self::BitXor,
        Self::Shl,
        Self::Shr,
        Self::Rotl,
        Self::Rotr,
        Self::Eq,
        Self::Ne,
        Self::Ge,
        Self::Gt,
        Self::Le,
        Self::Lt,
        Self::Min,
        Self::Max,
        Self::Neg,
        Self::Not,
        Self::VerifyInput,
        Self::Cast,
        Self::TrivialEncrypt,
        Self::IfThenElse,
        Self::Rand,
        Self::RandBounded,
    ];

    /// The name of its event; the function has the same one with a small first letter.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "FheAdd",
            Self::Sub => "FheSub",
            Self::Mul => "FheMul",
            Self::Div => "FheDiv",
            Self::Rem => "FheRem",
            Self::BitAnd => "FheBitAnd",
            Self::BitOr => "FheBitOr",
            Self::BitXor => "FheBitXor",
            Self::Shl => "FheShl",
            Self::Shr => "FheShr",
            Self::Rotl => "FheRotl",
            Self::Rotr => "FheRotr",
            Self::Eq => "FheEq",
            Self::Ne => "FheNe",
            Self::Ge => "FheGe",
            Self::Gt => "FheGt",
            Self::Le => "FheLe",
            Self::Lt => "FheLt",
            Self::Min => "FheMin",
            Self::Max => "FheMax",
            Self::Neg => "FheNeg",
            Self::Not => "FheNot",
            Self::VerifyInput => "VerifyInput",
            Self::Cast => "Cast",
            Self::TrivialEncrypt => "TrivialEncrypt",
            Self::IfThenElse => "FheIfThenElse",
            Self::Rand => "FheRand",
            Self::RandBounded => "FheRandBounded",
        }
    }

    /// Whether it takes two operands, of which the right one may be a scalar.
    pub fn is_binary(self) -> bool {
        self <= Self::Max
    }

    /// Whether its result is a boolean.
    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Ge | Self::Gt | Self::Le | Self::Lt)
    }

    /// The types of its function's arguments.
    fn arguments(self) -> &'static str {
        match self {
            op if op.is_binary() => "(bytes32,bytes32,bytes1)",
            Self::Neg | Self::Not => "(bytes32)",
            Self::VerifyInput => "(bytes32,address,bytes,uint8)",
            Self::Cast => "(bytes32,uint8)",
            Self::TrivialEncrypt => "(uint256,uint8)",
            Self::Rand => "(uint8)",
            Self::RandBounded => "(uint256,uint8)",
            _ => "(bytes32,bytes32,bytes32)",
        }
    }

    /// The signature of its function.
    pub fn function(self) -> String {
        let mut name = self.name().to_owned();
        name.get_mut(..1).into_iter().for_each(str::make_ascii_lowercase);
        format!("{name}{}", self.arguments())
    }

    /// The signature of its event.
    pub fn event(self) -> String {
        let types = match self {
            op if op.is_binary() => "bytes32,bytes32,bytes1,bytes32",
            Self::Neg | Self::Not => "bytes32,bytes32",
            Self::VerifyInput => "bytes32,address,bytes,uint8,bytes32",
            Self::Cast => "bytes32,uint8,bytes32",
            Self::TrivialEncrypt => "uint256,uint8,bytes32",
            Self::Rand => "uint8,bytes16,bytes32",
            Self::RandBounded => "uint256,uint8,bytes16,bytes32",
            _ => "bytes32,bytes32,bytes32,bytes32",
        };
        format!("{}(address,{types})", self.name())
    }

    /// Whether it takes a left operand, or makes a value, of this type.
    pub fn takes(self, kind: FheType) -> bool {
        let (bool, address, wide) = (kind == FheType::BOOL, kind == FheType::UINT160, kind == FheType::UINT256);
        let narrow = (FheType::UINT8..=FheType::UINT128).contains(&kind);
        match self {
            Self::BitAnd | Self::BitOr | Self::BitXor | Self::Not | Self::Cast | Self::Rand => bool || narrow || wide,
            Self::Shl | Self::Shr | Self::Rotl | Self::Rotr | Self::Neg | Self::RandBounded => narrow || wide,
            Self::Eq | Self::Ne | Self::IfThenElse | Self::TrivialEncrypt => bool || narrow || address || wide,
            Self::VerifyInput => true,
            _ => narrow,
        }
    }
}

/// The functions, by selector.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    Operation(Op),
    Address(revm::primitives::Address),
    HandleVersion,
    Version,
}

/// Every function with its signature.
pub(super) fn functions() -> Vec<(String, Function)> {
    let operations = Op::ALL.into_iter().map(|op| (op.function(), Function::Operation(op)));
    let getters = [
        ("getACLAddress()", Function::Address(ACL)),
        ("getHCULimitAddress()", Function::Address(HCU_LIMIT)),
        ("getInputVerifierAddress()", Function::Address(INPUT_VERIFIER)),
        ("getHandleVersion()", Function::HandleVersion),
        ("getVersion()", Function::Version),
    ];
    operations.chain(getters.map(|(signature, function)| (signature.to_owned(), function))).collect()
}

/// A call.
pub(super) fn dispatch(frame: &mut Frame<'_>, selector: [u8; 4], data: &[u8]) -> Outcome<Bytes> {
    match super::table().executor.get(&selector) {
        Some(Function::Operation(op)) => Ok(abi::returns(&[Out::Word(operation(frame, *op, data)?)])),
        Some(Function::Address(address)) => Ok(abi::returns(&[Out::address(*address)])),
        Some(Function::HandleVersion) => Ok(abi::returns(&[Out::number(U256::from(handle::VERSION))])),
        Some(Function::Version) => Ok(abi::returns(&[Out::text("FHEVMExecutor v0.1.0")])),
        None => super::upgrade(selector, data, super::Behind::Once),
    }
}

fn operation(frame: &mut Frame<'_>, op: Op, data: &[u8]) -> Outcome<B256> {
    match op {
        op if op.is_binary() => {
            let args = Args::new(data, 3)?;
            binary(frame, op, args.bytes32(0), args.bytes32(1), args.bytes1(2)?)
        }
        Op::Neg | Op::Not => unary(frame, op, Args::new(data, 1)?.bytes32(0)),
        Op::VerifyInput => verify_input(frame, Args::new(data, 4)?),
        Op::Cast => {
            let args = Args::new(data, 2)?;
            cast(frame, args.bytes32(0), args.fhe_type(1)?)
        }
        Op::TrivialEncrypt => {
            let args = Args::new(data, 2)?;
            trivial_encrypt(frame, args.uint256(0), args.fhe_type(1)?)
        }
        Op::Rand => {
            let kind = Args::new(data, 1)?.fhe_type(0)?;
            random(frame, kind)
        }
        Op::RandBounded => {
            let args = Args::new(data, 2)?;
            let kind = args.fhe_type(1)?;
            random_bounded(frame, args.uint256(0), kind)
        }
        _ => {
            let args = Args::new(data, 3)?;
            if_then_else(frame, args.bytes32(0), args.bytes32(1), args.bytes32(2))
        }
    }
}

fn type_of(handle: &B256) -> Outcome<FheType> {
    handle::type_of(handle).ok_or_else(|| panic(Panic::Enum))
}

fn supported(op: Op, handle: &B256) -> Outcome<FheType> {
    let kind = type_of(handle)?;
    if op.takes(kind) { Ok(kind) } else { Err(error("UnsupportedType()", &[])) }
}

fn allowed(frame: &mut Frame<'_>, handle: B256) -> Outcome<()> {
    let sender = frame.caller;
    if frame.call(ACL, |f| acl::is_allowed(f, handle, sender))? {
        return Ok(());
    }
    Err(error("ACLNotAllowed(bytes32,address)", &[handle, word(sender)]))
}

fn allow_transient(frame: &mut Frame<'_>, handle: B256) -> Outcome<()> {
    let sender = frame.caller;
    frame.call(ACL, |f| acl::allow_transient(f, handle, sender))
}

fn emit(frame: &mut Frame<'_>, op: Op, data: &[Out]) -> Outcome<()> {
    let sender = word(frame.caller);
    frame.emit(&op.event(), &[sender], abi::encode(data))
}

fn binary(frame: &mut Frame<'_>, op: Op, lhs: B256, rhs: B256, scalar: u8) -> Outcome<B256> {
    if matches!(op, Op::Div | Op::Rem) {
        if scalar != 1 {
            return Err(error("IsNotScalar()", &[]));
        }
        if rhs.is_zero() {
            return Err(error("DivisionByZero()", &[]));
        }
    }
    let kind = supported(op, &lhs)?;
    if scalar > 1 {
        return Err(error("ScalarByteIsNotBoolean()", &[]));
    }
    allowed(frame, lhs)?;
    if scalar == 0 {
        allowed(frame, rhs)?;
        if type_of(&rhs)? != kind {
            return Err(error("IncompatibleTypes()", &[]));
        }
    }
    let chain = frame.journal.chain_id();
    let preimage = Preimage::new(op as u8).with(lhs).with(rhs).with([scalar]).bound(ACL, chain);
    let result = preimage.handle(chain, if op.is_comparison() { FheType::BOOL } else { kind });
    allow_transient(frame, result)?;
    let operands: &[B256] = if scalar == 1 { &[lhs] } else { &[lhs, rhs] };
    hcu::charge(frame, op, scalar == 1, kind, operands, result)?;
    let flag = Out::Word(B256::right_padding_from(&[scalar]));
    emit(frame, op, &[Out::Word(lhs), Out::Word(rhs), flag, Out::Word(result)])?;
    Ok(result)
}

fn unary(frame: &mut Frame<'_>, op: Op, operand: B256) -> Outcome<B256> {
    let kind = supported(op, &operand)?;
    allowed(frame, operand)?;
    let chain = frame.journal.chain_id();
    let result = Preimage::new(op as u8).with(operand).bound(ACL, chain).handle(chain, kind);
    allow_transient(frame, result)?;
    hcu::charge(frame, op, false, kind, &[operand], result)?;
    emit(frame, op, &[Out::Word(operand), Out::Word(result)])?;
    Ok(result)
}

fn if_then_else(frame: &mut Frame<'_>, control: B256, if_true: B256, if_false: B256) -> Outcome<B256> {
    let kind = supported(Op::IfThenElse, &if_true)?;
    for handle in [control, if_true, if_false] {
        allowed(frame, handle)?;
    }
    let (control_kind, other) = (type_of(&control)?, type_of(&if_false)?);
    if control_kind != FheType::BOOL {
        return Err(error("UnsupportedType()", &[]));
    }
    if kind != other {
        return Err(error("IncompatibleTypes()", &[]));
    }
    let chain = frame.journal.chain_id();
    let operands = [control, if_true, if_false];
    let preimage = Preimage::new(Op::IfThenElse as u8).with(control).with(if_true).with(if_false);
    let result = preimage.bound(ACL, chain).handle(chain, kind);
    allow_transient(frame, result)?;
    hcu::charge(frame, Op::IfThenElse, false, kind, &operands, result)?;
    emit(frame, Op::IfThenElse, &[control, if_true, if_false, result].map(Out::Word))?;
    Ok(result)
}

fn cast(frame: &mut Frame<'_>, operand: B256, to: FheType) -> Outcome<B256> {
    allowed(frame, operand)?;
    let from = supported(Op::Cast, &operand)?;
    // A boolean is made by comparison, not by a cast.
    if !Op::Cast.takes(to) || to == FheType::BOOL {
        return Err(error("UnsupportedType()", &[]));
    }
    if from == to {
        return Err(error("InvalidType()", &[]));
    }
    let chain = frame.journal.chain_id();
    let preimage = Preimage::new(Op::Cast as u8).with(operand).with([to.number()]).bound(ACL, chain);
    let result = preimage.handle(chain, to);
    hcu::charge(frame, Op::Cast, false, to, &[operand], result)?;
    allow_transient(frame, result)?;
    emit(frame, Op::Cast, &[Out::Word(operand), Out::number(U256::from(to.number())), Out::Word(result)])?;
    Ok(result)
}

fn trivial_encrypt(frame: &mut Frame<'_>, value: U256, kind: FheType) -> Outcome<B256> {
    let op = Op::TrivialEncrypt;
    if !op.takes(kind) {
        return Err(error("UnsupportedType()", &[]));
    }
    let chain = frame.journal.chain_id();
    let preimage = Preimage::new(op as u8).with(number(value)).with([kind.number()]).bound(ACL, chain);
    let result = preimage.handle(chain, kind);
    hcu::charge(frame, op, false, kind, &[], result)?;
    allow_transient(frame, result)?;
    emit(frame, op, &[Out::number(value), Out::number(U256::from(kind.number())), Out::Word(result)])?;
    Ok(result)
}

/// The seed of a random value: a counter, the contract, the chain, the block before and the time. It names the value;
/// that nobody knows the value is the business of its evaluation.
fn seed(frame: &mut Frame<'_>) -> Outcome<[u8; 16]> {
    let counter = frame.sload(COUNTER.into())?;
    let block = frame.journal.block_number();
    let before = block.checked_sub(U256::ONE).ok_or_else(|| panic(Panic::Arithmetic))?;
    let before = u64::try_from(before).map_err(|_| bare())?;
    let hash = frame.journal.block_hash(before).map_err(super::frame::Fail::Fatal)?;
    let (chain, time) = (number(U256::from(frame.journal.chain_id())), number(frame.journal.timestamp()));
    let count = number(counter);
    let preimage = [count.as_slice(), ACL.as_slice(), chain.as_slice(), hash.as_slice(), time.as_slice()];
    let digest = frame.keccak(&preimage.concat())?;
    let next = counter.checked_add(U256::ONE).ok_or_else(|| panic(Panic::Arithmetic))?;
    frame.sstore(COUNTER.into(), next)?;
    let mut out = [0; 16];
    out.copy_from_slice(&digest[..16]);
    Ok(out)
}

fn random(frame: &mut Frame<'_>, kind: FheType) -> Outcome<B256> {
    let seed = seed(frame)?;
    if !Op::Rand.takes(kind) {
        return Err(error("UnsupportedType()", &[]));
    }
    let chain = frame.journal.chain_id();
    let result = Preimage::new(Op::Rand as u8).with([kind.number()]).with(seed).handle(chain, kind);
    hcu::charge(frame, Op::Rand, false, kind, &[], result)?;
    allow_transient(frame, result)?;
    let kind = Out::number(U256::from(kind.number()));
    emit(frame, Op::Rand, &[kind, Out::Word(B256::right_padding_from(&seed)), Out::Word(result)])?;
    Ok(result)
}

fn random_bounded(frame: &mut Frame<'_>, bound: U256, kind: FheType) -> Outcome<B256> {
    let (op, seed) = (Op::RandBounded, seed(frame)?);
    if !op.takes(kind) {
        return Err(error("UnsupportedType()", &[]));
    }
    if bound.count_ones() != 1 {
        return Err(error("NotPowerOfTwo()", &[]));
    }
    // A bound of 256 bits is always within its type.
    if kind != FheType::UINT256 && bound > U256::ONE << usize::from(kind.bits().unwrap_or(0)) {
        return Err(error("UpperBoundAboveMaxTypeValue()", &[]));
    }
    let chain = frame.journal.chain_id();
    let preimage = Preimage::new(op as u8).with(number(bound)).with([kind.number()]).with(seed);
    let result = preimage.handle(chain, kind);
    hcu::charge(frame, op, false, kind, &[], result)?;
    allow_transient(frame, result)?;
    let data = [
        Out::number(bound),
        Out::number(U256::from(kind.number())),
        Out::Word(B256::right_padding_from(&seed)),
        Out::Word(result),
    ];
    emit(frame, op, &data)?;
    Ok(result)
}

fn verify_input(frame: &mut Frame<'_>, args: Args<'_>) -> Outcome<B256> {
    let (input, user, proof, kind) = (args.bytes32(0), args.address(1)?, args.bytes(2)?, args.fhe_type(3)?);
    if type_of(&input)? != kind {
        return Err(error("InvalidType()", &[]));
    }
    let contract = frame.caller;
    let result = frame.call(INPUT_VERIFIER, |f| input_verifier::verify(f, user, contract, input, proof))?;
    allow_transient(frame, result)?;
    let data = [
        Out::Word(input),
        Out::address(user),
        Out::Bytes(proof.to_vec()),
        Out::number(U256::from(kind.number())),
        Out::Word(result),
    ];
    emit(frame, Op::VerifyInput, &data)?;
    Ok(result)
}

const _: () = assert!(Op::ALL.len() == Op::RandBounded as usize + 1);
