# shellcheck shell=bash disable=SC2034,SC2154 # $d and the like come from words.sh
# What becomes of mail while mtasts-socketmap comes and goes.

absent_server_holds_the_message_until_it_is_back() {
    policy enforce "mx.$d"
    mx 10 mx
    stop_server
    send
    held_back
    untouched mx
    start_server
    try_again
    delivered_to mx
    over_verified_tls mx
}

hanging_server_lets_nothing_through() {
    policy enforce "mx.$d"
    mx 10 mx starttls=absent
    kill -STOP "$server"
    load_scene
    mark
    hand_in
    # It has asked, and waits.
    for _ in $(seq 200); do
        [ "$(postqueue -p | grep -c '\*')" = 1 ] && break
        sleep 0.02
    done
    sleep 1
    untouched mx
    kill -CONT "$server"
    settled
    deferred
    logged 'TLS is required, but was not offered'
}

# RFC 8461 section 5.1: what has been cached stays in force.
restarted_server_knows_what_it_knew() {
    policy enforce "mx.$d"
    mx 10 mx
    send
    delivered_to mx
    stop_server
    forget
    record "_mta-sts.$d" SERVFAIL
    load_scene
    start_server
    answers "$address:postfix" "$d" "secure match=mx\.$d servername=hostname"
}

hanging_up_is_no_failure() {
    policy enforce "mx.$d"
    mx 10 mx
    send
    delivered_to mx
    # The same process of Postfix has a connection to the server that is gone.
    stop_server
    start_server
    policy_for "other.$d" enforce "mx.$d"
    record "other.$d" MX 10 "mx.$d"
    send "u@other.$d"
    delivered_to mx "other.$d"
    over_verified_tls mx
}

# 20 messages for each of four domains, one after the other, while it is told to read its configuration anew.
mail_goes_on_while_the_server_is_reloaded() {
    mail_flows 20 reload_server
    not_logged 'status=(deferred|bounced)'
    all_has_arrived 20
    testing_is_nowhere_held_back 20
}

# Where nobody listens for a moment, Postfix tries the next host, or later.
mail_goes_on_while_the_server_is_restarted() {
    mail_flows 20 restart_server
    for _ in $(seq 20); do
        [ "$(arrived | wc -l)" -lt 80 ] || break
        postqueue -f
        sleep 0.5
    done
    not_logged 'status=bounced'
    all_has_arrived 20
}

restart_server() { # gracefully
    stop_server
    start_server
}

mail_flows() { # N DISTURBANCE
    local message
    policy_for "strict.$d" enforce "mx.$d"
    policy_for "wild.$d" enforce "*.$d"
    policy_for "testing.$d" testing "mx.$d"
    for message in strict wild testing free; do
        record "$message.$d" MX 10 "mx.$d"
        record "$message.$d" MX 5 "clear.$d"
    done
    receiver mx
    receiver clear starttls=absent
    load_scene
    mark
    for message in $(seq "$1"); do
        hand_in "$message@strict.$d" "$message@wild.$d" "$message@testing.$d" "$message@free.$d"
        [ $((message % 4)) != 0 ] || "$2"
    done
    for _ in $(seq 400); do
        [ "$(mail_log | grep -c ' to=<.* status=')" -lt $((4 * $1)) ] || break
        sleep 0.05
    done
}

arrived() { # prints N@KIND
    smtp_log | sed -n "s/.* delivered .*to=<\([0-9]*@[a-z]*\)\.$d> .*/\1/p"
}

all_has_arrived() { # N
    holds "$(arrived | wc -l) messages arrived, want $((4 * $1))" [ "$(arrived | wc -l)" = $((4 * $1)) ]
    holds "each arrived once" [ "$(arrived | sort | uniq | wc -l)" = $((4 * $1)) ]
    smtp_log | grep delivered | grep -E "@(strict|wild)\.$d" | grep -Fq tls=no && wrong "enforced mail went in clear"
}

# The first host takes it, which has no TLS.
testing_is_nowhere_held_back() { # N
    holds "testing is no constraint" [ "$(smtp_log | grep delivered | grep "@testing\.$d" | grep -Fc tls=no)" = "$1" ]
}

# As mtasts-socketmap.socket has it: the socket stays while the service is started anew, and nobody is turned away.
mail_goes_on_while_the_service_is_restarted_behind_its_socket() {
    stop_server
    perl -MSocket -MPOSIX -e '
        $^F = 9;
        socket(S, PF_INET, SOCK_STREAM, 0) && setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1)
            && bind(S, sockaddr_in(5461, INADDR_LOOPBACK)) && listen(S, 1024) or die "$!\n";
        fileno(S) == 3 or POSIX::dup2(fileno(S), 3) or die "$!\n";
        $SIG{TERM} = sub { kill TERM => $service; waitpid($service, 0); exit };
        while (1) {
            unless ($service = fork) {
                @ENV{"LISTEN_FDS", "LISTEN_PID"} = (1, $$);
                exec $ARGV[0] or die "$!\n";
            }
            open(PID, ">", $ARGV[1]) && print(PID $service) && close(PID);
            waitpid($service, 0);
        }
    ' "$installed" "$work/service" 2>>"$work/socketmap.log" &
    server=$!
    mail_flows 20 restart_service
    not_logged 'status=(deferred|bounced)'
    all_has_arrived 20
    testing_is_nowhere_held_back 20
    stop_server
}

restart_service() { # and until there is another one
    local before
    before=$(cat "$work/service")
    kill "$before"
    for _ in $(seq 500); do
        [ "$(cat "$work/service")" = "$before" ] || return
        sleep 0.01
    done
    wrong "the service does not end"
}
