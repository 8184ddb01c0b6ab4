"""The laws of the gate: what `project` writes passes, strictly; and what passes can be trusted."""

import json
import math
import shutil
import struct
import zipfile
from pathlib import Path

import h5py
import ml_dtypes
import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wproj
from wproj import CheckPolicy

DTYPES = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
CODES = dict(zip(DTYPES, ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"), strict=True))
FORMATS = ("safetensors", "hdf5", "chunked", "archive", "folder", "sharded")
PATH = "layers/dense/vars/0"
OTHER = "layers/dense/vars/1"

SPECS = (
    "max_norm=2",
    "max_norm=0.1",
    "max_norm=0",
    "unit_norm",
    "min_max_norm=0.5..2",
    "min_max_norm=0.7..0.7",
    "min_max_norm=1e-8..3",
    "min_max_norm=0.5..2 rate=0.3",
    "non_neg",
    "non_neg+max_norm=2",
    "non_neg+unit_norm",
    "min_max_norm=0.5..2+non_neg",
    "unit_norm+max_norm=0.5",
)
# Those of them that can hold for every vector that is not zero.
BOUNDS = {
    "max_norm=2": (0.0, 2.0),
    "max_norm=0.1": (0.0, 0.1),
    "unit_norm": (1.0, 1.0),
    "min_max_norm=0.5..2": (0.5, 2.0),
    "min_max_norm=0.7..0.7": (0.7, 0.7),
}

law = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
seeds = st.integers(0, 2**32 - 1)
shapes = st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple)


def dtype_of(name):
    """The NumPy or ml_dtypes dtype of this name."""
    return np.dtype(getattr(ml_dtypes, name, name))


def weights(seed, shape, name):
    """Finite numbers of all magnitudes that matter, whole vectors of zeros among them."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(shape) * 2.0 ** rng.integers(-4, 4)
    w *= rng.random(shape[-1:]) < 0.8
    return w.astype(np.float32).astype(dtype_of(name))


@st.composite
def axes(draw, rank):
    """Axes of a tensor in one of the forms that a rule may have them in."""
    form = draw(st.sampled_from(["one", "negative", "several", "all"]))
    if form == "all":
        return "all"
    if form == "several":
        some = draw(st.lists(st.integers(0, rank - 1), min_size=1, max_size=rank, unique=True))
        return ",".join(map(str, some))
    axis = draw(st.integers(0, rank - 1))
    return str(axis if form == "one" else axis - rank)


def summed(text, rank):
    """The axes that a text names, as NumPy takes them."""
    return tuple(range(rank)) if text == "all" else tuple(int(a) % rank for a in text.split(","))


def write_safetensors(path, tensors):
    """Tensors in a safetensors file."""
    header, data = {}, b""
    for name, w in tensors.items():
        offsets = [len(data), len(data) + w.nbytes]
        code = CODES.get(w.dtype.name, "I64")
        header[name] = {"dtype": code, "shape": list(w.shape), "data_offsets": offsets}
        data += w.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_hdf5(path, tensors, **options):
    """Tensors in an HDF5 file; bfloat16 and float8 as Keras writes them."""
    with h5py.File(path, "w") as file:
        for name, w in tensors.items():
            if w.dtype.kind != "V":
                file.create_dataset(name, data=w, **options if w.ndim else {})
                continue
            raw = w.view(np.dtype(f"V{w.dtype.itemsize}"))
            file.create_dataset(name, data=raw, **options if w.ndim else {})
            file[name].attrs["dtype"] = w.dtype.name


def write(folder, form, tensors):
    """Tensors as a checkpoint of some format in an empty folder; its path."""
    path = folder / "model"
    if form == "safetensors":
        write_safetensors(path, tensors)
    elif form in ("hdf5", "chunked"):
        write_hdf5(path, tensors, **({"chunks": True, "compression": 1} if form != "hdf5" else {}))
    elif form == "sharded":
        path = folder / "shards/model.weights.json"
        path.parent.mkdir()
        write_hdf5(path.with_name("model_00000.weights.h5"), tensors)
        shards = {"/layers/dense/vars": "model_00000.weights.h5"}
        path.write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    else:
        write_keras(path, form, tensors)
    return path


def write_keras(path, form, tensors):
    """Tensors as a `.keras` archive, or unzipped."""
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": []}}
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    (path / "metadata.json").write_text(json.dumps({"keras_version": "3.15.1"}))
    write_hdf5(path / "model.weights.h5", tensors)
    if form == "archive":
        archive = path.with_name("model.keras")
        with zipfile.ZipFile(archive, "w") as file:
            for member in sorted(path.iterdir()):
                file.write(member, member.name)
        shutil.rmtree(path)
        archive.rename(path)


def fresh(tmp_path):
    """An empty folder."""
    folder = tmp_path / "case"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def project(source, rule):
    """Projects a checkpoint; the one report, and what the result is opened by."""
    target = source.parent / "out"
    if source.suffix == ".json":
        target = source.parent.with_name("out")
    (report,) = wproj.project(source, target, rule)
    return report, target / source.name if source.suffix == ".json" else target


def check(path, rule, **policy):
    """What `check` says of the tensors that the rule takes."""
    return list(wproj.check(wproj.plan(path, rule), CheckPolicy(**policy)))


def check_array(folder, w, rule, **policy):
    """What `check` says of one tensor."""
    folder.mkdir(exist_ok=True)
    write_safetensors(folder / "w", {"w": w})
    (report,) = check(folder / "w", f"w {rule}", **policy)
    return report


def norms_of(w, axis):
    """Euclidean norms in float64."""
    return np.sqrt(np.square(w.astype(np.float64)).sum(axis=axis))


# What project writes


@pytest.mark.parametrize("form", FORMATS)
@law
@given(data=st.data())
def test_what_project_writes_passes_strictly(tmp_path, form, data):
    """`check --rtol 0` counts what `project` said it leaves: nothing where the rule can hold."""
    name = data.draw(st.sampled_from(DTYPES[: 6 if form == "safetensors" else 4]))
    shape, seed = data.draw(shapes), data.draw(seeds)
    rule = f"{PATH} {data.draw(st.sampled_from(SPECS))} axis={data.draw(axes(len(shape)))}"
    folder = fresh(tmp_path)
    tensors = {PATH: weights(seed, shape, name), OTHER: np.ones(3, np.float32)}
    source = write(folder, form, tensors)

    projected, target = project(source, rule)
    (checked,) = check(target, rule, rtol=0.0)

    assert checked.violations.before == projected.violations.after
    assert checked.status == ("violation" if projected.violations.after else "ok")
    assert checked.unreachable == projected.unreachable
    assert checked.norm_before == projected.norm_after


@pytest.mark.parametrize("spec", BOUNDS)
@pytest.mark.parametrize("name", DTYPES)
@law
@given(data=st.data())
def test_every_vector_but_zero_is_inside_after_a_projection(tmp_path, name, spec, data):
    """With zero vectors allowed, the gate is open; without, exactly they close it."""
    shape = data.draw(shapes)
    axis = data.draw(axes(len(shape)))
    w = weights(data.draw(seeds), shape, name)
    rule = wproj.parse_rule(f"w {spec} axis={axis}")
    inside = rule.steps[0].at(summed(axis, len(shape))).project(w)

    strict = check_array(tmp_path / "s", inside, f"{spec} axis={axis}", rtol=0.0)
    lenient = check_array(
        tmp_path / "s", inside, f"{spec} axis={axis}", rtol=0.0, unreachable="ignore"
    )

    assert lenient.status == "ok"
    assert lenient.violations.before == 0
    zeros = int((norms_of(w, summed(axis, len(shape))) == 0).sum())
    assert strict.violations.before == (zeros if BOUNDS[spec][0] else 0)


# What check counts


@pytest.mark.parametrize("spec", [*BOUNDS, "non_neg"])
@pytest.mark.parametrize("rtol", [0.0, 1e-3, 0.1, 1.0])
@pytest.mark.parametrize("zeros", ["error", "ignore"])
@law
@given(data=st.data())
def test_the_verdict_is_that_of_numpy_in_float64(tmp_path, spec, rtol, zeros, data):
    """Violations by vector, as the documented formula has them."""
    shape = data.draw(shapes)
    axis = data.draw(axes(len(shape)))
    name = data.draw(st.sampled_from(["float64", "float32"]))
    w = weights(data.draw(seeds), shape, name)
    norms = norms_of(w, summed(axis, len(shape)))
    low, high = BOUNDS.get(spec, (0.0, math.inf))
    outside = (norms < low * (1 - rtol) - 1e-15) | (norms > high * (1 + rtol) + 1e-15)
    if zeros == "ignore":
        outside &= norms > 0
    if spec == "non_neg":
        outside = (w < 0).any(axis=summed(axis, len(shape)))

    report = check_array(tmp_path / "n", w, f"{spec} axis={axis}", rtol=rtol, unreachable=zeros)

    assert report.violations.before == int(outside.sum())
    assert report.status == ("violation" if outside.any() else "ok")
    assert (report.violations.worst_index is None) is not outside.any()


@law
@given(seed=seeds, spec=st.sampled_from(sorted(BOUNDS)), name=st.sampled_from(DTYPES))
def test_a_wider_tolerance_finds_no_more(tmp_path, seed, spec, name):
    """From strict to lax, the count falls; and what passes strictly passes without `--rtol`."""
    w = weights(seed, (5, 8), name)
    rule = f"{spec} axis=0"
    counts = [
        check_array(tmp_path / "t", w, rule, rtol=rtol).violations.before
        for rtol in (0.0, 1e-9, 4e-4, 4.9e-4, 1e-3, 0.05, 0.4, 1.0)
    ]
    lax = check_array(tmp_path / "t", w, rule).violations.before

    assert counts == sorted(counts, reverse=True)
    assert lax <= counts[0]


# What Keras trained


def by_keras(w, spec, axis):
    """What the formulas of Keras 3 make of weights, in float64, rounded once."""
    rule = wproj.parse_rule(f"w {spec}")
    step = rule.steps[0].at(axis) if spec != "non_neg" else rule.steps[0]
    return step.project(w, numerics="keras")


@pytest.mark.parametrize("spec", [*BOUNDS, "non_neg", "max_norm=0.001", "min_max_norm=0.001..1"])
@pytest.mark.parametrize("name", DTYPES[:4])
@law
@given(seed=seeds, shape=st.sampled_from([(40, 3), (3, 200), (3, 3, 8, 5), (7,)]))
def test_what_keras_leaves_passes_without_a_tolerance(tmp_path, name, spec, seed, shape):
    """Vectors that had a tenth of a lower bound or more, moved by the formulas of Keras."""
    axis = tuple(range(len(shape) - 1)) or (0,)
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(shape)
    low = BOUNDS.get(spec, (0.001, 1.0))[0] or 0.1
    norms = np.sqrt(np.square(w).sum(axis=axis, keepdims=True))
    w *= low * 10 ** rng.uniform(-0.95, 2, norms.shape) / norms

    left = by_keras(w.astype(dtype_of(name)), spec, axis)
    report = check_array(tmp_path / "k", left, f"{spec} axis={','.join(map(str, axis))}")

    assert report.violations.before == 0, report.violations


@pytest.mark.parametrize("spec", BOUNDS)
@pytest.mark.parametrize(
    ("name", "part"), [("float64", 0.01), ("float32", 0.01), ("float16", 0.01), ("bfloat16", 0.03)]
)
@law
@given(seed=seeds)
def test_a_violation_of_one_percent_is_found_without_a_tolerance(tmp_path, name, part, spec, seed):
    """Of three in bfloat16, whose numbers are four apart in a thousand."""
    w = np.random.default_rng(seed).standard_normal((40, 6))
    w /= norms_of(w, 0)
    low, high = BOUNDS[spec]
    w *= [high * (1 + part)] * 3 + [(low or high) * (1 - part)] * 3

    report = check_array(tmp_path / "p", w.astype(dtype_of(name)), f"{spec} axis=0")

    assert report.violations.before == (6 if low else 3)


# Baselines


def file_of(folder, w, name="w"):
    """The report of a file whose norms may be at most 1."""
    write_safetensors(folder / name, {"w": w})
    plan = wproj.plan(folder / name, "w max_norm=1 axis=0")
    return wproj.file_report(plan.checkpoint, plan.layout, None, list(wproj.check(plan)))


def forgiven(recorded, found):
    """Whether what was found is no finding given what was recorded."""
    baseline = wproj.record_baseline([recorded])
    return wproj.apply_baseline(found, baseline).tensors[0].status == "ok"


@law
@given(seed=seeds, factor=st.floats(1.001, 1.5))
def test_a_baseline_forgives_what_it_knows_and_nothing_worse(tmp_path, seed, factor):
    """The same, fewer or nearer pass; one more vector, or one farther out, fails."""
    w = np.random.default_rng(seed).standard_normal((4, 9))
    w *= np.linspace(0.5, 3, 9) / norms_of(w, 0)
    recorded = file_of(tmp_path, w)
    worst, inside = w.copy(), w.copy()
    worst[:, 8] *= factor
    inside[:, 0] *= 2.1

    assert forgiven(recorded, recorded)
    assert forgiven(recorded, file_of(tmp_path, w / factor))
    assert forgiven(recorded, file_of(tmp_path, w * ([1] * 8 + [0])))
    assert not forgiven(recorded, file_of(tmp_path, worst))
    assert not forgiven(recorded, file_of(tmp_path, inside))


@pytest.mark.parametrize(
    "given_as", ["m", "./m", "sub/../m", ".\\m", "sub\\..\\m", "{here}/m", "{here}/sub/../m"]
)
def test_a_baseline_knows_a_file_by_any_spelling_of_its_path(tmp_path, monkeypatch, given_as):
    """Paths are compared from the current folder, with slashes."""
    monkeypatch.chdir(tmp_path)
    report = file_of(tmp_path, np.full((2, 2), 5.0), "m")
    known, other = (
        msgspec.structs.replace(report, path=path.format(here=tmp_path))
        for path in (given_as, "sub/m")
    )
    plain = msgspec.structs.replace(report, path="m")

    assert [k.file for k in wproj.record_baseline([known]).tensors] == ["m"]
    assert forgiven(known, plain)
    assert forgiven(plain, known)
    assert not forgiven(plain, other)


def test_a_norm_beyond_float64_is_as_far_outside_as_can_be(tmp_path):
    """JSON has no infinity, and a baseline needs none."""
    beyond = file_of(tmp_path, np.full((4, 1), 1.7e308))
    near = file_of(tmp_path, np.full((4, 1), 5.0))

    assert forgiven(beyond, beyond)
    assert forgiven(beyond, near)
    assert not forgiven(near, beyond)


# Differences


def compared(a, b, **options):
    """What `diff` says of two files, by name."""
    found = wproj.diff(wproj.open_checkpoint(a), wproj.open_checkpoint(b), **options)
    return {tensor.name: tensor for tensor in found}


@st.composite
def models(draw):
    """Tensors of several dtypes and shapes."""
    count = draw(st.integers(1, 5))
    found = {}
    for n in range(count):
        shape, seed = draw(st.sampled_from([(3, 4), (5,), ()])), draw(st.integers(0, 3))
        kind = draw(st.sampled_from(["float32", "float16", "int64"]))
        w = np.random.default_rng(seed).integers(-9, 9, shape)
        found[f"layers/l{draw(st.integers(0, 6))}/vars/{n}"] = np.asarray(w).astype(kind)
    return found


@law
@given(a=models(), b=models(), forms=st.tuples(*[st.sampled_from(["safetensors", "hdf5"])] * 2))
def test_a_difference_is_the_same_from_both_sides(tmp_path, a, b, forms):
    """What one adds the other removes, and the measures agree; also across formats."""
    for side, tensors, form in zip("ab", (a, b), forms, strict=True):
        shutil.rmtree(tmp_path / side, ignore_errors=True)
        (tmp_path / side).mkdir()
        write(tmp_path / side, form, tensors)
    paths = tmp_path / "a/model", tmp_path / "b/model"
    there, back = compared(*paths, layout="keras"), compared(*paths[::-1], layout="keras")
    mirror = {"added": "removed", "removed": "added"}

    assert there.keys() == back.keys() == a.keys() | b.keys()
    for name, one in there.items():
        two = back[name]
        expected = expected_status(a.get(name), b.get(name))
        assert one.status == expected
        assert two.status == mirror.get(expected, expected)
        assert (one.a, one.b) == (two.b, two.a)
        assert (one.norm_before, one.norm_after) == (two.norm_after, two.norm_before)
        if one.difference is not None:
            assert one.difference.entries == two.difference.entries
            assert one.difference.largest == two.difference.largest


def expected_status(one, two):
    """What becomes of a tensor."""
    if one is None or two is None:
        return "added" if one is None else "removed"
    if one.shape != two.shape:
        return "reshaped"
    if one.dtype != two.dtype:
        return "retyped"
    return "unchanged" if one.tobytes() == two.tobytes() else "changed"


@pytest.mark.parametrize("form", FORMATS)
@law
@given(seed=seeds)
def test_a_projection_differs_in_the_tensors_that_it_changed(tmp_path, form, seed):
    """A file does not differ from itself; after `project`, in what its report says."""
    folder = fresh(tmp_path)
    tensors = {PATH: weights(seed, (4, 6), "float32"), OTHER: weights(seed + 1, (6,), "float32")}
    source = write(folder, form, tensors)
    report, target = project(source, f"{PATH} max_norm=1.5 axis=0")
    found = compared(source, target, axis=(0,))

    assert {t.status for t in compared(source, source).values()} == {"unchanged"}
    changed = [tensor for tensor in found.values() if tensor.status != "unchanged"]
    assert [t.path for t in changed] == [PATH] * (report.status == "changed")
    for tensor in changed:
        assert tensor.difference.entries == report.changed_entries
        assert (tensor.norm_before, tensor.norm_after) == (report.norm_before, report.norm_after)


@law
@given(seed=seeds, exponent=st.integers(-20, 0))
def test_what_differs_by_less_than_the_tolerance_does_not_differ(tmp_path, seed, exponent):
    """`|a - b| <= atol + rtol * |a|`, entry by entry, as NumPy has it."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((4, 5))
    b = a + rng.standard_normal((4, 5)) * 2.0**exponent
    write_safetensors(tmp_path / "a", {"w": a})
    write_safetensors(tmp_path / "b", {"w": b})
    for rtol, atol in ((0, 0), (0.01, 0), (0, 0.01), (0.1, 0.1)):
        expected = int((np.abs(a - b) > atol + rtol * np.abs(a)).sum())
        (tensor,) = compared(tmp_path / "a", tmp_path / "b", rtol=rtol, atol=atol).values()

        assert tensor.difference.entries == expected
        assert tensor.status == ("changed" if expected else "unchanged")
        if expected == 20:
            assert tensor.difference.largest == np.abs(a - b).max()
            assert tensor.difference.relative == (np.abs(a - b) / np.abs(a)).max()


# Explanations

PATTERNS = ("*", "a*", "*.weight", "b", "a.weight", "{a,b}.bias", "c.*", "re:.*bias")


@law
@given(data=st.data())
def test_what_is_explained_is_what_is_planned(tmp_path, data):
    """Where a plan can be made, its tensors, axes, vectors and reasons are those of `explain`."""
    names = ["a.weight", "a.bias", "b.weight", "b.bias", "c.counter"]
    kinds = dict.fromkeys(names, np.float32) | {"c.counter": np.int64}
    write_safetensors(tmp_path / "m", {name: np.ones((2, 3), kinds[name]) for name in names})
    count = data.draw(st.integers(1, 3))
    rules = [
        wproj.parse_rule(f"{data.draw(st.sampled_from(PATTERNS))} max_norm={n + 1} axis=0")
        for n in range(count)
    ]
    exclude = data.draw(st.sampled_from([(), ("*.bias",), ("b",)]))
    sketch = wproj.explain_plan(tmp_path / "m", rules, exclude=exclude)
    told = {tensor.name: tensor for tensor in wproj.explain(sketch)}
    uses = wproj.rule_reports(sketch)
    plan = wproj.plan(tmp_path / "m", rules, exclude=exclude, allow_unmatched=True)

    assert list(told) == names
    for item in plan.items:
        tensor = told.pop(item.entry.name)
        assert tensor.rule == str(item.rule)
        if isinstance(item, wproj.Assignment):
            assert tensor.axis == list(item.axis)
            assert (tensor.vectors, tensor.vector_length) == (item.vectors, item.vector_length)
        else:
            assert (tensor.status, tensor.reason) == ("skipped", item.reason)
    assert {tensor.reason for tensor in told.values()} <= {"no rule matches it"}
    taken = [item.entry.name for item in plan.assignments]
    assert sorted(name for use in uses for name in use.taken) == sorted(taken)
    problems = [use.problem for use in uses if use.problem]
    assert bool(problems) == bool(refused(tmp_path / "m", rules, exclude))


def refused(path: Path, rules, exclude):
    """Whether `project` and `check` refuse the rules."""
    try:
        wproj.plan(path, rules, exclude=exclude)
    except wproj.RequestError as error:
        return error
    return None
