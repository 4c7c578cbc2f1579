# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and words.sh
# Sendmail and its server: answers it does not get, answers that are too long for it,
# and a server that is changed while mail flows.

enforced() { # [WORD-OF-RECEIVER]
    policy enforce "mx.$d"
    mx 10 mx "$@"
}

without_the_server_mail_waits_and_goes_when_it_is_back() {
    enforced
    stop_server
    send
    deferred
    nothing_arrived
    for_want_of "STS "
    map_says "$d" "no match \(75\)"
    start_server || wrong "no server"
    run_queue
    delivered_to mx
    over_verified_tls mx
}

without_the_server_nothing_goes_in_clear() {
    enforced starttls=absent
    stop_server
    send
    start_server || wrong "no server"
    deferred
    nothing_arrived
}

with_a_server_that_hangs_mail_waits() {
    enforced
    load_scene
    kill -STOP "$server_pid"
    send
    kill -CONT "$server_pid"
    deferred
    nothing_arrived
    for_want_of "STS "
    run_queue
    delivered_to mx
    over_verified_tls mx
}

a_cached_policy_is_enforced_with_its_record_and_its_host_switched_off() {
    enforced certificate=unknown-ca
    load_scene
    map_says "$d" "returns secure match=mx\.$d servername=hostname \(0\)"
    forget
    mx 10 mx certificate=unknown-ca
    world dns "_mta-sts.$d" NXDOMAIN
    send
    deferred
    nothing_arrived
}

# Sendmail reads 255 bytes of names. A longer list it would cut, amid a name, and from
# about 1100 bytes on deliver without any check.
hosts_of_many() { # N
    local number names=
    for number in $(seq "$1"); do names=$names,m$number.some-way-to-go.$d; done
    echo "${names#,}"
}

a_policy_that_is_longer_than_sendmail_reads_is_enforced() { # [WORD-OF-RECEIVER]
    policy enforce "mx.$d,$(hosts_of_many 300)"
    mx 10 mx
    send
    delivered_to mx
    over_verified_tls mx
}
a_policy_that_is_longer_than_sendmail_reads_stops_mail_in_clear() {
    policy enforce "mx.$d,$(hosts_of_many 300)"
    mx 10 mx starttls=absent
    send
    deferred
    nothing_arrived
}
a_policy_that_is_longer_than_sendmail_reads_stops_mail_to_others() {
    policy enforce "$(hosts_of_many 300)"
    mx 10 mx
    send
    deferred
    nothing_arrived
}
a_wildcard_at_the_end_of_a_long_policy_counts() {
    policy enforce "$(hosts_of_many 300),*.$d"
    mx 10 mx
    send
    delivered_to mx
    over_verified_tls mx
}

# As Debian has it, with the line and the command of the README.
the_server_can_listen_on_the_port_that_debian_has() {
    sed -i "s|^FEATURE(.sts'.*|$(readme_line '^FEATURE(')|" /etc/mail/m4/mtasts.m4
    touch /etc/mail/sendmail.mc
    make -C /etc/mail >"$work/said" 2>&1 || wrong "make ends with $?: $(cat "$work/said")"
    is_changed=yes
    holds "the other server was stopped" follow_readme "## From another server"
    enforced
    load_scene
    stop_server
    map_says "$d" "no match \(75\)"
    start_server --listen inet:127.0.0.1:5461 || wrong "no server"
    send
    delivered_to mx
    over_verified_tls mx
    map_says "$d" "returns secure match=mx\.$d servername=hostname \(0\)"
}

this_sendmail_has_what_the_readme_wants() {
    holds "_FFR_MTA_STS" bash -c "$(readme_line '_FFR_MTA_STS$')" >"$work/said" 2>&1
}

# As examples/sendmail/README.md tells.
a_socket_in_a_directory_that_others_can_write_to_is_not_asked() {
    enforced
    chmod 0775 /run/mtasts
    send
    chmod 0755 /run/mtasts
    deferred
    logged 'socket map "sts": local socket name /run/mtasts/socketmap unsafe: Group writable directory'
}

# ---- while mail flows ----

flow=40

# Mail for three domains, $flow each, which four queue runs at a time deliver. Until
# all has arrived, something is done over and over, $rounds times.
mail_flows_while() { # WORD...
    local domain message runner runners=()
    for domain in strict wild; do mx_host "$domain"; done
    policy_for "strict.$d" enforce "mx.strict.$d"
    policy_for "wild.$d" enforce "*.wild.$d"
    mx_host free starttls=absent
    load_scene
    for message in $(seq "$flow"); do
        for domain in strict wild free; do
            printf 'Subject: %s\n\nHello.\n' "$message" | sendmail -Am -odq -i -f a@sender.test "u$message@$domain.$d" || wrong "sendmail ended with $?"
        done
    done
    mark
    rm -f "$work/all_is_delivered"
    for runner in 1 2 3 4; do
        while [ ! -e "$work/all_is_delivered" ]; do sendmail -Am -qf >>"$work/runs" 2>&1; done &
        runners[runner]=$!
    done
    for rounds in $(seq 300); do
        "$@"
        [ "$(smtp_log | grep -c ' delivered ')" -lt $((3 * flow)) ] || break
    done
    touch "$work/all_is_delivered"
    wait "${runners[@]}"
    holds "it has been done more than $rounds times" [ "$rounds" -ge 5 ]
}
mx_host() { # NAME [WORD-OF-RECEIVER]
    record "$1.$d" MX 10 "mx.$1.$d"
    receiver "mx.$1" "${@:2}"
}

all_of_it_has_arrived_once_and_as_it_should() { # the flow
    holds "the queue is empty, not $(in_queue | tail -n 3)" [ "$(find /var/spool/mqueue -name 'qf*' | wc -l)" = 0 ]
    local arrived domain
    arrived=$(smtp_log | sed -n 's/.* delivered .* to=<\(u[0-9]*@[a-z]*\)\..*> tls=\(.*\)$/\1 \2/p' | sort)
    holds "$((3 * flow)) mails arrived, not $(wc -l <<<"$arrived")" [ "$(wc -l <<<"$arrived")" = $((3 * flow)) ]
    holds "each arrived once" [ "$(uniq <<<"$arrived" | wc -l)" = $((3 * flow)) ]
    grep -E '@(strict|wild) no' <<<"$arrived" && wrong "enforced mail went in clear"
    not_logged 'dsn=5'
}

reload_server() { # and let some mail through
    kill -HUP "$server_pid" || wrong "the server has ended: $(tail -n 3 "$work/server.log")"
    sleep 0.05
}

while_the_server_is_reloaded_all_mail_is_delivered_at_once() {
    mail_flows_while reload_server
    all_of_it_has_arrived_once_and_as_it_should
    not_logged 'stat=Deferred'
}

restart_server() { # and let some mail through
    stop_server
    start_server || wrong "no server"
    sleep 0.2
}

while_the_server_is_restarted_no_mail_is_lost_or_goes_in_clear() {
    mail_flows_while restart_server
    all_of_it_has_arrived_once_and_as_it_should
}
