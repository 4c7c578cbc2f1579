#!/bin/sh
# Unpacks a mail server of another Debian release with all that it needs, as a
# root of its own.
#
#   tests/mta/root.sh NAME RELEASE PACKAGE
#
# The files go to target/programs/NAME. Root is needed, and mmdebstrap. No script of
# the packages runs, and nothing of the machine changes. What is there already is
# left alone; target/programs/NAME/packages says what it is.

set -eu
[ $# = 3 ] || { sed -n '5p' "$0" >&2; exit 2; }
name=$1 release=$2 package=$3
programs=${CARGO_TARGET_DIR:-$(dirname "$0")/../../target}/programs
into=$programs/$name
[ ! -f "$into/packages" ] || exit 0

# Its own scripts want a shell and the usual programs.
around=base-files,coreutils,dash,diffutils,findutils,grep,libc-bin,mawk,perl-base,sed
mkdir -p "$programs"
rm -rf "$into.new"
mmdebstrap --quiet --variant=extract --components=main --include="$package,$around" "$release" "$into.new"
for directory in doc info locale man; do rm -rf "$into.new/usr/share/$directory"; done
find "$into.new" -type f -perm /6000 -exec chmod ug-s {} +
# What the scripts of the packages would have linked.
ln -sf mawk "$into.new/usr/bin/awk"
echo "$release $package" >"$into.new/packages"
rm -rf "$into"
mv "$into.new" "$into"
