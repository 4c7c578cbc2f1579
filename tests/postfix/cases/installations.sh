# shellcheck shell=bash disable=SC2034,SC2154 # $d and the like come from words.sh
# The README, word for word.

the_commands_of_the_readme_enforce_and_undo() {
    is_changed=yes
    rm -rf /etc/postfix/* && cp -a "$stock/." /etc/postfix/
    world policy gmail.com enforce "mx=gmail-smtp-in.l.google.com,*.gmail-smtp-in.l.google.com" max_age=86400 id=1
    policy enforce "mx.$d"
    mx 10 mx starttls=absent
    load_scene
    use_the_lines_of_the_readme >"$work/said" 2>&1 || wrong "they end with $?: $(cat "$work/said")"
    main_cf_has_what_is_shown
    holds "the service listens there" grep -qx 'ListenStream=127.0.0.1:5461' /usr/local/lib/systemd/system/mtasts-socketmap.socket
    grep -qx "enable --now mtasts-socketmap.socket" "$work/systemctl" || wrong "systemd was told $(cat "$work/systemctl")"
    follow_readme "### 4. Postfix takes it over" >"$work/said" 2>&1 || wrong "it ends with $?: $(cat "$work/said")"
    holds "nothing else is changed" [ -z "$(diff -r "$stock" "$work/usual" | grep '^[<>]' | grep -v -e smtp_tls_CAfile -e smtp_tls_policy_maps)" ]
    mtasts_is_changed=yes # a key of the configuration may have been forgotten by the reload
    follow_readme "### 5. The check" >"$work/said" 2>&1 || wrong "it ends with $?: $(cat "$work/said")"
    said_what_is_shown "### 5. The check" 1
    send
    deferred

    mark
    undo_everything
    [ -z "$(postconf -n smtp_tls_policy_maps)" ] || wrong "there is still $(postconf -n smtp_tls_policy_maps)"
    local left
    left=$(find /usr/local/lib /usr/local/include /usr/local/bin /usr/local/sbin/mtasts* /var/lib/mtasts /etc/mtasts.toml ! -type d 2>/dev/null)
    [ -z "$left" ] || wrong "undoing leaves $left"
    holds "the user is gone" [ -z "$(getent passwd mtasts)$(getent group mtasts)" ]
    holds "the service listens where its package says" grep -qx "revert mtasts-socketmap.socket" "$work/systemctl"
    try_again
    delivered_to mx
    over_no_tls mx "$d"
    put_back
}

# What the postmaster has set before: pasted twice, in the other release's dialect in between, and undone.
own_tables_and_milters_stay_as_they_are() {
    main 'smtp_tls_policy_maps=texthash:/etc/postfix/tls_policy, inline:{ {other.test=may}, {more.test = none} }' \
        'smtpd_milters = inet:127.0.0.1:8891, { inet:127.0.0.1:8892, default_action=accept }' smtp_tls_security_level=verify
    local before
    before=$(cat /etc/postfix/main.cf)
    follow_readme "#### Postfix older than 3.10.5" && has_one_entry postfix
    follow_readme "#### Postfix 3.10.5 or newer" && has_one_entry postfix-tlsrpt
    follow_readme "#### Postfix 3.10.5 or newer" && has_one_entry postfix-tlsrpt
    follow_readme "## A Unix socket" >"$work/said" 2>&1 || wrong "it ends with $?: $(cat "$work/said")"
    has_one_entry postfix-tlsrpt socketmap:unix:mtasts/socketmap
    follow_readme "#### Postfix older than 3.10.5" && has_one_entry postfix
    follow_readme "#### Postfix older than 3.10.5" && has_one_entry postfix
    use_the_lines_of_the_readme && has_one_entry "${map##*:}"
    for _ in 1 2; do
        follow_readme "## While mail comes in" >"$work/said" 2>&1 || wrong "it ends with $?: $(cat "$work/said")"
        [ "$(postconf -h smtpd_milters)" = "inet:127.0.0.1:8891, { inet:127.0.0.1:8892, default_action=accept } { inet:127.0.0.1:8463, default_action=accept }" ] \
            || wrong "there is $(postconf -n smtpd_milters)"
    done
    undo_everything
    [ "$(cat /etc/postfix/main.cf)" = "$before" ] || wrong "undoing leaves $(diff - /etc/postfix/main.cf <<<"$before")"
    holds "the milter is gone" [ -z "$(find /etc/systemd/system /usr/local -name 'mtasts-warm*')" ]
    holds "it is stopped" grep -qx "disable --now mtasts-warm.service" "$work/systemctl"
    put_back
}

has_one_entry() { # TABLE [ADDRESS]
    local want="texthash:/etc/postfix/tls_policy, inline:{ {other.test=may}, {more.test = none} } ${2-socketmap:$address}:$1"
    [ "$(postconf -h smtp_tls_policy_maps)" = "$want" ] || wrong "there is $(postconf -n smtp_tls_policy_maps), want $want"
}

own_table_decides_before_the_server() {
    is_changed=yes
    echo "$d secure match=mx.$d" >/etc/postfix/tls_policy
    postconf -e 'smtp_tls_policy_maps = texthash:/etc/postfix/tls_policy'
    use_the_lines_of_the_readme >"$work/said" 2>&1 || wrong "they end with $?: $(cat "$work/said")"
    reload_postfix
    policy_for "other.$d" enforce "mx.$d"
    record "other.$d" MX 10 "mx.$d"
    mx 10 mx starttls=absent
    send "u@$d" "u@other.$d"
    deferred
    deferred "other.$d"
    not_asked TXT "_mta-sts.$d"
    asked TXT "_mta-sts.other.$d"
}

stricter_level_stays() {
    is_changed=yes
    postconf -e 'smtp_tls_security_level = encrypt'
    use_the_lines_of_the_readme >"$work/said" 2>&1 || wrong "they end with $?: $(cat "$work/said")"
    reload_postfix
    mx 10 mx starttls=absent
    send
    deferred
}

enforced_without_tls_for_others() {
    is_changed=yes
    postconf -e 'smtp_tls_security_level = none'
    use_the_lines_of_the_readme >"$work/said" 2>&1 || wrong "they end with $?: $(cat "$work/said")"
    reload_postfix
    policy enforce "mx.$d"
    mx 10 mx
    record "free.$d" MX 10 "mx.$d"
    send "u@$d" "u@free.$d"
    delivered_to mx
    over_verified_tls mx
    over_no_tls mx "free.$d"
}

undo_everything() { # systemctl stops nothing in here
    stop_server
    follow_readme "## Undo everything" >"$work/said" 2>&1 || wrong "it ends with $?: $(cat "$work/said")"
}

main_cf_has_what_is_shown() {
    local line lines
    mapfile -t lines < <(awk '/^#### Postfix 3.10.5/ { here = 1 } /^### 4/ { here = 0 } /^```/ { shows = here && !shows; next } shows' "$readme")
    [ "${#lines[@]}" = 2 ] || wrong "the README shows ${#lines[@]} lines of main.cf"
    for line in "${lines[@]}"; do
        classic || line=${line/%:postfix/:postfix-tlsrpt}
        postconf -n | grep -Fxq "$line" || wrong "main.cf has no line '$line'"
    done
}

put_back() { # what undoing took away
    follow_readme "### 2. Its service" >"$work/said" 2>&1 || wrong "it ends with $?: $(cat "$work/said")"
    configure_mtasts
    pretend_build "$command" "$socketmap"
    follow_readme "### 1. The library and the server" >"$work/said" 2>&1 || wrong "it ends with $?: $(cat "$work/said")"
    unset CARGO RUSTC CARGO_TARGET_DIR
    start_server
}

the_log_says_what_the_readme_shows() {
    local kind line lines
    for kind in good wrong clear unlisted any; do
        policy_for "$kind.$d" enforce "mx.$kind.$d"
        record "$kind.$d" MX 10 "mx.$kind.$d"
    done
    policy_for "unlisted.$d" enforce "other.unlisted.$d"
    receiver mx.good
    receiver mx.wrong certificate=wrong-name
    receiver mx.clear starttls=absent
    receiver mx.unlisted
    receiver mx.any
    send "u@good.$d" "u@wrong.$d" "u@clear.$d" "u@unlisted.$d"
    stop_server
    hand_in "u@any.$d"
    settled "u@any.$d"
    mapfile -t lines < <(awk '/^## / { here = $0 == "## What the log says" } /^```/ { shows = here && !shows; next } shows' "$readme")
    [ "${#lines[@]}" = 6 ] || wrong "the README shows ${#lines[@]} lines"
    for line in "${lines[@]}"; do
        [[ $line != *unlisted* ]] || ! classic || continue
        logged "$(as_pattern "$line")\$"
    done
}
