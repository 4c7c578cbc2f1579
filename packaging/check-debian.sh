#!/bin/sh
# Checks the Debian packages: builds them, asks lintian, and uses them in fresh roots of Debian without Rust, as
# packages are used: installed, upgraded, removed, purged; their autopkgtests; and the README, line by line.
#
#   packaging/check-debian.sh [DIRECTORY]     DIRECTORY has packages that packaging/build-debian.sh built there before
#
# For root on Debian. What it needs is installed by tests/tools.sh; the roots come from the archive that apt of this
# machine uses, and are removed at the end. It stops by itself after 40 minutes.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
[ -n "${MTASTS_BOUNDED:-}" ] || exec env MTASTS_BOUNDED=1 timeout --kill-after 60 2400 "$0" "$@"

say() { printf '\n== %s (%s s)\n' "$*" "$(($(date +%s) - began))"; }
fault() {
    echo "FAULT: $*" >&2
    exit 1
}
skip() {
    echo "SKIPPED: Debian packages: $*"
    [ -z "${MTASTS_NO_SKIP:-}" ] || exit 1
    exit 0
}
began=$(date +%s)

# ---- whether this machine can ----

[ "$(id -u)" = 0 ] || skip "roots of Debian are made by root only"
command -v apt-get >/dev/null && [ "$(. /etc/os-release && echo "$ID")" = debian ] || skip "this is not Debian"
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
"$root/tests/tools.sh" packages || skip "the tools for packages cannot be installed"
sources=$(apt-get indextargets --format 'deb $(SITE) $(CODENAME) $(COMPONENT) |$(ORIGIN)' 'Created-By: Packages' |
    sed -n 's/ |Debian$//p' | sort -u)
[ -n "$sources" ] || skip "apt of this machine knows no archive of Debian"
unshare --mount --pid --net --fork true 2>/dev/null || skip "no rights for namespaces"

work=$(mktemp -d)
chmod 0755 "$work"
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 1' INT TERM

say "a fresh root of $codename"
echo "$sources" | mmdebstrap --variant=minbase --skip=cleanup/apt/lists --quiet "$codename" "$work/clean" - || skip "the archive does not answer"
! chroot "$work/clean" sh -c 'command -v cargo || command -v rustc' || fault "the fresh root has Rust"
# Nothing is started in there.
printf '#!/bin/sh\nexit 101\n' >"$work/clean/usr/sbin/policy-rc.d"
chmod 0755 "$work/clean/usr/sbin/policy-rc.d"
cp -L /etc/resolv.conf "$work/clean/etc/resolv.conf"

# ---- the packages ----

if [ -n "${1:-}" ]; then
    packages=$(cd "$1" && pwd)
else
    say "builds the packages"
    packages=$work/packages
    "$root/packaging/build-debian.sh" "$packages" >"$work/build.log" 2>&1 ||
        { tail -n 60 "$work/build.log" >&2; fault "the packages are not built"; }
    tail -n 3 "$work/build.log"
fi

say "lintian"
lintian --allow-root --fail-on error "$packages"/build/*.changes || fault "lintian finds an error"

say "debian/copyright has the licence that each crate says it has"
python3 - "$packages"/build/libmtasts-*/ <<'LICENCES' || fault "debian/copyright"
import fnmatch, pathlib, re, sys, tomllib

tree = pathlib.Path(sys.argv[1])
stanzas = []
for paragraph in (tree / "debian/copyright").read_text().split("\n\n"):
    fields = dict(re.findall(r"^(Files|License):((?:.*)(?:\n .*)*)", paragraph, re.M))
    if "Files" in fields:
        stanzas.append((fields["Files"].split(), fields["License"].split("\n")[0]))


def plain(expression):
    """One form for what SPDX and Debian write differently."""
    words = expression.lower().replace("/", " or ").replace("expat", "mit").replace("-or-later", "+")
    words = words.replace(" with llvm-exception", "-with-llvm-exception")
    return words.strip() if " and " in words else sorted(word.strip() for word in words.split(" or "))


count = faults = 0
for manifest in sorted(tree.glob("vendor/*/Cargo.toml")):
    name = str(manifest.relative_to(tree))
    declared = tomllib.loads(manifest.read_text())["package"]["license"]
    told = [licence for files, licence in stanzas if any(fnmatch.fnmatchcase(name, glob) for glob in files)][-1]
    count += 1
    if plain(declared) != plain(told):
        faults += 1
        print(f"{name} says {declared}, debian/copyright {told}")
print(f"{count} crates, {faults} faults")
sys.exit(faults > 0 or count < 100)
LICENCES

# ---- in a root ----

# new_root NAME: a copy of the fresh one.
new_root() {
    inside=$work/$1
    cp -a "$work/clean" "$inside"
    mkdir -p "$inside/root/libmtasts/target/debian" "$inside/root/tests"
    cp "$packages"/*.deb "$inside/root/libmtasts/target/debian/"
    cp "$root"/packaging/debian/tests/* "$inside/root/tests/"
}

# within COMMAND...: runs it there, with processes and mounts of its own.
within() {
    unshare --mount --pid --fork --kill-child sh -c 'mount --bind "$0" "$0" && mount -t proc proc "$0/proc" &&
        exec chroot "$0" env -i HOME=/root PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"' \
        "$inside" "$@"
}

install_packages() {
    within apt-get install -y -q "$@" >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; fault "apt cannot install $*"; }
}

owner() { within stat -c '%U %a' /var/lib/mtasts; }

expect() {
    [ "$2" = "$3" ] || fault "$1: \`$3\`, not \`$2\`"
    echo "ok: $1: $2"
}

# Every file but those of dpkg, apt and ldconfig themselves.
files() {
    (cd "$inside" && find . -xdev \( -path ./proc -o -path ./var/lib/dpkg -o -path ./var/lib/apt -o -path ./var/cache \
        -o -path ./var/log -o -path ./root -o -path ./tmp \) -prune -o -print | sort)
}

say "installed, upgraded, removed, purged"
new_root life
mkdir "$inside/root/old"
version=$(dpkg-deb -f "$packages"/libmtasts0_*.deb Version)
for package in "$packages"/*.deb; do
    dpkg-deb -R "$package" "$work/repacked"
    sed -i "s/\(Version: \|(= \)$version/\1${version}~old/" "$work/repacked/DEBIAN/control"
    dpkg-deb -b "$work/repacked" "$inside/root/old/" >/dev/null
    rm -rf "$work/repacked"
done
install_packages ca-certificates libsqlite3-dev zlib1g-dev
files >"$work/before"
install_packages --no-install-recommends $(cd "$inside" && ls -d root/old/*.deb | sed 's|^|/|')
expect "without a mail server the cache is for" "mail 750" "$(owner)"
expect "a pinned policy is answered" "pinned.example: enforce" \
    "$(within mtasts --set 'domain."pinned.example"={ mode = "enforce", mx = ["mx.pinned.example"] }' lookup pinned.example | head -n 1)"
within sh -c 'echo kept >/var/lib/mtasts/witness; chmod 0700 /var/lib/mtasts'
install_packages --no-install-recommends $(cd "$inside" && ls -d root/libmtasts/target/debian/*.deb | sed 's|^|/|')
expect "upgraded to" "$version" "$(within dpkg-query -W -f '${Version}' libmtasts0)"
expect "an upgrade leaves the directory as it is" "mail 700" "$(owner)"
expect "... and what is in it" "kept" "$(within cat /var/lib/mtasts/witness)"
within test -e /etc/systemd/system/timers.target.wants/mtasts-refresh.timer || fault "the timer is not enabled"
! within test -e /etc/systemd/system/sockets.target.wants/mtasts-socketmap.socket || fault "nobody has enabled the server's socket"
names="mtasts-socketmap mtasts-tools libmtasts-dev libmtasts0"
within apt-get remove -y -q $names >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; fault "apt cannot remove them"; }
expect "what is remembered outlives a removal" "kept" "$(within cat /var/lib/mtasts/witness)"
within dpkg --purge $names >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; fault "dpkg cannot purge them"; }
files >"$work/after"
diff "$work/before" "$work/after" || fault "a purge leaves or takes these files"
echo "ok: a purge leaves nothing"

say "a mail server that comes later gets the cache"
install_packages --no-install-recommends $(cd "$inside" && ls -d root/libmtasts/target/debian/*.deb | sed 's|^|/|')
expect "before Exim" "mail 750" "$(owner)"
install_packages --no-install-recommends exim4-daemon-heavy
expect "after Exim" "Debian-exim 750" "$(owner)"
rm -rf --one-file-system "$inside"

say "autopkgtest"
new_root autopkgtest
tree=$(ls -d "$packages"/build/libmtasts-*/)
unshare --mount --pid --fork --kill-child sh -c 'mount --bind "$0" "$0" && mount -t proc proc "$0/proc" && exec "$@"' "$inside" \
    autopkgtest --quiet --no-built-binaries --summary-file "$work/summary" "$packages"/*.deb "$tree" -- chroot "$inside" \
    >"$work/autopkgtest.log" 2>&1 || { cat "$work/autopkgtest.log" >&2; fault "autopkgtest"; }
cat "$work/summary"
expect "tests that passed" 5 "$(grep -c 'PASS' "$work/summary")"
rm -rf --one-file-system "$inside"

# ---- the README ----

# The command lines below a heading of the README.
follow() {
    awk -v heading="$1" '/^## / { on = $0 == heading } on && /^    / { sub(/^    /, ""); print }' "$root/README.md"
}

say "the README, line by line, in a root without Rust"
new_root readme
cp "$root/README.md" "$inside/root/libmtasts/"
cat >"$inside/root/selections" <<'SELECTIONS'
exim4-config exim4/dc_eximconfig_configtype select internet site; mail is sent and received directly using SMTP
exim4-config exim4/use_split_config boolean true
exim4-config exim4/dc_other_hostnames string
SELECTIONS
within debconf-set-selections /root/selections
# The small internet needs these; nobody else does.
install_packages --no-install-recommends python3 openssl iproute2
# Root is who follows, and there is no systemd to talk to.
printf '#!/bin/sh\nexec "$@"\n' >"$inside/usr/local/bin/sudo"
printf '#!/bin/sh\necho "(systemctl $*)"\n' >"$inside/usr/local/bin/systemctl"
chmod 0755 "$inside/usr/local/bin/sudo" "$inside/usr/local/bin/systemctl"
follow "## Debian packages" | grep -v '^packaging/build-debian.sh' >"$work/lines"
grep '^sudo apt ' "$work/lines" | sed 's/ apt install / apt-get install -y -q /' >"$inside/root/apt-lines"
grep -v '^sudo apt ' "$work/lines" | while read -r line; do
    printf 'echo %s\n%s\n' "'\$ $(printf '%s' "$line" | sed "s/'/'\\\\''/g")'" "$line"
done >"$inside/root/other-lines"
cat "$inside/root/apt-lines"
within sh -c 'cd /root/libmtasts && sh -e ../apt-lines' >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; fault "apt"; }
! within sh -c 'command -v cargo || command -v rustc' || fault "the packages bring Rust"
within sh -c 'cd /root/libmtasts && exec ../tests/in-world sh -e ../other-lines' >"$work/answers" 2>&1 ||
    { cat "$work/answers" >&2; fault "a line of the README fails"; }
cat "$work/answers"
answered() {
    grep -qF "$2" "$work/answers" || fault "$1 does not answer \`$2\`"
    echo "ok: $1 answers: $2"
}
answered "the command" "example.com: enforce"
answered "C" "example.com: enforce mx.example.com"
answered "Python" "ENFORCE mx.example.com"
answered "Exim" "router = mtasts, transport = remote_smtp_mtasts"

say "the Debian packages are good"
