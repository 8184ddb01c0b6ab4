"""The sentence for a finding: which layer, which vector, by how much."""

import pytest

import wproj
from wproj.measures import Difference
from wproj.report import Applied, RecipeReport, Side
from wproj_cli.render.findings import finding, findings, is_found, verdict, worst_first
from wproj_cli.render.sentences import constraint_text, describe, shorten, worst_vectors


def test_a_vector_is_named_with_its_norm_and_its_distance(make):
    """The sentence of a norm constraint."""
    told = finding(make.violating(), "check")

    assert told == (
        "conv1/kernel: 14 of 16 vectors outside max_norm=1 "
        "(worst [12]: norm 1.76469, 0.764693 too far)"
    )


def test_an_entry_is_named_with_its_value(make):
    """The sentence of a constraint on single entries."""
    told = finding(make.entries(), "check")

    assert told == "dense/bias: 3 of 16 entries outside non_neg (worst [4]: -0.2)"


def test_the_only_vector_of_a_tensor_has_no_index(make):
    """A norm of the whole tensor is not at an index."""
    outside = make.outside(1, (), 5.0, 4.0)
    told = describe(make.violating(vectors=1, violations=outside), "check")

    assert told == "1 of 1 vector outside max_norm=1 (worst norm 5, 4 too far)"


def test_a_norm_that_is_only_just_outside_shows_so(make):
    """Six digits would say that a norm of 1.0000000063 is 1."""
    outside = make.outside(1, (3,), 1.0000000063, 6.3e-9)

    assert describe(make.violating(violations=outside), "check").endswith(
        "(worst [3]: norm 1.0000000063, 6.3e-09 too far)"
    )


def test_a_vector_without_a_norm_has_its_index_alone(make):
    """A norm beyond float64 is no number."""
    outside = make.outside(1, (3,), None, None)

    assert describe(make.violating(violations=outside), "check").endswith("max_norm=1 (worst [3])")


def test_a_constraint_of_ones_own_tells_no_distance(make):
    """What its `contains` answers is yes or no."""
    own = [Applied(name="mine.py:Even", config={"step": 2})]

    assert describe(make.violating(constraint=own), "check") == (
        "14 of 16 vectors outside mine.py:Even (worst [12]: norm 1.76469)"
    )


@pytest.mark.parametrize(
    ("verb", "told"),
    [
        ("ls", "float32 (3,3,1,16), 576 bytes"),
        ("audit", "16 vectors of 9, norm 0.5 to 1.75; 14 of 16 vectors outside max_norm=1"),
        ("project", "14 of 16 vectors outside max_norm=1; the projection changes 13 of 16 vectors"),
        ("explain", "max_norm=1 axis 0,1,2, 16 vectors of 9"),
    ],
)
def test_every_verb_tells_of_any_tensor(make, verb, told):
    """What stands beside a name where nothing is found."""
    norms = wproj.NormSummary(min=0.5, mean=1.0, p50=1.0, p99=1.75, max=1.75)
    outside = make.outside(index=None)
    tensor = make.tensor(norm_before=norms, violations=outside, changed_vectors=13)

    assert describe(tensor, verb) == told


def test_what_is_inside_is_told_by_check(make):
    """Not of any interest in text, but a test that passes may say what it tested."""
    tensor = make.tensor(violations=make.outside(0, None))

    assert describe(tensor, "check") == "16 vectors inside max_norm=1"
    assert describe(make.entries(violations=make.outside(0, None)), "check") == (
        "16 entries inside non_neg"
    )


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"violations": None, "reason": "no rule matches it"}, "no rule matches it"),
        ({"violations": None}, "violation"),
        ({"reason": "2 with non-finite entries"}, "2 with non-finite entries"),
    ],
    ids=["unmatched", "no reason", "both"],
)
def test_a_reason_is_told_last(make, fields, told):
    """A finding without a measure has its reason; one with a measure has both."""
    assert describe(make.violating(**fields), "check").split("; ")[-1] == told


def test_constraints_are_spelled_as_on_the_command_line(make):
    """Bounds without a needless `.0`, several joined by a plus, a rate at the end."""
    steps = [
        Applied(name="non_neg", config={}),
        Applied(name="min_max_norm", config={"min_value": 0.5, "max_value": 2.0, "rate": 0.1}),
        Applied(name="own", config={"max_value": 3}),
    ]

    assert constraint_text(make.tensor()) == "max_norm=1"
    assert constraint_text(make.tensor(constraint=steps)) == (
        "non_neg+min_max_norm=0.5..2+own rate=0.1"
    )


@pytest.mark.parametrize(
    ("status", "fields", "told"),
    [
        ("changed", {}, "2 of 6 entries differ (worst [0,2]: by 0.5)"),
        ("added", {"a": None, "difference": None}, "only in the second: float32 (2,3)"),
        ("removed", {"b": None, "difference": None}, "only in the first: float32 (2,3)"),
        (
            "reshaped",
            {"b": Side(path="w", shape=[3, 2], dtype="float32"), "difference": None},
            "float32 (2,3) -> float32 (3,2)",
        ),
        (
            "retyped",
            {
                "b": Side(path="w", shape=[2, 3], dtype="float16"),
                "difference": Difference(entries=1, largest=None, relative=None, index=[1]),
            },
            "float32 (2,3) -> float16 (2,3); 1 of 6 entries differs (worst [1]: beyond any number)",
        ),
    ],
)
def test_a_difference_is_told(make, status, fields, told):
    """The sentences of `diff`."""
    assert finding(make.compared(status, **fields), "diff") == f"w: {told}"


def test_only_what_makes_the_exit_code_1_is_a_finding(make):
    """`check` finds violations, `diff` differences, `project --check` changes, others nothing."""
    changed, violating = make.tensor(status="changed"), make.violating()
    ran = make.report(command="project", exit_code=0)
    checked = make.report(command="project", exit_code=1)

    assert is_found(checked, changed)
    assert not is_found(ran, changed)
    assert finding(violating, "check") is not None
    assert [finding(violating, verb) for verb in ("audit", "ls", "explain", "diff")] == [None] * 4
    assert finding(make.compared("unchanged"), "diff") is None


def test_the_worst_is_first_and_what_has_no_measure_before_it(make):
    """By how far outside; ties keep the order of the file."""
    names = [("a", 0.1), ("b", 2.0), ("c", None), ("d", 2.0)]
    tensors = [make.violating(n, violations=make.outside(1, excess=far)) for n, far in names]
    broken = make.violating("e", nonfinite=1)
    report = make.report(make.file(*tensors, broken))

    assert [found.name for found in worst_first(findings(report))] == ["c", "e", "b", "d", "a"]


def test_another_type_is_worse_than_any_difference(make):
    """As is what was added or removed: no number says how much."""
    far = Difference(entries=1, largest=1e30, relative=1.0, index=[0, 0])
    pairs = [make.compared(difference=far), make.compared("retyped")]
    report = make.report(make.file(*pairs), command="diff")

    assert [found.kind for found in worst_first(findings(report))] == ["retyped", "changed"]


def test_a_finding_points_at_the_line_of_its_rule(make):
    """A recipe can be edited; a checkpoint has no lines."""
    first, second = findings(make.gate())
    file = make.file(make.violating(), rules=[make.rule("conv*/kernel max_norm=1", 3)])
    (loose,) = findings(make.report(file))
    (piped,) = findings(make.report(file, recipe=RecipeReport(path="-", sha256="0")))

    assert (first.path, first.line) == ("ci/wproj.toml", 20)
    assert (second.path, second.line) == ("ci/wproj.toml", 12)
    assert (loose.path, loose.line) == ("model.h5", None)
    assert (piped.path, piped.line) == ("model.h5", None)


def test_the_verdict_counts_errors_and_findings(make):
    """A gate that finds nothing says so."""
    assert verdict(make.gate()) == "wproj check: 1 error, 2 findings"
    assert verdict(make.report(exit_code=0)) == "wproj check: no findings"
    assert verdict(make.report(command="ls", exit_code=0)) == "wproj ls: done"


def test_the_worst_vectors_are_told_one_by_one(make):
    """In the words of the sentence."""
    assert worst_vectors(make.violating()) == ["[12]: norm 1.76469, 0.764693 too far"]
    assert worst_vectors(make.skipped()) == []


@pytest.mark.parametrize("width", range(5, 40))
def test_a_long_text_is_cut_in_the_middle(width):
    """The beginning and the end remain, and the width is kept."""
    text = "model.layers.0.self_attn.weight"
    cut = shorten(text, width)

    assert len(cut) == min(width, len(text))
    assert cut == text or (text.startswith(cut.split("...")[0]) and "..." in cut)
    assert cut[-1] == text[-1]


def test_a_name_is_printable_in_every_sentence(make, hostile):
    """No control character, no direction mark, one line."""
    told = [
        finding(make.violating(hostile, reason=hostile), "check"),
        describe(make.skipped(reason=hostile), "ls"),
        constraint_text(make.tensor(constraint=[Applied(name=hostile, config={})])),
    ]

    assert all(text.isprintable() for text in told)
