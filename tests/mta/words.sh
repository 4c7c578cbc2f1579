# shellcheck shell=bash disable=SC2034,SC2119,SC2120,SC2154 # the cases pass what is missing here
# Read by the run.sh of each mail server inside the namespaces: the words that all
# cases are written in. A case is a function in cases/*.sh whose name says the
# situation and its outcome. Each has a domain and receivers of its own, $d, so that
# nothing that was remembered reaches the next one, and starts with an empty scene.
# They run in the order of their files. situation.sh beside the cases has the words
# of that mail server, `before_case` and `after_case` among them.
#
#   policy MODE MX[,MX] [...]   what $d publishes; further words go to the world as they are
#   policy_for DOMAIN ...       the same for another domain
#   mx PREFERENCE LABEL [...]   an MX record for LABEL.$d and a receiver there, at ${at[LABEL]}:25
#   mx_in_turn N ...            the same, and the Nth question for MX records gets it; the last turn stays
#   receiver LABEL [...]        only the receiver and its address, not the MX record
#   named LABEL NAME            the receiver is called so, and not LABEL.$d
#   placed LABEL ADDRESS        it is there, and not on 127.0.0.0/8; an address of IPv6 gets an AAAA record
#   record WORDS                a DNS record as the world reads it
#   tlsa LABEL HEX|leaf [N N N] a TLSA record 3 1 1, or N N N, of a zone that is signed; leaf: the one that fits
#   signed NAME...              the resolver vouches for the records of these names
#   world WORDS                 any other line of the scene
#   forget                      empties the scene; the receivers keep their addresses
#   load_scene                  the world becomes what the scene says
#   mark                        what must have happened is looked for from here on
#
# and then what must have happened since `mark`:
#
#   over_tls LABEL DOMAIN       what arrived there for u@DOMAIN came over TLS; over_no_tls: it did not
#   asked_as LABEL NAME         the certificate of this name was asked for
#   nothing_arrived             at no receiver of the case
#   untouched LABEL...          nobody connected to that receiver
#   connections LABEL N         so many did
#   asked TYPE NAME [N]         such a question came to the resolver, or N of them; `not_asked`: none
#   logged PATTERN              an extended regular expression for $mainlog; `system_logged`: for the system log
#   holds WHAT COMMAND...       any command that must succeed
#   follow_all_steps N          runs the N steps of the README, `### N. TITLE`, with `after_step TITLE` of the mail server
#   said_what_is_shown TITLE N  the last one has said the N lines that the README shows below it
#   first_fails_second_is_good WORD  the first of two listed hosts is as a receiver's WORD says, and the second gets the mail
#   readme_line PATTERN         the line of the README that it fits; as_pattern LINE: what fits it here

declare -A at full
number=0 passed=0 failed=0

# It runs in a process of its own.
command_not_found_handle() { echo " no word or program $1;" >>"$work/unknown"; }

# Reads the cases, runs them and hands the tally to outside.sh.
play_cases() {
    local file
    # shellcheck disable=SC1090 # they are linted by themselves
    for file in "$here"/cases/*.sh; do . "$file"; done
    run_cases
    echo quit >&8
    echo "$passed $failed" >&9
}

# Every function of cases/*.sh is a case, unless its first line says what it takes:
# `name() { # WORDS`. Where the command line names some, only those run.
run_cases() {
    local cases pattern wanted
    cases=$(sed -ns '/^[a-z0-9_]*() { #/d; s/^\([a-z0-9_]*\)() {.*/\1/p' "$here"/cases/*.sh)
    for name in $cases; do
        wanted=${#only[@]}
        for pattern in ${only[@]+"${only[@]}"}; do
            # shellcheck disable=SC2254 # a pattern it is
            case $name in $pattern) wanted=0 ;; esac
        done
        [ "$wanted" = 0 ] || continue
        open_case
        "$name"
        close_case
    done
}

open_case() {
    number=$((number + 1))
    d=d$number.test net=$((1 + number / 256)) trouble='' skipped=''
    at=() full=()
    forget
    before_case
    configure_mtasts
    mark
    case_log_mark=$log_mark case_smtp_mark=$smtp_mark
}

close_case() {
    trouble=$trouble$(cat "$work/unknown" 2>/dev/null)
    rm -f "$work/unknown"
    after_case
    [ "${MTASTS_NO_SKIP-}" != 1 ] || trouble=$trouble${skipped:+ $skipped;}
    if [ -z "$trouble" ] && [ -n "$skipped" ]; then
        echo "SKIPPED $name: $skipped"
    elif [ -z "$trouble" ]; then
        echo "PASS $name"
        passed=$((passed + 1))
    else
        echo "FAIL $name:${trouble%;}"
        log_mark=$case_log_mark smtp_mark=$case_smtp_mark
        { mail_log; smtp_log; } | sed 's/^/    /'
        failed=$((failed + 1))
    fi
}

mark() {
    log_mark=$(size "$mainlog") smtp_mark=$(size "$world_dir/smtp.log") dns_mark=$(size "$world_dir/dns.log")
    https_mark=$(size "$world_dir/https.log") syslog_mark=$(size "$work/syslog")
}
size() { stat -c %s "$1" 2>/dev/null || echo 0; }

world() { echo "$*" >>"$scene"; }
record() { world dns "$@"; }
forget() { : >"$scene"; }

policy() { policy_for "$d" "$@"; }

policy_for() { # DOMAIN MODE MX [further words]
    local domain=$1 mode=$2 patterns=$3
    shift 3
    world policy "$domain" "$mode" "mx=$patterns" max_age=86400 id=1 "$@"
}

named() { full[$1]=$2; }
name_of() { echo "${full[$1]-$1.$d}"; }

placed() {
    at[$1]=$2
    # An address of IPv6 is looked for elsewhere first, and is not usable meanwhile.
    case $2 in
        *:*) ip address replace "$2/128" dev lo nodad ;;
        *) ip address replace "$2/32" dev lo ;;
    esac
}

receiver() {
    local label=$1 type=A
    shift
    # An address of its own, the same one each time.
    : "${at[$label]:=127.$net.$((number % 256)).$((${#at[@]} + 1))}"
    [[ ${at[$label]} != *:* ]] || type=AAAA
    record "$(name_of "$label")" "$type" "${at[$label]}"
    world smtp "$(socket "$label")" "name=$(name_of "$label")" "$@"
}

socket() {
    case ${at[$1]} in
        *:*) echo "[${at[$1]}]:25" ;;
        *) echo "${at[$1]}:25" ;;
    esac
}

mx() { # PREFERENCE LABEL [further words]
    record "$d" MX "$1" "$(name_of "$2")"
    receiver "${@:2}"
}

mx_in_turn() { # N PREFERENCE LABEL
    record "$d" MX "$2" "$(name_of "$3")" "turn=$1"
    receiver "$3"
}

load_scene() {
    tell_world load "$scene" || wrong "$world_answer"
}

wrong() { trouble="$trouble $*;"; }

mail_log() { tail -c "+$((log_mark + 1))" "$mainlog"; }
smtp_log() { tail -c "+$((smtp_mark + 1))" "$world_dir/smtp.log"; }
dns_log() { tail -c "+$((dns_mark + 1))" "$world_dir/dns.log"; }
https_log() { tail -c "+$((https_mark + 1))" "$world_dir/https.log"; }

logged() { mail_log | grep -Eq -e "$1" || wrong "the log does not say '$1'"; }
not_logged() { mail_log | grep -Eq -e "$1" && wrong "the log says '$1'"; }

# Where Exim hangs up on a certificate, it may be done before the world's log is.
asked_as() { # LABEL NAME
    for _ in $(seq 40); do
        at_receiver "$1" "(starttls|handshake-failed) sni=${2//./\\.} " && return
        sleep 0.05
    done
    wrong "SNI at $1 was not $2"
}

over_tls() { at_receiver "$1" "delivered .*<u@$2>.* tls=yes" || wrong "u@$2 did not come over TLS to $1"; }
over_no_tls() { at_receiver "$1" "delivered .*<u@$2>.* tls=no" || wrong "u@$2 did not come in clear to $1"; }

nothing_arrived() {
    local host
    for host in "${!at[@]}"; do at_receiver "$host" delivered && wrong "mail arrived at $host"; done
}

untouched() {
    local host
    for host; do
        [ -n "${at[$host]-}" ] || wrong "there is no receiver $host"
        at_receiver "$host" '' && wrong "somebody connected to $host"
    done
}

holds() {
    local what=$1
    shift
    "$@" || wrong "$what"
}

connections() { # LABEL N
    local count
    count=$(smtp_log | grep -Fxc "$(socket "$1") connect")
    [ "$count" = "$2" ] || wrong "$count connections to $1, want $2"
}

asked() { # TYPE NAME [N]
    local count
    count=$(tail -c "+$((dns_mark + 1))" "$world_dir/dns.log" | grep -Fxc "$1 $2")
    if [ "$count" = 0 ] || [ "$count" != "${3-$count}" ]; then
        wrong "$count questions for $1 of $2, want ${3-some}"
    fi
}

not_asked() { # TYPE NAME
    ! tail -c "+$((dns_mark + 1))" "$world_dir/dns.log" | grep -Fxq "$1 $2" || wrong "somebody asked for $1 of $2"
}

# The world's log: "ADDRESS connect", "ADDRESS starttls sni=NAME version=VERSION",
# "ADDRESS delivered from=<SENDER> to=<RECIPIENT>,... tls=yes|no".
at_receiver() { # LABEL PATTERN
    smtp_log | awk -v "socket=$(socket "$1") " 'index($0, socket) == 1 { print substr($0, length(socket) + 1) }' | grep -Eq "^$2"
}

tlsa() { # LABEL HEX|leaf [USAGE SELECTOR MATCHING]
    local host data=$2
    host=$(name_of "$1")
    shift 2
    [ $# -gt 0 ] || set -- 3 1 1
    record "_25._tcp.$host" TLSA "$@" "$data"
    signed "$d" "$host" "_25._tcp.$host"
}

signed() {
    local name
    for name; do world authentic "$name"; done
}

first_fails_second_is_good() { # WORD-OF-RECEIVER
    policy enforce "mx.$d,bad.$d"
    mx 10 bad "$1"
    mx 20 mx
    send
    delivered_to mx
    over_verified_tls mx
    connections bad 1
}

readme_line() { grep -m 1 -e "$1" "$readme"; }

# A line of the README as an extended regular expression for what happens here:
# `...` stands for anything, .example for $d, and the example's address for any.
as_pattern() {
    [ -n "$1" ] || wrong "the README has no such line"
    sed -e 's/[][().*+?$|^{}\\]/\\&/g' -e 's/\\\.\\\.\\\./.*/g' -e 's/user@/u@/g' -e "s/\\\\\.example/.$d/g" \
        -e 's/192\\\.0\\\.2\\\.1/[0-9.]+/g' -e 's/[0-9]* hours/[0-9]+ [a-z]+/' <<<"$1"
}

# What each step says is in $work/said.
follow_all_steps() { # N
    local steps step
    mapfile -t steps < <(grep '^### [0-9]\. ' "$readme")
    [ "${#steps[@]}" = "$1" ] || wrong "there are ${#steps[@]} steps"
    for step in "${steps[@]}"; do
        follow_readme "$step" >"$work/said" 2>&1 || wrong "$step ends with $?: $(cat "$work/said")"
        after_step "$step"
    done
}

# What the README shows below the heading, but for lines of three dots, is in $work/said.
said_what_is_shown() { # HEADING N
    local shown line
    mapfile -t shown < <(awk -v "heading=$1" '/^##/ { here = index($0, heading) == 1 } /^```/ { shows = here && !shows; next } shows && !/^ *\.\.\.$/' "$readme")
    [ "${#shown[@]}" = "$2" ] || wrong "the README shows ${#shown[@]} lines below $1"
    for line in "${shown[@]}"; do
        grep -Eqx -e "$(as_pattern "$line")" "$work/said" || wrong "'$line' is not said: $(cat "$work/said")"
    done
}

system_logged() {
    tail -c "+$((syslog_mark + 1))" "$work/syslog" | grep -Eq -e "$1" || wrong "the system log does not say '$1'"
}
