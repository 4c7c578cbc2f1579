# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and words.sh
# examples/sendmail/README.md: what it shows is so, and who follows it is protected.

mx_of() { # NAME [OPTION...]: NAME.$d is enforced and has the one MX host mx.NAME.$d
    policy_for "$1.$d" enforce "mx.$1.$d"
    record "$1.$d" MX 10 "mx.$1.$d"
    receiver "mx.$1" "${@:2}"
}

logged_as_readme_says() { # PATTERN for a line of the README, which tells of 8.17
    [[ $version != 8.17.* ]] || logged ": $(as_pattern "$(readme_line "$1")")$"
}

the_log_says_what_the_readme_shows() {
    mx_of good
    mx_of unlisted
    sed -i "s/ mx=mx\.unlisted\./ mx=listed.unlisted./" "$scene"
    mx_of no-starttls starttls=absent
    mx_of refused-starttls starttls=refused
    mx_of broken starttls=broken
    mx_of expired certificate=expired
    mx_of wrong-name certificate=wrong-name
    send "u@"{good,unlisted,no-starttls,refused-starttls,broken,expired,wrong-name}".$d"
    delivered_to mx.good "good.$d"
    local domain
    for domain in unlisted no-starttls refused-starttls broken expired wrong-name; do deferred "$domain.$d"; done
    logged_as_readme_says 'relay=mx\.good\.example\., version'
    logged_as_readme_says 'to=user@good\.example'
    logged_as_readme_says 'arg1=user@unlisted\.example'
    logged_as_readme_says 'to=user@no-starttls\.example'
    logged_as_readme_says 'to=user@refused-starttls\.example'
    logged_as_readme_says 'to=user@broken\.example'
    logged_as_readme_says 'to=user@expired\.example'
    logged_as_readme_says 'arg1=user@wrong-name\.example'
}

# The record shows that there is a policy, and nothing is known about it.
while_a_policy_is_being_looked_for_mail_waits() {
    mx_of unknown starttls=absent
    world status "unknown.$d" silent
    send "u@unknown.$d"
    deferred "unknown.$d"
    nothing_arrived
    logged_as_readme_says 'to=user@unknown\.example'
}

after_step() { # HEADING
    [[ $1 != *" Its service" ]] || configure_mtasts
}

who_follows_the_readme_word_for_word_is_protected_and_can_undo_it() {
    stop_server
    take_configuration pristine
    is_changed=yes
    rm -rf /var/lib/mtasts /run/mtasts /etc/mtasts.toml
    deluser --quiet --system mtasts 2>"$work/said" || wrong "deluser: $(cat "$work/said")"
    pretend_build "$command" "$server"

    world policy gmail.com enforce "mx=gmail-smtp-in.l.google.com,*.gmail-smtp-in.l.google.com" max_age=86400 id=1
    policy enforce "mx.$d"
    mx 10 mx starttls=absent
    mx_of good
    record "free.$d" MX 10 "mx.free.$d"
    receiver mx.free starttls=absent
    load_scene
    follow_all_steps 4
    # The last one is the check.
    said_what_is_shown "### 4" 2
    holds "Sendmail was told" grep -qx "reload sendmail" "$work/systemctl"
    send "u@$d" "u@good.$d" "u@free.$d"
    holds "the cache is the server's" [ "$(stat -c %U /var/lib/mtasts/cache.db)" = mtasts ]
    deferred
    delivered_to mx.good "good.$d"
    over_verified_tls mx.good
    delivered_to mx.free "free.$d"

    # Its own lines, with this domain in place of that of the README.
    awk '/^## Let a broken domain/ { here = 1 } /^## What/ { here = 0 } here && /^```/ { shows = !shows; next } here && shows' "$readme" \
        | sed "s/broken\.example/$d/" >>/etc/mtasts.toml
    holds "the exception" grep -Fqx "[domain.\"$d\"]" /etc/mtasts.toml
    follow_readme "## Let a broken domain through" >"$work/said" 2>&1 || wrong "it ends with $?: $(cat "$work/said")"
    await map_says "$d" "no match \(68\)"
    run_queue
    delivered_to mx

    follow_readme "## Undo everything" >"$work/said" 2>&1 || wrong "undoing ends with $?: $(cat "$work/said")"
    unset CARGO RUSTC CARGO_TARGET_DIR
    diff /etc/mail/sendmail.mc "$work/pristine/sendmail.mc" >"$work/said" || wrong "undoing leaves $(cat "$work/said")"
    holds "Sendmail has no map" [ "$(grep -c '^Ksts ' /etc/mail/sendmail.cf)" = 0 ]
    local left
    left=$(find /usr/local /var/lib/mtasts /etc/mtasts.toml /etc/mail/m4/mtasts.m4 ! -type d 2>/dev/null)
    [ -z "$left" ] || wrong "undoing leaves $left"
    send
    delivered_to mx

    make_home_of_server
    configure_mtasts
    start_server || wrong "no server"
}
