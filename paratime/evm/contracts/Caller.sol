// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// Makes the calls that its calldata lists, as itself, and returns what came of each.
///
/// An entry is a kind (0: call, 1: static call, 2: revert with the data), a target of 20 bytes, wei (1 byte), a length
/// (3 bytes) and the data. A result is whether it succeeded (1 byte), a length (3 bytes) and the data.
contract Caller {
    fallback() external payable {
        assembly {
            let out := 0x80
            for {
                let at := 0
            } lt(at, calldatasize()) {

            } {
                let head := calldataload(at)
                let target := and(shr(88, head), 0xffffffffffffffffffffffffffffffffffffffff)
                let length := and(shr(56, head), 0xffffff)
                calldatacopy(out, add(at, 25), length)
                let ok
                switch byte(0, head)
                case 0 {
                    ok := call(gas(), target, byte(21, head), out, length, 0, 0)
                }
                case 1 {
                    ok := staticcall(gas(), target, out, length, 0, 0)
                }
                default {
                    revert(out, length)
                }
                mstore(out, shl(224, or(shl(24, ok), returndatasize())))
                returndatacopy(add(out, 4), 0, returndatasize())
                out := add(out, add(4, returndatasize()))
                at := add(at, add(25, length))
            }
            return(0x80, sub(out, 0x80))
        }
    }
}
