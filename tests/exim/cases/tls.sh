# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# Enforce: no verified TLS, no delivery.

# The log says what examples/exim/README.md promises: -38 is no TLS, -37 a session that failed.
tls_trouble() { # WORD-OF-RECEIVER LOGGED
    tls_trouble_defers "$1"
    logged "== u@$d R=mtasts T=remote_smtp_mtasts defer $2"
    connections mx 1
}
# Conformance: S5-1.
enforce_and_an_mx_without_starttls_defers() { tls_trouble starttls=absent "\(-38\) H=mx\.$d .* did not offer TLS"; }
enforce_and_a_refused_starttls_defers() { tls_trouble starttls=refused '\(-38\) .* an attempt to start TLS failed'; }
enforce_and_a_broken_handshake_defers() { tls_trouble starttls=broken '\(-37\) .* \(gnutls_handshake\)'; }
# Conformance: S4.2-2.
enforce_and_a_certificate_for_another_name_defers() {
    tls_trouble certificate=wrong-name '\(-37\) .* \(certificate verification failed\)$'
    asked_as mx "mx.$d"
}
untrusted() { # CERTIFICATE
    tls_trouble "certificate=$1" '\(-37\) .* \(certificate verification failed\): certificate invalid'
}
enforce_and_a_self_signed_certificate_defers() { untrusted self-signed; }
# Conformance: S4.2-1.
enforce_and_an_expired_certificate_defers() { untrusted expired; }
enforce_and_a_certificate_of_tomorrow_defers() { untrusted not-yet-valid; }
enforce_and_an_unknown_ca_defers() { untrusted unknown-ca; }
enforce_and_a_missing_intermediate_defers() { untrusted no-intermediate; }
enforce_and_an_expired_intermediate_defers() { untrusted expired-intermediate; }
enforce_and_a_certificate_signed_by_another_server_defers() { untrusted signed-by-server; }

enforce_and_a_first_mx_that_refuses_starttls_goes_to_the_second() { first_fails_second_is_good starttls=refused; }
enforce_and_a_first_mx_that_breaks_the_handshake_goes_to_the_second() { first_fails_second_is_good starttls=broken; }
enforce_and_a_first_mx_of_another_name_goes_to_the_second() { first_fails_second_is_good certificate=wrong-name; }

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
