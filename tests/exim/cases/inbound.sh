# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# Mail that comes in. Nobody asks for the policy of a sender's domain. Where a
# recipient is verified, called or served at once, the policy of its domain counts.

# ---- senders ----

mail_from_an_enforced_domain_with_only_an_unlisted_mx_is_accepted_at_once() {
    policy enforce "mx.$d"
    mx 10 evil
    sender_is_taken_without_a_question
    untouched evil
}

mail_from_a_domain_whose_policy_dns_does_not_tell_is_accepted_at_once() {
    echo 'on_dns_error = "defer"' >>/etc/mtasts.toml
    record "_mta-sts.$d" SERVFAIL
    mx 10 mx
    sender_is_taken_without_a_question
}

mail_from_a_domain_whose_policy_host_is_silent_is_accepted_at_once() {
    world status "$d" silent
    mx 10 mx
    sender_is_taken_without_a_question
}

# Else the three above would show nothing: this sender's domain has no address.
mail_from_a_domain_without_an_address_is_refused_by_the_verification_of_senders() {
    configure_exim internet split "CHECK_RCPT_VERIFY_SENDER = 1"
    receive "sender@$d"
    replied '^550[- ]Sender verification failed'
}

# No mail goes out in a callout to a sender: it may ask whom it likes.
a_callout_to_a_sender_takes_the_stock_way() {
    configure_exim internet split
    echo "*@$d" >/etc/exim4/local_sender_callout
    policy enforce "mx.$d"
    mx 10 evil
    receive "sender@$d"
    replied '^250 OK id='
    at_receiver evil starttls || wrong "there was no callout"
    nothing_arrived
    nobody_asked_about "$d"
}

# ---- recipients, in domains that this machine relays for ----

verifying_a_recipient_of_an_enforced_domain_with_only_an_unlisted_mx_defers_it() {
    relay_domains=$d configure_exim internet
    policy enforce "mx.$d"
    mx 10 evil
    receive outside@sender.test "u@$d"
    replied '^451 Temporary local problem - please try later'
    logged "temporarily rejected RCPT <u@$d>: .*no MX of $d is listed in its enforced policy"
    untouched evil
}

a_callout_to_a_recipient_asks_listed_hosts_only_and_over_tls() {
    callout_to_a_recipient eval "mx 10 evil; mx 20 mx"
    replied '^250 OK id='
    holds "the callout and the delivery have a connection each" [ "$(smtp_log | grep -c "${at[mx]}:25 starttls sni=mx.$d ")" = 2 ]
    delivered_to mx
    untouched evil
}

a_callout_to_a_recipient_whose_host_has_a_certificate_for_another_name_defers_it() {
    callout_to_a_recipient mx 10 mx certificate=wrong-name
    replied '^451 '
    logged "rejected RCPT <u@$d>.*Could not complete recipient verify callout"
    asked_as mx "mx.$d"
}

a_callout_to_a_recipient_whose_host_offers_no_starttls_defers_it() {
    callout_to_a_recipient mx 10 mx starttls=absent
    replied '^451 '
    logged "rejected RCPT <u@$d>.*Could not complete recipient verify callout"
}

# ---- cutthrough delivery ----

# It is given up for this transport, and the message goes by the queue.
cutthrough_delivers_to_listed_hosts_only_and_over_tls() {
    cutthrough eval "mx 10 a.evil; mx 20 mx"
    delivered_to mx
    over_verified_tls mx
    not_logged '>> '
    untouched a.evil
}

cutthrough_to_a_cnamed_mx_asks_for_the_name_of_the_mx_record() {
    cutthrough eval "record $d MX 10 alias.$d; record alias.$d CNAME real.$d; receiver real"
    over_verified_tls real "alias.$d"
}

# Exim would send both over the connection that was checked for the first.
cutthrough_to_two_domains_with_hosts_at_one_address_checks_the_certificate_of_each() {
    policy_for "other.$d" enforce "mx.other.$d"
    record "other.$d" MX 10 "mx.other.$d"
    local also=u@other.$d
    cutthrough eval "mx 10 mx sni=ignored; record mx.other.$d A \${at[mx]}"
    delivered_to mx
    deferred "other.$d"
    at_receiver mx "delivered .*<u@other.$d>" && wrong "mail for other.$d arrived at the host of $d"
}

cutthrough_to_a_host_with_a_certificate_for_another_name_queues_and_defers() { cutthrough_trouble_defers certificate=wrong-name; }
cutthrough_to_a_host_with_an_unknown_ca_queues_and_defers() { cutthrough_trouble_defers certificate=unknown-ca; }
cutthrough_to_a_host_without_starttls_queues_and_defers() { cutthrough_trouble_defers starttls=absent; }
