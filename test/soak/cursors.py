"""When the daemon of a soak has written its channels' cursors, as far as that can be seen from outside."""

import os
import threading
import time

from journal import now

# Of the writes that were seen, the last ones are no proof that what came before them is in the
# file: an event may go into two files, one after the other, and the last write may be torn.
LATE = 5
PAUSE = 0.01


class Cursors(threading.Thread):
    """Looks at the cursors' files all the time, and notes when each was written."""

    def __init__(self, data_path):
        super().__init__(name='cursors', daemon=True)
        self.data_path = data_path
        self.lock = threading.Lock()
        self.writes = {}        # (topic, channel): [times], of the monotonic clock, the last LATE
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(PAUSE):
            self.look()

    def look(self):
        with self.lock:
            for topic, name, path in self._files():
                try:
                    # It is a clock tick older than the write itself: too early does no harm.
                    at = os.stat(path).st_mtime - time.time() + now()
                except FileNotFoundError:
                    continue
                times = self.writes.setdefault((topic, name[:-len('.cursor')]), [])
                if not times or at - times[-1] > 0.001:
                    times.append(at)
                    del times[:-LATE]

    def _files(self):
        for entry in self._list(self.data_path):
            if entry.name.endswith('.log'):
                for file in self._list(entry.path):
                    if file.name.endswith('.cursor') and not file.name.startswith(':'):
                        yield entry.name[:-len('.log')], file.name, file.path

    @staticmethod
    def _list(path):
        try:
            with os.scandir(path) as entries:
                return list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def end_of_life(self):
        """The daemon is dead: {(topic, channel): what was heard before is in the file}."""
        self.look()
        with self.lock:
            written = {key: times[0] for key, times in self.writes.items() if len(times) == LATE}
            self.writes = {}
        return written
