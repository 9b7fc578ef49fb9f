//! `KMSVerifier`: whether the key managers signed a public decryption.

use super::abi::{self, Args, Out, error};
use super::frame::{Frame, Outcome};
use super::signers;
use revm::primitives::{B256, Bytes, b256, keccak256};

/// The structure that is signed.
const TYPE: &str = "PublicDecryptVerification(bytes32[] ctHandles,bytes decryptedResult,bytes extraData)";
/// The name in its domain.
pub const DOMAIN_NAME: &str = "Decryption";

pub(super) const NAMES: signers::Names = signers::Names {
    storage: b256!("7e81a744be86773af8644dd7304fa1dc9350ccabf16cfcaa614ddb78b4ce8900"),
    null: "KMSSignerNull()",
    already: "KMSAlreadySigner()",
    invalid: "KMSInvalidSigner(address)",
    too_few: "KMSSignatureThresholdNotReached(uint256)",
    none: "KMSZeroSignature()",
};

/// The functions, by selector.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    /// One that both verifiers have.
    OfSigners(signers::Function),
    Type,
    TypeHash,
    Version,
    Verify,
}

/// Every function with its signature.
pub(super) fn functions() -> Vec<(String, Function)> {
    let shared =
        signers::functions("getKmsSigners()").map(|(signature, function)| (signature, Function::OfSigners(function)));
    let own = [
        ("EIP712_PUBLIC_DECRYPT_TYPE()", Function::Type),
        ("DECRYPTION_RESULT_TYPEHASH()", Function::TypeHash),
        ("getVersion()", Function::Version),
        ("verifyDecryptionEIP712KMSSignatures(bytes32[],bytes,bytes)", Function::Verify),
    ];
    own.into_iter().chain(shared).map(|(signature, function)| (signature.to_owned(), function)).collect()
}

/// A call.
pub(super) fn dispatch(frame: &mut Frame<'_>, selector: [u8; 4], data: &[u8]) -> Outcome<Bytes> {
    let Some(function) = super::table().kms_verifier.get(&selector) else {
        return super::upgrade(selector, data, super::Behind::VerifierOnce);
    };
    Ok(match *function {
        Function::OfSigners(function) => signers::dispatch(frame, &NAMES, function, data)?,
        Function::Type => abi::returns(&[Out::text(TYPE)]),
        Function::TypeHash => abi::returns(&[Out::Word(keccak256(TYPE))]),
        Function::Version => abi::returns(&[Out::text("KMSVerifier v0.1.0")]),
        Function::Verify => {
            let args = Args::new(data, 3)?;
            let (handles, result, proof) = (args.words(0)?, args.bytes(1)?, args.bytes(2)?);
            abi::returns(&[Out::bool(verify(frame, &handles, result, proof)?)])
        }
    })
}

/// The digest of the structure: what is signed, without its domain.
pub fn structure(handles: &[B256], result: &[u8], extra: &[u8]) -> B256 {
    let handles: Vec<u8> = handles.iter().flat_map(|h| h.0).collect();
    let fields = [keccak256(TYPE), keccak256(handles), keccak256(result), keccak256(extra)];
    keccak256(fields.map(|f| f.0).concat())
}

/// The proof is the count of signatures, the signatures, and whatever follows as extra data.
fn verify(frame: &mut Frame<'_>, handles: &[B256], result: &[u8], proof: &[u8]) -> Outcome<bool> {
    let Some(count) = proof.first() else { return Err(error("EmptyDecryptionProof()", &[])) };
    let end = 1 + 65 * usize::from(*count);
    let (Some(signatures), Some(extra)) = (proof.get(1..end), proof.get(end..)) else {
        return Err(error("DeserializingDecryptionProofFail()", &[]));
    };
    let structure = structure(handles, result, extra);
    frame.keccak(proof)?;
    let digest = signers::typed_data(frame, structure)?;
    let signatures: Vec<&[u8]> = signatures.chunks_exact(65).collect();
    signers::verify(frame, &NAMES, digest, &signatures)
}
