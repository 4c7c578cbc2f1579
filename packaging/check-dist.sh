#!/bin/sh
# check-dist.sh: what `make dist` makes is the same bytes from a clone elsewhere; unpacked in another directory it builds without
# network, and into the same bytes as `make` has built here.

set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
target=${CARGO_TARGET_DIR:-target}
without_network="unshare --net"
[ "$(id -u)" = 0 ] || without_network="unshare --map-root-user --net"
fail() { echo "check-dist: $*" >&2; exit 1; }

$without_network true || fail "a network namespace cannot be made"
make --silent --no-print-directory dist >"$work/name"
tarball=$(cat "$work/name")
name=${tarball%.tar.gz}

git clone --quiet . "$work/a-clone-elsewhere"
(cd "$work/a-clone-elsewhere" && umask 077 && TZ=Asia/Tokyo make --silent --no-print-directory dist >/dev/null)
cmp "$tarball" "$work/a-clone-elsewhere/$tarball" || fail "two clones give two tarballs"
rm -rf "$work/a-clone-elsewhere"
! tar -tzf "$tarball" | grep -v "^$name/" || fail "a file lies outside of $name"

tar -xzf "$tarball" -C "$work"
(cd "$work/$name" && unset CARGO_TARGET_DIR && CARGO_HOME=$work/no-crates-here $without_network make >"$work/said" 2>&1) ||
    { tail -n 50 "$work/said" >&2; fail "the tarball does not build without network"; }
for file in libmtasts.so mtasts mtasts-socketmap stage/libmtasts.a; do
    cmp "$target/release/$file" "$work/$name/target/release/$file" || fail "$file differs from the one built here"
    ! grep -q -a -F -e "$work" -e "$HOME/" "$work/$name/target/release/$file" || fail "$file has a path of this machine"
done
make --no-print-directory -C "$work/$name" DESTDIR="$work/root" PREFIX=/usr install >"$work/said" 2>&1 ||
    { cat "$work/said" >&2; fail "make install"; }
"$work/root/usr/bin/mtasts" --version
echo "check-dist: $tarball builds without network into the same bytes as here"
