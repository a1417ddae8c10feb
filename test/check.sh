#!/usr/bin/env bash
# check.sh STAGE...: makes each STAGE, a target of the Makefile. It closes with a table of what became
# of each, and with what could not be tested. `make check` and `make quick` run it.
#
# Three things happen at a time, so that no processor idles while a test waits:
#   - the stages, one after another, and what they print
#   - beside them those in BESIDE, one after another
#   - with what is left of the processors (nice): first what the stages need, in the order in which
#     they come; then the stages in IDLE
# What a stage beside the others has printed is shown when it has ended. A stage begins when what it
# needs is built.
#
# From the environment:
#   KEEP=1     go on after a stage that fails. Otherwise those that have not begun are not run, and
#              those beside are stopped
#   BUILT      stages with a target built-STAGE, which builds what it needs. Any other stage begins
#              when all of these are built
#   BESIDE     stages that mostly wait, and neither measure times nor the machine
#   IDLE       stages that only compute, however slowly
#   TMPDIR     where the tests keep the data of their daemons (see make_scratch)
#   RESULTS    the file for the same table: stage, result and seconds, with a tab between them.
#              Beside it a directory of the same name has what the stages printed
#   LEFT_OUT   text: what this run leaves out on purpose
#
# Results: "ok"; "FAILED"; "not run"; "not tested" where a stage passed, but had to leave out
# something. Ends with 0 if no stage failed, with 130 upon Ctrl-C, else with 1.
set -u
: "${RESULTS:?}"
work=${RESULTS%.txt} # logs; results/STAGE; built/STAGE; skipped/STAGE (see skip.sh)
case ${KEEP:-0} in 0) keep= ;; *) keep=1 ;; esac
# Where the caller has said -j, make shares those jobs with its children.
case ${MAKEFLAGS:-} in *jobserver*) jobs= ;; *) jobs=-j$(nproc) ;; esac
stopped=
lanes=()

# among WORD LIST: whether the list has the word.
among() {
    case " $2 " in *" $1 "*) true ;; *) false ;; esac
}

# chosen LIST: the stages of this run that are in the list, in the order of the run.
chosen() {
    local stage
    for stage in "${stages[@]}"; do
        if among "$stage" "$1"; then echo "$stage"; fi
    done
}

# is_over: no stage may begin any more.
is_over() {
    [ -e "$work/stopped" ] || { [ -z "$keep" ] && [ -e "$work/failed" ]; }
}

make_it() {
    # shellcheck disable=SC2086
    SKIPPED=$work/skipped/$2 "${MAKE:-make}" --no-print-directory $jobs "$1"
}

# Builds what the stages need. One that fails fails again in its stage, where that is shown.
build_all() {
    local stage
    for stage in $(chosen "${BUILT:-}"); do
        is_over && return
        make_it "built-$stage" built >"$work/$stage.built.log" 2>&1
        touch "$work/built/$stage"
    done
    touch "$work/all-built"
}

wait_built() {
    local mark=$work/all-built
    if among "$1" "${BUILT:-}"; then mark=$work/built/$1; fi
    until [ -e "$mark" ] || is_over; do sleep 0.1; done
}

# Makes the stage, and leaves its result and its seconds.
run() {
    local began result
    wait_built "$1"
    is_over && return
    began=$(date +%s)
    echo "== $1"
    if ! make_it "$1" "$1" || [ -n "$stopped" ]; then
        # A lane was stopped because a stage of another one has failed. This one has not failed.
        [ -e "$work/lanes-stopped" ] && [ ! -e "$work/stopped" ] && return
        result=FAILED
        touch "$work/failed"
    elif [ -s "$work/skipped/$1" ]; then
        result='not tested'
    else
        result=ok
    fi
    printf '%s\t%s\n' "$result" "$(($(date +%s) - began))" >"$work/results/$1"
}

# Those of the other lanes: their output is shown by show_ended.
run_beside() {
    local stage
    for stage in "$@"; do
        run "$stage" >"$work/$stage.log" 2>&1
        touch "$work/$stage.ended"
    done
}

show_ended() {
    local stage
    for stage in $(chosen "${BESIDE:-} ${IDLE:-}"); do
        if [ -e "$work/$stage.ended" ]; then
            rm "$work/$stage.ended"
            cat "$work/$stage.log"
        fi
    done
}

# lane COMMAND...: runs it beside, in a process group of its own, which can be told to stop. The lane
# itself outlives that, and says what became of its stage.
lane() {
    set -m
    "$@" </dev/null &
    set +m
    lanes+=($!)
}

# On a machine that others use as well, the builds must not starve: a stage may wait for them.
idle_lane() {
    trap : INT
    renice -n 5 -p "$BASHPID" >/dev/null
    build_all
    renice -n 19 -p "$BASHPID" >/dev/null
    # shellcheck disable=SC2046
    run_beside $(chosen "${IDLE:-}")
}

beside_lane() {
    trap : INT
    # shellcheck disable=SC2046
    run_beside $(chosen "${BESIDE:-}")
}

stop_lanes() {
    local pid
    touch "$work/lanes-stopped"
    for pid in "${lanes[@]}"; do
        kill -INT -- "-$pid" 2>/dev/null
    done
}

# The main lane has got the signal from the terminal as well. The shell waits for its end all the
# same, so that the table comes last.
stop() {
    stopped=1
    touch "$work/stopped"
    stop_lanes
}

# Makes the directory for the data of the tests' daemons, in memory where there is enough of it. On a
# disk one sync may take longer than any deadline of a test: others write there, or the kernel
# discards what was deleted. TMPDIR says that it is to be elsewhere, and that nothing is removed.
make_scratch() {
    local memory=/dev/shm free available
    [ -z "${TMPDIR:-}" ] || return
    free=$(df --output=avail -k "$memory" 2>/dev/null | tail -n 1)
    available=$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)
    [ "${free:-0}" -ge 4194304 ] && [ "${available:-0}" -ge 8388608 ] || return
    scratch=$(mktemp -d "$memory/nsqd.XXXXXX") || return
    # Users other than root enter it, and some tests run a copy of the daemon there.
    if chmod 755 "$scratch" && cp /bin/true "$scratch/" && "$scratch/true" 2>/dev/null; then
        export TMPDIR=$scratch
    fi
}

print_table() {
    local stage result seconds
    for stage in "${stages[@]}"; do
        IFS=$'\t' read -r result seconds <"$work/results/$stage" || { result='not run' seconds=-; }
        printf '%s\t%s\t%s\n' "$stage" "$result" "$seconds"
    done 2>/dev/null >"$RESULTS"
    printf '\n%-20s %-12s %7s\n' stage result seconds
    while IFS=$'\t' read -r stage result seconds; do
        printf '%-20s %-12s %7s\n' "$stage" "$result" "$seconds"
    done <"$RESULTS"
    # Less than the sum of the column, since stages run side by side.
    echo "by the clock: $((SECONDS / 60)) min $((SECONDS % 60)) s"
}

stages=("$@")
rm -rf "$work"
mkdir -p "$work/results" "$work/built" "$work/skipped"
trap stop INT TERM HUP
scratch=
trap '[ -z "$scratch" ] || rm -rf "$scratch"' EXIT
make_scratch
lane idle_lane
lane beside_lane
for stage in "${stages[@]}"; do
    among "$stage" "${BESIDE:-} ${IDLE:-}" || { is_over || run "$stage"; }
    show_ended
done
if is_over; then stop_lanes; fi
# A signal ends a wait.
for pid in "${lanes[@]}"; do
    while kill -0 "$pid" 2>/dev/null; do wait "$pid"; done
    show_ended
done

print_table
skipped=$(sort -u "$work"/skipped/* 2>/dev/null)
if [ -n "$skipped" ]; then printf '\n%s\n' "$skipped"; fi
if [ -n "${LEFT_OUT:-}" ]; then
    printf '\n%s\n' "$LEFT_OUT"
elif [ ! -e "$work/failed" ] && [ -z "$skipped" ] && [ -z "$stopped" ]; then
    echo '== everything has been tested'
fi
if [ -n "$stopped" ]; then
    echo '== stopped'
    exit 130
fi
[ ! -e "$work/failed" ]
