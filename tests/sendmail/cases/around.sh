# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and words.sh
# What gets around FEATURE(`sts') alone, and must not get around mtasts.m4.

# ---- a host of two domains: $d is enforced, a.$d has no policy and is taken first ----

shared_host() { # WORD-OF-RECEIVER
    policy enforce "mx.$d"
    mx 10 mx "$1"
    record "a.$d" MX 10 "mx.$d"
}

enforced_waits_and_the_other_is_delivered() { # u@$d and u@a.$d
    at_receiver mx "delivered .*<u@a\.$d>" || wrong "nothing for u@a.$d arrived"
    deferred
}

two_recipients_of_one_message_are_checked_each() {
    shared_host certificate=self-signed
    send "u@a.$d" "u@$d"
    enforced_waits_and_the_other_is_delivered
}

two_recipients_of_one_message_and_a_host_without_starttls_are_checked_each() {
    shared_host starttls=absent
    send "u@a.$d" "u@$d"
    enforced_waits_and_the_other_is_delivered
}

two_messages_of_one_queue_run_are_checked_each() {
    shared_host certificate=self-signed
    queue "u@$d"
    queue "u@a.$d"
    run_queue
    enforced_waits_and_the_other_is_delivered
}

who_shares_a_host_with_an_enforced_domain_waits_for_the_next_queue_run_at_most() {
    shared_host starttls=absent
    record "z.$d" MX 10 "mx.$d"
    send "u@$d" "u@z.$d"
    deferred
    run_queue
    delivered_to mx "z.$d"
    deferred
}

two_enforced_domains_on_two_hosts_ask_each_for_its_certificate() {
    policy enforce "mx.$d"
    mx 10 mx
    policy_for "a.$d" enforce "other.$d"
    record "a.$d" MX 10 "other.$d"
    receiver other
    send "u@a.$d" "u@$d"
    delivered_to mx
    delivered_to other "a.$d"
    over_verified_tls mx
    over_verified_tls other
}

# ---- forged DNS ----

another_name() { # a host of it that takes mail in clear
    policy enforce "mx.$d"
    record "another.$d" MX 10 "evil.another.$d"
    receiver evil.another starttls=absent
}

a_forged_cname_of_the_domain_does_not_lead_to_another_policy() {
    another_name
    record "$d" CNAME "another.$d"
    send
    deferred
    nothing_arrived
    asked TXT "_mta-sts.$d"
    not_asked TXT "_mta-sts.another.$d"
}

host_of_one_label() { # its certificate is valid, and for another name
    policy enforce "mx.$d"
    record "$d" MX 10 evil
    named evil evil
    receiver evil
    world smtp "$(socket evil)" "name=other.$d" sni=ignored
}

a_forged_host_of_one_label_is_refused() {
    host_of_one_label
    send
    deferred
    nothing_arrived
    logged 'reject=450 4.7.0 .*evil not found in the policy'
}

# The machine is sender.test, so that the resolver searches in `test`.
a_domain_that_seems_not_to_exist_is_not_searched_for_elsewhere() {
    another_name
    record "$d" NODATA
    record "$d.test" MX 10 "evil.another.$d"
    may_end_with=68 send # EX_NOHOST: no such domain
    nothing_arrived
    untouched evil.another
    not_asked MX "$d.test"
}

a_forged_cname_of_a_listed_host_delivers_under_the_name_of_the_mx_record() {
    policy enforce "mx.$d"
    record "$d" MX 10 "mx.$d"
    record "mx.$d" CNAME "real.$d"
    named real "real.$d"
    receiver real
    send
    delivered_to real
    asked_as real "mx.$d"
}

a_domain_without_mx_that_lists_itself_delivers() {
    policy enforce "$d"
    named domain "$d"
    receiver domain
    send
    delivered_to domain
    over_verified_tls domain
}

# ---- why mtasts.m4 has its last lines ----

with_the_feature_alone() { # until the case has ended
    is_changed=yes
    if [ ! -d "$work/feature" ]; then
        sed -i '0,/^FEATURE/b;d' /etc/mail/m4/mtasts.m4
        touch /etc/mail/sendmail.mc
        make -C /etc/mail >"$work/said" 2>&1 || wrong "make ends with $?: $(cat "$work/said")"
        cp -a /etc/mail "$work/feature"
    fi
    take_configuration feature
}

with_the_feature_alone_two_recipients_share_a_connection_that_is_not_verified() {
    with_the_feature_alone
    shared_host certificate=self-signed
    send "u@a.$d" "u@$d"
    is_shared_before_8_18_2
}

with_the_feature_alone_two_messages_share_a_connection_that_is_not_verified() {
    with_the_feature_alone
    shared_host certificate=self-signed
    queue "u@$d"
    queue "u@a.$d"
    run_queue
    is_shared_before_8_18_2
}

is_shared_before_8_18_2() { # which checks it
    if is_before_8_18_2; then
        delivered_to mx
        logged 'STARTTLS=client, .* verify=FAIL'
    else
        enforced_waits_and_the_other_is_delivered
    fi
}

with_the_feature_alone_a_forged_cname_gets_mail_in_clear() {
    with_the_feature_alone
    another_name
    record "$d" CNAME "another.$d"
    send
    over_no_tls evil.another "another.$d"
}

with_the_feature_alone_a_domain_of_the_search_list_gets_mail_in_clear() {
    with_the_feature_alone
    another_name
    record "$d" NODATA
    record "$d.test" MX 10 "evil.another.$d"
    send
    over_no_tls evil.another "$d.test"
}

with_the_feature_alone_a_forged_host_of_one_label_gets_mail_with_any_valid_certificate() {
    with_the_feature_alone
    host_of_one_label
    send
    delivered_to evil
    logged 'STARTTLS=client, relay=evil\., .* verify=OK'
}
