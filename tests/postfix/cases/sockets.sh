# shellcheck shell=bash disable=SC2034,SC2154 # $d and the like come from words.sh
# The server by a Unix socket. smtp(8) of Debian sees nothing but the queue's directory.

socket_within_the_queue_directory() {
    follow_readme "## A Unix socket" >"$work/said" 2>&1 || wrong "it ends with $?: $(cat "$work/said")"
    is_changed=yes
    holds "the table stays" [ "$(postconf -h smtp_tls_policy_maps)" = "socketmap:unix:mtasts/socketmap:${map##*:}" ]
    enforced_by_this_way
}

socket_elsewhere_through_proxymap() {
    main "smtp_tls_policy_maps=proxy:socketmap:unix:/run/mtasts/socketmap:${map##*:}"
    enforced_by_this_way
}

socket_elsewhere_is_out_of_reach() {
    main "smtp_tls_policy_maps=socketmap:unix:/run/mtasts/socketmap:${map##*:}"
    policy enforce "mx.$d"
    mx 10 mx
    send
    held_back
}

socket_elsewhere_without_chroot() {
    main "smtp_tls_policy_maps=socketmap:unix:/run/mtasts/socketmap:${map##*:}"
    service 'smtp/unix=smtp unix - - n - - smtp'
    enforced_by_this_way
}

enforced_by_this_way() { # of `main`
    policy enforce "listed.$d"
    mx 10 clear starttls=absent
    mx 20 listed
    send
    delivered_to listed
    over_verified_tls listed
    untouched_by_mail clear
}

untouched_by_mail() { # LABEL
    at_receiver "$1" delivered && wrong "mail arrived at $1"
}
