# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# The policy cannot be looked up: what is cached holds, and without a cache the configuration says what happens.

on_dns_error() { # proceed|defer
    configure_mtasts
    echo "on_dns_error = \"$1\"" >>/etc/mtasts.toml
}

# ---- DNS ----

a_record_that_fails_delivers_by_the_stock_router() {
    record "_mta-sts.$d" SERVFAIL
    mx 10 mx starttls=absent
    send
    delivered_to mx
    routed_by dnslookup
}

a_record_that_fails_delivers_by_the_stock_router_where_the_configuration_says_proceed() {
    on_dns_error proceed
    record "_mta-sts.$d" SERVFAIL
    mx 10 mx starttls=absent
    send
    delivered_to mx
    routed_by dnslookup
    configure_mtasts
}

a_record_that_fails_defers_where_the_configuration_says_defer() {
    on_dns_error defer
    record "_mta-sts.$d" SERVFAIL
    mx 10 mx
    send
    deferred
    untouched mx
    logged "== u@$d R=mtasts defer .*: MTA-STS: policy unknown for $d"
    configure_mtasts
}

a_record_that_does_not_exist_delivers_where_the_configuration_says_defer() {
    on_dns_error defer
    mx 10 mx starttls=absent
    send
    delivered_to mx
    routed_by dnslookup
    configure_mtasts
}

# Nothing of the policy can be looked up again, and DNS shows the attacker's MX first.
cached_policy_outlives() { # HOURS FAILURE
    policy enforce "mx.$d"
    mx 20 mx
    mx 10 evil
    send
    delivered_to mx
    hours_later "$1" || return
    forget
    record "_mta-sts.$d" "$2"
    record "mta-sts.$d" "$2"
    mx 20 mx
    mx 10 evil
    send
    delivered_to mx
    over_verified_tls mx
    untouched evil
    asked TXT "_mta-sts.$d"
}
a_cached_policy_is_enforced_with_its_record_failing() { cached_policy_outlives 2 SERVFAIL; }
a_cached_policy_is_enforced_with_its_record_gone() { cached_policy_outlives 2 NXDOMAIN; }
a_cached_policy_is_enforced_with_its_record_failing_when_it_is_to_be_fetched_anew() { cached_policy_outlives 23 SERVFAIL; }
a_cached_policy_is_enforced_with_its_record_gone_when_it_is_to_be_fetched_anew() { cached_policy_outlives 23 NXDOMAIN; }

# The setting is for domains of which nothing is known.
a_cached_policy_is_enforced_with_its_record_failing_where_the_configuration_says_defer() {
    on_dns_error defer
    cached_policy_outlives 2 SERVFAIL
    configure_mtasts
}

a_cached_policy_of_testing_delivers_with_its_record_failing_where_the_configuration_says_defer() {
    policy testing "mx.$d"
    mx 10 mx starttls=absent
    send
    delivered_to mx
    hours_later 2 || return
    on_dns_error defer
    record "_mta-sts.$d" SERVFAIL
    send
    delivered_to mx
    routed_by dnslookup
    asked TXT "_mta-sts.$d"
    configure_mtasts
}

# The policy's life was a day, and nobody has one that is newer.
an_expired_policy_with_its_record_failing_is_no_policy() {
    policy enforce "mx.$d"
    mx 10 mx
    send
    delivered_to mx
    over_verified_tls mx
    hours_later 25 || return
    record "_mta-sts.$d" SERVFAIL
    receiver mx starttls=absent
    send
    delivered_to mx
    routed_by dnslookup
}

an_expired_policy_with_its_record_failing_defers_where_the_configuration_says_defer() {
    policy enforce "mx.$d"
    mx 10 mx
    send
    delivered_to mx
    hours_later 25 || return
    on_dns_error defer
    record "_mta-sts.$d" SERVFAIL
    send
    deferred
    untouched mx
    configure_mtasts
}

# ---- the policy host ----

first_contact_fails() { # WORDS-OF-STATUS
    world status "$d" "$@"
    mx 10 mx starttls=absent
    send
    delivered_to mx
    routed_by dnslookup
}
a_policy_host_without_the_policy_at_first_contact_counts_as_no_policy() { first_contact_fails 404; }
a_policy_host_in_trouble_at_first_contact_counts_as_no_policy() { first_contact_fails 500; }
a_policy_host_that_redirects_at_first_contact_counts_as_no_policy() {
    policy_for "elsewhere.$d" enforce "elsewhere.$d"
    first_contact_fails 301 "location=https://mta-sts.elsewhere.$d/.well-known/mta-sts.txt"
}

a_policy_host_that_is_down_at_first_contact_counts_as_no_policy() {
    policy enforce "mx.$d"
    mx 10 mx starttls=absent
    tell_world off https
    send
    delivered_to mx
    routed_by dnslookup
    tell_world on https
}

a_policy_host_without_an_address_at_first_contact_counts_as_no_policy() {
    policy enforce "mx.$d"
    record "mta-sts.$d" NXDOMAIN
    mx 10 mx starttls=absent
    send
    delivered_to mx
    routed_by dnslookup
}

# The names of policy hosts are DNS's, as those of MX hosts are.
a_policy_host_that_only_the_hosts_file_knows_counts_as_no_policy() {
    policy enforce "mx.$d"
    record "mta-sts.$d" NXDOMAIN
    mx 10 mx starttls=absent
    echo "127.0.0.1 mta-sts.$d" >>/etc/hosts
    send
    delivered_to mx
    routed_by dnslookup
    echo "127.0.0.1 localhost" >/etc/hosts
}

# RFC 8461 section 5.1: the record has a new id, and the new policy cannot be fetched.
a_cached_policy_is_enforced_with_its_host_down_and_a_new_id() {
    policy enforce "mx.$d"
    mx 20 mx
    mx 10 evil
    send
    delivered_to mx
    hours_later 2 || return
    record "_mta-sts.$d" TXT '"v=STSv1; id=2;"'
    tell_world off https
    send
    delivered_to mx
    over_verified_tls mx
    untouched evil
    asked TXT "_mta-sts.$d"
    tell_world on https
}

new_policy() { # MODE PATTERNS, after two hours
    policy enforce "mx.$d"
    mx 10 mx
    send
    delivered_to mx
    routed_by mtasts
    hours_later 2 || return
    forget
    world policy "$d" "$1" "mx=$2" max_age=86400 id=2
}
a_new_policy_that_enforces_nothing_sets_the_next_message_free() {
    new_policy none '' || return
    mx 10 other starttls=absent
    send
    delivered_to other
    routed_by dnslookup
}
a_new_policy_that_lists_other_hosts_is_enforced_by_the_next_message() {
    new_policy enforce "other.$d" || return
    mx 10 mx
    mx 20 other
    send
    delivered_to other
    over_verified_tls other
    untouched mx
}

# The operators have changed policy and MX records, and forgot the id (RFC 8461 section 5.1).
# Conformance: S5-4.
a_cached_policy_that_lists_no_host_is_fetched_anew_before_it_refuses() {
    policy enforce "mx.$d"
    mx 10 mx
    send
    delivered_to mx
    hours_later 2 || return
    forget
    policy enforce "other.$d"
    mx 10 other
    send
    delivered_to other
    over_verified_tls other
}

# ---- addresses of policy hosts: loopback counts as private ----

a_policy_host_on_a_private_address_counts_as_no_policy_unless_the_configuration_allows_it() {
    : >/etc/mtasts.toml
    policy enforce "mx.$d"
    mx 10 mx starttls=absent
    send
    delivered_to mx
    routed_by dnslookup
    configure_mtasts
}

a_cached_policy_is_enforced_with_its_host_on_a_private_address() {
    policy enforce "mx.$d"
    mx 20 mx
    mx 10 evil
    send
    delivered_to mx
    hours_later 2 || return
    : >/etc/mtasts.toml
    policy testing "mx.$d"
    record "_mta-sts.$d" TXT '"v=STSv1; id=2;"'
    send
    delivered_to mx
    over_verified_tls mx
    untouched evil
    asked A "mta-sts.$d"
    configure_mtasts
}
