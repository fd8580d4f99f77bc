#!/bin/sh
# Installs the Debian packages that strata needs and this machine lacks. Safe to run again: what is there is left alone.
# Ends with 1, and says what is missing, if something that is needed is missing at the end.
#
#   install-deps.sh         to build and run: a C compiler, fusermount3 for mounting, and clients for the printed commands;
#                           without the clients it goes on
#   install-deps.sh --test  also the clients that the tests drive; those from PyPI go to target/clients
set -eu
cd "$(dirname "$0")/.."

tests=no
case "${1-}" in
    '') ;;
    --test) tests=yes ;;
    *) echo "usage: install-deps.sh [--test]" >&2; exit 2 ;;
esac

# Prints the packages whose commands are not all there.
find_missing() {
    missing=
    need build-essential cc make
    need fuse3 fusermount3
    if [ "$tests" = yes ]; then
        need curl curl
        need libnfs-utils nfs-ls nfs-cat nfs-cp
        need acl setfacl
        need attr setfattr getfattr
        need cadaver cadaver
        need e2fsprogs chattr
        need git git
        need iproute2 ip
        need litmus litmus
        need python3 python3
        # Python's own part of it lies in a package of its own on Debian.
        python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
        need rclone rclone
        need rsync rsync
        need sqlite3 sqlite3
        need strace strace
    fi
    echo "$missing"
}

# The same for those that only the commands printed by the server use.
find_missing_clients() {
    missing=
    if [ "$tests" = no ]; then
        need awscli aws
        need curl curl
        need libnfs-utils nfs-ls
    fi
    echo "$missing"
}

# need PACKAGE COMMAND...: the package is missing unless every command is there.
need() {
    package=$1
    shift
    for tool in "$@"; do
        if ! command -v "$tool" >/dev/null 2>&1; then
            missing="$missing $package"
            return
        fi
    done
}

# The Python clients at the versions of tests/clients/requirements.txt, in an environment of their own.
install_python_clients() {
    list=tests/clients/requirements.txt
    clients=${CARGO_TARGET_DIR:-target}/clients
    cmp -s "$list" "$clients/installed.txt" && return
    echo "install-deps: installing the clients of $list into $clients"
    rm -rf "$clients"
    python3 -m venv "$clients"
    "$clients/bin/pip" install --quiet --disable-pip-version-check --requirement "$list"
    # Last: only what is whole is found by the next run.
    cp "$list" "$clients/installed.txt"
}

needed=$(find_missing)
wanted=$needed$(find_missing_clients)
if [ -n "$wanted" ]; then
    # Who cannot install goes on only if nothing is needed.
    verdict=0
    [ -z "$needed" ] || verdict=1
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "install-deps: this is no Debian; install the counterparts of:$wanted" >&2
        exit "$verdict"
    fi
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        as_root=sudo
    else
        echo "install-deps: missing:$wanted; have somebody who may run:" >&2
        echo "  apt-get update && apt-get install -y --no-install-recommends$wanted" >&2
        exit "$verdict"
    fi
    echo "install-deps: installing$wanted"
    # shellcheck disable=SC2086 # the list and the prefix are meant to be split
    $as_root apt-get update -qq
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >/dev/null
    needed=$(find_missing)
    if [ -n "$needed" ]; then
        echo "install-deps: still missing after the installation:$needed" >&2
        exit 1
    fi
fi
if [ "$tests" = yes ]; then
    install_python_clients
fi
