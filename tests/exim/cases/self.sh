# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# This machine among the MX hosts of a domain, under a name that the policy does not
# list: no mail to the hosts behind it (RFC 5321 section 5.1), or it could come back.

self() { # PREFERENCE: an unlisted MX that is this machine
    ip address replace 192.0.2.77/32 dev lo
    record "$d" MX "$1" "self.$d"
    record "self.$d" A 192.0.2.77
}

# Conformance: S5.1-4.
this_machine_as_unlisted_mx_leaves_out_the_hosts_behind_it() {
    policy enforce "mx.$d,behind.$d"
    mx 10 mx starttls=absent
    self 20
    mx 30 behind
    send
    deferred
    at_receiver mx connect || wrong "the host before this machine was not tried"
    untouched behind
}

this_machine_as_unlisted_first_mx_defers_and_says_so() {
    policy enforce "mx.$d"
    self 10
    mx 20 mx
    send
    deferred
    logged "self.$d, an MX of $d, is this machine, and no host before it is listed"
    untouched mx
}

this_machine_as_unlisted_mx_of_equal_preference_defers() {
    policy enforce "mx.$d"
    self 10
    mx 10 mx
    send
    deferred
    untouched mx
}

this_machine_as_unlisted_last_mx_changes_nothing() {
    policy enforce "mx.$d"
    mx 10 mx
    self 20
    send
    delivered_to mx
    over_verified_tls mx
}

# Exim's routers pass over such addresses, and half the world has them.
an_unlisted_mx_on_the_loopback_changes_nothing() { an_unlisted_mx_that_is_ignored 127.0.0.1; }
an_unlisted_mx_at_a_private_address_of_this_machine_changes_nothing() { an_unlisted_mx_that_is_ignored 10.9.9.9; }

an_unlisted_mx_that_is_ignored() { # ADDRESS of this machine
    ip address replace "$1/32" dev lo
    policy enforce "mx.$d"
    record "$d" MX 10 "self.$d"
    record "self.$d" A "$1"
    mx 20 mx
    send
    delivered_to mx
    over_verified_tls mx
}

# Where the primary has no answer in DNS this machine is the first host that is left.
this_machine_as_backup_mx_of_a_primary_without_an_answer_waits_and_freezes_nothing() {
    exim_has main/001_itself <<<'extra_local_interfaces = 192.0.2.77'
    policy enforce "mx.$d,self.$d,behind.$d"
    record "$d" MX 10 "mx.$d"
    record "mx.$d" A SERVFAIL
    self 20
    mx 30 behind
    send
    deferred
    not_logged '[Ff]rozen'
    untouched behind
}
