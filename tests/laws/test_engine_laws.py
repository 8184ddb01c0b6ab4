"""The laws of the engine: one result however the work is shared, and reports that are true."""

import json
import math
import os
import struct
import zipfile
from pathlib import Path

import h5py
import ml_dtypes
import msgspec
import numpy as np
import pytest

import wproj
from wproj import MaxNorm, MinMaxNorm, NonNeg, Resources, UnitNorm
from wproj.numerics.vectors import TILE

CODES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
NAME = "layers/dense/vars/0"

# Few threads and many, little memory and much.
SHARES = [
    Resources(threads=1, memory=128_000_000),
    Resources(threads=2, memory=256_000_000),
    Resources(threads=5, memory=2_000_000_000),
]

# Shapes of two tiles and more, and the axes summed over.
ROWS = TILE // 1000 * 2 + 77
GEOMETRIES = {
    "leading": ((ROWS, 1000), "0"),
    "trailing": ((ROWS, 1000), "-1"),
    "middle": ((5, ROWS // 3, 600), "1"),
    "outer": ((5, ROWS // 3, 600), "0,2"),
    "several": ((3, 4, ROWS // 4, 200), "0,2"),
    "all": ((ROWS, 1000), "all"),
    "rows longer than a tile": ((2, TILE + 77), "1"),
    "columns longer than a tile": ((TILE + 77, 2), "0"),
    "a middle longer than a tile": ((2, TILE // 2 + 77, 2), "1"),
    "more columns than a tile has": ((3, TILE + 77), "0"),
    "more columns in each of two": ((2, 2, 2, TILE // 2 + 77), "0,2"),
}


def summed(axis, rank):
    """The axes that a text names, as NumPy takes them."""
    return tuple(range(rank)) if axis == "all" else tuple(int(a) % rank for a in axis.split(","))


def weights(shape, dtype="float32", axis="0", seed=0):
    """Vectors of norms from 0 to 2, a tenth of them all zeros, some of their zeros negative."""
    rng = np.random.default_rng(seed)
    axes = summed(axis, len(shape))
    kept = [1 if a in axes else n for a, n in enumerate(shape)]
    norms = rng.permutation(np.linspace(2, 0, math.prod(kept))).reshape(kept)
    norms[(norms < 1.5) & (rng.random(kept) < 0.1)] = 0
    w = rng.standard_normal(shape)
    w *= norms / np.sqrt(np.square(w).sum(axes, keepdims=True))
    return w.astype(np.float32).astype(np.dtype(getattr(ml_dtypes, dtype, dtype)))


def write_safetensors(path, tensors):
    """Tensors in a safetensors file."""
    header, position = {}, 0
    for name, w in tensors.items():
        span = [position, position + w.nbytes]
        code = CODES[w.dtype.name]
        header[name] = {"dtype": code, "shape": list(w.shape), "data_offsets": span}
        position += w.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for w in tensors.values():
            file.write(np.ascontiguousarray(w).tobytes())


def read_safetensors(path, name):
    """A tensor of a safetensors file, without any library."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    found = json.loads(data[8 : 8 + size])[name]
    start, stop = found["data_offsets"]
    dtype = {code: kind for kind, code in CODES.items()}[found["dtype"]]
    raw = np.frombuffer(data[8 + size + start : 8 + size + stop], np.uint8)
    return raw.view(np.dtype(getattr(ml_dtypes, dtype, dtype))).reshape(found["shape"])


def write_hdf5(path, tensors, *, packed=False):
    """Tensors in an HDF5 file; in compressed chunks that fit nowhere, if they are to be packed."""
    with h5py.File(path, "w") as file:
        for name, w in tensors.items():
            data = w.view("V2") if w.dtype.name == "bfloat16" else w
            chunks = tuple(max(1, n * 3 // 7 - 1) for n in w.shape)
            how = {"chunks": chunks, "compression": 1, "shuffle": True} if packed else {}
            dataset = file.create_dataset(name, data=data, **how)
            if w.dtype.name == "bfloat16":
                dataset.attrs["dtype"] = "bfloat16"


def read_hdf5(path, name):
    """A tensor of an HDF5 file, by h5py."""
    with h5py.File(path, "r") as file:
        values = np.asarray(file[name][()])
        return values.view(ml_dtypes.bfloat16) if values.dtype == np.dtype("V2") else values


def write_keras(path, tensors, *, packed=False):
    """Tensors in a `.keras` archive, as Keras stores them or in compressed chunks."""
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": []}}
    inside = path.with_name("inside.h5")
    write_hdf5(inside, tensors, packed=packed)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(config))
        archive.write(inside, "model.weights.h5")
    inside.unlink()


def read_keras(path, name):
    """A tensor of a `.keras` archive, by zipfile and h5py."""
    inside = path.with_name("read.h5")
    with zipfile.ZipFile(path) as archive:
        inside.write_bytes(archive.read("model.weights.h5"))
    values = read_hdf5(inside, name)
    inside.unlink()
    return values


FORMS = {
    "safetensors": (write_safetensors, read_safetensors),
    "hdf5": (write_hdf5, read_hdf5),
    "packed": (lambda path, w: write_hdf5(path, w, packed=True), read_hdf5),
    "archive": (write_keras, read_keras),
    "packed archive": (lambda path, w: write_keras(path, w, packed=True), read_keras),
}


def write(folder, w, form="safetensors"):
    """A checkpoint of one tensor; its path."""
    path = folder / "source"
    FORMS[form][0](path, {NAME: w})
    return path


def project(source, rule, resources=SHARES[0], **options):
    """The bytes of the result, and the reports as JSON."""
    target = source.with_name("out")
    made = wproj.project(source, target, rule, resources=resources, durable=False, **options)
    reports = msgspec.json.encode(list(made))
    found = target.read_bytes()
    target.unlink()
    return found, reports


def outcomes(source, rule, **options):
    """What comes out, for every way to share the work."""
    return [project(source, rule, resources, **options) for resources in SHARES]


@pytest.fixture
def no_room(monkeypatch):
    """Whatever is not in a checkpoint goes to a temporary file."""
    monkeypatch.setattr(Resources, "unpacked", property(lambda _self: 0))


# One result


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_neither_threads_nor_memory_change_a_byte(tmp_path, geometry, dtype):
    """And the bytes are those of the same constraint on the array; wherever the axes are."""
    shape, axis = GEOMETRIES[geometry]
    w = weights(shape, dtype, axis)
    source = write(tmp_path, w)
    first, *others = outcomes(source, f"{NAME} max_norm=1 axis={axis}")
    expected = MaxNorm(1, summed(axis, w.ndim))(w)

    assert first[0].endswith(expected.tobytes())
    assert expected.tobytes() != w.tobytes()
    assert all(other == first for other in others)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("geometry", ["leading", "trailing", "several"])
def test_neither_threads_nor_memory_change_a_byte_of_other_dtypes(tmp_path, geometry, dtype):
    """Those that have tables and margins of their own."""
    test_neither_threads_nor_memory_change_a_byte(tmp_path, geometry, dtype)


SPECS = {
    "max_norm=1": {},
    "unit_norm": {},
    "min_max_norm=0.5..1": {},
    "min_max_norm=0.5..1 rate=0.3": {},
    "non_neg": {},
    "non_neg+max_norm=1": {},
    "max_norm=1+non_neg": {},
    "max_norm=1 ": {"numerics": "keras"},
    "unit_norm ": {"numerics": "keras", "epsilon": 1e-3},
    "max_norm=1  ": {"nonfinite": "skip"},
    "non_neg+max_norm=1 ": {"nonfinite": "skip"},
}


@pytest.mark.parametrize("axis", ["0", "1"])
@pytest.mark.parametrize("spec", SPECS)
def test_the_rule_does_not_matter_for_that(tmp_path, spec, axis):
    """Steps, formulas of Keras and vectors that are skipped included."""
    w = weights((ROWS, 1000), axis=axis)
    if "nonfinite" in SPECS[spec]:
        w[5, 7], w[ROWS - 1, 999] = np.nan, -np.inf
    where = "" if spec == "non_neg" else f" axis={axis}"
    source = write(tmp_path, w)
    first, *others = outcomes(source, f"{NAME} {spec}{where}", **SPECS[spec])

    assert b'"status":"changed"' in first[1]
    assert all(other == first for other in others)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "safetensors"])
@pytest.mark.parametrize(
    ("geometry", "spec"),
    [("leading", "max_norm=1"), ("several", "max_norm=1"), ("trailing", "non_neg+max_norm=1")],
)
def test_the_format_does_not_matter_for_that(tmp_path, form, geometry, spec):
    """The values are those of safetensors; and the file is the same for any share of the work."""
    shape, axis = GEOMETRIES[geometry]
    w = weights(shape, axis=axis)
    rule = f"{NAME} {spec} axis={axis}"
    plain, told = project(write(tmp_path, w), rule)
    source = write(tmp_path, w, form)
    first, *others = outcomes(source, rule)
    (tmp_path / "kept").write_bytes(first[0])

    def measures(reports):
        (report,) = json.loads(reports)
        return {key: report[key] for key in ("norm_before", "norm_after", "distance", "violations")}

    assert plain.endswith(FORMS[form][1](tmp_path / "kept", NAME).tobytes())
    assert measures(first[1]) == measures(told)
    assert all(other == first for other in others)


@pytest.mark.usefixtures("no_room")
@pytest.mark.parametrize(
    ("form", "spec"),
    [("packed", "max_norm=1"), ("packed", "non_neg"), ("safetensors", "non_neg+max_norm=1")],
)
def test_a_temporary_file_holds_what_memory_would_hold(tmp_path, monkeypatch, form, spec):
    """Where there is no room in memory for an unpacked tensor or a step in between."""
    axis = "" if spec == "non_neg" else " axis=0"
    source = write(tmp_path, weights((ROWS, 1000)), form)
    filed = [outcomes(source, f"{NAME} {spec}{axis}"), rehearsed(source, f"{NAME} {spec}{axis}")]
    monkeypatch.setattr(Resources, "unpacked", property(lambda _self: 1 << 40))
    held = [outcomes(source, f"{NAME} {spec}{axis}"), rehearsed(source, f"{NAME} {spec}{axis}")]

    assert filed == held


def rehearsed(source, rule, resources=SHARES[1], **options):
    """The reports of a run without a target, as JSON."""
    made = wproj.project(source, None, rule, resources=resources, **options)
    return msgspec.json.encode(list(made))


@pytest.mark.parametrize("form", ["safetensors", "packed", "archive"])
@pytest.mark.parametrize("spec", ["max_norm=1", "non_neg+max_norm=1", "unit_norm"])
def test_a_rehearsal_reports_what_the_run_reports(tmp_path, form, spec):
    """Number by number, whoever does it; and the source is what it was."""
    source = write(tmp_path, weights((ROWS, 1000), axis="1"), form)
    before = source.read_bytes()
    rule = f"{NAME} {spec} axis=1"

    assert [rehearsed(source, rule, share) for share in SHARES] == [project(source, rule)[1]] * 3
    assert source.read_bytes() == before


@pytest.mark.parametrize("form", ["safetensors", "packed"])
def test_what_reads_does_not_depend_on_threads_and_memory_either(tmp_path, form):
    """`audit`, `check` and `diff` of tensors beyond a tile."""
    source = write(tmp_path, weights((ROWS, 1000)), form)
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other", weights((ROWS, 1000), seed=1), form)
    plan = wproj.plan(source, f"{NAME} max_norm=1 axis=0")
    files = [wproj.open_checkpoint(path) for path in (source, other)]

    def read(share):
        return (
            list(wproj.audit(source, axis=(0,), resources=share)),
            list(wproj.check(plan, resources=share)),
            list(wproj.diff(*files, axis=(0,), resources=share)),
        )

    first, *others = [read(share) for share in SHARES]

    assert all(other == first for other in others)


@pytest.mark.usefixtures("no_room")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spec", ["max_norm=1", "non_neg+unit_norm"])
def test_tensors_without_entries_or_with_one_pass_through(tmp_path, form, spec):
    """Nothing to unpack into a file, nothing to share."""
    source = tmp_path / "source"
    tensors = {"none/0": np.zeros((0, 4), np.float32), "one/0": np.full((1, 1), 3, np.float32)}
    if "packed" in form:
        tensors.pop("none/0")
    FORMS[form][0](source, tensors)
    first, *others = outcomes(source, f"*/0 {spec} axis=0")

    assert all(other == first for other in others)
    (tmp_path / "kept").write_bytes(first[0])
    assert FORMS[form][1](tmp_path / "kept", "one/0").item() == pytest.approx(1)


# True reports


def norms_of(w, axes):
    """Norms in float64, by NumPy alone; of finite vectors."""
    norms = np.sqrt(np.square(w.astype(np.float64)).sum(axes)).reshape(-1)
    return norms[np.isfinite(norms)]


def assert_summarizes(summary, norms):
    """The five numbers are those of the norms."""
    expected = {
        "min": norms.min(),
        "mean": norms.mean(),
        "p50": np.quantile(norms, 0.5),
        "p99": np.quantile(norms, 0.99),
        "max": norms.max(),
    }
    assert msgspec.to_builtins(summary) == pytest.approx(expected, rel=1e-12, abs=0)


def different(before, after):
    """Where entries differ in a byte."""
    bits = np.dtype(f"u{before.dtype.itemsize}")
    return before.view(bits) != after.view(bits)


# The smallest and the largest norm inside, for a float32 vector.
BOUNDS = {
    "max_norm=1": (0, 1),
    "unit_norm": (1 - 2.0**-24, 1 + 2.0**-24),
    "min_max_norm=0.5..1": (0.5, 1),
    "min_max_norm=0.5..1 rate=0.3": (0.5, 1),
    "non_neg+max_norm=1": (0, 1),
}


def assert_true(report, before, after, axes, bounds):
    """Holds a report on norms against the tensor before and after, by NumPy in float64 alone."""
    changed = different(before, after)
    finite = np.isfinite(before.astype(np.float64)).all(axes, keepdims=True)
    old, new = (np.where(finite, w.astype(np.float64), 0) for w in (before, after))
    moved = np.sqrt(np.square(new - old).sum())
    first, last = norms_of(before, axes), norms_of(after, axes)

    assert_summarizes(report.norm_before, first)
    assert_summarizes(report.norm_after, last)
    assert report.changed_vectors == changed.any(axes).sum()
    assert report.changed_entries == changed.sum()
    assert report.status == ("changed" if changed.any() else "unchanged")
    assert report.zero == (first == 0).sum()
    assert report.nonfinite == (~finite).sum()
    assert report.distance.absolute == pytest.approx(moved, rel=1e-9)
    assert report.distance.relative == pytest.approx(
        moved / np.sqrt(np.square(old).sum()), rel=1e-9
    )
    assert sum(report.histogram.counts) == first.size
    assert sum(report.histogram.after) == last.size
    if bounds is None:
        return
    low, high = bounds
    assert report.violations.before >= ((first < low) | (first > high)).sum()
    assert report.violations.after == ((last < low) | (last > high)).sum()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_report_is_what_numpy_measures_in_both_files(tmp_path, geometry, dtype):
    """Although the engine never looks at the result again."""
    shape, axis = GEOMETRIES[geometry]
    w = weights(shape, dtype, axis)
    source, target = write(tmp_path, w), tmp_path / "out"
    (report,) = wproj.project(source, target, f"{NAME} max_norm=1 axis={axis}", durable=False)
    after = read_safetensors(target, NAME)

    assert_true(report, w, after, summed(axis, w.ndim), (0, 1))
    assert report.violations.before == (norms_of(w, summed(axis, w.ndim)) > 1).sum()


@pytest.mark.parametrize("form", ["safetensors", "packed"])
@pytest.mark.parametrize("spec", BOUNDS)
@pytest.mark.parametrize("axis", ["0", "1"])
def test_a_report_is_true_for_every_rule(tmp_path, form, spec, axis):
    """One step or two, part of the way or all of it."""
    w = weights((ROWS, 1000), axis=axis)
    source, target = write(tmp_path, w, form), tmp_path / "out"
    (report,) = wproj.project(source, target, f"{NAME} {spec} axis={axis}", durable=False)

    assert_true(report, w, FORMS[form][1](target, NAME), (int(axis),), BOUNDS[spec])


@pytest.mark.parametrize("axis", ["0", "1"])
def test_a_report_on_formulas_of_keras_is_true(tmp_path, axis):
    """Where vectors that are inside change, too."""
    w = weights((ROWS, 1000), axis=axis)
    source, target = write(tmp_path, w), tmp_path / "out"
    rule = f"{NAME} max_norm=1 axis={axis}"
    (report,) = wproj.project(source, target, rule, numerics="keras", epsilon=1e-3)

    assert_true(report, w, read_safetensors(target, NAME), (int(axis),), (0, 1))
    assert report.changed_vectors == (norms_of(w, (int(axis),)) > 0).sum()


@pytest.mark.parametrize("axis", ["0", "1"])
def test_a_report_with_skipped_vectors_is_true(tmp_path, axis):
    """They are counted, have no norm, and keep their bytes."""
    w = weights((ROWS, 1000), axis=axis)
    w[[3, 3, 200], [4, 900, 4]] = np.nan, np.inf, -np.inf
    source, target = write(tmp_path, w), tmp_path / "out"
    rule = f"{NAME} max_norm=1 axis={axis}"
    (report,) = wproj.project(source, target, rule, nonfinite="skip", durable=False)
    after = read_safetensors(target, NAME)

    assert_true(report, w, after, (int(axis),), (0, 1))
    assert report.nonfinite == 2
    lines = ([3, 200], slice(None)) if axis == "1" else (slice(None), [4, 900])
    assert after[lines].tobytes() == w[lines].tobytes()


@pytest.mark.parametrize("numerics", ["exact", "keras"])
def test_a_vector_that_changes_in_one_tile_alone_is_counted(tmp_path, numerics):
    """In the first tile or in the last, beside others that change elsewhere."""
    w = np.zeros((3 * TILE // 1000, 1000), np.float32)
    w[:50, ::2], w[-50:, 1::2] = 5, 5
    w[:, 7] = 0
    source, target = write(tmp_path, w), tmp_path / "out"
    rule = f"{NAME} max_norm=1 axis=0"
    (report,) = wproj.project(source, target, rule, numerics=numerics, durable=False)

    assert_true(report, w, read_safetensors(target, NAME), (0,), (0, 1))
    assert report.changed_vectors == 999


@pytest.mark.parametrize("form", ["safetensors", "packed"])
def test_a_report_on_entries_is_true(tmp_path, form):
    """What has no axis counts entries, and has the norm of the whole."""
    w = weights((ROWS, 1000))
    source, target = write(tmp_path, w, form), tmp_path / "out"
    (report,) = wproj.project(source, target, f"{NAME} non_neg", durable=False)
    after = FORMS[form][1](target, NAME)

    assert after.tobytes() == NonNeg()(w).tobytes()
    assert report.changed_entries == report.changed_vectors == different(w, after).sum()
    assert (report.violations.before, report.violations.after) == ((w < 0).sum(), 0)
    assert report.violations.worst_value == w.min()
    assert report.norm_before.max == pytest.approx(np.linalg.norm(w.astype(float)), rel=1e-12)
    assert report.norm_after.max == pytest.approx(np.linalg.norm(after.astype(float)), rel=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("geometry", ["leading", "trailing", "several", "all"])
def test_audit_check_and_diff_agree_with_the_report(tmp_path, geometry, dtype):
    """To the last bit: they measure the result afresh."""
    shape, axis = GEOMETRIES[geometry]
    source, target = write(tmp_path, weights(shape, dtype, axis)), tmp_path / "out"
    rule, axes = f"{NAME} max_norm=1 axis={axis}", summed(axis, len(shape))
    (report,) = wproj.project(source, target, rule, durable=False)
    (audited,) = wproj.audit(target, axis=axes)
    (checked,) = wproj.check(wproj.plan(target, rule), wproj.CheckPolicy(rtol=0))
    files = [wproj.open_checkpoint(path) for path in (source, target)]
    (compared,) = wproj.diff(*files, axis=axes)

    assert audited.norm_before == report.norm_after
    assert checked.norm_before == report.norm_after
    assert checked.violations.before == report.violations.after == 0
    assert (compared.norm_before, compared.norm_after) == (report.norm_before, report.norm_after)
    assert compared.difference.entries == report.changed_entries > 0


@pytest.mark.parametrize(
    ("constraint", "spec"),
    [
        (MaxNorm(1e-3), "max_norm=1e-3"),
        (UnitNorm(), "unit_norm"),
        (MinMaxNorm(0.7, 0.7), "min_max_norm=0.7..0.7"),
        (MinMaxNorm(0.999999, 1), "min_max_norm=0.999999..1"),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_report_is_true_where_rounding_had_to_be_repaired(tmp_path, constraint, spec, dtype):
    """Coarse dtypes and thin shells send vectors back, and the unit is measured again."""
    w = weights((ROWS, 1000), dtype)
    source, target = write(tmp_path, w), tmp_path / "out"
    (report,) = wproj.project(source, target, f"{NAME} {spec} axis=0", durable=False)
    after = read_safetensors(target, NAME)

    assert after.tobytes() == constraint.at(0)(w).tobytes()
    assert_true(report, w, after, (0,), None)


# Everything else


@pytest.fixture
def mixed():
    """A tensor of each kind: matched and changing, matched and inside, not matched at all."""
    return {
        "first": weights((37, 41), seed=1),
        "changing": weights((ROWS, 1000), axis="1", seed=2),
        "odd": np.frombuffer(bytes(range(1, 8)) * 4, np.float16),
        "inside": weights((ROWS, 1000), axis="1", seed=3) / 4,
        "half": weights((33, 7), "bfloat16", seed=4),
        "last": weights((ROWS, 1000), "float64", seed=5),
    }


RULES = ("changing max_norm=1 axis=1", "inside max_norm=1 axis=1", "half max_norm=1 axis=0")


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("form", ["safetensors", "hdf5"])
def test_only_vectors_that_are_outside_differ(tmp_path, mixed, form, threads):
    """Tensors without a match, headers, vectors inside: every other byte is that of the source."""
    source, target = tmp_path / "source", tmp_path / "out"
    FORMS[form][0](source, mixed)
    share = Resources(threads=threads)
    list(wproj.project(source, target, RULES, resources=share, durable=False))
    old, new = (np.frombuffer(path.read_bytes(), np.uint8) for path in (source, target))
    assert old.size == new.size
    free = old != new
    for entry in wproj.open_checkpoint(source).entries:
        if entry.name not in ("changing", "half"):
            continue
        at = entry.extent
        axis = 1 if entry.name == "changing" else 0
        w = mixed[entry.name]
        outside = np.sqrt(np.square(w.astype(float)).sum(axis, keepdims=True)) > 1
        allowed = np.repeat(np.broadcast_to(outside, w.shape).reshape(-1), w.dtype.itemsize)
        assert free[at.offset : at.offset + at.nbytes][allowed].any()
        free[at.offset : at.offset + at.nbytes][allowed] = False

    assert not free.any()


@pytest.mark.parametrize("spec", ["max_norm=1 axis=1", "non_neg"])
def test_chunks_in_which_nothing_changes_keep_their_packed_bytes(tmp_path, spec):
    """And their place in the file; the others are packed anew."""
    w = np.abs(weights((ROWS, 1000), axis="1")) / 4
    w[200, 700] = -9
    source, target = tmp_path / "source", tmp_path / "out"
    with h5py.File(source, "w") as file:
        how = {"chunks": (70, 1000), "compression": 6, "shuffle": True}
        file.create_dataset(NAME, data=w, **how)
    list(wproj.project(source, target, f"{NAME} {spec}", durable=False))

    def chunks(path):
        with h5py.File(path) as file:
            dataset = file[NAME].id
            starts = [
                dataset.get_chunk_info(i).chunk_offset for i in range(dataset.get_num_chunks())
            ]
            return {start: dataset.read_direct_chunk(start) for start in starts}

    before, after = chunks(source), chunks(target)
    assert [start for start in before if before[start] != after[start]] == [(140, 0)]


@pytest.mark.parametrize("form", FORMS)
def test_a_rule_that_changes_nothing_writes_the_same_file(tmp_path, mixed, form):
    """Byte for byte, although its tensors are nowhere copied as such."""
    source = tmp_path / "source"
    FORMS[form][0](source, {f"layers/{name}/vars/0": w for name, w in mixed.items()})
    found, reports = project(source, "* max_norm=1000 axis=0")

    assert found == source.read_bytes()
    assert b'"changed"' not in reports


def can_have_holes(folder):
    """Whether files in the folder may be sparse, and tell where."""
    probe = folder / "probe"
    with probe.open("wb") as file:
        file.truncate(1 << 22)
    blocks = probe.stat().st_blocks
    probe.unlink()
    return blocks == 0 and hasattr(os, "SEEK_DATA")


@pytest.fixture
def sparse(tmp_path):
    """Two tensors of 32 MiB, all zeros but for the first rows, in a file without most blocks."""
    if not can_have_holes(tmp_path):
        pytest.skip("files have no holes here")
    path, shape, nbytes = tmp_path / "source", [8192, 1024], 32 << 20
    header = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [i * nbytes, (i + 1) * nbytes]}
        for i, name in enumerate(["w", "v"])
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for start in (0, nbytes):
            file.seek(8 + len(text) + start)
            file.write(np.full((64, 1024), 5, np.float32).tobytes())
        file.truncate(8 + len(text) + 2 * nbytes)
    assert path.stat().st_blocks * 512 < 4 << 20
    return path


@pytest.mark.parametrize(
    "rule",
    ["w max_norm=1 axis=1", "w max_norm=1e9 axis=0", "w max_norm=1e9 axis=all", "w non_neg"],
)
def test_what_is_a_hole_stays_one(sparse, tmp_path, rule):
    """Where nothing changes, in tensors with a match and without."""
    target = tmp_path / "out"
    list(wproj.project(sparse, target, rule))
    before, after = sparse.stat(), target.stat()

    assert after.st_size == before.st_size
    assert after.st_blocks * 512 < before.st_blocks * 512 + (4 << 20)


# The program


@pytest.mark.slow
@pytest.mark.parametrize("form", ["safetensors", "packed"])
def test_the_options_change_neither_the_file_nor_the_report(tmp_path, form):
    """`--threads` and `--memory` of the real program, in all combinations."""
    import subprocess
    import sys

    write(tmp_path, weights((ROWS, 1000)), form)
    found = set()
    for threads in ("1", "2", "5"):
        for memory in ("128MB", "256MB", "2GB"):
            words = ["source", "-r", f"{NAME} non_neg+max_norm=1 axis=0", "-f", "json"]
            options = ["--threads", threads, "--memory", memory, "-o", "out", "--force"]
            command = [sys.executable, "-m", "wproj_cli", "project", *words, *options]
            run = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=60)
            found.add((run.stdout, Path(tmp_path / "out").read_bytes()))

    assert len(found) == 1
