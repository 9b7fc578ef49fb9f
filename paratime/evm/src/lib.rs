//! The confidential EVM: Solidity contracts that compute on encrypted values, unmodified, as a ParaTime.
//!
//! # What a transaction is
//! An Ethereum transaction, byte for byte ([`transaction`]): legacy with a chain id, EIP-2930 or EIP-1559. The sender is
//! recovered from its signature. revm executes it by the rules of Cancun on our state ([`evm`], [`mod@state`]). Every
//! round that executes a batch of transactions makes one block, numbered without gaps from genesis on, so a failed round
//! leaves none; its time is that of the round's anchor in whole seconds, `PREVRANDAO` the anchor's hash. A block has a hash
//! of its own, over a header that names the round and the ParaTime's block before it; `BLOCKHASH` gives that.
//!
//! Another kind of transaction is an encrypted input ([`input`]): a client's list of ciphertexts with its proof. Every
//! replica checks the proof; from the next round on the values have handles, which an attester signs for contracts.
//!
//! # Where state lies
//! Accounts, code, storage slots, receipts with their logs, blocks and ciphertexts are keys of the ParaTime's
//! authenticated tree (the table in [`mod@state`]), so each can be proven against a root that the consensus layer
//! finalised. Roots are those of that tree, not of Ethereum's tries.
//!
//! # How an operation becomes a program
//! The Solidity library calls an *executor* at a fixed address, and that asks an access control list, an input verifier
//! and a price list at theirs. These [`host`] contracts are written here in Rust and run as precompiled contracts, with
//! their storage, transient storage and logs in the EVM's journal. The executor computes nothing: it checks types and
//! access, names the result by a handle ([`handle`]) and emits one event. After a transaction has succeeded, its events
//! are read into a data-flow graph ([`graph`]): what a reverted frame asked for is not in it, and what nobody may ever
//! see is cut away. What is left is one FHE program a transaction ([`circuit`]).
//!
//! # When a ciphertext is computed
//! In the round of its transaction, at its end: first all transactions are executed on public data (which is all that
//! planning does), then their programs are evaluated in order, each on ciphertexts of the state or of the programs
//! before it. A handle is usable by the next transaction of the same batch, an input's from the next round on. Equal
//! operations on equal operands have equal handles, so a handle that has its ciphertext is never computed again.
//! Ciphertexts are kept under their handles for good. Who may have one decrypted stands in the storage of the access
//! control list alone: key managers act on proofs of its slots ([`host::slots`]).
//!
//! # What is charged
//! EVM gas, at the base fee (burnt) and what a sender pays beyond it. A call of a host contract costs what its reads,
//! writes, logs and hashes would cost as opcodes, and an operation one unit of gas for every ten homomorphic complexity
//! units of the published table, so FHE is paid for through the same gas. Three limits hold before any FHE is spent: the
//! published ones on complexity per transaction and along dependent operations (a revert), the FHE gas of a
//! transaction (one whose program takes more fails and pays all its gas), and the committee's limit on a round, at which
//! a batch is cut. FHE gas has a price for every block that is kept beside that of the bootstraps, and the number of
//! blocks that one transaction and one batch may make is bounded as well ([`circuit::MAX_OUTPUT_BLOCKS`],
//! [`circuit::MAX_BATCH_OUTPUT_BLOCKS`]): constants cost no bootstrap, but their ciphertexts are as large as any. The last one is never below the one before it, so every transaction fits a batch of its own and none
//! can hold up those behind it. The same holds for the blocks.
//!
//! # Invariants
//! - What a transaction does is a function of state, round context and its bytes; nothing here draws, waits or iterates
//!   a hash map into a result.
//! - A transaction that failed leaves nonce and fee, no operation and no grant.
//! - A program is evaluated only on handles that the access control list let the contract use.
//!
//! # What developers may do
//! On a chain made for trying things out, and only if its genesis says so: change accounts and time, make blocks, send in
//! another's name, take snapshots and go back to them ([`mod@control`], [`developer`]). All of that is ordered and executed
//! by the committee; going back to a snapshot writes old values in a new round ([`journal`]). A round of such actions
//! makes no block unless it is told to.
//!
//! # What is not here yet
//! - Of JSON-RPC: tracers in JavaScript. What is more than a question about states ([`eth`]) is the node's: sending,
//!   filters, subscriptions.
//! - Of the contract `ProtocolConfig` what changes it: its interface is not published yet and still moves.
//! - Ciphertexts under different keys in one transaction: after a change of keys old handles cannot meet new ones.
//! - An end to old receipts and ciphertexts: nothing is pruned.
//! - Legacy transactions without a chain id, and types 3 and 4.
//!
//! Start with [`EvmParaTime`] and `round.rs`, then [`host`]. Two judges stand beside the tests: contracts compiled by
//! their own toolchain (`contracts/`), and the published host contracts themselves (`src/differential`).

pub mod circuit;
mod clock;
pub mod control;
pub mod decryption;
pub mod developer;
#[cfg(test)]
mod differential;
pub mod envelope;
pub mod error;
pub mod eth;
pub mod evm;
pub mod graph;
pub mod handle;
pub mod host;
pub mod input;
mod jobs;
pub mod journal;
pub mod params;
mod paratime;
pub mod permit;
mod query;
pub mod receipt;
mod round;
pub mod signature;
pub mod state;
pub mod transaction;

pub use paratime::{EvmParaTime, KIND, MAX_NONCES_AHEAD};
