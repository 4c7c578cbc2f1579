# shellcheck shell=bash disable=SC2034,SC2154 # $d and the like come from words.sh
# Postfix 3.10 hands what it has read to a collector of TLS reports (RFC 8460), as JSON in a datagram.

report_has_the_policy_as_it_was_told() {
    ! classic || return
    # Relative to its queue, since the process that sends it sees no more.
    main smtp_tlsrpt_enable=yes smtp_tlsrpt_socket_name=run/tlsrpt.sock
    mkdir -p /var/spool/postfix/run
    perl -MSocket -e '
        unlink $ARGV[0];
        socket(IN, AF_UNIX, SOCK_DGRAM, 0) && bind(IN, sockaddr_un($ARGV[0])) && chmod(0666, $ARGV[0]) or die "$!\n";
        $| = 1;
        alarm 60;
        while (defined recv(IN, $line, 65536, 0)) { print "$line\n" }
    ' /var/spool/postfix/run/tlsrpt.sock >"$work/reports" &
    local collector=$!
    until [ -S /var/spool/postfix/run/tlsrpt.sock ]; do kill -0 $collector || break; sleep 0.01; done
    policy enforce "mx.$d,*.wild.$d"
    record "_smtp._tls.$d" TXT '"v=TLSRPTv1; rua=mailto:reports@d.test"'
    mx 10 mx
    send
    delivered_to mx
    logged "TLSRPT: status=success, domain=$d, receiving_mx=mx\.$d"
    kill $collector
    reported '"policy-type": *2,'
    reported "\"policy-domain\": *\"$d\""
    reported "\"policy-string\": *\[ *\"version: STSv1\", *\"mode: enforce\", *\"mx: mx\.$d\", *\"mx: \*\.wild\.$d\", *\"max_age: 86400\" *\]"
    reported "\"mx-host\": *\[ *\"mx\.$d\", *\"\*\.wild\.$d\" *\]"
}

reported() { # PATTERN
    tr '\n' ' ' <"$work/reports" | tr -s ' ' | grep -Eq -e "$1" || wrong "the report has no $1: $(cat "$work/reports")"
}
