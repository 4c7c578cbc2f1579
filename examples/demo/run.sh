#!/bin/sh
# Shows libmtasts at work on a small internet of its own: a DNS server and an HTTPS server on loopback, with a
# throw-away certificate authority. Nothing outside is asked, nothing on the machine is touched.
#
#   examples/demo/run.sh DIRECTORY     where libmtasts.so, mtasts and mtasts-world have been built
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
built=$(cd "${1:?usage: run.sh DIRECTORY}" && pwd)

work=$(mktemp -d)
world=
finish() {
    exec 3>&- || true
    [ -z "$world" ] || wait "$world" || true
    rm -rf "$work"
}
trap finish EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@" || printf '(exit status %s)\n' "$?"; }

# The world lives as long as its standard input stays open.
mkdir -p "$work/world" "$work/cache" "$work/lib"
chmod 0755 "$work"
chmod 0750 "$work/cache"
# Started by root, the command works as the owner of the cache: here as a user that the machine does not know.
[ "$(id -u)" != 0 ] || chown 54321:54321 "$work/cache"
mkfifo "$work/control"
"$built/mtasts-world" --dir "$work/world" "$here/demo.world" <"$work/control" >"$work/world.out" &
world=$!
exec 3>"$work/control"
tries=0
until grep -q '^ready' "$work/world.out"; do
    kill -0 "$world" 2>/dev/null && [ "$tries" -lt 100 ] || { echo "the world did not start" >&2; exit 1; }
    tries=$((tries + 1))
    sleep 0.1
done
. "$work/world/world.env"

cat >"$work/mtasts.toml" <<TOML
cache = "$work/cache/cache.db"
nameservers = ["$DNS"]
https_port = $HTTPS_PORT
ca_file = "$work/world/ca.pem"
allow_private_addresses = true   # the policy hosts of this world are on 127.0.0.1
TOML
export MTASTS_CONFIG="$work/mtasts.toml"
domains="enforce.test testing.test none.test absent.test malformed.test badcert.test"

say "The configuration"
cat "$work/mtasts.toml"

say "The command tells why"
# shellcheck disable=SC2086
run "$built/mtasts" lookup $domains

say "A C program asks (examples/c/lookup.c) and is answered from the cache"
ln -s "$built/libmtasts.so" "$work/lib/libmtasts.so"
ln -s libmtasts.so "$work/lib/libmtasts.so.0"
"${CC:-cc}" -std=c99 -Wall -Wextra -I"$root/include" -o "$work/lookup" "$root/examples/c/lookup.c" \
    -L"$work/lib" -lmtasts -Wl,-rpath,"$work/lib"
# shellcheck disable=SC2086  # a list of words
run "$work/lookup" $domains

say "Exim asks which hosts it may contact (mtasts_exim)"
exim=$(PATH=$PATH:/usr/sbin command -v exim4 || true)
if [ -z "$exim" ]; then
    echo "exim4 is not installed; with exim4-daemon-heavy this part shows its answers"
elif ! "$exim" -bV 2>/dev/null | grep -q Expand_dlfunc; then
    echo "this exim4 has no dlfunc; that of exim4-daemon-heavy has"
elif [ "$(id -u)" != 0 ]; then
    echo "exim4 is setuid, so that only root can show it another configuration than /etc/mtasts.toml"
else
    printf 'keep_environment = MTASTS_CONFIG\nlog_file_path = %s/exim-%%slog\n' "$work" >"$work/exim.conf"
    ask() {
        expression="\${dlfunc{$work/lib/libmtasts.so}{mtasts_exim}{$1}{$2}}"
        printf '  %-15s MX %-42s -> ' "$1" "$2"
        "$exim" -C "$work/exim.conf" -be "$expression"
    }
    ask enforce.test "10 mx.enforce.test"
    ask enforce.test "20 b.backup.test,10 mx.enforce.test,5 evil.test"
    ask enforce.test "10 evil.test"
    ask testing.test "10 mx.testing.test"
    ask absent.test "10 mx.absent.test"
    ask badcert.test "10 mx.badcert.test"
    echo "  (a list: only these hosts, over verified TLS; empty: no constraint; Failed: the message waits)"
fi

say "DNS and HTTPS are switched off, and a new process still knows"
printf 'off dns\noff https\n' >&3
tries=0
until [ "$(grep -c '^done' "$work/world.out")" = 2 ] || [ "$tries" -ge 100 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
run "$work/lookup" enforce.test
run "$built/mtasts" lookup enforce.test

say "What the world was asked: DNS"
cat "$work/world/dns.log"
say "... and HTTPS"
cat "$work/world/https.log"
