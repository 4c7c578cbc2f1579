dnl # MTA-STS (RFC 8461) for Sendmail, which asks mtasts-socketmap what a domain demands of its mail.
dnl # README.md beside it tells how sendmail.mc takes it in.
VERSIONID(`MTA-STS by mtasts-socketmap')
dnl # Whose certificates are believed: Sendmail verifies none unless it has both. What sendmail.mc has defined before stays.
ifdef(`confCACERT', `', `define(`confCACERT', `/etc/ssl/certs/ca-certificates.crt')')dnl
ifdef(`confCACERT_PATH', `', `define(`confCACERT_PATH', `/etc/ssl/certs')')dnl
dnl # Within 5 seconds (-d5) there is an answer, or the message waits (-T<TMPF>).
FEATURE(`sts', `socket -d5 -T<TMPF> unix:/run/mtasts/socketmap')dnl
dnl # Without the rest, FEATURE(`sts') is got around.
dnl # The policy is that of the domain in the address. Whoever forges DNS could else name another one: as its real name
dnl # (CNAME), or as what it is called in a domain that the resolver searches.
define(`confDONT_EXPAND_CNAMES', `True')dnl
define(`confBIND_OPTS', ifdef(`confBIND_OPTS', `defn(`confBIND_OPTS')` '')`-DNSRCH -DEFNAMES')dnl
dnl # Sendmail verifies a connection for its first recipient only. So there is one recipient on each, and none is kept for
dnl # the next message.
define(`confMCI_CACHE_SIZE', `0')dnl
MODIFY_MAILER_FLAGS(`SMTP', `-m')dnl
MODIFY_MAILER_FLAGS(`ESMTP', `-m')dnl
MODIFY_MAILER_FLAGS(`SMTP8', `-m')dnl
MODIFY_MAILER_FLAGS(`DSMTP', `-m')dnl
MODIFY_MAILER_FLAGS(`RELAY', `-m')dnl
dnl # Sendmail's check comes to no end with a host of a single label or an address in brackets, and so accepts it. A last
dnl # rule refuses what is left. The check is called STS_check since 8.18.2.
divert(7)dnl
SSTS_Check
R$*			$#error $@ 4.7.0 $: 450 $&{server_name} not found in the policy
SSTS_check
R$*			$#error $@ 4.7.0 $: 450 $&{server_name} not found in the policy
divert(0)dnl
