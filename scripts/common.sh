# Sourced by the scripts beside it: the build's tools and its directory. It must be run by bash.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# What a fresh Debian lacks: a C++ compiler for RocksDB and ring, libclang for RocksDB's bindings.
packages=(build-essential clang libclang-dev pkg-config)

say() { printf '%s\n' "$*" >&2; }

have_libclang() {
  [[ -n "${LIBCLANG_PATH:-}" ]] && return 0
  compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null && return 0
  compgen -G '/usr/lib/*-linux-gnu/libclang*.so*' >/dev/null && return 0
  compgen -G '/usr/lib*/libclang*.so*' >/dev/null
}

missing_tools() {
  local missing=()
  command -v cc >/dev/null || missing+=("a C compiler")
  command -v c++ >/dev/null || missing+=("a C++ compiler")
  have_libclang || missing+=("libclang")
  ((${#missing[@]} == 0)) || printf '%s, ' "${missing[@]}"
}

ensure_tools() {
  local missing
  missing=$(missing_tools)
  [[ -z "$missing" ]] && return 0
  missing=${missing%, }
  if ! command -v apt-get >/dev/null; then
    say "The build needs ${missing}. This is not a Debian system: install them with its own package manager,"
    say "then run this again. (On Debian: ${packages[*]})"
    exit 1
  fi
  local as_root=()
  if (($(id -u) != 0)); then
    # Only a sudo that asks nothing, unless someone is there to be asked.
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
      as_root=(sudo)
    else
      say "The build needs ${missing}, and this user may not install packages. Run this as root, then try again:"
      say "  apt-get update && apt-get install --yes ${packages[*]}"
      exit 1
    fi
  fi
  say "The build needs ${missing}; installing ${packages[*]}"
  # An outdated index makes the installation fail with a message of its own.
  "${as_root[@]}" apt-get update --quiet </dev/null >&2 || say "apt-get update failed; trying with the index that is there"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends "${packages[@]}" </dev/null >&2
  missing=$(missing_tools)
  if [[ -n "$missing" ]]; then
    say "After the installation the build still lacks ${missing%, }."
    exit 1
  fi
}

ensure_cargo() {
  if ! command -v cargo >/dev/null && [[ -x "${HOME:-}/.cargo/bin/cargo" ]]; then
    PATH="$HOME/.cargo/bin:$PATH"
    export PATH
  fi
  if ! command -v cargo >/dev/null; then
    say "cargo is missing. Install rustup from https://rustup.rs (it needs no root), then run this again."
    exit 1
  fi
}

# Outside the checkout where that is possible: it survives a fresh clone, and the dependencies with it.
choose_target_dir() {
  if [[ -z "${CARGO_TARGET_DIR:-}" ]]; then
    CARGO_TARGET_DIR="$root/target"
    if [[ -n "${HOME:-}" ]] && mkdir -p "$HOME/.cache/parallax/target" 2>/dev/null \
      && [[ -w "$HOME/.cache/parallax/target" ]]; then
      CARGO_TARGET_DIR="$HOME/.cache/parallax/target"
    fi
  fi
  export CARGO_TARGET_DIR
}

prepare() {
  ensure_cargo
  ensure_tools
  choose_target_dir
}
