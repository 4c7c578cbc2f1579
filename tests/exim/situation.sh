# shellcheck shell=bash disable=SC2034,SC2119,SC2120,SC2154 # the cases pass what is missing here
# Read by run.sh inside the namespaces, after tests/mta/words.sh: the words that only
# the cases with Exim have. Its domains and receivers are those of the case, so that
# no retry hint reaches the next one.
#
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
#   in_clear                    nothing was sent over TLS
#   deferred [DOMAIN]           the message is in the queue; bounced [DOMAIN]: it came to its end
#   routed_by ROUTER            mtasts or dnslookup
#   says CALL PATTERN           what ${dlfunc{LIBRARY}{CALL} gives; `refuses`: with what it fails

before_case() {
    exim=(exim4) sender='<>' exim_is_changed=no # how `send` calls it
    rm -f /var/spool/exim4/input/* /var/spool/exim4/msglog/*
    # What a case has changed in the configurations ends with it.
    [ "$configured" = internet ] || configure_exim_as_usual
}

after_case() { if [ "$exim_is_changed" = yes ]; then configure_exim internet; fi; }

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

in_clear() { not_logged '=> .* X=TLS'; }

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
#   logged_as_readme_says NAME  the line that the README shows for user@NAME.example stands in the log, for u@NAME.$d

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

logged_as_readme_says() {
    logged " $(as_pattern "$(readme_line "user@$1\.example")")$"
}

mx_of() { # NAME [OPTION...]: NAME.$d has the one MX host mx.NAME.$d
    record "$1.$d" MX 10 "mx.$1.$d"
    receiver "mx.$1" "${@:2}"
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

after_step() { [[ $1 != *configuration* ]] || echo "allow_private_addresses = true" >>/etc/mtasts.toml; }

followed_word_for_word() { # split|unsplit
    configured=followed
    answer_debconf internet "$1"
    rm -rf /var/lib/mtasts /etc/mtasts.toml
    # What only this test needs: its receivers and policy hosts are on loopback.
    printf '%s\n' "ROUTER_DNSLOOKUP_IGNORE_TARGET_HOSTS = <; 0.0.0.0" "MAIN_HARDCODE_PRIMARY_HOSTNAME = sender.test" >"$(macros)"
    pretend_build "$command" "$(dirname "$command")/mtasts-socketmap"
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

    follow_all_steps 5
    # The last one is the check.
    said_what_is_shown "### 5" 8

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
