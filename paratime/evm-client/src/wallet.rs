//! The key of an account of the EVM, and where it comes from.

use crate::error::{Error, argument};
use parallax_primitives::{EthereumKey, EthereumSignature};
use revm::primitives::{Address, B256, U256};
use std::fmt;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use zeroize::Zeroizing;

/// The first ten keys of the development mnemonic that Hardhat and Anvil use (`test test test test test test test test
/// test test test junk`, path `m/44'/60'/0'/0/n`). Everyone knows them: they protect nothing.
const DEVELOPMENT_KEYS: [&str; 10] = [
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    "47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    "8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
    "92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
    "4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
    "dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97",
    "2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6",
];
/// Largest key file, in bytes: the digits of a key, and room for white space.
const MAX_KEY_FILE: u64 = 1_024;

/// A signature as transactions carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// r.
    pub r: U256,
    /// s, in the lower half of the order.
    pub s: U256,
    /// Whether y is odd.
    pub odd: bool,
}

/// The secret key of an account. Wiped when dropped; never shown.
#[derive(Clone)]
pub struct Wallet(EthereumKey);

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wallet(of {})", self.address())
    }
}

impl Wallet {
    /// A fresh key from the operating system's randomness.
    pub fn generate() -> Self {
        Self(EthereumKey::generate())
    }

    /// A key by its 64 hexadecimal digits, with or without `0x`.
    ///
    /// # Errors
    /// If that is no key of secp256k1. The text does not repeat it.
    pub fn from_hex(text: &str) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        let digits = text.trim();
        hex::decode_to_slice(digits.strip_prefix("0x").unwrap_or(digits), bytes.as_mut())
            .map_err(|_| argument("a secret key is 0x and 64 hexadecimal digits"))?;
        EthereumKey::from_bytes(&bytes).map(Self).ok_or_else(|| argument("these 32 bytes are no key of secp256k1"))
    }

    /// The n-th account of the development mnemonic, 0 to 9.
    ///
    /// # Errors
    /// If n is above 9.
    pub fn development(n: usize) -> Result<Self, Error> {
        let key = DEVELOPMENT_KEYS.get(n);
        Self::from_hex(key.ok_or_else(|| argument(format!("there are dev-0 to dev-9, no dev-{n}")))?)
    }

    /// The development account that is called `dev-0` to `dev-9`; `None` if the text is no such name.
    ///
    /// # Errors
    /// If the number is above 9.
    pub fn named(name: &str) -> Option<Result<Self, Error>> {
        let digits = name.strip_prefix("dev-")?;
        Some(match digits.parse() {
            Ok(n) => Self::development(n),
            Err(_) => Err(argument(format!("{name:?} names no account; there are dev-0 to dev-9"))),
        })
    }

    /// Reads a file that holds a key in hexadecimal and nothing else.
    ///
    /// # Errors
    /// If it cannot be read, others than its owner may read it, or it holds something else.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let fault = |what| {
            let path = path.to_owned();
            move |reason: String| Error::File { what, path, reason }
        };
        let of_system = |e: std::io::Error| e.to_string();
        let about = fs::metadata(path).map_err(of_system).map_err(fault("open"))?;
        let mode = about.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let reason = format!("its mode is {mode:o}, so others can read the key; run chmod 600 on it");
            return Err(fault("use")(reason));
        }
        if about.len() > MAX_KEY_FILE {
            return Err(fault("use")(format!("it is larger than {MAX_KEY_FILE} bytes; a key file holds a key alone")));
        }
        let text = Zeroizing::new(fs::read(path).map_err(of_system).map_err(fault("read"))?);
        let text = std::str::from_utf8(&text).map_err(|_| fault("use")("it is no text".to_owned()))?;
        Self::from_hex(text).map_err(|e| fault("use")(e.to_string()))
    }

    /// Writes the key to a new file that its owner alone can read.
    ///
    /// # Errors
    /// If there is a file already, or it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let fault = |what| {
            let path = path.to_owned();
            move |e: std::io::Error| Error::File { what, path, reason: e.to_string() }
        };
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fault("create"))?;
        let digits = Zeroizing::new(hex::encode(self.0.to_bytes().as_ref()));
        let text = Zeroizing::new(format!("0x{}\n", *digits));
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fault("write"))
    }

    /// The account's address.
    pub fn address(&self) -> Address {
        Address::from(self.0.address().0)
    }

    /// Signs a digest: r, s and v (27 or 28), as contracts take it.
    ///
    /// # Errors
    /// If the digest leads to no signature, which no digest does that anyone could find.
    pub fn sign(&self, digest: B256) -> Result<EthereumSignature, Error> {
        self.0.sign(&digest.0).ok_or_else(|| argument("this digest leads to no signature"))
    }

    /// Signs a digest for a transaction.
    ///
    /// # Errors
    /// As [`Wallet::sign`].
    pub fn sign_parts(&self, digest: B256) -> Result<Signed, Error> {
        let EthereumSignature(bytes) = self.sign(digest)?;
        let (r, s) = (U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]));
        Ok(Signed { r, s, odd: bytes[64] == 28 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parallax_evm::params::DEVELOPMENT_ACCOUNTS;

    #[test]
    fn the_development_keys_are_those_of_the_funded_accounts() {
        for (n, address) in DEVELOPMENT_ACCOUNTS.iter().enumerate() {
            assert_eq!(Wallet::development(n).unwrap().address(), address.parse::<Address>().unwrap(), "dev-{n}");
        }
        assert_eq!(Wallet::development(10).unwrap_err().to_string(), "there are dev-0 to dev-9, no dev-10");
        assert!(Wallet::named("key.txt").is_none());
        let error = Wallet::named("dev-x").unwrap().unwrap_err();
        assert_eq!(error.to_string(), "\"dev-x\" names no account; there are dev-0 to dev-9");
    }

    #[test]
    fn a_key_file_is_private_and_an_error_does_not_repeat_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alice");
        let wallet = Wallet::generate();
        wallet.save(&path).unwrap();
        assert_eq!(Wallet::load(&path).unwrap().address(), wallet.address());
        assert!(wallet.save(&path).unwrap_err().to_string().starts_with("cannot create"), "nothing is overwritten");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Wallet::load(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");

        let other = dir.path().join("other");
        fs::write(&other, "0xsecretsecret").unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
        let error = Wallet::load(&other).unwrap_err().to_string();
        assert!(error.contains("64 hexadecimal digits") && !error.contains("secretsecret"), "{error}");
    }

    #[test]
    fn a_wallet_shows_its_address_and_nothing_else() {
        let shown = format!("{:?}", Wallet::development(0).unwrap());
        assert!(shown.to_lowercase().contains("f39fd6e51aad88f6f4ce6ab8827279cfffb92266"), "{shown}");
        assert!(!shown.contains("ac0974"), "{shown}");
    }
}
