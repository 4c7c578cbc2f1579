#!/bin/bash
# Sends mail through a real Sendmail that asks mtasts-socketmap, and looks at what comes of it.
#
#   tests/sendmail/run.sh LIBRARY WORLD [CASE...]
#
# LIBRARY is the built libmtasts.so, with mtasts-socketmap beside it, and WORLD the
# program mtasts-world. With names of cases (shell patterns), only those run. Root is
# needed, and what tests/tools.sh has unpacked of Debian's Sendmail.
#
# tests/mta/outside.sh says where this happens and what the exit status means.

set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/mta/outside.sh
. "$here/../mta/outside.sh"

need_programs make m4 setpriv hostname adduser
need_unpacked "$1" sendmail
export unpacked

# shellcheck disable=SC2034 # outside.sh reads it
left_alone=(/etc/mail /etc/aliases /var/spool/mqueue /var/lib/sendmail /run/mtasts /run/sendmail)
run_inside "$@"
