"""The load generator as a process."""

import subprocess

from daemon import Failed

RUN_S = 180  # a run must end by then


def run_generator(cmd, check=None):
    """Runs the command line; returns its key=value line as a dict. `check` looks at the server
    before that."""
    try:
        p = subprocess.run(cmd, capture_output=True, text=True, timeout=RUN_S, check=False)
    except subprocess.TimeoutExpired as e:
        raise Failed(f"the generator did not end within {RUN_S} s") from e
    if check:
        check()
    if p.returncode != 0:
        lines = p.stderr.strip().splitlines()
        raise Failed(lines[-1].replace("nsq-bench: error: ", "") if lines else "no reason given")
    out = {}
    for word in p.stdout.split():
        key, value = word.split("=", 1)
        try:
            out[key] = float(value)
        except ValueError:
            out[key] = value
    return out
