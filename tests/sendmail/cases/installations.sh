# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and words.sh
# Other lines of sendmail.mc beside those of mtasts.m4.

with_line() { # LINE of sendmail.mc, before the include of mtasts.m4, until the case has ended
    is_changed=yes
    sed -i "/m4\/mtasts\.m4/i $1" /etc/mail/sendmail.mc
    make -C /etc/mail >"$work/said" 2>&1 || wrong "make ends with $?: $(cat "$work/said")"
}

# It names another CACertFile, so that the directory has to do.
with_the_starttls_of_debian_certificates_are_verified() {
    local authority
    authority=/etc/ssl/certs/$(openssl x509 -in "$world_dir/ca.pem" -noout -hash).0
    cp "$world_dir/ca.pem" "$authority"
    with_line "include(\`/etc/mail/tls/starttls.m4')dnl"
    holds "the certificate of this host" grep -qx "O CACertFile=/etc/mail/tls/sendmail-server.crt" /etc/mail/sendmail.cf
    policy enforce "mx.$d"
    mx 10 mx
    send
    delivered_to mx
    over_verified_tls mx
    rm "$authority"
}

goes_by_another_host() { # all but what is enforced
    policy enforce "mx.$d"
    mx 10 mx
    record "free.$d" MX 10 "mx.$d"
    named smart "smart.$d"
    receiver smart
    send "u@free.$d"
    delivered_to smart "free.$d"
    send "u@$d"
    deferred
    nothing_arrived
}

with_a_smart_host_enforced_mail_waits() {
    with_line "define(\`SMART_HOST', \`smart.$d')dnl"
    goes_by_another_host
}

# It is one that the policy lists.
with_a_smart_host_two_recipients_are_checked_each() {
    with_line "define(\`SMART_HOST', \`smart.$d')dnl"
    policy enforce "smart.$d"
    named smart "smart.$d"
    receiver smart certificate=self-signed
    send "u@free.$d" "u@$d"
    at_receiver smart "delivered .*<u@free\.$d>" || wrong "nothing for u@free.$d arrived"
    deferred
}

with_a_mailertable_enforced_mail_waits() {
    printf '%s\tesmtp:[smart.%s]\n' "$d" "$d" "free.$d" "$d" >/etc/mail/mailertable
    with_line "FEATURE(\`mailertable')dnl"
    makemap hash /etc/mail/mailertable </etc/mail/mailertable
    goes_by_another_host
}
