#!/bin/sh
# reproducibly.sh COMMAND...: runs cargo such that what it builds carries no path of this machine. Two builds of one version by
# the same compiler then are the same bytes, wherever they are made: in this directory or another, with crates of cargo's
# own directory or of vendor/. To be run from the directory of the sources.

set -eu
sources=$(pwd)
target=${CARGO_TARGET_DIR:-target}
case $target in /*) ;; *) target=$sources/$target ;; esac
separator=$(printf '\037')

flags=${CARGO_ENCODED_RUSTFLAGS:-}
if [ -z "$flags" ]; then
    for flag in ${RUSTFLAGS:-}; do
        flags=$flags${flags:+$separator}$flag
    done
fi
# The last one that fits counts. The directory behind /crates is what cargo calls the place of crates.io.
for pair in "$sources=/mtasts" "$target=/mtasts/target" "$sources/vendor=/crates/index.crates.io-1949cf8c6b5b557f" \
    "${CARGO_HOME:-$HOME/.cargo}/registry/src=/crates"; do
    flags=$flags${flags:+$separator}--remap-path-prefix=$pair
done
CARGO_ENCODED_RUSTFLAGS=$flags exec "$@"
