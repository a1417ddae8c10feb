"""Which calls may fail how, and which failures leave no line in the log, each with its reason."""

import errno
import os
import re

# What the manual pages (section 2) name, and this kernel can do to the daemon. `short` moves half
# of the bytes; `slow` is a device or a scheduler that takes its time. accept4 and recv have no
# EAGAIN: that says that nothing is there, and what is there would never be told of again (EPOLLET).
# open, close and flock have no EINTR: no signal has a handler (nsqd/core/signals.h).
SLOW = 'slow=150'
FAULTS = {
    'open': ['EMFILE', 'EIO', 'ENOSPC', 'ENFILE', 'ENOMEM', 'EACCES', SLOW],
    'fopen': ['EMFILE', 'ENOMEM'],
    'openat': ['EMFILE', 'EIO', 'ENOSPC', 'ENFILE', 'ENOMEM', 'EACCES', SLOW],
    'opendir': ['EMFILE', 'EIO', 'ENOMEM', 'EACCES'],
    'fdopendir': ['ENOMEM'],
    'readdir': ['EIO'],
    'getdents64': ['EIO'],
    'close': ['EIO', 'ENOSPC'],
    'read': ['EIO', 'EINTR', 'short', SLOW],
    'pread': ['EIO', 'EINTR', 'short', SLOW],
    'write': ['ENOSPC', 'EIO', 'EINTR', 'short', SLOW],
    'pwrite': ['ENOSPC', 'EIO', 'short', 'EINTR', SLOW],
    'pwritev': ['ENOSPC', 'EIO', 'short', 'EINTR', 'EDQUOT', SLOW],
    'getdelim': ['EIO'],
    'fgets': ['EIO'],
    'fsync': ['EIO', 'ENOSPC', SLOW],
    'fdatasync': ['EIO', 'ENOSPC', SLOW],
    'ftruncate': ['EIO', 'EINTR', 'ENOSPC'],
    'fallocate': ['ENOSPC', 'EOPNOTSUPP'],
    'mkdirat': ['EIO', 'ENOSPC', 'EDQUOT'],
    'rename': ['EIO', 'ENOSPC', SLOW],
    'renameat': ['EIO', 'ENOSPC', SLOW],
    'unlinkat': ['EIO', 'EACCES', SLOW],
    'unlink': ['EIO', 'EACCES', SLOW],
    'link': ['EIO', 'ENOSPC'],
    'flock': ['EAGAIN', 'ENOLCK'],
    'lseek': ['EINVAL'],
    'stat': ['EIO', 'ENOMEM', 'EACCES'],
    'fstat': ['EIO', 'ENOMEM'],
    'lstat': ['EIO', 'ENOMEM', 'EACCES'],
    'readlink': ['EIO', 'ENOMEM'],
    'fcntl': ['EMFILE'],
    'mmap': ['ENOMEM'],
    'madvise': ['ENOMEM', 'EINVAL', 'EAGAIN'],
    'pthread_create': ['EAGAIN', SLOW],
    'futex': ['EINTR', 'EAGAIN', SLOW],
    'nanosleep': ['EINTR'],
    'socket': ['EMFILE', 'ENFILE', 'ENOBUFS', 'EAFNOSUPPORT'],
    'bind': ['EADDRINUSE', 'EACCES'],
    'listen': ['EADDRINUSE'],
    'accept4': ['EMFILE', 'ECONNABORTED', 'EINTR', 'ENFILE', 'ENOMEM', 'ENOBUFS',
                'EPERM', SLOW],
    'connect': ['ECONNREFUSED', 'ETIMEDOUT', 'EINTR', 'EADDRNOTAVAIL'],
    'shutdown': ['ENOTCONN'],
    'setsockopt': ['ENOMEM', 'EPERM'],
    'getsockopt': ['ENOBUFS'],
    'getsockname': ['ENOBUFS'],
    'send': ['ECONNRESET', 'EPIPE', 'EAGAIN', 'EINTR', 'ENOBUFS', 'short', SLOW],
    'sendmsg': ['ECONNRESET', 'EPIPE', 'EAGAIN', 'EINTR', 'ENOMEM', 'short', SLOW],
    'recv': ['ECONNRESET', 'EINTR', 'ETIMEDOUT', 'ENOMEM', 'short', SLOW],
    'poll': ['EINTR', 'ENOMEM'],
    'ppoll': ['EINTR', 'ENOMEM'],
    'epoll_create1': ['EMFILE', 'ENFILE', 'ENOMEM'],
    'epoll_ctl': ['ENOMEM', 'ENOSPC', SLOW],
    'epoll_wait': ['EINTR', SLOW],
    'eventfd': ['EMFILE', 'ENFILE', 'ENOMEM'],
    'eventfd_read': ['EAGAIN'],
    'eventfd_write': [SLOW],
    'timerfd_create': ['EMFILE', 'ENFILE', 'ENOMEM'],
    'timerfd_settime': [SLOW],
    'getrandom': ['EINTR', 'ENOSYS', 'short'],
    'getaddrinfo': ['EAI_AGAIN', 'EAI_MEMORY', 'EMFILE', SLOW],
    'gethostname': [],
    'getservbyname_r': ['ENOMEM'],
    'getrlimit': [],
    'setrlimit': ['EPERM'],
    'getrusage': [],
    'prctl': ['EINVAL'],
    'sched_getaffinity': ['EINVAL'],
}

# Kinds that the workload does not come to. All others must be met in the recorded run.
UNMET = {
    'getdelim': '/etc/services, for a port with a name; test_addresses.py',
    'getservbyname_r': 'likewise',
    'getdents64': 'the threads of a daemon that SIGQUIT ends; test_exit.py',
    'link': 'another process has bound its socket between two calls',
    'readlink': 'the names of functions in those stacks; test_exit.py',
}

LOG = 'only topics with a log have it: `make below-durable`'
UNMET_WITHOUT_LOGS = dict.fromkeys(
    ('openat', 'fdopendir', 'mkdirat', 'renameat', 'unlinkat', 'fallocate'), LOG)
UNMET_WITH_LOGS = {'lseek': 'only disk queues have holes'}


def unmet():
    """Of this run."""
    return {**UNMET, **(UNMET_WITH_LOGS if os.environ.get('DURABILITY') else UNMET_WITHOUT_LOGS)}


# The functions of libc that are system calls, or end in some. What of these the daemon imports must
# be defined by below.so under the same name, or be in NOT_TRIED with a reason. A name that is not
# plain (unknown_calls) stands for the plain one here.
SYSTEM_CALLS = set('''
    accept accept4 access bind chdir chmod chown clock_nanosleep close closedir connect
    copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait
    epoll_wait eventfd eventfd_read eventfd_write execve faccessat fallocate fchmod fchown
    fclose fcntl fdatasync fdopen fdopendir fflush fgets flock fopen fork fputs fread fstat
    fstatat fstatvfs fsync ftruncate futimens fwrite getaddrinfo getcwd getdelim getdents64
    gethostbyname gethostname getifaddrs if_indextoname
    if_nametoindex getline getnameinfo getpeername getrandom getrlimit
    getrusage getservbyname_r getsockname getsockopt ioctl kill lchown link linkat listen lseek
    lstat madvise mkdir mkdirat mkostemp mkstemp mlock mmap mprotect mremap msync munmap
    nanosleep open openat opendir pause pipe pipe2 poll posix_fadvise posix_fallocate ppoll
    prctl pread preadv prlimit pselect pthread_create pthread_setname_np pwrite pwritev raise
    read readdir readlink readlinkat readv recv recvfrom recvmmsg recvmsg remove rename renameat
    renameat2 rmdir sched_getaffinity sched_setaffinity select send sendfile sendmmsg sendmsg
    sendto setrlimit setsockopt shutdown signalfd sigwait sigwaitinfo sigtimedwait socket
    socketpair splice stat statfs statvfs statx symlink sync sync_file_range syscall sysconf
    timerfd_create timerfd_gettime timerfd_settime truncate unlink unlinkat usleep utimensat
    vfork wait waitpid write writev'''.split())
NOT_TRIED = {
    'access': 'only --check-config asks it, in a process that is no daemon',
    'closedir': 'after it nothing depends on the directory',
    'fclose': 'only files that were read',
    'fstatat': 'a file that cannot be looked at is left out of GET /metrics',
    'if_indextoname': 'the zone of an address is shown as a number without it',
    'if_nametoindex': 'an address with a zone is refused then, as with a wrong name',
    'kill': 'to the process itself',
    'raise': 'likewise',
    'pause': 'the last call of a process that ends',
    'pthread_setname_np': 'the name is for people',
    'sendto': 'to a service manager, which the workload does not have; test_sd_daemon.c',
    'sigwait': 'fails only with signals that are none',
    'statvfs': 'then GET /metrics does not know the size of the file system',
    'sysconf': 'no system call for what is asked',
}

# (kind, function, action): failures that cannot be on Linux.
IMPOSSIBLE = [
    ('epoll_ctl', 'leave_epoll', '*', 'EPOLL_CTL_DEL of a descriptor that is in it needs nothing'),
    ('fcntl', 'open_standard_descriptors', '*', 'F_GETFD only asks whether it is a descriptor'),
    ('fcntl', 'bind_socket', '*', 'F_GETFL and F_SETFL of a socket need nothing'),
    ('connect', 'is_abandoned', 'EINTR', 'a unix socket with O_NONBLOCK does not wait'),
    ('connect', 'connect_first', 'EINTR', 'a socket of UDP sends nothing to connect'),
    ('read', 'on_timer', '*', 'a timerfd gives its eight bytes, or EAGAIN'),
    ('recv', 'sock_read', 'short', 'less than was asked for is all that there is: epoll(7)'),
]

# (kind, function): without this memory the daemon cannot go on; it ends, with these words.
ENDS = {
    ('mmap', 'new_region_locked'): 'out of memory for messages',
    ('mmap', 'add_region_locked'): 'out of memory for ',
}

# (kind, function, action): why the failure leaves no line with its name. '*' is any. In place of a
# function there may be the thread that makes the call, such as 'thread poller'.
QUIET = [
    # made again by the function that meets it
    ('read', '*', 'EINTR', 'made again'),
    ('pread', '*', 'EINTR', 'made again'),
    ('write', '*', 'EINTR', 'made again'),
    ('pwrite', '*', 'EINTR', 'made again'),
    ('pwritev', '*', 'EINTR', 'made again'),
    ('ftruncate', '*', 'EINTR', 'made again'),
    ('accept4', '*', 'EINTR', 'made again with the next turn of the poller'),
    ('send', '*', 'EINTR', 'made again'),
    ('sendmsg', '*', 'EINTR', 'made again'),
    ('recv', '*', 'EINTR', 'made again'),
    ('poll', '*', 'EINTR', 'made again'),
    ('ppoll', '*', 'EINTR', 'made again'),
    ('epoll_wait', '*', 'EINTR', 'made again'),
    ('nanosleep', '*', 'EINTR', 'the writer of the log looks at its lines sooner'),
    ('futex', '*', 'EINTR', 'the thread looks at its word again'),
    ('futex', '*', 'EAGAIN', 'the word has changed: the thread looks at it again'),
    ('send', '*', 'EAGAIN', 'the caller waits until there is room, and tries again'),
    ('sendmsg', '*', 'EAGAIN', 'likewise'),
    ('eventfd_read', '*', 'EAGAIN', 'the poller finds it readable again'),
    ('pthread_create', 'thread poller', 'EAGAIN', 'the connection waits for a thread that is kept; '
     'if none comes, the line says that the last threads are for topics'),
    # libraries
    ('*', 'libcurl-gnutls', '*', 'the line has the words of libcurl instead'),
    ('*', 'libgnutls', '*', 'the line has the words of GnuTLS instead'),
    # the log itself
    ('poll', 'wait_writable', '*', 'made again after 100 ms; the lines wait'),
    # connections, whose failures stock does not log
    ('recv', 'sock_read', '*', 'a connection that fails is over; for HTTP without a line, as in '
     'stock'),
    ('recv', 'stream_sock_discard', '*', 'the connection is closed next'),
    ('sendmsg', 'send_now', '*', 'a connection that fails is over, as above'),
    ('ppoll', 'wait_for_room', '*', 'likewise'),
    ('shutdown', '*', '*', 'the connection is closed next'),
    ('setsockopt', 'set_socket_options', '*', 'the connections are only slower without'),
    ('setsockopt', 'bind_socket', '*', 'without SO_REUSEADDR bind says what is in the way'),
    ('setsockopt', 'listen_wildcard', '*', 'the wildcard of IPv6 alone, then'),
    ('setsockopt', 'set_timeout', '*', 'a connection that fails is over, as above'),
    ('epoll_ctl', 'enter_epoll', '*', 'the poller looks again after 20 ms'),
    ('accept4', 'acceptor_step', 'EMFILE', 'HTTP closes an idle connection of its own first'),
    ('accept4', 'acceptor_step', 'ENFILE', 'likewise'),
    # nothing was written to the descriptor, or it was synced before
    ('close', 'read_file', '*', 'only read from'),
    ('close', 'proc_read_file', '*', 'only read from'),
    ('close', 'toml_parse_file', '*', 'only read from'),
    ('close', 'read_pem', '*', 'only read from'),
    ('close', 'read_text', '*', 'only read from'),
    ('close', 'data_file_read', '*', 'only read from'),
    ('close', 'close_fd', '*', 'a record has a checksum; or the file is removed next'),
    ('close', 'dq_block_close', '*', 'only read from'),
    ('close', 'dq_sync_dir', '*', 'a directory'),
    ('close', 'log_segment_close', '*', 'what must be on the disk was synced before'),
    ('close', 'repair', '*', 'likewise'),
    ('close', 'make_head', '*', 'likewise'),
    ('close', 'close_file', '*', 'a cursor is synced where it must be; a frame has a checksum'),
    ('close', 'log_scan_close', '*', 'only read from'),
    ('close', 'size_of', '*', 'only read from'),
    ('close', 'remove_dir', '*', 'a directory'),
    ('close', 'free_log', '*', 'a directory'),
    ('fallocate', '*', '*', 'space that is asked for ahead; without it a sync takes longer'),
    ('ftruncate', 'real_truncate', '*', 'that space, given back; a torn end that stays is left '
     'behind by the next segment'),
    ('unlinkat', 'cursor_file_open', '*', 'a .tmp file, which means nothing'),
    ('unlinkat', 'cursor_file_remove', '*', 'likewise; the cursor itself is told of'),
    ('close', 'close_queues', '*', 'a directory'),
    ('close', 'sock_free', '*', 'a socket'),
    ('close', 'tcp_listener_close', '*', 'a socket'),
    ('stat', 'dq_file_size', '*', 'the start asks again at once, and fails if that fails'),
    ('close', 'lookup_peer_close', '*', 'a socket'),
    ('close', 'send_to', '*', 'a socket'),
    ('close', 'statsd_loop', '*', 'a socket'),
    ('close', 'netpoll_free', '*', 'no file'),
    ('close', 'context_destroy', '*', 'no file'),
    # the file of a unix socket
    ('connect', 'is_abandoned', '*', 'it may be in use, as bind says'),
    ('lstat', 'remove_abandoned', '*', 'it was one of ours a moment before'),
    ('close', 'is_abandoned', '*', 'a socket'),
    ('unlink', 'remove_abandoned', '*', 'a file that nobody uses is left'),
    ('unlink', 'tcp_listener_close', '*', 'the next start removes it'),
    ('flock', 'dirlock_unlock', '*', 'the end of the process unlocks, too'),
    # best effort, each with a way to do without
    ('madvise', '*', '*', 'advice'),
    ('prctl', '*', '*', 'older kernels have no such thing'),
    ('sched_getaffinity', '*', '*', 'as many processors as are usual'),
    ('getrandom', 'rand_seed', '*', 'clocks and addresses instead'),
    ('lseek', 'skip_hole', '*', 'the zeros are read instead'),
    ('setrlimit', 'rlimit_raise_nofile', '*', 'the limit stays as it is'),
    # what /debug/, /stats and /metrics show of the process
    ('open', 'proc_read_file', '*', '/debug/ shows what can be read'),
    ('read', 'proc_read_file', '*', '/debug/ shows what can be read'),
    ('opendir', 'proc_list_numbers', '*', '/debug/ shows what can be read'),
    ('readdir', 'proc_list_numbers', '*', '/debug/ shows what can be read'),
    ('stat', 'count_fds', '*', '/metrics leaves the number out'),
    ('openat', 'disk_usage_get', '*', '/metrics leaves the files of a log out'),
    ('fdopendir', 'disk_usage_get', '*', '/metrics leaves the files of a log out'),
    ('opendir', 'disk_usage_get', '*', '/metrics leaves the number out'),
    ('readdir', 'disk_usage_get', '*', '/metrics counts those before'),
]

# (kind, function, action): why it may leave no line, if no client notices anything either.
HEALED = [
    ('pthread_create', 'create', 'EAGAIN', 'a thread that is kept since does the work'),
]

GETADDRINFO = {'EAI_AGAIN': 'temporary failure in name resolution',
               'EAI_MEMORY': 'memory allocation failure'}


def find(table, kind, functions, action):
    """The reason in the first row that fits, or None."""
    return next((why for k, f, a, why in table
                 if k in ('*', kind) and (f == '*' or f in functions) and a in ('*', action)), None)


def is_harmless(kind, action):
    """Nobody is to notice it: the call is made again, or goes on, or is only late."""
    return action in ('EINTR', 'short') or action.startswith('slow') or (
        action == 'EAGAIN' and kind in ('send', 'sendmsg', 'eventfd_read', 'futex', 'madvise'))


def plain(name):
    """The name without what _FORTIFY_SOURCE, large files or a header of libc have added."""
    bare = re.sub(r'^__(?:isoc\d+_)?', '', name)
    if bare != name:
        bare = re.sub(r'_(?:chk|2)$', '', bare)
    bare = re.sub(r'64(_2)?$', '', bare)
    return bare if bare in SYSTEM_CALLS else name


def unknown_calls(imports, defined):
    """System calls that the daemon makes, and below.so does not stand before."""
    return sorted(name for name in set(imports) - set(defined) - set(NOT_TRIED)
                  if plain(name) in SYSTEM_CALLS)


def applies(kind, functions, action):
    """Can this call fail so?"""
    if action.startswith('slow'):
        return True
    return not find(IMPOSSIBLE, kind, functions, action)


def why_quiet(kind, functions, action):
    """The reason why no line is expected, or None."""
    if action == 'short' or action.startswith('slow'):
        return 'the call goes well'
    return find(QUIET, kind, functions, action)


def why_healed(kind, functions, action):
    """The reason why no line is expected where nobody notices the failure, or None."""
    return find(HEALED, kind, functions, action)


def way_to_end(kind, functions):
    """The words with which the daemon may end, or None."""
    return next((words for (k, f), words in ENDS.items() if k == kind and f in functions), None)


def message(action):
    """What a line says of it: strerror in lower case, as Go does."""
    if action in GETADDRINFO:
        return GETADDRINFO[action]
    return os.strerror(getattr(errno, action)).lower()
