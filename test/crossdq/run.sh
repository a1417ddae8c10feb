#!/bin/sh
# Hands disk queues to and fro between stock's library and ours: mixed sizes,
# one file and many, read in parts by both in turn. Usage: run.sh STOCK OURS DIR
set -eu
stock=$1 ours=$2 dir=$3

# Stock moves files aside that it has read to the end and then filled up; we never do.
bad() { find "$dir" -name '*.bad' | wc -l; }

# step PROGRAM COMMAND FIRST COUNT DEPTH-AFTERWARDS
step() {
    before=$(bad)
    depth=$("$1" "$2" "$dir" "$name" "$max" "$3" "$4" | tail -n 1)
    [ "$depth" = "$5" ] || { echo "FAIL crossdq $name $max: $2 $3 $4: depth $depth, not $5"; exit 1; }
    [ "$1" = "$stock" ] || [ "$(bad)" = "$before" ] ||
        { echo "FAIL crossdq $name $max: $2 $3 $4: moved aside:"; ls "$dir"; exit 1; }
}

# to_and_fro WRITER READER
to_and_fro() {
    rm -rf "$dir" && mkdir -p "$dir"
    step "$1" put 0 1000 1000
    step "$2" get 0 300 700
    step "$1" get 300 100 600
    step "$2" put 1000 500 1100
    step "$1" put 1500 1 1101
    step "$2" get 400 601 500
    step "$1" get 1001 499 1
    step "$2" get 1500 1 0
    step "$1" put 1501 50 50
    step "$2" get 1501 50 0
    step "$2" put 1551 50 50
    step "$1" get 1551 50 0
    if [ -n "$(find "$dir" -name '*.tmp')" ]; then
        echo "FAIL crossdq $name $max: files left behind:"; ls "$dir"; exit 1
    fi
}

for name in topic topic:channel; do
    for max in 2000 100000 104857600; do
        to_and_fro "$stock" "$ours"
        to_and_fro "$ours" "$stock"
    done
done
rm -rf "$dir"
echo 'ok   crossdq (12 queues)'
