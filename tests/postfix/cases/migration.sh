# shellcheck shell=bash disable=SC2034,SC2154 # $d and the like come from words.sh
# From other servers to this one, by the lines of the README.

# The tables that postfix-mta-sts-resolver makes (its sqlite_cache.py), with rows as it writes them.
cache_of_the_resolver_is_imported() {
    mkdir -p /var/lib/mta-sts
    rm -f /var/lib/mta-sts/cache.db
    local now
    now=$(date +%s)
    sqlite3 /var/lib/mta-sts/cache.db "
        PRAGMA journal_mode=WAL;
        create table if not exists sts_policy_cache (domain text, ts integer, pol_id text, pol_body text);
        create unique index if not exists sts_policy_domain on sts_policy_cache (domain);
        create index if not exists sts_policy_domain_ts on sts_policy_cache (domain, ts);
        insert into sts_policy_cache values
            ('$d', $now - 100, '20260101', '{\"mx\": [\"mx.$d\", \"*.wild.$d\"], \"version\": \"STSv1\", \"mode\": \"enforce\", \"max_age\": 86400}'),
            ('none.$d', $now - 100, 'n1', '{\"mx\": [], \"version\": \"STSv1\", \"mode\": \"none\", \"max_age\": 86400}'),
            ('ended.$d', $now - 90000, 'e1', '{\"mx\": [\"mx.$d\"], \"version\": \"STSv1\", \"mode\": \"enforce\", \"max_age\": 86400}'),
            ('bad.$d', $now - 100, 'b1', '{\"mx\": [\"a b\"], \"version\": \"STSv1\", \"mode\": \"enforce\", \"max_age\": 86400}');
    " >"$work/said"
    main smtp_tls_policy_maps=socketmap:inet:127.0.0.1:8461:postfix
    # Nobody else can say.
    record "_mta-sts.$d" SERVFAIL
    record "_mta-sts.none.$d" SERVFAIL
    load_scene
    follow_readme "### From postfix-mta-sts-resolver" >"$work/said" 2>&1
    grep -qx "3 row(s) imported, 0 stay as they are, 1 refused" "$work/said" || wrong "it says: $(cat "$work/said")"
    grep -q '^mtasts: line 4: policy.body: line 3: mx `a b`' "$work/said" || wrong "nothing is said of the bad row: $(cat "$work/said")"
    answers "$address:postfix" "$d" "secure match=mx\.$d:\.wild\.$d servername=hostname"
    says_nothing "$address:postfix" "none.$d"
    [ "$(postconf -h smtp_tls_policy_maps)" = "socketmap:inet:127.0.0.1:5461:postfix" ] || wrong "main.cf has $(postconf -h smtp_tls_policy_maps)"
}

domains_of_tlspol_are_looked_up_again() {
    printf '#!/bin/sh\nprintf "%%-28s %%s\\n" %s "secure match=mx.%s servername=hostname" dane.%s dane-only\n' "$d" "$d" "$d" >/usr/local/sbin/postfix-tlspol
    chmod +x /usr/local/sbin/postfix-tlspol
    policy enforce "mx.$d"
    load_scene
    main smtp_tls_policy_maps=socketmap:inet:127.0.0.1:8642:QUERYwithTLSRPT
    follow_readme "### From postfix-tlspol" >"$work/said" 2>&1 || wrong "it ends with $?: $(cat "$work/said")"
    grep -q "^$d: enforce" "$work/said" || wrong "it says: $(cat "$work/said")"
    cached "$d" 1
    asked TXT "_mta-sts.$d"
    not_asked TXT "_mta-sts.dane.$d"
    [ "$(postconf -h smtp_tls_policy_maps)" = "socketmap:inet:127.0.0.1:5461:postfix-tlsrpt" ] || wrong "main.cf has $(postconf -h smtp_tls_policy_maps)"
}
