#!/bin/sh
# Installs the named Debian packages where they are missing and apt may be
# used (root, or sudo without a password); otherwise names them and fails.
# It does nothing, and needs neither apt nor a network, where all are there.
#
#   PACKAGE            a package
#   COMMAND:PACKAGE    a package that is wanted only where there is no COMMAND,
#                      however that was installed
#   clang-rt           the sanitizers and the fuzzer of clang: libclang-rt-N-dev,
#                      where N is the version that this release calls clang
set -eu

# The version in "Depends: clang-14 (>= 14~)".
clang_version() {
    { dpkg-query -W -f='${Depends}\n' clang 2>/dev/null || apt-cache depends clang 2>/dev/null; } |
        sed -n 's/.*clang-\([0-9][0-9]*\).*/\1/p' | head -n 1
}

is_installed() {
    dpkg-query -W -f='${Status}\n' "$1" 2>/dev/null | grep -q 'ok installed'
}

# Sets $missing to what has to be installed of what is named.
find_missing() {
    missing=
    for p in "$@"; do
        case $p in
        *:*)
            command -v "${p%%:*}" >/dev/null && continue
            p=${p#*:}
            ;;
        clang-rt) p=libclang-rt-$(clang_version)-dev ;;
        esac
        is_installed "$p" || missing="$missing $p"
    done
}

find_missing "$@"
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root=sudo
else
    echo "These Debian packages are missing; install them and try again:" >&2
    echo "  apt-get install$missing" >&2
    exit 1
fi
$as_root apt-get update -qq
find_missing "$@" # only now apt knows the version of clang
echo "installing:$missing"
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing
