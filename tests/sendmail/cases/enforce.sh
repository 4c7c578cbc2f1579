# shellcheck shell=bash disable=SC2154 # the variables are those of setup.sh and words.sh
# Enforce: only to listed hosts, and only over TLS with a valid certificate.

enforce_and_a_listed_mx_delivers_over_verified_tls() {
    policy enforce "mx.$d"
    mx 10 mx
    send
    delivered_to mx
    over_verified_tls mx
}

enforce_and_a_wildcard_in_the_policy_delivers_over_verified_tls() {
    policy enforce "*.$d"
    mx 10 mx
    send
    delivered_to mx
    over_verified_tls mx
}

enforce_and_a_host_two_labels_below_a_wildcard_defers() {
    policy enforce "*.$d"
    mx 10 mx.deep
    send
    deferred
    for_want_of "mx\.deep\.$d not found in .*\.$d"
}

enforce_and_an_unlisted_mx_defers() {
    policy enforce "listed.$d"
    mx 10 mx
    send
    deferred
    for_want_of "mx\.$d not found in .*listed\.$d"
}

tls_trouble_defers() { # WORD-OF-RECEIVER LOGGED
    policy enforce "mx.$d"
    mx 10 mx "$1"
    send
    deferred
    nothing_arrived
    for_want_of "$2"
}
enforce_and_an_mx_without_starttls_defers() { tls_trouble_defers starttls=absent "other side does not support STARTTLS"; }
enforce_and_a_refused_starttls_defers() { tls_trouble_defers starttls=refused "authentication failure"; }
enforce_and_a_broken_handshake_defers() { tls_trouble_defers starttls=broken "TLS handshake"; }
enforce_and_a_certificate_for_another_name_defers() { tls_trouble_defers certificate=wrong-name "mx\.$d not listed in SANs"; }
enforce_and_an_expired_certificate_defers() { tls_trouble_defers certificate=expired "authentication failed"; }
enforce_and_a_certificate_of_tomorrow_defers() { tls_trouble_defers certificate=not-yet-valid "authentication failed"; }
enforce_and_a_self_signed_certificate_defers() { tls_trouble_defers certificate=self-signed "authentication failed"; }
enforce_and_an_unknown_ca_defers() { tls_trouble_defers certificate=unknown-ca "authentication failed"; }
enforce_and_a_missing_intermediate_defers() { tls_trouble_defers certificate=no-intermediate "authentication failed"; }

# What Sendmail cannot check, as examples/sendmail/README.md tells: before 8.18.2 it
# never takes a wildcard in a certificate for a match.
enforce_and_a_wildcard_certificate_defers_before_8_18_2() {
    if is_before_8_18_2; then
        tls_trouble_defers certificate=wildcard "mx\.$d not listed in SANs"
    else
        policy enforce "mx.$d"
        mx 10 mx certificate=wildcard
        send
        delivered_to mx
        over_verified_tls mx
    fi
}

enforce_and_a_first_mx_without_starttls_goes_to_the_second() { first_fails_second_is_good starttls=absent; }
enforce_and_a_first_mx_with_an_expired_certificate_goes_to_the_second() { first_fails_second_is_good certificate=expired; }

enforce_and_an_unlisted_first_mx_goes_to_the_second() {
    policy enforce "mx.$d"
    mx 10 evil
    mx 20 mx
    send
    delivered_to mx
    over_verified_tls mx
}

enforce_and_a_first_mx_of_another_name_goes_to_the_second() { first_fails_second_is_good certificate=wrong-name; }
