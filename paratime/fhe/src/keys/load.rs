//! Key material in memory, and how each role loads its own.

use crate::exact::{self, ExactKey, ExactPattern};
use crate::keys::known_answers::Inputs;
use crate::keys::{KeyError, Manifest, ProfileAnswers, Role, SECRET_FILE};
use crate::parameters::{CASTING, LWE_DIMENSION, PUBLIC, modulus};
use crate::plan::{self, BackendKind};
use crate::random::{self, RandomKey};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Digest, KeyId, decode, encode};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tfhe::core_crypto::prelude::{LweCompactPublicKey, LweCompactPublicKeyOwned, LweKeyswitchKeyOwned};
use tfhe::safe_serialization::{DeserializationConfig, SerializationConfig};
use tfhe::shortint::CompactPublicKey;
use tfhe::shortint::atomic_pattern::AtomicPatternServerKey;
use tfhe::shortint::atomic_pattern::compressed::CompressedAtomicPatternServerKey;
use tfhe::shortint::key_switching_key::KeySwitchingKeyMaterial;
use tfhe::shortint::oprf::CompressedOprfServerKey;
use tfhe::shortint::parameters::CompactPublicKeyEncryptionParameters;
use tfhe::shortint::server_key::ShortintCompressedBootstrappingKey;
use tfhe::zk::CompactPkeCrs;
use zeroize::{Zeroize, Zeroizing};

/// Words of a compact public key of our dimension: mask and body.
const PUBLIC_KEY_WORDS: usize = 2 * LWE_DIMENSION;

/// What clients encrypt with and what verifies their proofs.
pub(crate) struct PublicMaterial {
    /// As tfhe's shortint layer wants it.
    pub(crate) key: CompactPublicKey,
    /// The same key as the verifier wants it.
    pub(crate) raw: LweCompactPublicKeyOwned<u64>,
    pub(crate) crs: CompactPkeCrs,
}

impl PublicMaterial {
    pub(crate) fn new(raw: LweCompactPublicKeyOwned<u64>, crs: CompactPkeCrs) -> Self {
        Self { key: CompactPublicKey::from_raw_parts(raw.clone(), PUBLIC), raw, crs }
    }

    fn load(dir: &Path, manifest: &Manifest) -> Result<Self, KeyError> {
        let (path, bytes) = manifest.read_part(dir, Role::CompactPublicKey)?;
        let raw = public_key_from_bytes(&bytes).ok_or_else(|| KeyError::malformed(&path, "wrong number of words"))?;
        let (path, bytes) = manifest.read_part(dir, Role::Crs)?;
        let config = DeserializationConfig::new(bytes.len() as u64).disable_conformance();
        let crs = config.deserialize_from(bytes.as_slice()).map_err(|e| KeyError::malformed(&path, e))?;
        Ok(Self::new(raw, crs))
    }
}

/// Everything that an evaluation uses.
pub(crate) struct Material {
    pub(crate) server: tfhe::integer::ServerKey,
    pub(crate) casting: Casting,
    /// The public key derived from the compute key: its encryptions of zero re-randomise stored blocks.
    pub(crate) rerandomization: CompactPublicKey,
    pub(crate) public: PublicMaterial,
    /// What random numbers are made with.
    pub(crate) random: RandomKey,
}

/// How a client's number comes under the compute key: one keyswitch and one bootstrap.
pub(crate) enum Casting {
    /// tfhe's cast.
    Fft(KeySwitchingKeyMaterial),
    /// The same in two steps: tfhe does not cast to a key with a bootstrap that is not its own.
    Exact(LweKeyswitchKeyOwned<u64>, ExactPattern),
}

impl Material {
    /// The material with tfhe's own bootstrap, and the bytes of its part. Takes the keys apart and puts them together
    /// again, because tfhe serialises the whole.
    pub(crate) fn fft(
        keys: &tfhe::CompressedServerKey,
        rerandomization: CompactPublicKey,
        public: PublicMaterial,
        random: &CompressedOprfServerKey,
    ) -> Result<(Self, Vec<u8>), KeyError> {
        let (server, casting, ..) = keys.clone().into_raw_parts();
        let casting = casting.ok_or_else(|| KeyError::Library("the casting key is missing".to_owned()))?;
        let (server, casting, tag) = (server.decompress(), Some(casting.decompress()), tfhe::Tag::default());
        let whole = tfhe::ServerKey::from_raw_parts(server, casting, None, None, None, None, None, None, None, tag);
        let bytes = serialize(&whole)?;
        let (server, casting) = take_apart(whole).map_err(KeyError::Library)?;
        let random = RandomKey::fft(&random::expanded(random).map_err(KeyError::Library)?);
        Ok((Self { server, casting: Casting::Fft(casting), rerandomization, public, random }, bytes))
    }

    /// The material with the exact bootstrap.
    pub(crate) fn exact(
        keys: tfhe::CompressedServerKey,
        rerandomization: CompactPublicKey,
        public: PublicMaterial,
        random: &CompressedOprfServerKey,
        path: exact::Path,
    ) -> Result<Self, String> {
        let (server, casting, ..) = keys.into_raw_parts();
        let casting = casting.ok_or("the casting key is missing")?.into_raw_parts().decompress();
        let (casting, shift, destination, _) = casting.into_raw_parts();
        if shift != 0 || destination != CASTING.destination_key {
            return Err("the casting key is not of this parameter set".to_owned());
        }
        let (pattern, message, carry, degree, noise) = server.into_raw_parts().into_raw_parts();
        let CompressedAtomicPatternServerKey::Standard(standard) = pattern else {
            return Err("the server key is not of this parameter set".to_owned());
        };
        let (keyswitch, bootstrap, _) = standard.into_raw_parts();
        let ShortintCompressedBootstrappingKey::Classic { bsk, .. } = bootstrap else {
            return Err("the bootstrapping key is not of this parameter set".to_owned());
        };
        let keyswitch = keyswitch.decompress_into_lwe_keyswitch_key();
        let bootstrap = bsk.decompress_into_lwe_bootstrap_key();
        let exact = ExactPattern::new(keyswitch, &bootstrap, path).map_err(|e| e.to_string())?;
        let pattern = AtomicPatternServerKey::Dynamic(Box::new(exact.clone()));
        let server = tfhe::shortint::ServerKey::from_raw_parts(pattern, message, carry, degree, noise);
        let server = tfhe::integer::ServerKey::new_radix_server_key_from_shortint(server);
        let random = ExactKey::new(random::expanded(random)?.as_ref(), path).map_err(|e| e.to_string())?;
        let random = RandomKey::Exact(Box::new(random));
        Ok(Self { server, casting: Casting::Exact(casting, exact), rerandomization, public, random })
    }
}

type ServerParts = (tfhe::integer::ServerKey, KeySwitchingKeyMaterial);

fn take_apart(whole: tfhe::ServerKey) -> Result<ServerParts, String> {
    let (server, casting, ..) = whole.into_raw_parts();
    let casting = casting.ok_or("the casting key is missing")?;
    Ok((server, casting.into_raw_parts()))
}

/// tfhe's own serialisation, versioned.
pub(crate) fn serialize<T: serde::Serialize + tfhe::Versionize + tfhe::named::Named>(
    value: &T,
) -> Result<Vec<u8>, KeyError> {
    let mut bytes = Vec::new();
    let config = SerializationConfig::new_with_unlimited_size();
    config.serialize_into(value, &mut bytes).map_err(|e| KeyError::Library(e.to_string()))?;
    Ok(bytes)
}

/// The words of a compact public key.
pub(crate) fn public_key_to_bytes(key: &LweCompactPublicKeyOwned<u64>) -> Vec<u8> {
    crate::encoding::block_to_bytes(key.clone().into_container().as_slice())
}

fn public_key_from_bytes(bytes: &[u8]) -> Option<LweCompactPublicKeyOwned<u64>> {
    let (words, rest) = bytes.as_chunks::<8>();
    if words.len() != PUBLIC_KEY_WORDS || !rest.is_empty() {
        return None;
    }
    let words = words.iter().map(|w| u64::from_le_bytes(*w)).collect();
    Some(LweCompactPublicKey::from_container(words, modulus()))
}

/// The parameters of the public key that is derived from the compute key.
pub(crate) fn rerandomization_parameters() -> Result<CompactPublicKeyEncryptionParameters, KeyError> {
    let compute = tfhe::shortint::parameters::ShortintParameterSet::from(crate::parameters::COMPUTE);
    CompactPublicKeyEncryptionParameters::try_from(compute).map_err(|e| KeyError::Library(e.to_string()))
}

/// What a compute node holds: evaluation key with the casting key, re-randomisation key, public key and CRS.
pub struct EvaluationKeys {
    pub(crate) key_id: KeyId,
    pub(crate) answers: ProfileAnswers,
    pub(crate) backend: BackendKind,
    pub(crate) manifest: Manifest,
    pub(crate) material: Arc<Material>,
    pub(crate) known_inputs: Inputs,
}

impl EvaluationKeys {
    /// Loads what a compute node of a backend needs from the directory of a key set. For `cpu-fft`, [`crate::init`]
    /// comes first; `cpu-exact` uses no FFT plan.
    ///
    /// # Errors
    /// If a plan is needed and none is pinned, or a part is missing, corrupt or of another version.
    pub fn load(dir: &Path, manifest: &Manifest, backend: BackendKind) -> Result<Self, KeyError> {
        Self::load_on(dir, manifest, backend, exact::Path::best())
    }

    /// The same with the instructions that the exact backend is to use: for tests and measurements. `cpu-fft` takes no
    /// notice of them.
    ///
    /// # Errors
    /// As for [`EvaluationKeys::load`].
    pub fn load_on(
        dir: &Path,
        manifest: &Manifest,
        backend: BackendKind,
        exact: exact::Path,
    ) -> Result<Self, KeyError> {
        if backend == BackendKind::CpuFft {
            plan::pinned()?;
        }
        let answers = manifest.answers(backend)?.clone();
        let public = PublicMaterial::load(dir, manifest)?;
        let (path, bytes) = manifest.read_part(dir, Role::ReRandomization)?;
        let raw = public_key_from_bytes(&bytes).ok_or_else(|| KeyError::malformed(&path, "wrong number of words"))?;
        let rerandomization = CompactPublicKey::from_raw_parts(raw, rerandomization_parameters()?);
        let (random_path, random): (_, CompressedOprfServerKey) = read_keys(dir, manifest, Role::Random)?;
        let (path, bytes) = manifest.read_part(dir, Role::KnownAnswerInputs)?;
        let known_inputs = Inputs::from_bytes(&bytes).map_err(|e| KeyError::malformed(&path, e))?;
        let material = match backend {
            BackendKind::CpuFft => {
                let (path, whole) = read_keys(dir, manifest, Role::Evaluation)?;
                let (server, casting) = take_apart(whole).map_err(|e| KeyError::malformed(&path, e))?;
                let random = random::expanded(&random).map_err(|e| KeyError::malformed(&random_path, e))?;
                let random = RandomKey::fft(&random);
                Material { server, casting: Casting::Fft(casting), rerandomization, public, random }
            }
            BackendKind::CpuExact => {
                let (path, whole) = read_keys(dir, manifest, Role::ExactEvaluation)?;
                Material::exact(whole, rerandomization, public, &random, exact)
                    .map_err(|e| KeyError::malformed(&path, e))?
            }
        };
        let (key_id, manifest) = (manifest.key_id(), manifest.clone());
        Ok(Self { key_id, answers, backend, manifest, material: Arc::new(material), known_inputs })
    }

    /// The key set.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The backend that they were loaded for.
    pub fn backend(&self) -> BackendKind {
        self.backend
    }

    /// The exact bootstrapping key, if they were loaded for that backend.
    pub fn exact(&self) -> Option<&ExactKey> {
        match &self.material.casting {
            Casting::Fft(_) => None,
            Casting::Exact(_, pattern) => Some(pattern.key()),
        }
    }
}

/// A part in tfhe's serialisation. It is what the manifest commits to, so its form is not checked again.
fn read_keys<T>(dir: &Path, manifest: &Manifest, role: Role) -> Result<(PathBuf, T), KeyError>
where
    T: serde::de::DeserializeOwned + tfhe::Unversionize + tfhe::named::Named,
{
    let (path, bytes) = manifest.read_part(dir, role)?;
    let config = DeserializationConfig::new(bytes.len() as u64).disable_conformance();
    let keys = config.deserialize_from(bytes.as_slice()).map_err(|e| KeyError::malformed(&path, e))?;
    Ok((path, keys))
}

/// What a client holds, and whoever verifies clients' lists without evaluating: public key and CRS.
pub struct ClientKeys {
    pub(crate) key_id: KeyId,
    pub(crate) public: PublicMaterial,
}

impl ClientKeys {
    /// Loads public key and CRS from the directory of a key set. Needs no pinned plan: neither uses an FFT.
    ///
    /// # Errors
    /// If a part is missing, corrupt or of another version.
    pub fn load(dir: &Path, manifest: &Manifest) -> Result<Self, KeyError> {
        Ok(Self { key_id: manifest.key_id(), public: PublicMaterial::load(dir, manifest)? })
    }

    /// The key set.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }
}

/// The secret key of a key set, for a key manager that decrypts alone (n = 1, designated decryptor). Wiped when
/// dropped.
pub struct SecretKeys {
    pub(crate) key_id: KeyId,
    /// The big LWE key, one bit a word.
    pub(crate) lwe: Zeroizing<Vec<u64>>,
}

/// The file of a secret key.
#[derive(BorshSerialize, BorshDeserialize)]
enum SecretFile {
    V1(SecretV1),
}

#[derive(BorshSerialize, BorshDeserialize)]
struct SecretV1 {
    key_id: KeyId,
    /// The big LWE key, eight bits a byte, lowest first.
    lwe: Vec<u8>,
    /// The key after noise squashing in tfhe's serialisation, if the key set has squashing.
    squashed: Option<Vec<u8>>,
    /// The plain BLAKE3 digest of `lwe` followed by `squashed`.
    checksum: Digest,
}

impl Drop for SecretV1 {
    fn drop(&mut self) {
        self.lwe.zeroize();
        self.squashed.zeroize();
    }
}

impl SecretV1 {
    fn checksum(lwe: &[u8], squashed: Option<&[u8]>) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(lwe).update(squashed.unwrap_or_default());
        Digest(*hasher.finalize().as_bytes())
    }
}

/// Largest secret-key file, in bytes: a squashed key has 4,096 words in tfhe's serialisation.
const MAX_SECRET_BYTES: usize = 1024 * 1024;

/// The bytes of a secret-key file.
pub(crate) fn secret_file(key_id: KeyId, lwe: &[u64], squashed: Option<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let bits: Vec<u8> = lwe
        .chunks(8)
        .map(|bits| bits.iter().zip(0..8).fold(0, |byte, (bit, at)| byte | (((bit & 1) as u8) << at)))
        .collect();
    let checksum = SecretV1::checksum(&bits, squashed.as_deref());
    Zeroizing::new(encode(&SecretFile::V1(SecretV1 { key_id, lwe: bits, squashed, checksum })))
}

impl SecretKeys {
    /// Loads the secret key of a key set.
    ///
    /// # Errors
    /// If the file is missing, readable by others, damaged, or of another key set.
    pub fn load(dir: &Path, manifest: &Manifest) -> Result<Self, KeyError> {
        let path = dir.join(SECRET_FILE);
        let facts = std::fs::metadata(&path).map_err(KeyError::io("read", &path))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = facts.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(KeyError::Exposed { path, mode });
            }
        }
        if facts.len() > MAX_SECRET_BYTES as u64 {
            let reason = format!("it is {} bytes long, a secret key has at most {MAX_SECRET_BYTES}", facts.len());
            return Err(KeyError::malformed(&path, reason));
        }
        let bytes = Zeroizing::new(std::fs::read(&path).map_err(KeyError::io("read", &path))?);
        let SecretFile::V1(secret) =
            decode("a secret key", &bytes, MAX_SECRET_BYTES).map_err(|e| KeyError::malformed(&path, e))?;
        if SecretV1::checksum(&secret.lwe, secret.squashed.as_deref()) != secret.checksum {
            return Err(KeyError::malformed(&path, "its checksum does not hold"));
        }
        if secret.lwe.len() * 8 != LWE_DIMENSION {
            return Err(KeyError::malformed(
                &path,
                format!("it has {} bits, not {LWE_DIMENSION}", secret.lwe.len() * 8),
            ));
        }
        let expected = manifest.key_id();
        if secret.key_id != expected {
            return Err(KeyError::OtherKeySet { path, actual: secret.key_id, expected });
        }
        let bits = secret.lwe.iter().flat_map(|byte| (0..8).map(move |at| u64::from(byte >> at & 1)));
        // Allocated in full first, so that no partly filled buffer is left behind by growing.
        let mut lwe = Zeroizing::new(Vec::with_capacity(LWE_DIMENSION));
        lwe.extend(bits);
        Ok(Self { key_id: expected, lwe })
    }

    /// The key set.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }
}

impl std::fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretKeys").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}
