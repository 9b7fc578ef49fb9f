//! Permits: with what a user asks key managers to decrypt for it, in the messages of the published contracts.
//!
//! A user signs one message by EIP-712: a key to which answers are sealed, the contracts whose values it wants to see,
//! and for how many days from when. A *delegated* permit also names an account that has delegated its right to the
//! signer at the access control list. Whoever holds the permit can ask with it, as often as it likes and for any handle
//! of those contracts; only the holder of the sealing key can read the answers.
//!
//! The domain is `Decryption`, version `1`, with the chain id of **this** chain and the verifying contract of the key
//! managers, as `@zama-fhe/relayer-sdk` 0.4.1 makes it. (What key managers sign for contracts names the other chain,
//! see [`crate::decryption`].) The sealing key is ours: the 32 bytes of an X25519 key, where the published system has
//! an ML-KEM key. The message does not depend on that; its type is `bytes`.

use crate::decryption::{HandleError, check_handles};
use crate::host::{DECRYPTION_DOMAIN, signers::typed_data_digest};
use crate::signature;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::seal::SealingKey;
use parallax_primitives::{Address, ChainContext, DecodeError, Digest, Domain, EthereumSignature, ParaTimeId, decode};
use revm::primitives::{Address as Account, B256, U256, hex, keccak256};
use serde::{Deserialize, Serialize};

/// Most contracts that a permit names, as the published contracts have it.
pub const MAX_CONTRACTS: usize = 10;
/// Most days that a permit holds, as the published contracts have it.
pub const MAX_DAYS: u64 = 365;
/// How many seconds after the time of the chain a permit may begin: a user's clock and the chain's are not the same.
pub const MAX_AHEAD: u64 = 60;
/// Largest encoded request, in bytes.
pub const MAX_PERMIT_BYTES: usize = 32 * 1024;

const SECONDS_PER_DAY: u64 = 86_400;
const TYPE: &str = "UserDecryptRequestVerification(bytes publicKey,address[] contractAddresses,uint256 startTimestamp,uint256 durationDays,bytes extraData)";
const DELEGATED_TYPE: &str = "DelegatedUserDecryptRequestVerification(bytes publicKey,address[] contractAddresses,address delegatorAddress,uint256 startTimestamp,uint256 durationDays,bytes extraData)";

/// What a user signs.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permit {
    /// To whom answers are sealed.
    pub public_key: SealingKey,
    /// The contracts whose values are asked for: 1 to [`MAX_CONTRACTS`].
    pub contracts: Vec<Address>,
    /// The account on whose right the signer acts; without it the signer's own right counts.
    #[serde(default)]
    pub delegator: Option<Address>,
    /// From when on, in seconds since the Unix epoch.
    pub start: u64,
    /// For how many days of 86,400 seconds: 1 to [`MAX_DAYS`].
    pub days: u64,
    /// Data whose form its first byte says. Known is form 0, which holds nothing: `0x00`, or no byte at all.
    #[serde(with = "bytes", default)]
    pub extra: Vec<u8>,
}

/// A value that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// Its handle.
    pub handle: Digest,
    /// A contract that may use it.
    pub contract: Address,
}

/// A request: a permit with its signature, and the values that are asked for by it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedPermit {
    /// What was signed.
    pub permit: Permit,
    /// Who signed.
    pub user: Address,
    /// The values. They are not signed: the permit says of which contracts they may be.
    pub pairs: Vec<Pair>,
    /// The user's signature on [`Permit::digest`].
    pub signature: EthereumSignature,
}

/// Bytes as text.
mod bytes {
    use revm::primitives::hex;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode_prefixed(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(&text).map_err(|e| serde::de::Error::custom(format!("{text:?} is not hexadecimal: {e}")))
    }
}

/// Why a permit does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PermitError {
    /// No contract, or too many.
    #[error("the permit names {0} contracts; it must name 1 to {MAX_CONTRACTS}")]
    Contracts(usize),
    /// No day, or too many.
    #[error("the permit is for {0} days; it must be for 1 to {MAX_DAYS}")]
    Days(u64),
    /// Extra data of a form that is not known.
    #[error("the permit has extra data {0}; known is 0x00 alone")]
    Extra(String),
    /// A value of a contract that the permit does not name.
    #[error("contract {0} is not among those that the permit names; sign a permit for it")]
    ContractNotListed(Address),
    /// The user, or the delegator, as the contract.
    #[error("{0} is both contract and account of the request; contracts cannot ask for decryptions")]
    AccountIsContract(Address),
    /// Someone who delegates to itself.
    #[error("{0} is both user and delegator; sign a permit without a delegator")]
    SelfDelegation(Address),
    /// The handles cannot be decrypted.
    #[error(transparent)]
    Handles(#[from] HandleError),
    /// Not signed by its user for this chain.
    #[error(
        "the permit is not signed by {user} for chain {chain_id} with verifying contract {verifier}; it is signed by {}",
        .signer.map_or_else(|| "nobody".to_owned(), |signer| signer.to_string())
    )]
    Signature {
        /// Who should have signed.
        user: Address,
        /// Whose signature it is, if it is one.
        signer: Option<Address>,
        /// The chain of the domain.
        chain_id: u64,
        /// The contract of the domain.
        verifier: Address,
    },
    /// Its time has not come.
    #[error("the permit begins at {start}, the chain's time is {now} (seconds since 1970); wait, or set your clock")]
    NotYetValid {
        /// Its beginning.
        start: u64,
        /// The time of the chain.
        now: u64,
    },
    /// Its time is over.
    #[error("the permit ended at {end}, the chain's time is {now} (seconds since 1970); sign a new one")]
    Expired {
        /// Its end.
        end: u64,
        /// The time of the chain.
        now: u64,
    },
}

fn word(address: &Address) -> [u8; 32] {
    Account::from(address.0).into_word().0
}

impl Permit {
    /// The digest that the user signs (EIP-712).
    pub fn digest(&self, chain_id: u64, verifier: &Address) -> B256 {
        let contracts: Vec<u8> = self.contracts.iter().flat_map(word).collect();
        let number = |n: u64| U256::from(n).to_be_bytes::<32>();
        let mut fields = vec![
            keccak256(if self.delegator.is_some() { DELEGATED_TYPE } else { TYPE }).0,
            keccak256(self.public_key.0).0,
            keccak256(contracts).0,
        ];
        fields.extend(self.delegator.as_ref().map(word));
        fields.extend([number(self.start), number(self.days), keccak256(&self.extra).0]);
        let structure = keccak256(fields.concat());
        typed_data_digest(DECRYPTION_DOMAIN.as_bytes(), b"1", chain_id, Account::from(verifier.0), structure)
    }

    /// Whether it holds at this time, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`PermitError::NotYetValid`] or [`PermitError::Expired`].
    pub fn holds_at(&self, now: u64) -> Result<(), PermitError> {
        let end = self.start.saturating_add(self.days.saturating_mul(SECONDS_PER_DAY));
        if self.start > now.saturating_add(MAX_AHEAD) {
            return Err(PermitError::NotYetValid { start: self.start, now });
        }
        if end < now { Err(PermitError::Expired { end, now }) } else { Ok(()) }
    }
}

impl SignedPermit {
    /// The account whose grants count: the delegator if there is one, or else the user.
    pub fn owner(&self) -> Address {
        self.permit.delegator.unwrap_or(self.user)
    }

    /// Checks everything that needs neither state nor time, the signature last.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(&self, chain_id: u64, verifier: &Address) -> Result<(), PermitError> {
        let permit = &self.permit;
        if permit.contracts.is_empty() || permit.contracts.len() > MAX_CONTRACTS {
            return Err(PermitError::Contracts(permit.contracts.len()));
        }
        if permit.days == 0 || permit.days > MAX_DAYS {
            return Err(PermitError::Days(permit.days));
        }
        if !matches!(permit.extra.as_slice(), [] | [0]) {
            let shown = permit.extra.get(..8).unwrap_or(&permit.extra);
            return Err(PermitError::Extra(hex::encode_prefixed(shown)));
        }
        if permit.delegator == Some(self.user) {
            return Err(PermitError::SelfDelegation(self.user));
        }
        let handles: Vec<B256> = self.pairs.iter().map(|pair| B256::from(pair.handle.0)).collect();
        check_handles(&handles, chain_id)?;
        for pair in &self.pairs {
            if !permit.contracts.contains(&pair.contract) {
                return Err(PermitError::ContractNotListed(pair.contract));
            }
            if pair.contract == self.user || Some(pair.contract) == permit.delegator {
                return Err(PermitError::AccountIsContract(pair.contract));
            }
        }
        let signer = signature::signer(&permit.digest(chain_id, verifier), &self.signature);
        let signer = signer.map(|signer| Address(signer.into_array()));
        if signer == Some(self.user) {
            return Ok(());
        }
        Err(PermitError::Signature { user: self.user, signer, chain_id, verifier: *verifier })
    }

    /// The digest that names the request for one value: the seal of its answer is bound to it. It covers chain, ParaTime,
    /// permit, user and value; not the signature, of which one key can make many.
    pub fn request(&self, chain: ChainContext, paratime: ParaTimeId, pair: &Pair) -> Digest {
        Digest::of_value(Domain::EvmDecryptionRequest, &(chain, paratime, &self.permit, self.user, pair))
    }

    /// From canonical bytes; not checked yet.
    ///
    /// # Errors
    /// Oversize, malformed, or trailing bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode("decryption permit", bytes, MAX_PERMIT_BYTES)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first error")]

    use super::*;
    use crate::handle::{self, COMPUTED, FheType};
    use parallax_primitives::EthereumKey;

    const CHAIN: u64 = 31_337;
    /// The published configuration of development chains names this contract.
    const VERIFIER: &str = "0x5ffdaab0373e62e2ea2944776209aef29e631a64";
    const START: u64 = 1_800_000_000;
    /// Digest and signature that `TypedDataEncoder.hash` and `new Wallet("0x" + "07".repeat(32)).signTypedData` of ethers
    /// 6.17.0 give for the permits of [`vectors`]; `hashTypedData` of viem 2.57.20 gives the same digests.
    const VECTORS: [(&str, &str); 3] = [
        (
            "0x87974c3280d3c101e9ee1b2fe9ecd6dc0f9a4e6af19733d1da52f0e2bd7d6e89",
            "0xd8bb1b09795b3af259da114b972b156b7b42c2bcb3f2da34540d79efd920ca1e6d1f1a85aab6488dc4d22cf3cd53823f43cfb86fb8e10e4cf9c487bbb291d7e11b",
        ),
        (
            "0xca45cd00f9e25d64a52068add19b0026bc5ce1da02956f3144096ad07e8ea702",
            "0x7abca3e2da1fc1d40aac87440c8c56f442166b74adb9457a5981bb3468067bbf083b13e26f3e082604f89b35e47fd542671ecdf4432d382e99015db7d0c9b19c1c",
        ),
        (
            "0x038679b686c5c4b4c2e9a1873b3018a0e004e8b6e267a5e0fc4e345c15500af7",
            "0xe92e95d673fd001c8b7b2782a93abf73c64e3305a283abe46a33c0c74f6e310e16234afd2fb9213abb07ec23cf5c47fa7cebedbae0ee4d0c547679370e49e0cc1c",
        ),
    ];

    fn address(byte: u8) -> Address {
        Address([byte; 20])
    }

    fn verifier() -> Address {
        VERIFIER.parse().unwrap()
    }

    fn plain() -> Permit {
        Permit {
            public_key: SealingKey([0xa1; 32]),
            contracts: vec![address(0xc1), address(0xc2)],
            delegator: None,
            start: START,
            days: 7,
            extra: vec![0],
        }
    }

    fn vectors() -> [Permit; 3] {
        [
            plain(),
            Permit { contracts: vec![address(0xc1)], days: 365, extra: vec![], ..plain() },
            Permit { delegator: Some(address(0xd1)), ..plain() },
        ]
    }

    fn key() -> EthereumKey {
        EthereumKey::from_bytes(&[7; 32]).unwrap()
    }

    fn handle_of(kind: FheType) -> Digest {
        Digest(handle::compose(B256::repeat_byte(0xab), COMPUTED, CHAIN, kind).0)
    }

    fn pair() -> Pair {
        Pair { handle: handle_of(FheType::UINT64), contract: address(0xc1) }
    }

    fn signed(permit: Permit, pairs: Vec<Pair>) -> SignedPermit {
        let signature = key().sign(&permit.digest(CHAIN, &verifier()).0).unwrap();
        SignedPermit { permit, user: key().address(), pairs, signature }
    }

    fn checked(permit: &SignedPermit) -> Result<(), PermitError> {
        permit.check(CHAIN, &verifier())
    }

    #[test]
    fn digest_and_signature_are_those_of_independent_implementations() {
        for (permit, (digest, signature)) in vectors().into_iter().zip(VECTORS) {
            assert_eq!(permit.digest(CHAIN, &verifier()).to_string(), digest);
            let made = signed(permit, vec![pair()]);
            assert_eq!(made.signature.to_string(), signature);
            assert_eq!(checked(&made), Ok(()));
            assert_eq!(made.user.to_string(), "0x4a62316623ad457f02cdc5d997ded67a383ec569");
        }
    }

    #[test]
    fn a_permit_for_another_chain_verifier_or_user_is_refused() {
        let permit = signed(plain(), vec![pair()]);
        let other =
            |error: PermitError| matches!(error, PermitError::Signature { signer, .. } if signer != Some(permit.user));
        let far = Pair { handle: Digest(handle::compose(B256::ZERO, 0, 1, FheType::BOOL).0), ..pair() };
        assert!(other(signed(plain(), vec![pair()]).check(CHAIN, &address(1)).unwrap_err()));
        let on_one = SignedPermit { pairs: vec![far], ..permit.clone() };
        assert!(other(on_one.check(1, &verifier()).unwrap_err()), "signed for 31337");
        let stolen = SignedPermit { user: address(0x99), ..permit.clone() };
        let error = checked(&stolen).unwrap_err();
        assert!(error.to_string().ends_with(&format!("it is signed by {}", permit.user)), "{error}");
        let mut forged = permit.clone();
        forged.signature.0[64] = 0;
        assert!(checked(&forged).unwrap_err().to_string().ends_with("it is signed by nobody"));
        let changes: [fn(&mut Permit); 5] = [
            |p| p.public_key.0[0] ^= 1,
            |p| p.contracts.push(Address([3; 20])),
            |p| p.delegator = Some(Address([0xd1; 20])),
            |p| p.start += 1,
            |p| p.days += 1,
        ];
        for change in changes {
            let mut altered = permit.clone();
            change(&mut altered.permit);
            assert!(matches!(checked(&altered), Err(PermitError::Signature { .. })), "{altered:?}");
        }
    }

    #[test]
    fn the_limits_are_those_of_the_published_contracts() {
        let refused = |permit: Permit| checked(&signed(permit, vec![pair()])).unwrap_err();
        assert_eq!(refused(Permit { contracts: vec![], ..plain() }), PermitError::Contracts(0));
        let many = (0..=10).map(|n| address(0xc0 + n)).collect::<Vec<_>>();
        assert_eq!(refused(Permit { contracts: many.clone(), ..plain() }), PermitError::Contracts(11));
        let most = Permit { contracts: many[..10].to_vec(), ..plain() };
        assert_eq!(checked(&signed(most, vec![pair()])), Ok(()));
        assert_eq!(refused(Permit { days: 0, ..plain() }), PermitError::Days(0));
        assert_eq!(refused(Permit { days: 366, ..plain() }), PermitError::Days(366));
        assert_eq!(refused(Permit { extra: vec![1, 2], ..plain() }), PermitError::Extra("0x0102".to_owned()));
        let own = Permit { delegator: Some(key().address()), ..plain() };
        assert_eq!(refused(own), PermitError::SelfDelegation(key().address()));
    }

    #[test]
    fn only_values_of_listed_contracts_are_asked_for_and_no_account_is_a_contract() {
        let refused = |permit: Permit, pairs: Vec<Pair>| checked(&signed(permit, pairs)).unwrap_err();
        let elsewhere = Pair { contract: address(0xc3), ..pair() };
        assert_eq!(refused(plain(), vec![pair(), elsewhere]), PermitError::ContractNotListed(address(0xc3)));
        let user = key().address();
        let own = Permit { contracts: vec![user], ..plain() };
        assert_eq!(refused(own, vec![Pair { contract: user, ..pair() }]), PermitError::AccountIsContract(user));
        let theirs = Permit { delegator: Some(address(0xc1)), ..plain() };
        assert_eq!(refused(theirs, vec![pair()]), PermitError::AccountIsContract(address(0xc1)));
        assert_eq!(refused(plain(), vec![]), HandleError::Count(0).into());
    }

    #[test]
    fn a_permit_holds_from_its_beginning_to_the_end_of_its_last_day() {
        let (permit, end) = (plain(), START + 7 * 86_400);
        assert_eq!(permit.holds_at(START), Ok(()));
        assert_eq!(permit.holds_at(START - MAX_AHEAD), Ok(()), "clocks differ");
        let now = START - MAX_AHEAD - 1;
        assert_eq!(permit.holds_at(now), Err(PermitError::NotYetValid { start: START, now }));
        assert_eq!(permit.holds_at(end), Ok(()));
        assert_eq!(permit.holds_at(end + 1), Err(PermitError::Expired { end, now: end + 1 }));
        let endless = Permit { start: u64::MAX, ..plain() };
        assert!(endless.holds_at(u64::MAX).is_ok() && endless.holds_at(0).is_err(), "no overflow");
    }

    #[test]
    fn the_request_of_a_value_covers_chain_paratime_permit_user_and_value() {
        let (permit, chain, id) = (signed(plain(), vec![pair()]), ChainContext(Digest([1; 32])), ParaTimeId([2; 32]));
        let digest = permit.request(chain, id, &pair());
        let mut later = permit.clone();
        later.permit.days = 8;
        let others = [
            permit.request(ChainContext(Digest([9; 32])), id, &pair()),
            permit.request(chain, ParaTimeId([9; 32]), &pair()),
            permit.request(chain, id, &Pair { handle: Digest([9; 32]), ..pair() }),
            permit.request(chain, id, &Pair { contract: address(9), ..pair() }),
            SignedPermit { user: address(9), ..permit.clone() }.request(chain, id, &pair()),
            later.request(chain, id, &pair()),
        ];
        assert!(others.iter().all(|other| *other != digest));
        let again = SignedPermit { signature: EthereumSignature([0; 65]), ..permit };
        assert_eq!(again.request(chain, id, &pair()), digest, "another signature is the same request");
    }

    #[test]
    fn as_json_a_permit_has_hexadecimal_text_and_no_unknown_field() {
        let permit = signed(plain(), vec![pair()]);
        let json = serde_json::to_value(&permit).unwrap();
        assert_eq!(json["permit"]["extra"], "0x00");
        assert_eq!(json["pairs"][0]["contract"], address(0xc1).to_string());
        assert_eq!(serde_json::from_value::<SignedPermit>(json.clone()).unwrap(), permit);
        let mut odd = json;
        odd["permit"]["until"] = 5.into();
        assert!(serde_json::from_value::<SignedPermit>(odd).is_err());
        let bytes = parallax_primitives::encode(&permit);
        assert_eq!(SignedPermit::decode(&bytes), Ok(permit));
    }
}
