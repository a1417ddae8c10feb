"""Reads what GET /metrics says, and refuses what Prometheus would, or should."""

import re

NAME = re.compile(r'[a-zA-Z_:][a-zA-Z0-9_:]*')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n\0]|\\["\\n])*)"')
SAMPLE = re.compile(r'(%s)(?:\{(.*)\})? (\S+)' % NAME.pattern)
ESCAPES = {'\\\\': '\\', '\\"': '"', '\\n': '\n'}
SUFFIXES = {'histogram': ('_bucket', '_sum', '_count')}
TEXT = 'text/plain; version=0.0.4; charset=utf-8'
OPENMETRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8'
# What Prometheus 2.42 sends.
ACCEPT = ('application/openmetrics-text;version=1.0.0,application/openmetrics-text;'
          'version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1')


def labels_of(text):
    """{name: value} of what stands between the braces."""
    labels, at = {}, 0
    while at < len(text):
        found = LABEL.match(text, at)
        assert found, 'no label: %r' % text[at:]
        assert found[1] not in labels, text
        labels[found[1]] = re.sub(r'\\.', lambda m: ESCAPES[m[0]], found[2])
        at = found.end()
        assert text[at:at + 1] in ('', ','), text
        at += 1
    return labels


class Family:
    def __init__(self, name, help_text):
        self.name, self.help, self.type = name, help_text, None
        self.samples = {}       # {(name, labels as a sorted tuple): value}


class Metrics:
    """All families of a page: a family in one piece, each sample once."""

    def __init__(self, body, openmetrics=False):
        self.families = {}
        text = body.decode()
        assert text.endswith('\n')
        lines = text.split('\n')[:-1]
        if openmetrics:
            assert lines.pop() == '# EOF'
        family = None
        for line in lines:
            if line.startswith('# HELP '):
                _, _, name, words = line.split(' ', 3)
                assert NAME.fullmatch(name) and name not in self.families, line
                assert words and '\\' not in words
                family = self.families[name] = Family(name, words)
            elif line.startswith('# TYPE '):
                _, _, name, kind = line.split(' ')
                assert family.name == name and family.type is None, line
                assert kind in ('counter', 'gauge', 'histogram') + (
                    ('unknown',) if openmetrics else ()), line
                family.type = kind
            else:
                self._sample(family, line, openmetrics)

    def _sample(self, family, line, openmetrics):
        found = SAMPLE.fullmatch(line)
        assert found, line
        suffixes = SUFFIXES.get(family.type, ('',))
        if openmetrics and family.type == 'counter':
            suffixes = ('_total',)
        assert found[1] in [family.name + s for s in suffixes], (family.name, line)
        key = found[1], tuple(sorted(labels_of(found[2] or '').items()))
        assert key not in family.samples, line
        family.samples[key] = float(found[3])

    def samples(self, name):
        """{labels: value} of the samples of this name; the labels as a sorted tuple."""
        return {labels: value for family in self.families.values()
                for (n, labels), value in family.samples.items() if n == name}

    def value(self, name, **labels):
        """Of the only sample of this name that has these labels; None if there is none."""
        found = [value for have, value in self.samples(name).items()
                 if labels.items() <= dict(have).items()]
        assert len(found) <= 1, (name, labels, found)
        return found[0] if found else None

    def names(self):
        return set(self.families)


def scrape(nsqd, query='', openmetrics=False):
    response = nsqd.http('GET', '/metrics' + query,
                         headers={'Accept': ACCEPT} if openmetrics else None)
    assert response.status == 200, response.body
    assert response.headers['Content-Type'] == (OPENMETRICS if openmetrics else TEXT)
    return Metrics(response.body, openmetrics)
