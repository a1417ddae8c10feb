#!/bin/bash
# Builds the daemon with every gcc and clang that a Debian release has, without a warning, and for
# aarch64 with Debian's cross compiler; that one runs by qemu. All of it in folders of its own.
#
#   test/packaging/try-builds.sh [RELEASE]        bookworm, if not given
#
# As root, with mmdebstrap and a Debian mirror (MIRROR=).
set -euo pipefail
cd "$(dirname "$0")/../.."
release=${1:-bookworm}
work=$(mktemp -d)
trap 'umount -q "$work"/*/proc || true; rm -rf "$work"' EXIT
libraries=(libcjson-dev libcurl4-gnutls-dev libgnutls28-dev libpcre2-dev libsnappy-dev zlib1g-dev)

# in_debian NAME SCRIPT PACKAGE...: runs the script in a small Debian that has the packages, and the
# sources in /src. (Two, since not all libraries can be had for both processors side by side.)
in_debian() {
    local root=$work/$1 script=$2
    shift 2
    local packages="make uthash-dev curl $*"
    mmdebstrap --quiet --variant=minbase --architectures=amd64,arm64 \
        --include="${packages// /,}" "$release" "$root" \
        "${MIRROR:-http://deb.debian.org/debian}"
    mount --bind /proc "$root/proc"
    test/packaging/copy.sh "$root/src"
    chroot "$root" bash -c "$build$script"
}

# shellcheck disable=SC2016
build='cd /src
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
# build NAME ARGUMENTS: all warnings are errors.
build() {
    if ! make -j"$(nproc)" "${@:2}" >/tmp/log 2>&1; then
        echo "$1: FAILED"
        grep -m 5 -E "error|warning" /tmp/log
        exit 1
    fi
    echo "$1: no warning"
}
'
# shellcheck disable=SC2016
native='apt-get update -qq
for compiler in $(apt-cache search --names-only "^(gcc|clang)-[0-9]+$" | sed "s/ .*//" | sort -V); do
    apt-get install -y -qq --no-install-recommends "$compiler" >/tmp/log 2>&1 ||
        { tail -n 3 /tmp/log && exit 1; }
    build "$($compiler --version | head -n 1)" CC="$compiler"
    rm -r build
done
'
# shellcheck disable=SC2016
cross='build "$(aarch64-linux-gnu-gcc --version | head -n 1)" CC=aarch64-linux-gnu-gcc
mkdir /tmp/data
qemu-aarch64 build/aarch64-linux-gnu/nsqd --data-path=/tmp/data --tcp-address=127.0.0.1:0 \
    --http-address=/tmp/http 2>/tmp/nsqd.log &
for _ in $(seq 300); do
    curl -s --unix-socket /tmp/http http://nsqd/ping && break
    sleep 0.1
done
echo
curl -s --unix-socket /tmp/http -d hello "http://nsqd/pub?topic=t"
echo
kill -TERM $! && wait $! && grep -o "NSQ: bye" /tmp/nsqd.log || { tail -n 5 /tmp/nsqd.log && exit 1; }
ls /tmp/data
[ -e /tmp/data/t.diskqueue.000000.dat ]
'

in_debian native "$native" "gcc libc6-dev pkgconf ${libraries[*]}"
in_debian cross "$cross" \
    "gcc-aarch64-linux-gnu libc6-dev:arm64 pkgconf:arm64 qemu-user ${libraries[*]/%/:arm64}"
echo 'builds: ok'
