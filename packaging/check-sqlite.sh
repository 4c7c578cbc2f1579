#!/bin/sh
# check-sqlite.sh: with the system's SQLite in place of the one that is built in, the library links that one, and its cache does
# what it must.

set -eu
# Cargo has one name for the library with either SQLite, and takes one for the other.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/system-sqlite"
features="--no-default-features --features cli,quiet"
# shellcheck disable=SC2086  # a list of words
test_with_it() { ${CARGO:-cargo} test --quiet --locked $features "$@"; }

test_with_it --lib cache::
test_with_it --test command_cache --test disk
test_with_it --test network persistence
test_with_it --test install static_library
test_with_it --test abi
library=$CARGO_TARGET_DIR/debug/deps/libmtasts.so
readelf --dynamic --wide "$library" | grep -q 'NEEDED.*libsqlite3' || { echo "$library does not need the system's SQLite" >&2; exit 1; }
echo "check-sqlite: passed with SQLite $(pkg-config --modversion sqlite3)"
