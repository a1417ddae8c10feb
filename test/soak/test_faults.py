"""Each fault of faults.py has its place: what it replaces is there exactly once."""

import os

import pytest

from faults import FAULTS

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')


@pytest.mark.parametrize('fault', FAULTS, ids=lambda fault: fault.rule.replace(' ', '-'))
def test_a_fault_has_its_place(fault):
    with open(os.path.join(ROOT, fault.file), encoding='utf-8') as f:
        assert f.read().count(fault.old) == 1
    assert fault.new != fault.old and fault.says


def test_each_rule_is_tried_once():
    rules = [(fault.rule, fault.round) for fault in FAULTS]
    assert len(rules) == len(set(rules))
