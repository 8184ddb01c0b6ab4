"""Workflow commands, read back as GitHub's runner reads them."""

import re

import pytest

import wproj
from wproj_cli.render import render
from wproj_cli.render.sentences import shorten

GATE = """\
::error title=wproj,file=no.h5::no.h5: there is no such file
::error title=wproj (conv*/kernel max_norm=1),file=ci/wproj.toml,line=12::conv1/kernel: \
14 of 16 vectors outside max_norm=1 (worst [12]: norm 1.76469, 0.764693 too far)
::error title=wproj (*/bias non_neg),file=ci/wproj.toml,line=20::dense/bias: \
3 of 16 entries outside non_neg (worst [4]: -0.2)
::warning title=wproj,file=model.h5::b: 1 vector (hint: look, here)
::notice title=wproj check%3A 1 error%2C 2 findings::1 file, 4 tensors: \
3 matched, 1 skipped, 17 vectors or entries outside
"""
ESCAPES = {"%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}


def unescape(text, codes):
    """What the runner makes of a value."""
    return re.sub("|".join(codes), lambda code: ESCAPES[code[0]], text)


def parse(text):
    """Each line as a command: its kind, its properties and its message.

    As the runner does it: the properties end at the next two colons, and are parted by commas.
    """
    commands = []
    for line in text.splitlines():
        head, message = re.fullmatch(r"::(.*?)::(.*)", line).groups()
        kind, _, listed = head.partition(" ")
        pairs = [pair.partition("=")[::2] for pair in listed.split(",")]
        properties = {key: unescape(value, ESCAPES) for key, value in pairs}
        commands.append((kind, properties, unescape(message, ["%0D", "%0A", "%25"])))
    return commands


def kinds(text):
    """The kinds of the commands, in order."""
    return [kind for kind, _, _ in parse(text)]


def test_the_report_of_a_gate_is_these_commands(make):
    """Faults first, the worst finding first, a warning, and the verdict."""
    assert render(make.gate(), "github") == GATE


def test_every_report_is_commands_and_ends_with_a_notice(any_report):
    """Nothing but commands, and one notice with the verdict."""
    commands = parse(render(any_report, "github"))

    assert [kind for kind, _, _ in commands].count("notice") == 1
    assert commands[-1][0] == "notice"
    assert commands[-1][1]["title"].startswith(f"wproj {any_report.command}: ")


@pytest.mark.parametrize(
    ("count", "shown", "more"), [(9, 9, None), (10, 10, None), (11, 9, 2), (500, 9, 491)]
)
def test_at_most_ten_of_a_kind_are_written(make, count, shown, more):
    """GitHub drops those beyond without a word: the tenth says how many there are."""
    tensors = [make.violating(f"t{number}") for number in range(count)]
    warnings = [{"level": "warning", "message": f"w{number}"} for number in range(count)]
    text = render(make.report(make.file(*tensors), diagnostics=warnings), "github")
    told = [message for _, _, message in parse(text) if message.startswith("and ")]

    for kind in ("error", "warning"):
        assert kinds(text).count(kind) == shown + (more is not None)
    assert told == ([f"and {more} more errors", f"and {more} more warnings"] if more else [])


def test_without_a_recipe_a_finding_points_at_the_checkpoint(make):
    """There is no line in a checkpoint."""
    (kind, properties, _), _ = parse(render(make.report(make.file(make.violating())), "github"))

    assert kind == "error"
    assert properties == {"title": "wproj (conv*/kernel max_norm=1)", "file": "model.h5"}


def test_a_hostile_name_stays_in_its_message(make, hostile):
    """It begins no command, ends no property, and is shown as it is, but cut."""
    tensor = make.violating(hostile, rule=hostile)
    faults = [{"level": "warning", "message": f"{hostile}!", "file": hostile or None}]
    text = render(make.report(make.file(tensor, path=hostile), diagnostics=faults), "github")
    shown = wproj.printable(hostile)
    name = shorten(shown, 200)
    (_, properties, message), (_, warned, _), _ = parse(text)

    assert text.replace("\n", "").isprintable()
    assert kinds(text) == ["error", "warning", "notice"]
    assert properties == {"title": f"wproj ({name})"} | ({"file": shown} if shown else {})
    assert message.startswith(f"{name}: 14 of 16 vectors outside")
    assert warned.get("file", "") == shown
