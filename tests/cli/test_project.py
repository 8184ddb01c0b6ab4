"""`wproj project`: where the result goes, which rules make it, and which requests are refused."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

# Rows of the norms 5 and 1; columns of the norms 3 and sqrt(17).
KERNEL = np.array([[3, 4], [0, 1]], np.float32)

RULE = ("-r", "a.weight max_norm=2.5 axis=1")


@pytest.fixture
def folder(tmp_path):
    """A folder with `m.safetensors`, PyTorch's layout not declared."""
    tensors = {
        "a.weight": KERNEL,
        "b.weight": np.array([[6, -8], [0.25, 0.5]], np.float32),
        "b.bias": np.array([3, 4], np.float32),
        "holes": np.array([[np.nan, 9], [3, 4], [np.inf, -9]], np.float32),
    }
    save_file(tensors, tmp_path / "m.safetensors")
    return tmp_path


@pytest.fixture
def project(folder, within):
    """Runs `wproj project m.safetensors` in the folder."""
    return lambda *words: within("project", "m.safetensors", *words, cwd=folder)


@pytest.fixture
def source(folder):
    """The bytes of `m.safetensors` before anything is done to it."""
    return (folder / "m.safetensors").read_bytes()


def tensors_of(run):
    """The tensors in the JSON on standard output, by name."""
    (file,) = json.loads(run.stdout)["files"]
    return {tensor["name"]: tensor for tensor in file["tensors"]}


def norms(values, axis):
    """Euclidean norms in float64."""
    return np.sqrt(np.square(values.astype(np.float64)).sum(axis))


# Where the result goes


def test_output_goes_to_a_new_file_and_the_source_stays(project, folder, source):
    """`-o` writes the projected values, and nothing else differs."""
    run = project(*RULE, "-o", "out.safetensors")
    before, after = load_file(folder / "m.safetensors"), load_file(folder / "out.safetensors")
    target = (folder / "out.safetensors").read_bytes()
    start = source.index(KERNEL.tobytes())
    others = {*range(len(source))} - {*range(start, start + 8)}

    assert run.returncode == 0
    assert (folder / "m.safetensors").read_bytes() == source
    assert len(target) == len(source)
    assert all(target[i] == source[i] for i in others)
    assert norms(after["a.weight"], 1)[0] <= 2.5
    np.testing.assert_allclose(after["a.weight"], before["a.weight"] * [[0.5], [1]], rtol=2.0**-22)
    assert sorted(path.name for path in folder.iterdir()) == ["m.safetensors", "out.safetensors"]


def test_in_place_gives_the_bytes_that_output_gives(project, folder, source):
    """`--in-place` replaces the source by what `-o` would have written."""
    project(*RULE, "-o", "out.safetensors")
    run = project(*RULE, "--in-place")

    assert run.returncode == 0
    assert (folder / "m.safetensors").read_bytes() != source
    assert (folder / "m.safetensors").read_bytes() == (folder / "out.safetensors").read_bytes()


def test_in_place_without_a_change_leaves_the_file_alone(project, folder):
    """The same file, not a copy of the same bytes: inode and time of change stay."""
    project(*RULE, "--in-place")
    path = folder / "m.safetensors"
    os.utime(path, ns=(10**18, 10**18))
    before = path.stat()
    run = project(*RULE, "--in-place")
    after = path.stat()

    assert run.returncode == 0
    assert "0 changed" in run.stdout
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_output_without_a_change_is_a_copy(project, folder, source):
    """`-o` gives a file even where nothing is outside."""
    run = project("-r", "a.weight max_norm=9 axis=1", "-o", "out.safetensors")

    assert run.returncode == 0
    assert (folder / "out.safetensors").read_bytes() == source


@pytest.mark.parametrize("force", [False, True])
def test_an_existing_target_needs_force(project, folder, source, force):
    """Without `--force` an existing file keeps its bytes."""
    target = folder / "out.safetensors"
    target.write_bytes(b"precious")
    run = project(*RULE, "-o", "out.safetensors", *["--force"] * force)

    assert run.returncode == (0 if force else 2)
    assert (target.read_bytes() == b"precious") is not force
    assert ("--force replaces it" in run.stderr) is not force
    assert (folder / "m.safetensors").read_bytes() == source


@pytest.mark.parametrize("link", ["m.safetensors", "hard", "soft"])
def test_the_source_as_target_is_refused(project, folder, source, link):
    """Neither by its name nor by a link is the source written to, not even with `--force`."""
    os.link(folder / "m.safetensors", folder / "hard")
    (folder / "soft").symlink_to("m.safetensors")
    run = project(*RULE, "-o", link, "--force")

    assert run.returncode == 2
    assert run.stderr.splitlines()[-2].startswith(f"error: {link}: is ")
    assert (folder / "m.safetensors").read_bytes() == source
    assert (folder / "soft").is_symlink()


@pytest.mark.parametrize("words", [["-n"], ["--dry-run"], ["-n", "-o", "out.safetensors"]], ids=str)
def test_a_dry_run_reports_and_writes_nothing(project, folder, source, words):
    """`-n` measures what the projection would do, and leaves the folder as it was."""
    dry = project(*RULE, *words, "-f", "json")
    names = sorted(path.name for path in folder.iterdir())
    real = project(*RULE, "-o", "out2.safetensors", "-f", "json")

    assert (dry.returncode, real.returncode) == (0, 0)
    assert names == ["m.safetensors"]
    assert (folder / "m.safetensors").read_bytes() == source
    assert json.loads(dry.stdout)["files"][0]["output"] is None
    assert tensors_of(dry) == tensors_of(real)


def test_check_exits_1_before_and_0_after(project, folder, source):
    """`--check` finds what is outside, writes nothing, and finds nothing in the result."""
    found = project(*RULE, "--check")
    unchanged = (folder / "m.safetensors").read_bytes()
    project(*RULE, "--in-place")
    clean = project(*RULE, "--check")

    assert (found.returncode, clean.returncode) == (1, 0)
    assert unchanged == source
    assert "1 changed" in found.stdout
    assert "0 changed" in clean.stdout


@pytest.mark.parametrize(
    ("words", "code"),
    [(["-r", "typo max_norm=1 axis=1"], 2), (["-r", "holes max_norm=1 axis=1"], 3)],
)
def test_a_check_that_could_not_be_made_is_not_a_finding(project, words, code):
    """Only findings are exit 1."""
    run = project(*words, "--check")

    assert run.returncode == code
    assert run.stderr.splitlines()[-2].startswith("error: ")


# Which rules


@pytest.mark.parametrize(
    ("parts", "rule"),
    [
        (["-m", "a.weight", "-c", "max_norm=2.5", "-a", "1"], "a.weight max_norm=2.5 axis=1"),
        (["-m", "?.weight", "-c", "max_norm", "-a", "0,1"], "?.weight max_norm axis=0,1"),
        (["-m", "b", "-c", "non_neg+MaxNorm=1", "-a", "all"], "b non_neg+MaxNorm=1 axis=all"),
        (["-m", "b.*", "-c", "non_neg"], "b.* non_neg"),
        (["-m", "*.weight", "-c", "unit_norm", "-a", "-1"], "*.weight unit_norm axis=-1"),
        (
            ["-m", "a*", "-c", "min_max_norm=2..3 rate=0.5", "-a", "0"],
            "a* min_max_norm=2..3 rate=0.5 axis=0",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_parts_of_a_rule_make_what_the_rule_makes(project, folder, parts, rule):
    """`-m`, `-c` and `-a` write the bytes that the same rule in one token writes."""
    runs = [
        project(*parts, "-o", "parts.safetensors", "-f", "json"),
        project("-r", rule, "-o", "rule.safetensors", "-f", "json"),
    ]
    reports = [tensors_of(run).values() for run in runs]

    assert [run.returncode for run in runs] == [0, 0]
    target = (folder / "rule.safetensors").read_bytes()
    assert (folder / "parts.safetensors").read_bytes() == target
    assert [t | {"rule": ""} for t in reports[0]] == [t | {"rule": ""} for t in reports[1]]
    assert {t["rule"] for t in reports[1]} == {rule}


def test_a_repeated_match_is_one_rule(project):
    """Several `-m` share the constraint."""
    words = ("-m", "a.weight", "-m", "b.weight", "-c", "max_norm=2.5", "-a", "1", "-n")
    run = project(*words, "-f", "json")

    assert run.returncode == 0
    assert {name: t["status"] for name, t in tensors_of(run).items()} == {
        "a.weight": "changed",
        "b.weight": "changed",
    }


def test_the_first_rule_that_matches_takes_the_tensor(project, folder):
    """Rules are tried in the order in which they are given."""
    narrow, wide = ("-r", "a.weight max_norm=2 axis=1"), ("-r", "*.weight max_norm=1 axis=1")
    run = project(*narrow, *wide, "-o", "out.safetensors", "-f", "json")
    taken = {name: t["rule"] for name, t in tensors_of(run).items()}
    after = load_file(folder / "out.safetensors")

    assert run.returncode == 0
    assert taken == {"a.weight": narrow[1], "b.weight": wide[1]}
    assert norms(after["a.weight"], 1) == pytest.approx([2, 1])
    assert norms(after["b.weight"], 1)[0] == pytest.approx(1)


def test_a_rule_that_comes_too_late_is_refused(project):
    """A rule whose tensors were all taken is an error that names the earlier rule."""
    run = project("-r", "*.weight max_norm=1 axis=1", "-r", "a.weight max_norm=2 axis=1", "-n")

    assert run.returncode == 2
    assert "has no tensor left" in run.stderr
    assert "taken by rule '*.weight max_norm=1 axis=1'" in run.stderr


def test_an_excluded_tensor_is_left_alone_and_listed(project, folder):
    """`-x` wins over a rule that matches, and the report says so."""
    words = ("-r", "*.weight max_norm=1 axis=1", "-x", "b.*")
    run = project(*words, "-o", "out.safetensors", "-f", "json")
    tensors = tensors_of(run)
    before, after = load_file(folder / "m.safetensors"), load_file(folder / "out.safetensors")

    assert run.returncode == 0
    assert tensors["a.weight"]["status"] == "changed"
    assert (tensors["b.weight"]["status"], tensors["b.weight"]["reason"]) == ("skipped", "excluded")
    assert before["b.weight"].tobytes() == after["b.weight"].tobytes()


@pytest.mark.parametrize(
    ("layout", "axis", "expected"),
    [("keras", [0], [3, np.sqrt(17)]), ("torch", [1], [5, 1])],
)
def test_the_layout_says_what_the_incoming_axis_is(project, layout, axis, expected):
    """`in` is every axis but the last for Keras, every axis but the first for PyTorch."""
    words = ("-r", "a.weight max_norm=1 axis=in", "-n", "-f", "json")
    silent, told = project(*words), project(*words, "--layout", layout)
    tensor = tensors_of(told)["a.weight"]

    assert (silent.returncode, told.returncode) == (2, 0)
    assert "--layout keras" in silent.stderr
    assert tensor["axis"] == axis
    assert tensor["norm_before"]["max"] == pytest.approx(max(expected))
    assert tensor["norm_before"]["min"] == pytest.approx(min(expected))


@pytest.mark.parametrize("late", [False, True], ids=["matches nothing", "nothing left"])
def test_an_unmatched_rule_can_be_allowed(project, late):
    """`--allow-unmatched` turns a rule without a tensor into a warning."""
    rules = (*RULE, "-r", "a.weight max_norm=9 axis=1" if late else "typo max_norm=1 axis=1")
    strict = project(*rules, "-n")
    lenient = project(*rules, "-n", "--allow-unmatched", "-f", "json")
    (diagnostic,) = json.loads(lenient.stdout)["diagnostics"]

    assert (strict.returncode, lenient.returncode) == (2, 0)
    assert strict.stderr.startswith("error: ")
    assert lenient.stderr.startswith("warning: ")
    assert diagnostic["level"] == "warning"
    assert tensors_of(lenient)["a.weight"]["status"] == "changed"


# How exactly


@pytest.mark.parametrize("epsilon", [None, 0.0, 0.5])
def test_keras_numerics_follow_the_formula_with_its_epsilon(project, folder, epsilon):
    """`w * (min(n, c) / (epsilon + n))`, evaluated in float64 and rounded once."""
    given = [] if epsilon is None else ["--epsilon", str(epsilon)]
    run = project(*RULE, "--numerics", "keras", *given, "-o", "out.safetensors")
    n = norms(KERNEL, 1)[:, None]
    factor = np.minimum(n, 2.5) / ((1e-7 if epsilon is None else epsilon) + n)
    expected = (KERNEL.astype(np.float64) * factor).astype(np.float32)

    assert run.returncode == 0
    assert "keras numerics" in run.stdout
    assert load_file(folder / "out.safetensors")["a.weight"].tolist() == expected.tolist()


def test_the_report_of_keras_numerics_says_what_was_perturbed(project):
    """A vector inside is changed by the formula of Keras, and not by the exact projection."""
    rule = ("-r", "a.weight max_norm=9 axis=1", "-n", "-f", "json")
    exact, keras = project(*rule), project(*rule, "--numerics=keras", "--epsilon=1e-3")

    assert json.loads(exact.stdout)["numerics"] == "exact"
    assert json.loads(keras.stdout)["numerics"] == "keras"
    assert tensors_of(exact)["a.weight"]["changed_vectors"] == 0
    assert tensors_of(keras)["a.weight"]["changed_vectors"] == 2
    assert tensors_of(keras)["a.weight"]["violations"] == {
        "before": 0,
        "after": 0,
        "worst_index": None,
        "worst_norm": None,
        "worst_value": None,
        "worst_excess": None,
        "vectors": [],
    }


@pytest.mark.parametrize("numerics", ["exact", "keras"])
def test_a_non_finite_vector_is_refused_or_skipped(project, folder, numerics):
    """NaN and infinity stop the projection, or keep their vectors' bytes."""
    words = ("-r", "holes max_norm=2.5 axis=1", "--numerics", numerics)
    refused = project(*words, "-o", "refused.safetensors")
    skipped = project(*words, "--nonfinite", "skip", "-o", "out.safetensors", "-f", "json")
    before = load_file(folder / "m.safetensors")["holes"]
    after = load_file(folder / "out.safetensors")["holes"]

    assert (refused.returncode, skipped.returncode) == (3, 0)
    assert "holes: 2 non-finite entries, the first at index [0, 0]" in refused.stderr
    assert not (folder / "refused.safetensors").exists()
    assert before[[0, 2]].tobytes() == after[[0, 2]].tobytes()
    assert norms(after[1], 0) == pytest.approx(2.5, rel=1e-6)
    assert tensors_of(skipped)["holes"]["nonfinite"] == 2
    assert "warning: holes: 2 vectors with non-finite entries" in skipped.stderr


# Requests that cannot be meant


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*RULE], "give -o DST, or --in-place"),
        ([*RULE, "-o", "out", "--in-place"], "-o and --in-place exclude each other"),
        (["-n"], "give a rule"),
        (["-n", "-m", "a.weight"], "give a rule"),
        (["-n", "-c", "max_norm=1", "-a", "1"], "give a rule"),
        (["-n", *RULE, "-m", "a.weight"], "-r excludes -m, -c and -a"),
        (["-n", *RULE, "-c", "max_norm=1"], "-r excludes -m, -c and -a"),
        (["-n", *RULE, "-a", "1"], "-r excludes -m, -c and -a"),
        (["-n", "-m", "a", "-c", "non_neg", "-c", "max_norm=1"], "-c is given more than once"),
        (["-n", "-m", "a.weight", "-c", "max_norm=1"], "needs an axis"),
        (["-n", "-r", "a.weight max_norm=1"], "needs an axis"),
        (["-n", "-r", "a.weight max_norm=1 axis=2"], "axis 2 does not fit"),
        (["-n", "-r", "a.weight max_norm=1 axis=0,0"], "names an axis twice"),
        (["-n", "-r", "a.weight max_norm=1 axis=rows"], "'rows' is not an axis"),
        (["-n", "-r", "a.weight"], "has no constraint"),
        (["-n", "-r", "a.weight maxnrm=1 axis=1"], "unknown constraint 'maxnrm'"),
        (["-n", "-r", "a.weight max_norm=-1 axis=1"], "must be a number that is not negative"),
        (["-n", "-r", "a.weight max_norm=nan axis=1"], "must be a number that is not negative"),
        (["-n", "-r", "a.weight min_max_norm=2..1 axis=1"], "min_value must be at most"),
        (["-n", "-r", "a.weight max_norm=1 axis=1 rate=2"], "takes no parameter 'rate'"),
        (["-n", "-r", "typo max_norm=1 axis=1"], "'typo' matches no tensor"),
        (["-n", *RULE, "-x", "*"], "has no tensor left"),
        (["-n", *RULE, "--epsilon", "-1"], "epsilon must be finite and not negative"),
        (["-n", *RULE, "--epsilon", "much"], "--epsilon"),
        (["-n", *RULE, "--numerics", "fast"], "--numerics"),
        (["-n", *RULE, "--nonfinite", "zero"], "--nonfinite"),
        (["-n", *RULE, "--layout", "jax"], "--layout"),
        (["-n", *RULE, "--dryrun"], "--dryrun"),
        (["-n", *RULE, "another.safetensors"], "another.safetensors"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_request_that_cannot_be_meant_is_exit_2(project, folder, source, words, message):
    """The message says what is wrong; nothing is printed as a result, and nothing is written."""
    run = project(*words)

    assert (run.returncode, run.stdout) == (2, "")
    assert message in run.stderr
    assert "error: " in run.stderr.lower()
    assert "Traceback" not in run.stderr
    assert "internal fault" not in run.stderr
    assert [path.name for path in folder.iterdir()] == ["m.safetensors"]
    assert (folder / "m.safetensors").read_bytes() == source


def test_all_problems_of_the_rules_are_told_at_once(project):
    """Who has made three mistakes does not have to run three times."""
    rules = ("typo max_norm=1 axis=1", "a.weight max_norm=1 axis=7", "b.weight max_norm=1")
    run = project(*[word for rule in rules for word in ("-r", rule)], "-n")

    assert run.returncode == 2
    assert run.stderr.startswith("error: 3 problems")
    assert all(
        text in run.stderr for text in ("'typo' matches", "axis 7 does not", "needs an axis")
    )


@pytest.mark.usefixtures("folder")
def test_the_source_is_asked_for(within):
    """Without SRC the usage is shown, with exit 2."""
    run = within("project", "-n", *RULE)

    assert (run.returncode, run.stdout) == (2, "")
    assert "SRC" in run.stderr


# What it may take, and how it is written


@pytest.mark.parametrize(
    "options",
    [
        ["--threads", "1", "--memory", "128MB"],
        ["--threads", "999999999", "--memory", "0.5g"],
        ["--memory", "300000000"],
        ["--memory", "1GiB", "--no-sync"],
        ["--no-verify"],
        ["--no-sync", "--no-verify"],
    ],
    ids=" ".join,
)
def test_how_it_is_done_does_not_change_what_comes_out(project, folder, options):
    """Neither the file nor the report."""
    plain = project(*RULE, "-o", "out.safetensors", "-f", "json")
    expected = (folder / "out.safetensors").read_bytes()
    run = project(*RULE, "-o", "out.safetensors", "-f", "json", "--force", *options)

    assert run.returncode == 0, run.stderr
    assert run.stdout == plain.stdout
    assert (folder / "out.safetensors").read_bytes() == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threads", "0"], "error: at least one thread is needed, not 0"),
        (["--threads", "-1"], "error: at least one thread is needed, not -1"),
        (["--threads", "two"], "--threads"),
        (["--threads", "1.5"], "--threads"),
        (["--memory", "127MB"], "hint: the minimum is 128MB"),
        (["--memory", "0"], "hint: the minimum is 128MB"),
        (["--memory", "much"], "error: --memory takes a size like 256MB or 1GiB, not 'much'"),
        (["--memory", "-1GB"], "not '-1GB'"),
        (["--memory", "1TB"], "not '1TB'"),
        (["--memory", ""], "not ''"),
        (["--resume"], "error: --resume goes with a checkpoint of several files"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_it_cannot_take_is_exit_2(project, folder, source, options, message):
    """Before anything is written."""
    run = project(*RULE, "-o", "out.safetensors", *options)

    assert (run.returncode, run.stdout) == (2, "")
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert [path.name for path in folder.iterdir()] == ["m.safetensors"]
    assert (folder / "m.safetensors").read_bytes() == source


@pytest.mark.parametrize("verb", ["audit", "check", "diff"])
@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--threads", "2", "--memory", "128MB"], 0),
        (["--threads", "0"], 2),
        (["--memory", "1MB"], 2),
        (["--memory", "x"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("folder")
def test_verbs_that_only_read_take_the_same_options(within, verb, options, code):
    """And refuse the same."""
    words = {
        "audit": ["m.safetensors", "-m", "a.weight"],
        "check": ["m.safetensors", "-r", "a.weight max_norm=9 axis=1"],
        "diff": ["m.safetensors", "m.safetensors"],
    }[verb]
    run = within(verb, *words, *options)

    assert run.returncode == code, run.stderr
    assert ("error: " in run.stderr) is (code == 2)


# Where a folder may not go


@pytest.fixture
def model(tmp_path):
    """A folder of two shards with two indexes of its tensors, in a folder of its own."""
    model = tmp_path / "home/model"
    (model / "sub").mkdir(parents=True)
    mapped = {}
    for number in range(2):
        save_file({f"w{number}": KERNEL}, model / f"s{number}.safetensors")
        mapped[f"w{number}"] = f"s{number}.safetensors"
    for name in ("model.safetensors.index.json", "model.safetensors.index.fp16.json"):
        (model / name).write_text(json.dumps({"metadata": {}, "weight_map": mapped}))
    (tmp_path / "link").symlink_to(model, target_is_directory=True)
    return model


INDEXES = ["model.safetensors.index.json", "model.safetensors.index.fp16.json"]


@pytest.mark.parametrize("given", [f"home/model/{INDEXES[0]}", f"link/{INDEXES[1]}"])
@pytest.mark.parametrize(
    "target",
    [
        "home",
        "home/model",
        "home/model/",
        "home/model/out",
        "home/model/sub/out",
        "home/model/sub/../out",
        "link",
        "link/",
        "link/out",
        ".",
        "..",
    ],
)
def test_a_folder_never_goes_where_its_source_is(within, tmp_path, model, given, target):
    """Above it, in it, or in its place; by any name. Nothing is begun."""
    before = sorted(tmp_path.rglob("*"))
    run = within("project", given, "-r", "* max_norm=1 axis=1", "-o", target, cwd=tmp_path)

    assert run.returncode == 2, run.stderr
    assert any(
        text in run.stderr for text in (": exists", ": is inside of the folder that is read")
    )
    assert "Traceback" not in run.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert sorted(path.name for path in model.iterdir()) == sorted(
        [*INDEXES, "s0.safetensors", "s1.safetensors", "sub"]
    )


@pytest.mark.parametrize("index", INDEXES)
def test_a_folder_goes_beside_its_source(within, tmp_path, model, index):
    """Also from within, and also if the names begin alike."""
    run = within("project", index, "-r", "* max_norm=1 axis=1", "-o", "../model-out", cwd=model)

    assert run.returncode == 0, run.stderr
    assert (tmp_path / "home/model-out" / index).exists()
