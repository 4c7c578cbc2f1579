# shellcheck shell=bash disable=SC2034,SC2154 # $d and the like come from words.sh
# DANE beside MTA-STS (RFC 8461 section 2).

use_dane() { # for domains that the server knows nothing of
    main smtp_dns_support_level=dnssec smtp_tls_security_level=dane
}

other_key=0000000000000000000000000000000000000000000000000000000000000000

dane_stays_for_domains_without_a_policy() {
    use_dane
    mx 10 mx certificate=self-signed
    tlsa mx leaf
    send
    delivered_to mx
    over_verified_tls mx
}

dane_refuses_for_domains_without_a_policy() {
    use_dane
    mx 10 mx
    tlsa mx "$other_key"
    send
    deferred
}

dane_stays_for_domains_that_are_testing() {
    use_dane
    policy testing "mx.$d"
    mx 10 mx
    tlsa mx "$other_key"
    send
    deferred
}

# What RFC 8461 section 2 forbids and Postfix does: the README says so and how to prevent it.
enforced_policy_takes_the_place_of_dane() {
    use_dane
    policy enforce "mx.$d"
    mx 10 mx
    tlsa mx "$other_key"
    send
    delivered_to mx
}

table_before_the_server_keeps_dane() {
    follow_readme "## DANE" >"$work/said" 2>&1 || wrong "it ends with $?: $(cat "$work/said")"
    is_changed=yes
    # The README's domain, for which the table is.
    d=example.com
    policy enforce "mx.$d"
    mx 10 mx
    tlsa mx "$other_key"
    send
    deferred
    world dns "_25._tcp.mx.$d" TLSA 3 1 1 leaf
    reload_postfix
    try_again
    delivered_to mx
}
