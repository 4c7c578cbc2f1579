# shellcheck shell=bash disable=SC2119,SC2120,SC2154 # the cases pass what is missing here
# Read by run.sh inside the namespaces: the words that the cases are written in.
# A case is a function in cases/*.sh whose name says the situation and its outcome.
# Each has a domain and receivers of its own, $d, so that no retry hint reaches the
# next one, and starts with an empty scene. They run in the order of their files.
#
#   policy MODE MX[,MX] [...]   what $d publishes; further words go to the world as they are
#   mx PREFERENCE LABEL [...]   an MX record for LABEL.$d and a receiver there, at ${at[LABEL]}:25
#   receiver LABEL [...]        only the receiver and its address, not the MX record
#   receiver_at_domain          a receiver at the address of $d itself, at ${at[domain]}
#   record WORDS                a DNS record as the world reads it
#   tlsa LABEL HEX|leaf         a TLSA record 3 1 1, vouched for by the resolver; leaf: the one that fits
#   world WORDS                 any other line of the scene
#   forget                      empties the scene; the receivers keep their addresses
#   strict_names                certificates must have the name as subjectAltName, until `usual_names`
#   send [RECIPIENT...]         sends one message, to u@$d when nobody is named
#
# and then what must have happened since `send`:
#
#   delivered_to LABEL [DOMAIN] the message for u@DOMAIN went to LABEL and nowhere else
#   over_verified_tls LABEL [N] with a checked certificate, asked for as LABEL.$d, or N
#   in_clear                    without TLS
#   deferred [DOMAIN], bounced  the message is in the queue, or came to its end
#   routed_by ROUTER            mtasts or dnslookup
#   untouched LABEL...          nobody connected to that receiver
#   logged PATTERN              an extended regular expression for Exim's log
#   holds WHAT COMMAND...       any command that must succeed
#   says CALL PATTERN           what ${dlfunc{LIBRARY}{CALL} gives; `refuses`: with what it fails

declare -A at
number=0 passed=0 failed=0
exim=(exim4) sender='<>' # how `send` calls it

close_case() {
    if [ -z "$trouble" ]; then
        echo "PASS $name"
        passed=$((passed + 1))
    else
        echo "FAIL $name:${trouble%;}"
        seen | tail -n 50 | sed 's/^/    /'
        failed=$((failed + 1))
    fi
}

last_word() {
    echo quit >&8
    echo "$passed $failed" >&9
}

# Every function of cases/*.sh is a case, unless the command line names some.
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
    d=d$number.test net=1 trouble=''
    at=() exim=(exim4) sender='<>'
    forget
    # What a case has changed in the configurations ends with it.
    [ "$configured" = internet ] || configure_exim_as_usual
    configure_mtasts
    mark
}

mark() {
    log_mark=$(size "$mainlog") smtp_mark=$(size "$world_dir/smtp.log")
    syslog_mark=$(size "$work/syslog") dns_mark=$(size "$world_dir/dns.log") https_mark=$(size "$world_dir/https.log")
}
size() { stat -c %s "$1" 2>/dev/null || echo 0; }

world() { echo "$*" >>"$scene"; }
record() { world dns "$@"; }
forget() { : >"$scene"; }

policy() {
    local mode=$1 patterns=$2
    shift 2
    world policy "$d" "$mode" "mx=$patterns" max_age=86400 id=1 "$@"
}

receiver() {
    local label=$1
    shift
    place "$label"
    record "$label.$d" A "${at[$label]}"
    world smtp "${at[$label]}:25" "name=$label.$d" "$@"
}

receiver_at_domain() {
    place domain
    record "$d" A "${at[domain]}"
    world smtp "${at[domain]}:25" "name=$d"
}

place() { # an address for LABEL, the same one each time
    : "${at[$1]:=127.$net.$number.$((${#at[@]} + 1))}"
}

mx() {
    local preference=$1
    shift
    record "$d" MX "$preference" "$1.$d"
    receiver "$@"
}

load_scene() {
    tell_world load "$scene" || wrong "$world_answer"
}

send() {
    load_scene
    mark
    [ $# -gt 0 ] || set -- "u@$d"
    # With a null sender no bounce is sent, and what fails is frozen.
    printf 'Subject: %s\n\nHello.\n' "$name" | timeout 100 "${exim[@]}" -odf -oi -f "$sender" -- "$@" 2>"$work/stderr" \
        || wrong "exim4 ended with $?: $(cat "$work/stderr")"
}

wrong() { trouble="$trouble $*;"; }

exim_log() { tail -c "+$((log_mark + 1))" "$mainlog"; }
smtp_log() { tail -c "+$((smtp_mark + 1))" "$world_dir/smtp.log"; }
dns_log() { tail -c "+$((dns_mark + 1))" "$world_dir/dns.log"; }
https_log() { tail -c "+$((https_mark + 1))" "$world_dir/https.log"; }
seen() {
    exim_log
    smtp_log
}

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
    asked_as "$1" "${2-$1.$d}"
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

deferred() {
    logged "== u@${1-$d} "
    not_logged "=> u@${1-$d} "
    not_logged "\*\* u@${1-$d} "
}

bounced() {
    logged "\*\* u@$d"
    not_logged "=> "
    nothing_arrived
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
    for host; do at_receiver "$host" '' && wrong "somebody connected to $host"; done
}

holds() {
    local what=$1
    shift
    "$@" || wrong "$what"
}

# The world's log: "ADDRESS connect", "ADDRESS starttls sni=NAME version=VERSION",
# "ADDRESS delivered from=<SENDER> to=<RECIPIENT>,... tls=yes|no".
at_receiver() { # LABEL PATTERN
    smtp_log | grep -Eq "^${at[$1]//./\\.}:25 $2"
}

tlsa() { # LABEL HEX|leaf
    record "_25._tcp.$1.$d" TLSA 3 1 1 "$2"
    world authentic "$d"
    world authentic "$1.$d"
    world authentic "_25._tcp.$1.$d"
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
#   receive SENDER [RECIPIENT]  a host outside hands in a message, for $here_user when nobody is named
#   replied PATTERN             one of Exim's replies to that host
#   at_once                     all of that took less than three seconds
#   nobody_asked_about DOMAIN   no STS record was asked for and no policy fetched

here_user=u@sender.test # setup.sh throws its mail away

receive() {
    load_scene
    mark
    local start=$EPOCHREALTIME
    printf '%s\r\n' "EHLO outside.test" "MAIL FROM:<$1>" "RCPT TO:<${2-$here_user}>" DATA "From: ${1:-nobody@outside.test}" "Subject: $name" '' Hello. . QUIT \
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
    receive outside@sender.test "u@$d"
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
    find /var/spool/exim4/input -name '*-H' -printf '%f\n' 2>/dev/null | sed 's/-H$//' | xargs -r exim4 -Mrm >/dev/null
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
    ln -sf "$library" "$command" "$work/built/release"
    export CARGO=true CARGO_TARGET_DIR=$work/built
    update-exim4.conf
    rm -rf "$work/before"
    cp -a /etc/exim4 "$work/before"

    # The README's known domain.
    world policy gmail.com enforce "mx=gmail-smtp-in.l.google.com,*.gmail-smtp-in.l.google.com" max_age=86400 id=1
    record gmail.com MX 5 gmail-smtp-in.l.google.com
    record gmail.com MX 4 mx.evil.test
    receiver gmail
    record gmail-smtp-in.l.google.com A "${at[gmail]}"
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
    unset CARGO CARGO_TARGET_DIR
    follow_readme "### 2. The directory of the cache"
}
