#!/bin/sh
# static.sh LIBRARY DIRECTORY: makes out of the compiler's static library one that can be linked beside anything else, as
# DIRECTORY/libmtasts.a, and says in DIRECTORY/private what a program needs that is linked with it. To be run from the
# directory of the sources.
#
# The compiler's has all names of all crates as global ones, those of SQLite among them, and would clash with the system's
# SQLite, with another version of it, and with other static libraries in Rust. Here only the functions of mtasts.h are.

set -eu
library=$1 directory=$2
symbols=abi/symbols.txt
object=$directory/mtasts.o
mkdir -p "$directory"
rm -f "$object" "$directory/libmtasts.a"

# What the functions need becomes one object. Its section groups are dissolved: another one's group of the same name would
# take the place of the code, whose names are local then.
# shellcheck disable=SC2046  # a list of words
"${LD:-ld}" -r --strip-debug --force-group-allocation $(sed 's/^/--undefined=/' "$symbols") -o "$object" "$library"
"${OBJCOPY:-objcopy}" --keep-global-symbols="$symbols" --strip-unneeded \
    --remove-section=.llvmbc --remove-section=.llvmcmd "$object"
"${AR:-ar}" rcsD "$directory/libmtasts.a" "$object"

requires=
if "${NM:-nm}" --undefined-only "$object" | grep -q ' sqlite3_'; then
    requires=sqlite3
fi
rm -f "$object"
libraries=$("${RUSTC:-rustc}" --print native-static-libs --crate-name nothing --crate-type staticlib \
    -o "$directory/nothing.a" - 2>&1 </dev/null | sed -n 's/^note: native-static-libs: //p')
rm -f "$directory/nothing.a"
[ -n "$libraries" ] || { echo "static.sh: the compiler does not tell its native-static-libs" >&2; exit 1; }
printf 'Requires.private: %s\nLibs.private: %s\n' "$requires" "$libraries" | sed '/: $/d' >"$directory/private"
