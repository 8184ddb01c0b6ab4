"""Packed reports are the reports, in a fraction of the memory."""

import tracemalloc

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save_file

import wproj
from wproj.packed_reports import _BLOCK

COUNTS = (0, 1, _BLOCK - 1, _BLOCK, _BLOCK + 1, 3 * _BLOCK)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The reports of a projection, one skipped and one without vectors among them."""
    path = tmp_path_factory.mktemp("many") / "many.safetensors"
    rng = np.random.default_rng(0)
    tensors = {f"layers.{i}.weight": rng.standard_normal((4, 16)) for i in range(3 * _BLOCK - 2)}
    save_file(tensors | {"step": np.array(1), "empty": np.zeros((0, 4))}, path)
    made = wproj.plan(path, "* max_norm=3.5 axis=1")
    return list(wproj.apply(made, None, wproj.Numerics()))


@pytest.mark.parametrize("count", COUNTS)
def test_what_is_packed_comes_out_again_in_order(reports, count):
    """As often as it is asked for, and as long as more is added."""
    packed = wproj.TensorReports(reports[:count])
    assert [*packed] == [*packed] == reports[:count]
    assert len(packed) == count
    packed.append(reports[0])
    assert [*packed] == [*reports[:count], reports[0]]


@pytest.mark.parametrize("count", COUNTS)
def test_packed_reports_are_a_sequence_like_a_list(reports, count):
    """By place, by slice, from the end, and beyond it."""
    packed, listed = wproj.TensorReports(reports[:count]), reports[:count]
    for at in range(-count, count):
        assert packed[at] == listed[at]
    assert packed[1:-1] == listed[1:-1]
    assert packed == listed
    assert packed != [*listed, None]
    assert packed != 1
    with pytest.raises(IndexError):
        packed[count]


def test_packed_reports_of_different_tensors_differ(reports):
    """Not by their number alone."""
    assert wproj.TensorReports(reports[:2]) != wproj.TensorReports(reports[1:3])


def test_a_packed_report_takes_a_fifth_of_one_at_most(reports):
    """What thousands of tensors have in common takes no room in each of them."""
    number = 50 * len(reports)
    packed = _taken(lambda: wproj.TensorReports(_copies(reports, 50)))
    assert packed < _taken(lambda: [*_copies(reports, 50)]) / 5
    assert packed < 400 * number


def _copies(reports, times):
    """Reports that share nothing with those."""
    for _ in range(times):
        for report in reports:
            yield msgspec.msgpack.decode(msgspec.msgpack.encode(report), type=wproj.TensorReport)


def _taken(make):
    """The bytes of what `make` returns."""
    tracemalloc.start()
    made = make()
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert made
    return taken
