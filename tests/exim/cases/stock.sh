# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# Testing, none, absent, no MX: what the stock router decides, and what it must not.

# Conformance: S4.1-5.
enforce_and_a_null_mx_bounces_without_asking_the_stock_router() {
    policy enforce "mx.$d"
    record "$d" MX 0 .
    named domain "$d"
    receiver domain
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

# That nobody answers is not "no MX record", which would make the domain its own host.
enforce_and_mx_records_that_cannot_be_looked_up_do_not_lead_to_the_domain_itself() {
    policy enforce "$d"
    named domain "$d"
    receiver domain
    record "$d" MX SERVFAIL
    send
    deferred
    untouched domain
}

mail_for_a_local_domain_is_none_of_its_business() {
    send nobody-here@sender.test
    logged '\*\* nobody-here@sender.test'
    not_logged 'R=mtasts'
    not_asked TXT _mta-sts.sender.test
    not_asked MX sender.test
}

# ---- testing, none, absent: the stock router decides ----

testing_delivers() { # WORD-OF-RECEIVER
    policy testing "mx.$d"
    mx 10 mx "$1"
    send
    delivered_to mx
    routed_by dnslookup
}
# Conformance: S5-2.
testing_and_an_mx_without_starttls_delivers() {
    testing_delivers starttls=absent
    in_clear
}
testing_and_a_refused_starttls_delivers() {
    testing_delivers starttls=refused
    in_clear
}
testing_and_a_broken_handshake_delivers() {
    testing_delivers starttls=broken
    in_clear
}
testing_and_a_certificate_for_another_name_delivers() { testing_delivers certificate=wrong-name; }
testing_and_a_self_signed_certificate_delivers() { testing_delivers certificate=self-signed; }
testing_and_an_expired_certificate_delivers() { testing_delivers certificate=expired; }
testing_and_an_unknown_ca_delivers() { testing_delivers certificate=unknown-ca; }
testing_and_a_good_mx_delivers_by_the_stock_router() { testing_delivers certificate=good; }

testing_and_an_unlisted_mx_delivers() {
    policy testing "mx.$d"
    mx 10 other
    send
    delivered_to other
    routed_by dnslookup
}

testing_and_an_unlisted_first_mx_is_used_all_the_same() {
    policy testing "mx.$d"
    mx 10 other
    mx 20 mx
    send
    delivered_to other
    untouched mx
}

testing_and_a_null_mx_bounces() {
    policy testing "mx.$d"
    record "$d" MX 0 .
    send
    bounced
    logged 'indicated no SMTP service'
}

testing_and_no_mx_delivers_to_the_domain() {
    policy testing "mx.$d"
    named domain "$d"
    receiver domain
    send
    delivered_to domain
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
