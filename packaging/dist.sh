#!/bin/sh
# dist.sh: makes mtasts-VERSION.tar.gz in the directory of the sources, out of what is committed there and of all crates that
# Cargo.lock names. Whoever unpacks it builds without network. One commit gives the same bytes anywhere.

set -eu
umask 022
export LC_ALL=C TZ=UTC
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=mtasts-$version
git rev-parse --verify --quiet HEAD >/dev/null || { echo "dist.sh: not a clone of the repository" >&2; exit 1; }
changed=$(git status --porcelain --untracked-files=no)
[ -z "$changed" ] || { printf 'dist.sh: not committed:\n%s\n' "$changed" >&2; exit 1; }
time=$(git log -1 --format=%ct)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git archive --prefix="$name/" HEAD | tar -x -C "$work"
rm -rf "$work/$name/.ci"
"${CARGO:-cargo}" vendor --quiet --locked --versioned-dirs "$work/$name/vendor" >/dev/null
# Crates for Windows are asked for and never built here. Of each enough stays to be asked for; the rest, with compiled files, is
# a third of it all.
for crate in "$work/$name"/vendor/winapi-* "$work/$name"/vendor/windows[-_]*; do
    find "$crate" -mindepth 1 -type d -prune -exec rm -rf {} +
    mkdir "$crate/src"
    echo "// Left out: it is for Windows only." >"$crate/src/lib.rs"
    sed 's/.*\("package":"[0-9a-f]*"\).*/{"files":{},\1}/' "$crate/.cargo-checksum.json" >"$work/checksum"
    cat "$work/checksum" >"$crate/.cargo-checksum.json"
done
cat >>"$work/$name/.cargo/config.toml" <<'END'

# The crates come from vendor/, so that nothing is asked of the network.
[source.crates-io]
replace-with = "vendor"

[source.vendor]
directory = "vendor"
END
tar -c -C "$work" --format=gnu --sort=name --mtime="@$time" --owner=0 --group=0 --numeric-owner \
    --mode=u=rwX,go=rX "$name" | gzip -n -9 >"$work/tarball"
cat "$work/tarball" >"$name.tar.gz"
echo "$name.tar.gz"
