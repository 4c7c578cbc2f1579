# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# Enforce, and somebody who can forge DNS answers (RFC 8461 section 10): no mail and no connection for his host.

# ---- the listed name is made useless, the attacker's stands beside it ----

listed_name_fails_beside_evil() { # FAILURE
    policy enforce "mx.$d"
    mx 20 evil
    record "$d" MX 10 "mx.$d"
    record "mx.$d" "$1"
    send
    deferred
    untouched evil
    not_logged 'R=dnslookup'
    not_logged Frozen
}
enforce_and_a_listed_name_that_does_not_exist_beside_an_unlisted_one_defers() { listed_name_fails_beside_evil NXDOMAIN; }
enforce_and_a_listed_name_that_fails_beside_an_unlisted_one_defers() { listed_name_fails_beside_evil SERVFAIL; }
enforce_and_a_listed_name_without_an_address_beside_an_unlisted_one_defers() { listed_name_fails_beside_evil NODATA; }

listed_name_fails_alone() { # FAILURE
    policy enforce "mx.$d"
    record "$d" MX 10 "mx.$d"
    record "mx.$d" "$1"
    named evil "$d"
    receiver evil
    send
    deferred
    untouched evil
    not_logged 'R=dnslookup'
    not_logged Frozen
}
enforce_and_only_a_listed_name_that_does_not_exist_defers() { listed_name_fails_alone NXDOMAIN; }
enforce_and_only_a_listed_name_that_fails_defers() { listed_name_fails_alone SERVFAIL; }

# Both names are given the attacker's address, and he has a good certificate for his own.
enforce_and_a_forged_address_of_a_listed_host_does_not_help_an_unlisted_one_there() {
    policy enforce "mx.$d"
    mx 10 evil sni=ignored
    record "$d" MX 20 "mx.$d"
    record "mx.$d" A "${at[evil]}"
    send
    deferred
    nothing_arrived
    asked_as evil "mx.$d"
    logged 'defer \(-37\)'
}

# Left out is the unlisted name, not the address that it shares with the listed one.
enforce_delivers_to_a_listed_mx_whose_address_an_unlisted_one_has_too() {
    policy enforce "mx.$d"
    mx 20 mx
    record "$d" MX 10 "evil.$d"
    record "evil.$d" A "${at[mx]}"
    send
    delivered_to mx
    over_verified_tls mx
    connections mx 1
}

# ---- MX records that change between two questions ----

# Whoever asks once believes one answer. A router that asked again would believe the attacker.
enforce_and_mx_records_that_turn_from_good_to_evil_deliver_to_the_good_one() {
    policy enforce "mx.$d"
    mx_in_turn 1 10 mx
    mx_in_turn 2 10 evil
    send
    delivered_to mx
    over_verified_tls mx
    untouched evil
    asked MX "$d" 1
}

enforce_and_mx_records_that_turn_from_evil_to_good_defer() {
    policy enforce "mx.$d"
    mx_in_turn 1 10 evil
    mx_in_turn 2 10 mx
    send
    deferred
    untouched evil mx
}

enforce_and_a_good_mx_that_is_unreachable_and_turns_to_evil_defers() {
    policy enforce "mx.$d"
    mx_in_turn 1 10 mx
    mx_in_turn 2 10 evil
    receiver mx starttls=absent
    send
    deferred
    untouched evil
}

enforce_and_a_null_mx_that_turns_to_evil_bounces() {
    policy enforce "mx.$d"
    record "$d" MX 0 . turn=1
    mx_in_turn 2 10 evil
    send
    bounced
    logged 'accepts no mail \(null MX\)'
    untouched evil
}

enforce_and_no_mx_that_turns_to_evil_delivers_to_the_listed_domain() {
    policy enforce "$d"
    named domain "$d"
    receiver domain
    record "$d" MX NODATA turn=1
    mx_in_turn 2 10 evil
    send
    delivered_to domain
    over_verified_tls domain
    untouched evil
}

enforce_and_no_mx_that_turns_to_evil_defers_where_the_domain_is_not_listed() {
    policy enforce "mx.$d"
    record "$d" MX NODATA turn=1
    mx_in_turn 2 10 evil
    send
    deferred
    untouched evil
}

enforce_and_a_failure_that_turns_to_evil_defers() {
    policy enforce "mx.$d"
    # The C library asks twice before it gives up.
    record "$d" MX SERVFAIL turn=1
    record "$d" MX SERVFAIL turn=2
    mx_in_turn 3 10 evil
    send
    deferred
    untouched evil
}

enforce_and_two_recipients_of_a_domain_that_turns_to_evil_never_reach_evil() {
    policy enforce "mx.$d"
    mx_in_turn 1 10 mx
    mx_in_turn 2 10 evil
    send "u@$d" "v@$d"
    delivered_to mx
    asked MX "$d" 1
    untouched evil
    not_logged 'R=dnslookup'
}

# Without a policy that is enforced nothing is promised, and nothing odd comes of it.
testing_and_mx_records_that_turn_from_listed_to_unlisted_deliver() {
    policy testing "mx.$d"
    mx_in_turn 1 10 mx
    mx_in_turn 2 10 other
    send
    delivered_to other
    routed_by dnslookup
}

no_policy_and_mx_records_that_turn_to_others_deliver() {
    mx_in_turn 1 10 mx
    mx_in_turn 2 10 other
    send
    delivered_to other
    routed_by dnslookup
}

no_policy_and_a_null_mx_that_turns_to_a_host_delivers() {
    record "$d" MX 0 . turn=1
    mx_in_turn 2 10 mx
    send
    delivered_to mx
    routed_by dnslookup
}

# ---- a name in the MX record that leads elsewhere, or means something else to Exim ----

# The certificate must be for the listed name; that of the CNAME's target is the attacker's to choose.
# Conformance: S4.1-1.
enforce_and_a_cnamed_mx_with_a_certificate_for_its_target_only_defers() {
    policy enforce "alias.$d"
    record "$d" MX 10 "alias.$d"
    record "alias.$d" CNAME "evil.$d"
    receiver evil sni=ignored
    send
    deferred
    nothing_arrived
    asked_as evil "alias.$d"
    logged 'defer \(-37\)'
}

# The pattern matches a part of each name. What Exim could take the rest for leads to the attacker.
odd_mx_name_defers() { # NAME [NAME OF EVIL...]
    policy enforce "*.$d"
    receiver evil
    record "$d" MX 10 "$1"
    record "$1" A "${at[evil]}"
    local other
    for other in "${@:2}"; do record "$other" A "${at[evil]}"; done
    send
    deferred
    untouched evil
    logged 'R=mtasts defer .*: MTA-STS: '
}
enforce_and_an_mx_name_that_ends_in_mx_behind_a_slash_defers() {
    record "hop.$d" MX 10 "evil.$d"
    odd_mx_name_defers "hop.$d\\/mx" "hop.$d"
}
enforce_and_an_mx_name_with_a_slash_inside_defers() { odd_mx_name_defers "evil\\/mx.$d"; }
enforce_and_an_mx_name_with_a_dollar_sign_defers() { odd_mx_name_defers "\\\$domain.$d" "$d.$d"; }
enforce_and_an_mx_name_with_an_expansion_defers() { odd_mx_name_defers "\\\${domain}.$d" "$d.$d"; }
enforce_and_an_mx_name_with_a_backslash_defers() { odd_mx_name_defers "ev\\\\il.$d" "evil.$d" "x.$d"; }
enforce_and_an_mx_name_with_a_colon_defers() { odd_mx_name_defers "evil.test\\:25.$d" evil.test "25.$d"; }
enforce_and_an_mx_name_with_a_space_defers() { odd_mx_name_defers "evil\\032byname.$d" evil "byname.$d"; }
enforce_and_an_mx_name_with_a_comma_defers() { odd_mx_name_defers "evil\\,5\\032evil.$d"; }
enforce_and_an_mx_name_with_a_new_list_separator_defers() { odd_mx_name_defers "<\\;evil\\;x.$d" evil "x.$d"; }
enforce_and_an_mx_name_with_a_dot_inside_a_label_defers() { odd_mx_name_defers "evil\\.$d"; }

enforce_and_an_mx_that_is_an_ip_address_in_brackets_defers() {
    policy enforce "*.$d"
    receiver evil
    record "$d" MX 10 "[${at[evil]//./\\.}]"
    send
    deferred
    untouched evil
}

enforce_and_an_ip_address_beside_a_listed_mx_is_left_out() {
    policy enforce "mx.$d"
    mx 20 mx
    receiver evil
    record "$d" MX 10 "${at[evil]}"
    record "${at[evil]}" A "${at[evil]}"
    send
    delivered_to mx
    untouched evil
}

# A file that this machine's users or installers write is no DNS.
enforce_and_a_listed_name_that_only_the_hosts_file_knows_defers() {
    policy enforce "mx.$d"
    record "$d" MX 10 "mx.$d"
    receiver evil
    echo "${at[evil]} mx.$d" >>/etc/hosts
    send
    deferred
    untouched evil
    echo "127.0.0.1 localhost" >/etc/hosts
}
