# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# Enforce: listed hosts get the mail, over verified TLS or by DANE.

# Conformance: S4-1.
enforce_and_a_listed_mx_delivers_over_verified_tls() {
    policy enforce "mx.$d"
    mx 10 mx
    send
    delivered_to mx
    over_verified_tls mx
    routed_by mtasts
}

enforce_and_an_upper_case_mx_record_delivers() {
    policy enforce "mx.$d"
    record "$d" MX 10 "MX.${d^^}"
    receiver mx
    send
    delivered_to mx
    routed_by mtasts
    logged 'CV=yes'
}

enforce_and_an_upper_case_recipient_delivers() {
    policy enforce "mx.$d"
    mx 10 mx
    send "u@${d^^}"
    logged "=> u@.*\[${at[mx]}\].* CV=yes"
    routed_by mtasts
}

enforce_with_a_wildcard_delivers_to_one_label_only() {
    policy enforce "*.$d"
    mx 20 mx
    mx 10 a.b
    send
    delivered_to mx
    over_verified_tls mx
    untouched a.b
}

# Conformance: S4.1-4.
enforce_and_a_domain_without_mx_that_lists_itself_delivers() {
    policy enforce "$d"
    receiver_at_domain
    send
    logged "=> u@$d R=mtasts .* CV=yes"
    asked_as domain "$d"
}

# Conformance: S4.1-4.
enforce_and_a_domain_without_mx_that_is_not_listed_defers() {
    policy enforce "mx.$d"
    receiver_at_domain
    send
    deferred
    untouched domain
}

# Conformance: S4.1-1.
enforce_and_a_cnamed_mx_delivers_under_the_name_of_the_mx_record() {
    policy enforce "alias.$d"
    record "$d" MX 10 "alias.$d"
    record "alias.$d" CNAME "real.$d"
    receiver real
    send
    delivered_to real
    over_verified_tls real "alias.$d"
    routed_by mtasts
}

enforce_and_a_cnamed_mx_with_a_certificate_for_another_name_defers() {
    policy enforce "alias.$d"
    record "$d" MX 10 "alias.$d"
    record "alias.$d" CNAME "real.$d"
    receiver real certificate=wrong-name
    send
    deferred
    asked_as real "alias.$d"
}

# Conformance: S5.1-4.
enforce_respects_the_preference_of_mx_records() {
    policy enforce "*.$d"
    mx 30 third
    mx 10 first starttls=absent
    mx 20 second
    send
    delivered_to second
    over_verified_tls second
    at_receiver first connect || wrong "the first one was not tried"
    untouched third
}

# RFC 5321 section 5.1: a backup MX never hands mail to the hosts behind itself.
# Conformance: S5.1-4.
enforce_and_this_machine_as_backup_mx_leaves_out_the_hosts_behind_it() {
    policy enforce "*.$d"
    mx 10 mx starttls=absent
    record "$d" MX 20 "self.$d"
    record "self.$d" A 127.0.0.1
    mx 30 behind
    send
    deferred
    untouched behind
}

enforce_delivers_although_a_backup_mx_has_no_answer_in_dns() {
    policy enforce "*.$d"
    mx 10 mx
    record "$d" MX 20 "dead.$d"
    record "dead.$d" SERVFAIL
    send
    delivered_to mx
    over_verified_tls mx
}

enforce_and_a_domain_that_is_a_cname_is_asked_about_as_given() {
    policy enforce "mx.$d"
    record "$d" CNAME "target.$d"
    record "target.$d" MX 10 "mx.$d"
    record "target.$d" MX 5 "evil.$d"
    receiver mx
    receiver evil
    send
    delivered_to mx
    over_verified_tls mx
    untouched evil
}
