//! The manifest of a key set.

use crate::keys::{KeyError, KnownAnswer};
use crate::plan::BackendKind;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Digest, Domain, KeyId};
use parallax_runtime::EvaluationProfile;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The manifest's file in the directory of a key set.
pub const MANIFEST_FILE: &str = "manifest.json";
/// The secret key's file. It is in no manifest, and only the key manager has it.
pub const SECRET_FILE: &str = "secret-key.bin";
/// Largest manifest file, in bytes.
const MAX_MANIFEST_BYTES: u64 = 64 * 1024;

/// What a part of a key set is for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Bootstrapping and keyswitching keys, and the key that casts clients' lists to them, as `cpu-fft` nodes want them.
    Evaluation,
    /// The same keys in the standard domain, compressed: what `cpu-exact` nodes load instead.
    ExactEvaluation,
    /// The key that random numbers are made with, compressed: from a secret of its own to the compute key.
    Random,
    /// The public key whose encryptions of zero re-randomise.
    ReRandomization,
    /// The compact public key under which clients encrypt.
    CompactPublicKey,
    /// The common reference string of the proofs of knowledge.
    Crs,
    /// The noise-squashing key, for threshold decryption.
    Squashing,
    /// The ciphertexts on which the known answers are computed.
    KnownAnswerInputs,
}

impl Role {
    /// The part's file in the directory of a key set.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Evaluation => "evaluation-key.bin",
            Self::ExactEvaluation => "exact-evaluation-key.bin",
            Self::Random => "random-key.bin",
            Self::ReRandomization => "re-randomization-key.bin",
            Self::CompactPublicKey => "public-key.bin",
            Self::Crs => "crs.bin",
            Self::Squashing => "squashing-key.bin",
            Self::KnownAnswerInputs => "known-answer-inputs.bin",
        }
    }

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Evaluation => "evaluation",
            Self::ExactEvaluation => "exact evaluation",
            Self::Random => "random",
            Self::ReRandomization => "re-randomisation",
            Self::CompactPublicKey => "compact public key",
            Self::Crs => "CRS",
            Self::Squashing => "squashing",
            Self::KnownAnswerInputs => "known-answer inputs",
        }
    }
}

/// One file of a key set.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Part {
    /// What it is for; names the file too.
    pub role: Role,
    /// Its length in bytes.
    pub bytes: u64,
    /// The plain BLAKE3 digest of the file, as `b3sum` prints it.
    pub digest: Digest,
}

/// Who made the secret key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// One machine made it and knew it whole.
    TrustedDealer,
}

impl Origin {
    /// As a user reads it.
    pub fn label(self) -> &'static str {
        match self {
            Self::TrustedDealer => "trusted dealer",
        }
    }
}

/// What evaluations under one profile must give.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ProfileAnswers {
    /// The profile.
    pub profile: EvaluationProfile,
    /// For each operation, the digest of its output on the known-answer inputs.
    pub known_answers: Vec<KnownAnswer>,
}

/// What a key set consists of, how it was made, and what evaluations under it must give.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Manifest {
    /// Who made the secret key.
    pub origin: Origin,
    /// Most numbers in one compact list.
    pub max_list_blocks: u16,
    /// The parts, by role.
    pub parts: Vec<Part>,
    /// The known answers of each profile under which these keys may be used.
    pub profiles: Vec<ProfileAnswers>,
}

/// The form in which manifests are hashed and written.
#[derive(BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(tag = "version")]
enum Versioned<M> {
    #[serde(rename = "1")]
    V1(M),
}

impl Manifest {
    /// The key id: the digest of the manifest.
    pub fn key_id(&self) -> KeyId {
        KeyId(Digest::of_value(Domain::KeySet, &Versioned::V1(self)).0)
    }

    /// The profile with this backend, and its known answers.
    ///
    /// # Errors
    /// If the key set was made without it.
    pub fn answers(&self, backend: BackendKind) -> Result<&ProfileAnswers, KeyError> {
        let found = self.profiles.iter().find(|p| BackendKind::of(&p.profile) == Some(backend));
        found.ok_or_else(|| KeyError::NoSuchProfile { key: self.key_id(), backend })
    }

    /// The part for a role.
    ///
    /// # Errors
    /// If the key set has none.
    pub fn part(&self, role: Role) -> Result<&Part, KeyError> {
        let part = self.parts.iter().find(|part| part.role == role);
        part.ok_or_else(|| KeyError::NoSuchPart { key: self.key_id(), role: role.name() })
    }

    /// The manifest as indented JSON.
    ///
    /// # Errors
    /// Never for a manifest of ours; serde's signature asks for it.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(&Versioned::V1(self)).map(|text| text + "\n")
    }

    /// Reads a manifest from JSON text.
    ///
    /// # Errors
    /// If the text is no manifest of a known version.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let Versioned::V1(manifest) = serde_json::from_str(text)?;
        Ok(manifest)
    }

    /// Reads `manifest.json` from the directory of a key set.
    ///
    /// # Errors
    /// If it cannot be read or is no manifest of a known version.
    pub fn load(dir: &Path) -> Result<Self, KeyError> {
        let path = dir.join(MANIFEST_FILE);
        let bytes = std::fs::metadata(&path).map_err(KeyError::io("read", &path))?.len();
        if bytes > MAX_MANIFEST_BYTES {
            let reason = format!("it is {bytes} bytes long, a manifest has at most {MAX_MANIFEST_BYTES}");
            return Err(KeyError::malformed(&path, reason));
        }
        let text = std::fs::read_to_string(&path).map_err(KeyError::io("read", &path))?;
        Self::from_json(&text).map_err(|e| KeyError::malformed(&path, e))
    }

    /// Compares the length of every part with the file in `dir`: a quick look, no digests.
    ///
    /// # Errors
    /// The first file that is missing or has another length.
    pub fn check_sizes(&self, dir: &Path) -> Result<(), KeyError> {
        self.parts.iter().try_for_each(|part| part_path(dir, part).map(drop))
    }

    /// Reads a part and compares length and digest. The bytes are those that the manifest commits to.
    ///
    /// # Errors
    /// If the part is missing, or has another length or digest; the message names the file and the remedy.
    pub fn read_part(&self, dir: &Path, role: Role) -> Result<(PathBuf, Vec<u8>), KeyError> {
        let part = self.part(role)?;
        let path = part_path(dir, part)?;
        let bytes = std::fs::read(&path).map_err(KeyError::io("read", &path))?;
        let actual = Digest(*blake3::hash(&bytes).as_bytes());
        if actual != part.digest {
            return Err(KeyError::WrongDigest { path, actual, expected: part.digest });
        }
        Ok((path, bytes))
    }
}

/// The path of a part whose length is right.
fn part_path(dir: &Path, part: &Part) -> Result<PathBuf, KeyError> {
    let path = dir.join(part.role.file_name());
    let actual = match std::fs::metadata(&path) {
        Ok(facts) => facts.len(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(KeyError::MissingPart { path, role: part.role.name() });
        }
        Err(e) => return Err(KeyError::io("read", &path)(e)),
    };
    if actual != part.bytes {
        return Err(KeyError::WrongSize { path, actual, expected: part.bytes });
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        Manifest {
            origin: Origin::TrustedDealer,
            max_list_blocks: 64,
            parts: vec![Part { role: Role::Crs, bytes: 3, digest: Digest(*blake3::hash(b"crs").as_bytes()) }],
            profiles: vec![ProfileAnswers {
                profile: BackendKind::CpuFft.profile(),
                known_answers: vec![KnownAnswer { operation: "linear".to_owned(), digest: Digest([9; 32]) }],
            }],
        }
    }

    #[test]
    fn the_json_form_carries_its_version_and_the_key_id_survives_it() {
        let manifest = sample();
        let text = manifest.to_json().unwrap();
        assert!(text.contains("\"version\": \"1\"") && text.contains("\"trusted-dealer\""), "{text}");
        let back = Manifest::from_json(&text).unwrap();
        assert_eq!(back.key_id(), manifest.key_id());
        assert!(Manifest::from_json(&text.replace("\"version\": \"1\"", "\"version\": \"9\"")).is_err());
    }

    #[test]
    fn every_field_is_under_the_key_id() {
        let manifest = sample();
        let mut other = sample();
        other.profiles[0].profile.plan = "dif4/1024".to_owned();
        assert_ne!(manifest.key_id(), other.key_id());
        let mut other = sample();
        other.profiles[0].known_answers[0].digest = Digest([8; 32]);
        assert_ne!(manifest.key_id(), other.key_id());
    }

    #[test]
    fn a_profile_that_the_keys_were_not_made_for_is_named() {
        let manifest = sample();
        assert_eq!(manifest.answers(BackendKind::CpuFft).unwrap().known_answers.len(), 1);
        let text = manifest.answers(BackendKind::CpuExact).unwrap_err().to_string();
        assert!(text.contains("cpu-exact") && text.contains("make"), "{text}");
    }

    #[test]
    fn a_part_that_was_tampered_with_is_named_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = sample();
        let path = dir.path().join(Role::Crs.file_name());
        let text = manifest.read_part(dir.path(), Role::Crs).unwrap_err().to_string();
        assert!(text.contains("crs.bin, the CRS part of the key set, is missing"), "{text}");
        std::fs::write(&path, b"crs").unwrap();
        assert_eq!(manifest.read_part(dir.path(), Role::Crs).unwrap().1, b"crs");
        std::fs::write(&path, b"crz").unwrap();
        let text = manifest.read_part(dir.path(), Role::Crs).unwrap_err().to_string();
        assert!(text.contains("crs.bin is corrupt") && text.contains("delete"), "{text}");
        std::fs::write(&path, b"long").unwrap();
        let text = manifest.read_part(dir.path(), Role::Crs).unwrap_err().to_string();
        assert!(text.contains("4 bytes") && text.contains("says 3"), "{text}");
        assert!(matches!(manifest.read_part(dir.path(), Role::Squashing), Err(KeyError::NoSuchPart { .. })));
    }
}
