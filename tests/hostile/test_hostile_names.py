"""A law: whatever a tensor is called, every format of a report is well-formed and harmless."""

import csv
import io
import json
import re
from pathlib import Path

import html5lib
import junitparser
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import wproj
from wproj.errors import FileError, listed, printable
from wproj.formats.safetensors import SafetensorsCheckpoint
from wproj.reporting import listed_report, skipped_report
from wproj_cli.completion import offered
from wproj_cli.render import render

# Names of anything that Python's texts can hold: controls, surrogates, bidirectional marks; and
# what means something to a reader of a report.
MARKS = ["::error::", "##[error]", "\x1b[2J", "\r\n", "</td>", "<script>", "|", "`", "]]>", "=1+1"]
CHARACTERS = st.text(st.characters(), max_size=30)
NAMES = st.lists(st.one_of(CHARACTERS, st.sampled_from([*MARKS, "../", "\0", "\u202e"]))).map(
    "".join
)


def report_on(name):
    """What `check` says of a violated tensor, two others and a file that failed, all so named."""
    entry = wproj.TensorEntry(
        name=name,
        path=name,
        shape=(2,),
        dtype="float32",
        stored=np.dtype("float32"),
        kind="float",
        nbytes=8,
        layer=name,
        declared={"class_name": "x", "registered_name": wproj.storable(name)},
    )
    told = wproj.storable(name)
    tensors = [
        listed_report(entry),
        skipped_report(entry, name, name),
        wproj.TensorReport(
            name=told,
            path=told,
            shape=[2],
            dtype="float32",
            bytes=8,
            status="violation",
            rule=told,
            reason=told,
        ),
    ]
    summary = wproj.Diagnostic(
        level="error", message=wproj.storable(str(FileError(name, name))), hint=told, file=told
    )
    file = wproj.FileReport(
        path=told,
        format="safetensors",
        layout="unknown",
        output=None,
        tensor_count=3,
        tensors=tensors,
    )
    return wproj.make_report("check", [file], [summary], 3)


def read_csv(text):
    """A head and four rows of one length."""
    rows = list(csv.reader(io.StringIO(text), strict=True))

    assert len({len(row) for row in rows}) == 1
    assert len(rows) == 5


def read_markdown(text):
    """Text in code spans: no link, no image, no other element."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    children = [child for token in tokens for child in token.children or ()]
    elements = {child.content for child in children if child.type == "html_inline"}

    assert {token.type for token in tokens}.isdisjoint({"html_block", "code_block", "fence"})
    assert {child.type for child in children}.isdisjoint({"link_open", "image"})
    assert elements <= {"<code>", "</code>"}


def read_html(text):
    """Strictly, and with no other scripts than the page's own."""
    page = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)

    assert len(page.findall(".//script")) == len(SCRIPTS.findall(PAGE))


def read_junit(text):
    """A case for each tensor, and for the file that failed."""
    suites = junitparser.JUnitXml.fromstring(text.encode())

    assert sum(len(list(suite)) for suite in suites) == 4


def read_github(text):
    """Every line is one command, of those that are told, or says nothing to GitHub."""
    for line in text.splitlines():
        assert re.match(r"::(error|warning|notice)( [^:]*)?::", line) or "::" not in line[:2]


def read_gitlab(text):
    """Each finding has what tells it apart."""
    assert all(found["fingerprint"] for found in json.loads(text))


SCRIPTS = re.compile("<script")
PAGE = render(report_on("plain"), "html")
READERS = {
    "text": lambda text: text,
    "json": json.loads,
    "jsonl": lambda text: [json.loads(line) for line in text.splitlines()],
    "csv": read_csv,
    "md": read_markdown,
    "junit": read_junit,
    "github": read_github,
    "gitlab": read_gitlab,
    "html": read_html,
}


def is_harmless(text):
    """Whether it has no character that does anything: neither controls nor lone surrogates."""
    return all(c.isprintable() or c in "\n" for c in text)


@pytest.mark.parametrize("fmt", READERS)
@given(name=NAMES)
@example(name="\x1b]0;t\x07\x9b31m")
@example(name="a\ud800b\ufffe\uffff\U000e0001")
@example(name="../" * 20_000)
@settings(max_examples=12, deadline=None, database=None)
def test_any_name_is_harmless_in_any_format(fmt, name):
    """The format's own reader takes it, and no raw control character is in it."""
    text = render(report_on(name), fmt)

    READERS[fmt](text)
    assert is_harmless(text)


@given(name=NAMES)
@settings(max_examples=100, deadline=None, database=None)
def test_any_name_is_harmless_in_a_sentence(name):
    """In errors, lists and what a shell is offered."""
    sentences = [str(FileError(name, name)), listed([name] * 9), printable(name)]

    assert all(s.isprintable() for s in sentences)
    assert len(listed([name * 1000] * 9)) < 40_000
    for word in offered([name], ""):
        assert re.fullmatch(r"[\w./-]+", word)


@given(name=NAMES)
@settings(max_examples=50, deadline=None, database=None)
def test_any_name_is_harmless_in_a_recipe(name):
    """What `init` writes for it is TOML, and takes that tensor."""
    entry = wproj.TensorEntry(
        name=name,
        path=name,
        shape=(2, 2),
        dtype="float32",
        stored=np.dtype("float32"),
        kind="float",
        nbytes=16,
    )
    checkpoint = SafetensorsCheckpoint(
        path=Path("model"), format="safetensors", layout="torch", entries=(entry,)
    )
    text = wproj.draft_recipe(checkpoint)
    recipe = wproj.parse_recipe(text.encode(), "wproj.toml")

    assert is_harmless(text)
    if 'id = "kernels"' in text and name:
        (rule,) = recipe.rules
        assert wproj.select_any(rule.patterns, checkpoint) == [entry]
