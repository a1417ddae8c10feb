"""The rows of the benchmark: what is run, against which settings.

`load` and `prefill` are arguments of nsq_bench. Totals are made for runs of
two to four seconds on a small machine, and are the same for both daemons, so
that their memory can be compared. A row belongs to one group; `ROW=` takes
the name of a row, a group, `all`, or several of them with commas.
"""

from dataclasses import dataclass, field, replace


@dataclass
class Row:
    name: str
    group: str
    title: str
    load: list
    total: int = 0
    prefill: list = field(default_factory=list)
    mem_queue: int = -1  # -1: enough for all messages
    kind: str = "rate"  # or another table of report.py
    flags: list = field(default_factory=list)  # of the daemon
    side_flags: dict = field(default_factory=dict)  # and of one of them: of "ours", "stock"
    config: str = ""  # the daemon's config file; stock ignores the tables that it does not know
    certificate: str = "rsa"  # with TLS; or p256
    # What /stats must say of each channel, per message; elsewhere nothing may be left.
    counts: dict = field(default_factory=dict)

    def of(self, side, scale):
        """The row as one daemon has it: with its flags; and the seconds that it takes."""
        load = list(self.load)
        if "--seconds" in load and self.kind != "idle":
            at = load.index("--seconds") + 1
            load[at] = str(float(load[at]) * scale)
        return replace(self, load=load, flags=[*self.flags, *self.side_flags.get(side, [])])

    def tls(self):
        return "--tls" in self.load

    def value(self, option, default):
        """Of an option of the generator that is a number."""
        return int(self.load[self.load.index(option) + 1]) if option in self.load else default

    def topics(self):
        return self.value("--topics", 1)

    def stored_topics(self):
        """Names of those that the daemon finds when it starts. Timeouts: a new channel is not
        looked at before the daemon counts its channels again, every five seconds."""
        if self.kind == "timeouts":
            return ["bench"]
        return [f"stored{i}" for i in range(self.value("--stored-topics", 0))]

    def channels(self):
        """How many each topic has in the end."""
        if self.load[0] in ("pub", "mpub", "http") or self.kind == "churn":
            return 0
        return self.value("--channels", 1)

    def for_null_server(self):
        """Whether a server that does nothing can answer it: it knows no layers, keeps nothing."""
        return (self.kind in ("rate", "latency", "many", "churn") and not self.tls()
                and not {"--snappy", "--deflate", "--requeue", "--touch"} & set(self.load))

    def memory_queue(self, total):
        return self.mem_queue if self.mem_queue >= 0 else total + 10000


def _rate(name, group, title, total, load, prefill="", mem_queue=-1, counts=None, config=""):
    return Row(name, group, title, load.split(), total, prefill.split(), mem_queue,
               counts=counts or {}, config=config)


def _latency(name, title, rate, more):
    load = f"latency --rate {rate} {more}".split()
    return Row(name, "latency", title, load, total=rate * 3, kind="latency")


def _many(n, name, title, more):
    """Ten messages a second on each of n topics."""
    rate = 10 * n
    load = f"latency --topics {n} --rate {rate} --threads 1 {more}".split()
    return Row(f"many-{n}{name}", "many", f"{n} topics, {rate:,}/s in all, {title}", load,
               total=rate * 4, mem_queue=10000, kind="many")


def _idle(n):
    load = f"idle --conns {n} --rdy 1 --seconds 5".split()
    return Row(f"idle-{n}", "idle", f"{n:,} idle connections, half of them subscribed", load,
               kind="idle")


def _churn(name, title, total, load, certificate="rsa", mem_queue=-1):
    """--conns is how many connections there are at a time."""
    return Row(name, "churn", title, f"{load} --conns 8".split(), total, mem_queue=mem_queue,
               kind="churn", certificate=certificate)


def _crowd(name, title, n, load, kind):
    """A crowd has its size whatever the scale; each gets a message."""
    return Row(name, "churn", title, f"{load} --conns {n}".split(), n, kind=kind)


def _cores(n):
    """One connection count, with the daemon on 4, 2 and 1 cores, as far as there are so many."""
    return Row(f"cores-{n}", "cores", f"PUB, {n:,} connection{'s' if n > 1 else ''}, 1 outstanding",
               f"pub --conns {n} --outstanding 1".split(), 80_000 if n == 1 else 200_000,
               kind="cores")


def _log(name, title, total, load, durability, prefill="", ours=(), stock=(), mem_queue=-1,
         counts=None):
    """Ours with a log, and stock with what it has. Without a total --seconds says how long."""
    return Row(name, "log", title, load.split(), total, prefill.split(), mem_queue, kind="log",
               side_flags={"ours": [f"--durability={durability}", *ours], "stock": list(stock)},
               counts=counts or {})


def _peers(name, title, load, ours, stock=()):
    """The other servers are those that peers.py has for this row."""
    return Row(name, "peers", title, f"{load} --ok-times --seconds 3".split(), kind="peers",
               mem_queue=2_000_000,
               side_flags={"ours": [f"--durability={ours}"], "stock": list(stock)})


_PUB = "pub --conns 2 --outstanding 64"
_PUB_50 = "pub --conns 50 --outstanding 1"
_SYNC_EACH = ("--mem-queue-size=0", "--sync-every=1")
_FILL = "mpub --create --conns 2 --outstanding 2"
_SUB = "sub --subs 1 --rdy 2500"
_MPUB = "mpub --conns 2 --outstanding 2 --batch 200"
_BODY = "pubsub --conns 2 --subs 2"
_PUBSUB = "pubsub --conns 2 --outstanding 64 --subs 2"
# Settings that no message of a run comes near: what they cost is the looking.
_SETTINGS = """[[policy]]
match = "*"
max_depth = 1000000000
message_ttl = "24h"
max_attempts = 100
"""

ROWS = [
    _rate("pub-1", "memory", "PUB, 2 connections, 1 outstanding", 200_000,
          "pub --conns 2 --outstanding 1"),
    _rate("pub-64", "memory", "PUB, 2 connections, 64 outstanding", 800_000,
          "pub --conns 2 --outstanding 64"),
    _rate("mpub-200", "memory", "MPUB of 200, 2 connections, 2 outstanding", 3_000_000,
          "mpub --conns 2 --outstanding 2 --batch 200"),
    _rate("sub-1", "memory", "SUB, 1 connection, RDY 2500", 2_000_000,
          _SUB, _FILL),
    _rate("sub-4", "memory", "SUB, 4 connections, RDY 2500", 2_000_000,
          "sub --subs 4 --rdy 2500", _FILL),
    _rate("pubsub", "memory", "PUB x2 (64 outstanding) and SUB x2 at once", 800_000,
          _PUBSUB),
    _rate("mpubsub", "memory", "MPUB x2 and SUB x2 at once", 2_000_000,
          "mpubsub --conns 2 --outstanding 2 --subs 2"),
    _rate("fanout-8", "memory", "MPUB to 1 topic with 8 channels, all consumed", 250_000,
          "fanout --conns 2 --outstanding 2 --channels 8 --subs 1"),
    _rate("req", "memory", "SUB, 1 connection, RDY 2500, each message REQ 0 once", 800_000,
          f"{_SUB} --requeue", _FILL, counts={"requeue_count": 1}),
    _rate("touch", "memory", "SUB, 1 connection, RDY 2500, each message TOUCH once", 1_000_000,
          f"{_SUB} --touch", _FILL),
    _rate("dpub-64", "memory", "DPUB, ten minutes, 2 connections, 64 outstanding", 400_000,
          "dpub --create --conns 2 --outstanding 64 --defer 600000", counts={"deferred_count": 1}),
    # Stock knows nothing of logs, and keeps each message in memory.
    _rate("dpub-log", "memory", "the same 1,000,000 times, kept through kill -9 (`durability`)",
          1_000_000, "dpub --create --conns 2 --outstanding 64 --defer 600000",
          counts={"deferred_count": 1}, config='durability = "process"\n'),
    _rate("http-16", "memory", "HTTP POST /pub, keep-alive, 16 connections", 120_000,
          "http --conns 16"),
    _rate("disk-pub", "disk", "mem-queue-size=0: PUB, 2 connections, 64 outstanding", 150_000,
          "pub --conns 2 --outstanding 64", mem_queue=0),
    _rate("disk-mpub", "disk", "mem-queue-size=0: MPUB of 200, 2 connections", 600_000,
          "mpub --conns 2 --outstanding 2 --batch 200", mem_queue=0),
    _rate("disk-sub", "disk", "mem-queue-size=0: SUB, 1 connection", 300_000,
          "sub --subs 1 --rdy 2500", _FILL, mem_queue=0),
    _rate("sub-tls", "transport", "SUB over TLS, 1 connection, RDY 2500", 2_000_000,
          f"{_SUB} --tls", _FILL),
    _rate("sub-snappy", "transport", "SUB over snappy, 1 connection, RDY 2500", 2_000_000,
          f"{_SUB} --snappy", _FILL),
    _rate("sub-deflate", "transport", "SUB over deflate, 1 connection, RDY 2500", 500_000,
          f"{_SUB} --deflate", _FILL),
    _rate("sub-tls-snappy", "transport", "SUB over TLS and snappy, 1 connection, RDY 2500",
          2_000_000, f"{_SUB} --tls --snappy", _FILL),
    _rate("mpub-tls", "transport", "MPUB of 200 over TLS, 2 connections, 2 outstanding",
          3_000_000, f"{_MPUB} --tls"),
    _rate("mpub-snappy", "transport", "MPUB of 200 over snappy, 2 connections, 2 outstanding",
          3_000_000, f"{_MPUB} --snappy"),
    _rate("mpub-deflate", "transport", "MPUB of 200 over deflate, 2 connections, 2 outstanding",
          1_500_000, f"{_MPUB} --deflate"),
    _rate("mpub-tls-snappy", "transport",
          "MPUB of 200 over TLS and snappy, 2 connections, 2 outstanding", 3_000_000,
          f"{_MPUB} --tls --snappy"),
    _rate("mpubsub-tls-snappy", "transport", "MPUB x2 and SUB x2 at once over TLS and snappy",
          1_000_000, "mpubsub --conns 2 --outstanding 2 --subs 2 --tls --snappy"),
    _rate("pubsub-set", "settings", "pubsub with max_depth, message_ttl and max_attempts", 800_000,
          _PUBSUB, config=_SETTINGS),
    _rate("sub-1-set", "settings", "sub-1 with max_depth, message_ttl and max_attempts",
          2_000_000, _SUB, _FILL, config=_SETTINGS),
    _rate("body-20", "body", "PUB and SUB, bodies of 20 B", 800_000,
          f"{_BODY} --outstanding 64 --size 20"),
    _rate("body-200", "body", "PUB and SUB, bodies of 200 B", 800_000,
          f"{_BODY} --outstanding 64 --size 200"),
    _rate("body-4k", "body", "PUB and SUB, bodies of 4 KB", 200_000,
          f"{_BODY} --outstanding 64 --size 4096"),
    _rate("body-64k", "body", "PUB and SUB, bodies of 64 KB", 25_000,
          f"{_BODY} --outstanding 16 --size 65536"),
    _rate("body-1m", "body", "PUB and SUB, bodies of 1 MB", 2_000,
          f"{_BODY} --outstanding 2 --size 1048576 --rdy 8"),
    _latency("latency-1k", "1,000/s, output not buffered", 1000, "--output-buffer-size -1"),
    _latency("latency-1k-rdy1", "1,000/s, RDY 1", 1000, "--rdy 1"),
    _latency("latency-20k", "20,000/s, output not buffered", 20000, "--output-buffer-size -1"),
    *[_many(n, *setting) for n in (200, 50) for setting in (
        ("", "RDY 10", "--rdy 10"), ("-rdy1", "RDY 1", "--rdy 1"),
        ("-unbuffered", "RDY 10, output not buffered", "--rdy 10 --output-buffer-size -1"))],
    Row("channels-100", "many", "1 topic, 100/s, 100 channels with one consumer each, RDY 1",
        "latency --channels 100 --rate 100 --threads 1 --pollers 1 --rdy 1".split(), total=400,
        kind="many"),
    Row("timeouts", "timers", "100,000 messages in flight run out, 40 consumers, RDY 2500",
        "timeouts --subs 40 --rdy 2500 --threads 1 --msg-timeout 3000 "
        "--output-buffer-timeout 25".split(), total=100_000,
        prefill=_FILL.split(), kind="timeouts", counts={"timeout_count": 1}),
    Row("timeouts-1k", "timers", "1,000 messages a second run out one by one, 1 consumer",
        "expiring --rate 1000 --rdy 2500 --threads 1 --msg-timeout 2000 "
        "--output-buffer-size -1".split(), total=3000, kind="timeouts",
        counts={"timeout_count": 1}),
    # Needs 10,000 descriptors in the daemon, and as many in the generator.
    _idle(10_000),
    _rate("consumers-1000", "scale",
          "PUB x2 (64 outstanding), 1,000 consumers, RDY 1, on one channel", 200_000,
          "pubsub --conns 2 --outstanding 64 --subs 1000 --rdy 1"),
    _rate("conns-1", "scale", "PUB, 1 connection, 1 outstanding", 80_000,
          "pub --conns 1 --outstanding 1"),
    _rate("conns-10", "scale", "PUB, 10 connections, 1 outstanding", 200_000,
          "pub --conns 10 --outstanding 1"),
    _rate("conns-100", "scale", "PUB, 100 connections, 1 outstanding", 200_000,
          "pub --conns 100 --outstanding 1"),
    _rate("conns-1000", "scale", "PUB, 1,000 connections, 1 outstanding", 200_000,
          "pub --conns 1000 --outstanding 1"),
    Row("topics-2000", "scale", "2,000 topics with 2 channels each", [], total=2000,
        kind="topics"),
    Row("stats-2000", "scale", "GET /stats, 2,000 topics, five times a second; 1,000/s on one",
        "stats --stored-topics 2000 --stats-interval 200 --rate 1000 --rdy 10 "
        "--output-buffer-size -1".split(), total=8000, mem_queue=10000, kind="stats"),
    _churn("churn-tcp", "connect, PUB, close", 30_000, "churn-pub"),
    _churn("churn-sub", "connect, IDENTIFY, SUB to a new ephemeral channel, close",
           6_000, "churn-sub", mem_queue=10000),
    _churn("churn-http", "HTTP POST /pub, Connection: close", 30_000, "churn-http"),
    _churn("churn-https-rsa", "the same over TLS, RSA with 2048 bits", 3_000,
           "churn-http --tls"),
    _churn("churn-https-p256", "the same over TLS, ECDSA with P-256", 5_000,
           "churn-http --tls", "p256"),
    _crowd("storm-1000", "1,000 consumers connect at once; then a message for each", 1000,
           "storm", "storm"),
    Row("storm-latency", "churn", "1,000/s published and consumed, while 1,000 connections a "
        "second come and go", "storm-latency --rate 1000 --storm-rate 1000 --rdy 10 "
        "--output-buffer-size -1".split(), total=6000, mem_queue=10000, kind="storm-latency"),
    # Needs 5,000 descriptors in the daemon, and as many in the generator.
    _crowd("exit-5000", "SIGTERM with 5,000 consumers that have just had a message", 5000,
           "exit", "exit"),
    _crowd("exit-5000-traffic", "SIGTERM with 5,000 consumers at work, PUB (64 outstanding)", 5000,
           "exit-traffic --outstanding 64", "exit"),
    *[_cores(n) for n in (1, 10, 100, 1000)],
    _log("log-pub", "PUB, 2 connections, 64 outstanding; process, stock's memory", 800_000,
         f"{_PUB} --ok-times", "process"),
    _log("log-pub-disk", "PUB, 2 connections, 64 outstanding; disk, stock's --sync-every=1", 0,
         f"{_PUB} --ok-times --seconds 3", "disk", stock=_SYNC_EACH, mem_queue=2_000_000),
    _log("log-pub-1", "PUB, 2 connections, 1 outstanding; process, stock's memory", 200_000,
         "pub --conns 2 --outstanding 1 --ok-times", "process"),
    _log("log-mpub", "MPUB of 200, 2 connections, 2 outstanding; process, stock's memory",
         2_000_000, f"{_MPUB} --ok-times", "process"),
    _log("log-pubsub", "PUB x2 (64 outstanding) and SUB x2 at once; process, stock's memory",
         800_000, f"{_PUBSUB} --ok-times", "process"),
    _log("log-fanout-8", "MPUB to 8 channels, --mem-queue-size=0; process, stock's disk queues",
         250_000, "fanout --conns 2 --outstanding 2 --channels 8 --subs 1 --ok-times", "process",
         mem_queue=0),
    _log("log-sub", "SUB of what is on disk, 1 connection; process, stock's disk queue", 600_000,
         _SUB, "process", prefill=_FILL, mem_queue=0),
    # Ours has the memory queue of the defaults. Stock would forget delays with one that is full.
    _log("log-dpub", "DPUB, 1,000,000 messages, ten minutes; process, stock's memory", 1_000_000,
         "dpub --create --conns 2 --outstanding 64 --defer 600000 --ok-times",
         "process", ours=("--mem-queue-size=10000",), counts={"deferred_count": 1}),
    Row("log-start", "log", "a start with a backlog of 10 GB; process, stock's disk queue", [],
        160_000, "mpub --create --conns 2 --outstanding 2 --batch 16 --size 65536".split(),
        mem_queue=0, kind="start", side_flags={"ours": ["--durability=process"]}),
    _peers("peers-disk", "PUB, 2 connections, 64 outstanding; an OK is on the disk", _PUB, "disk",
           _SYNC_EACH),
    _peers("peers-disk-50", "PUB, 50 connections, 1 outstanding; an OK is on the disk", _PUB_50,
           "disk", _SYNC_EACH),
    _peers("peers-process", "PUB, 2 connections, 64 outstanding; an OK survives kill -9", _PUB,
           "process"),
    _peers("peers-process-50", "PUB, 50 connections, 1 outstanding; an OK survives kill -9",
           _PUB_50, "process"),
]

GROUPS = ["memory", "disk", "transport", "settings", "body", "latency", "many", "timers", "idle",
          "scale", "churn", "cores", "log", "peers"]


def select(spec):
    """The rows that a ROW= names, in the order of the table."""
    wanted = set(spec.split(","))
    known = {r.name for r in ROWS} | {r.group for r in ROWS} | {"all"}
    if wanted - known:
        raise SystemExit(f"ROW={','.join(sorted(wanted - known))}: no such row or group.\n"
                         f"rows: {' '.join(r.name for r in ROWS)}\n"
                         f"groups: {' '.join(GROUPS)} all")
    return [r for r in ROWS if {r.name, r.group} & wanted
            or ("all" in wanted and r.group in GROUPS)]
