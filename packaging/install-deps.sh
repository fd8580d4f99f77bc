#!/bin/sh
# Installs the Debian packages that strata needs and this machine lacks. Safe to run again: what is there is left alone.
# Without the right to install, it prints the command for somebody who has it, and goes on if nothing vital is missing.
#
#   install-deps.sh         to build and run: a C compiler, fusermount3 for mounting, and clients for the printed commands
#   install-deps.sh --test  also the clients that the tests drive
set -eu

missing=
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

need build-essential cc make
need fuse3 fusermount3
need curl curl
need libnfs-utils nfs-ls
if [ "${1-}" = --test ]; then
    need attr setfattr getfattr
    need acl setfacl
    need cadaver cadaver
    need e2fsprogs chattr
    need litmus litmus
    need python3 python3
    need python3-boto3 false
    need rclone rclone
    need rsync rsync
    need sqlite3 sqlite3
else
    need awscli aws
fi
# A Python package has no command of its own to look for.
if command -v python3 >/dev/null 2>&1 && python3 -c 'import boto3' 2>/dev/null; then
    missing=$(printf '%s' "$missing" | sed 's/ python3-boto3//')
fi
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "install-deps: this is no Debian; install the counterparts of:$missing" >&2
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    as_root=sudo
else
    echo "install-deps: packages are missing; have somebody run:" >&2
    echo "  apt-get update && apt-get install -y --no-install-recommends$missing" >&2
    exit 0
fi
echo "install-deps: installing$missing"
# shellcheck disable=SC2086 # the list and the prefix are meant to be split
$as_root apt-get update -qq
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
