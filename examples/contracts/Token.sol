// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {FHE, externalEuint64} from "@fhevm/solidity/lib/FHE.sol";
import {ZamaEthereumConfig} from "@fhevm/solidity/config/ZamaConfig.sol";
import {ERC7984} from "@openzeppelin/confidential-contracts/token/ERC7984/ERC7984.sol";

/// A confidential token as OpenZeppelin's contracts make it, with minting for the tests.
contract Token is ZamaEthereumConfig, ERC7984 {
    constructor() ERC7984("Token", "TOK", "") {}

    /// Mints an encrypted amount.
    function mint(address to, externalEuint64 amount, bytes calldata proof) external {
        _mint(to, FHE.fromExternal(amount, proof));
    }
}
