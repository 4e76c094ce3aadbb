#!/usr/bin/env bash
# Checks format, lints and documentation; every warning is an error.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo clippy --release --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps
if cargo deny --version >/dev/null 2>&1; then
    cargo deny check
else
    echo "skipped: cargo deny is not installed (it would read deny.toml)"
fi
