# shellcheck shell=bash disable=SC2034,SC2119,SC2120,SC2154 # the cases pass what is missing here
# Read by run.sh inside the namespaces, after tests/mta/words.sh: the words that only
# the cases with Sendmail have.
#
#   send [RECIPIENT...]         sends one message, to u@$d when nobody is named
#   queue [RECIPIENT...]        leaves one in the queue
#   run_queue                   tries all that is in the queue
#
# and then what must have happened since `send` or `run_queue`:
#
#   delivered_to LABEL [DOMAIN] the message for u@DOMAIN went to LABEL and nowhere else
#   over_verified_tls LABEL     with a checked certificate, asked for as LABEL.$d
#   deferred [DOMAIN]           the message is in the queue, and nobody got it
#   for_want_of PATTERN         so the queue says why
#   map_says DOMAIN PATTERN     what `sendmail -bt` says about it
#   await WORD...               any of these words, as soon as it is true
#   is_before_8_18_2            true for a Sendmail that checks less

before_case() {
    rm -rf /var/spool/mqueue/*
    # What a case has changed in the configuration ends with it.
    [ "$is_changed" = no ] || take_configuration usual
    is_changed=no
}
after_case() { :; }
is_changed=no

# It would only queue mail while the machine has much to do.
sendmail() { timeout 100 /usr/sbin/sendmail -O QueueLA=1000000 "$@"; }

is_before_8_18_2() { [ "$(printf '%s\n' "$version" 8.18.2 | sort -V | head -n 1)" != 8.18.2 ]; }

hand_to_sendmail() { # RECIPIENT..., with ${options[@]}
    [ $# -gt 0 ] || set -- "u@$d"
    printf 'Subject: %s\n\nHello.\n' "$name" | sendmail -Am "${options[@]}" -i -f a@sender.test -- "$@" >"$work/stderr" 2>&1
    local ended=$?
    # It is in the queue: EX_TEMPFAIL, or EX_OSERR where a map cannot be asked.
    [[ " 0 75 71 ${may_end_with-} " == *" $ended "* ]] || wrong "sendmail ended with $ended: $(cat "$work/stderr")"
}

send() {
    local options=(-odi)
    load_scene
    mark
    hand_to_sendmail "$@"
}

queue() {
    local options=(-odq)
    load_scene
    hand_to_sendmail "$@"
}

run_queue() {
    mark
    sendmail -Am -qf >"$work/stderr" 2>&1 || wrong "sendmail -q ended with $?: $(cat "$work/stderr")"
}

in_queue() { /usr/sbin/sendmail -bp -Am 2>&1; }

delivered_to() {
    local who=u@${2-$d} host
    at_receiver "$1" "delivered .*<$who>" || wrong "nothing for $who arrived at $1"
    for host in "${!at[@]}"; do
        [ "$host" = "$1" ] || ! at_receiver "$host" "delivered .*<$who>" || wrong "$who arrived at $host as well"
    done
    in_queue | grep -Fq "$who" && wrong "$who is still in the queue"
    not_logged "to=<?$who>?, .* dsn=5"
}

over_verified_tls() {
    logged "STARTTLS=client, relay=$(name_of "$1")\., .* verify=OK"
    at_receiver "$1" 'delivered .* tls=yes' || wrong "$1 saw no TLS"
    asked_as "$1" "$(name_of "$1")"
}

deferred() {
    local who=u@${1-$d} host
    in_queue | grep -Fq "$who" || wrong "$who is not in the queue: $(in_queue)"
    for host in "${!at[@]}"; do at_receiver "$host" "delivered .*<$who>" && wrong "$who arrived at $host"; done
    not_logged "to=<?$who>?, .* dsn=[25]"
}

for_want_of() { logged "(stat=Deferred: |reject=).*$1"; }

map_says() { # DOMAIN PATTERN
    local answer
    answer=$(printf '/map sts %s\n' "$1" | sendmail -bt 2>&1 | sed -n 's/^\(> \)\{0,1\}map_lookup: sts ([^)]*) //p')
    [[ $answer =~ ^($2)$ ]] || wrong "sendmail -bt says '$answer' about $1, want '$2'"
}

# A word, until it finds nothing wrong any more.
await() { # WORD...
    local before=$trouble
    for _ in $(seq 100); do
        trouble=$before
        "$@"
        [ "$trouble" != "$before" ] || return
        sleep 0.05
    done
}
