//! Transactions on their way into the pool, and its refusals in the words that tools look for.

use super::{Answer, Service, invalid, refused};
use crate::paratime::NotAdmitted;
use parallax_evm::error::{Code, MODULE};
use parallax_evm::eth;
use parallax_runtime::TxError;
use revm::primitives::B256;
use serde_json::{Value as Json, json};

/// The beginning of the message that other nodes give for the same reason: libraries tell errors apart by it.
fn usual_words(error: &TxError) -> Option<&'static str> {
    let evm = |code: Code| error.module == MODULE && error.code == code as u32;
    let pool = |code: u32| error.module == "pool" && error.code == code;
    let words = [
        (evm(Code::NonceUsed), "nonce too low"),
        (evm(Code::NonceAhead), "nonce too high"),
        (evm(Code::FeeTooLow), "max fee per gas less than block base fee"),
        (evm(Code::Unaffordable), "insufficient funds for gas * price + value"),
        (evm(Code::GasLimitTooHigh), "exceeds block gas limit"),
        (evm(Code::IntrinsicGas), "intrinsic gas too low"),
        (evm(Code::WrongChain), "invalid chain id"),
        (evm(Code::BadSignature), "invalid sender"),
        (evm(Code::UnsupportedType), "transaction type not supported"),
        (evm(Code::TooLarge), "oversized data"),
        (evm(Code::Malformed) || evm(Code::TrailingBytes), "rlp: the transaction cannot be decoded"),
        (evm(Code::BadInput), "invalid input proof"),
        (pool(1), "already known"),
        (pool(2), "replacement transaction underpriced"),
        (pool(3), "account limit exceeded"),
        (pool(4), "txpool is full"),
    ];
    words.into_iter().find_map(|(fits, words)| fits.then_some(words))
}

/// A refusal as Ethereum's clients know it.
pub(super) fn refusal(error: &TxError) -> eth::Error {
    refused(match usual_words(error) {
        Some(words) => format!("{words}: {}", error.message),
        None => error.message.clone(),
    })
}

/// Bytes in hexadecimal.
pub(super) fn bytes(parameters: &Json, index: usize, what: &str) -> Result<Vec<u8>, eth::Error> {
    let text = parameters.get(index).and_then(Json::as_str);
    let text = text.ok_or_else(|| invalid(format!("{what} is missing; give it in hexadecimal")))?;
    let digits = text.strip_prefix("0x").ok_or_else(|| invalid(format!("{what} does not begin with 0x")))?;
    hex::decode(digits).map_err(|e| invalid(format!("{what} is not hexadecimal: {e}")))
}

impl Service {
    /// `eth_sendRawTransaction`.
    pub(super) async fn send_raw(&self, parameters: &Json) -> Answer {
        let hash = self.submit(bytes(parameters, 0, "the transaction")?).await?;
        Ok(json!(hash.to_string()))
    }

    /// Brings a transaction into the pool and to the peers. Returns its hash.
    pub(super) async fn submit(&self, bytes: Vec<u8>) -> Result<B256, eth::Error> {
        let digest = self.host.submit(bytes.clone()).await.map_err(|error| match error {
            NotAdmitted::Refused(error) => refusal(&error),
            NotAdmitted::Busy(reason) => refused(format!("txpool is busy: {reason}")),
            NotAdmitted::Failed(error) => super::failed(error),
        })?;
        Ok(self.pending().arrived(digest, &bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(module: &str, code: u32) -> String {
        let error = TxError { module: module.to_owned(), code, message: "details".to_owned() };
        refusal(&error).message
    }

    #[test]
    fn refusals_begin_with_the_words_that_libraries_look_for() {
        for (code, expected) in [
            (Code::NonceUsed, "nonce too low: details"),
            (Code::NonceAhead, "nonce too high: details"),
            (Code::Unaffordable, "insufficient funds for gas * price + value: details"),
            (Code::IntrinsicGas, "intrinsic gas too low: details"),
            (Code::FeeTooLow, "max fee per gas less than block base fee: details"),
            (Code::GasLimitTooHigh, "exceeds block gas limit: details"),
        ] {
            assert_eq!(words(MODULE, code as u32), expected);
        }
        use crate::paratime::pool::PoolError;
        assert_eq!(words("pool", PoolError::Known.code()), "already known: details");
        assert_eq!(words("pool", PoolError::NonceTaken(1).code()), "replacement transaction underpriced: details");
        assert_eq!(words("pool", PoolError::Full.code()), "txpool is full: details");
        assert_eq!(words("other", 1), "details");
    }

    #[test]
    fn what_is_no_hexadecimal_is_named() {
        let given = |value: Json| bytes(&json!([value]), 0, "the transaction").unwrap_err();
        assert_eq!(given(json!(5)).code, -32_602);
        assert!(given(json!("02f8")).message.contains("0x"));
        assert!(given(json!("0x0g")).message.contains("not hexadecimal"));
        assert_eq!(bytes(&json!(["0x02f8"]), 0, "the transaction").unwrap(), [2, 0xf8]);
    }
}
