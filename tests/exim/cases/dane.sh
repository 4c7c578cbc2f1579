# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# DANE: a TLSA record takes the place of the CA, not that of the policy.

# Conformance: D-6.
enforce_and_a_tlsa_record_that_fits_delivers() {
    policy enforce "mx.$d"
    mx 10 mx certificate=unknown-ca
    tlsa mx leaf
    send
    delivered_to mx
    over_verified_tls mx
    logged 'CV=dane'
    routed_by mtasts
}

# Conformance: D-1.
enforce_and_a_tlsa_record_that_does_not_fit_defers() {
    policy enforce "mx.$d"
    mx 10 mx
    tlsa mx "$(printf '00%.0s' {1..32})"
    send
    deferred
    nothing_arrived
    asked_as mx "mx.$d"
}

# Conformance: D-1.
testing_and_a_tlsa_record_that_does_not_fit_defers_in_the_stock_transport() {
    policy testing "mx.$d"
    mx 10 mx
    tlsa mx "$(printf '00%.0s' {1..32})"
    send
    deferred
    routed_by dnslookup
}

testing_and_a_tlsa_record_that_fits_delivers_in_the_stock_transport() {
    policy testing "mx.$d"
    mx 10 mx certificate=unknown-ca
    tlsa mx leaf
    send
    delivered_to mx
    logged 'CV=dane'
}

# A record that nobody has signed counts for nothing, whatever it says.
enforce_and_an_unsigned_tlsa_record_that_does_not_fit_delivers() {
    policy enforce "mx.$d"
    mx 10 mx
    record "_25._tcp.mx.$d" TLSA 3 1 1 "$(printf '00%.0s' {1..32})"
    send
    delivered_to mx
    over_verified_tls mx
    logged 'CV=yes'
}

enforce_and_an_unsigned_tlsa_record_that_fits_does_not_replace_the_ca() {
    policy enforce "mx.$d"
    mx 10 mx certificate=unknown-ca
    record "_25._tcp.mx.$d" TLSA 3 1 1 leaf
    send
    deferred
}

# RFC 7672 section 2.2: a TLSA record may be there when nobody says that it is not.
enforce_and_a_signed_host_whose_tlsa_records_cannot_be_looked_up_defers() {
    policy enforce "mx.$d"
    mx 10 mx certificate=unknown-ca
    record "_25._tcp.mx.$d" TLSA SERVFAIL
    signed "$d" "mx.$d" "_25._tcp.mx.$d"
    send
    deferred
}

# RFC 7672 section 3.1.3 calls usages 0 and 1 not usable for SMTP, and RFC 6698 section 4 so calls the
# numbers that nobody knows. Then DANE says nothing and the policy says all: a CA is needed.
unusable() { # USAGE SELECTOR MATCHING
    local certificate
    for certificate in unknown-ca wrong-name; do
        policy enforce "mx.$d"
        mx 10 mx "certificate=$certificate"
        tlsa mx leaf "$@"
        send
        deferred
        asked_as mx "mx.$d"
        # The next message is for another host, whom no retry hint delays.
        forget
        at=() d=next.$d
    done
    policy enforce "mx.$d"
    mx 10 mx
    tlsa mx leaf "$@"
    send
    delivered_to mx
    over_verified_tls mx
    logged 'CV=yes'
}
# Conformance: D-6.
enforce_and_tlsa_records_of_usage_0_leave_it_to_the_ca() { unusable 0 1 1; }
# Conformance: D-6.
enforce_and_tlsa_records_of_usage_1_leave_it_to_the_ca() { unusable 1 1 1; }
enforce_and_tlsa_records_of_an_unknown_usage_leave_it_to_the_ca() { unusable 7 1 1; }
enforce_and_tlsa_records_of_an_unknown_selector_leave_it_to_the_ca() { unusable 3 9 1; }
enforce_and_tlsa_records_of_an_unknown_matching_leave_it_to_the_ca() { unusable 3 1 9; }

# Conformance: D-7.
enforce_and_an_unlisted_mx_with_a_tlsa_record_that_fits_defers() {
    policy enforce "mx.$d"
    mx 10 evil
    tlsa evil leaf
    send
    deferred
    untouched evil
}

# With signed records too the certificate is for the name in the MX record.
enforce_and_a_signed_cname_with_a_certificate_for_its_target_only_defers() {
    policy enforce "alias.$d"
    record "$d" MX 10 "alias.$d"
    record "alias.$d" CNAME "real.$d"
    receiver real sni=ignored
    signed "$d" "alias.$d" "real.$d"
    send
    deferred
}
