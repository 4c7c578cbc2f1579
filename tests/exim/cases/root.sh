# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# Exim is setuid root and routes as root: who does the library's work, and what it does without a place for it.

calls=setresuid,connect,sendto,sendmsg,sendmmsg,openat

# Sends as an ordinary user, so that it is the setuid bit that makes Exim root, and
# notes who asks, fetches, opens and logs what.
send_traced() { # RECIPIENT...
    load_scene
    mark
    printf 'Subject: %s\n\nHello.\n' "$name" >"$work/message"
    timeout 100 strace -f -qq -s 400 -u nobody -o "$work/trace" \
        -e "trace=$calls" \
        exim4 -odf -oi -f '<>' -- "$@" <"$work/message" 2>"$work/stderr" \
        || wrong "exim4 ended with $?: $(cat "$work/stderr")"
}

# Each of these was done by one process and no other, which had become that user.
works_as() { # USER PATTERN...
    local uid pids pattern before
    uid=$(id -u "$1")
    shift
    for pattern; do
        pids=$(grep -E "$pattern" "$work/trace" | awk '{print $1}' | sort -u)
        case $pids in
            '' | *[!0-9]*) wrong "'$pattern' was done by the processes '$pids', want one" ;;
        esac
        before=$(grep "^$pids " "$work/trace" | sed -E "\\,$pattern,q")
        grep -Eq "setresuid\($uid, $uid, $uid\) += 0" <<<"$before" || wrong "'$pattern' was not done by user $uid"
    done
}

asks_dns() { # for the record of this case's domain
    echo "send.*_mta-sts.*d$number"
}
fetches='connect\(.*htons\(443\)'
opens_the_cache='openat\(.*"/var/lib/mtasts/'

# Conformance: S10-5.
dns_and_https_and_the_cache_are_the_work_of_the_mail_user() {
    policy enforce "mx.$d"
    mx 20 mx
    mx 10 evil
    send_traced "u@$d"
    delivered_to mx
    over_verified_tls mx
    works_as Debian-exim "$(asks_dns)" "$fetches" "$opens_the_cache"
}

two_hundred_recipients_at_one_domain_make_one_child() {
    policy enforce "mx.$d"
    mx 10 mx
    local recipients
    mapfile -t recipients < <(for i in $(seq 200); do echo "u$i@$d"; done)
    send_traced "${recipients[@]}"
    works_as Debian-exim "$(asks_dns)"
    local arrived
    arrived=$(mail_log | grep -c "[=-]> u[0-9]*@$d R=mtasts .*CV=yes")
    [ "$arrived" = 200 ] || wrong "$arrived of 200 were delivered"
    over_verified_tls mx
}

the_configured_user_does_the_work_and_owns_the_files() {
    echo 'user = "mail"' >>/etc/mtasts.toml
    mv /var/lib/mtasts /var/lib/mtasts.away
    install -d -m 0750 -o mail -g mail /var/lib/mtasts
    policy enforce "mx.$d"
    mx 10 mx
    send_traced "u@$d"
    over_verified_tls mx
    works_as mail "$(asks_dns)" "$fetches" "$opens_the_cache"
    local others
    others=$(find /var/lib/mtasts -mindepth 1 -printf '%f %u:%g %m\n' | grep -v ' mail:mail 640$')
    [ -z "$others" ] || wrong "in the cache directory: $others"
    rm -r /var/lib/mtasts
    mv /var/lib/mtasts.away /var/lib/mtasts
    configure_mtasts
}

# Mail goes on and is still protected; what is learnt is only forgotten at once.
without_a_cache() { # COMMAND... that puts something else in the place of the directory
    mv /var/lib/mtasts /var/lib/mtasts.away
    "$@"
    policy enforce "mx.$d"
    mx 20 mx
    mx 10 evil
    send_traced "u@$d"
    delivered_to mx
    over_verified_tls mx
    untouched evil
    works_as Debian-exim "$(asks_dns)" "$fetches"
    system_logged 'install -d -m 0750 -o Debian-exim -g Debian-exim /var/lib/mtasts'
    [ -z "$(find /var/lib/mtasts -mindepth 1 2>/dev/null)" ] || wrong "files in $(ls -lA /var/lib/mtasts)"
    rm -rf /var/lib/mtasts
    mv /var/lib/mtasts.away /var/lib/mtasts
}

a_missing_cache_directory_is_told_and_does_not_stop_or_weaken_mail() { without_a_cache true; }
a_cache_directory_of_roots_is_told_and_does_not_stop_or_weaken_mail() {
    without_a_cache install -d -m 0755 /var/lib/mtasts
}
a_cache_directory_open_to_all_is_told_and_does_not_stop_or_weaken_mail() {
    without_a_cache install -d -m 0777 -o Debian-exim -g Debian-exim /var/lib/mtasts
}

# SQLite opens the journal beside the file without a look at it, and would wait there.
a_fifo_in_the_place_of_the_journal_does_not_stop_or_weaken_mail() {
    rm -f /var/lib/mtasts/*
    mkfifo -m 0640 /var/lib/mtasts/cache.db-journal
    chown Debian-exim:Debian-exim /var/lib/mtasts/cache.db-journal
    policy enforce "mx.$d"
    mx 20 mx
    mx 10 evil
    send
    delivered_to mx
    over_verified_tls mx
    untouched evil
    system_logged 'cache.db-journal: is a special file, want a regular file'
    rm -f /var/lib/mtasts/*
}

# The advice is for the user that delivers mail.
who_only_asks_is_not_told_to_own_the_cache() {
    mv /var/lib/mtasts /var/lib/mtasts.away
    policy enforce "mx.$d"
    load_scene
    local answer
    answer=$(setpriv --reuid 65534 --regid 65534 --clear-groups \
        exim4 -be "\${dlfunc{$library}{mtasts_exim}{$d}{10 mx.$d}}" 2>&1)
    [ "$answer" = "mx.$d" ] || wrong "exim4 -be says '$answer'"
    system_logged 'install -d -m 0750 -o USER -g GROUP /var/lib/mtasts'
    mv /var/lib/mtasts.away /var/lib/mtasts
}

a_user_that_is_not_there_holds_mail_where_faults_of_the_configuration_do() {
    printf 'user = "nosuch"\non_config_error = "defer"\n' >>/etc/mtasts.toml
    mx 10 mx
    send
    deferred
    logged 'key .user.: nosuch is not in /etc/passwd'
    untouched mx
}
