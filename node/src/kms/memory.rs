//! What a key manager keeps on disk: the newest header that it trusts, and the record of what it was asked.
//!
//! The header is for safety. One who begins at the genesis document believes any history that its validators signed,
//! also after they have left; one who begins at a recent header does not.

use eyre::{Result, WrapErr as _};
use parallax_consensus_app::light::LightClient;
use parallax_kms::AuditRecord;
use parallax_rpc::LightBlock;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

/// The directory of a key manager's files.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    dir: PathBuf,
}

impl Memory {
    /// In a directory, which is made when it is needed.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn header_path(&self) -> PathBuf {
        self.dir.join("light.json")
    }

    /// Brings the light client to the header on disk. A file that cannot be read, or that the light client does not
    /// believe, changes nothing and is overwritten later.
    pub(super) fn recall(&self, light: &mut LightClient) {
        let path = self.header_path();
        let known = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<LightBlock>(&bytes).map_err(eyre::Report::from),
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => Err(error.into()),
        };
        let trusted = known.and_then(|l| Ok(light.advance(&l.header, &l.certificate, &l.validators)?));
        match trusted {
            Ok(()) => tracing::info!(height = light.height().0, "kms.light.recalled"),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "kms.light.damaged: trust begins at the genesis document");
            }
        }
    }

    /// Keeps a trusted header: writes beside the file, then renames.
    ///
    /// # Errors
    /// If the disk fails.
    pub(super) fn remember(&self, newest: &LightBlock) -> Result<()> {
        let (path, beside) = (self.header_path(), self.dir.join("light.json.new"));
        let write = || {
            fs::create_dir_all(&self.dir)?;
            let mut file = fs::File::create(&beside)?;
            file.write_all(&serde_json::to_vec(newest)?)?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        };
        write().wrap_err_with(|| format!("cannot write {}; check the disk", path.display()))
    }

    /// Adds a record to `audit.log`, one line of hexadecimal digits each: the canonical bytes of an [`AuditRecord`].
    ///
    /// # Errors
    /// If the disk fails.
    pub(super) fn record(&self, record: &AuditRecord) -> Result<()> {
        let path = self.dir.join("audit.log");
        let line = format!("{}\n", hex::encode(record.encode()));
        let append = || {
            fs::create_dir_all(&self.dir)?;
            let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(line.as_bytes())?;
            file.sync_data()
        };
        append().wrap_err_with(|| format!("cannot write {}; check the disk", path.display()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first error")]

    use super::*;
    use parallax_consensus_app::{CommitCertificate, Header, PrecommitMessage, Validator, ValidatorSet};
    use parallax_kms::Refusal;
    use parallax_primitives::{ChainContext, Digest, Height, ParaTimeId, SecretKey};

    const CHAIN: ChainContext = ChainContext(Digest([7; 32]));

    fn light_block(seed: u8) -> (LightBlock, ValidatorSet) {
        let key = SecretKey::from_seed([seed; 32]);
        let validators = ValidatorSet { validators: vec![Validator { node: key.public(), power: 1 }] };
        let header = Header {
            height: Height(9),
            parent: Digest::ZERO,
            time_ms: 500,
            proposer: key.public(),
            app_hash: Digest::ZERO,
            transactions_root: Digest::ZERO,
            validators_hash: validators.hash(),
            next_validators_hash: validators.hash(),
        };
        let value = header.hash();
        let message = PrecommitMessage {
            chain: CHAIN,
            height: header.height,
            round: 0,
            value: Some(value),
            validator: key.public(),
        };
        let signatures = vec![(key.public(), key.sign_raw(&message.signing_bytes().0))];
        let certificate = CommitCertificate { height: header.height, round: 0, value, signatures };
        (LightBlock { header, certificate, validators: validators.clone() }, validators)
    }

    #[test]
    fn a_trusted_header_survives_a_restart_and_a_false_or_damaged_one_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::new(dir.path().join("data"));
        let (block, validators) = light_block(1);
        let fresh = || LightClient::genesis(CHAIN, validators.clone(), 0).unwrap();
        let height = || {
            let mut light = fresh();
            memory.recall(&mut light);
            light.height()
        };
        assert_eq!(height(), Height(0), "no file yet");
        memory.remember(&block).unwrap();
        assert_eq!(height(), Height(9));
        memory.remember(&light_block(2).0).unwrap();
        assert_eq!(height(), Height(0), "signed by others");
        fs::write(memory.header_path(), b"{").unwrap();
        assert_eq!(height(), Height(0), "half a file");
        memory.remember(&block).unwrap();
        assert_eq!(height(), Height(9), "overwritten");
    }

    #[test]
    fn every_record_is_a_line_that_can_be_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::new(dir.path().to_owned());
        let records = [1, 2]
            .map(|n| AuditRecord::public(ParaTimeId([3; 32]), Digest([n; 32]), Height(4), &Err(Refusal::Unavailable)));
        for record in &records {
            memory.record(record).unwrap();
        }
        let text = fs::read_to_string(dir.path().join("audit.log")).unwrap();
        let read = text.lines().map(|line| AuditRecord::decode(&hex::decode(line).unwrap()).unwrap());
        assert!(read.eq(records));
    }
}
