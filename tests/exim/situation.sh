# shellcheck shell=bash disable=SC2119,SC2120,SC2154 # the cases pass what is missing here
# Read by run.sh inside the namespaces: the words that the cases are written in.
# A case is a function in cases/*.sh whose name says the situation and its outcome.
# Each has a domain and receivers of its own, $d, so that no retry hint reaches the
# next one, and starts with an empty scene. They run in the order of their files.
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
#   exim_has FILE               standard input becomes this file of Exim's split configuration
#   hours_later N               what is cached about $d is so much older; `|| return`, since it may be skipped
#   send [RECIPIENT...]         sends one message, to u@$d when nobody is named, from $sender
#   queue [RECIPIENT...]        leaves one in the queue, with its addresses routed
#   run_queue                   tries all that is in the queue and due, in the order of `queue`
#
# and then what must have happened since `send` or `run_queue`:
#
#   delivered_to LABEL [DOMAIN] the message for u@DOMAIN went to LABEL and nowhere else
#   over_verified_tls LABEL [N] with a checked certificate, asked for as LABEL.$d, or N
#   over_tls LABEL DOMAIN       what arrived there for u@DOMAIN came over TLS; over_no_tls: it did not
#   in_clear                    nothing was sent over TLS
#   deferred [DOMAIN]           the message is in the queue; bounced [DOMAIN]: it came to its end
#   routed_by ROUTER            mtasts or dnslookup
#   untouched LABEL...          nobody connected to that receiver
#   connections LABEL N         so many did
#   asked TYPE NAME [N]         such a question came to the resolver, or N of them; `not_asked`: none
#   logged PATTERN              an extended regular expression for Exim's log
#   holds WHAT COMMAND...       any command that must succeed
#   says CALL PATTERN           what ${dlfunc{LIBRARY}{CALL} gives; `refuses`: with what it fails

declare -A at full
number=0 passed=0 failed=0

# It runs in a process of its own.
command_not_found_handle() { echo " no word or program $1;" >>"$work/unknown"; }

close_case() {
    trouble=$trouble$(cat "$work/unknown" 2>/dev/null)
    rm -f "$work/unknown"
    if [ "$exim_is_changed" = yes ]; then configure_exim internet; fi
    [ "${MTASTS_NO_SKIP-}" != 1 ] || trouble=$trouble${skipped:+ $skipped;}
    if [ -z "$trouble" ] && [ -n "$skipped" ]; then
        echo "SKIPPED $name: $skipped"
    elif [ -z "$trouble" ]; then
        echo "PASS $name"
        passed=$((passed + 1))
    else
        echo "FAIL $name:${trouble%;}"
        log_mark=$case_log_mark smtp_mark=$case_smtp_mark
        { exim_log; smtp_log; } | sed 's/^/    /'
        failed=$((failed + 1))
    fi
}

last_word() {
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
    d=d$number.test net=1 trouble='' skipped=''
    at=() full=() sender='<>' exim_is_changed=no
    rm -f /var/spool/exim4/input/* /var/spool/exim4/msglog/*
    forget
    mark
    case_log_mark=$log_mark case_smtp_mark=$smtp_mark
}

mark() {
    log_mark=$(size "$mainlog") smtp_mark=$(size "$world_dir/smtp.log") dns_mark=$(size "$world_dir/dns.log")
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
    local length=32
    [[ $2 != *:* ]] || length=128
    ip address replace "$2/$length" dev lo
}

receiver() {
    local label=$1 type=A
    shift
    # An address of its own, the same one each time.
    : "${at[$label]:=127.$net.$number.$((${#at[@]} + 1))}"
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

# A null sender: no bounce is sent, and what fails is frozen.
hand_to_exim() { # [RECIPIENT...], with ${options[@]}
    [ $# -gt 0 ] || set -- "u@$d"
    printf 'Subject: %s\n\nHello.\n' "$name" | timeout 100 exim4 -odf ${options[@]+"${options[@]}"} -oi -f "$sender" -- "$@" 2>"$work/stderr" \
        || wrong "exim4 ended with $?: $(cat "$work/stderr")"
}

send() {
    load_scene
    mark
    hand_to_exim "$@"
}

queue() {
    local options=(-odqs)
    # Exim runs its queue in an order of chance otherwise.
    [ "$exim_is_changed" = yes ] || exim_has main/001_queue <<<'queue_run_in_order = true'
    load_scene
    hand_to_exim "$@"
}

run_queue() {
    mark
    timeout 100 exim4 -q 2>"$work/stderr" || wrong "exim4 -q ended with $?: $(cat "$work/stderr")"
}

# The clock is the machine's, so that the times in the cache go back instead.
hours_later() {
    command -v sqlite3 >/dev/null || { skipped="sqlite3 is not installed"; return 1; }
    local column set='' seconds=$(($1 * 3600))
    for column in fetched_at expires_at checked_at checked_until refresh_at; do
        set="$set${set:+, }$column = $column - $seconds"
    done
    sqlite3 /var/lib/mtasts/cache.db "UPDATE domain SET $set WHERE name = '$d' AND body IS NOT NULL; SELECT changes();" \
        >"$work/changes" 2>&1
    [ "$(cat "$work/changes")" = 1 ] || wrong "the cache was not made older: $(cat "$work/changes")"
}

exim_has() { # a file below /etc/exim4/conf.d, until the case has ended
    cat >"/etc/exim4/conf.d/$1"
    update-exim4.conf
    exim_is_changed=yes
}

wrong() { trouble="$trouble $*;"; }

exim_log() { tail -c "+$((log_mark + 1))" "$mainlog"; }
smtp_log() { tail -c "+$((smtp_mark + 1))" "$world_dir/smtp.log"; }

logged() { exim_log | grep -Eq -e "$1" || wrong "the log does not say '$1'"; }
not_logged() { exim_log | grep -Eq -e "$1" && wrong "the log says '$1'"; }

delivered_to() {
    local who=u@${2-$d}
    logged "=> $who .*\[${at[$1]//./\\.}\]"
    not_logged "== $who "
    local host
    for host in "${!at[@]}"; do
        [ "$host" = "$1" ] || not_logged "=> $who .*\[${at[$host]//./\\.}\]"
    done
    at_receiver "$1" "delivered .*<$who>" || wrong "nothing for $who arrived at $1"
}

over_verified_tls() {
    logged "=> .*\[${at[$1]//./\\.}\].* CV=(yes|dane)"
    at_receiver "$1" 'delivered .* tls=yes' || wrong "$1 saw no TLS"
    asked_as "$1" "${2-$(name_of "$1")}"
}

# Where Exim hangs up on a certificate, it may be done before the world's log is.
asked_as() { # LABEL NAME
    for _ in $(seq 40); do
        at_receiver "$1" "(starttls|handshake-failed) sni=${2//./\\.} " && return
        sleep 0.05
    done
    wrong "SNI at $1 was not $2"
}

in_clear() { not_logged '=> .* X=TLS'; }

over_tls() { at_receiver "$1" "delivered .*<u@$2>.* tls=yes" || wrong "u@$2 did not come over TLS to $1"; }
over_no_tls() { at_receiver "$1" "delivered .*<u@$2>.* tls=no" || wrong "u@$2 did not come in clear to $1"; }

deferred() {
    local who=u@${1-$d} host
    logged "== $who "
    not_logged "=> $who "
    not_logged "\*\* $who "
    for host in "${!at[@]}"; do at_receiver "$host" "delivered .*<$who>" && wrong "$who arrived at $host"; done
}

bounced() {
    local who=u@${1-$d} host
    logged "\*\* $who"
    not_logged "=> $who "
    for host in "${!at[@]}"; do at_receiver "$host" "delivered .*<$who>" && wrong "$who arrived at $host"; done
}

routed_by() {
    logged " R=$1 "
    case $1 in
        mtasts) not_logged ' R=dnslookup ' ;;
        *) not_logged ' R=mtasts ' ;;
    esac
}

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

tls_trouble_defers() { # further words of `receiver`
    policy enforce "mx.$d"
    mx 10 mx "$@"
    send
    deferred
    nothing_arrived
    routed_by mtasts
}

says() { # CALL PATTERN
    local answer
    answer=$(exim4 -be "\${dlfunc{$library}{$1}" 2>&1)
    [[ $answer =~ ^($2)$ ]] || wrong "$1 says '$answer', want '$2'"
}

refuses() { # CALL PATTERN
    local answer
    answer=$(exim4 -be "\${dlfunc{$library}{$1}" 2>&1)
    [[ $answer =~ ^Failed:.*$2 ]] || wrong "$1 says '$answer', want a failure with '$2'"
}

# As examples/exim/README.md has it checked.
has_router() {
    exim4 -bP router_list | grep -qx mtasts
}
