//! `parallax keys`: account keys, node keys and FHE key sets.

use clap::{Args, Subcommand};
use eyre::Result;
use parallax_fhe::{BackendKind, Manifest};
use parallax_genesis::{AccountKey, NodeKeys};
use parallax_localnet::{KeySet, ParaTimeKind};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make an account key and write it to a file that only its owner can read
    Account(FileArgs),
    /// Make the keys of a node
    Node(FileArgs),
    /// Show the address and public key of an account's key file
    Show(FileArgs),
    /// Make the FHE key set of a localnet, or find it in the cache (trusted dealer: this machine learns the secret key)
    Fhe(FheArgs),
}

#[derive(Debug, Args)]
pub(super) struct FileArgs {
    /// The key file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct FheArgs {
    /// Directory of the cache [default: ~/.cache/parallax/keys, or $PARALLAX_KEYS]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// The ParaTime whose key set it is: scheduler or evm
    #[arg(long, value_name = "KIND", default_value_t = ParaTimeKind::Scheduler)]
    paratime: ParaTimeKind,
}

impl KeysCommand {
    pub(super) fn run(self) -> Result<()> {
        match self {
            Self::Account(args) => {
                let key = AccountKey::generate();
                key.save(&args.file)?;
                println!("address {}\nkey     {}\nfile    {}", key.address(), key.public(), args.file.display());
            }
            Self::Node(args) => {
                let keys = NodeKeys::generate();
                keys.save(&args.file)?;
                let ethereum = keys.ethereum.address();
                println!("node     {}\nethereum {ethereum}\nfile     {}", keys.node(), args.file.display());
            }
            Self::Show(args) => {
                let key = AccountKey::load(&args.file)?;
                println!("address {}\nkey     {}", key.address(), key.public());
            }
            Self::Fhe(args) => {
                let set = KeySet::obtain(args.cache.as_deref(), args.paratime, BackendKind::default())?;
                let manifest = Manifest::load(&set.dir)?;
                println!(
                    "key id    {}\norigin    {}\ndirectory {}",
                    set.key_id,
                    manifest.origin.label(),
                    set.dir.display()
                );
                for answers in &manifest.profiles {
                    println!("backend   {}", answers.profile.backend);
                }
                for part in &manifest.parts {
                    println!("{:<22}{:>12} bytes  {}", part.role.name(), part.bytes, part.digest);
                }
            }
        }
        Ok(())
    }
}
