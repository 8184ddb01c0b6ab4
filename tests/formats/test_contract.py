"""What every format has to keep: the same tensors in, the same tensors and files out."""

import hashlib
import stat

import ml_dtypes
import numpy as np
import pytest

import wproj

# Three tiles and more, of sizes that no tile divides.
LARGE = (251, 61, 53)
TILES = 3 * 262_144


def weights(shape=(9, 7), dtype=np.float32, seed=1):
    """Weights of many lengths along any axis, some beyond 1."""
    rng = np.random.default_rng(seed)
    scale = np.exp(rng.normal(size=shape[-1]))
    return (rng.normal(size=shape) * scale / np.sqrt(shape[0])).astype(dtype)


def model(dtype=np.float32):
    """A tensor to project and others to leave alone."""
    return {
        "dense/kernel": weights(dtype=dtype),
        "dense/bias": weights((7,)),
        "other": weights((3, 2), np.float64),
        "step": np.float32(3).reshape(()),
    }


RULES = {
    "max_norm=1 axis=0": wproj.MaxNorm(1, axis=0),
    "max_norm=0.5 axis=-1": wproj.MaxNorm(0.5, axis=-1),
    "max_norm=0 axis=0": wproj.MaxNorm(0, axis=0),
    "unit_norm axis=0": wproj.UnitNorm(axis=0),
    "unit_norm axis=all": wproj.UnitNorm(axis=None),
    "min_max_norm=0.5..0.7 axis=1": wproj.MinMaxNorm(0.5, 0.7, axis=1),
    "non_neg": wproj.NonNeg(),
    "non_neg+max_norm=1 axis=0": lambda w: wproj.MaxNorm(1, axis=0)(wproj.NonNeg()(w)),
    "non_neg+max_norm=1000 axis=0": wproj.NonNeg(),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_file_holds_what_the_array_api_returns(container, project, rule):
    """The bytes of the result are those of the constraint applied to the stored array."""
    arrays = model()
    source = container.write(arrays)
    target = source.with_name("target")
    project(source, target, f"dense/kernel {rule}")
    expected = RULES[rule](arrays["dense/kernel"])

    assert container.read(target, "dense/kernel").tobytes() == expected.tobytes()
    for name in arrays.keys() - {"dense/kernel"}:
        assert container.read(target, name).tobytes() == arrays[name].tobytes()


@pytest.mark.parametrize("rule", RULES)
def test_projecting_again_changes_no_byte(container, project, rule):
    """The second result is the first, as a file."""
    source = container.write(model())
    once, twice = source.with_name("once"), source.with_name("twice")
    first = project(source, once, f"dense/kernel {rule}")
    second = project(once, twice, f"dense/kernel {rule}")

    assert [report.status for report in first] == ["changed"]
    assert [report.status for report in second] == ["unchanged"]
    assert twice.read_bytes() == once.read_bytes() != source.read_bytes()


@pytest.mark.parametrize("rule", RULES)
def test_a_compliant_file_is_copied(container, project, rule):
    """What is inside from the start comes out with the bytes of the whole file."""
    inside = RULES[rule](weights())
    source = container.write({**model(), "dense/kernel": inside})
    target = source.with_name("target")
    (report,) = project(source, target, f"dense/kernel {rule}")

    assert (report.status, report.violations.before) == ("unchanged", 0)
    assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    "dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64], ids=lambda d: d.__name__
)
def test_all_formats_hold_the_same_result(containers, project, dtype):
    """The format has no say in the values."""
    arrays = model(dtype)
    results = {}
    for label, each in containers.items():
        each.write(each.path, arrays)
        project(each.path, each.path.with_name(f"{label} out"), "dense/kernel max_norm=1 axis=0")
        result = each.read(each.path.with_name(f"{label} out"), "dense/kernel")
        results[label] = (result.dtype, result.tobytes())
    expected = wproj.MaxNorm(1, axis=0)(arrays["dense/kernel"])

    assert len(results) == 4
    assert set(results.values()) == {(expected.dtype, expected.tobytes())}


@pytest.mark.parametrize("axis", [0, 1, 2, (0, 1), (0, 2), (1, 2), (-1, 0), None], ids=str)
def test_a_tensor_of_several_tiles_is_projected_like_an_array(container, project, axis):
    """In blocks from a file or whole in memory, along every form of axis: the same bytes."""
    w = weights(LARGE)
    bound = float(np.median(np.sqrt(np.square(w).sum(axis=axis)))) / 2
    source = container.write({"w": w, "behind": weights((2, 2))})
    target = source.with_name("target")
    constraint = wproj.MaxNorm(bound, axis=axis)
    project(source, target, wproj.Rule("w", constraint))
    result = container.read(target, "w")

    assert w.size > TILES
    assert result.tobytes() == constraint(w).tobytes() != w.tobytes()
    assert container.read(target, "behind").tobytes() == weights((2, 2)).tobytes()


@pytest.mark.parametrize(
    "shape", [(400_009,), (3, 140_011), (140_011, 3), (1, 400_009, 1)], ids=str
)
@pytest.mark.parametrize("axis", [0, -1], ids=str)
def test_odd_tensors_of_several_tiles_are_projected_like_arrays(containers, project, shape, axis):
    """Vectors longer than a tile, and rows that no tile divides."""
    w = weights(shape)
    bound = float(np.median(np.linalg.norm(w, axis=axis))) / 2
    constraint = wproj.MaxNorm(bound, axis=axis)
    expected = constraint(w).tobytes()
    for label in ("safetensors", "hdf5 contiguous"):
        each = containers[label]
        each.write(each.path, {"w": w})
        project(each.path, each.path.with_name("out"), wproj.Rule("w", constraint), overwrite=True)

        assert each.read(each.path.with_name("out"), "w").tobytes() == expected != w.tobytes()


@pytest.mark.parametrize("axis", [(0, 2), (1, 2)], ids=str)
def test_several_steps_stream_through_large_tensors(container, project, axis):
    """Non-negative first, then short, as two calls on arrays would have it."""
    w = weights(LARGE)
    w[10:100] /= 1000
    bound = float(np.sqrt(np.square(np.maximum(w, 0)).sum(axis=axis)).max()) / 2
    source = container.write({"w": w})
    target = source.with_name("target")
    project(source, target, wproj.Rule("w", (wproj.NonNeg(), wproj.MaxNorm(bound, axis=axis))))
    expected = wproj.MaxNorm(bound, axis=axis)(wproj.NonNeg()(w))

    assert container.read(target, "w").tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("rule", "constraint"),
    [
        ("max_norm=1 axis=0", wproj.MaxNorm(1, axis=0)),
        ("unit_norm axis=1", wproj.UnitNorm(axis=1)),
        ("min_max_norm=0.5..2 axis=0 rate=0.1", wproj.MinMaxNorm(0.5, 2, rate=0.1, axis=0)),
    ],
)
@pytest.mark.parametrize("epsilon", [1e-7, 0.25])
def test_keras_numerics_are_those_of_the_array_api(container, project, rule, constraint, epsilon):
    """With its epsilon; compliant vectors change, too."""
    w = weights()
    source = container.write({"w": w})
    target = source.with_name("target")
    project(source, target, f"w {rule}", numerics="keras", epsilon=epsilon)
    expected = constraint.project(w, numerics="keras", epsilon=epsilon)

    assert container.read(target, "w").tobytes() == expected.tobytes()
    assert expected.tobytes() != constraint(w).tobytes()


def test_keras_numerics_are_the_published_formula(container, project):
    """`w * (desired / (epsilon + n))`, in float64, rounded once."""
    w = weights()
    source = container.write({"w": w})
    target = source.with_name("target")
    project(source, target, "w max_norm=1 axis=0", numerics="keras", epsilon=0.01)
    wide = w.astype(np.float64)
    norms = np.sqrt(np.square(wide).sum(axis=0))
    expected = wide * (np.minimum(norms, 1) / (0.01 + norms))

    np.testing.assert_allclose(container.read(target, "w"), expected, rtol=1.2e-7)


MINE = """
import numpy as np
import wproj

class Halve(wproj.Constraint):
    def __init__(self, factor=2):
        self.factor = factor

    def __call__(self, w):
        assert w.dtype == np.float64
        return w / self.factor

    def get_config(self):
        return {"factor": self.factor}
"""


def test_a_constraint_from_a_file_is_applied(container, project, tmp_path):
    """Its class is named in the rule, and gets the tensor whole, with its parameters."""
    (tmp_path / "mine.py").write_text(MINE)
    arrays = model()
    source = container.write(arrays)
    target = source.with_name("target")
    (report,) = project(source, target, f"dense/kernel {tmp_path}/mine.py:Halve factor=4")
    expected = (arrays["dense/kernel"].astype(np.float64) / 4).astype(np.float32)

    assert container.read(target, "dense/kernel").tobytes() == expected.tobytes()
    assert report.constraint[0].config == {"factor": 4}
    assert report.violations.before is None


def test_a_constraint_from_a_file_composes_with_others(container, project, tmp_path):
    """It is a step like any other."""
    (tmp_path / "mine.py").write_text(MINE)
    w = weights()
    source = container.write({"w": w})
    target = source.with_name("target")
    project(source, target, f"w {tmp_path}/mine.py:Halve+max_norm=0.2 axis=0")
    expected = wproj.MaxNorm(0.2, axis=0)((w.astype(np.float64) / 2).astype(np.float32))

    assert container.read(target, "w").tobytes() == expected.tobytes()


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640, 0o444])
def test_the_source_stays_as_it_is(container, project, mode):
    """Its bytes, its mode and its times; the target gets its mode."""
    source = container.write(model())
    source.chmod(mode)
    before = source.stat()
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    target = source.with_name("target")
    project(source, target, "dense/kernel max_norm=0.1 axis=0")
    after = source.stat()

    assert hashlib.sha256(source.read_bytes()).hexdigest() == digest
    assert stat.S_IMODE(after.st_mode) == stat.S_IMODE(target.stat().st_mode) == mode
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_dry_run_writes_nothing_and_reports_the_same(container, project):
    """No file appears, none changes, and the reports are those of the real run."""
    large = weights(LARGE)
    large[70:] /= 1000  # Whole tiles that nothing changes.
    source = container.write(model() | {"large": large})
    before = source.read_bytes()
    rules = ["dense/kernel non_neg+max_norm=0.5 axis=0", "other unit_norm axis=0"]
    rules.append("large max_norm=0.5 axis=2")
    dry = project(source, None, *rules)

    assert list(source.parent.iterdir()) == [source]
    assert source.read_bytes() == before
    assert dry == project(source, source.with_name("target"), *rules)
    assert [report.status for report in dry] == ["changed", "changed", "changed"]


def test_a_file_is_projected_in_place(container, project):
    """It then is what a separate target would have been."""
    source = container.write(model())
    target = source.with_name("target")
    project(source, target, "dense/kernel max_norm=0.5 axis=0")
    project(source, source, "dense/kernel max_norm=0.5 axis=0", in_place=True)

    assert source.read_bytes() == target.read_bytes()
    assert sorted(source.parent.iterdir()) == sorted([source, target])


def test_the_result_does_not_depend_on_the_name_of_the_file(container, project):
    """Formats are told by content, never by suffix."""
    arrays = model()
    for name in ("model.txt", "model.h5", "model.safetensors", "model"):
        source = container.write(arrays, name)
        target = source.with_name("target")
        project(source, target, "dense/kernel max_norm=1 axis=0", overwrite=True)
        expected = wproj.MaxNorm(1, axis=0)(arrays["dense/kernel"])

        assert container.read(target, "dense/kernel").tobytes() == expected.tobytes()


def test_nonfinite_vectors_can_be_left_alone(container, project):
    """Their bytes stay, the others are projected."""
    w = weights()
    w[2, 1], w[4, 3] = np.nan, -np.inf
    source = container.write({"w": w})
    target = source.with_name("target")
    (report,) = project(source, target, "w max_norm=0.01 axis=0", nonfinite="skip")
    result = container.read(target, "w")

    assert report.nonfinite == 2
    assert result[:, [1, 3]].tobytes() == w[:, [1, 3]].tobytes()
    finite = np.delete(result, [1, 3], axis=1).astype(np.float64)
    assert np.sqrt(np.square(finite).sum(axis=0)).max() <= 0.01


def test_nonfinite_entries_are_refused_with_count_and_first_index(container, project):
    """In the last tile of a large tensor as in the first; nothing is written."""
    w = weights(LARGE)
    w[126, 60, 51], w[126, 60, 52] = np.inf, np.nan
    source = container.write({"w": w})
    target = source.with_name("target")

    with pytest.raises(wproj.InputError, match=r"w: 2 non-finite .*index \[126, 60, 51\]"):
        project(source, target, "w max_norm=0.01 axis=0")
    assert list(source.parent.iterdir()) == [source]
