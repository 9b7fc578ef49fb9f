//! `InputVerifier`: whether the handles of an input were attested for this user, contract and chain.

use super::abi::{self, Args, Out, Panic, bare, error, number, panic, word};
use super::frame::{Frame, Outcome};
use super::{acl, signers};
use crate::handle::{self, VERSION};
use revm::primitives::{Address, B256, Bytes, U256, b256, keccak256};

/// The structure that is signed.
const TYPE: &str = "CiphertextVerification(bytes32[] ctHandles,address userAddress,address contractAddress,uint256 contractChainId,bytes extraData)";
/// The name in its domain.
pub const DOMAIN_NAME: &str = "InputVerification";

pub(super) const NAMES: signers::Names = signers::Names {
    storage: b256!("3f7d7a96c8c7024e92d37afccfc9b87773a33b9bc22e23134b683e74a50ace00"),
    null: "CoprocessorSignerNull()",
    already: "CoprocessorAlreadySigner()",
    invalid: "InvalidSigner(address)",
    too_few: "SignatureThresholdNotReached(uint256)",
    none: "ZeroSignature()",
};

/// The functions, by selector.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    /// One that both verifiers have.
    OfSigners(signers::Function),
    Type,
    TypeHash,
    Clean,
    HandleVersion,
    Version,
    Verify,
}

/// Every function with its signature.
pub(super) fn functions() -> Vec<(String, Function)> {
    let shared = signers::functions("getCoprocessorSigners()")
        .map(|(signature, function)| (signature, Function::OfSigners(function)));
    let own = [
        ("EIP712_INPUT_VERIFICATION_TYPE()", Function::Type),
        ("EIP712_INPUT_VERIFICATION_TYPEHASH()", Function::TypeHash),
        ("cleanTransientStorage()", Function::Clean),
        ("getHandleVersion()", Function::HandleVersion),
        ("getVersion()", Function::Version),
        ("verifyInput((address,address),bytes32,bytes)", Function::Verify),
    ];
    own.into_iter().chain(shared).map(|(signature, function)| (signature.to_owned(), function)).collect()
}

/// A call.
pub(super) fn dispatch(frame: &mut Frame<'_>, selector: [u8; 4], data: &[u8]) -> Outcome<Bytes> {
    let Some(function) = super::table().input_verifier.get(&selector) else {
        return super::upgrade(selector, data, super::Behind::VerifierTwice);
    };
    Ok(match *function {
        Function::OfSigners(function) => signers::dispatch(frame, &NAMES, function, data)?,
        Function::Type => abi::returns(&[Out::text(TYPE)]),
        Function::TypeHash => abi::returns(&[Out::Word(keccak256(TYPE))]),
        Function::Clean => {
            acl::clean_transient(frame)?;
            Bytes::new()
        }
        Function::HandleVersion => abi::returns(&[Out::number(U256::from(VERSION))]),
        Function::Version => abi::returns(&[Out::text("InputVerifier v0.2.0")]),
        Function::Verify => {
            let args = Args::new(data, 4)?;
            let (user, contract, input) = (args.address(0)?, args.address(1)?, args.bytes32(2));
            let proof = args.bytes(3)?;
            abi::returns(&[Out::Word(verify(frame, user, contract, input, proof)?)])
        }
    })
}

/// The digest of the structure: what is attested, without its domain.
pub fn structure(handles: &[B256], user: Address, contract: Address, chain: U256, extra: &[u8]) -> B256 {
    let handles: Vec<u8> = handles.iter().flat_map(|h| h.0).collect();
    let fields = [keccak256(TYPE), keccak256(handles), word(user), word(contract), number(chain), keccak256(extra)];
    keccak256(fields.map(|f| f.0).concat())
}

/// Checks that `input` stands in a proof which enough signers attested for this user and contract. A proof that was
/// good once is good until the transaction ends.
pub(super) fn verify(
    frame: &mut Frame<'_>,
    user: Address,
    contract: Address,
    input: B256,
    proof: &[u8],
) -> Outcome<B256> {
    let cache: U256 = frame.keccak(&[contract.as_slice(), user.as_slice(), proof].concat())?.into();
    let cached = !frame.tload(cache)?.is_zero();
    if handle::chain_of(&input) != frame.journal.chain_id() {
        return Err(error("InvalidChainId()", &[]));
    }
    let index = usize::from(input[21]);
    if !cached && proof.is_empty() {
        return Err(error("EmptyInputProof()", &[]));
    }
    let (Some(handles), Some(signatures)) = (proof.first(), proof.get(1)) else {
        return Err(panic(Panic::Index));
    };
    let (handles, signatures) = (usize::from(*handles), usize::from(*signatures));
    if handles <= index || index > 254 {
        return Err(error("InvalidIndex()", &[]));
    }
    if !cached {
        attested(frame, (handles, signatures), user, contract, proof)?;
        acl::remember(frame, cache)?;
    }
    let listed = proof.get(2 + 32 * index..34 + 32 * index).ok_or_else(bare)?;
    if listed != input.as_slice() {
        return Err(error("InvalidInputHandle()", &[]));
    }
    Ok(input)
}

/// The proof is the two counts, the handles, the signatures, and whatever follows as extra data.
fn attested(
    frame: &mut Frame<'_>,
    (handles, signatures): (usize, usize),
    user: Address,
    contract: Address,
    proof: &[u8],
) -> Outcome<()> {
    let end = 2 + 32 * handles + 65 * signatures;
    let (Some(body), Some(extra)) = (proof.get(2..end), proof.get(end..)) else {
        return Err(error("DeserializingInputProofFail()", &[]));
    };
    let (handles, signatures) = body.split_at(32 * handles);
    let handles: Vec<B256> = handles.chunks_exact(32).map(B256::from_slice).collect();
    if handles.iter().any(|handle| handle[31] != VERSION) {
        return Err(error("InvalidHandleVersion()", &[]));
    }
    let chain = U256::from(frame.journal.chain_id());
    let structure = structure(&handles, user, contract, chain, extra);
    frame.keccak(proof)?;
    let digest = signers::typed_data(frame, structure)?;
    let signatures: Vec<&[u8]> = signatures.chunks_exact(65).collect();
    if signers::verify(frame, &NAMES, digest, &signatures)? {
        return Ok(());
    }
    Err(error("SignaturesVerificationFailed()", &[]))
}
