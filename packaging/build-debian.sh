#!/bin/sh
# Builds the Debian packages: the source package from the files of this tree and the crates that it needs, and from that
# libmtasts0, libmtasts-dev, mtasts-tools and mtasts-socketmap.
#
#   packaging/build-debian.sh [DIRECTORY]     the packages go there, by default into target/debian
#
# Crates come from the registry or from what cargo has of it; the build itself needs no network. Everything else that came
# out of it, with the source package and the debug symbols, is in DIRECTORY/build.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$root/target/debian}
features="--no-default-features --features cli,quiet"

for tool in cargo dh dpkg-buildpackage xz; do
    command -v "$tool" >/dev/null || { echo "build-debian: $tool is missing; see packaging/debian/README.source" >&2; exit 1; }
done
mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -rf "$out/build"
rm -f "$out"/*.deb
version=$(dpkg-parsechangelog -l "$root/packaging/debian/changelog" -S Version)
date=$(dpkg-parsechangelog -l "$root/packaging/debian/changelog" -S Timestamp)
upstream=${version%-*}
tree=$out/build/libmtasts-$upstream
mkdir -p "$tree"

# ---- the sources ----

cd "$root"
if [ -e .git ]; then
    git ls-files --cached --others --exclude-standard
else
    find . -path ./target -prune -o -type f -print
fi | while read -r file; do ! [ -f "$file" ] || echo "$file"; done >"$out/build/files"
tar -cf - -T "$out/build/files" | tar -xf - -C "$tree"

# Crates that only tests, benchmarks and other systems use stay as names, which Cargo.lock wants to find; so do prebuilt
# libraries of other systems. The SQLite that comes with its crate is not used.
cd "$tree"
[ -d vendor ] || cargo vendor --quiet --locked --versioned-dirs vendor >/dev/null
targets=
for machine in x86_64 aarch64 i686 powerpc64le riscv64gc s390x; do
    targets="$targets --target $machine-unknown-linux-gnu"
done
# shellcheck disable=SC2086  # lists of words
cargo tree --quiet --locked $targets --target armv7-unknown-linux-gnueabihf --edges normal,build $features \
    --prefix none --format '{p}' | sed -n 's/^\([^ ]*\) v\([^ ]*\).*/\1-\2/p' | sort -u >../needed
for directory in vendor/*; do
    if ! grep -qxF "${directory#vendor/}" ../needed; then
        find "$directory" -type f ! -path "$directory/Cargo.toml" ! -path "$directory/.cargo-checksum.json" \
            ! -iname 'licen[cs]e*' ! -iname 'copy*' ! -iname 'unlicense*' ! -iname 'notice*' -delete
        mkdir -p "$directory/src"
        : >"$directory/src/lib.rs"
    fi
done
rm -rf vendor/libsqlite3-sys-*/sqlite3/* vendor/libsqlite3-sys-*/sqlcipher vendor/vcpkg-*/test-data
# debhelper takes these for left-overs of patches.
find vendor -name '*.orig' -delete
find vendor -type d -empty -delete
# What was taken out is missing in the lists of checksums; that of the crate as a whole stays, as Cargo.lock has it.
sed -i 's/"files":{[^}]*}/"files":{}/' vendor/*/.cargo-checksum.json

tar --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime="@$date" -cf - -C .. "libmtasts-$upstream" |
    xz -T0 >"../libmtasts_$upstream.orig.tar.xz"

# ---- the packages ----

cp -R "$root/packaging/debian" debian
others=$(sed -n '/^Build-Depends:/,/^[A-Z].*:/p' debian/control | sed 's/^Build-Depends://; /^[A-Z]/d; /cargo\|rustc/d' | tr -d '\n')
dpkg-checkbuilddeps -d "${others%,}" debian/control
unchecked=
if ! dpkg-checkbuilddeps 2>/dev/null; then
    echo "build-debian: Rust is not from a package here but $(rustc --version)"
    unchecked=-d
fi
# debhelper gives the build another home, where a Rust of the user would not be found.
[ -n "${RUSTUP_HOME:-}" ] || [ ! -d "$HOME/.rustup" ] || export RUSTUP_HOME="$HOME/.rustup"
# shellcheck disable=SC2086  # one word or none
dpkg-buildpackage -us -uc $unchecked
for package in ../*.deb; do
    case $package in
    *-dbgsym_*) ;;
    *) cp "$package" "$out" ;;
    esac
done
ls "$out"/*.deb
