# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# The macro MTASTS_STRICT_SAN: a certificate must name the MX host as subjectAltName.

# What GnuTLS does on its own, and why there is a macro.
enforce_and_a_common_name_alone_delivers() {
    policy enforce "mx.$d"
    mx 10 mx certificate=cn-only
    send
    delivered_to mx
    over_verified_tls mx
}

# Conformance: S4.2-2.
enforce_with_strict_names_and_a_common_name_alone_defers() {
    strict_names_defer certificate=cn-only
    logged 'is for another name: it has no subjectAltName$'
}
enforce_with_strict_names_and_a_common_name_beside_an_address_defers() { strict_names_defer certificate=no-dns-id; }
enforce_with_strict_names_and_a_wildcard_within_a_label_defers() { strict_names_defer certificate=partial-wildcard; }
enforce_with_strict_names_and_a_wildcard_for_two_labels_defers() { strict_names_defer certificate=two-level-wildcard; }
enforce_with_strict_names_and_another_name_defers() { strict_names_defer certificate=wrong-name; }

enforce_with_strict_names_and_the_name_delivers() { strict_names_deliver; }
enforce_with_strict_names_and_a_wildcard_delivers() { strict_names_deliver certificate=wildcard; }

# Only the names are left to the library: what Exim checks on its own, it still does.
enforce_with_strict_names_and_an_expired_certificate_defers() {
    strict_names
    tls_trouble_defers certificate=expired
    usual_names
    not_logged 'denied by event-action'
    logged 'certificate verification failed'
}

enforce_with_strict_names_and_two_recipients_behind_a_cname_delivers_to_both() {
    strict_names
    policy enforce "other.$d,alias.$d"
    record "$d" MX 10 "alias.$d"
    record "alias.$d" CNAME "real.$d"
    receiver real
    send "u@$d" "v@$d"
    usual_names
    logged "=> u@$d "
    logged "[-=]> v@$d "
    not_logged 'denied by event-action'
}

enforce_with_strict_names_passes_over_a_host_without_the_name() {
    strict_names
    policy enforce "one.$d,two.$d"
    mx 10 one certificate=cn-only
    mx 20 two
    send
    usual_names
    delivered_to two
    over_verified_tls two
    logged "depth=0: MTA-STS: the certificate of one\.$d "
}

enforce_with_strict_names_and_a_cnamed_mx_checks_the_name_of_the_mx_record() {
    strict_names
    policy enforce "alias.$d"
    record "$d" MX 10 "alias.$d"
    record "alias.$d" CNAME "real.$d"
    receiver real
    send
    usual_names
    delivered_to real
    over_verified_tls real "alias.$d"
}

enforce_with_strict_names_and_a_cnamed_mx_with_a_common_name_alone_defers() {
    strict_names
    policy enforce "alias.$d"
    record "$d" MX 10 "alias.$d"
    record "alias.$d" CNAME "real.$d"
    receiver real certificate=cn-only
    send
    usual_names
    deferred
    nothing_arrived
    logged "depth=0: MTA-STS: the certificate of alias\.$d "
}

# Conformance: D-6.
enforce_with_strict_names_and_a_tlsa_record_that_fits_needs_no_name() {
    strict_names
    policy enforce "mx.$d"
    mx 10 mx certificate=cn-only
    tlsa mx leaf
    send
    usual_names
    delivered_to mx
    logged 'CV=dane'
    not_logged 'denied by event-action'
}

enforce_with_strict_names_and_a_tlsa_record_that_does_not_fit_defers() {
    strict_names
    policy enforce "mx.$d"
    mx 10 mx certificate=cn-only
    tlsa mx "$(printf '00%.0s' {1..32})"
    send
    usual_names
    deferred
    nothing_arrived
    not_logged 'denied by event-action'
}

# Exim verifies by usages 2 and 3 only (RFC 7672 section 3.1.3), else as without DANE.
enforce_with_strict_names_and_a_tlsa_record_of_no_use_defers() {
    strict_names
    policy enforce "mx.$d"
    mx 10 mx certificate=cn-only
    record "_25._tcp.mx.$d" TLSA 1 1 1 "$(printf '00%.0s' {1..32})"
    world authentic "$d"
    world authentic "mx.$d"
    world authentic "_25._tcp.mx.$d"
    send
    usual_names
    deferred
    nothing_arrived
    logged 'denied by event-action: depth=0: MTA-STS: '
}

# Whoever can forge DNS can forge a TLSA record, but not the AD flag of the resolver.
enforce_with_strict_names_and_a_tlsa_record_that_nobody_vouches_for_defers() {
    strict_names
    policy enforce "mx.$d"
    mx 10 mx certificate=cn-only
    record "_25._tcp.mx.$d" TLSA 3 1 1 leaf
    send
    usual_names
    deferred
    nothing_arrived
    logged 'denied by event-action: depth=0: MTA-STS: '
}

strict_names_and_no_enforced_policy_make_no_difference() {
    strict_names
    mx 10 mx certificate=cn-only
    send
    delivered_to mx
    routed_by dnslookup
    policy testing "mx.$d"
    send "v@$d"
    usual_names
    at_receiver mx "delivered .*<v@$d>" || wrong "nothing for v@$d arrived"
    routed_by dnslookup
    not_logged 'denied by event-action'
}

# In an event, Exim delivers although the function cannot be called.
enforce_with_strict_names_and_a_library_without_them_defers() {
    LC_ALL=C sed 's/mtasts_exim_certificate/mtasts_exim_predecessor/g' "$library" >"$work/predecessor.so"
    strict_names
    sed -i "s|^LIBMTASTS = .*|LIBMTASTS = $work/predecessor.so|" /etc/exim4/conf.d/main/000_localmacros
    update-exim4.conf
    tls_trouble_defers certificate=cn-only
    usual_names
    logged 'mtasts_exim_certificate'
}

# `exim4 -be` by root: a child answers that is the mail user.
what_is_no_certificate_is_refused_and_the_call_does_not_fail() {
    says 'mtasts_exim_certificate}{mx.x.test}{}' 'MTA-STS: no certificate of mx\.x\.test in base64 was handed over'
    says 'mtasts_exim_certificate}{mx.x.test}{AAAA}' 'MTA-STS: the certificate of mx\.x\.test is not acceptable: .*'
    says 'mtasts_exim_certificate}{}{AAAA}' 'MTA-STS: .* is not the name of an MX host'
    says 'mtasts_exim_certificate}' 'MTA-STS: .*, got 0 arguments'
}
