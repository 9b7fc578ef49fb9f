//! The program `parallax`.

use clap::Parser as _;
use jsonrpsee::core::client::Error as RpcFault;
use jsonrpsee::types::ErrorObjectOwned;
use parallax_node::cli::Cli;
use parallax_node::error::{EXIT_REFUSED, Refused};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("parallax: {}", explain(&error));
            if error.downcast_ref::<Refused>().is_some() {
                return ExitCode::from(EXIT_REFUSED as u8);
            }
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes in one line. A node's refusal is shown in its own words, and a cause that repeats what is
/// there already is left out.
fn explain(error: &eyre::Report) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let refusal = match cause.downcast_ref::<RpcFault>() {
            Some(RpcFault::Call(refusal)) => Some(refusal),
            _ => cause.downcast_ref::<ErrorObjectOwned>(),
        };
        let words = refusal.map_or_else(|| cause.to_string(), |refusal| refusal.message().to_owned());
        if text.is_empty() {
            text = words;
        } else if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use eyre::WrapErr as _;

    #[test]
    fn a_nodes_refusal_is_said_once_in_its_own_words() {
        let refusal = RpcFault::Call(ErrorObjectOwned::owned(11, "gas_price 0 is too low", None::<()>));
        assert_eq!(explain(&eyre::Report::new(refusal)), "gas_price 0 is too low");
        let refusal = RpcFault::Call(ErrorObjectOwned::owned(11, "gas_price 0 is too low", None::<()>));
        let error = Err::<(), _>(refusal).wrap_err("--gas-price").unwrap_err();
        assert_eq!(explain(&error), "--gas-price: gas_price 0 is too low");
    }
}
