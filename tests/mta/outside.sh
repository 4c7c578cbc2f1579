# shellcheck shell=bash disable=SC1091,SC2034,SC2154 # $here and $left_alone are those of run.sh
# Read by the run.sh of each mail server, with its arguments: what comes before the
# namespaces and after them. Everything between happens in namespaces of its own: mounts, network, name and
# processes. The mail server sees a private /etc, /dev, spool and log, and ports 25,
# 53 and 443 of a loopback that nobody else has. Every process dies with the script.
# At the end the machine's own files are compared with what they were.
#
# Exit status: 0 all passed, 1 a case failed, 2 wrong use, 77 something is missing.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

cannot_run() {
    echo "SKIPPED: $*"
    exit 77
}

need_programs() {
    local program
    [ "$(id -u)" = 0 ] || cannot_run "not root"
    for program in unshare ip mount timeout perl "$@"; do
        command -v "$program" >/dev/null || cannot_run "$program is not installed"
    done
    unshare -m -n -p -u -f true 2>/dev/null || cannot_run "this machine allows no namespaces"
}

# What tests/tools.sh has unpacked is beside the profile that LIBRARY was built with.
need_unpacked() { # LIBRARY NAME
    local directory
    directory=$(realpath "$(dirname "$1")")
    [ "$(basename "$directory")" != deps ] || directory=$(dirname "$directory")
    unpacked=$(dirname "$directory")/programs/$2
    [ -f "$unpacked/packages" ] || cannot_run "$2 is not unpacked, see tests/tools.sh"
}

# What a run must leave alone, each file with its mode, owner, size and time.
machine() {
    find "${left_alone[@]}" /etc/mtasts.toml /etc/resolv.conf /etc/hosts /etc/mailname /etc/ssl/certs/ca-certificates.crt \
        /var/lib/mtasts /var/mail -printf '%p %M %u:%g %s %T@ %l\n' 2>/dev/null | sort
}

# Runs the run.sh that reads this, with --inside before its arguments.
run_inside() { # LIBRARY WORLD [CASE...], with ${left_alone[@]}
    local inside passed failed difference
    work=$(mktemp -d "/tmp/mtasts-$(basename "$here").XXXXXX")
    trap 'rm -f "$work/tally" "$work/before" "$work/after"; rmdir "$work"' EXIT
    machine >"$work/before"
    : >"$work/tally"

    # The tally is handed over as descriptor 9: inside, $work is another file system.
    unshare -m -n -p -u -f --kill-child --mount-proc \
        bash "$here/run.sh" --inside "$work" "$(realpath "$1")" "$(realpath "$2")" "${@:3}" \
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
}

if [ "${1-}" = --inside ]; then
    shift
    . "$here/../mta/machine.sh"
    . "$here/setup.sh"
    . "$here/../mta/words.sh"
    . "$here/situation.sh"
    play_cases
    exit
fi

[ $# -ge 2 ] || { sed -n '2,/^# tests.mta/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
for file in "$1" "$2"; do
    [ -f "$file" ] || { echo "$0: $file: no such file" >&2; exit 2; }
done
