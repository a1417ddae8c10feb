#!/bin/sh
# Runs the chan benchmark in C ($1) and in Go ($2, may be missing) in turns,
# $ROUNDS times, and prints medians, and the best (what a free machine would
# show; where threads wake each other that can be far off), as a table.
set -eu
c=$1 go=${2-}
rounds=${ROUNDS:-7}

i=0
while [ $i -lt "$rounds" ]; do
    "$c" | sed 's/^/C\t/'
    [ -z "$go" ] || "$go" | sed 's/^/Go\t/'
    i=$((i + 1))
done | awk -F '\t' '
    function median(list,    v, n, i, j, x) {
        n = split(list, v, " ")
        for (i = 2; i <= n; i++)
            for (j = i; j > 1 && v[j - 1] + 0 > v[j] + 0; j--) {
                x = v[j]; v[j] = v[j - 1]; v[j - 1] = x
            }
        return n ? v[int((n + 1) / 2)] : "-"
    }
    function best(list,    v) {
        if (list == "")
            return "-"
        split(list, v, " ")
        for (i = 2; i in v; i++)
            if (v[i] + 0 < v[1] + 0)
                v[1] = v[i]
        return v[1]
    }
    function show(x) {
        return x == "-" ? x : x < 100 ? sprintf("%.1f", x) : sprintf("%d", x + 0.5)
    }
    $1 == "C" && !($2 in c) { order[++rows] = $2 }
    $1 == "C"  { c[$2] = c[$2] " " $3; ccpu[$2] = ccpu[$2] " " $4 }
    $1 == "Go" { g[$2] = g[$2] " " $3; gcpu[$2] = gcpu[$2] " " $4 }
    END {
        print "| ns per value or turn | C | Go | C, best | Go, best | C, all CPUs | Go, all CPUs |"
        print "|---|---|---|---|---|---|---|"
        for (r = 1; r <= rows; r++) {
            k = order[r]
            printf "| %s | %s | %s | %s | %s | %s | %s |\n", k, show(median(c[k])), show(median(g[k])),
                show(best(c[k])), show(best(g[k])), show(median(ccpu[k])), show(median(gcpu[k]))
        }
    }'
