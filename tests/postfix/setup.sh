# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # some variables are run.sh's, some for situation.sh
# Read by run.sh inside the namespaces, after tests/mta/machine.sh: puts Postfix on the
# private machine and starts the world. Postfix runs in the root of its own Debian,
# which shares with the machine /etc, /dev, /run, its queue and the network, and which
# nobody else sees. Leaves behind what situation.sh and the cases use.

set -e
begin_machine postfix "$@"
cp -r "$here/../../examples/milter" "$source/examples"
socketmap=$(beside "$2" mtasts-socketmap)
[ -x "$socketmap" ] || { echo "$socketmap: no such program"; exit 1; }

make_private_etc postfix passwd- group- mtasts-socketmap
cp -a "$unpacked/etc/postfix" "$work/etc/"
cp "$unpacked/usr/share/postfix/master.cf.dist" "$work/etc/postfix/master.cf"
cp "$unpacked/usr/share/postfix/main.cf.debian" "$work/etc/postfix/main.cf"
sed -i '/^\(postfix\|mtasts\):/d' "$work/etc/passwd" "$work/etc/group"
echo "postfix:x:990:990::/var/spool/postfix:/usr/sbin/nologin" >>"$work/etc/passwd"
echo "postfix:x:990:" >>"$work/etc/group"
sed -i '/^postdrop:/d' "$work/etc/group"
echo "postdrop:x:991:" >>"$work/etc/group"
mkdir -p "$work/etc/systemd/system"
use_private_etc
make_private_dev
make_private_usr_local
private_directory /run 0755 root:root
private_directory /var/lib 0755 root:root
private_directory /var/spool 0755 root:root
private_directory /var/mail 2775 root:mail

# The root: what is written there goes away with $work.
root=$work/root
mkdir "$root" "$work/upper" "$work/overlay" /var/spool/postfix
mount -t overlay overlay -o "lowerdir=$unpacked,upperdir=$work/upper,workdir=$work/overlay" "$root"
mount -t proc proc "$root/proc"
mount --bind "$work/etc" "$root/etc"
mount --rbind /dev "$root/dev"
mount --bind /run "$root/run"
mount --bind /var/spool/postfix "$root/var/spool/postfix"
install -d -m 0755 "$root/var/lib/postfix"
chown postfix:postfix "$root/var/lib/postfix"
# The programs that an administrator calls, as if they were the machine's.
mkdir -p /usr/local/sbin
for program in postfix postconf postmap postqueue postsuper sendmail; do
    printf '#!/bin/sh\nexec chroot %s /usr/sbin/%s "$@"\n' "$root" "$program" >"/usr/local/sbin/$program"
    chmod +x "/usr/local/sbin/$program"
done
PATH=/usr/local/sbin:$PATH
# What Debian's package sets as an administrator answers, and that nothing is for this machine.
postconf -e smtp_tls_CApath=/etc/ssl/certs smtp_tls_security_level=may smtp_tls_loglevel=1 \
    'smtp_tls_session_cache_database=btree:${data_directory}/smtp_scache' myhostname=sender.test mydestination= \
    mynetworks=127.0.0.0/8 alias_maps= alias_database= inet_interfaces=loopback-only inet_protocols=ipv4
mainlog=$work/syslog
stock=$work/stock
cp -a /etc/postfix "$stock"

pretend_systemctl

start_syslog
start_world
configure_mtasts

set +e
