//! A client of the confidential EVM: what somebody needs who deploys contracts, calls them with encrypted values, and
//! reads what it may see. The command line uses it (`parallax contract`); so may any program.
//!
//! ```no_run
//! # async fn example(cipher: std::sync::Arc<dyn parallax_runtime::ClientCipher>) -> Result<(), Box<dyn std::error::Error>> {
//! use parallax_evm_client::{Artifact, Endpoints, EvmClient, Held, Method, Request, Value, Wallet};
//!
//! let url = |port: u16| format!("http://127.0.0.1:{port}");
//! let client = EvmClient::connect(&Endpoints {
//!     ethereum: url(8545), // an Ethereum JSON-RPC server, as any Ethereum library would use it
//!     node: url(26_000), // a compute node: keys, and what Ethereum's interface has no place for
//!     key_managers: vec![url(26_001)],
//! })
//! .await?;
//!
//! let alice = Wallet::development(0)?;
//! let token = Artifact::load("Token.json".as_ref())?;
//! let created = client.deploy(&alice, &token.code.unwrap_or_default(), Some(&token.abi)).await?;
//! let token = created.contract.ok_or("nothing was created")?;
//!
//! // One value, encrypted here, proven, brought into the state and attested.
//! let amount = [Value::parse("u64:1000")?];
//! let input = client.encrypt_input(cipher, &amount, (token, alice.address()), &alice).await?;
//! let mint = Method::parse("mint(address,externalEuint64,bytes)")?;
//! let arguments = ["dev-0", "enc:1000", "proof"].map(str::to_owned);
//! let calldata = mint.arguments(&arguments)?.encode(&input.handles, &input.proof)?;
//! client.send(&alice, &Request::call(token, calldata), None).await?;
//!
//! // What Alice has, which the contract lets her see and nobody else.
//! let balance = Method::parse("confidentialBalanceOf(address)(euint64)")?;
//! let calldata = balance.arguments(&["dev-0".to_owned()])?.encode(&[], &[])?;
//! let handle = client.call(alice.address(), &Request::call(token, calldata), None).await?;
//! let held = Held { handle: handle.as_ref().try_into()?, contract: token };
//! let values = client.user_decrypt(&alice, None, &[held]).await?;
//! println!("{}", values[0].text());
//! # Ok(())
//! # }
//! ```
//!
//! The cipher comes from the ParaTime's key set: `parallax_fhe::TfheClientCipher`. This crate names no FHE library, so
//! that what only reads or signs links none.
//!
//! # What is believed
//! Handles are computed here, signatures of key managers are held against the signers of the chain's verifying contracts,
//! and sealed answers against the ParaTime's key managers. Who these are, receipts, and what calls return is the word of the
//! node in [`Endpoints`]: ask one that you trust. Key managers are not believed beyond their signatures.
//!
//! # Secrets
//! Keys and values are wiped when dropped and have no `Debug` form. No error repeats a value that was to be encrypted.
//!
//! Start with [`EvmClient`], then [`mod@abi`].

// A client waits for blocks, and its keys come from the system's randomness; nothing here enters a replica's result.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod abi;
mod chain;
mod encrypt;
mod error;
mod managers;
pub mod transaction;
mod value;
mod wallet;

pub use abi::{Artifact, Method};
pub use chain::{Endpoints, EvmClient, Receipt, Request};
pub use encrypt::EncryptedInput;
pub use error::Error;
pub use managers::{Held, PERMIT_DAYS, PublicDecryption};
pub use value::{Value, type_named, type_of};
pub use wallet::{Signed, Wallet};
