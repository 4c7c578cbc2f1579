#!/bin/bash
# Sends mail through a real Exim that asks libmtasts, and looks at what comes of it.
#
#   tests/exim/run.sh LIBRARY WORLD [CASE...]
#
# LIBRARY is the built libmtasts.so, WORLD the program mtasts-world. With names
# of cases (shell patterns), only those run. Root is needed, and Debian's Exim 4.
#
# Everything happens in namespaces of its own: mounts, network, processes. Exim
# sees a private /etc, /dev, spool and log, and ports 25, 53 and 443 of a
# loopback that nobody else has. Every process dies with the script. At the end
# the machine's own files are compared with what they were.
#
# Exit status: 0 all passed, 1 a case failed, 2 wrong use, 77 something is missing.

set -u
here=$(cd "$(dirname "$0")" && pwd)

cannot_run() {
    echo "SKIPPED: $*"
    exit 77
}

if [ "${1-}" = --inside ]; then
    shift
    . "$here/setup.sh"
    . "$here/situation.sh"
    for file in "$here"/cases/*.sh; do . "$file"; done
    run_cases
    last_word
    exit
fi

[ $# -ge 2 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
for file in "$1" "$2"; do
    [ -f "$file" ] || { echo "$0: $file: no such file" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || cannot_run "not root"
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
for program in exim4 update-exim4.conf unshare ip mount timeout strace; do
    command -v "$program" >/dev/null || cannot_run "$program is not installed"
done
exim4 -bV 2>/dev/null | grep -q Expand_dlfunc || cannot_run "this exim4 has no dlfunc (exim4-daemon-heavy has)"
unshare -m -n -p -f true 2>/dev/null || cannot_run "this machine allows no namespaces"

# What a run must leave alone, each file with its mode, owner, size and time.
machine() {
    find /etc/exim4 /etc/mtasts.toml /etc/resolv.conf /etc/hosts /etc/mailname /etc/ssl/certs/ca-certificates.crt \
        /var/lib/exim4 /var/lib/mtasts /var/spool/exim4 /var/log/exim4 /var/mail \
        -printf '%p %M %u:%g %s %T@ %l\n' 2>/dev/null | sort
}

work=$(mktemp -d /tmp/mtasts-exim.XXXXXX)
trap 'rm -f "$work/tally" "$work/before" "$work/after"; rmdir "$work"' EXIT
machine >"$work/before"
: >"$work/tally"

# The tally is handed over as descriptor 9: inside, $work is another file system.
unshare -m -n -p -f --kill-child --mount-proc \
    bash "$here/$(basename "$0")" --inside "$work" "$(realpath "$1")" "$(realpath "$2")" "${@:3}" \
    9>"$work/tally" </dev/null
inside=$?

read -r passed failed <"$work/tally" || { passed=0 failed=1; echo "FAIL run: it ended early, with status $inside"; }
machine >"$work/after"
if difference=$(diff "$work/before" "$work/after"); then
    echo "PASS the_machine_is_left_as_it_was"
    passed=$((passed + 1))
else
    echo "FAIL the_machine_is_left_as_it_was: $difference"
    failed=$((failed + 1))
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
