# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# The cache: what is remembered is enforced, and nobody but Exim reads it.

# Conformance: S3.3-12.
a_cached_policy_is_enforced_with_its_record_and_its_host_switched_off() {
    policy enforce "mx.$d"
    mx 20 mx
    mx 10 evil
    send
    delivered_to mx
    # Long enough that the record is asked for again and the policy is to be fetched anew.
    hours_later 23 || return
    forget
    record "_mta-sts.$d" SERVFAIL
    record "mta-sts.$d" SERVFAIL
    mx 20 mx
    mx 10 evil
    tell_world off https
    send
    delivered_to mx
    over_verified_tls mx
    untouched evil
    asked TXT "_mta-sts.$d"
    forget
    record "_mta-sts.$d" SERVFAIL
    record "$d" MX 10 "evil.$d"
    receiver evil
    send
    deferred
    untouched evil
    tell_world on https
}

the_cache_belongs_to_exim_and_nobody_else_reads_it() {
    policy enforce "mx.$d"
    mx 10 mx
    send
    delivered_to mx
    local files
    files=$(cd /var/lib/mtasts && find . -mindepth 1 -printf '%f %U:%G %m\n')
    [ -n "$files" ] || wrong "the cache directory is empty"
    local others
    others=$(echo "$files" | grep -v " $(id -u Debian-exim):$(id -g Debian-exim) 640$")
    [ -z "$others" ] || wrong "in the cache directory: $others"
}
