#!/usr/bin/env bash
# Checks format, lints and documentation; every warning is an error.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo clippy --release --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps
# Licences, sources and duplicates need the lock file alone; known flaws are read from a database on GitHub, which not
# every machine reaches.
if ! cargo deny --version >/dev/null 2>&1; then
    cargo install cargo-deny --version 0.20.2 --locked
fi
cargo deny check bans licenses sources
if ! cargo deny fetch >/dev/null 2>&1; then
    echo "skipped: advisories were not checked, their database cannot be fetched from here"
else
    cargo deny check advisories
fi
