# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# Enforce: hosts that the policy does not list are never contacted.

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
