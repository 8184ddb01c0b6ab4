"""Markdown, read back by a Markdown parser: a verdict, a table, and nothing from a name."""

import itertools
import re

import pytest
from markdown_it import MarkdownIt

import wproj
from wproj_cli.render import render
from wproj_cli.render.sentences import shorten

GATE = """\
### wproj check: 1 error, 2 findings

1 file, 4 tensors: 3 matched, 1 skipped, 17 vectors or entries outside.

- **error**: no.h5: there is no such file

- **warning**: b: 1 vector (hint: look, here)

| tensor | rule | what |
|---|---|---|
| `conv1/kernel` | `conv*/kernel max_norm=1` | 14 of 16 vectors outside max_norm=1 \
(worst [12]: norm 1.76469, 0.764693 too far) |
| `dense/bias` | `*/bias non_neg` | 3 of 16 entries outside non_neg (worst [4]: -0.2) |
"""
COMMENT = 65_536  # Characters that a comment on GitHub may have.


def parse(text):
    """The tokens of GitHub's tables and CommonMark."""
    return MarkdownIt("commonmark").enable("table").parse(text)


def shown(inline):
    """What a reader sees of an inline token."""
    return "".join(child.content for child in inline.children if child.type != "html_inline")


def cells(text):
    """The cells of the table, as a reader sees them, by row."""
    rows, tokens = [], parse(text)
    for before, token in itertools.pairwise(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and before.type in ("th_open", "td_open"):
            rows[-1].append(shown(token))
    return rows


def test_the_report_of_a_gate_is_these_lines(make):
    """The verdict, the counts, the faults, and the findings with the worst first."""
    assert render(make.gate(), "md") == GATE


def test_the_table_is_a_table_to_a_parser(make):
    """Three columns, a head and two rows."""
    head, first, second = cells(render(make.gate(), "md"))

    assert head == ["tensor", "rule", "what"]
    assert first[:2] == ["conv1/kernel", "conv*/kernel max_norm=1"]
    assert second == [
        "dense/bias",
        "*/bias non_neg",
        "3 of 16 entries outside non_neg (worst [4]: -0.2)",
    ]


def test_several_files_have_a_column(make):
    """One file is named nowhere, two are in each row."""
    files = [make.file(make.violating(), path=path) for path in ("a.h5", "b.h5")]

    assert [row[0] for row in cells(render(make.report(*files), "md"))] == ["file", "a.h5", "b.h5"]


def test_every_report_begins_with_a_verdict_and_parses(any_report):
    """A heading first, a table for tensors that there is something to say of."""
    text = render(any_report, "md")
    rows = cells(text)
    quiet = any_report.command in ("check", "diff")
    tensors = [t for file in any_report.files for t in file.tensors]
    told = [t for t in tensors if not quiet or t.status not in ("ok", "unchanged", "skipped")]

    assert text.startswith(f"### wproj {any_report.command}: ")
    assert len(rows) == len(told) + bool(told)


def test_at_most_fifty_rows_are_shown_and_the_rest_counted(make):
    """The worst fifty of sixty."""
    tensors = [
        make.violating(f"t{far}", violations=make.outside(1, excess=float(far)))
        for far in range(60)
    ]
    text = render(make.report(make.file(*tensors)), "md")

    assert [row[0] for row in cells(text)[1:]] == [f"t{far}" for far in range(59, 9, -1)]
    assert text.endswith("\n\nAnd 10 more findings.\n")


@pytest.mark.parametrize(
    "name",
    ["layer", "`|<" * 700, "\U0001f600" * 700, "\u202e" * 700, "\x00|" * 700],
    ids=["short", "markup", "wide", "escaped", "both"],
)
def test_a_comment_holds_any_report(make, name):
    """Many files, tensors and faults, names of any length and any characters."""
    tensors = [make.violating(name, rule=name, reason=name) for _ in range(40)]
    files = [make.file(*tensors, path=name) for _ in range(3)]
    faults = [
        {"level": level, "message": name, "hint": name, "file": name}
        for level in ("error", "warning") * 20
    ]
    text = render(make.report(*files, diagnostics=faults), "md")
    rows = cells(text)

    assert len(text.encode()) < 64_000 < COMMENT
    assert len({len(row) for row in rows}) == 1
    assert "- **error**: " in text
    assert "- **warning**: " in text
    assert f"And {121 - len(rows)} more findings." in text
    assert re.search(r"- and \d+ more errors", text)
    assert re.search(r"- and \d+ more warnings", text)
    assert ("Long names are cut in the middle." in text) == (len(name) > 120)


def test_a_hostile_name_is_shown_and_does_nothing(make, hostile):
    """It is text in a cell: no element, no link, no mention, no further cell."""
    tensor = make.violating(hostile, rule=hostile, reason=hostile)
    faults = [{"level": "error", "message": f"{hostile}: damaged", "file": hostile}]
    report = make.report(make.file(tensor, path=hostile), make.file(), diagnostics=faults)
    text = render(report, "md")
    name = shorten(wproj.printable(hostile), 120)
    head, row = cells(text)
    inline = [token for token in parse(text) if token.type == "inline"]
    children = [child for token in inline for child in token.children]
    visible = "".join(f" {child.content}" for child in children if child.type != "code_inline")
    plain = re.sub("<code>.*?</code>", "", visible)

    assert head == ["file", "tensor", *(["rule"] if hostile else []), "what"]
    assert [cell.strip() for cell in row[:-1]] == [name.strip()] * (len(head) - 1)
    assert {token.type for token in parse(text)}.isdisjoint({"html_block", "code_block", "fence"})
    assert {child.type for child in children} <= {
        *("text", "text_special", "code_inline", "html_inline"),
        *("strong_open", "strong_close"),
    }
    assert {c.content for c in children if c.type == "html_inline"} <= {"<code>", "</code>"}
    assert not re.search(r"@|www\.|://|[<>`]|:tada:", plain)
