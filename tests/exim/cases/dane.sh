# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# DANE: a TLSA record takes the place of the CA, not that of the policy.

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
