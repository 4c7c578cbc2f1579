# shellcheck shell=bash disable=SC2034,SC2119,SC2120,SC2154 # some variables are run.sh's, some for situation.sh
# Read by run.sh inside the namespaces, after tests/mta/machine.sh: puts Debian's
# Sendmail on the private machine as its package does, and starts the world. Leaves
# behind what situation.sh and the cases use: the paths, configure_sendmail,
# start_server and stop_server.

set -e
begin_machine sendmail "$@"
hostname sender.test
server=$(beside "$2" mtasts-socketmap)
[ -x "$server" ] || { echo "no program $server"; exit 1; }

make_private_etc exim4 mail aliases aliases.db
cp -a "$unpacked/etc/." "$work/etc/"
echo "127.0.0.1 sender.test localhost" >"$work/etc/hosts"
echo "root: /dev/null" >"$work/etc/aliases"
echo "a: /dev/null" >>"$work/etc/aliases"
use_private_etc
make_private_dev

# The package's files lie over those of the machine, with what its scripts do when it
# is installed: users, modes, links and the first configuration.
for user in smmta smmsp; do
    deluser --quiet --system "$user" 2>/dev/null || true
    addgroup --quiet --system "$user" 2>/dev/null || true
    adduser --quiet --system --ingroup "$user" --home /var/lib/sendmail --no-create-home "$user"
done
mkdir -p "$work/usr/sbin" "$work/usr/bin" "$work/usr.work"
ln -s ../libexec/sendmail/sendmail "$work/usr/sbin/sendmail"
ln -s ../share/sendmail/mailq "$work/usr/bin/mailq"
mount -t overlay -o "lowerdir=$unpacked/usr:/usr,upperdir=$work/usr,workdir=$work/usr.work" overlay /usr
chgrp smmsp /usr/libexec/sendmail/sendmail
chmod 2755 /usr/libexec/sendmail/sendmail
make_private_usr_local
for directory in /var/lib /var/spool /var/log /var/mail /run; do private_directory "$directory" 0755 root:root; done
[ ! -L /var/run ] || [ "$(readlink -f /var/run)" = /run ] || { echo "/var/run is not /run"; exit 1; }
cp -a "$unpacked/var/." /var/
chown smmta:smmsp /var/spool/mqueue
chown smmsp:smmsp /var/spool/mqueue-client
start_syslog
mainlog=$work/syslog
/usr/share/sendmail/update_sendmail >"$work/said" 2>&1 || true # it says by this whether something is new
[ -s /etc/mail/sendmail.cf ] || { cat "$work/said"; exit 1; }
version=$(sendmail -bt -d0.1 </dev/null | sed -n 's/^Version \([0-9.]*\).*/\1/p') # Debian 12 has 8.17, Debian 13 8.18.1
cp -a /etc/mail "$work/pristine"

make_home_of_server() {
    adduser --quiet --system --group --no-create-home --home /var/lib/mtasts mtasts
    install -d -m 0750 -o mtasts -g mtasts /var/lib/mtasts
    install -d -m 0755 /run/mtasts
}
make_home_of_server

# pristine: Debian's configuration as the package makes it; usual: with our lines, put
# in by the commands of examples/sendmail/README.md. What was made once is kept.
take_configuration() { # NAME
    rm -rf /etc/mail/* && cp -a "$work/$1/." /etc/mail/
}
configure_sendmail() {
    take_configuration pristine
    follow_readme "### 3. The lines for Sendmail" >"$work/said" 2>&1 || { cat "$work/said"; return 1; }
    cp -a /etc/mail "$work/usual"
}

# There is no systemd in here. For `systemctl` as the README has it, the server is
# started by the units that `make install` has installed, nearly as systemd would.
units=/usr/local/lib/systemd/system
systemctl() {
    echo "$*" >>"$work/systemctl"
    case $* in
        "enable --now mtasts-socketmap.socket")
            local listen
            mapfile -t listen < <(sed -n 's/^ListenStream=/--listen=/p' "$units/mtasts-socketmap.socket")
            install -d -m 0755 /run/mtasts
            # shellcheck disable=SC2046 # a program and its arguments
            setsid systemd-socket-activate "${listen[@]}" $(sed -n 's/^ExecStart=//p' "$units/mtasts-socketmap.service") \
                2>>"$work/server.log" &
            echo $! >"$work/unit.pid"
            ;;
        "reload mtasts-socketmap") kill -HUP "$(cat "$work/unit.pid")" ;;
        "disable --now mtasts-socketmap.socket mtasts-socketmap.service") kill "$(cat "$work/unit.pid")" ;;
        "reload sendmail" | "disable --now postfix-mta-sts-resolver") ;;
        *) return 1 ;;
    esac
}
export work units
export -f systemctl

# Most cases start it by themselves. It binds as root and then becomes the owner of the cache.
start_server() { # [OPTION...]
    "$server" --listen unix:/run/mtasts/socketmap "$@" 2>>"$work/server.log" &
    server_pid=$!
    await_server
}
await_server() {
    for _ in $(seq 200); do
        printf '4:sts ,' | timeout 1 perl -MIO::Socket::UNIX -e '
            my $server = IO::Socket::UNIX->new("/run/mtasts/socketmap") or exit 1;
            print $server <STDIN>; $server->flush; read $server, my $byte, 1 or exit 1;' && return
        sleep 0.02
    done
    echo "no server: $(cat "$work/server.log")"
    return 1
}
stop_server() {
    kill "$server_pid"
    wait "$server_pid" 2>/dev/null || true
}

start_world
configure_mtasts
configure_sendmail
start_server
set +e
