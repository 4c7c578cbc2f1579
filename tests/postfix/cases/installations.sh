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
    holds "the service listens there" grep -qx 'ListenStream=127.0.0.1:5461' /usr/local/lib/systemd/system/mtasts-socketmap.socket
    grep -qx "enable --now mtasts-socketmap.socket" "$work/systemctl" || wrong "systemd was told $(cat "$work/systemctl")"
    follow_readme "### 4. Postfix takes it over" >"$work/said" 2>&1 || wrong "it ends with $?: $(cat "$work/said")"
    holds "nothing else is changed" [ -z "$(diff -r "$stock" "$work/usual" | grep '^[<>]' | grep -v -e smtp_tls_CAfile -e smtp_tls_security_level -e smtp_tls_policy_maps)" ]
    mtasts_is_changed=yes # a key of the configuration may have been forgotten by the reload
    follow_readme "### 5. The check" >"$work/said" 2>&1 || wrong "it ends with $?: $(cat "$work/said")"
    said_what_is_shown "### 5. The check" 1
    send
    deferred

    mark
    follow_readme "## Undo everything" >"$work/said" 2>&1 || wrong "it ends with $?: $(cat "$work/said")"
    [ -z "$(postconf -n smtp_tls_policy_maps)" ] || wrong "there is still $(postconf -n smtp_tls_policy_maps)"
    local left
    left=$(find /usr/local/lib /usr/local/include /usr/local/bin /usr/local/sbin/mtasts* /var/lib/mtasts /etc/mtasts.toml ! -type d 2>/dev/null)
    [ -z "$left" ] || wrong "undoing leaves $left"
    try_again
    delivered_to mx
    over_no_tls mx "$d"
    put_back
}

put_back() { # what undoing took away
    follow_readme "### 2. Its service" >"$work/said" 2>&1 || wrong "it ends with $?: $(cat "$work/said")"
    configure_mtasts
    pretend_build "$command" "$socketmap"
    follow_readme "### 1. The library and the server" >"$work/said" 2>&1 || wrong "it ends with $?: $(cat "$work/said")"
    unset CARGO RUSTC CARGO_TARGET_DIR
    stop_server
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
