#!/bin/bash
# Builds the daemon with every gcc and clang that a Debian release has, without a warning, and for
# aarch64 with Debian's cross compiler; that one runs by qemu. All of it in a folder of its own.
#
#   test/packaging/try-builds.sh [RELEASE]        bookworm, if not given
#
# As root, with mmdebstrap and a Debian mirror (MIRROR=).
set -euo pipefail
cd "$(dirname "$0")/../.."
release=${1:-bookworm}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
libraries="libcjson-dev libcurl4-gnutls-dev libgnutls28-dev libpcre2-dev libsnappy-dev zlib1g-dev"

# The libraries for both processors: their -dev packages can be installed side by side.
packages="make pkgconf pkgconf:arm64 uthash-dev curl qemu-user gcc libc6-dev g++-aarch64-linux-gnu"
for library in $libraries; do
    packages="$packages $library $library:arm64"
done
mmdebstrap --quiet --variant=minbase --architectures=amd64,arm64 \
    --include="${packages// /,}" "$release" "$root" "${MIRROR:-http://deb.debian.org/debian}"
mount --bind /proc "$root/proc"
trap 'umount "$root/proc"; rm -rf "$work"' EXIT
test/packaging/copy.sh "$root/src"
cat >"$root/build.sh" <<'END'
cd /src
export DEBIAN_FRONTEND=noninteractive
failed=0
apt-get update -qq
compilers=$(apt-cache search --names-only '^(gcc|clang)-[0-9]+$' | sed 's/ .*//' | sort -V)
# build NAME ARGUMENTS: all warnings are errors.
build() {
    local name=$1
    shift
    if make -j"$(nproc)" "$@" >/tmp/log 2>&1; then
        echo "$name: no warning"
    else
        echo "$name: FAILED"
        grep -m 5 -E 'error|warning' /tmp/log
        failed=1
    fi
}
for compiler in $compilers; do
    apt-get install -y -qq --no-install-recommends "$compiler" >/tmp/log 2>&1 || { tail -3 /tmp/log; failed=1; continue; }
    build "$($compiler --version | head -n 1)" CC="$compiler"
    rm -rf build
done
build "$(aarch64-linux-gnu-gcc --version | head -n 1)" CC=aarch64-linux-gnu-gcc
mkdir /tmp/data
qemu-aarch64 build/aarch64-linux-gnu/nsqd --data-path=/tmp/data --tcp-address=127.0.0.1:0 \
    --http-address=/tmp/http 2>/tmp/nsqd.log &
for _ in $(seq 300); do
    curl -s --unix-socket /tmp/http http://nsqd/ping && break
    sleep 0.1
done
echo
curl -s --unix-socket /tmp/http -d hello 'http://nsqd/pub?topic=t' && echo
kill -TERM $!
wait $! && grep -o 'NSQ: bye' /tmp/nsqd.log || { tail -5 /tmp/nsqd.log; failed=1; }
ls /tmp/data
exit $failed
END
chroot "$root" bash /build.sh
echo "builds: ok"
