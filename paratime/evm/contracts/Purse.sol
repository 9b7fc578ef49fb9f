// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {FHE, ebool, euint8, euint64, externalEuint64} from "@fhevm/solidity/lib/FHE.sol";
import {ZamaEthereumConfig} from "@fhevm/solidity/config/ZamaConfig.sol";

/// Encrypted balances for the tests of the EVM ParaTime: amounts are public, what anyone has is not.
contract Purse is ZamaEthereumConfig {
    mapping(address => euint64) private balances;
    euint8 private die;

    error Refused();

    /// The handle of an account's balance.
    function balanceOf(address account) external view returns (euint64) {
        return balances[account];
    }

    /// Adds to a balance.
    function mint(address to, uint64 amount) external {
        keep(to, FHE.add(balances[to], amount));
    }

    /// Adds an encrypted amount to a balance.
    function mintEncrypted(address to, externalEuint64 amount, bytes calldata proof) external {
        keep(to, FHE.add(balances[to], FHE.fromExternal(amount, proof)));
    }

    /// Moves an amount if the sender has it, and nothing if not; from outside both look the same.
    function transfer(address to, uint64 amount) external {
        euint64 mine = balances[msg.sender];
        ebool enough = FHE.ge(mine, amount);
        euint64 moved = FHE.select(enough, FHE.asEuint64(amount), FHE.asEuint64(0));
        keep(msg.sender, FHE.sub(mine, moved));
        keep(to, FHE.add(balances[to], moved));
    }

    /// Lets everyone have the sender's balance decrypted.
    function reveal() external {
        FHE.makePubliclyDecryptable(balances[msg.sender]);
    }

    /// A number below eight that nobody knows, for the sender.
    function roll() external {
        die = FHE.randEuint8(8);
        FHE.allowThis(die);
        FHE.allow(die, msg.sender);
    }

    /// The handle of the last roll.
    function lastRoll() external view returns (euint8) {
        return die;
    }

    /// Asks for an operation and takes it back.
    function addAndRevert(uint64 amount) external {
        FHE.add(balances[msg.sender], amount);
        revert Refused();
    }

    /// Asks for the same through a call that fails, and goes on.
    function tryAddAndRevert(uint64 amount) external {
        try this.addAndRevert(amount) {} catch {}
    }

    function keep(address account, euint64 value) private {
        balances[account] = value;
        FHE.allowThis(value);
        FHE.allow(value, account);
    }
}
