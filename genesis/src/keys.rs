//! Key files: JSON with a version, readable by their owner only.

use crate::error::GenesisError;
use crate::files::{self, Access};
use parallax_primitives::seal::{OpeningKey, SealingKey};
use parallax_primitives::vrf::VrfSecretKey;
use parallax_primitives::{Address, Digest, Domain, EthereumKey, PublicKey, SecretKey, encode};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The version of an account's key file.
pub const VERSION: u32 = 1;
/// The version of a node's key file: 2 since it has a key for Ethereum's signatures.
pub const NODE_VERSION: u32 = 2;

/// The secret keys of a node.
#[derive(Clone)]
pub struct NodeKeys {
    /// Signs consensus messages, proposals, commitments and the node's transactions. Its public half is the node's
    /// identity.
    pub consensus: SecretKey,
    /// The node's libp2p identity.
    pub peer: SecretKey,
    /// Signs what contracts of an EVM ParaTime verify: attestations of inputs, and decryptions. The genesis document
    /// names its address as a signer's.
    pub ethereum: EthereumKey,
    vrf_seed: Zeroizing<[u8; 32]>,
}

/// An account's secret key.
#[derive(Clone)]
pub struct AccountKey {
    /// Signs transactions and permits.
    pub secret: SecretKey,
}

/// The file of a node's keys. Seeds are 32 bytes in hexadecimal.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct NodeKeyFile {
    version: u32,
    kind: String,
    /// For people; it must match the seed.
    node: String,
    consensus_seed: String,
    vrf_seed: String,
    peer_seed: String,
    /// For people; it must match the key.
    ethereum_address: String,
    ethereum_key: String,
}

/// The file of an account's key.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct AccountKeyFile {
    version: u32,
    kind: String,
    /// For people; it must match the seed.
    address: String,
    public_key: String,
    seed: String,
}

const NODE: &str = "node";
const ACCOUNT: &str = "account";

impl fmt::Debug for NodeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKeys(of {})", self.consensus.public())
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountKey(of {})", self.address())
    }
}

fn random_seed() -> Zeroizing<[u8; 32]> {
    SecretKey::generate().to_seed()
}

fn text(seed: &[u8; 32]) -> String {
    format!("0x{}", hex::encode(seed))
}

/// A seed that anyone can compute: for localnets.
fn public_seed(label: &str, purpose: &str) -> [u8; 32] {
    Digest::of_value(Domain::Simulation, &("parallax well-known key", label, purpose)).0
}

fn bad(path: &Path, reason: impl Into<String>) -> GenesisError {
    GenesisError::BadKeyFile { path: path.to_owned(), reason: reason.into() }
}

fn seed(path: &Path, field: &str, text: &str) -> Result<Zeroizing<[u8; 32]>, GenesisError> {
    // The decoder's error would quote a character of the secret.
    let mut out = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), out.as_mut())
        .map_err(|_| bad(path, format!("{field} is not 0x and 64 hexadecimal digits")))?;
    Ok(out)
}

/// Reads the fields that every key file has, and refuses another kind before the rest is looked at.
fn open(path: &Path, kind: &str) -> Result<Zeroizing<Vec<u8>>, GenesisError> {
    match read(path)? {
        (found, bytes) if found == kind => Ok(bytes),
        (found, _) => Err(bad(path, format!("this is a key file of kind {found:?}, one of kind {kind:?} is needed"))),
    }
}

/// The kind of a key file of this version, and its bytes.
fn read(path: &Path) -> Result<(String, Zeroizing<Vec<u8>>), GenesisError> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
        kind: String,
    }
    files::refuse_exposed(path)?;
    let bytes = Zeroizing::new(files::read(path)?);
    let head: Head = files::parse(path, &bytes)?;
    let expected = match head.kind.as_str() {
        NODE => NODE_VERSION,
        ACCOUNT => VERSION,
        // Whoever wants a file of a certain kind refuses this one for its kind.
        _ => head.version,
    };
    if head.version != expected {
        let remedy = if head.version < expected {
            "it has no key for Ethereum's signatures: make a new one with `parallax keys node FILE`, which is a new node"
        } else {
            "use the program that wrote it"
        };
        return Err(GenesisError::Version { path: path.to_owned(), found: head.version, expected, remedy });
    }
    Ok((head.kind, bytes))
}

impl NodeKeys {
    /// Fresh keys.
    pub fn generate() -> Self {
        Self {
            consensus: SecretKey::generate(),
            peer: SecretKey::generate(),
            ethereum: EthereumKey::generate(),
            vrf_seed: random_seed(),
        }
    }

    /// The keys that anyone can derive from a label, for localnets and tests. They protect nothing.
    pub fn well_known(label: &str) -> Self {
        Self {
            consensus: SecretKey::from_seed(public_seed(label, "consensus")),
            peer: SecretKey::from_seed(public_seed(label, "peer")),
            ethereum: EthereumKey::derive(&public_seed(label, "ethereum")),
            vrf_seed: Zeroizing::new(public_seed(label, "vrf")),
        }
    }

    /// The node's identity.
    pub fn node(&self) -> PublicKey {
        self.consensus.public()
    }

    /// The key of the beacon.
    pub fn vrf(&self) -> VrfSecretKey {
        VrfSecretKey::from_seed(*self.vrf_seed)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// If it cannot be read, others can read it, or it is not a node's key file.
    pub fn load(path: &Path) -> Result<Self, GenesisError> {
        let file: NodeKeyFile = files::parse(path, &open(path, NODE)?)?;
        let ethereum = EthereumKey::from_bytes(&*seed(path, "ethereum_key", &file.ethereum_key)?)
            .ok_or_else(|| bad(path, "ethereum_key is not a key of secp256k1; the file was altered"))?;
        let keys = Self {
            consensus: SecretKey::from_seed(*seed(path, "consensus_seed", &file.consensus_seed)?),
            peer: SecretKey::from_seed(*seed(path, "peer_seed", &file.peer_seed)?),
            ethereum,
            vrf_seed: seed(path, "vrf_seed", &file.vrf_seed)?,
        };
        if keys.node().to_string() != file.node {
            return Err(bad(path, "node is not the public key of consensus_seed; the file was altered"));
        }
        if keys.ethereum.address().to_string() != file.ethereum_address {
            return Err(bad(path, "ethereum_address is not that of ethereum_key; the file was altered"));
        }
        Ok(keys)
    }

    /// Writes a key file, mode 0600.
    ///
    /// # Errors
    /// If there is a file already, or it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), GenesisError> {
        if path.exists() {
            return Err(GenesisError::Exists { path: path.to_owned() });
        }
        let file = NodeKeyFile {
            version: NODE_VERSION,
            kind: NODE.to_owned(),
            node: self.node().to_string(),
            consensus_seed: text(&self.consensus.to_seed()),
            vrf_seed: text(&self.vrf_seed),
            peer_seed: text(&self.peer.to_seed()),
            ethereum_address: self.ethereum.address().to_string(),
            ethereum_key: text(&self.ethereum.to_bytes()),
        };
        files::write_json(path, &file, Access::Secret)
    }
}

impl AccountKey {
    /// A fresh key.
    pub fn generate() -> Self {
        Self { secret: SecretKey::generate() }
    }

    /// The key that anyone can derive from a label, for localnets and tests. It protects nothing.
    pub fn well_known(label: &str) -> Self {
        Self { secret: SecretKey::from_seed(public_seed(label, "account")) }
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        self.secret.public()
    }

    /// The address.
    pub fn address(&self) -> Address {
        Address::of(&self.public())
    }

    /// The pair to which decryption answers for one ciphertext are sealed: derived from the account's seed, so that no
    /// second secret must be kept.
    pub fn opening_key(&self, cipher: &Digest) -> (OpeningKey, SealingKey) {
        OpeningKey::from_seed(&self.opening_seed(cipher))
    }

    /// The seed of [`AccountKey::opening_key`]. Whoever has it can read the answers for this one ciphertext and nothing
    /// else, so its owner may hand it on to show what was decrypted.
    pub fn opening_seed(&self, cipher: &Digest) -> Zeroizing<[u8; 32]> {
        let input = Zeroizing::new(encode(&("account opening key", *self.secret.to_seed(), cipher)));
        Zeroizing::new(Digest::of_bytes(Domain::Sealing, &input).0)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// If it cannot be read, others can read it, or it is not an account's key file.
    pub fn load(path: &Path) -> Result<Self, GenesisError> {
        let file: AccountKeyFile = files::parse(path, &open(path, ACCOUNT)?)?;
        let key = Self { secret: SecretKey::from_seed(*seed(path, "seed", &file.seed)?) };
        if key.address().to_string() != file.address || key.public().to_string() != file.public_key {
            return Err(bad(path, "address and public_key are not those of seed; the file was altered"));
        }
        Ok(key)
    }

    /// Reads what signs transactions: an account's key file, or a node's, whose first key has an account too. It is the
    /// account of the node's entity where a node is its own entity, as on a localnet.
    ///
    /// # Errors
    /// If it cannot be read, others can read it, or it is neither.
    pub fn load_signer(path: &Path) -> Result<Self, GenesisError> {
        match read(path)?.0.as_str() {
            NODE => Ok(Self { secret: NodeKeys::load(path)?.consensus }),
            _ => Self::load(path),
        }
    }

    /// Writes a key file, mode 0600.
    ///
    /// # Errors
    /// If there is a file already, or it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), GenesisError> {
        if path.exists() {
            return Err(GenesisError::Exists { path: path.to_owned() });
        }
        let file = AccountKeyFile {
            version: VERSION,
            kind: ACCOUNT.to_owned(),
            address: self.address().to_string(),
            public_key: self.public().to_string(),
            seed: text(&self.secret.to_seed()),
        };
        files::write_json(path, &file, Access::Secret)
    }
}
