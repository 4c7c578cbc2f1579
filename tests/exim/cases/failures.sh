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

# Cached is what the policy said at first contact; the setting is for domains of which nothing is known.
cached_policy_outlives_a_failing_record() { # proceed|defer
    policy enforce "mx.$d"
    mx 20 mx
    mx 10 evil
    send
    delivered_to mx
    on_dns_error "$1"
    record "_mta-sts.$d" SERVFAIL
    record "mta-sts.$d" SERVFAIL
    send
    delivered_to mx
    over_verified_tls mx
    untouched evil
    configure_mtasts
}
a_cached_policy_is_enforced_with_its_record_failing_where_the_configuration_says_proceed() {
    cached_policy_outlives_a_failing_record proceed
}
a_cached_policy_is_enforced_with_its_record_failing_where_the_configuration_says_defer() {
    cached_policy_outlives_a_failing_record defer
}

a_cached_policy_is_enforced_with_its_record_gone() {
    policy enforce "mx.$d"
    mx 20 mx
    mx 10 evil
    send
    delivered_to mx
    forget
    record "_mta-sts.$d" NXDOMAIN
    record "mta-sts.$d" NXDOMAIN
    mx 20 mx
    mx 10 evil
    send
    delivered_to mx
    over_verified_tls mx
    untouched evil
}

a_cached_policy_of_testing_delivers_with_its_record_failing_where_the_configuration_says_defer() {
    policy testing "mx.$d"
    mx 10 mx starttls=absent
    send
    delivered_to mx
    on_dns_error defer
    record "_mta-sts.$d" SERVFAIL
    send
    delivered_to mx
    routed_by dnslookup
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
    forget
    record "_mta-sts.$d" TXT '"v=STSv1; id=2;"'
    mx 20 mx
    mx 10 evil
    tell_world off https
    send
    delivered_to mx
    over_verified_tls mx
    untouched evil
    tell_world on https
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
    : >/etc/mtasts.toml
    send
    delivered_to mx
    over_verified_tls mx
    untouched evil
    configure_mtasts
}
