#!/bin/bash
# Builds docs/install/Containerfile and starts the image's nsqd as process 1 of namespaces of its own.
# There is no registry for that here: the base is a small Debian that mmdebstrap makes, and stock's
# image has stock's programs only.
#
#   test/packaging/try-image.sh STOCK     a folder with stock's programs: build/stock
#
# As root, with buildah, mmdebstrap and a Debian mirror (MIRROR=).
set -euo pipefail
cd "$(dirname "$0")/../.."
stock=$1
work=$(mktemp -d)
buildah="buildah --root $work/store --runroot $work/run --storage-driver vfs"
trap '$buildah umount --all >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

fail() {
    echo "image: $*" >&2
    exit 1
}

# import NAME FOLDER WHERE: an image that has this folder or tarball.
import() {
    local container
    container=$($buildah from scratch)
    $buildah add --quiet "$container" "$2" "$3" >/dev/null
    $buildah commit --quiet --format docker "$container" "$1" >/dev/null
    $buildah rm "$container" >/dev/null
}

mmdebstrap --quiet --variant=minbase bookworm "$work/base.tar" \
    "${MIRROR:-http://deb.debian.org/debian}"
import localhost/base "$work/base.tar" /
import localhost/stock "$stock" /usr/local/bin/
test/packaging/copy.sh "$work/src"
$buildah build --isolation chroot --pull-never --quiet --build-arg BASE=localhost/base \
    --build-arg STOCK=localhost/stock -f docs/install/Containerfile -t localhost/nsq:v1.3.0 \
    "$work/src" >"$work/log" 2>&1 || { tail -n 30 "$work/log" && fail 'it is not built'; }

container=$($buildah from --pull-never localhost/nsq:v1.3.0)
root=$($buildah mount "$container")
echo '# The layout of nsqio/nsq:v1.3.0'
for program in nsqd nsqlookupd nsqadmin nsq_tail nsq_stat nsq_to_file nsq_to_http nsq_to_nsq to_nsq; do
    for path in / /bin/; do
        [ "$(readlink "$root$path$program")" = "/usr/local/bin/$program" ] || fail "$path$program"
    done
done
echo "/nsqd -> $(readlink "$root/nsqd")"
$buildah inspect --format '{{.OCIv1.Config}}' "$container" >"$work/config"
for wanted in 4150/tcp 4151/tcp 4160/tcp 4161/tcp 4170/tcp 4171/tcp /data; do
    grep -q -F "$wanted" "$work/config" || fail "config: no $wanted"
done

echo '# Process 1 of its namespaces, in /data'
cat >"$work/start" <<'END'
ip link set lo up
unshare --pid --fork --kill-child chroot "$1" env -C /data /nsqd --broadcast-address=127.0.0.1 \
    -data-path=/data 2>"$1/log" &
inside() { chroot "$1" "${@:2}"; }
for _ in $(seq 100); do
    inside "$1" wget -q -O - http://127.0.0.1:4151/ping 2>/dev/null && break
    sleep 0.1
done
echo
echo hello | inside "$1" to_nsq --nsqd-tcp-address=127.0.0.1:4150 --topic=t 2>/dev/null
inside "$1" wget -q -O - 'http://127.0.0.1:4151/stats?topic=t' | grep -o '\[t .*depth: 1 '
pkill -TERM -x nsqd --parent "$(pgrep -P $$ unshare)"
wait %1
echo "exit code $?"
tail -n 1 "$1/log" | grep -o 'NSQ: bye'
ls "$1/data"
END
unshare --net bash "$work/start" "$root" | tee "$work/out"
for line in OK 'exit code 0' 'NSQ: bye' nsqd.dat t.diskqueue.000000.dat; do
    grep -q -x "$line" "$work/out" || fail "no line: $line"
done
grep -q 'depth: 1' "$work/out" || fail 'no message'
echo 'image: ok'
