#!/usr/bin/env python3
"""The metrics: the list in docs/monitoring.md is made from the tables of nsqd/stats/metrics.c
and log_metrics.c.

And each metric that a rule or the dashboard in docs/monitoring/ names is served.

    metrics.py [DIRECTORY]     the root of the sources; "." if not given
    metrics.py --write         writes the list
"""
import json
import re
import sys

import tree

SOURCES = ("nsqd/stats/metrics.c", "nsqd/stats/log_metrics.c")
PAGE = "docs/monitoring.md"
FOLDER = "docs/monitoring/"
BEGIN, END = "<!-- made by test/docs/metrics.py --write -->\n", "<!-- end -->\n"
TABLE = re.compile(r"(?:/\* Labels: ([^*]*)\*/\n)?static const struct \w+ (\w+_metrics)\[\] = \{\n(.*?)\n\};",
                   re.S)
ROW = re.compile(r'\{\{"(\w+)",\s*METRIC_(\w+),\s*((?:"(?:[^"\\]|\\.)*"\s*)+)\}')
# Their names depend on a flag, and they are not in a table.
PERCENTILES = re.compile(r"nsq_topic_(?:channel_)?e2e_processing_latency_\d+")
# What Prometheus itself makes for each target.
OWN = {"up"}
# The names of metrics are the words of an expression that are neither of these nor labels.
FUNCTIONS = {"rate", "increase", "sum", "min", "max", "by", "on", "and", "or", "unless", "deriv",
             "changes", "histogram_quantile", "label_values", "ignoring", "group_left"}
TITLES = {
    "daemon_metrics": "The daemon",
    "queue_metrics": "Topics and channels",
    "latency_metrics": "Histograms of channels",
    "refusal_metrics": "Refusals",
    "age_metrics": "Ages of topics and channels",
    "exporter_metrics": "Names of lovoo's exporter",
    "consumer_metrics": "Consumers, with `include_clients=true`",
    "log_metrics": "Logs",
    "log_latency_metrics": "Histograms of logs",
    "cursor_metrics": "What channels hold of a log",
    "producer_metrics": "Producers, with `include_clients=true`",
}


def read_sources(root):
    return "\n".join(tree.read(root, source) for source in SOURCES)


def tables(source):
    """(table, labels, [(name, type, help)]) of each table of families."""
    for labels, table, body in TABLE.findall(source):
        rows = [(name, kind.lower(), "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', words)))
                for name, kind, words in ROW.findall(body)]
        if rows:
            yield table, re.sub(r"\s*\n \* ", " ", labels).strip(" ."), rows


def made(source):
    """The list, as the page has it."""
    out = []
    for table, labels, rows in tables(source):
        out += [f"### {TITLES.get(table, table)}", "", f"Labels: {labels}.", "",
                "| metric | type | meaning |", "|---|---|---|"]
        out += [f"| `{name}` | {kind} | {words} |" for name, kind, words in rows] + [""]
    return "\n".join(out)


def served(source):
    """The names of all samples."""
    names = set()
    for _, _, rows in tables(source):
        for name, kind, _ in rows:
            names.update({name + s for s in ("_bucket", "_sum", "_count")}
                         if kind == "histogram" else {name})
    return names


def named_in(expression):
    """The metrics that an expression names."""
    text = re.sub(r'"[^"]*"', '""', expression)
    text = re.sub(r"\{[^}]*\}|\[[^]]*\]|\$\w+", " ", text)
    text = re.sub(r"\b(by|on|ignoring|group_left)\s*\([^)]*\)", " ", text)
    if text.startswith("label_values("):
        text = text.rpartition(",")[0]
    return set(re.findall(r"\b[a-z_:][a-z0-9_:]*", text)) - FUNCTIONS


def expressions(root):
    """(file, expression) of all that the folder has."""
    for expression in re.findall(r"^ +expr: '(.*)'$", tree.read(root, FOLDER + "alerts.yml"), re.M):
        yield FOLDER + "alerts.yml", expression.replace("''", "'")
    dashboard = json.loads(tree.read(root, FOLDER + "dashboard.json"))
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield FOLDER + "dashboard.json", target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield FOLDER + "dashboard.json", variable["query"]["query"]


def check(root):
    """All complaints about the tree, as lines."""
    source, page, complaints = read_sources(root), tree.read(root, PAGE), []
    found = page.partition(BEGIN)[2].partition(END)[0]
    if found.strip() != made(source).strip():
        complaints.append(f"{PAGE}: the list is stale: test/docs/metrics.py --write makes it")
    names = served(source) | OWN
    count = 0
    for file, expression in expressions(root):
        count += 1
        for name in sorted(named_in(expression)):
            if name not in names and not PERCENTILES.fullmatch(name):
                complaints.append(f"{file}: {name} is not served: {expression}")
    if not count:
        complaints.append(f"{FOLDER}: no expressions found")
    return complaints


def write():
    page = tree.read(".", PAGE)
    head, _, rest = page.partition(BEGIN)
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(head + BEGIN + "\n" + made(read_sources(".")) + "\n" + END + rest.partition(END)[2])


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    else:
        tree.run(check)
