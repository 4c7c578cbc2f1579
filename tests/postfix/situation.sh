# shellcheck shell=bash disable=SC2015,SC2034,SC2119,SC2120,SC2154 # the cases pass what is missing here
# Read by run.sh inside the namespaces, after tests/mta/words.sh: the words that only
# the cases with Postfix have.
#
#   classic                     true for a Postfix that knows only the names in certificates
#   $map                        what mtasts-socketmap is asked as by this Postfix, after `socketmap:`
#   main LINE...                lines of main.cf, until the case has ended; `service LINE...`: of master.cf
#   mtasts LINE...              lines of mtasts.toml, which the server takes over; until the case has ended
#   start_server, stop_server   mtasts-socketmap; $server is its process
#   send [RECIPIENT...]         sends one message, to u@$d when nobody is named, and awaits what comes of it
#   hand_in [RECIPIENT...]      the same without awaiting; `settled RECIPIENT...` awaits
#   try_again [RECIPIENT...]    tries what is deferred, and awaits
#
# and then what must have happened:
#
#   delivered_to LABEL [DOMAIN] the message for u@DOMAIN went to LABEL and nowhere else
#   over_verified_tls LABEL [N] with a checked certificate, asked for as LABEL.$d, or N
#   unchecked LABEL             without one
#   deferred [DOMAIN]           the message is in the queue and nobody has it, since no host is good
#   held_back [DOMAIN]          the same, since Postfix could not learn whether there is a policy
#   answers TABLE KEY PATTERN   what postmap -q prints; says_nothing TABLE KEY: it knows nothing, silently; holds_back
#                               TABLE KEY PATTERN: it fails, and says so

address=inet:127.0.0.1:5461
classic() { [ "$release" = 3.7 ]; }
if classic; then map=$address:postfix; else map=$address:postfix-tlsrpt; fi

before_case() {
    postsuper -d ALL >"$work/deleted" 2>&1
    [ -z "$is_changed" ] || { cp -a "$work/usual/." /etc/postfix/ && reload_postfix; }
    [ -z "$mtasts_is_changed" ] || { configure_mtasts; reload_server; }
    is_changed='' mtasts_is_changed=''
    kill -0 "$server" 2>/dev/null || start_server
}
after_case() { :; }

main() {
    postconf -e "$@"
    is_changed=yes
    reload_postfix
}

service() {
    postconf -M -e "$@"
    is_changed=yes
    reload_postfix
}

# What `postfix reload` does, but for the checks before it, which take a second. Each process would wait for two seconds
# where a file has just been changed.
reload_postfix() {
    local before
    before=$(pgrep -x qmgr)
    touch -d '1 minute ago' /etc/postfix/main.cf /etc/postfix/master.cf
    kill -HUP "$(tr -d ' ' </var/spool/postfix/pid/master.pid)"
    for _ in $(seq 500); do
        case $(pgrep -x qmgr) in '' | "$before") sleep 0.01 ;; *) return ;; esac
    done
    wrong "Postfix does not reload"
}

mtasts() {
    configure_mtasts
    printf '%s\n' "$@" >>/etc/mtasts.toml
    mtasts_is_changed=yes
    reload_server
}

listens=(--listen "$address" --listen unix:/run/mtasts/socketmap --listen unix:/var/spool/postfix/mtasts/socketmap)
start_server() {
    "$installed" "${listens[@]}" 2>>"$work/socketmap.log" &
    server=$!
    for _ in $(seq 200); do
        (: </dev/tcp/127.0.0.1/5461) 2>/dev/null && return
        sleep 0.02
    done
    wrong "mtasts-socketmap does not listen: $(tail -n 3 "$work/socketmap.log")"
}
stop_server() {
    kill "$server"
    for _ in $(seq 500); do
        kill -0 "$server" 2>/dev/null || return
        sleep 0.02
    done
    wrong "mtasts-socketmap does not end"
    kill -9 "$server"
}
reload_server() { kill -HUP "$server"; }

hand_in() {
    [ $# -gt 0 ] || set -- "u@$d"
    printf 'Subject: %s\n\nHello.\n' "$name" | timeout 60 sendmail -oi -f '' -- "$@" 2>"$work/stderr" \
        || wrong "sendmail ended with $?: $(cat "$work/stderr")"
}

# A line for each of them, since `mark`.
settled() {
    local recipient
    for recipient in "${@:-u@$d}"; do
        for _ in $(seq 600); do
            mail_log | grep -Fq "to=<$recipient>, " && continue 2
            sleep 0.05
        done
        wrong "nothing came of $recipient in 30 s"
    done
}

send() {
    load_scene
    mark
    hand_in "$@"
    settled "$@"
}

try_again() {
    load_scene
    mark
    postqueue -f
    settled "$@"
}

delivered_to() {
    local who=u@${2-$d} host
    logged "to=<$who>, relay=[^ ]*\[${at[$1]//./\\.}\].* status=sent "
    not_logged "to=<$who>, .* status=(deferred|bounced)"
    at_receiver "$1" "delivered .*<$who>" || wrong "nothing for $who arrived at $1"
    for host in "${!at[@]}"; do
        [ "$host" = "$1" ] || ! at_receiver "$host" "delivered .*<$who>" || wrong "$who arrived at $host"
    done
}

over_verified_tls() {
    logged "Verified TLS connection established to [^ ]*\[${at[$1]//./\\.}\]"
    at_receiver "$1" 'delivered .* tls=yes' || wrong "$1 saw no TLS"
    asked_as "$1" "${2-$(name_of "$1")}"
}

unchecked() { not_logged "Verified TLS connection established to [^ ]*\[${at[$1]//./\\.}\]"; }

deferred() {
    is_kept "$@"
    not_logged "to=<u@${1-$d}>, .*client TLS configuration problem"
}

held_back() {
    is_kept "$@"
    logged "to=<u@${1-$d}>, relay=none, .*client TLS configuration problem"
    logged 'policy table lookup error'
    nothing_arrived
}

is_kept() {
    local who=u@${1-$d} host
    logged "to=<$who>, .* status=deferred "
    not_logged "to=<$who>, .* status=(sent|bounced)"
    for host in "${!at[@]}"; do at_receiver "$host" "delivered .*<$who>" && wrong "$who arrived at $host"; done
}

ask() { # TABLE KEY
    answer=$(timeout 60 postmap -q "$2" "socketmap:$1" 2>"$work/stderr")
    status=$?
}

answers() {
    ask "$1" "$2"
    [ "$status" = 0 ] && [ ! -s "$work/stderr" ] || wrong "postmap -q $2 $1 ends with $status: $(cat "$work/stderr")"
    [[ $answer =~ ^($3)$ ]] || wrong "postmap -q $2 $1 says '$answer', want '$3'"
}

says_nothing() {
    ask "$1" "$2"
    [ "$status" = 1 ] && [ -z "$answer" ] && [ ! -s "$work/stderr" ] || wrong "postmap -q $2 $1 ends with $status: $answer $(cat "$work/stderr")"
}

holds_back() {
    ask "$1" "$2"
    [ "$status" = 1 ] && [ -z "$answer" ] || wrong "postmap -q $2 $1 ends with $status: $answer"
    grep -Eq "temporary error: $3" "$work/stderr" && grep -q 'fatal: .*query error' "$work/stderr" || wrong "postmap -q $2 $1 says: $(cat "$work/stderr")"
}

# The rows that each mail server must show.

tls_trouble_defers() { # further words of `receiver`
    policy enforce "mx.$d"
    mx 10 mx "$@"
    send
    deferred
}

# As the README has it; what only these tests need came before.
use_the_lines_of_the_readme() {
    follow_readme "### 3. Postfix"
    if classic; then follow_readme "#### Postfix older than 3.10.5"; else follow_readme "#### Postfix 3.10.5 or newer"; fi
}

# Once for all cases.
is_changed='' mtasts_is_changed='' trouble=''
mkdir -p /run/mtasts /var/spool/postfix/mtasts
# Nobody links it statically here, and the real one takes its time to be made.
archive=$work/libmtasts.a
echo 'int mtasts_version;' | cc -x c -c -o "$work/object.o" - && ar rcs "$archive" "$work/object.o"
pretend_build "$command" "$socketmap"
follow_readme "### 1. The library and the server" >"$work/said" 2>&1 || echo "FAIL the README: $(cat "$work/said")"
follow_readme "### 2. Its service" >"$work/said" 2>&1 || echo "FAIL the README: $(cat "$work/said")"
unset CARGO RUSTC CARGO_TARGET_DIR
installed=/usr/local/sbin/mtasts-socketmap
start_server
use_the_lines_of_the_readme >"$work/said" 2>&1 || echo "FAIL the README: $(cat "$work/said")"
cp -a /etc/postfix "$work/usual"
postfix start 2>"$work/stderr" || echo "FAIL postfix start: $(cat "$work/stderr" "$mainlog")"
[ -z "$trouble" ] || echo "FAIL $trouble"
