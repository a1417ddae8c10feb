"""What below.so and the runner share: struct record of below.c, as Python sees it."""

import errno
import mmap
import os
import re
import struct
import subprocess

N_PLACES, N_EVENTS, N_FDS, N_MODULES, N_KINDS = 1024, 64, 4096, 64, 96
EVENT = struct.Struct('<QQii16s208s')
AT_KINDS = N_MODULES * 64
AT_PHASE = AT_KINDS + N_KINDS * 8
AT_FAULTS = AT_PHASE + 16
AT_BAD = AT_FAULTS + N_EVENTS * EVENT.size
AT_OPENED = AT_BAD + N_EVENTS * EVENT.size
AT_PLACES = AT_OPENED + N_FDS * 8
SIZE = AT_PLACES + N_PLACES * 16

# The phases of a run. Each event says in which it was.
STARTING, WORKING, ENDING = range(3)


def kinds():
    """The calls of KINDS in below.c, in its order."""
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, 'below.c'), encoding='utf-8') as f:
        text = re.search(r'^#define KINDS\(X\)(.*?[^\\])$', f.read(), re.M | re.S)[1]
    return re.findall(r'X\((\w+)\)', text)


KINDS = kinds()


def text(raw):
    return raw.split(b'\0', 1)[0].decode(errors='replace')


class Place:
    """Where a call comes from: KIND@MODULE.OFFSET, in BELOW's way to say it."""

    def __init__(self, key, modules):
        self.key = key
        self.kind = KINDS[(key >> 56) - 1]
        self.module = key >> 48 & 0xff
        self.offset = key & ((1 << 48) - 1)
        self.module_name = modules[self.module] if self.module < len(modules) else ''

    @classmethod
    def parse(cls, spec, modules):
        kind, at = spec.split('@')
        module, offset = at.split('.')
        return cls(KINDS.index(kind) + 1 << 56 | int(module) << 48 | int(offset, 16), modules)

    @property
    def spec(self):
        return '%s@%d.%x' % (self.kind, self.module, self.offset)


class Event:
    def __init__(self, raw, modules):
        key, self.nth, self.phase, self.code, thread, what = EVENT.unpack(raw)
        self.place = Place(key, modules)
        self.thread, self.what = text(thread), text(what)

    def __str__(self):
        return '%s nr %d in thread %s: %s' % (
            self.place.spec, self.nth, self.thread, self.what)

    @property
    def ends_log(self):
        """It may have taken the last lines of the log, such as the good-bye."""
        return self.phase == ENDING and self.thread == 'log' and \
            self.code not in (0, errno.EINTR)   # short, slow or made again: nothing is lost


class Record:
    def __init__(self, path):
        self.path = path
        with open(path, 'w+b') as f:
            f.truncate(SIZE)
            self.map = mmap.mmap(f.fileno(), SIZE)

    def close(self):
        self.map.close()

    @property
    def environment(self):
        return {'BELOW_RECORD': self.path}

    def set_phase(self, phase):
        struct.pack_into('<i', self.map, AT_PHASE, phase)

    @property
    def modules(self):
        names = [text(self.map[i * 64:i * 64 + 64]) for i in range(N_MODULES)]
        return [''] + names[1:]

    def by_kind(self):
        """{kind: calls}"""
        counts = struct.unpack_from('<%dQ' % N_KINDS, self.map, AT_KINDS)
        return {kind: n for kind, n in zip(KINDS, counts) if n}

    def by_place(self):
        """[(Place, calls)]"""
        modules, found = self.modules, []
        for i in range(N_PLACES):
            key, count = struct.unpack_from('<QQ', self.map, AT_PLACES + 16 * i)
            if key:
                found.append((Place(key, modules), count))
        return sorted(found, key=lambda f: (f[0].key >> 56, f[0].module, f[0].offset))

    def _events(self, at):
        modules = self.modules
        raw = [self.map[at + i * EVENT.size:at + (i + 1) * EVENT.size]
               for i in range(N_EVENTS)]
        return [Event(r, modules) for r in raw if r[:8] != bytes(8)]

    def faults(self):
        """Calls that were made to fail, to be short or to wait."""
        return self._events(AT_FAULTS)

    def bad(self):
        """Calls with a descriptor that was not open."""
        return self._events(AT_BAD)

    def left_open(self):
        """Where the descriptors were opened that are still open, but for those of libraries."""
        modules = self.modules
        keys = struct.unpack_from('<%dQ' % N_FDS, self.map, AT_OPENED)
        places = [Place(key, modules) for key in keys if key]
        return [place for place in places if place.module == 0]


class Names:
    """Offsets of a program as names of functions, by addr2line."""

    def __init__(self, program):
        self.program = program
        self.known = {}

    def look_up(self, places):
        """All at once: a process for each would take a minute."""
        offsets = sorted({p.offset for p in places if p.module == 0} - set(self.known))
        if not offsets:
            return
        out = subprocess.run(
            ['addr2line', '-afie', self.program] + ['0x%x' % o for o in offsets],
            capture_output=True, text=True, check=True).stdout.splitlines()
        current = None
        for i, line in enumerate(out):
            if line.startswith('0x'):
                current = self.known.setdefault(int(line, 16), [])
                first = i + 1
            elif (i - first) % 2 == 0:
                current.append(re.sub(r'\..*', '', line))

    def functions(self, place):
        """The function that makes the call, and those into which it is inlined."""
        if place.module != 0:
            return [place.module_name.split('.so')[0]]
        self.look_up([place])
        return self.known[place.offset]

    def name(self, place):
        return '%s in %s' % (place.kind, ' < '.join(self.functions(place)))
