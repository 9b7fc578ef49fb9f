//! What every other crate of Parallax names: identifiers, the canonical codec, signing domains, digests,
//! signatures, Merkle lists and the named limits.
//!
//! Rules that hold here and that the rest relies on:
//! - Everything hashed or signed carries one [`Domain`]; the enum is closed, so two uses can never collide.
//! - Every signature covers the [`ChainContext`]: it means nothing on another chain.
//! - Wire and stored bytes are canonical borsh; [`codec::decode`] caps the size and rejects trailing bytes.
//!
//! It has no I/O, no clock and no randomness but key generation. Start with [`hash`] and [`codec`].

pub mod codec;
pub mod ethereum;
pub mod event;
pub mod hash;
pub mod ids;
pub mod keys;
pub mod limits;
pub mod merkle;
pub mod message;
pub mod seal;
pub mod vrf;

pub use codec::{DecodeError, decode, encode};
pub use ethereum::{EthereumKey, EthereumSignature};
pub use event::Event;
pub use hash::{ChainContext, Digest, Domain};
pub use ids::{Address, Amount, Epoch, Gas, Height, ImageDigest, Keccak256, KeyId, NodeId, Nonce, ParaTimeId, Round};
pub use keys::{PublicKey, SecretKey, Signature, SigningContext};
