#!/bin/bash
# Sends mail through a real Exim that asks libmtasts, and looks at what comes of it.
#
#   tests/exim/run.sh LIBRARY WORLD [CASE...]
#
# LIBRARY is the built libmtasts.so, WORLD the program mtasts-world. With names
# of cases (shell patterns), only those run. Root is needed, and Debian's Exim 4.
#
# tests/mta/outside.sh says where this happens and what the exit status means.

set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../mta/outside.sh"

if [ "${1-}" = --inside ]; then
    shift
    . "$here/../mta/machine.sh"
    . "$here/setup.sh"
    . "$here/../mta/words.sh"
    . "$here/situation.sh"
    play_cases
    exit
fi

[ $# -ge 2 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
for file in "$1" "$2"; do
    [ -f "$file" ] || { echo "$0: $file: no such file" >&2; exit 2; }
done
need_programs exim4 update-exim4.conf strace
exim4 -bV 2>/dev/null | grep -q Expand_dlfunc || cannot_run "this exim4 has no dlfunc (exim4-daemon-heavy has)"

left_alone=(/etc/exim4 /var/lib/exim4 /var/spool/exim4 /var/log/exim4)
run_inside "$@"
