//! `ProtocolConfig`: who decrypts, and how many of them it takes, as later versions of the published contracts tell it.
//!
//! No package that is published for this chain's contracts has it yet, and its interface is still moving in the
//! project's repository. Here are the questions that all versions so far have in common, answered from the verifier of
//! decryptions: one context, which cannot be replaced. Everything else reverts.

use super::abi::{self, Args, Out, bare, error, number};
use super::frame::{Frame, Outcome};
use super::{KMS_VERIFIER, kms_verifier, signers};
use revm::primitives::{Bytes, U256, uint};

/// The only context: the first after the counter's base, whose highest byte tells what it counts.
const CONTEXT: U256 = uint!(0x0700000000000000000000000000000000000000000000000000000000000001_U256);

/// The functions, by selector.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    Version,
    Current,
    IsValid,
    /// Of the current context, or of the one that the first argument names.
    Signers(bool),
    IsSigner(bool),
    Threshold(bool),
}

/// Every function with its signature.
pub(super) fn functions() -> Vec<(String, Function)> {
    let own = [
        ("getVersion()", Function::Version),
        ("getCurrentKmsContextId()", Function::Current),
        ("isValidKmsContext(uint256)", Function::IsValid),
        ("getKmsSigners()", Function::Signers(false)),
        ("getKmsSignersForContext(uint256)", Function::Signers(true)),
        ("isKmsSigner(address)", Function::IsSigner(false)),
        ("isKmsSignerForContext(uint256,address)", Function::IsSigner(true)),
    ];
    let own = own.into_iter().map(|(signature, function)| (signature.to_owned(), function));
    let thresholds = ["PublicDecryption", "UserDecryption", "KmsGen", "Mpc"].into_iter().flat_map(|name| {
        [
            (format!("get{name}Threshold()"), Function::Threshold(false)),
            (format!("get{name}ThresholdForContext(uint256)"), Function::Threshold(true)),
        ]
    });
    own.chain(thresholds).collect()
}

/// A call.
pub(super) fn dispatch(frame: &mut Frame<'_>, selector: [u8; 4], data: &[u8]) -> Outcome<Bytes> {
    let Some(function) = super::table().protocol.get(&selector) else { return Err(bare()) };
    let names = &kms_verifier::NAMES;
    Ok(match *function {
        Function::Version => abi::returns(&[Out::text("ProtocolConfig v0.1.0")]),
        Function::Current => abi::returns(&[Out::number(CONTEXT)]),
        Function::IsValid => abi::returns(&[Out::bool(Args::new(data, 1)?.uint256(0) == CONTEXT)]),
        Function::Signers(named) => {
            of_context(named, data)?;
            let signers = frame.call(KMS_VERIFIER, |inner| signers::signers(inner, names))?;
            abi::returns(&[Out::addresses(&signers)])
        }
        Function::IsSigner(named) => {
            of_context(named, data)?;
            let place = usize::from(named);
            let account = Args::new(data, place.saturating_add(1))?.address(place)?;
            abi::returns(&[Out::bool(frame.call(KMS_VERIFIER, |inner| signers::is_signer(inner, names, account))?)])
        }
        Function::Threshold(named) => {
            of_context(named, data)?;
            abi::returns(&[Out::number(frame.call(KMS_VERIFIER, |inner| signers::threshold(inner, names))?)])
        }
    })
}

/// Refuses a context that is not the only one.
fn of_context(named: bool, data: &[u8]) -> Outcome<()> {
    if !named {
        return Ok(());
    }
    let context = Args::new(data, 1)?.uint256(0);
    if context == CONTEXT { Ok(()) } else { Err(error("InvalidKmsContext(uint256)", &[number(context)])) }
}
