#!/bin/bash
# Sends mail through real Postfixes that ask mtasts-socketmap, and looks at what
# comes of it: 3.7, which only knows the names in certificates, and 3.10, which
# knows the policy.
#
#   tests/postfix/run.sh LIBRARY WORLD [CASE...]
#
# LIBRARY is the built libmtasts.so, with mtasts-socketmap beside it, and WORLD the
# program mtasts-world. With names of cases (shell patterns), only those run, and with
# `release` in the environment only with that Postfix. Root is needed, and what
# tests/tools.sh unpacks.
#
# tests/mta/outside.sh says where this happens and what the exit status means.

set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/mta/outside.sh
. "$here/../mta/outside.sh"

need_programs chroot sqlite3 make cc pkg-config adduser deluser setpriv

# shellcheck disable=SC2034 # outside.sh reads it
left_alone=(/etc/postfix /var/lib/postfix /var/spool/postfix)

# Each has a machine of its own, so that both can run at the same time.
play() { # RELEASE LIBRARY WORLD [CASE...]
    export release=$1
    shift
    need_unpacked "$1" "postfix-$release"
    export unpacked
    echo "Postfix $release:"
    run_inside "$@"
}

case ${release-} in
    '')
        other=$(mktemp)
        play 3.10 "$@" >"$other" 2>&1 &
        (play 3.7 "$@")
        first=$?
        wait $!
        second=$?
        cat "$other"
        rm -f "$other"
        [ "$first" != 0 ] || exit $second
        exit $first
        ;;
    *) play "$release" "$@" ;;
esac
