# shellcheck shell=bash disable=SC2034,SC2154 # $d and the like come from words.sh
# The milter of examples/milter, before smtpd.

milter_warms_the_cache() {
    start_milter
    policy enforce "mx.$d"
    mx 10 mx
    load_scene
    submit "u@$d"
    accepted 1
    logged "mtasts-warm\[[0-9]+\]: $d: enforce: "
    cached "$d" 1
    settled
    # Who delivers it asks nobody any more.
    dns_mark=$(size "$world_dir/dns.log")
    tell_world off https
    main defer_transports=
    try_again
    tell_world on https
    delivered_to mx
    over_verified_tls mx
    not_asked TXT "_mta-sts.$d"
    end_milter
}

milter_as_the_readme_has_it() {
    use_the_milter_of_the_readme
    local unit=/etc/systemd/system/mtasts-warm.service user line
    user=$(sed -n 's/^User=//p' $unit) line=$(sed -n 's/^ExecStart=//p' $unit)
    holds "it is started" grep -qx "enable --now mtasts-warm.service" "$work/systemctl"
    # shellcheck disable=SC2086 # words they are
    setpriv --reuid="$user" --regid="$user" --clear-groups $line 2>"$work/milter.err" &
    milter=$!
    await_port 8463
    policy enforce "mx.$d"
    mx 10 mx
    load_scene
    mark
    submit "u@$d"
    accepted 1
    logged "mtasts-warm\[[0-9]+\]: $d: enforce: "
    settled
    delivered_to mx
    over_verified_tls mx
    end_milter
}

milter_refuses_nobody() {
    start_milter
    record "_mta-sts.$d" SILENT
    world status "hangs.$d" silent
    world policy "other.$d" testing "mx=mx.$d" max_age=86400 id=1
    load_scene
    local start=$EPOCHREALTIME
    submit "u@$d" "u@hangs.$d" "u@[192.0.2.1]" "u@other.$d" '"a@b"@absent.'"$d" "u@$(printf 'a%.0s' {1..300}).test"
    local milliseconds=$(((${EPOCHREALTIME/./} - ${start/./}) / 1000))
    # Postfix itself has something against the last one, which the milter never sees.
    accepted 5
    holds "it took $milliseconds ms, want two waits of 1000 at most" [ "$milliseconds" -lt 3500 ]
    logged "mtasts-warm\[[0-9]+\]: other\.$d: testing: "
    cached "hangs.$d" 0
    end_milter
}

milter_that_has_ended_refuses_nobody() {
    main defer_transports=smtp
    use_the_milter_of_the_readme
    submit "u@$d"
    accepted 1
}

# Who signs or filters may want that nothing passes without.
another_milter_that_has_ended_refuses_as_before() {
    main smtpd_milters=inet:127.0.0.1:8891 milter_default_action=tempfail
    use_the_milter_of_the_readme
    submit "u@$d"
    holds "nothing passes: $(cat "$work/replies")" grep -q '^451 4.7.1 Service unavailable' "$work/replies"
    not_logged ' to=<'
}

use_the_milter_of_the_readme() { # which systemd does not start in here
    is_changed=yes
    follow_readme "## While mail comes in" >"$work/said" 2>&1 || wrong "it ends with $?: $(cat "$work/said")"
}

# Built as its Makefile says, against what `make install` puts there.
start_milter() { # at a port of its own, since an earlier one may still be ending
    local port=$((8800 + number))
    make -C "$source/examples/milter" >"$work/said" 2>&1 || wrong "make ends with $?: $(cat "$work/said")"
    main "smtpd_milters=inet:127.0.0.1:$port" milter_default_action=accept defer_transports=smtp
    mark
    setpriv --reuid=mtasts --regid=mtasts --clear-groups "$source/examples/milter/warm" "inet:$port@127.0.0.1" 2>"$work/milter.err" &
    milter=$!
    await_port "$port"
}

await_port() { # PORT
    for _ in $(seq 500); do
        (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
        sleep 0.02
    done
    wrong "the milter does not listen: $(cat "$work/milter.err" "$work/said")"
}

end_milter() { # as it was started
    kill -0 "$milter" || wrong "the milter has ended: $(cat "$work/milter.err")"
    kill "$milter"
}

# Hands a message in by SMTP; what is said to it is in $work/replies.
submit() { # RECIPIENT...
    local line
    exec 7<>/dev/tcp/127.0.0.1/25
    : >"$work/replies"
    reply
    while read -r line; do
        printf '%s\r\n' "$line" >&7
        reply
    done < <(printf '%s\n' "EHLO client.test" "MAIL FROM:<>" && printf 'RCPT TO:<%s>\n' "$@" && echo DATA)
    # Who writes on when it is refused is hung up on.
    if grep -q '^354 ' "$work/replies"; then
        printf '%s\r\n' "Subject: $name" '' Hello. . >&7
        reply
    fi
    exec 7>&-
}

reply() { # all lines of one
    local line
    while read -r -t 30 line <&7; do
        echo "$line" >>"$work/replies"
        [ "${line:3:1}" = - ] || return
    done
}

accepted() { # N recipients
    local count
    count=$(grep -c '^250 2.1.5 ' "$work/replies")
    [ "$count" = "$1" ] || wrong "$count recipients were accepted, want $1: $(tr -d '\r' <"$work/replies")"
    grep -q '^250 2.0.0 Ok: queued' "$work/replies" || wrong "the message was not accepted: $(cat "$work/replies")"
}

cached() { # DOMAIN 0|1
    local count
    count=$(sqlite3 /var/lib/mtasts/cache.db "SELECT count(*) FROM domain WHERE name = '$1' AND body IS NOT NULL")
    [ "$count" = "$2" ] || wrong "the cache has $count policies of $1, want $2"
}
