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
#   strict_names                certificates must have the name as subjectAltName, until `usual_names`
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
exim=(exim4) sender='<>' # how `send` calls it

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
    d=d$number.test net=$((1 + number / 256)) trouble='' skipped=''
    at=() full=() exim=(exim4) sender='<>' exim_is_changed=no
    rm -f /var/spool/exim4/input/* /var/spool/exim4/msglog/*
    forget
    # What a case has changed in the configurations ends with it.
    [ "$configured" = internet ] || configure_exim_as_usual
    configure_mtasts
    mark
    case_log_mark=$log_mark case_smtp_mark=$smtp_mark
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

# A null sender: no bounce is sent, and what fails is frozen.
hand_to_exim() { # [RECIPIENT...], with ${options[@]}
    [ $# -gt 0 ] || set -- "u@$d"
    printf 'Subject: %s\n\nHello.\n' "$name" | timeout 100 "${exim[@]}" -odf ${options[@]+"${options[@]}"} -oi -f "$sender" -- "$@" 2>"$work/stderr" \
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
dns_log() { tail -c "+$((dns_mark + 1))" "$world_dir/dns.log"; }
https_log() { tail -c "+$((https_mark + 1))" "$world_dir/https.log"; }

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

# The macro stands where an administrator puts it.
strict_names() {
    echo "MTASTS_STRICT_SAN = yes" >>/etc/exim4/conf.d/main/000_localmacros
    update-exim4.conf
}
usual_names() { configure_exim internet; }

strict_names_deliver() { # further words of `receiver`
    strict_names
    policy enforce "mx.$d"
    mx 10 mx "$@"
    send
    usual_names
    delivered_to mx
    over_verified_tls mx
    routed_by mtasts
    not_logged 'denied by event-action'
}

strict_names_defer() { # further words of `receiver`
    strict_names
    tls_trouble_defers "$@"
    usual_names
    logged "SSL verify denied by event-action: depth=0: MTA-STS: the certificate of mx\.$d is for another name: "
    asked_as mx "mx.$d"
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
    bash -c "$(check_of_readme)" >"$work/check" 2>&1
}
check_of_readme() { readme_commands "### 5. The check" | grep router_list; }

# ---- mail that comes in ----
#
#   receive SENDER [RECIPIENT...]  a host outside hands in a message, for $here_user when nobody is named
#   replied PATTERN             one of Exim's replies to that host
#   at_once                     all of that took less than three seconds
#   nobody_asked_about DOMAIN   no STS record was asked for and no policy fetched

here_user=u@sender.test # setup.sh throws its mail away

receive() {
    load_scene
    mark
    local start=$EPOCHREALTIME recipients=("${@:2}")
    [ $# -gt 1 ] || recipients=("$here_user")
    recipients=("${recipients[@]/%/>}")
    printf '%s\r\n' "EHLO outside.test" "MAIL FROM:<$1>" "${recipients[@]/#/RCPT TO:<}" DATA "From: ${1:-nobody@outside.test}" "Subject: $name" '' Hello. . QUIT \
        | timeout 60 exim4 -odf -oMa 192.0.2.99 -bs >"$work/replies" 2>"$work/stderr" \
        || wrong "exim4 -bs ended with $?: $(cat "$work/stderr")"
    milliseconds=$(((${EPOCHREALTIME/./} - ${start/./}) / 1000))
}

replied() { grep -Eq -e "$1" "$work/replies" || wrong "no reply is '$1': $(tr -d '\r' <"$work/replies" | tail -n 4)"; }

at_once() { [ "$milliseconds" -lt 3000 ] || wrong "it took $milliseconds ms"; }

nobody_asked_about() {
    ! dns_log | grep -Fq " _mta-sts.$1" || wrong "the STS record of $1 was asked for"
    ! https_log | grep -Fq "sni=mta-sts.$1 " || wrong "the policy host of $1 was asked"
}

sender_is_taken_without_a_question() { # the sender's domain has been set up
    configure_exim internet split "CHECK_RCPT_VERIFY_SENDER = 1" "CHECK_DATA_VERIFY_HEADER_SENDER = 1"
    receive "sender@$d"
    replied '^250 OK id='
    logged "<= sender@$d "
    at_once
    nobody_asked_about "$d"
}

callout_to_a_recipient() {
    relay_domains=$d configure_exim internet
    echo "*@$d" >/etc/exim4/local_rcpt_callout
    policy enforce "mx.$d"
    "$@"
    receive outside@sender.test "u@$d"
}

# Cutthrough: the mail goes on while it comes in. `>>` marks it in the log, which
# says CV=no for it although the certificate has been verified.
cutthrough() {
    configure_exim internet split "MAIN_ACL_CHECK_RCPT = acl_cutthrough"
    printf '%s\n' "acl_cutthrough:" "  accept" "    control = cutthrough_delivery" "    verify = recipient" \
        >/etc/exim4/conf.d/acl/99_cutthrough
    update-exim4.conf
    policy enforce "*.$d"
    "$@"
    receive outside@sender.test "u@$d" ${also:+"$also"}
}

cutthrough_trouble_defers() {
    cutthrough mx 10 mx "$@"
    replied '^250 OK id='
    not_logged '>> '
    deferred
    nothing_arrived
}

# ---- Debian's configuration and the README of the drop-ins ----
#
#   covered                     $d is enforced: with an unlisted host before the listed one, only this gets the mail
#   as_nobody                   `send` is called by an ordinary user
#   readme_line PATTERN         the line of the README that it fits
#   logged_as_readme_says NAME  the line that the README shows for user@NAME.example stands in the log, for u@NAME.$d
#   system_logged PATTERN       an extended regular expression for the system log

covered() {
    policy enforce "mx.$d"
    mx 10 evil
    mx 20 mx
    send
    delivered_to mx
    over_verified_tls mx
    routed_by mtasts
    untouched evil
}

as_nobody() { exim=(setpriv --reuid=nobody --regid=nogroup --clear-groups "${exim[@]}"); }

readme_line() { grep -m 1 -e "$1" "$readme"; }

logged_as_readme_says() {
    logged " $(as_pattern "$(readme_line "user@$1\.example")")$"
}

# A line of the README as an extended regular expression for what happens here:
# `...` stands for anything, .example for $d, and the example's address for any.
as_pattern() {
    [ -n "$1" ] || wrong "the README has no such line"
    sed -e 's/[][().*+?$|^{}\\]/\\&/g' -e 's/\\\.\\\.\\\./.*/g' -e 's/user@/u@/g' -e "s/\\\\\.example/.$d/g" \
        -e 's/192\\\.0\\\.2\\\.1/[0-9.]+/g' -e 's/[0-9]* hours/[0-9]+ [a-z]+/' <<<"$1"
}

mx_of() { # NAME [OPTION...]: NAME.$d has the one MX host mx.NAME.$d
    record "$1.$d" MX 10 "mx.$1.$d"
    receiver "mx.$1" "${@:2}"
}

system_logged() {
    tail -c "+$((syslog_mark + 1))" "$work/syslog" | grep -Eq -e "$1" || wrong "the system log does not say '$1'"
}

# 200 messages, 40 for each of five domains that treat their mail differently.
enqueue_200_messages() {
    world policy "strict.$d" enforce "mx=mx.$d" max_age=86400 id=1
    world policy "wild.$d" enforce "mx=*.$d" max_age=86400 id=1
    world policy "testing.$d" testing "mx=mx.$d" max_age=86400 id=1
    world policy "none.$d" none max_age=86400 id=1
    local domain message
    for domain in strict wild testing none free; do record "$domain.$d" MX 20 "mx.$d"; done
    record "strict.$d" MX 10 "un.listed.$d"
    record "wild.$d" MX 10 "un.listed.$d"
    receiver mx
    receiver un.listed
    load_scene
    mark
    for message in $(seq 40); do
        for domain in strict wild testing none free; do
            printf '%s\n' "MAIL FROM:<>" "RCPT TO:<u$message@$domain.$d>" DATA "Subject: $message" '' Hello. .
        done
    done | exim4 -odq -bS >"$work/replies" 2>&1 || wrong "exim4 -bS ended with $?"
    holds "200 messages wait" [ "$(exim4 -bpc)" = 200 ]
}

all_200_have_arrived_once_and_in_the_right_place() {
    holds "the queue is empty" [ "$(exim4 -bpc)" = 0 ]
    local arrived
    arrived=$(smtp_log | sed -n "s/^${at[mx]}:25 delivered .* to=<\(u[0-9]*@[a-z]*\)\.$d> .*/\1/p" | sort)
    holds "200 mails arrived, not $(wc -l <<<"$arrived")" [ "$(wc -l <<<"$arrived")" = 200 ]
    holds "each arrived once" [ "$(uniq <<<"$arrived" | wc -l)" = 200 ]
    untouched un.listed
    smtp_log | grep -E 'to=<u[0-9]+@(strict|wild)' | grep -Fq tls=no && wrong "enforced mail went in clear"
    logged "=> u1@strict.$d R=mtasts .* CV=yes"
    logged "=> u1@free.$d R=dnslookup "
    # Who has asked first has told the others, and what was learnt is remembered.
    local domain
    for domain in strict wild testing none; do
        holds "one fetch for $domain" [ "$(https_log | grep -c "request sni=mta-sts.$domain.$d ")" = 1 ]
    done
    tell_world off https
    tell_world off dns
    says "mtasts_exim_mode}{strict.$d}" enforce
    says "mtasts_exim_mode}{wild.$d}" enforce
    says "mtasts_exim_mode}{testing.$d}" testing
    tell_world on https
    tell_world on dns
    tail -c "+$((syslog_mark + 1))" "$work/syslog" | grep . && wrong "the library complained"
}

mail_goes_to_the_smarthost() { # TYPE
    configure_exim "$1"
    has_router && wrong "$1 has the router"
    policy enforce "mx.$d"
    mx 10 mx
    receiver smarthost
    record smarthost.test A "${at[smarthost]}"
    world smtp "${at[smarthost]}:25" name=smarthost.test
    send
    delivered_to smarthost
    routed_by smarthost
    untouched mx
    nobody_asked_about "$d"
}

# A configuration file without comments, debug texts, blanks and its order.
options_in() { grep -v -e '^ *#' -e debug_print -e '^remote_smtp.*:$' -e '^$' "$1" | tr -d ' ' | sort -u; }

is_told() { # WHAT PATTERN ARGUMENT... of exim4, called by root or by `as_nobody`
    local answer
    answer=$("${exim[@]}" "${@:3}" 2>&1)
    grep -Eq -e "$2" <<<"$answer" || wrong "exim4 ${*:3} does not tell $1: $answer"
}

followed_word_for_word() { # split|unsplit
    configured=followed
    answer_debconf internet "$1"
    rm -rf /var/lib/mtasts /etc/mtasts.toml
    # What only this test needs: its receivers and policy hosts are on loopback,
    # and nothing is compiled.
    printf '%s\n' "ROUTER_DNSLOOKUP_IGNORE_TARGET_HOSTS = <; 0.0.0.0" "MAIN_HARDCODE_PRIMARY_HOSTNAME = sender.test" >"$(macros)"
    mkdir -p "$work/built/release"
    ln -sf "$library" "$command" "$archive" "$work/built/release"
    printf '#!/bin/sh\necho "note: native-static-libs: -lc"\n' >"$work/built/rustc"
    chmod +x "$work/built/rustc"
    export CARGO=true RUSTC=$work/built/rustc CARGO_TARGET_DIR=$work/built
    update-exim4.conf
    rm -rf "$work/before"
    cp -a /etc/exim4 "$work/before"

    # The README's known domain.
    world policy gmail.com enforce "mx=gmail-smtp-in.l.google.com,*.gmail-smtp-in.l.google.com" max_age=86400 id=1
    record gmail.com MX 5 gmail-smtp-in.l.google.com
    record gmail.com MX 4 mx.evil.test
    receiver gmail
    record gmail-smtp-in.l.google.com A "${at[gmail]}"
    world policy example.com enforce "mx=*.example.com" max_age=86400 id=1
    record mx.example.com A "${at[gmail]}"
    record mx2.example.com A "${at[gmail]}"
    policy enforce "mx.$d"
    mx 10 mx starttls=absent
    record "free.$d" MX 10 "mx.$d"
    world policy "good.$d" enforce "mx=mx.good.$d" max_age=86400 id=1
    mx_of good
    load_scene

    local steps step line
    mapfile -t steps < <(grep '^### [0-9]\. ' "$readme")
    [ "${#steps[@]}" = 5 ] || wrong "there are ${#steps[@]} steps"
    for step in "${steps[@]}"; do
        follow_readme "$step" >"$work/said" 2>&1 || wrong "$step ends with $?: $(cat "$work/said")"
        [[ $step != *configuration* ]] || echo "allow_private_addresses = true" >>/etc/mtasts.toml
    done
    # The last one is the check, and it says what the README shows.
    local shown
    mapfile -t shown < <(awk '/^##/ { here = /^### 5/ } /^```/ { shows = here && !shows; next } shows && !/^ *\.\.\.$/' "$readme")
    [ "${#shown[@]}" = 8 ] || wrong "the README shows ${#shown[@]} lines"
    for line in "${shown[@]}"; do
        grep -Eqx -e "$(as_pattern "$line")" "$work/said" || wrong "the check does not say '$line': $(cat "$work/said")"
    done

    # Exim is setuid: an ordinary user's environment must not decide which library it is.
    as_nobody
    export LD_LIBRARY_PATH=/nowhere
    send "u@$d" "u@free.$d" "u@good.$d"
    unset LD_LIBRARY_PATH
    deferred
    logged "== u@$d R=mtasts T=remote_smtp_mtasts defer \(-38\) .*the server did not offer TLS support"
    at_receiver mx "delivered .*<u@$d>" && wrong "mail went in clear"
    delivered_to mx "free.$d"
    logged "=> u@free.$d R=dnslookup T=remote_smtp "
    delivered_to mx.good "good.$d"
    over_verified_tls mx.good
    local answer
    answer=$(bash -c "$(readme_line '{mtasts_exim}{example.com}')" 2>&1)
    [ "$answer" = mx.example.com:+:mx2.example.com ] || wrong "the library answers $answer"
    answer=$(bash -c "$(readme_line '{mtasts_exim_certificate}}')" 2>&1)
    [[ $answer = MTA-STS:* ]] || wrong "the function for certificates answers $answer"
    holds "the cache is Exim's" [ "$(stat -c %U /var/lib/mtasts/cache.db)" = Debian-exim ]

    follow_readme "## Undo everything" >"$work/said" 2>&1 || wrong "undoing ends with $?: $(cat "$work/said")"
    diff -r "$work/before" /etc/exim4 >"$work/said" || wrong "undoing leaves $(cat "$work/said")"
    local left
    left=$(find /usr/local /var/lib/mtasts /etc/mtasts.toml ! -type d 2>/dev/null)
    [ -z "$left" ] || wrong "undoing leaves $left"
    has_router && wrong "the router is there after undoing"
    send
    delivered_to mx
    routed_by dnslookup
    unset CARGO RUSTC CARGO_TARGET_DIR
    follow_readme "### 2. The directory of the cache"
}
