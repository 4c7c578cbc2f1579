# shellcheck shell=bash disable=SC2034,SC2154 # $d and the like come from words.sh
# What Postfix asks about, and what it is told.

each_dialect_is_told_what_it_reads() {
    policy enforce "MX.$d,*.wild.$d"
    load_scene
    local classic="secure match=mx\.$d:\.wild\.$d servername=hostname"
    answers "$address:postfix" "$d" "$classic"
    answers "$address:sts" "$d" "$classic"
    answers "$address:postfix-tlsrpt" "$d" "$classic policy_type=sts policy_domain=$d mx_host_pattern=mx\.$d mx_host_pattern=\*\.wild\.$d \{ policy_string = version: STSv1 \} \{ policy_string = mode: enforce \} \{ policy_string = mx: mx\.$d \} \{ policy_string = mx: \*\.wild\.$d \} \{ policy_string = max_age: 86400 \}"
}

nothing_is_known_of_what_is_not_enforced() {
    policy testing "mx.$d"
    policy_for "none.$d" none "" 2>/dev/null
    load_scene
    local table
    for table in postfix postfix-tlsrpt sts; do
        says_nothing "$address:$table" "$d"
        says_nothing "$address:$table" "absent.$d"
    done
}

keys_that_are_no_domain_have_no_policy() {
    policy enforce "mx.$d"
    load_scene
    answers "$address:postfix" "$d" "secure .*"
    local key
    for key in ".$d" .test "[$d]" "[$d]:587" "$d:587" 192.0.2.1 "[192.0.2.1]" "[IPv6:2001:db8::1]"; do
        says_nothing "$address:postfix" "$key"
    done
}

the_unknown_holds_the_message() {
    mtasts 'on_dns_error = "defer"'
    record "_mta-sts.$d" SERVFAIL
    mx 10 mx
    send
    held_back
    holds_back "$map" "$d" "it is unknown whether $d has a policy: dns-failed"
}

an_unknown_table_holds_the_message() {
    main "smtp_tls_policy_maps=socketmap:$address:QUERY"
    mx 10 mx
    send
    held_back
    holds_back "$address:QUERY" "$d" 'unknown map, want sts, postfix or postfix-tlsrpt'
}

# The older one cannot read them; the newer one may ask as the older.
attributes_in_the_wrong_dialect() {
    classic || return
    main "smtp_tls_policy_maps=socketmap:$address:postfix-tlsrpt"
    policy enforce "mx.$d"
    mx 10 mx
    send
    is_kept
    logged 'invalid attribute name: "policy_type"'
    nothing_arrived
}

newer_postfix_in_the_older_dialect_compares_certificates_only() {
    ! classic || return
    main "smtp_tls_policy_maps=socketmap:$address:postfix"
    policy enforce "listed.$d"
    mx 10 unlisted
    world smtp "$(socket unlisted)" "name=listed.$d" sni=ignored
    send
    delivered_to unlisted
}

a_subdomain_has_no_policy_of_its_parent() {
    policy enforce "mx.$d"
    record "sub.$d" MX 10 "mx.$d"
    receiver mx starttls=absent
    send "u@sub.$d"
    delivered_to mx "sub.$d"
    over_no_tls mx "sub.$d"
    asked TXT "_mta-sts.sub.$d"
    not_asked TXT "_mta-sts.$d"
}

# Postfix leaves the case as it is.
recipient_in_capital_letters() {
    policy enforce "mx.$d"
    mx 10 mx starttls=absent
    send "u@${d^^}"
    is_kept "${d^^}"
    logged 'TLS is required, but was not offered'
}

# With SMTPUTF8 that is what Postfix asks about.
domain_in_u_labels() {
    policy_for "xn--bcher-kva.$d" enforce "mx.$d"
    load_scene
    answers "$address:postfix" "bücher.$d" "secure match=mx\.$d .*"
    asked TXT "_mta-sts.xn--bcher-kva.$d"
}

# A host that the administrator has named is not of DNS.
next_hop_in_brackets() {
    policy enforce "listed.$d"
    receiver hub starttls=absent
    main "transport_maps=inline:{ { $d = smtp:[hub.$d] } }"
    send
    delivered_to hub
    over_no_tls hub "$d"
}

# The next hop's policy counts, and not the recipient's (RFC 8461 section 3.4).
next_hop_of_another_domain() {
    policy enforce "listed.$d"
    policy_for "hub.$d" enforce "good.hub.$d"
    record "hub.$d" MX 10 "good.hub.$d"
    receiver good.hub
    main "transport_maps=inline:{ { $d = smtp:hub.$d } }"
    send
    delivered_to good.hub
    over_verified_tls good.hub
}

# Postfix goes by MX records, but asks about another name.
next_hop_with_a_port() {
    policy enforce "listed.$d"
    mx 10 mx starttls=absent
    main "transport_maps=inline:{ { $d = smtp:$d:25 } }"
    send
    delivered_to mx
    over_no_tls mx "$d"
    not_asked TXT "_mta-sts.$d"
}

# As the README says it in its place.
next_hop_without_its_port() {
    policy enforce "listed.$d"
    mx 10 mx starttls=absent
    main "transport_maps=inline:{ { $d = smtp:$d } }"
    send
    is_kept
}

relayhost_has_a_policy_of_its_own() {
    policy enforce "listed.$d"
    record "hub.$d" MX 10 "mx.$d"
    receiver mx starttls=absent
    main "relayhost=hub.$d"
    send
    delivered_to mx
    over_no_tls mx "$d"
    asked TXT "_mta-sts.hub.$d"
    not_asked TXT "_mta-sts.$d"
}

fallback_relay_gets_in_clear_what_is_enforced() {
    policy enforce "mx.$d"
    mx 10 mx starttls=absent
    receiver fallback starttls=absent
    main "smtp_fallback_relay=[fallback.$d]"
    send
    delivered_to fallback
    over_no_tls fallback "$d"
}

# Named in a table, as the README says.
fallback_relay_in_a_table() {
    secure "[fallback.$d]"
    policy enforce "mx.$d"
    mx 10 mx starttls=absent
    receiver fallback starttls=absent
    main "smtp_fallback_relay=[fallback.$d]"
    send
    is_kept
    forget
    policy enforce "mx.$d"
    mx 10 mx starttls=absent
    receiver fallback
    try_again
    delivered_to fallback
    over_tls fallback "$d"
    logged "Verified TLS connection established to fallback\.$d"
}

next_hops_in_brackets_in_a_table() {
    secure "[hub.$d]" "[port.$d]:25"
    receiver hub starttls=absent
    receiver port starttls=absent
    main "transport_maps=inline:{ { $d = smtp:[hub.$d] }, { port.$d = smtp:[port.$d]:25 } }"
    send "u@$d" "u@port.$d"
    deferred
    deferred "port.$d"
}

secure() { # NEXT-HOP...
    printf '%s secure\n' "$@" >/etc/postfix/tls_policy
    main "smtp_tls_policy_maps=texthash:/etc/postfix/tls_policy, socketmap:$map"
}
