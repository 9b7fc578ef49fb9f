//! `parallax verify`: a proof bundle against a root of trust, without a node.

use super::print_json;
use crate::light;
use clap::Args;
use eyre::{Result, WrapErr as _, bail};
use parallax_consensus_app::light::{LightClient, ProofBundle};
use parallax_genesis::GenesisDocument;
use parallax_localnet::Plan;
use parallax_localnet::localnet::DEFAULT_DIR;
use parallax_primitives::{ChainContext, Digest};
use parallax_state::Value;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Largest bundle read, in bytes of JSON.
const MAX_BUNDLE_JSON: u64 = 8 * 1024 * 1024;

/// What is verified.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// File with the bundle that `parallax query proof` printed [default: standard input]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
}

/// What is trusted.
#[derive(Debug, Args)]
pub(super) struct TrustArgs {
    /// Genesis document to trust [default: that of the localnet in .parallax/localnet]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["chain", "validators_hash"])]
    genesis: Option<PathBuf>,
    /// Chain context to trust, together with --validators-hash
    #[arg(long, requires = "validators_hash")]
    chain: Option<Digest>,
    /// Hash of the validator set to trust, together with --chain
    #[arg(long, requires = "chain")]
    validators_hash: Option<Digest>,
}

impl VerifyArgs {
    pub(super) fn run(self) -> Result<()> {
        let trust = self.trust.light()?;
        let (name, text) = self.read()?;
        let bundle: ProofBundle = serde_json::from_str(&text).wrap_err_with(|| format!("{name} is no proof bundle"))?;
        let verified = bundle.verify(&trust).wrap_err("the proof does not hold")?;
        let value = match &verified.value {
            None => serde_json::Value::Null,
            Some(Value::Plain(bytes)) => serde_json::json!({ "plain": format!("0x{}", hex::encode(bytes)) }),
            Some(Value::Cipher(c)) => {
                serde_json::json!({ "cipher": c.digest, "key_id": c.key_id, "blocks": c.blocks })
            }
        };
        print_json(&serde_json::json!({
            "verified": true,
            "height": verified.height,
            "time_ms": verified.time_ms,
            "paratime": verified.paratime.map(|(id, _)| id),
            "round": verified.paratime.map(|(_, round)| round),
            "key": format!("0x{}", hex::encode(&verified.key)),
            "present": verified.value.is_some(),
            "value": value,
        }))
    }

    fn read(&self) -> Result<(String, String)> {
        let mut text = String::new();
        let name = match &self.bundle {
            Some(path) => {
                let file = std::fs::File::open(path).wrap_err_with(|| format!("cannot open {}", path.display()))?;
                file.take(MAX_BUNDLE_JSON).read_to_string(&mut text)?;
                path.display().to_string()
            }
            None => {
                std::io::stdin().lock().take(MAX_BUNDLE_JSON).read_to_string(&mut text)?;
                "standard input".to_owned()
            }
        };
        Ok((name, text))
    }
}

impl TrustArgs {
    /// The root of trust.
    pub(super) fn light(&self) -> Result<LightClient> {
        if let (Some(chain), Some(hash)) = (self.chain, self.validators_hash) {
            return Ok(LightClient::from_validators_hash(ChainContext(chain), hash));
        }
        let path = match (&self.genesis, Plan::load(Path::new(DEFAULT_DIR))?) {
            (Some(path), _) => path.clone(),
            (None, Some(plan)) => plan.genesis(),
            (None, None) => {
                bail!("nothing to trust: give --genesis FILE, or --chain with --validators-hash")
            }
        };
        light::from_genesis(&GenesisDocument::load(&path)?)
    }
}
