# shellcheck shell=bash disable=SC2154 # the variables are those of setup.sh and words.sh
# Testing, none, absent: the mail goes as it went before.

goes_as_before() { # WORD-OF-RECEIVER
    mx 10 mx "$1"
    send
    delivered_to mx
}

testing_and_an_mx_without_starttls_delivers() {
    policy testing "mx.$d"
    goes_as_before starttls=absent
    over_no_tls mx "$d"
}
testing_and_an_expired_certificate_delivers() {
    policy testing "mx.$d"
    goes_as_before certificate=expired
}
testing_and_an_unlisted_mx_delivers() {
    policy testing "listed.$d"
    goes_as_before starttls=offered
}
none_and_an_mx_without_starttls_delivers() {
    world policy "$d" none max_age=86400 id=1
    goes_as_before starttls=absent
}
no_policy_and_an_mx_without_starttls_delivers() { goes_as_before starttls=absent; }
no_policy_and_an_unknown_ca_delivers() { goes_as_before certificate=unknown-ca; }

what_sendmail_is_told_is_seen_in_its_test_mode() {
    policy enforce "mx.$d,*.more.$d"
    policy_for "testing.$d" testing "mx.$d"
    world policy "none.$d" none max_age=86400 id=1
    load_scene
    map_says "$d" "returns secure match=mx\.$d:\.more\.$d servername=hostname \(0\)"
    map_says "testing.$d" "no match \(68\)"
    map_says "none.$d" "no match \(68\)"
    map_says "absent.$d" "no match \(68\)"
    map_says "192.0.2.1" "no match \(68\)"
}
