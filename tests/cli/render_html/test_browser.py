"""The page in a real browser: filtered, sorted, without scripts, on a phone, by keyboard alone."""

import json

import pytest

from wproj_cli.render import render

pytestmark = pytest.mark.browser

WORST_FIRST = ["far/kernel", "between/kernel", "near/kernel", "fine/kernel", "bn/moving_mean"]
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "device_scale_factor": 2}
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


def names(page):
    """The tensors that are to be seen, from top to bottom."""
    shown = page.locator("tbody summary:visible").all()
    return [summary.evaluate("(node) => node.firstChild.textContent") for summary in shown]


def overflow(page):
    """By how many pixels the page is wider than the window."""
    root = "document.documentElement"
    return page.evaluate(f"{root}.scrollWidth - {root}.clientWidth")


def open_all(page):
    """Opens the details of every row."""
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")


def press(page, key, until):
    """Presses a key until the focus is on what `until` selects."""
    for _ in range(40):
        page.keyboard.press(key)
        if page.evaluate("(selector) => document.activeElement.matches(selector)", until):
            return
    pytest.fail(f"{key} never reaches {until}")


def test_every_page_opens_without_a_word_on_the_console(visit, any_report):
    """Neither the page nor its policy has anything to complain about."""
    assert visit(any_report).locator("h1").is_visible()


def test_a_hostile_name_runs_nothing(visit, make, hostile):
    """Markup in a name stays text: no element, no handler, no dialog, no request."""
    page = visit(make.hostile(hostile))

    assert page.locator("h1").is_visible()
    assert page.locator("img, [onerror], [onclick], [style]").count() == 0


def test_the_policy_refuses_any_other_script(visit, make):
    """Even a script that found its way in would not run."""
    page = visit(make.check())

    refused = page.evaluate("""() => new Promise((resolve) => {
        document.addEventListener("securitypolicyviolation", (event) => resolve(event.blockedURI));
        const script = document.createElement("script");
        script.textContent = "document.title = 'run'";
        document.body.append(script);
    })""")
    assert refused == "inline"
    assert page.title() != "run"
    assert len(visit.said) == 1  # The refusal, as it should be.
    visit.said.clear()


def test_the_filter_hides_rows_by_name_rule_and_status(visit, make):
    """All words have to be somewhere in the row; case does not matter."""
    page = visit(make.check())
    box = page.get_by_role("searchbox")

    box.fill("NEAR")
    assert names(page) == ["near/kernel"]
    assert page.locator("output").inner_text() == "1 of 5 shown"
    box.fill("max_norm violation")
    assert names(page) == WORST_FIRST[:3]
    box.fill("moving statistics")
    assert names(page) == ["bn/moving_mean"]
    box.fill("no such tensor")
    assert (names(page), page.locator("output").inner_text()) == ([], "Nothing matches")
    box.fill("")
    assert names(page) == WORST_FIRST


def test_statuses_can_be_left_out(visit, make):
    """Each status has a box, and rows of those left out are hidden."""
    page = visit(make.check())

    page.get_by_label("violation", exact=True).uncheck()
    assert names(page) == ["fine/kernel", "bn/moving_mean"]
    page.get_by_label("skipped", exact=True).uncheck()
    assert names(page) == ["fine/kernel"]


def test_a_column_sorts_both_ways_and_back_to_the_worst_first(visit, make):
    """Three clicks lead back to where one began, and readers are told the order."""
    page = visit(make.check())
    head = page.get_by_role("columnheader", name="max")
    assert names(page) == WORST_FIRST

    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert names(page) == WORST_FIRST
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert names(page) == [*WORST_FIRST[3::-1], "bn/moving_mean"]  # No number: last either way.
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None
    assert names(page) == WORST_FIRST


def test_names_sort_as_people_count(visit, make):
    """The ninth layer comes before the tenth."""
    tensors = [make.violating(name, 1 / i) for i, name in enumerate(["l.10", "l.9", "k.2"], 1)]
    page = visit(make.report("check", make.file(*tensors)))

    page.get_by_role("button", name="tensor").click()
    assert names(page) == ["k.2", "l.9", "l.10"]


def test_without_scripts_everything_is_there_the_worst_first(visit, make):
    """Only what needs a script to work is missing; details open all the same."""
    page = visit(make.check(), java_script_enabled=False)

    assert names(page) == WORST_FIRST
    assert page.locator("td svg:visible").count() == 4
    assert not page.locator("[role=search]").is_visible()
    assert page.locator("button:visible").count() == 0
    page.locator("summary").first.click()
    assert page.get_by_text("layers/far/kernel").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_color_scheme(visit, make, scheme):
    """The background is dark for those who want it dark."""
    page = visit(make.check(), color_scheme=scheme)

    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, color.removeprefix("rgb(").removesuffix(")").split(", "))) / 3
    assert (brightness < 64) == (scheme == "dark")


@pytest.mark.parametrize("width", [360, 640, 1161, 1280])
def test_no_page_is_wider_than_its_window(visit, any_report, width):
    """Nobody scrolls sideways, from a phone to a laptop, with all details open."""
    page = visit(any_report, viewport={"width": width, "height": 740})
    open_all(page)

    assert overflow(page) <= 0


def test_a_name_without_end_does_not_widen_a_phone(visit, make, hostile):
    """Long and strange names wrap."""
    page = visit(make.hostile(hostile), **PHONE)
    open_all(page)

    assert overflow(page) <= 0


def test_rows_are_cards_on_a_phone_and_say_what_their_numbers_are(visit, make):
    """Cells that have lost their heads carry labels."""
    page = visit(make.report("project", make.file(make.changed())), **PHONE)

    label = "getComputedStyle(document.querySelector('td:nth-child({})'), '::before').content"
    assert page.evaluate("getComputedStyle(document.querySelector('tbody tr')).display") == "grid"
    assert page.evaluate(label.format(2)) == '"status"'
    assert page.evaluate(label.format(7)) == '"max"'


def test_the_keyboard_alone_filters_sorts_and_opens(visit, make):
    """Tab reaches everything, Space and Enter work it, and the focus is visible."""
    page = visit(make.check())

    press(page, "Tab", "[type=search]")
    page.keyboard.type("kernel")
    assert names(page) == WORST_FIRST[:4]
    press(page, "Tab", "[type=checkbox]")
    page.keyboard.press("Space")
    assert names(page) == ["fine/kernel"]
    page.keyboard.press("Space")
    press(page, "Tab", "thead th:nth-child(4) button")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert page.locator("[aria-sort]").inner_text() == "min"
    assert page.locator("[aria-sort]").get_attribute("aria-sort") == "ascending"
    press(page, "Tab", "summary")
    page.keyboard.press("Enter")
    assert page.locator("tbody details[open] dl").is_visible()
    press(page, "Tab", "#save")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize("kind", ["plain", "compressed"])
def test_the_report_inside_can_be_saved(visit, make, thousand, kind):
    """The button gives the document that `--report json` would have written."""
    report = make.check() if kind == "plain" else thousand
    page = visit(report)

    with page.expect_download() as download:
        page.get_by_role("button", name="Save as JSON").click()
    saved = json.loads(download.value.path().read_text(encoding="utf-8"))
    assert saved == json.loads(render(report, "json"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", ["desktop", "phone"])
def test_axe_finds_no_fault(visit, any_report, scheme, screen):
    """WCAG 2.1 A and AA and the best practices hold, in either scheme, on either screen."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
    options = PHONE if screen == "phone" else DESKTOP
    page = visit(any_report, color_scheme=scheme, **options)
    open_all(page)

    found = axe.Axe().run(page, options=RULES)
    assert found.response["passes"]
    assert found.violations_count == 0, found.generate_report()


def test_a_thousand_tensors_filter_and_sort_at_once(visit, thousand):
    """A page at the limit of its size still does what it does."""
    page = visit(thousand)
    page.get_by_role("searchbox").fill("layers.7.")
    page.get_by_role("button", name="tensor").click()

    assert len(names(page)) == 6
    assert names(page)[0] == "model.layers.7.mlp.gate_proj.weight"
