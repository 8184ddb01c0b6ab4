"""`wproj init` and `wproj schema`: a recipe that takes what it lists, and what reports may say."""

import json
import signal
import struct
import tomllib
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import wproj
from wproj_cli.main import main

SAMPLES = Path(__file__).resolve().parents[2] / "sample_weights"


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs `wproj WORDS` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WPROJ_FORMAT", raising=False)
    (tmp_path / ".git").mkdir()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def run(*words):
        code = main(list(words))
        said = capsys.readouterr()
        return code, said.out, said.err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def write(path, names, shape=(2, 3)):
    """A safetensors file of tensors of ones with these names."""
    header, size = {"__metadata__": {"format": "pt"}}, 4 * int(np.prod(shape))
    for n, name in enumerate(names):
        offsets = [n * size, (n + 1) * size]
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": offsets}
    text = json.dumps(header).encode()
    data = np.full(len(names) * size // 4, 5, np.float32).tobytes()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def parsed(text):
    """A text as a recipe."""
    return wproj.parse_recipe(text.encode(), "r")


# What init writes


def test_a_recipe_to_start_from_is_one(call):
    """It is found, and its rule is one for kernels."""
    code, stdout, stderr = call("init")
    (rule,) = wproj.load_recipe(Path("wproj.toml")).rules

    assert (code, stdout) == (0, "")
    assert stderr == "wrote wproj.toml; 'wproj explain FILE' says what it takes\n"
    assert rule.label == "kernels"
    assert wproj.find_recipe(Path.cwd()) == Path.cwd() / "wproj.toml"


def test_the_comments_of_a_recipe_are_keys_that_it_may_have():
    """Uncommented, all of them parse."""
    text = wproj.draft_recipe()
    told = [line[2:] for line in text.splitlines() if line.startswith("# ")]
    keys = [line for line in told if line.startswith(("[[", "id", "match", "steps", "rtol"))]
    policy = [line for line in told if line.startswith(("rtol", "nonfinite", "un"))]
    expected = [line for line in told if line.startswith("expect")]

    assert len(keys) > 4
    assert len(policy) == 4
    assert len(expected) == 1
    assert parsed("\n".join([text, *policy])).check.rtol == 0
    steps = [line for line in keys if line not in policy]
    assert len(parsed("\n".join([text.split("[check]")[0], *expected, *steps])).rules) == 2


@pytest.mark.parametrize("name", ["digits_cnn.keras", "digits_cnn.h5"])
def test_declared_constraints_become_rules(call, name):
    """`init FILE && check FILE` finds what `check FILE --declared` finds."""
    path = str(SAMPLES / name)
    code, _, _ = call("init", path)
    found = [
        json.loads(call("check", path, *words, "-f", "json")[1]) for words in ([], ["--declared"])
    ]
    judged = [
        {
            t["name"]: (t["status"], t["axis"], t["constraint"], t["violations"])
            for t in document["files"][0]["tensors"]
        }
        for document in found
    ]

    assert code == 0
    assert len(judged[0]) == 6
    assert judged[0] == judged[1]
    assert found[0]["exit_code"] == found[1]["exit_code"] == 1


@pytest.mark.parametrize("name", ["digits_mlp.weights.h5", "digits_mlp_pt.safetensors"])
def test_kernels_become_a_rule_where_nothing_is_declared(call, name):
    """Ready to be used; its bound is for a person to decide."""
    path = str(SAMPLES / name)
    call("init", path)
    code, stdout, _ = call("explain", path, "-f", "json")
    (rule,) = json.loads(stdout)["files"][0]["rules"]

    assert code == 0
    assert rule["problem"] is None
    assert rule["taken"] == rule["matched"] != []
    assert len(rule["taken"]) == len(rule["match"])


def test_the_tensors_are_listed_in_comments():
    """All of them, in the order of the file."""
    text = wproj.draft_recipe(wproj.open_checkpoint(SAMPLES / "digits_cnn.keras"))
    lines = [line for line in text.splitlines() if line.startswith("#   ")]

    assert len(lines) == 14
    assert "#   conv1/kernel (3,3,1,16) float32 Conv2D" in lines


PIECES = [
    "a",
    "b",
    "*",
    "?",
    "[",
    "]",
    "{a,b}",
    "\\",
    '"',
    "'",
    "\n",
    "\x7f",
    "\x1b",
    "/",
    "re:",
    " ",
]
NAMES = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=6),
)


@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(names=st.lists(NAMES, min_size=1, max_size=6, unique=True))
@example(names=["/a", "a"])
@example(names=["//a", "/a", "a", "a/"])
@example(names=["re:.*", "x", "re:("])
@example(names=["*", "a", "[a]", "{a}", "a.b"])
@example(names=["''' \"\"\"", "\\u0041", "A", "#", " "])
@example(names=["__metadata", "\ufeff", "\u2028", "\x00"])
def test_a_recipe_takes_exactly_the_tensors_that_it_lists(tmp_path, names):
    """Whatever they are called: patterns, quotes, ends of lines, slashes."""
    if "__metadata__" in names:
        return
    checkpoint = wproj.open_checkpoint(write(tmp_path / "m", names))
    text = wproj.draft_recipe(checkpoint)
    (rule,) = parsed(text).rules
    plan = wproj.plan(checkpoint, [rule])
    sketch = wproj.explain_plan(checkpoint, [rule])

    assert {item.entry.name for item in plan.assignments} == set(names)
    assert len(rule.patterns) == rule.expect == len(names)
    assert [use.problem for use in wproj.rule_reports(sketch)] == [None]
    for pattern, entry in zip(rule.patterns, checkpoint.entries, strict=True):
        assert wproj.select_any([pattern], checkpoint) == [entry]
    comments = [line for line in text.splitlines() if line.startswith("#   ")]
    assert len(comments) == len(names)


def test_names_that_toml_does_not_have_are_matched_by_an_expression(tmp_path):
    """Lone surrogates, as a config in JSON may have them."""
    plain = wproj.open_checkpoint(write(tmp_path / "m", ["a", "b"]))
    names = dict(zip(plain.entries, ["a\ud800.*", "a\udfff.*"], strict=True))
    entries = tuple(replace(entry, name=name, path=name) for entry, name in names.items())
    checkpoint = replace(plain, entries=entries)
    text = wproj.draft_recipe(checkpoint)
    (rule,) = parsed(text).rules

    assert all(pattern.startswith("re:") for pattern in rule.patterns)
    for pattern, entry in zip(rule.patterns, checkpoint.entries, strict=True):
        assert wproj.select_any([pattern], checkpoint) == [entry]


def test_many_tensors_take_no_time_that_grows_with_their_square(tmp_path):
    """Ten thousand names, in a second."""
    names = [f"model.layers.{n}.weight" for n in range(10_000)]
    checkpoint = wproj.open_checkpoint(write(tmp_path / "m", names, (1, 1)))
    (rule,) = parsed(wproj.draft_recipe(checkpoint)).rules

    assert list(rule.patterns) == [entry.name for entry in checkpoint.entries]


# Where it goes


def test_a_recipe_is_printed_or_written(call):
    """The same text."""
    code, stdout, _ = call("init", "-o", "-")
    call("init", "-o", "r.toml")

    assert code == 0
    assert stdout == Path("r.toml").read_text() == wproj.draft_recipe()
    assert not Path("wproj.toml").exists()


def test_an_existing_recipe_needs_force(call):
    """It may be somebody's work."""
    Path("wproj.toml").write_text("mine")
    refused, _, stderr = call("init")
    kept = Path("wproj.toml").read_text()
    forced, _, _ = call("init", "--force")

    assert (refused, forced, kept) == (2, 0, "mine")
    assert "wproj.toml exists" in stderr
    assert Path("wproj.toml").read_text() == wproj.draft_recipe()


@pytest.mark.parametrize("name", ["m", "./m", "linked"])
def test_the_checkpoint_is_not_replaced_by_its_recipe(call, tmp_path, name):
    """By no name, not even with `--force`."""
    before = write(tmp_path / "m", ["a"]).read_bytes()
    Path("linked").hardlink_to("m")
    code, _, stderr = call("init", "m", "-o", name, "--force")

    assert code == 2
    assert f"{name} is what the recipe is to be for" in stderr
    assert Path("m").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "expected", "problem"),
    [
        (["gone"], 3, "gone: there is no such file"),
        (["-o", "gone/r.toml"], 3, "could not write gone/r.toml"),
        (["-o", ".", "--force"], 3, "could not write .: is a directory"),
        (["-o", ""], 3, "could not write .: is a directory"),
    ],
    ids=str,
)
def test_what_cannot_be_read_or_written_is_told(call, words, expected, problem):
    """With a sentence, and without a file."""
    code, stdout, stderr = call("init", *words)

    assert (code, stdout) == (expected, "")
    assert stderr.startswith(f"error: {problem}")
    assert [path.name for path in Path.cwd().iterdir()] == [".git"]


# Schemas


@pytest.mark.parametrize("which", ["report", "recipe"])
def test_a_schema_is_printed(call, which):
    """As JSON Schema 2020-12, the same bytes each time."""
    (code, stdout, stderr), again = call("schema", which), call("schema", which)
    document = json.loads(stdout)

    assert (code, stderr) == (0, "")
    assert again == (code, stdout, stderr)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(document)


@pytest.mark.parametrize("words", [[], ["recipes"], ["report", "recipe"]], ids=str)
def test_a_schema_of_nothing_is_refused(call, words):
    """What there is is named."""
    assert call("schema", *words)[0] == 2


def test_the_recipe_of_a_checkpoint_is_valid_by_the_schema():
    """As TOML decodes it."""
    text = wproj.draft_recipe(wproj.open_checkpoint(SAMPLES / "digits_cnn.keras"))

    jsonschema.validate(tomllib.loads(text), wproj.json_schema("recipe"))


WORDS = {
    "ls": ["ls", "FILE"],
    "audit": ["audit", "FILE"],
    "project": ["project", "FILE", "--declared", "-n"],
    "check": ["check", "FILE", "--declared"],
    "diff": ["diff", "FILE", "OTHER"],
    "explain": ["explain", "FILE", "-r", "*kernel* max_norm", "-r", "v* non_neg"],
}


@pytest.mark.parametrize("verb", WORDS)
@pytest.mark.parametrize("name", ["digits_cnn.keras", "digits_cnn.weights.h5", "gone"])
def test_every_report_is_valid_by_the_schema(call, verb, name):
    """Of every verb that reports; with errors, too."""
    files = {"FILE": str(SAMPLES / name), "OTHER": str(SAMPLES / "digits_mlp.weights.h5")}
    code, stdout, _ = call(*(files.get(word, word) for word in WORDS[verb]), "-f", "json")
    document = json.loads(stdout, parse_constant=pytest.fail)

    jsonschema.validate(document, wproj.json_schema("report"))
    assert (document["command"], document["exit_code"]) == (verb, code)
    assert (name == "gone") <= (code == 3)


def test_the_schema_refuses_what_is_no_report():
    """A key of the wrong type, or none."""
    schema = wproj.json_schema("report")

    for document in ({}, {"schema": "wproj.report", "exit_code": "0"}, [], None):
        assert not jsonschema.Draft202012Validator(schema).is_valid(document)
