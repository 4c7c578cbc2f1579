# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of setup.sh and situation.sh
# Configurations of Exim and of libmtasts.

a_broken_mtasts_toml_does_not_stop_mail() {
    echo 'nonsense = [' >/etc/mtasts.toml
    mx 10 mx
    send
    delivered_to mx
}

a_missing_library_defers() {
    mx 10 mx
    mv "$library" "$library.away"
    send
    deferred
    untouched mx
    mv "$library.away" "$library"
}

the_router_asks_about_no_sender() {
    policy enforce "mx.$d"
    mx 10 evil
    load_scene
    local answer
    answer=$(exim4 -bvs "u@$d")
    [ "$answer" = "u@$d verified" ] || wrong "exim4 -bvs says $answer"
    untouched evil
}

exim_be_prints_what_the_library_says() {
    policy enforce "*.$d"
    load_scene
    says "mtasts_exim}{$d}{20 b.$d,10 A.$d,20 c.$d,5 evil.test}" "a.$d:[+]:(b.$d:c.$d|c.$d:b.$d)"
    says "mtasts_exim}{$d}{0 }" '\.'
    says "mtasts_exim}{nothing.$d}{10 mx.nothing.$d}" ''
    says "mtasts_exim}{[127.0.0.1]}{}" ''
    says "mtasts_exim_mode}{$d}" 'enforce'
    says "mtasts_exim_mode}{nothing.$d}" 'none'
    refuses "mtasts_exim}{$d}{10 mx.evil.test}" "$d"
    refuses "mtasts_exim}{$d}{}" "$d"
    # Names that would mean something else when Exim reads the list.
    refuses "mtasts_exim}{$d}{10 a/mx.$d,10 a:25.$d,10 a\\\$domain.$d,10 a b.$d,10 127.0.0.1}" "$d"
}

# Root believes nobody else; what that puts out of force must not go unsaid.
a_configuration_that_others_can_write_is_not_in_force_and_the_log_says_so() {
    echo 'observe = true' >>/etc/mtasts.toml
    chmod 0664 /etc/mtasts.toml
    mx 10 mx
    send
    delivered_to mx
    system_logged 'mtasts.toml: belongs to uid 0 with mode 0664.*nothing in it is in force, no .observe.'
    chmod 0644 /etc/mtasts.toml
}
