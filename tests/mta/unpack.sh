#!/bin/sh
# Unpacks Debian packages that cannot be installed beside each other: the mail
# servers of the tests.
#
#   tests/mta/unpack.sh NAME PACKAGE...
#
# The files go to target/programs/NAME, with their owners, so that root is needed,
# and without the set-id bits. No script of the packages runs, and nothing of the
# machine changes. What is there already is left alone, unless apt has other
# versions; target/programs/NAME/packages says which they are, a line each.

set -eu
[ $# -ge 2 ] || { sed -n '5p' "$0" >&2; exit 2; }
name=$1
shift
programs=${CARGO_TARGET_DIR:-$(dirname "$0")/../../target}/programs
into=$programs/$name

versions() {
    apt-cache show --no-all-versions "$@" 2>/dev/null | awk '/^Package: / { package = $2 } /^Version: / { print package, $2 }'
}
wanted=$(versions "$@")
# A fresh machine has no lists, and apt forgets where it never had any.
if [ "$(printf '%s\n' "$wanted" | grep -c .)" != $# ]; then
    apt-get update -qq
    wanted=$(versions "$@")
fi
if [ -f "$into/packages" ] && [ "$(cat "$into/packages")" = "$wanted" ]; then exit 0; fi

mkdir -p "$programs"
rm -rf "$into.new"
mkdir -m 0755 "$into.new"
into_new=$(cd "$into.new" && pwd)
download() { (cd "$into_new" && apt-get download -qq -o APT::Sandbox::User=root "$@"); }
# The lists may name a version that the mirror has replaced since.
download "$@" || { apt-get update -qq && wanted=$(versions "$@") && download "$@"; }
for package in "$into_new"/*.deb; do
    dpkg -x "$package" "$into_new"
    rm "$package"
done
find "$into_new" -type f -perm /6000 -exec chmod ug-s {} +
printf '%s\n' "$wanted" >"$into_new/packages"
rm -rf "$into"
mv "$into_new" "$into"
