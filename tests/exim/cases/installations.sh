# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# Installations of Exim: what each covers, and what does not go through the router.

# ---- Debian, "internet site" ----

the_split_configuration_has_the_router_and_enforces() {
    configure_exim internet split
    holds "the router is there" has_router
    covered
}

# The short version, for those who know their way.
the_commands_of_the_first_readme_enforce() {
    configured=short
    answer_debconf internet split
    printf '%s\n' "LIBMTASTS = $library" "MAIN_HARDCODE_PRIMARY_HOSTNAME = sender.test" \
        "ROUTER_DNSLOOKUP_IGNORE_TARGET_HOSTS = <; 0.0.0.0" >"$(macros)"
    local commands
    commands=$(awk '/^Exim enforces/ { here = 1 } /^Sendmail and Postfix/ { here = 0 } here && sub(/^    /, "")' "$source/README.md")
    (cd "$source" && bash -euc "$commands") >"$work/said" 2>&1 || wrong "they end with $?: $(cat "$work/said")"
    holds "the router is there" has_router
    covered
}

the_unsplit_configuration_has_the_router_and_enforces() {
    configure_exim internet unsplit
    holds "the router is there" has_router
    covered
}

the_commands_of_the_readme_can_be_given_twice() {
    configure_exim internet unsplit
    holds "the second time" follow_readme "### 4. The router and the transport"
    holds "there is one include for each file" [ "$(grep -c '^\.include .*mtasts$' /etc/exim4/exim4.conf.template)" = 2 ]
    covered
}

a_split_configuration_that_becomes_unsplit_is_still_enforced() {
    configure_exim internet split
    cp /etc/exim4/conf.d/main/000_localmacros /etc/exim4/exim4.conf.localmacros
    sed -i "s/^dc_use_split_config=.*/dc_use_split_config='false'/" /etc/exim4/update-exim4.conf.conf
    update-exim4.conf
    covered
}

the_unsplit_configuration_without_the_includes_fails_the_check_of_the_readme() {
    configure_exim internet unsplit
    sed -i '/^\.include .*mtasts$/d' /etc/exim4/exim4.conf.template
    update-exim4.conf
    has_router && wrong "the check passes"
    grep -q '^NOT ENFORCED: ' "$work/check" || wrong "the check says $(cat "$work/check")"
    # This is what it complains about.
    policy enforce "mx.$d"
    mx 10 evil
    send
    delivered_to evil
}

relayed_domains_are_enforced_and_may_have_private_addresses() {
    relay_domains=$d configure_exim internet
    at[mx]=10.66.66.66 # in the list of what is ignored elsewhere
    ip address add "${at[mx]}/32" dev lo
    covered
    ip address del "${at[mx]}/32" dev lo
}

# ---- Debian's configurations that do not route by MX ----

a_smarthost_gets_all_mail_as_before() { mail_goes_to_the_smarthost smarthost; }
a_satellite_hands_on_all_mail_as_before() { mail_goes_to_the_smarthost satellite; }

a_machine_with_local_mail_only_has_no_router_and_sends_nothing() {
    configure_exim local
    has_router && wrong "it has the router"
    policy enforce "mx.$d"
    mx 10 mx
    send
    bounced
    logged 'Mailing to remote domains not supported'
    untouched mx
    nobody_asked_about "$d"
}

# ---- routed before: the administrator or the address has named the host ----

hubbed_hosts_are_not_covered_because_the_administrator_has_named_the_host() {
    configure_exim internet
    echo "$d: hub.$d" >/etc/exim4/hubbed_hosts
    policy enforce "mx.$d"
    mx 10 mx
    receiver hub starttls=absent
    send
    delivered_to hub
    routed_by hubbed_hosts
    nobody_asked_about "$d"
}

an_address_literal_is_not_covered_because_it_names_the_host() {
    configure_exim internet split "MAIN_ALLOW_DOMAIN_LITERALS = 1"
    receiver host starttls=absent
    send "u@[${at[host]}]"
    logged "=> u@\[${at[host]}\] R=domain_literal "
}

# ---- Exim's own example configuration ----

the_example_of_exim_enforces_after_two_includes() {
    configured=example
    local own=/etc/exim4/exim4.conf command
    cp /usr/share/doc/exim4-base/examples/example.conf "$own"
    # As in Debian's: receivers are on loopback, and the host's name is in the world.
    sed -i -e 's|0\.0\.0\.0 : 127\.0\.0\.0/8|0.0.0.0|' -e "1i LIBMTASTS = $library" -e '1i primary_hostname = sender.test' \
        -e '1i ROUTER_DNSLOOKUP_IGNORE_TARGET_HOSTS = 0.0.0.0' "$own"
    has_router && wrong "the router is there before the includes"
    command=$(readme_line '^sed -i .*dnslookup:')
    holds "$command" bash -c "$command"
    holds "the configuration is read" bash -c "$(readme_line '^exim4 -bV$')" >"$work/check" 2>&1
    grep -qx "Configuration file is $own" "$work/check" || wrong "another configuration is read"
    holds "the router is there" has_router
    covered
    record "free.$d" MX 10 "mx.$d"
    send "u@free.$d"
    delivered_to mx "free.$d"
    routed_by dnslookup
}

# ---- what is set through Debian's macros ----

dkim_signs_enforced_mail() {
    openssl genrsa -out "$work/dkim.key" 2>/dev/null && chmod 0644 "$work/dkim.key"
    configure_exim internet split "DKIM_DOMAIN = sender.test" "DKIM_SELECTOR = key" "DKIM_PRIVATE_KEY = $work/dkim.key" \
        "DKIM_CANON = relaxed"
    covered
    local mail
    mail=$(grep -rlF "Delivered-To: <u@$d>" "$world_dir/mail")
    tr -d '\r\n' <"$mail" | grep -q 'DKIM-Signature: [^:]* d=sender\.test\s*; s=key;' || wrong "the mail is not signed: $(cat "$mail")"
}

the_helo_name_of_debians_macro_is_used_for_enforced_mail() {
    configure_exim internet split "REMOTE_SMTP_HELO_DATA = helo.sender.test"
    exim=(exim4 -v)
    covered
    grep -q 'SMTP>> EHLO helo\.sender\.test' "$work/stderr" || wrong "Exim said $(grep EHLO "$work/stderr")"
}

# Whatever Debian's transport has, ours has too, macro by macro; but for the two
# that would open it or could only narrow it.
the_transport_has_every_option_of_debians_own_but_two() {
    local stock=$pristine/conf.d/transport/30_exim4-config_remote_smtp lacking
    lacking=$(comm -23 <(options_in "$stock") <(options_in "$source/examples/exim/30_remote_smtp_mtasts"))
    [ "$lacking" = "$(printf '%s\n' \
        .ifdefREMOTE_SMTP_HOSTS_AVOID_TLS .ifdefREMOTE_SMTP_HOSTS_REQUIRE_TLS \
        hosts_avoid_tls=REMOTE_SMTP_HOSTS_AVOID_TLS hosts_require_tls=REMOTE_SMTP_HOSTS_REQUIRE_TLS)" ] || wrong "it lacks $lacking"
}

# The options that decide where mail may go, and the one macro, with its default.
the_router_has_the_macro_of_debians_own_and_stands_before_all_that_look_up_mx() {
    local stock=$pristine/conf.d/router/200_exim4-config_primary ours=$source/examples/exim/190_mtasts first lacking
    lacking=$(comm -23 <(grep -o 'ROUTER_[A-Z_]*\( = .*\)\?' "$stock" | sort -u) <(grep -o 'ROUTER_[A-Z_]*\( = .*\)\?' "$ours" | sort -u))
    [ -z "$lacking" ] || wrong "it lacks $lacking"
    lacking=$(comm -23 <(sed -n '/^dnslookup:/,/^$/p' "$stock" | tr -d ' ' | sort -u) <(tr -d ' ' <"$ours" | sort -u))
    # shellcheck disable=SC2016 # the dollars are Exim's
    [ "$lacking" = "$(printf '%s\n' 'debug_print="R:dnslookupfor$local_part@$domain"' dnslookup: driver=dnslookup \
        'ignore_target_hosts=ROUTER_DNSLOOKUP_IGNORE_TARGET_HOSTS' no_more same_domain_copy_routing=yes transport=remote_smtp)" ] || wrong "it has not: $lacking"
    first=$(cd /etc/exim4/conf.d/router && grep -l -e 'driver = dnslookup' -e mtasts -- * | head -n 1)
    [ "$first" = 190_mtasts ] || wrong "$first comes first"
}

# ---- many messages ----

a_queue_run_delivers_200_messages_once_each() {
    enqueue_200_messages
    exim4 -q
    all_200_have_arrived_once_and_in_the_right_place
}

four_queue_runners_at_once_deliver_200_messages_once_each() {
    enqueue_200_messages
    local runners=() kind
    for kind in -q -q -qq -qq; do
        exim4 "$kind" &
        runners+=($!)
    done
    wait "${runners[@]}"
    all_200_have_arrived_once_and_in_the_right_place
}

# ---- ordinary users, who cannot read the cache ----

an_ordinary_user_sends_tests_and_asks() {
    as_nobody
    covered
    local cache
    cache=$(ls -ln /var/lib/mtasts)
    is_told "u@$d" "router = mtasts, transport = remote_smtp_mtasts" -bt "u@$d"
    is_told "u@$d" "host mx\.$d +\[${at[mx]}\]" -bt "u@$d"
    is_told "u@$d" "u@$d verified" -bv "u@$d"
    is_told "the hosts" "^mx\.$d\$" -be "\${dlfunc{$library}{mtasts_exim}{$d}{10 mx.$d}}"
    is_told "why" "^Failed: MTA-STS: no MX of $d is listed" -be "\${dlfunc{$library}{mtasts_exim}{$d}{10 evil.$d}}"
    forget
    policy enforce "mx.$d"
    mx 10 evil
    load_scene
    # Exim tells only its administrators why.
    is_told "it waits" "^u@$d cannot be resolved at this time\$" -bt "u@$d"
    is_told "it waits" "^u@$d cannot be resolved at this time\$" -bv "u@$d"
    exim=(exim4)
    is_told "why" "^u@$d cannot be resolved at this time: .*no MX of $d is listed" -bt "u@$d"
    [ "$cache" = "$(ls -ln /var/lib/mtasts)" ] || wrong "the cache has changed: $cache, now $(ls -ln /var/lib/mtasts)"
}
