# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# Enforce: listed hosts get the mail, over verified TLS or by DANE.

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
    over_verified_tls mx "mx.$d"
    routed_by mtasts
}

enforce_and_an_upper_case_policy_delivers() {
    policy enforce "MX.${d^^}"
    mx 10 mx
    send
    delivered_to mx
    over_verified_tls mx
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

enforce_with_a_wildcard_matches_neither_the_name_below_it_nor_one_without_its_dot() {
    policy enforce "*.$d"
    named bare "$d"
    named glued "x$d"
    mx 5 bare
    mx 10 glued
    mx 20 mx
    send
    delivered_to mx
    over_verified_tls mx
    untouched bare glued
}

enforce_and_only_names_that_a_wildcard_does_not_match_defers() {
    policy enforce "*.$d"
    named bare "$d"
    named glued "x$d"
    mx 5 bare
    mx 10 glued
    mx 10 a.b
    send
    deferred
    untouched bare glued a.b
}

# Conformance: S4.1-4.
enforce_and_a_domain_without_mx_that_lists_itself_delivers() {
    policy enforce "$d"
    named domain "$d"
    receiver domain
    send
    logged "=> u@$d R=mtasts .* CV=yes"
    asked_as domain "$d"
}

# Conformance: S4.1-4.
enforce_and_a_domain_without_mx_that_is_not_listed_defers() {
    policy enforce "mx.$d"
    named domain "$d"
    receiver domain
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

enforce_and_an_mx_behind_two_cnames_delivers_under_the_name_of_the_mx_record() {
    policy enforce "alias.$d"
    record "$d" MX 10 "alias.$d"
    record "alias.$d" CNAME "middle.$d"
    record "middle.$d" CNAME "real.$d"
    receiver real
    send
    delivered_to real
    over_verified_tls real "alias.$d"
    routed_by mtasts
}

enforce_and_a_cnamed_mx_with_two_addresses_uses_the_one_that_offers_tls() {
    policy enforce "alias.$d"
    record "$d" MX 10 "alias.$d"
    record "alias.$d" CNAME "real.$d"
    named closed "real.$d"
    receiver closed starttls=absent
    receiver real
    send
    delivered_to real
    over_verified_tls real "alias.$d"
}

enforce_and_two_cnamed_mx_are_each_asked_by_the_name_of_the_mx_record() {
    policy enforce "one.$d,two.$d"
    record "$d" MX 10 "one.$d"
    record "$d" MX 20 "two.$d"
    record "one.$d" CNAME "first.$d"
    record "two.$d" CNAME "second.$d"
    receiver first certificate=expired
    receiver second
    send
    delivered_to second
    over_verified_tls second "two.$d"
    asked_as first "one.$d"
}

enforce_and_an_unlisted_cname_of_the_host_of_a_listed_one_is_not_its_name() {
    policy enforce "two.$d"
    record "$d" MX 10 "one.$d"
    record "$d" MX 20 "two.$d"
    record "one.$d" CNAME "real.$d"
    record "two.$d" CNAME "real.$d"
    receiver real
    send
    delivered_to real
    over_verified_tls real "two.$d"
    connections real 1
}

# The certificate is for the second name, which is tried when the first has failed.
enforce_and_two_listed_cnames_of_one_host_deliver_under_the_name_of_its_certificate() {
    policy enforce "one.$d,two.$d"
    record "$d" MX 10 "one.$d"
    record "$d" MX 20 "two.$d"
    record "one.$d" CNAME "real.$d"
    record "two.$d" CNAME "real.$d"
    receiver real
    world smtp "$(socket real)" "name=two.$d" sni=ignored
    send
    delivered_to real
    logged "=> u@$d .* CV=yes"
    not_logged '== '
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

enforce_and_equal_preferences_share_the_load() {
    policy enforce "*.$d"
    mx 10 one
    mx 10 two
    load_scene
    mark
    says "mtasts_exim}{$d}{10 one.$d,10 two.$d}" "one.$d:two.$d|two.$d:one.$d"
    # One in a thousand million runs sees the same host thirty times.
    for _ in $(seq 30); do
        hand_to_exim
        at_receiver one delivered && at_receiver two delivered && break
    done
    over_verified_tls one
    over_verified_tls two
    not_logged '== '
}

enforce_and_equal_preferences_reach_the_one_that_offers_tls() {
    policy enforce "*.$d"
    mx 10 one starttls=absent
    mx 10 two
    mx 10 three starttls=absent
    send
    delivered_to two
    over_verified_tls two
}

# ---- addresses ----

# The addresses of IPv6 are documentation's (RFC 3849), put on this loopback.
enforce_and_an_mx_with_ipv6_only_delivers() {
    policy enforce "mx.$d"
    placed mx "2001:db8::$number:1"
    mx 10 mx
    send
    delivered_to mx
    over_verified_tls mx
}

dual_stack() { # STARTTLS-OF-IPV4 STARTTLS-OF-IPV6
    policy enforce "mx.$d"
    placed v6 "2001:db8::$number:1"
    named v4 "mx.$d"
    named v6 "mx.$d"
    mx 10 v4 "starttls=$1"
    receiver v6 "starttls=$2"
    send
    routed_by mtasts
}
enforce_and_an_mx_with_both_kinds_of_addresses_delivers_to_one() {
    dual_stack offered offered
    logged "=> u@$d R=mtasts .* CV=yes"
    at_receiver v4 '' && at_receiver v6 '' && wrong "both addresses were used"
}
enforce_and_an_mx_without_tls_on_ipv6_delivers_on_ipv4() {
    dual_stack offered absent
    delivered_to v4
    over_verified_tls v4
}
enforce_and_an_mx_without_tls_on_ipv4_delivers_on_ipv6() {
    dual_stack absent offered
    delivered_to v6
    over_verified_tls v6
}
enforce_and_an_mx_without_tls_on_both_kinds_of_addresses_defers() {
    dual_stack absent absent
    deferred
}

# Debian's routers ignore private addresses, but not of domains that this machine relays for.
enforce_and_a_private_address_of_a_domain_that_is_relayed_for_delivers() {
    policy enforce "mx.$d"
    placed mx "10.1.$number.1"
    mx 10 mx
    sed -i "s/^dc_relay_domains=.*/dc_relay_domains='$d'/" /etc/exim4/update-exim4.conf.conf
    exim_has main/001_relayed </dev/null
    send
    delivered_to mx
    over_verified_tls mx
    routed_by mtasts
}

enforce_and_a_private_address_beside_a_public_one_is_left_out() {
    policy enforce "mx.$d"
    placed private "10.1.$number.1"
    named private "mx.$d"
    mx 10 private
    receiver mx
    send
    delivered_to mx
    over_verified_tls mx
    untouched private
}

no_policy_and_a_private_address_is_ignored_by_the_stock_router() {
    placed mx "10.1.$number.1"
    mx 10 mx
    send
    bounced
    not_logged "R=mtasts"
    untouched mx
}

# ---- this machine, and hosts that DNS says nothing about ----

enforce_and_this_machine_as_first_mx_hands_the_mail_to_nobody_behind_it() {
    policy enforce "*.$d"
    record "$d" MX 10 "self.$d"
    record "self.$d" A 127.0.0.1
    mx 20 mx
    send
    deferred
    untouched mx
    logged 'R=mtasts defer .* remote host address is the local host'
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

enforce_delivers_although_a_backup_mx_gets_no_answer_from_dns_at_all() {
    policy enforce "*.$d"
    mx 10 mx
    record "$d" MX 20 "dead.$d"
    record "dead.$d" SILENT
    send
    delivered_to mx
    over_verified_tls mx
}

enforce_delivers_to_the_backup_although_the_first_mx_has_no_answer_in_dns() {
    policy enforce "*.$d"
    record "$d" MX 10 "dead.$d"
    record "dead.$d" SERVFAIL
    mx 20 mx
    send
    delivered_to mx
    over_verified_tls mx
}

enforce_delivers_to_the_backup_although_the_first_mx_does_not_exist() {
    policy enforce "*.$d"
    record "$d" MX 10 "gone.$d"
    mx 20 mx
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

enforce_and_a_second_mx_behind_two_cnames_is_asked_by_the_name_of_its_mx_record() {
    policy enforce "one.$d,two.$d"
    mx 10 one starttls=absent
    record "$d" MX 20 "two.$d"
    record "two.$d" CNAME "middle.$d"
    record "middle.$d" CNAME "real.$d"
    receiver real
    send
    delivered_to real
    over_verified_tls real "two.$d"
}

enforce_and_a_second_mx_behind_two_cnames_with_ipv6_only_is_asked_by_its_name() {
    policy enforce "one.$d,two.$d"
    mx 10 one starttls=absent
    record "$d" MX 20 "two.$d"
    record "two.$d" CNAME "middle.$d"
    record "middle.$d" CNAME "real.$d"
    placed real 2001:db8:77::1
    receiver real
    send
    delivered_to real
    over_verified_tls real "two.$d"
}
