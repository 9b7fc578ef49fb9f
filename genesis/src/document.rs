//! The document: its shape, its chain context, its signatures, and its file.

use crate::canonical::{Canonical, canonical};
use crate::error::{GenesisError, Problem};
use crate::files::{self, Access};
use borsh::BorshSerialize;
use parallax_consensus_app::genesis::ConsensusGenesis;
use parallax_memory_store::MemoryStore;
use parallax_primitives::{ChainContext, Digest, Domain, ParaTimeId, SecretKey, Signature, SigningContext};
use parallax_runtime::EvaluationProfile;
use parallax_runtime::decryption::KeyManagers;
use parallax_state::{Changes, Database, Namespace, StateError};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// The version of the document's format.
pub const VERSION: u32 = 1;
/// The place of a signature that is not yet given.
pub const UNSIGNED: Signature = Signature([0; 64]);

/// Everything that a chain begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisDocument {
    /// [`VERSION`].
    pub version: u32,
    /// The ledger's part: parameters, accounts, nodes, ParaTimes, first committees, first entropy.
    pub consensus: ConsensusGenesis,
    /// What else belongs to each ParaTime, in the order of `consensus.paratimes`.
    pub paratimes: Vec<ParaTimeGenesis>,
}

/// A ParaTime's part of the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParaTimeGenesis {
    /// Which.
    pub id: ParaTimeId,
    /// Its initial parameters, in the form that its kind defines. Integers and strings, no fractions.
    pub parameters: serde_json::Value,
    /// The evaluation profile; its digest stands in the ledger's part.
    pub profile: EvaluationProfile,
    /// Who decrypts for it.
    pub managers: KeyManagers,
}

/// What is hashed. The order of the fields is the format.
#[derive(BorshSerialize)]
struct Content<'a> {
    version: u32,
    consensus: ConsensusGenesis,
    paratimes: Vec<(ParaTimeId, Canonical, &'a EvaluationProfile, &'a KeyManagers)>,
}

/// The digest by which descriptors name an evaluation profile.
pub fn profile_digest(profile: &EvaluationProfile) -> Digest {
    Digest::of_value(Domain::Profile, profile)
}

/// The state root of a ParaTime's round 0, from the writes of its `init_genesis`.
///
/// # Errors
/// If a key, value or blob exceeds its limit.
pub fn genesis_root(paratime: ParaTimeId, changes: &Changes) -> Result<Digest, StateError> {
    let database = Database::open(Arc::new(MemoryStore::new()))?;
    Ok(database.tree(Namespace::ParaTime(paratime)).prepare(0, changes)?.root())
}

impl GenesisDocument {
    /// The chain context: `BLAKE3-derive_key(ChainContext, borsh(content))`, where the content is
    ///
    /// 1. the version, as a `u32`;
    /// 2. the ledger's part with all 64 bytes of every `nodes[i].signature` set to zero;
    /// 3. for each ParaTime, in the order of the document: id, parameters in canonical form, profile, key managers.
    ///
    /// The canonical form of JSON is a borsh enum (null 0, boolean 1, integer 2 as `i128`, string 3, array 4, object 5
    /// as a list of name and value sorted by the bytes of the names); fractions have none.
    ///
    /// A registration signature covers `(Domain::Genesis, this context, descriptor)`. It is not part of what is hashed,
    /// so nothing is circular; and because the context covers the whole document, a node that signs its registration
    /// has signed the document.
    ///
    /// # Errors
    /// [`GenesisError::Invalid`] naming the parameter that has no canonical form.
    pub fn chain_context(&self) -> Result<ChainContext, GenesisError> {
        let mut consensus = self.consensus.clone();
        for node in &mut consensus.nodes {
            node.signature = UNSIGNED;
        }
        let mut paratimes = Vec::new();
        for (i, p) in self.paratimes.iter().enumerate() {
            let parameters = canonical(&p.parameters, &format!("paratimes[{i}].parameters"))
                .map_err(|(field, reason)| GenesisError::Invalid { problems: vec![Problem { field, reason }] })?;
            paratimes.push((p.id, parameters, &p.profile, &p.managers));
        }
        let content = Content { version: self.version, consensus, paratimes };
        Ok(ChainContext(Digest::of_value(Domain::ChainContext, &content)))
    }

    /// What registrations inside the document are signed under.
    ///
    /// # Errors
    /// As for [`GenesisDocument::chain_context`].
    pub fn signing_context(&self) -> Result<SigningContext, GenesisError> {
        Ok(SigningContext::new(Domain::Genesis, self.chain_context()?))
    }

    /// Signs the registration of the node with this key, and with it the document. Any later change of the document
    /// voids the signature.
    ///
    /// # Errors
    /// If no node of the document has this key.
    pub fn sign(&mut self, key: &SecretKey) -> Result<(), GenesisError> {
        let context = self.signing_context()?;
        let public = key.public();
        let node = self
            .consensus
            .nodes
            .iter_mut()
            .find(|n| n.descriptor.node == public)
            .ok_or(GenesisError::UnknownSigner { key: public })?;
        node.signature = key.sign(&context, &node.descriptor);
        Ok(())
    }

    /// Reads a document and checks it.
    ///
    /// # Errors
    /// If the file cannot be read, is no such document (with line and column), has another version, or is not valid.
    pub fn load(path: &Path) -> Result<Self, GenesisError> {
        let document = Self::load_unchecked(path)?;
        document.check()?;
        Ok(document)
    }

    /// Reads a document that need not be complete, for example to sign it.
    ///
    /// # Errors
    /// As for [`GenesisDocument::load`], but for validity.
    pub fn load_unchecked(path: &Path) -> Result<Self, GenesisError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let bytes = files::read(path)?;
        let Versioned { version } = files::parse(path, &bytes)?;
        if version != VERSION {
            return Err(GenesisError::Version {
                path: path.to_owned(),
                found: version,
                expected: VERSION,
                remedy: "run the program that wrote it, or make the document anew",
            });
        }
        files::parse(path, &bytes)
    }

    /// Writes the document.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), GenesisError> {
        files::write_json(path, self, Access::Public)
    }
}
