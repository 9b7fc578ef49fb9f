//! What key managers do for contracts and their users: attest inputs, decrypt in public, decrypt for a user. Nothing
//! that they say is believed because they say it: signatures are held against the signers that the chain's verifiers
//! accept, sealed answers against the key managers of the ParaTime.

use crate::abi::Method;
use crate::chain::{EvmClient, POLL, Request, answer_fault};
use crate::error::{Error, argument};
use crate::value::{Value, type_of};
use crate::wallet::Wallet;
use alloy_dyn_abi::DynSolValue;
use jsonrpsee::core::client::Error as RpcFault;
use parallax_evm::host::{INPUT_VERIFIER, KMS_VERIFIER, Verifier};
use parallax_evm::permit::{Pair, Permit, SignedPermit};
use parallax_evm::{decryption, input, signature};
use parallax_kms::{OpenError, open_evm_answer};
use parallax_primitives::seal;
use parallax_primitives::{Address as Account, Digest, EthereumSignature, Height};
use parallax_rpc::types::{InputAttestation, PublicValues};
use parallax_rpc::{Client, ErrorCode, Hex, KmsApiClient as _, NodeApiClient as _, error_code};
use parallax_runtime::decryption::SignedAnswer;
use revm::primitives::{Address, B256};
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Blocks after which a key manager has seen what the chain had when it was asked: the state after a block is proven by
/// the header of the next one, and a node may be a block behind.
const BLOCKS_TO_PROVE: u64 = 3;
/// How long a key manager may take for these blocks.
const FINAL_LIMIT: Duration = Duration::from_secs(60);
const USER_DECRYPT: &str = "kms_user_decrypt_for";
/// How many days a permit holds unless its user says otherwise.
pub const PERMIT_DAYS: u64 = 1;

/// A public decryption, with what makes a contract believe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicDecryption {
    /// The values, in the order of the handles.
    pub values: Vec<Value>,
    /// The values as words of the ABI, one after the other: the second argument of `FHE.checkSignatures`.
    pub plaintexts: Vec<u8>,
    /// The signatures of the key managers: its third argument.
    pub proof: Vec<u8>,
}

/// A handle with a contract that may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The handle.
    pub handle: B256,
    /// The contract.
    pub contract: Address,
}

/// Signatures of different accepted signers over the same statement.
#[derive(Default)]
struct Signatures {
    signers: BTreeSet<Address>,
    signatures: Vec<Vec<u8>>,
}

impl Signatures {
    /// Takes a signature if one of the verifier's signers made it.
    fn take(
        &mut self,
        manager: &Client,
        verifier: &Verifier,
        contract: Address,
        (digest, signature): (B256, &EthereumSignature),
    ) -> Result<(), Error> {
        let signer = signature::signer(&digest, signature).unwrap_or_default();
        if !verifier.signers.contains(&signer) {
            return Err(Error::OtherSigner { endpoint: manager.endpoint().to_owned(), signer, verifier: contract });
        }
        if self.signers.insert(signer) {
            self.signatures.push(signature.0.to_vec());
        }
        Ok(())
    }

    fn enough(&self, verifier: &Verifier) -> bool {
        u64::try_from(self.signatures.len()).is_ok_and(|count| count >= verifier.threshold)
    }
}

fn too_few(given: usize, needed: u64, last: Option<Error>) -> Error {
    let needed = usize::try_from(needed).unwrap_or(usize::MAX);
    match last {
        // With one key manager its own words say most.
        Some(error) if needed == 1 => error,
        last => Error::TooFew { given, needed, last: last.map_or_else(|| "none".to_owned(), |e| e.to_string()) },
    }
}

/// Handles, as the interface of a node writes them.
fn digests(handles: &[B256]) -> Vec<Digest> {
    handles.iter().map(|handle| Digest(handle.0)).collect()
}

impl EvmClient {
    /// Domain, signers and threshold of a verifying contract, as the chain has them.
    async fn verifier(&self, contract: Address, signers: &str) -> Result<Verifier, Error> {
        let ask = |signature: String| async move {
            let method = Method::parse(&signature)?;
            let calldata = method.arguments(&[])?.encode(&[], &[])?;
            let output = self.call(Address::ZERO, &Request::call(contract, calldata), None).await?;
            method.returned(&output)
        };
        let wrong = || answer_fault(&self.ethereum, "eth_call", format!("{contract} is no verifier"));
        let domain = ask("eip712Domain()(bytes1,string,string,uint256,address,bytes32,uint256[])".to_owned()).await?;
        let (Some(DynSolValue::Uint(chain_id, _)), Some(DynSolValue::Address(named))) = (domain.get(3), domain.get(4))
        else {
            return Err(wrong());
        };
        let list = ask(format!("{signers}()(address[])")).await?;
        let [DynSolValue::Array(list)] = list.as_slice() else { return Err(wrong()) };
        let threshold = ask("getThreshold()(uint256)".to_owned()).await?;
        let [DynSolValue::Uint(threshold, _)] = threshold.as_slice() else { return Err(wrong()) };
        Ok(Verifier {
            contract: *named,
            chain_id: chain_id.saturating_to(),
            signers: list.iter().filter_map(DynSolValue::as_address).collect(),
            threshold: threshold.saturating_to(),
        })
    }

    fn some_managers(&self) -> Result<&[Client], Error> {
        if self.managers.is_empty() {
            return Err(argument("no key manager is named; give the URL of one's RPC server"));
        }
        Ok(&self.managers)
    }

    /// Asks a key manager, again while what it is asked about may be on its way to a header that it has verified, and
    /// while it is busy. A refusal after that is its answer.
    async fn ask_manager<T, F: Future<Output = Result<T, RpcFault>>>(
        &self,
        manager: &Client,
        question: impl Fn(Client) -> F,
    ) -> Result<T, Error> {
        let seen = Height(self.node.health().await?.height.0.saturating_add(BLOCKS_TO_PROVE));
        let begun = Instant::now();
        loop {
            let error = match question(manager.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !matches!(error, RpcFault::Call(_)) || begun.elapsed() >= FINAL_LIMIT {
                return Err(error.into());
            }
            let passing = matches!(error_code(&error), Some(ErrorCode::Busy | ErrorCode::NotReady));
            if !passing && manager.health().await?.height >= seen {
                // It may have learnt of the last of these blocks after it refused.
                return Ok(question(manager.clone()).await?);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The proof that a contract takes for the handles of an input that is in a block: signatures of enough key managers
    /// over handles, user, contract and chain.
    ///
    /// # Errors
    /// If too few of them attest.
    pub async fn attest(
        &self,
        input: B256,
        handles: &[B256],
        contract: Address,
        user: Address,
    ) -> Result<Vec<u8>, Error> {
        let verifier = self.verifier(INPUT_VERIFIER, "getCoprocessorSigners").await?;
        let (mut found, mut extra, mut last) = (Signatures::default(), None::<Vec<u8>>, None);
        let (paratime, tx) = (self.paratime, Digest(input.0));
        for manager in self.some_managers()? {
            let question = |manager: Client| async move { manager.attest_input(paratime, tx).await };
            let answer: InputAttestation = match self.ask_manager(manager, question).await {
                Ok(answer) => answer,
                Err(error) => {
                    last = Some(error);
                    continue;
                }
            };
            let said = extra.get_or_insert_with(|| answer.extra.0.clone()).clone();
            if answer.handles != digests(handles) || answer.extra.0 != said {
                last = Some(answer_fault(manager, "kms_attest_input", "it attests something else"));
                continue;
            }
            let digest = input::attestation(&verifier, handles, user, contract, self.chain_id, &said);
            match found.take(manager, &verifier, INPUT_VERIFIER, (digest, &answer.signature)) {
                Ok(()) if found.enough(&verifier) => return Ok(input::proof(handles, &found.signatures, &said)),
                Ok(()) => {}
                Err(error) => last = Some(error),
            }
        }
        Err(too_few(found.signatures.len(), verifier.threshold, last))
    }

    /// Decrypts what was made publicly decryptable. The values are those that enough key managers signed.
    ///
    /// # Errors
    /// If a handle is none, or too few key managers decrypt.
    pub async fn public_decrypt(&self, handles: &[B256]) -> Result<PublicDecryption, Error> {
        let kinds = handles.iter().map(type_of).collect::<Result<Vec<_>, _>>()?;
        let verifier = self.verifier(KMS_VERIFIER, "getKmsSigners").await?;
        let (mut found, mut first, mut last) = (Signatures::default(), None::<(Vec<u8>, Vec<u8>)>, None);
        let paratime = self.paratime;
        for manager in self.some_managers()? {
            let question = |manager: Client| {
                let handles = digests(handles);
                async move { manager.public_decrypt(paratime, handles).await }
            };
            let answer = match self.ask_manager(manager, question).await {
                Ok(answer) => answer,
                Err(error) => {
                    last = Some(error);
                    continue;
                }
            };
            let PublicValues { plaintexts: Hex(plaintexts), signature, extra: Hex(extra), .. } = answer;
            let digest = decryption::digest(&verifier, handles, &plaintexts, &extra);
            let statement = (plaintexts, extra);
            if *first.get_or_insert_with(|| statement.clone()) != statement {
                last = Some(answer_fault(manager, "kms_public_decrypt", "it decrypts to something else than another"));
                continue;
            }
            match found.take(manager, &verifier, KMS_VERIFIER, (digest, &signature)) {
                Err(error) => last = Some(error),
                Ok(()) if !found.enough(&verifier) => {}
                Ok(()) => {
                    let words: Vec<B256> = statement.0.chunks_exact(32).map(B256::from_slice).collect();
                    let fits = words.len() == kinds.len() && statement.0.len() == 32 * words.len();
                    let values = kinds.iter().zip(&words).map(|(kind, word)| Value::from_word(*kind, word));
                    let values: Result<Vec<Value>, Error> = values.collect();
                    let values = values.ok().filter(|_| fits);
                    return Ok(PublicDecryption {
                        values: values.ok_or_else(|| {
                            answer_fault(manager, "kms_public_decrypt", "its words do not fit the types of the handles")
                        })?,
                        plaintexts: statement.0,
                        proof: decryption::proof(&found.signatures, &statement.1),
                    });
                }
            }
        }
        Err(too_few(found.signatures.len(), verifier.threshold, last))
    }

    /// Decrypts for a user what the access control list lets it see. The user signs a permit for the contracts, valid for
    /// [`PERMIT_DAYS`], with a fresh key to which the answers are sealed; nobody else can read them. With a `delegator`
    /// the right of that account counts, which it has delegated to the user.
    ///
    /// # Errors
    /// If a handle is none, a key manager refuses, or an answer does not hold.
    pub async fn user_decrypt(
        &self,
        user: &Wallet,
        delegator: Option<Address>,
        values: &[Held],
    ) -> Result<Vec<Value>, Error> {
        let kinds = values.iter().map(|held| type_of(&held.handle)).collect::<Result<Vec<_>, _>>()?;
        let domain = self.verifier(KMS_VERIFIER, "getKmsSigners").await?.contract;
        let (opening, sealing) = seal::generate(&mut rand::rngs::OsRng);
        let account = |address: Address| Account(address.into_array());
        let contracts: BTreeSet<Account> = values.iter().map(|held| account(held.contract)).collect();
        let permit = Permit {
            public_key: sealing,
            contracts: contracts.into_iter().collect(),
            delegator: delegator.map(account),
            start: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            days: PERMIT_DAYS,
            extra: Vec::new(),
        };
        let signature = user.sign(permit.digest(self.chain_id, &account(domain)))?;
        let pair = |held: &Held| Pair { handle: Digest(held.handle.0), contract: account(held.contract) };
        let pairs = values.iter().map(pair).collect();
        let signed = SignedPermit { permit, user: account(user.address()), pairs, signature };
        // Asked first, a request that cannot be granted gets an answer without waiting for it.
        signed.check(self.chain_id, &account(domain)).map_err(|e| argument(e.to_string()))?;

        let paratime = self.paratime;
        let (mut answers, mut last) = (vec![Vec::new(); values.len()], None);
        for manager in self.some_managers()? {
            let question = |manager: Client| {
                let signed = signed.clone();
                async move { manager.user_decrypt_for(paratime, signed).await }
            };
            match self.ask_manager(manager, question).await.and_then(|list| self.genuine(manager, list)) {
                Err(error) => last = Some(error),
                Ok(list) if list.len() != values.len() => {
                    last = Some(answer_fault(manager, USER_DECRYPT, "it has another number of answers than values"));
                }
                Ok(list) => answers.iter_mut().zip(list).for_each(|(of_value, answer)| of_value.push(answer)),
            }
        }
        let mut opened = Vec::with_capacity(values.len());
        for ((of_value, pair), kind) in answers.iter().zip(&signed.pairs).zip(kinds) {
            let handle = B256::from(pair.handle.0);
            let (managers, chain) = (&self.keys.managers, self.chain);
            let blocks = match open_evm_answer(&opening, self.paratime, &signed, pair, of_value, managers, chain) {
                Ok(blocks) => blocks,
                Err(OpenError::TooFew { equal, needed }) => {
                    return Err(too_few(equal, u64::try_from(needed).unwrap_or(u64::MAX), last));
                }
                Err(error) => return Err(Error::Unopened { handle, reason: error.to_string() }),
            };
            let value = Value::from_blocks(kind, &blocks);
            opened.push(value.map_err(|e| Error::Unopened { handle, reason: e.to_string() })?);
        }
        Ok(opened)
    }

    /// Answers, if a key manager of this ParaTime signed all of them: what anyone else says is not counted, and does not
    /// stand in the way of the others.
    fn genuine(&self, manager: &Client, answers: Vec<SignedAnswer>) -> Result<Vec<SignedAnswer>, Error> {
        if answers.iter().all(|answer| answer.verify(self.chain, &self.keys.managers)) {
            return Ok(answers);
        }
        Err(answer_fault(manager, USER_DECRYPT, "the key managers of this chain and epoch did not sign it"))
    }
}
