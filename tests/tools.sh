#!/bin/sh
# Sees to it that the programs which the tests use are there. As root on Debian
# it installs what is missing; otherwise it says what to install, and the tests
# that need it say SKIPPED.

set -u

# Rust: any toolchain of this version or newer.
wanted_rust=89
rust_minor() {
    cargo --version 2>/dev/null | sed -n 's/^cargo 1\.\([0-9]*\)\..*/\1/p'
}

has_exim() {
    PATH=$PATH:/usr/sbin exim4 -bV 2>/dev/null | grep -q Expand_dlfunc
}

# The Debian packages of what is missing.
missing=
need() {
    command -v "$1" >/dev/null 2>&1 || PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need cc gcc
need c++ g++
need ld binutils
need nm binutils
need readelf binutils
need valgrind valgrind
need ip iproute2
need unshare util-linux
need mount mount
need openssl openssl
need mandoc mandoc
need pkg-config pkg-config
need sqlite3 sqlite3
need strace strace
need tmux tmux
need systemd-analyze systemd
need update-ca-certificates ca-certificates
need m4 m4
[ "$(id -u)" != 0 ] || need mmdebstrap mmdebstrap
pkg-config --exists milter 2>/dev/null || missing="$missing libmilter-dev"
has_exim || missing="$missing exim4-daemon-heavy"
pkg-config --exists sqlite3 2>/dev/null || missing="$missing libsqlite3-dev"
# The Python of Debian, whose modules are packages.
/usr/bin/python3 -c 'import venv, ensurepip' 2>/dev/null || missing="$missing python3-venv"
/usr/bin/python3 -c 'import pytest' 2>/dev/null || missing="$missing python3-pytest"
/usr/bin/python3 -c 'import mypy' 2>/dev/null || missing="$missing mypy"
pkg-config --exists openssl 2>/dev/null || missing="$missing libssl-dev"
# tests/tools.sh packages: also what builds and checks packages for Debian.
if [ "${1:-}" = packages ]; then
    need dh debhelper
    need dpkg-buildpackage dpkg-dev
    need xz xz-utils
    need lintian lintian
    need autopkgtest autopkgtest
    need python3 python3
fi
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')

install_packages() {
    # No daemon may start, and no other mail server may be removed.
    made_policy=
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
        made_policy=yes
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends --no-remove "$@" >/dev/null
    status=$?
    [ -z "$made_policy" ] || rm -f /usr/sbin/policy-rc.d
    return $status
}

if [ -n "${missing# }" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "tools: installing $missing"
        # shellcheck disable=SC2086  # a list of words
        install_packages $missing || { echo "tools: apt-get could not install: $missing" >&2; exit 1; }
    else
        echo "tools: missing: $missing"
        echo "tools: tests that need them say SKIPPED; install them as root with"
        echo "tools:   apt-get install --no-install-recommends $missing"
    fi
fi

# Sendmail and Postfix cannot be installed beside Exim, so that they are only unpacked. Their libraries can.
unpack() {
    "$(dirname "$0")/mta/unpack.sh" "$@" || { echo "tools: could not unpack $1" >&2; exit 1; }
    shift
    libraries=
    for library in $(apt-cache depends "$@" | sed -n 's/^ *\(Pre\)\{0,1\}Depends: \(lib[^:]*\)$/\2/p'); do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$library" 2>/dev/null)" = installed ] || libraries="$libraries $library"
    done
    if [ -n "$libraries" ]; then
        echo "tools: installing$libraries"
        # shellcheck disable=SC2086  # a list of words
        install_packages $libraries || { echo "tools: apt-get could not install:$libraries" >&2; exit 1; }
    fi
}
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    unpack sendmail sendmail-bin sendmail-base sendmail-cf
    # Two releases of Postfix, the older one of Debian 12 and one that knows policies.
    for root in "postfix-3.7 bookworm" "postfix-3.10 trixie"; do
        # shellcheck disable=SC2086  # a list of words
        "$(dirname "$0")/mta/root.sh" $root postfix || { echo "tools: could not unpack $root" >&2; exit 1; }
    done
else
    echo "tools: Sendmail and Postfix are unpacked by root on Debian alone"
fi

minor=$(rust_minor)
if [ "${minor:-0}" -lt $wanted_rust ]; then
    echo "tools: Rust 1.$wanted_rust or newer is needed, found ${minor:+1.}${minor:-none}" >&2
    echo "tools: install it with rustup, or with the packages rustc-web and cargo-web on Debian 12" >&2
    exit 1
fi
