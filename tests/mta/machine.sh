# shellcheck shell=bash disable=SC2034,SC2154 # $here and $readme are those of the setup.sh that reads it
# Read by the setup.sh of each mail server inside the namespaces: the private
# machine, and the world that mail is sent into. Each function says what it leaves
# behind; nothing happens before one is called.

# Leaves $work, an empty file system; $library; $source, what `make install` and the
# commands of examples/EXAMPLE/README.md need; $readme; and $only, the wanted cases.
begin_machine() { # EXAMPLE WORK LIBRARY WORLD [CASE...]
    umask 022
    work=$2
    mount -t tmpfs -o mode=0755 tmpfs "$work"
    cp "$3" "$work/libmtasts.so"
    cp "$4" "$work/mtasts-world"
    library=$work/libmtasts.so
    source=$work/source
    mkdir "$source" "$source/examples" "$source/doc"
    (cd "$here/../.." && cp -r Makefile Cargo.toml README.md abi include packaging "$source" && cp -r "examples/$1" examples/mtasts.toml "$source/examples" && cp -r doc/man "$source/doc")
    readme=$source/examples/$1/README.md
    archive=$(realpath "$(dirname "$3")")/libmtasts.a
    command=$(beside "$3" mtasts)
    only=("${@:5}")
    ip link set lo up
}

# Cargo leaves a test's library in `deps`, and programs one folder up.
beside() { # LIBRARY PROGRAM
    local directory
    directory=$(realpath "$(dirname "$1")")
    [ -f "$directory/$2" ] || directory=$(dirname "$directory")
    echo "$directory/$2"
}

# A private /etc, so that files can be added that the machine does not have. Files
# can be put into $work/etc until `use_private_etc`.
make_private_etc() { # [FILE...]: what is left out of it
    local file
    cp -a /etc "$work/etc"
    for file in resolv.conf hosts mailname mtasts.toml "$@"; do rm -rf "${work:?}/etc/$file"; done
    printf 'nameserver 127.0.0.1\noptions trust-ad\n' >"$work/etc/resolv.conf"
    echo "127.0.0.1 localhost" >"$work/etc/hosts"
    echo "sender.test" >"$work/etc/mailname"
}
use_private_etc() { mount --bind "$work/etc" /etc; }

# A private /dev: what is logged to /dev/log stays here.
make_private_dev() {
    local device
    mkdir "$work/dev"
    for device in null zero full random urandom tty; do
        touch "$work/dev/$device"
        mount --bind "/dev/$device" "$work/dev/$device"
    done
    ln -s /proc/self/fd "$work/dev/fd"
    mount --rbind "$work/dev" /dev
}

private_directory() { # PATH MODE OWNER
    mount -t tmpfs -o "mode=$2" tmpfs "$1"
    chown "$3" "$1"
}

# Where `make install` puts things.
make_private_usr_local() {
    private_directory /usr/local 0755 root:root
    [ ! -d /var/cache/ldconfig ] || private_directory /var/cache/ldconfig 0700 root:root
}

# There is no systemd in here, and mostly no daemon: only the call is noted.
pretend_systemctl() {
    systemctl() { echo "$*" >>"$work/systemctl"; }
    export work
    export -f systemctl
}

# `make` finds everything built, and nothing is compiled.
pretend_build() { # PROGRAM...
    mkdir -p "$work/built/release"
    ln -sf "$library" "$archive" "$@" "$work/built/release"
    printf '#!/bin/sh\necho "note: native-static-libs: -lc"\n' >"$work/built/rustc"
    chmod +x "$work/built/rustc"
    export CARGO=true RUSTC=$work/built/rustc CARGO_TARGET_DIR=$work/built
}

# The indented lines below a heading of the README are commands.
readme_commands() { # HEADING
    awk -v "heading=$1" '/^##/ { here = $0 == heading } here && sub(/^    /, "")' "$readme"
}

# Runs them, each below the other, as they stand there.
follow_readme() { # HEADING
    local commands
    commands=$(readme_commands "$1")
    [ -n "$commands" ] || { echo "no commands below '$1'" >&2; return 1; }
    (cd "$source" && bash -euc "$commands")
}

# The policy hosts are on loopback too, hence the permission.
configure_mtasts() {
    echo "allow_private_addresses = true" >/etc/mtasts.toml
}

# The world is told things on its standard input and answers each with a line. Leaves
# $scene, the file of what it is told, and $world_dir with its logs.
start_world() {
    scene=$work/scene
    world_dir=$work/world
    mkdir "$world_dir"
    echo "dns sender.test A 127.0.0.1" >"$scene"
    mkfifo "$work/to_world"
    "$work/mtasts-world" --dir "$world_dir" --dns 127.0.0.1:53 --https 127.0.0.1:443 "$scene" \
        <"$work/to_world" >"$work/world.out" 2>"$work/world.err" &
    exec 8>"$work/to_world"
    world_answers=0
    # shellcheck disable=SC2119
    tell_world || { echo "$world_answer"; exit 1; }
    mkdir -p /etc/ssl/certs
    cp "$world_dir/ca.pem" /etc/ssl/certs/ca-certificates.crt
}

# shellcheck disable=SC2120 # words.sh and the cases pass some
tell_world() { # a command, or nothing to await the first answer
    [ $# = 0 ] || echo "$*" >&8
    world_answers=$((world_answers + 1))
    for _ in $(seq 400); do
        world_answer=$(sed -n "${world_answers}p" "$work/world.out")
        [ -z "$world_answer" ] || break
        sleep 0.025
    done
    [ -n "$world_answer" ] || world_answer="no answer from the world: $(cat "$work/world.err")"
    case $world_answer in
        error* | no*) return 1 ;;
    esac
}

# What is sent to the system log, line by line, in $work/syslog.
start_syslog() {
    : >"$work/syslog"
    perl -MSocket -e '
        socket(LOG, AF_UNIX, SOCK_DGRAM, 0) && bind(LOG, sockaddr_un("/dev/log")) && chmod(0666, "/dev/log") or die "$!\n";
        open(OUT, ">>", $ARGV[0]) or die "$!\n";
        while (defined recv(LOG, $line, 65536, 0)) { syswrite(OUT, "$line\n") }
    ' "$work/syslog" &
    for _ in $(seq 100); do
        [ ! -S /dev/log ] || break
        sleep 0.01
    done
}
