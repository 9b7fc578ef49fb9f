//! Methods of Hardhat and Anvil for development: each that changes something is a transaction like any other, and is
//! answered when a block has it.

use super::chain::EvmChain;
use super::{Answer, Service, limits, refused};
use parallax_evm::developer::{self, Request, Submission};
use parallax_evm::eth::{self, Chain as _};
use parallax_evm::state;
use rand::RngCore as _;
use rand::rngs::OsRng;
use revm::primitives::Address;
use serde_json::{Value as Json, json};

/// The methods; [`parallax_evm::developer`] says what each does.
pub(super) const METHODS: [&str; 60] = [
    "evm_increaseTime",
    "evm_mine",
    "evm_revert",
    "evm_setAccountNonce",
    "evm_setAutomine",
    "evm_setBlockGasLimit",
    "evm_setIntervalMining",
    "evm_setNextBlockTimestamp",
    "evm_setTime",
    "evm_snapshot",
    "anvil_autoImpersonateAccount",
    "anvil_dropAllTransactions",
    "anvil_dropTransaction",
    "anvil_dumpState",
    "anvil_getAutomine",
    "anvil_getIntervalMining",
    "anvil_impersonateAccount",
    "anvil_increaseTime",
    "anvil_loadState",
    "anvil_mine",
    "anvil_removeBlockTimestampInterval",
    "anvil_removePoolTransactions",
    "anvil_reorg",
    "anvil_reset",
    "anvil_revert",
    "anvil_rollback",
    "anvil_setAutoMine",
    "anvil_setBalance",
    "anvil_setBlockTimestampInterval",
    "anvil_setChainId",
    "anvil_setCode",
    "anvil_setCoinbase",
    "anvil_setIntervalMining",
    "anvil_setLoggingEnabled",
    "anvil_setMinGasPrice",
    "anvil_setNextBlockBaseFeePerGas",
    "anvil_setNonce",
    "anvil_setRpcUrl",
    "anvil_setStorageAt",
    "anvil_setTime",
    "anvil_snapshot",
    "anvil_stopImpersonatingAccount",
    "hardhat_addCompilationResult",
    "hardhat_dropTransaction",
    "hardhat_getAutomine",
    "hardhat_getStackTraceFailuresCount",
    "hardhat_impersonateAccount",
    "hardhat_intervalMine",
    "hardhat_mine",
    "hardhat_reset",
    "hardhat_setBalance",
    "hardhat_setCode",
    "hardhat_setCoinbase",
    "hardhat_setLoggingEnabled",
    "hardhat_setMinGasPrice",
    "hardhat_setNextBlockBaseFeePerGas",
    "hardhat_setNonce",
    "hardhat_setPrevRandao",
    "hardhat_setStorageAt",
    "hardhat_stopImpersonatingAccount",
];

impl Service {
    /// Carries out a developer's method.
    pub(super) async fn control(&self, method: &str, parameters: &Json) -> Answer {
        let chain_id = {
            let chain = EvmChain(&self.host);
            let view = chain.newest()?;
            if !developer::is_enabled(&*view)? {
                let message = format!("the method {method} does not exist on this chain: it is for localnets alone");
                return Err(eth::Error { code: -32_601, message, data: None });
            }
            state::params(&*view)?.chain_id
        };
        let mut salt = [0; 32];
        OsRng.fill_bytes(&mut salt);
        match developer::request(chain_id, method, parameters, salt) {
            None => Err(eth::Error { code: -32_601, message: format!("there is no method {method}"), data: None }),
            Some(request) => match request? {
                Request::Answer(answer) => Ok(answer),
                Request::Submit(submission) => {
                    self.submit(submission.bytes.clone()).await?;
                    if submission.sends {
                        Ok(json!(submission.hash.to_string()))
                    } else {
                        self.carried_out(&submission).await
                    }
                }
            },
        }
    }

    /// Whether anyone may send in an account's name.
    pub(super) fn impersonated(&self, address: &Address) -> Result<bool, eth::Error> {
        let chain = EvmChain(&self.host);
        let view = chain.newest()?;
        Ok(developer::is_enabled(&*view)? && developer::is_impersonated(&*view, address)?)
    }

    /// What came of a method, as soon as a block has it.
    async fn carried_out(&self, submission: &Submission) -> Answer {
        let mut rounds = self.host.rounds();
        let wait = async {
            loop {
                let answer = tokio::task::block_in_place(|| {
                    Ok::<_, eth::Error>(submission.answer(&*EvmChain(&self.host).newest()?))
                })?;
                if let Some(answer) = answer {
                    return answer;
                }
                rounds.changed().await.map_err(|_| refused("the node is ending"))?;
            }
        };
        let late = || {
            let seconds = limits::CONTROL_WAIT.as_secs();
            refused(format!(
                "no block has carried it out within {seconds} s; it may still happen, so look before you repeat it"
            ))
        };
        tokio::time::timeout(limits::CONTROL_WAIT, wait).await.map_err(|_| late())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `docs/contracts.md` says of the methods.
    const GUIDE: &str = include_str!("../../../docs/contracts.md");

    #[test]
    fn every_method_does_something_or_says_why_not_and_the_guide_names_it() {
        for method in METHODS {
            let request = developer::request(31_337, method, &json!([]), [0; 32]);
            assert!(request.is_some(), "{method} is registered, and nobody knows it");
            let (_, name) = method.split_once('_').unwrap();
            assert!(GUIDE.contains(&format!("`{name}`")), "the guide does not name {method}");
        }
    }
}
