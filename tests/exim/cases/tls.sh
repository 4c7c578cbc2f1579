# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# Enforce: no verified TLS, no delivery.

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
