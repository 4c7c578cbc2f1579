# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# The cases, in the words of situation.sh. Each is a function whose name says the
# situation and its outcome; they run in the order of this file. Every case has a
# domain and receivers of its own, so that no retry hint reaches the next one.

# ---- enforce: listed hosts, over verified TLS ----

# Conformance: S4-1.
enforce_and_a_listed_mx_delivers_over_verified_tls() {
    policy enforce "mx.$d"
    mx 10 mx
    send
    delivered_to mx
    over_verified_tls mx
    routed_by mtasts
}

enforce_and_an_upper_case_mx_record_delivers() {
    policy enforce "mx.$d"
    record "$d" MX 10 "MX.${d^^}"
    receiver mx
    send
    delivered_to mx
    routed_by mtasts
    logged 'CV=yes'
}

enforce_and_an_upper_case_recipient_delivers() {
    policy enforce "mx.$d"
    mx 10 mx
    send "u@${d^^}"
    logged "=> u@.*\[${at[mx]}\].* CV=yes"
    routed_by mtasts
}

enforce_with_a_wildcard_delivers_to_one_label_only() {
    policy enforce "*.$d"
    mx 20 mx
    mx 10 a.b
    send
    delivered_to mx
    over_verified_tls mx
    untouched a.b
}

# Conformance: S4.1-4.
enforce_and_a_domain_without_mx_that_lists_itself_delivers() {
    policy enforce "$d"
    receiver_at_domain
    send
    logged "=> u@$d R=mtasts .* CV=yes"
    asked_as domain "$d"
}

# Conformance: S4.1-4.
enforce_and_a_domain_without_mx_that_is_not_listed_defers() {
    policy enforce "mx.$d"
    receiver_at_domain
    send
    deferred
    untouched domain
}

# Conformance: S4.1-1.
enforce_and_a_cnamed_mx_delivers_under_the_name_of_the_mx_record() {
    policy enforce "alias.$d"
    record "$d" MX 10 "alias.$d"
    record "alias.$d" CNAME "real.$d"
    receiver real
    send
    delivered_to real
    over_verified_tls real "alias.$d"
    routed_by mtasts
}

enforce_and_a_cnamed_mx_with_a_certificate_for_another_name_defers() {
    policy enforce "alias.$d"
    record "$d" MX 10 "alias.$d"
    record "alias.$d" CNAME "real.$d"
    receiver real certificate=wrong-name
    send
    deferred
    asked_as real "alias.$d"
}

# Conformance: S5.1-4.
enforce_respects_the_preference_of_mx_records() {
    policy enforce "*.$d"
    mx 30 third
    mx 10 first starttls=absent
    mx 20 second
    send
    delivered_to second
    over_verified_tls second
    at_receiver first connect || wrong "the first one was not tried"
    untouched third
}

# RFC 5321 section 5.1: a backup MX never hands mail to the hosts behind itself.
# Conformance: S5.1-4.
enforce_and_this_machine_as_backup_mx_leaves_out_the_hosts_behind_it() {
    policy enforce "*.$d"
    mx 10 mx starttls=absent
    record "$d" MX 20 "self.$d"
    record "self.$d" A 127.0.0.1
    mx 30 behind
    send
    deferred
    untouched behind
}

enforce_delivers_although_a_backup_mx_has_no_answer_in_dns() {
    policy enforce "*.$d"
    mx 10 mx
    record "$d" MX 20 "dead.$d"
    record "dead.$d" SERVFAIL
    send
    delivered_to mx
    over_verified_tls mx
}

enforce_and_a_domain_that_is_a_cname_is_asked_about_as_given() {
    policy enforce "mx.$d"
    record "$d" CNAME "target.$d"
    record "target.$d" MX 10 "mx.$d"
    record "target.$d" MX 5 "evil.$d"
    receiver mx
    receiver evil
    send
    delivered_to mx
    over_verified_tls mx
    untouched evil
}

# ---- enforce: no verified TLS, no delivery ----

# Conformance: S5-1.
enforce_and_an_mx_without_starttls_defers() {
    tls_trouble_defers starttls=absent
    logged 'mx\.'
}
enforce_and_a_refused_starttls_defers() { tls_trouble_defers starttls=refused; }
enforce_and_a_broken_handshake_defers() { tls_trouble_defers starttls=broken; }
# Conformance: S4.2-2.
enforce_and_a_certificate_for_another_name_defers() { tls_trouble_defers certificate=wrong-name; }
enforce_and_a_self_signed_certificate_defers() { tls_trouble_defers certificate=self-signed; }
# Conformance: S4.2-1.
enforce_and_an_expired_certificate_defers() { tls_trouble_defers certificate=expired; }
enforce_and_an_unknown_ca_defers() { tls_trouble_defers certificate=unknown-ca; }

# Debian's macro that exempts hosts from TLS must not reach enforced mail.
enforce_and_an_exemption_from_tls_in_the_configuration_uses_tls_all_the_same() {
    net=99
    policy enforce "mx.$d"
    mx 10 mx
    send
    delivered_to mx
    over_verified_tls mx
}

no_policy_and_an_exemption_from_tls_in_the_configuration_uses_none() {
    net=99
    mx 10 mx
    send
    delivered_to mx
    in_clear
}

# ---- enforce: unlisted hosts are never contacted ----

# Conformance: S5-1, S5-5.
enforce_and_only_an_unlisted_mx_defers_without_a_connection() {
    policy enforce "mx.$d"
    mx 10 evil
    send
    deferred
    untouched evil
    logged "== u@$d R=mtasts defer .*$d"
    not_logged 'R=dnslookup'
}

# Conformance: S5.1-4.
enforce_and_an_unlisted_first_mx_goes_to_the_second_only() {
    policy enforce "mx.$d"
    mx 10 evil
    mx 20 mx
    send
    delivered_to mx
    over_verified_tls mx
    untouched evil
}

enforce_and_an_unlisted_mx_as_last_resort_is_not_used() {
    policy enforce "mx.$d"
    mx 10 mx starttls=absent
    mx 20 evil
    send
    deferred
    untouched evil
}

enforce_and_a_listed_mx_without_an_address_defers() {
    policy enforce "mx.$d"
    record "$d" MX 10 "mx.$d"
    send
    deferred
    not_logged 'R=dnslookup'
}

# An address that ROUTER_DNSLOOKUP_IGNORE_TARGET_HOSTS names.
enforce_and_a_listed_mx_at_an_ignored_address_defers() {
    policy enforce "mx.$d"
    record "$d" MX 10 "mx.$d"
    record "mx.$d" A 10.0.0.1
    send
    deferred
    not_logged 'T=remote_smtp'
}

# The address is that of a good host, the certificate too: the name alone is wrong.
# Conformance: S4.1-1.
enforce_and_an_unlisted_mx_at_the_address_of_a_listed_one_defers() {
    policy enforce "mx.$d"
    receiver mx
    record "$d" MX 10 "evil.$d"
    record "evil.$d" A "${at[mx]}"
    send
    deferred
    untouched mx
}

enforce_and_an_ip_address_as_mx_defers_without_a_connection() {
    policy enforce "*.$d"
    receiver evil
    record "$d" MX 10 "${at[evil]}"
    record "${at[evil]}" A "${at[evil]}"
    send
    deferred
    untouched evil
}

# The MX names of both domains lead to one host, which has a certificate for each.
# Conformance: S4.2-6.
enforce_for_two_domains_on_one_host_checks_the_certificate_of_each() {
    local other=other.$d
    policy enforce "one.$d"
    world policy "$other" enforce "mx=two.$other" max_age=86400 id=1
    record "$d" MX 10 "one.$d"
    record "$other" MX 10 "two.$other"
    record "one.$d" CNAME "shared.$d"
    record "two.$other" CNAME "shared.$d"
    receiver shared
    send "u@$d" "u@$other"
    delivered_to shared
    delivered_to shared "$other"
    over_verified_tls shared "one.$d"
    over_verified_tls shared "two.$other"
}

# ---- DANE: a TLSA record takes the place of the CA, not that of the policy ----

# Conformance: D-6.
enforce_and_a_tlsa_record_that_fits_delivers() {
    policy enforce "mx.$d"
    mx 10 mx certificate=unknown-ca
    tlsa mx leaf
    send
    delivered_to mx
    logged 'CV=dane'
}

# Conformance: D-1.
enforce_and_a_tlsa_record_that_does_not_fit_defers() {
    policy enforce "mx.$d"
    mx 10 mx
    tlsa mx "$(printf '00%.0s' {1..32})"
    send
    deferred
    nothing_arrived
}

# Conformance: D-7.
enforce_and_an_unlisted_mx_with_a_tlsa_record_that_fits_defers() {
    policy enforce "mx.$d"
    mx 10 evil
    tlsa evil leaf
    send
    deferred
    untouched evil
}

# ---- no MX, null MX, DNS trouble ----

# Conformance: S4.1-5.
enforce_and_a_null_mx_bounces_without_asking_the_stock_router() {
    policy enforce "mx.$d"
    record "$d" MX 0 .
    receiver_at_domain
    send
    bounced
    logged 'accepts no mail \(null MX\)'
    not_logged 'R=dnslookup'
}

enforce_and_mx_records_that_cannot_be_looked_up_defers() {
    policy enforce "mx.$d"
    record "$d" SERVFAIL
    receiver mx
    send
    deferred
    untouched mx
}

# ---- testing, none, absent: the stock router decides ----

# Conformance: S5-2.
testing_and_an_mx_without_starttls_delivers() {
    policy testing "mx.$d"
    mx 10 mx starttls=absent
    send
    delivered_to mx
    routed_by dnslookup
    in_clear
}

testing_and_an_unlisted_mx_delivers() {
    policy testing "mx.$d"
    mx 10 other
    send
    delivered_to other
    routed_by dnslookup
}

testing_and_a_certificate_for_another_name_delivers() {
    policy testing "mx.$d"
    mx 10 mx certificate=wrong-name
    send
    delivered_to mx
    routed_by dnslookup
}

mode_none_delivers_by_the_stock_router() {
    world policy "$d" none max_age=86400 id=1
    mx 10 mx starttls=absent
    send
    delivered_to mx
    routed_by dnslookup
}

no_policy_delivers_by_the_stock_router() {
    mx 10 mx starttls=absent
    send
    delivered_to mx
    routed_by dnslookup
    in_clear
}

no_policy_and_a_null_mx_bounces() {
    record "$d" MX 0 .
    send
    bounced
    logged 'indicated no SMTP service'
}

a_malformed_policy_delivers_by_the_stock_router() {
    policy enforce "mx.$d"
    world body "$d" '"version: STSv1\r\nmode: enforce\r\nmax_age: 86400\r\n"'
    mx 10 mx starttls=absent
    send
    delivered_to mx
    routed_by dnslookup
}

# Conformance: S3.3-11.
a_policy_host_with_a_wrong_certificate_and_nothing_cached_counts_as_no_policy() {
    policy enforce "mx.$d" certificate=wrong-name
    mx 10 mx starttls=absent
    send
    delivered_to mx
    routed_by dnslookup
}

one_message_to_an_enforced_and_a_free_domain_treats_each_as_it_wants() {
    policy enforce "mx.$d"
    mx 10 mx starttls=absent
    record "free.$d" MX 10 "free.$d"
    receiver free starttls=absent
    send "u@$d" "u@free.$d"
    deferred
    delivered_to free "free.$d"
}

# Retry hints: what enforcement refused must not delay others at the same host.
mail_without_a_policy_is_not_delayed_by_an_enforced_failure_at_the_same_host() {
    policy enforce "mx.$d"
    mx 10 mx starttls=absent
    record "free.$d" MX 10 "mx.$d"
    send
    deferred
    send "u@free.$d"
    delivered_to mx "free.$d"
}

# ---- the cache ----

# Conformance: S3.3-12.
a_cached_policy_is_enforced_with_its_record_and_its_host_switched_off() {
    policy enforce "mx.$d"
    mx 20 mx
    mx 10 evil
    send
    delivered_to mx
    forget
    record "_mta-sts.$d" SERVFAIL
    record "mta-sts.$d" SERVFAIL
    mx 20 mx
    mx 10 evil
    tell_world off https
    send
    delivered_to mx
    over_verified_tls mx
    untouched evil
    forget
    record "_mta-sts.$d" SERVFAIL
    record "$d" MX 10 "evil.$d"
    receiver evil
    send
    deferred
    untouched evil
    tell_world on https
}

the_cache_belongs_to_exim_and_nobody_else_reads_it() {
    policy enforce "mx.$d"
    mx 10 mx
    send
    delivered_to mx
    local files
    files=$(cd /var/lib/mtasts && find . -mindepth 1 -printf '%f %U:%G %m\n')
    [ -n "$files" ] || wrong "the cache directory is empty"
    local others
    others=$(echo "$files" | grep -v " $(id -u Debian-exim):$(id -g Debian-exim) 640$")
    [ -z "$others" ] || wrong "in the cache directory: $others"
}

a_missing_cache_directory_does_not_stop_or_weaken_mail() {
    policy enforce "mx.$d"
    mx 20 mx
    mx 10 evil
    mv /var/lib/mtasts /var/lib/mtasts.away
    send
    delivered_to mx
    over_verified_tls mx
    untouched evil
    [ ! -e /var/lib/mtasts ] || rm -r /var/lib/mtasts
    mv /var/lib/mtasts.away /var/lib/mtasts
}

# ---- the configuration ----

a_broken_mtasts_toml_does_not_stop_mail() {
    echo 'nonsense = [' >/etc/mtasts.toml
    mx 10 mx
    send
    delivered_to mx
    configure_mtasts
}

a_missing_library_defers() {
    mx 10 mx
    mv "$library" "$library.away"
    send
    deferred
    untouched mx
    mv "$library.away" "$library"
}

the_router_asks_about_no_sender() {
    policy enforce "mx.$d"
    mx 10 evil
    load_scene
    local answer
    answer=$(exim4 -bvs "u@$d")
    [ "$answer" = "u@$d verified" ] || wrong "exim4 -bvs says $answer"
    untouched evil
}

exim_be_prints_what_the_library_says() {
    policy enforce "*.$d"
    load_scene
    says "mtasts_exim}{$d}{20 b.$d,10 A.$d,20 c.$d,5 evil.test}" "a.$d:[+]:(b.$d:c.$d|c.$d:b.$d)"
    says "mtasts_exim}{$d}{0 }" '\.'
    says "mtasts_exim}{nothing.$d}{10 mx.nothing.$d}" ''
    says "mtasts_exim}{[127.0.0.1]}{}" ''
    says "mtasts_exim_mode}{$d}" 'enforce'
    says "mtasts_exim_mode}{nothing.$d}" 'none'
    refuses "mtasts_exim}{$d}{10 mx.evil.test}" "$d"
    refuses "mtasts_exim}{$d}{}" "$d"
    # Names that would mean something else when Exim reads the list.
    refuses "mtasts_exim}{$d}{10 a/mx.$d,10 a:25.$d,10 a\\\$domain.$d,10 a b.$d,10 127.0.0.1}" "$d"
}

the_unsplit_configuration_has_the_router_and_enforces() {
    configure_exim internet unsplit
    holds "the router is there" has_router
    policy enforce "mx.$d"
    mx 10 evil
    mx 20 mx
    send
    delivered_to mx
    over_verified_tls mx
    untouched evil
    configure_exim internet
}

only_configurations_that_route_by_mx_have_the_router() {
    holds "internet has it" has_router
    local type
    for type in smarthost satellite local; do
        configure_exim "$type"
        has_router && wrong "$type has it"
    done
    configure_exim internet
}
