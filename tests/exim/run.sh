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
# shellcheck source=tests/mta/outside.sh
. "$here/../mta/outside.sh"

need_programs exim4 update-exim4.conf strace
exim4 -bV 2>/dev/null | grep -q Expand_dlfunc || cannot_run "this exim4 has no dlfunc (exim4-daemon-heavy has)"

# shellcheck disable=SC2034 # outside.sh reads it
left_alone=(/etc/exim4 /var/lib/exim4 /var/spool/exim4 /var/log/exim4)
run_inside "$@"
