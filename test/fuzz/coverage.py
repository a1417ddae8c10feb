#!/usr/bin/env python3
"""Which functions the fuzz targets have reached.

    coverage.py BUILD       after run.py, which calls report() itself

Each function of protocol/ must be reached by at least one target. So must each function of the other
files below, which read what comes from outside, unless it stands in UNREACHED with the reason. What stands there and is reached after all, or is no more, is a mistake as well.
BUILD/functions.txt has all counts.
"""

import collections
import fnmatch
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

# The files that read what others have written: clients, operators, other hosts, files.
PARSERS = '''
    protocol/*.c
    common/address.c common/flags.c common/http_client.c common/json.c common/regex.c
    common/regfile.c common/toml.c common/url.c
    nsqd/client/*.c
    nsqd/cluster/*.c
    nsqd/core/nsqd_config.c nsqd/core/nsqd_flags.c nsqd/core/options.c nsqd/core/tls_config.c
    nsqd/core/message.c
    nsqd/core/data_file.c nsqd/core/dead_letter_name.c nsqd/core/policies.c nsqd/core/settings*.c
    nsqd/disk/diskqueue*.c nsqd/disk/dqname.c
    nsqd/log/log.c nsqd/log/log_append.c nsqd/log/log_format.c nsqd/log/log_io.c
    nsqd/log/log_loop.c nsqd/log/log_names.c nsqd/log/log_read.c nsqd/log/log_recover.c
    nsqd/log/log_remove.c nsqd/log/log_scan.c nsqd/log/log_segment.c nsqd/log/log_view.c
    nsqd/log/cursor*.c
    nsqd/http/*.c
    nsqd/queue/metadata.c
'''.split()

# FILE FUNCTION...: REASON. No input decides about these. "sometimes": they are reached by chance.
UNREACHED = '''
nsqd/client/client_v2.c client_v2_flush client_v2_send: sometimes, by a pump's thread
nsqd/client/client_v2.c client_v2_requeued_message: sometimes, if a pump was there before the REQ
nsqd/client/protocol_v2_send.c protocol_v2_send_heartbeat: sometimes, by a pump's thread
nsqd/client/protocol_v2.c look_at_pump not_settled: sometimes, two threads in one moment
nsqd/client/protocol_v2_pump.c give_up: there is no thread
nsqd/client/protocol_v2_pump.c protocol_v2_lend_thread: sometimes, when a step takes half a second
nsqd/client/tcp.c abort_client close_client: the daemon's exit
nsqd/client/tcp.c accept_failed: the listener fails
nsqd/client/tcp.c no_thread: there is no thread
nsqd/cluster/lookup.c ping: sometimes, after 15 seconds
nsqd/cluster/lookup.c reconnect retry_after: sometimes, while a peer is left alone
nsqd/cluster/lookup.c tell_everything_anew: thousands of topics
nsqd/core/tls_config.c tls_current_replace: SIGHUP; the targets make what it takes
nsqd/disk/diskqueue.c retire tick: sometimes, after two seconds of silence
nsqd/disk/diskqueue_dir.c cut_off: the disk fails
nsqd/disk/diskqueue_inspect.c no_ftruncate no_pwritev no_start no_sync: what a look must not come to
nsqd/disk/diskqueue_read.c shortened: another program cuts the file meanwhile
nsqd/disk/diskqueue_record.c found_nothing: as before, or the disk fails
nsqd/disk/diskqueue_write.c undo: the disk fails
nsqd/disk/diskqueue_write.c wait_for_obstacle: sometimes, when the writer is where the directory is
nsqd/http/http_conn.c http_conn_can_do_without http_conn_helps http_conn_refuse: there is no thread
nsqd/http/http_inspect.c respond_exiting: sometimes, when a channel goes in that moment
nsqd/http/http_metrics.c add_reason: the disk fails
nsqd/http/http_server.c lend_poller no_thread: there is no thread
nsqd/http/http_server.c evict_locked may_go no_descriptors refuse: thousands of connections
nsqd/http/http_server.c failed: the listener fails
nsqd/client/protocol_v2.c answer_put fail_behind go_on_behind put_in_thread suspend: topics with logs
nsqd/client/protocol_v2_put.c ended new_put protocol_v2_begin_put protocol_v2_free_put: topics with logs
nsqd/client/protocol_v2_put.c protocol_v2_keep_for_thread protocol_v2_put_aside: topics with logs
nsqd/client/protocol_v2_put.c protocol_v2_put_deadline protocol_v2_put_has_ended: topics with logs
nsqd/client/protocol_v2_put.c protocol_v2_take_from_keep: topics with logs
nsqd/core/settings_store.c settings_store_durability: the offline commands
nsqd/disk/diskqueue.c diskqueue_has_files diskqueue_is_empty: topics with logs
nsqd/disk/diskqueue_peek.c dq_shown_empty: topics with logs
nsqd/http/http.c find_holder: topics with logs
nsqd/log/cursor.c cursor_clock_set cursor_find_waiting cursor_finished_held: for channels
nsqd/log/cursor.c cursor_take_waiting shifted: for channels
nsqd/log/cursor_entries.c entries_take rise: for channels
nsqd/log/cursor_flush.c cursor_file_name: for topics
nsqd/log/log.c log_append_telling log_begin_append log_count_wanted log_get_held log_look: for topics
nsqd/log/log.c log_set_disk set_stored_locked wanted_of_locked: for topics
nsqd/log/log.c log_get_segment: for topics
nsqd/log/log_append.c leave_segment undo_write: the disk fails
nsqd/log/log_append.c log_probe try_to_write write_zeros: the disk fails
nsqd/log/log_io.c give_up: the disk fails
nsqd/log/log_loop.c is_idle retire: sometimes, after two seconds of silence
nsqd/log/log_loop.c do_tick log_begin_commit log_wake log_wake_running: for topics
nsqd/log/log_loop.c try_again: sometimes, once a second
nsqd/log/log_read.c log_reader_chan log_reader_few log_reader_rest: for pumps
nsqd/log/cursor_flush.c abandon: the disk fails
nsqd/queue/metadata.c load_logged: topics with logs
nsqd/queue/metadata.c nsqd_metadata_loop: a loop; the targets call what it calls
'''


def sources():
    files = [str(f.relative_to(ROOT)) for d in ('protocol', 'common', 'nsqd')
             for f in (ROOT / d).rglob('*.c')]
    found = {f for f in files if any(fnmatch.fnmatch(f, p) for p in PARSERS)}
    for p in PARSERS:
        if not any(fnmatch.fnmatch(f, p) for f in found):
            raise SystemExit(f'coverage.py: no file is {p}')
    return found


def excused():
    """{(file, function): reason}"""
    out = {}
    for line in UNREACHED.strip().splitlines():
        names, reason = line.split(': ', 1)
        path, *functions = names.split()
        for f in functions:
            out[path, f] = reason.strip()
    return out


def tool(*command):
    """What it prints. It speaks for itself where it fails."""
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f'coverage.py: {command[0]} {command[1]} has failed')
    return done.stdout


def counts(build, targets):
    """{(file, function): how often it was called}, over all targets."""
    merged = build / 'profile' / 'all.profdata'
    tool('llvm-profdata', 'merge', '-sparse', '-o', str(merged),
         *map(str, sorted((build / 'profile').glob('*.profraw'))))
    programs = [str(build / f'fuzz_{t}') for t in targets]
    objects = [a for p in programs[1:] for a in ('-object', p)]
    text = tool('llvm-cov', 'export', '-format=lcov', f'-instr-profile={merged}', programs[0],
                *objects)
    out = collections.Counter()
    path = None
    for line in text.splitlines():
        if line.startswith('SF:'):
            path = pathlib.Path(line[3:])
            path = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else None
        elif line.startswith('FNDA:') and path:
            n, name = line[5:].split(',', 1)
            # A static function has its file before its name.
            out[path, re.sub(r'^.*:', '', name)] += int(n)
    return out


def print_table(reached, build):
    files = collections.defaultdict(list)
    for (path, function), n in sorted(reached.items()):
        files[path].append((function, n))
    with (build / 'functions.txt').open('w') as f:
        for path, functions in files.items():
            for name, n in functions:
                print(f'{n:>14} {path} {name}', file=f)
    for path, functions in files.items():
        missed = [name for name, n in functions if n == 0]
        print(f'{len(functions) - len(missed):>4} of {len(functions):>3} functions  {path}'
              f'{"  not: " if missed else ""}{" ".join(missed)}')
    hit = sum(n > 0 for n in reached.values())
    print(f'{hit} of {len(reached)} functions in {len(files)} files that read from outside are '
          f'reached: {build}/functions.txt')


def report(build, targets):
    """Prints what was reached. False: something must be, and is not."""
    missing = [t for t in ('llvm-profdata', 'llvm-cov') if not shutil.which(t)]
    if missing:
        return subprocess.run([ROOT / 'test' / 'skip.sh', 'what the fuzz targets reach',
                               f'there is no {missing[0]}'], check=False).returncode == 0
    wanted, excuses = sources(), excused()
    reached = {k: n for k, n in counts(build, targets).items() if k[0] in wanted}
    print_table(reached, build)
    problems = [f'{path}: no target has this file'
                for path in sorted(wanted - {p for p, _ in reached})]
    for key, n in sorted(reached.items()):
        if n == 0 and key not in excuses:
            problems.append(f'{key[0]}: {key[1]} is reached by no target')
        elif n > 0 and not excuses.get(key, 'sometimes').startswith('sometimes'):
            problems.append(f'{key[0]}: {key[1]} is reached, and need not stand in UNREACHED')
    problems += [f'{p}: {f} stands in UNREACHED: each of protocol/ must be reached'
                 for p, f in sorted(excuses) if p.startswith('protocol/')]
    problems += [f'{p}: {f} stands in UNREACHED, and is not there'
                 for p, f in sorted(excuses) if (p, f) not in reached]
    print('\n'.join(problems), end='\n' if problems else '')
    return not problems


if __name__ == '__main__':
    where = pathlib.Path(sys.argv[1]).resolve()
    sys.exit(not report(where, sorted(f.name[len('fuzz_'):] for f in where.glob('fuzz_*')
                                      if f.is_file() and not f.suffix)))
