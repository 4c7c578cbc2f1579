# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# One message, connection or failure does not decide about another.

# ---- connections ----

# On 127.99.0.0/16 the stock transport uses no TLS, so that each delivery shows whose connection it had.
one_host_for_both() { # NET [WORDS-OF-RECEIVER]
    net=$1
    shift
    policy enforce "mx.$d"
    mx 10 mx "$@"
    record "free.$d" MX 10 "mx.$d"
}

each_has_its_own_connection() { # N
    over_tls mx "$d"
    over_verified_tls mx
    over_no_tls mx "free.$d"
    connections mx "$1"
}

one_message_for_enforced_and_free_mail_at_one_host_makes_two_connections() {
    one_host_for_both 99
    send "u@$d" "u@free.$d"
    each_has_its_own_connection 2
}

one_message_for_free_and_enforced_mail_at_one_host_makes_two_connections() {
    one_host_for_both 99
    send "u@free.$d" "u@$d"
    each_has_its_own_connection 2
}

queued_messages_for_enforced_and_free_mail_at_one_host_share_no_connection() {
    one_host_for_both 99
    queue "u@free.$d"
    queue "u@$d"
    queue "u@free.$d"
    queue "u@$d"
    run_queue
    each_has_its_own_connection 3
    not_logged '== u@.* defer .-[0-9]*. H='
}

# What the cases beside this one rest on: a connection is passed on where nothing forbids it.
queued_messages_without_a_policy_share_one_connection() {
    net=99
    mx 10 mx
    queue
    queue
    run_queue
    delivered_to mx
    connections mx 1
}

queued_messages_for_an_enforced_domain_are_each_checked() {
    policy enforce "mx.$d"
    mx 10 mx
    queue
    queue
    queue
    run_queue
    delivered_to mx
    over_verified_tls mx
    connections mx 3
    [ "$(mail_log | grep -c "=> u@$d .* CV=yes")" = 3 ] || wrong "not every message was checked"
}

# The MX names of both domains lead to one host, which has a certificate for each.
# Conformance: S4.2-6.
enforce_for_two_domains_on_one_host_checks_the_certificate_of_each() {
    local other=other.$d
    policy enforce "one.$d"
    world policy "$other" enforce "mx=two.$other" max_age=86400 id=1
    record "$d" MX 10 "one.$d"
    record "$other" MX 10 "two.$other"
    record "one.$d" CNAME "shared.$d"
    record "two.$other" CNAME "shared.$d"
    receiver shared
    send "u@$d" "u@$other"
    delivered_to shared
    delivered_to shared "$other"
    over_verified_tls shared "one.$d"
    over_verified_tls shared "two.$other"
}

# Both domains lead to one host by CNAME. It has a certificate for the first name alone, or for both.
two_domains_on_one_host() { # [sni=ignored]
    policy enforce "one.$d"
    policy_for "other.$d" enforce "two.other.$d"
    record "$d" MX 10 "one.$d"
    record "other.$d" MX 10 "two.other.$d"
    record "one.$d" CNAME "shared.$d"
    record "two.other.$d" CNAME "shared.$d"
    receiver shared "$@"
    # The address of the CNAME's target is the receiver's, its name that of the first MX record.
    [ $# = 0 ] || world smtp "$(socket shared)" "name=one.$d" "$@"
}

queued_messages_for_two_enforced_domains_on_one_host_are_checked_for_each() {
    two_domains_on_one_host
    queue "u@$d"
    queue "u@other.$d"
    queue "u@$d"
    run_queue
    over_verified_tls shared "one.$d"
    over_verified_tls shared "two.other.$d"
    over_tls shared "$d"
    over_tls shared "other.$d"
    connections shared 3
}

# Conformance: S4.2-6.
one_message_for_two_enforced_domains_reaches_only_the_one_that_the_certificate_names() {
    two_domains_on_one_host sni=ignored
    send "u@$d" "u@other.$d"
    delivered_to shared
    deferred "other.$d"
}

one_message_for_two_enforced_domains_in_the_other_order_does_the_same() {
    two_domains_on_one_host sni=ignored
    send "u@other.$d" "u@$d"
    deferred "other.$d"
}

# Conformance: S4.2-6.
queued_messages_for_two_enforced_domains_reach_only_the_one_that_the_certificate_names() {
    two_domains_on_one_host sni=ignored
    queue "u@$d"
    queue "u@other.$d"
    run_queue
    delivered_to shared
    deferred "other.$d"
}

queued_messages_with_a_bad_certificate_do_not_use_the_connection_of_the_stock_transport() {
    one_host_for_both 1 certificate=expired
    queue "u@free.$d"
    queue "u@$d"
    queue "u@free.$d"
    run_queue
    delivered_to mx "free.$d"
    deferred
}

# ---- one message for many ----

one_message_to_domains_of_every_kind_treats_each_as_it_wants() {
    policy enforce "mx.$d"
    mx 10 mx
    policy_for "refused.$d" enforce "refused.$d"
    record "refused.$d" MX 10 "evil.$d"
    receiver evil
    policy_for "bad.$d" enforce "bad.$d"
    record "bad.$d" MX 10 "bad.$d"
    receiver bad certificate=expired
    policy_for "testing.$d" testing "elsewhere.$d"
    record "testing.$d" MX 10 "testing.$d"
    receiver testing starttls=absent
    record "absent.$d" MX 10 "absent.$d"
    receiver absent starttls=absent
    policy_for "null.$d" enforce "null.$d"
    record "null.$d" MX 0 .
    send "u@absent.$d" "u@refused.$d" "u@null.$d" "u@$d" "u@bad.$d" "u@testing.$d"
    delivered_to mx
    over_verified_tls mx
    deferred "refused.$d"
    untouched evil
    deferred "bad.$d"
    delivered_to testing "testing.$d"
    over_no_tls testing "testing.$d"
    delivered_to absent "absent.$d"
    over_no_tls absent "absent.$d"
    bounced "null.$d"
}

one_message_to_an_enforced_and_a_free_domain_treats_each_as_it_wants() {
    policy enforce "mx.$d"
    mx 10 mx starttls=absent
    record "free.$d" MX 10 "free.$d"
    receiver free starttls=absent
    send "u@$d" "u@free.$d"
    deferred
    delivered_to free "free.$d"
}

# ---- retry hints ----

# What enforcement refused must not delay others at the same host.
mail_without_a_policy_is_not_delayed_by_an_enforced_failure_at_the_same_host() {
    policy enforce "mx.$d"
    mx 10 mx starttls=absent
    record "free.$d" MX 10 "mx.$d"
    send
    deferred
    send "u@free.$d"
    delivered_to mx "free.$d"
}

# Here only the certificate is wrong, and the stock transport uses TLS too.
mail_without_a_policy_is_not_delayed_by_a_certificate_that_enforcement_refuses() {
    policy enforce "mx.$d"
    mx 10 mx certificate=expired
    record "free.$d" MX 10 "mx.$d"
    send
    deferred
    send "u@free.$d"
    delivered_to mx "free.$d"
}

enforced_mail_is_not_delayed_by_a_failure_of_the_stock_transport_at_the_same_host() {
    record "$d" MX 10 "mx.$d"
    record "mx.$d" A "127.1.$number.1"
    send
    deferred
    logged 'R=dnslookup T=remote_smtp defer'
    policy_for "other.$d" enforce "mx.$d"
    record "other.$d" MX 10 "mx.$d"
    receiver mx
    send "u@other.$d"
    delivered_to mx "other.$d"
    over_verified_tls mx
}

an_enforced_failure_does_not_delay_an_enforced_domain_with_another_mx_name_at_the_same_address() {
    policy enforce "mx.$d"
    mx 10 mx starttls=absent
    send
    deferred
    forget
    policy_for "other.$d" enforce "mx.other.$d"
    record "other.$d" MX 10 "mx.other.$d"
    named mx "mx.other.$d"
    receiver mx
    send "u@other.$d"
    delivered_to mx "other.$d"
    over_verified_tls mx
}

# The hints are there: without them the cases above would say nothing.
an_enforced_failure_delays_the_next_message_for_the_same_mx_name() {
    policy enforce "mx.$d"
    mx 10 mx starttls=absent
    send
    deferred
    send
    deferred
    untouched mx
    logged 'retry time not reached'
}

an_unlisted_mx_delays_no_other_domain_that_uses_the_same_host() {
    policy enforce "mx.$d"
    mx 10 evil
    send
    deferred
    untouched evil
    policy_for "other.$d" enforce "evil.$d"
    record "other.$d" MX 10 "evil.$d"
    record "free.$d" MX 10 "evil.$d"
    send "u@other.$d" "u@free.$d"
    over_tls evil "other.$d"
    delivered_to evil "free.$d"
}

# ---- the end of the retries ----

# A rule that gives up after a second. The sender is at a host that takes the bounce.
retries_end() { # LOGGED-IN-THE-LAST-TRY
    sender=u@back.$d
    record "back.$d" MX 10 "back.$d"
    receiver back
    exim_has retry/30_exim4-config <<<'* * F,1s,1s'
    send
    deferred
    for _ in $(seq 60); do
        run_queue
        mail_log | grep -Eq "\*\* u@$d" && break
        sleep 0.1
    done
    bounced
    logged "\*\* u@$d: retry timeout exceeded"
    logged "== u@$d R=mtasts $1"
    logged "=> u@back.$d R=dnslookup"
    grep -qs "retry timeout exceeded" "$(grep -ls "Delivered-To: <u@back.$d>" "$world_dir"/mail/*.eml)" \
        || wrong "no bounce that says why"
    [ -z "$(ls /var/spool/exim4/input)" ] || wrong "something is left in the queue"
    not_logged 'Frozen'
}

enforced_mail_that_never_gets_tls_is_returned_to_the_sender_in_the_end() {
    policy enforce "mx.$d"
    mx 10 mx starttls=absent
    retries_end 'T=remote_smtp_mtasts defer \(-38\)'
}

enforced_mail_to_an_unlisted_mx_is_returned_to_the_sender_in_the_end() {
    policy enforce "mx.$d"
    mx 10 evil
    retries_end 'defer .*: MTA-STS: no MX of'
    untouched evil
}
