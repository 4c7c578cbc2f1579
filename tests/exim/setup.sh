# shellcheck shell=bash disable=SC2034,SC2154 # some variables are run.sh's, some for situation.sh
# Read by run.sh inside the namespaces: builds the private machine and starts the
# world. Leaves behind what situation.sh and the cases use: $library and the other
# paths, configure_exim, configure_mtasts and tell_world.

set -e
umask 022
work=$1
mount -t tmpfs -o mode=0755 tmpfs "$work"
cp "$2" "$work/libmtasts.so"
cp "$3" "$work/mtasts-world"
# What `make install` and the commands of examples/exim/README.md need.
source=$work/source
mkdir "$source" "$source/examples"
(cd "$here/../.." && cp -r Makefile Cargo.toml README.md include packaging "$source" && cp -r examples/exim "$source/examples")
readme=$source/examples/exim/README.md
command=$(dirname "$2")/mtasts
[ -f "$command" ] || command=$(dirname "$2")/../mtasts
shift 3
only=("$@")
library=$work/libmtasts.so
world_dir=$work/world
mkdir "$world_dir"

ip link set lo up

# A private /etc, so that files can be added that the machine does not have.
# The package's own Exim configuration is in it, and nothing that is local.
cp -a /etc "$work/etc"
rm -rf "$work/etc/exim4" "$work/etc/resolv.conf" "$work/etc/hosts" "$work/etc/mailname"
dpkg-query -L exim4-config | grep '^/etc/exim4/' | while read -r path; do
    if [ -d "$path" ]; then mkdir -p "$work$path"; else cp -p "$path" "$work$path"; fi
done
pristine=$work/pristine
cp -a "$work/etc/exim4" "$pristine"
printf 'nameserver 127.0.0.1\noptions trust-ad\n' >"$work/etc/resolv.conf"
echo "127.0.0.1 localhost" >"$work/etc/hosts"
echo "sender.test" >"$work/etc/mailname"
echo "u: :blackhole:" >>"$work/etc/aliases"
mount --bind "$work/etc" /etc

# A private /dev: what is logged to /dev/log stays here.
mkdir "$work/dev"
for device in null zero full random urandom tty; do
    touch "$work/dev/$device"
    mount --bind "/dev/$device" "$work/dev/$device"
done
ln -s /proc/self/fd "$work/dev/fd"
mount --rbind "$work/dev" /dev

private_directory() { # PATH MODE OWNER
    mount -t tmpfs -o "mode=$2" tmpfs "$1"
    chown "$3" "$1"
}
private_directory /usr/local 0755 root:root
[ ! -d /var/cache/ldconfig ] || private_directory /var/cache/ldconfig 0700 root:root
private_directory /var/lib 0755 root:root
mkdir /var/lib/exim4
private_directory /var/spool/exim4 0750 Debian-exim:Debian-exim
private_directory /var/log/exim4 2750 Debian-exim:adm
private_directory /var/mail 2775 root:mail
install -d -m 0750 -o Debian-exim -g Debian-exim /var/lib/mtasts
mainlog=/var/log/exim4/mainlog

# There is no systemd in here, and mostly no daemon: only the call is noted.
systemctl() { echo "$*" >>"$work/systemctl"; }
export work
export -f systemctl

# configure_exim TYPE [split|unsplit] [MACRO...]: Debian's configuration with the
# drop-ins put in by the commands of examples/exim/README.md. $relay_domains are
# relayed for.
configure_exim() {
    configured="$*${relay_domains+ relay}"
    answer_debconf "$1" "${2-split}"
    # Receivers are on 127.0.0.0/8, so the list of hosts to ignore leaves it out.
    # Two cases have receivers on 127.99.0.0/16, which the stock transport meets
    # without TLS. A frozen message would write to the postmaster.
    cat >"$(macros)" <<-MACROS
	LIBMTASTS = $library
	MAIN_HARDCODE_PRIMARY_HOSTNAME = sender.test
	ROUTER_DNSLOOKUP_IGNORE_TARGET_HOSTS = <; 0.0.0.0 ; 10.0.0.0/8 ; 192.168.0.0/16
	REMOTE_SMTP_HOSTS_AVOID_TLS = 127.99.0.0/16
	MAIN_FREEZE_TELL =
	MACROS
    [ $# -le 2 ] || printf '%s\n' "${@:3}" >>"$(macros)"
    follow_readme "### 4. The router and the transport"
}

# Debian's configuration without anything of ours, as the package makes it.
answer_debconf() { # TYPE split|unsplit
    rm -rf /etc/exim4/* && cp -a "$pristine/." /etc/exim4/
    local split=true
    [ "$2" = split ] || split=false
    cat >/etc/exim4/update-exim4.conf.conf <<-SETTINGS
	dc_eximconfig_configtype='$1'
	dc_other_hostnames='sender.test'
	dc_local_interfaces='127.0.0.1'
	dc_readhost='sender.test'
	dc_relay_domains='${relay_domains-}'
	dc_minimaldns='false'
	dc_relay_nets=''
	dc_smarthost='smarthost.test'
	CFILEMODE='644'
	dc_use_split_config='$split'
	dc_hide_mailname='false'
	dc_mailname_in_oh='true'
	dc_localdelivery='mail_spool'
	SETTINGS
}

# Where an administrator's macros go.
macros() {
    if grep -q "^dc_use_split_config='true'" /etc/exim4/update-exim4.conf.conf; then
        echo /etc/exim4/conf.d/main/000_localmacros
    else
        echo /etc/exim4/exim4.conf.localmacros
    fi
}

# The indented lines below a heading of examples/exim/README.md are commands.
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

# The world is told things on its standard input and answers each with a line.
scene=$work/scene
start_world() {
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

# shellcheck disable=SC2120 # situation.sh and the cases pass some
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

# What is sent to the system log, line by line.
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

start_syslog
start_world
configure_mtasts
configure_exim internet
set +e
