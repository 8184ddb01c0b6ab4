"""The page as it is written: valid, safe, complete without scripts, small, the same bytes."""

import base64
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path

import html5lib
import msgspec
import pytest

import wproj
from wproj_cli.render import render

SAMPLE = Path(__file__).resolve().parents[3] / "sample_weights/digits_cnn.keras"


class Page(HTMLParser):
    """The tags of a page with their attributes, and the texts of tensors, in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        """Notes an element."""
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_data(self, data):
        """Notes a text, and the element that began last before it."""
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag):
        """The attributes of all elements of a kind."""
        return [attrs for name, attrs in self.tags if name == tag]

    def said(self, tag):
        """The texts that follow the tags of a kind."""
        return [data for name, data in self.texts if name == tag]


def between(page, start, end):
    """The text of the only element that begins with `start`."""
    assert page.count(start) == 1
    return page.partition(start)[2].partition(end)[0]


def embedded(page):
    """The report inside of a page."""
    kind, _, text = between(page, '<script type="application/', "</script>").partition(
        '" id="report">'
    )
    return text.encode() if kind == "json" else zlib.decompress(base64.b64decode(text))


def test_every_page_is_valid_html(any_report):
    """A strict parser of HTML5 finds no error."""
    html5lib.HTMLParser(strict=True).parse(render(any_report, "html"))


def test_a_hostile_name_adds_no_element_and_leaves_the_page_valid(make, hostile):
    """The elements are those of a page with harmless names."""
    page = render(make.hostile(hostile), "html")

    html5lib.HTMLParser(strict=True).parse(page)
    harmless = Page(render(make.hostile(hostile and "harmless"), "html"))
    assert [tag for tag, _ in Page(page).tags] == [tag for tag, _ in harmless.tags]


def test_a_hostile_name_is_shown_in_full_with_its_controls_escaped(make, hostile):
    """Nothing is cut, and nothing unprintable is left."""
    page = Page(render(make.hostile(hostile), "html"))

    assert wproj.printable(hostile) in "".join(page.said("summary"))
    visible = "".join(text for tag, text in page.texts if tag not in ("script", "style"))
    assert all(character.isprintable() or character == "\n" for character in visible)


def test_the_page_carries_the_report_that_json_would_be(any_report):
    """The document inside is that of `--report json`, as data."""
    assert json.loads(embedded(render(any_report, "html"))) == json.loads(
        render(any_report, "json")
    )


def test_the_report_inside_survives_hostile_names(make, hostile):
    """No character of it can end or open an element, and none is lost."""
    report = make.hostile(hostile)
    document = embedded(render(report, "html"))

    assert json.loads(document) == json.loads(render(report, "json"))
    assert document.isascii()
    assert not re.search(rb"[<>&\x7f]", document)


def test_nothing_is_loaded_and_no_style_or_handler_is_inline(any_report):
    """The page names nothing outside of itself."""
    page = render(any_report, "html")

    for tag, attrs in Page(page).tags:
        assert "style" not in attrs, tag
        assert not [name for name in attrs if name.startswith("on") or name == "src"], tag
        assert attrs.get("href", "data:,") == "data:,"
    assert not re.search(r"(https?:)?//[a-z]|@import|url\((?!#)", page)


def test_the_policy_allows_the_script_and_the_style_by_their_digests(any_report):
    """The digests are those of the bytes in the page."""
    page = render(any_report, "html")
    policy = next(attrs["content"] for attrs in Page(page).of("meta") if attrs.get("http-equiv"))
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))

    assert directives["default-src"] == "'none'"
    assert "unsafe" not in policy
    for directive, start in (("script-src", "<script>"), ("style-src", "<style>")):
        content = between(page, start, f"</{start[1:]}")
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert directives[directive] == f"'sha256-{digest}'"


def test_the_same_report_is_the_same_bytes(any_report):
    """No time, no random order, no line ends of another system."""
    assert render(any_report, "html") == render(any_report, "html")
    assert "\r" not in render(any_report, "html")


def test_the_worst_is_on_top(make):
    """Violations by excess, then what is fine, then what was left out."""
    names = [name for name in Page(render(make.check(), "html")).said("summary") if "/" in name]

    assert names == ["far/kernel", "between/kernel", "near/kernel", "fine/kernel", "bn/moving_mean"]


def test_what_moved_farthest_is_on_top_below_what_violates(make):
    """Changes by the distance moved."""
    tensors = [make.skipped("e/k"), make.changed("c/k", 0.25), make.violating("a/k")]
    tensors += [make.changed("b/k", 0.5), make.fine("d/k")]
    page = Page(render(make.report("project", make.file(*tensors)), "html"))

    assert [n for n in page.said("summary") if "/" in n] == ["a/k", "b/k", "c/k", "d/k", "e/k"]


@pytest.mark.parametrize(
    ("command", "tensors", "verdict"),
    [
        ("check", ["violating", "violating", "fine"], "2 of 3 tensors violate their constraints"),
        ("check", ["violating", "fine"], "1 of 2 tensors violates its constraint"),
        ("check", ["fine"], "Nothing outside"),
        ("project", ["changed", "fine"], "1 of 2 tensors changed; nothing outside"),
        ("audit", ["violating"], "1 of 1 tensor is outside what the model declares"),
        ("audit", ["fine"], "Nothing outside what the model declares"),
        ("audit", ["tensor", "skipped"], "1 of 2 tensors measured"),
        ("diff", ["compared", "fine"], "1 of 2 tensors differs"),
        ("ls", ["tensor"], "1 tensor in 1 file"),
        ("explain", ["tensor", "skipped"], "1 of 2 tensors taken"),
    ],
)
def test_the_verdict_comes_first(make, command, tensors, verdict):
    """The first heading and the title say how it went."""
    made = [getattr(make, maker)(f"{i}/kernel") for i, maker in enumerate(tensors)]
    if command == "diff":
        made[-1:] = [make.compared("same", "unchanged")]

    page = Page(render(make.report(command, make.file(*made)), "html"))

    assert page.said("h1")[0] == verdict
    assert page.said("title")[0] == f"{verdict} - wproj {command}"


def test_errors_lead_the_verdict_and_diagnostics_show_their_hints(make):
    """What could not be done is said before what was found."""
    page = Page(render(make.check(), "html"))
    told = " ".join(text for tag, text in page.texts if tag in ("li", "strong", "em", "br"))

    assert page.said("h1")[0] == "1 error; 3 of 5 tensors violate their constraints"
    assert "b.h5: no such file" in told
    assert "see above" in told


def test_the_recipe_and_its_digest_are_named(make):
    """A reader can tell which rules were applied."""
    codes = Page(render(make.check(), "html")).said("code")

    assert "ci/wproj.toml" in codes
    assert "5a" * 32 in codes


def test_norms_have_six_digits_before_and_after(make):
    """As in the text report; what stayed the same is said once."""
    page = Page(render(make.report("project", make.file(make.changed())), "html"))

    told = ["changed", "0.500000", "1.00000", "1.75000", "1.75000", "5", "5", "25%"]
    assert [text.strip() for text in page.said("td") if text.strip()] == told
    assert page.said("i") == ["1.00000", "1.00000", "0"]  # p99, max, outside


def test_a_histogram_has_one_path_before_one_after_and_a_line_at_the_limit(make):
    """All three are over each other, on one scale."""
    page = Page(render(make.report("project", make.file(make.changed())), "html"))
    paths = [attrs for attrs in page.of("path") if "M" in attrs["d"]][-3:]

    # 140 pixels from 0.5 to 1.75 begin at 10; the highest of all bins has eight vectors, 31 pixels.
    assert paths[0]["d"].startswith("M10 44v-25h28v")
    assert paths[1]["d"] == "M10 44v-25h28v6h28v-12h28V44z"
    assert paths[2] == {"class": "l", "d": "M66 10V44"}
    assert page.said("text") == ["\u22641"]


@pytest.mark.parametrize(
    ("name", "config", "labels"),
    [
        ("max_norm", {"max_value": 2.5}, ["\u22642.5\u2192"]),
        ("max_norm", {"max_value": 0.25}, ["\u2190\u22640.25"]),
        ("unit_norm", {}, ["=1"]),
        ("min_max_norm", {"min_value": 0.5, "max_value": 1.5}, ["\u22650.5", "\u22641.5"]),
        ("min_max_norm", {"min_value": 3.0, "max_value": 4.0}, ["\u22653\u2192"]),
        ("non_neg", {}, []),
    ],
)
def test_limits_come_from_the_constraint_and_point_beyond_the_edge(make, name, config, labels):
    """A limit that no norm is near becomes an arrow at that edge."""
    step = msgspec.convert({"name": name, "config": config}, wproj.report.Applied)
    page = Page(render(make.report("check", make.file(make.tensor(constraint=[step]))), "html"))

    assert page.said("text") == labels


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (0.0, 1e308), (5e-324, 1e-323), (0.0, 0.0)])
def test_any_range_has_a_plot(make, low, high):
    """One norm alone, and norms of any size, stay inside of the picture."""
    counts = [7] if low == high else [3, 4]
    histogram = wproj.Histogram(low=low, high=high, counts=counts, after=counts)
    page = Page(render(make.report("project", make.file(make.tensor(histogram=histogram))), "html"))

    numbers = [float(n) for a in page.of("path") for n in re.findall(r"-?[\d.]+", a["d"])]
    assert numbers
    assert all(-160 <= number <= 160 for number in numbers)


def test_the_real_sample_renders_as_its_commands_report_it(make):
    """The sample weights, projected by what they declare."""
    plan = wproj.plan_declared(SAMPLE)
    tensors = list(wproj.apply(plan, None, wproj.Numerics()))
    page = Page(render(make.report("project", make.file(*tensors, tensor_count=14)), "html"))

    assert page.said("h1")[0] == "4 of 14 tensors changed; nothing outside"
    assert page.said("summary")[0] == "conv1/kernel"
    assert len(page.of("tr")) == 1 + len(tensors)


def test_a_thousand_changed_tensors_stay_below_a_megabyte(thousand):
    """With the whole report inside."""
    page = render(thousand, "html")

    assert len(page.encode()) < 1_000_000
    assert len(Page(page).of("tr")) == 1001
    assert json.loads(embedded(page)) == json.loads(render(thousand, "json"))


def test_a_large_report_is_compressed_and_a_small_one_is_plain(make, thousand):
    """The type of the document says which it is."""
    kinds = [attrs.get("type") for attrs in Page(render(thousand, "html")).of("script")]
    plain = [attrs.get("type") for attrs in Page(render(make.check(), "html")).of("script")]

    assert kinds == [None, "application/zlib"]
    assert plain == [None, "application/json"]
