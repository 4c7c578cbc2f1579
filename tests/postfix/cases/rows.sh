# shellcheck shell=bash disable=SC2034,SC2154 # $d and the like come from words.sh
# What becomes of a message, row by row of what a domain and its hosts can be like.

good_certificate_of_a_listed_host() {
    policy enforce "mx.$d"
    mx 10 mx
    send
    delivered_to mx
    over_verified_tls mx
}

no_starttls() {
    tls_trouble_defers starttls=absent
    logged 'TLS is required, but was not offered by host'
}

refused_starttls() { tls_trouble_defers starttls=refused; }

# Without a policy Postfix goes on in clear, for a message that has waited for minimal_backoff_time.
broken_handshake() {
    main minimal_backoff_time=1s
    tls_trouble_defers starttls=broken
    sleep 1.1
    try_again
    deferred
}

broken_handshake_without_a_policy() {
    main minimal_backoff_time=1s
    mx 10 mx starttls=broken
    send
    is_kept
    sleep 1.1
    try_again
    delivered_to mx
    over_no_tls mx "$d"
}

certificate_for_another_name() {
    tls_trouble_defers certificate=wrong-name
    logged 'Server certificate not verified'
}

certificate_of_an_unknown_ca() { tls_trouble_defers certificate=unknown-ca; }

self_signed_certificate() { tls_trouble_defers certificate=self-signed; }

expired_certificate() { tls_trouble_defers certificate=expired; }

mx_is_not_listed() {
    policy enforce "listed.$d"
    mx 10 unlisted
    send
    deferred
    if ! classic; then
        logged "MX name 'unlisted.$d' does not match STS MX pattern for '$d'"
        untouched unlisted
    fi
}

second_mx_is_the_good_one() {
    policy enforce "second.$d"
    mx 10 first
    mx 20 second
    send
    delivered_to second
    over_verified_tls second
}

second_mx_has_the_good_certificate() {
    policy enforce "*.$d"
    mx 10 first certificate=expired
    mx 20 second
    send
    delivered_to second
    over_verified_tls second
}

testing_is_no_constraint() {
    policy testing "listed.$d"
    mx 10 mx starttls=absent
    send
    delivered_to mx
    over_no_tls mx "$d"
}

mode_none_is_no_constraint() {
    world policy "$d" none max_age=86400 id=1
    mx 10 mx certificate=self-signed
    send
    delivered_to mx
}

no_policy_is_no_constraint() {
    mx 10 mx starttls=absent
    send
    delivered_to mx
    over_no_tls mx "$d"
}

policy_that_cannot_be_had_is_no_constraint() {
    world status "$d" 404
    mx 10 mx starttls=absent
    send
    delivered_to mx
}

wildcard_covers_one_label() {
    policy enforce "*.$d"
    mx 10 mx
    send
    delivered_to mx
    over_verified_tls mx
}

wildcard_certificate_covers_one_label() {
    policy enforce "mx.$d"
    mx 10 mx certificate=wildcard
    send
    delivered_to mx
    over_verified_tls mx
}

# RFC 8461 section 4.1: `*` is one label. Older Postfix means any number of them.
wildcard_and_two_labels() {
    policy enforce "*.$d"
    mx 10 a.b
    send
    if classic; then
        delivered_to a.b
    else
        deferred
        untouched a.b
    fi
}

# RFC 8461 section 4.1 wants the MX host in the policy and section 4.2 the certificate for the MX host. Older Postfix asks
# for no more than a certificate for any name in the policy.
unlisted_mx_with_the_certificate_of_a_listed_one() {
    policy enforce "listed.$d"
    record "$d" MX 10 "unlisted.$d"
    named unlisted "unlisted.$d"
    receiver unlisted
    world smtp "$(socket unlisted)" "name=listed.$d" sni=ignored
    send
    if classic; then
        delivered_to unlisted
        logged "Verified TLS connection established to unlisted\.$d"
    else
        deferred
        untouched unlisted
    fi
}

mx_with_the_certificate_of_another_listed_one() {
    policy enforce "mx.$d,other.$d"
    record "$d" MX 10 "mx.$d"
    receiver mx
    world smtp "$(socket mx)" "name=other.$d" sni=ignored
    send
    if classic; then delivered_to mx; else deferred; fi
}

# In place of a name, Postfix takes these for whatever DNS says.
words_that_postfix_means_otherwise() {
    policy enforce "hostname,nexthop,dot-nexthop,listed.$d"
    mx 10 mx
    send
    deferred
}

only_words_that_postfix_means_otherwise() {
    policy enforce hostname
    mx 10 mx
    send
    held_back
    untouched mx
}
