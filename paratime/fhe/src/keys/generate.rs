//! Makes a key set.

use crate::encoding::Words;
use crate::exact;
use crate::keys::known_answers::{self, Inputs};
use crate::keys::load::{
    Material, PublicMaterial, public_key_to_bytes, rerandomization_parameters, secret_file, serialize,
};
use crate::keys::{KeyError, MANIFEST_FILE, Manifest, Origin, Part, ProfileAnswers, Role, SECRET_FILE};
use crate::list;
use crate::parameters::{CASTING, COMPUTE, MAX_LIST_BLOCKS, PUBLIC, SQUASHING};
use crate::plan::{self, BackendKind, FftPlan};
use crate::pool::FhePool;
use parallax_primitives::Digest;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use tfhe::core_crypto::prelude::{LweCiphertextCount, LweCompactPublicKeyOwned};
use tfhe::integer::key_switching_key::CompressedKeySwitchingKeyMaterial;
use tfhe::shortint::key_switching_key::CompressedKeySwitchingKey;
use tfhe::shortint::oprf::{AtomicPatternOprfPrivateKey, CompressedOprfServerKey, OprfPrivateKey};
use tfhe::shortint::public_key::compact::CompactPrivateKey;
use tfhe::shortint::{ClientKey, CompactPublicKey};
use tfhe::zk::CompactPkeCrs;
use zeroize::{Zeroize, Zeroizing};

/// Workers for the known answers while the keys are made.
const THREADS: usize = 2;

/// What a key set is to contain beyond the necessary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GenerateOptions {
    /// A noise-squashing key, for threshold decryption: 0.8 GB and 27 core-seconds more.
    pub squashing: bool,
}

/// A step of making a key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Another process makes the same keys; this one waits for it.
    Waiting,
    /// Secret keys.
    Secret,
    /// Bootstrapping and keyswitching keys.
    Evaluation,
    /// The noise-squashing key.
    Squashing,
    /// The keys under which clients encrypt and inputs are re-randomised.
    Public,
    /// The common reference string.
    Crs,
    /// Encrypting and proving the known-answer inputs, and evaluating them.
    KnownAnswers,
    /// Writing the files.
    Writing,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting for another process that makes these keys",
            Self::Secret => "secret keys",
            Self::Evaluation => "evaluation key",
            Self::Squashing => "noise-squashing key",
            Self::Public => "public keys",
            Self::Crs => "common reference string",
            Self::KnownAnswers => "known answers",
            Self::Writing => "writing the key set",
        })
    }
}

/// Where the making of a key set stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The step that begins.
    pub stage: Stage,
    /// Steps that are done.
    pub done: u8,
    /// Steps in all.
    pub steps: u8,
}

struct Reporter<'a> {
    report: &'a dyn Fn(Progress),
    done: u8,
    steps: u8,
}

impl Reporter<'_> {
    fn begin(&mut self, stage: Stage) {
        (self.report)(Progress { stage, done: self.done, steps: self.steps });
        self.done += 1;
    }
}

/// Makes a key set in `dir`, which must exist and be empty: the parts, the manifest, and the secret key with mode
/// 0600. One machine knows the secret while it runs (trusted dealer). Takes about 20 core-seconds.
///
/// # Errors
/// If the plan of the network is not pinned, a file cannot be written, or a known answer does not decrypt to what it
/// must.
pub fn generate(dir: &Path, options: GenerateOptions, progress: &dyn Fn(Progress)) -> Result<Manifest, KeyError> {
    match plan::pinned()? {
        FftPlan::Dif16 => {}
        other => return Err(KeyError::Library(format!("keys are made under {} only, not {other}", FftPlan::Dif16))),
    }
    let mut reporter = Reporter { report: progress, done: 0, steps: 6 + u8::from(options.squashing) };
    reporter.begin(Stage::Secret);
    let client = ClientKey::new(COMPUTE);
    let made = make(&client, options, &mut reporter)?;
    reporter.begin(Stage::KnownAnswers);
    let secret: Zeroizing<Vec<u64>> = Zeroizing::new(client.encryption_key().as_ref().to_vec());
    let (fft, evaluation) = made.fft()?;
    let inputs = known_inputs(&fft, &client)?;
    wipe(client);
    let mut profiles = vec![answers_of(BackendKind::CpuFft, &fft, &inputs, &secret)?];
    drop(fft);
    profiles.push(answers_of(BackendKind::CpuExact, &made.exact()?, &inputs, &secret)?);
    reporter.begin(Stage::Writing);
    write_key_set(dir, made, &evaluation, (&inputs, profiles), &secret)
}

/// Public keys as they were made.
struct Made {
    /// Evaluation and casting keys in tfhe's compressed form, from which both backends' material follows.
    compressed: tfhe::CompressedServerKey,
    rerandomization: LweCompactPublicKeyOwned<u64>,
    public: LweCompactPublicKeyOwned<u64>,
    crs: CompactPkeCrs,
    random: CompressedOprfServerKey,
    squashing: Option<Squashing>,
}

impl Made {
    fn parts(&self) -> Result<(CompactPublicKey, PublicMaterial), KeyError> {
        let rerandomization =
            CompactPublicKey::from_raw_parts(self.rerandomization.clone(), rerandomization_parameters()?);
        Ok((rerandomization, PublicMaterial::new(self.public.clone(), self.crs.clone())))
    }

    fn fft(&self) -> Result<(Arc<Material>, Vec<u8>), KeyError> {
        let (rerandomization, public) = self.parts()?;
        let (material, bytes) = Material::fft(&self.compressed, rerandomization, public, &self.random)?;
        Ok((Arc::new(material), bytes))
    }

    fn exact(&self) -> Result<Arc<Material>, KeyError> {
        let (rerandomization, public) = self.parts()?;
        let material =
            Material::exact(self.compressed.clone(), rerandomization, public, &self.random, exact::Path::best());
        material.map(Arc::new).map_err(KeyError::Library)
    }
}

/// The noise-squashing key and the secret key that squashed ciphertexts are under, serialised.
struct Squashing {
    key: Vec<u8>,
    private: Vec<u8>,
}

/// Makes every public key from the client key.
fn make(client: &ClientKey, options: GenerateOptions, reporter: &mut Reporter<'_>) -> Result<Made, KeyError> {
    let private = CompactPrivateKey::new(PUBLIC);
    reporter.begin(Stage::Evaluation);
    let server = tfhe::shortint::CompressedServerKey::new(client);
    let casting = CompressedKeySwitchingKey::new((&private, None), (client, &server), CASTING);
    let (casting, server, _) = casting.into_raw_parts();
    let casting = CompressedKeySwitchingKeyMaterial::from_raw_parts(casting);
    let server = tfhe::integer::CompressedServerKey::from_raw_parts(server);
    let (casting, tag) = (Some(casting), tfhe::Tag::default());
    let compressed =
        tfhe::CompressedServerKey::from_raw_parts(server, casting, None, None, None, None, None, None, None, tag);

    let random = make_random(client)?;

    let mut squashing = None;
    if options.squashing {
        reporter.begin(Stage::Squashing);
        squashing = Some(make_squashing(client)?);
    }

    reporter.begin(Stage::Public);
    let (public, _) = CompactPublicKey::new(&private).into_raw_parts();
    let (rerandomization, derived) = CompactPublicKey::new(client).into_raw_parts();
    if derived != rerandomization_parameters()? {
        return Err(KeyError::Library("the re-randomisation key has other parameters than expected".to_owned()));
    }
    let (key, _) = private.into_raw_parts();
    key.into_container().zeroize();

    reporter.begin(Stage::Crs);
    let crs = CompactPkeCrs::from_shortint_params(PUBLIC, LweCiphertextCount(usize::from(MAX_LIST_BLOCKS)))
        .map_err(|e| KeyError::Library(e.to_string()))?;
    Ok(Made { compressed, rerandomization, public, crs, random, squashing })
}

/// The key for random numbers, from a secret that is not kept.
fn make_random(client: &ClientKey) -> Result<CompressedOprfServerKey, KeyError> {
    let private = OprfPrivateKey::new(client);
    let key = CompressedOprfServerKey::new(&private, client).map_err(|e| KeyError::Library(e.to_string()))?;
    if let AtomicPatternOprfPrivateKey::Standard(secret) = private.into_raw_parts() {
        secret.into_container().zeroize();
    }
    Ok(key)
}

fn make_squashing(client: &ClientKey) -> Result<Squashing, KeyError> {
    let private = tfhe::integer::noise_squashing::NoiseSquashingPrivateKey::new(SQUASHING);
    let client = tfhe::integer::ClientKey::from_raw_parts(client.clone());
    let key = client.new_noise_squashing_key(&private);
    wipe(client.into_raw_parts());
    Ok(Squashing { key: serialize(&key)?, private: serialize(&private)? })
}

/// Writes parts, secret key and manifest.
fn write_key_set(
    dir: &Path,
    made: Made,
    evaluation: &[u8],
    (inputs, profiles): (&Inputs, Vec<ProfileAnswers>),
    secret: &[u64],
) -> Result<Manifest, KeyError> {
    let mut parts = vec![
        write_part(dir, Role::Evaluation, evaluation)?,
        write_part(dir, Role::ExactEvaluation, &serialize(&made.compressed)?)?,
        write_part(dir, Role::Random, &serialize(&made.random)?)?,
        write_part(dir, Role::ReRandomization, &public_key_to_bytes(&made.rerandomization))?,
        write_part(dir, Role::CompactPublicKey, &public_key_to_bytes(&made.public))?,
        write_part(dir, Role::Crs, &serialize(&made.crs)?)?,
    ];
    let mut squashed = None;
    if let Some(Squashing { key, private }) = made.squashing {
        parts.push(write_part(dir, Role::Squashing, &key)?);
        squashed = Some(private);
    }
    parts.push(write_part(dir, Role::KnownAnswerInputs, &inputs.to_bytes())?);
    let manifest = Manifest { origin: Origin::TrustedDealer, max_list_blocks: MAX_LIST_BLOCKS, parts, profiles };
    write(&dir.join(SECRET_FILE), &secret_file(manifest.key_id(), secret, squashed), true)?;
    // The manifest comes last: a directory that has one is complete.
    let text = manifest.to_json().map_err(|e| KeyError::Library(e.to_string()))?;
    write(&dir.join(MANIFEST_FILE), text.as_bytes(), false)?;
    Ok(manifest)
}

/// Encrypts and proves the known-answer inputs.
fn known_inputs(material: &Material, client: &ClientKey) -> Result<Inputs, KeyError> {
    let encrypt = |v: u8| -> Words { client.unchecked_encrypt(u64::from(v)).ct.into_container() };
    let stored =
        known_answers::plain_inputs().iter().map(|blocks| blocks.iter().map(|v| encrypt(*v)).collect()).collect();
    let constant = |text: &str| Digest(*blake3::hash(text.as_bytes()).as_bytes());
    let metadata = constant("parallax known-answer metadata");
    let (list, proof) = list::encrypt(&material.public, known_answers::plain_list(), &metadata)
        .map_err(|e| KeyError::Library(e.to_string()))?;
    list::verify(&material.public, list.clone(), &proof, &metadata)
        .map_err(|e| KeyError::Library(format!("the proof of the known-answer list: {e}")))?;
    Ok(Inputs { stored, list, proof, metadata, seed: constant("parallax known-answer seed") })
}

/// Evaluates every operation, and decrypts the results once to see that they are right.
fn answers_of(
    backend: BackendKind,
    material: &Arc<Material>,
    inputs: &Inputs,
    secret: &[u64],
) -> Result<ProfileAnswers, KeyError> {
    let pool = FhePool::new(THREADS).map_err(KeyError::Threads)?;
    let (outcome, known_answers) = known_answers::compute(&pool, material, inputs).map_err(KeyError::Library)?;
    for ((plain, blocks), answer) in
        known_answers::plain_outputs().iter().zip(&outcome.outputs).zip(&known_answers[1..])
    {
        let decrypted: Vec<u8> = blocks.iter().map(|b| crate::decrypt::decode_block(secret, b)).collect();
        if plain.as_ref().map_or(decrypted.iter().any(|digit| *digit > 3), |plain| decrypted != *plain) {
            let operation = &answer.operation;
            return Err(KeyError::Library(format!("operation {operation} of {backend} computes a wrong value")));
        }
    }
    Ok(ProfileAnswers { profile: backend.profile(), known_answers })
}

fn write_part(dir: &Path, role: Role, bytes: &[u8]) -> Result<Part, KeyError> {
    write(&dir.join(role.file_name()), bytes, false)?;
    Ok(Part { role, bytes: bytes.len() as u64, digest: Digest(*blake3::hash(bytes).as_bytes()) })
}

/// Writes a new file and flushes it to the disk.
fn write(path: &Path, bytes: &[u8], secret: bool) -> Result<(), KeyError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(if secret { 0o600 } else { 0o644 });
    }
    let mut file = options.open(path).map_err(KeyError::io("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(KeyError::io("write", path))
}

/// Overwrites the secret keys of a client key. What tfhe itself copied while it made keys cannot be reached from here.
fn wipe(client: ClientKey) {
    if let tfhe::shortint::client_key::atomic_pattern::AtomicPatternClientKey::Standard(key) = client.atomic_pattern {
        let (glwe, lwe, ..) = key.into_raw_parts();
        glwe.into_container().zeroize();
        lwe.into_container().zeroize();
    }
}
