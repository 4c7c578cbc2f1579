# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# A postmaster who follows examples/exim/README.md, and what that tells of Exim.

# A fresh Debian is unsplit.
who_follows_the_readme_word_for_word_on_a_fresh_debian_is_protected_and_can_undo_it() { followed_word_for_word unsplit; }
who_follows_the_readme_word_for_word_on_a_split_debian_is_protected_and_can_undo_it() { followed_word_for_word split; }

# ---- trying it without risk ----

observing_delivers_all_mail_and_shows_what_would_have_waited() {
    ln -s "$command" /usr/local/bin/mtasts
    cat "$source/examples/exim/mtasts.toml" >>/etc/mtasts.toml
    bash -c "$(readme_line "sed -i 's/^# observe")"
    # The list is made from the whole log.
    : >"$mainlog"
    world policy "good.$d" enforce "mx=mx.good.$d" max_age=86400 id=1
    world policy "unlisted.$d" enforce "mx=listed.unlisted.$d" max_age=86400 id=1
    world policy "no-starttls.$d" enforce "mx=mx.no-starttls.$d" max_age=86400 id=1
    world policy "wrong-name.$d" enforce "mx=mx.wrong-name.$d" max_age=86400 id=1
    mx_of good
    mx_of unlisted
    mx_of no-starttls starttls=absent
    mx_of wrong-name certificate=wrong-name
    mx_of free starttls=absent
    send "u@good.$d" "u@unlisted.$d" "u@no-starttls.$d" "u@wrong-name.$d" "u@free.$d"
    local name
    for name in good unlisted no-starttls wrong-name free; do delivered_to "mx.$name" "$name.$d"; done
    routed_by dnslookup
    system_logged "$(as_pattern "$(readme_line '^would be refused')")"
    local list
    list=$(bash -c "$(readme_line 'mtasts --set observe=false lookup')")
    [ "$list" = "$(printf '%s\n' "no-starttls.$d: enforce" "wrong-name.$d: enforce")" ] || wrong "the list is $list"
    # And on with it.
    bash -c "$(readme_line "sed -i 's/^observe")"
    send "u@wrong-name.$d"
    deferred "wrong-name.$d"
    rm /usr/local/bin/mtasts
}

the_example_of_mtasts_toml_is_right_when_all_its_lines_count() {
    sed -e 's/^# \([a-z_]* = .*\|\[.*\]\)$/\1/' -e "s/^until = .*/until = $(date -d '1 year' +%F)/" \
        "$source/examples/exim/mtasts.toml" >"$work/all.toml"
    [ "$(grep -c '^[a-z[]' "$work/all.toml")" = 6 ] || wrong "not all lines count: $(cat "$work/all.toml")"
    local answer
    answer=$("$command" --config "$work/all.toml" lookup broken.example 2>&1) || wrong "$answer"
    [[ $answer = *"exception for broken.example"* ]] || wrong "$answer"
}

an_exception_as_the_readme_shows_it_lets_a_broken_domain_through() {
    # shellcheck disable=SC2016 # no command, but Markdown
    sed -n '/^```toml/,/^```$/{//!p}' "$readme" | sed -e "s/broken\.example/$d/" -e "s/^until = .*/until = $(date -d '1 year' +%F)/" >>/etc/mtasts.toml
    policy enforce "mx.$d"
    mx 10 mx certificate=expired
    send
    delivered_to mx
    routed_by dnslookup
}

# ---- what the log says ----

each_line_of_the_log_is_as_the_readme_shows_it() {
    local name
    for name in good no-starttls refused-starttls wrong-name expired broken no-address dns-down null-mx; do
        world policy "$name.$d" enforce "mx=mx.$name.$d" max_age=86400 id=1
    done
    world policy "unlisted.$d" enforce "mx=listed.unlisted.$d" max_age=86400 id=1
    mx_of good
    mx_of unlisted
    mx_of no-starttls starttls=absent
    mx_of refused-starttls starttls=refused
    mx_of wrong-name certificate=wrong-name
    mx_of expired certificate=expired
    mx_of broken starttls=broken
    record "no-address.$d" MX 10 "mx.no-address.$d"
    record "dns-down.$d" SERVFAIL
    record "null-mx.$d" MX 0 .
    local names=(good unlisted no-starttls refused-starttls wrong-name expired broken no-address dns-down)
    names=("${names[@]/%/.$d}")
    send "${names[@]/#/u@}"
    names=("${names[@]/%.$d/}")
    for name in "${names[@]}"; do logged_as_readme_says "$name"; done
    mark
    exim4 -q
    logged " $(as_pattern "$(readme_line 'routing defer (-52)')")$"
    logged " $(as_pattern "$(readme_line 'defer (-54)')")$"
    send "u@null-mx.$d"
    logged_as_readme_says null-mx
}

a_library_that_is_nowhere_is_told_as_the_readme_shows_it() {
    configure_exim internet split
    sed -i '/^LIBMTASTS/d' "$(macros)"
    update-exim4.conf
    mx_of any
    send "u@any.$d"
    logged_as_readme_says any
    nothing_arrived
}

the_sender_is_told_only_that_the_time_is_up() {
    configure_exim internet split
    echo '* * F,1s,1s' >/etc/exim4/conf.d/retry/30_exim4-config
    update-exim4.conf
    world policy "unlisted.$d" enforce "mx=listed.unlisted.$d" max_age=86400 id=1
    world policy "no-starttls.$d" enforce "mx=mx.no-starttls.$d" max_age=86400 id=1
    mx_of unlisted
    mx_of no-starttls starttls=absent
    # The mail of root is kept: the bounce can be read.
    sender=root@sender.test
    send "u@unlisted.$d" "u@no-starttls.$d"
    sleep 2.1 # Exim counts whole seconds
    exim4 -q
    local bounce
    bounce=$(sed -n '/^X-Failed-Recipients:/,/^Content-type: message/p' /var/mail/mail)
    grep -A1 "^  u@unlisted.$d" <<<"$bounce" | grep -qx '    retry timeout exceeded' || wrong "the bounce says $bounce"
    grep -A2 "^  u@no-starttls.$d" <<<"$bounce" | tr '\n' ' ' \
        | grep -Eq ' host mx\.no-starttls\.[^ ]* \[[0-9.]*\] +retry timeout exceeded' || wrong "the bounce says $bounce"
    grep -Eq 'MTA-STS|TLS' <<<"$bounce" && wrong "the bounce tells the reason: $bounce"
    # A domain that has failed for so long bounces at the first try of a new message.
    send "u@unlisted.$d"
    logged "\*\* u@unlisted.$d: retry timeout exceeded"
}
