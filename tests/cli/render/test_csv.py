"""CSV, read back by pandas and by the standard library."""

import csv
import io

import pandas
import pytest

import wproj
from wproj_cli.render import render
from wproj_cli.render.csv import COLUMNS

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def load(text):
    """What pandas makes of it, every cell as text, an empty one as an empty text."""
    return pandas.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)


def test_a_row_has_what_was_measured(make):
    """The cells of one violated tensor, those that are not empty."""
    row = load(render(make.gate(), "csv")).iloc[1]

    assert {key: cell for key, cell in row.items() if cell} == {
        "file": "./model.h5",
        "name": "conv1/kernel",
        "path": "stored/conv1/kernel",
        "shape": "3x3x1x16",
        "dtype": "float32",
        "bytes": "576",
        "rule": "conv*/kernel max_norm=1",
        "constraint": "max_norm=1",
        "axis": "0 1 2",
        "vectors": "16",
        "vector_length": "9",
        "status": "violation",
        "outside_before": "14",
        "worst_index": "12",
        "worst_norm": "1.764693",
        "worst_excess": "0.764693",
        "finding": (
            "14 of 16 vectors outside max_norm=1 (worst [12]: norm 1.76469, 0.764693 too far)"
        ),
    }


def test_a_difference_has_columns(make):
    """Both sides of a compared tensor, and by how much they differ."""
    row = load(render(make.report(make.file(make.compared()), command="diff"), "csv")).iloc[0]

    assert row["a_shape":"finding"].to_dict() == {
        "a_shape": "2x3",
        "a_dtype": "float32",
        "b_shape": "2x3",
        "b_dtype": "float32",
        "differing_entries": "2",
        "difference": "0.5",
        "difference_relative": "0.25",
        "difference_index": "0 2",
        "finding": "2 of 6 entries differ (worst [0,2]: by 0.5)",
    }


def test_numbers_are_numbers_to_pandas(make):
    """A negative value is no formula, and keeps its sign and its digits."""
    third = -1 / 3
    norms = wproj.NormSummary(min=third, mean=1e-300, p50=1.0, p99=1e300, max=2.0)
    tensor = make.entries(norm_before=norms, violations=make.outside(1, worst_value=third))
    table = pandas.read_csv(io.StringIO(render(make.report(make.file(tensor)), "csv")))

    assert table["worst_value"].tolist() == [third]
    assert table[["before_min", "before_mean", "before_p99"]].iloc[0].tolist() == [
        third,
        1e-300,
        1e300,
    ]


def test_pandas_can_tell_a_name_from_a_missing_number(make):
    """As docs/reports.md says: only the empty cell is missing, and numbers stay numbers."""
    tensors = [make.entries("NA"), make.entries("nan", violations=None)]
    text = render(make.report(make.file(*tensors)), "csv")
    table = pandas.read_csv(io.StringIO(text), keep_default_na=False, na_values=[""])

    assert table["name"].tolist() == ["NA", "nan"]
    assert table["worst_value"].isna().tolist() == [False, True]
    assert table["worst_value"][0] == -0.2


def test_a_file_that_failed_has_a_row(make):
    """Without it, a table would look complete that is not."""
    last = load(render(make.gate(), "csv")).iloc[-1]

    assert {key: cell for key, cell in last.items() if cell} == {
        "file": "no.h5",
        "status": "error",
        "reason": "no.h5: there is no such file",
    }


def test_every_report_has_the_same_columns(any_report):
    """As many rows as there are tensors and failed files, each as long as the head."""
    text = render(any_report, "csv")
    rows = list(csv.reader(io.StringIO(text), strict=True))
    tensors = sum(len(file.tensors) for file in any_report.files)
    failed = sum(d.level == "error" for d in any_report.diagnostics)

    assert rows[0] == list(COLUMNS)
    assert [len(row) for row in rows] == [len(COLUMNS)] * (1 + tensors + failed)
    assert "\r" not in text


@pytest.mark.parametrize(("shape", "cell"), [([], "scalar"), ([16], "16"), ([0, 3], "0x3")])
def test_a_shape_is_no_negative_number(make, shape, cell):
    """A spreadsheet reads `(16)` as -16."""
    table = load(render(make.report(make.file(make.tensor(shape=shape))), "csv"))

    assert table["shape"].tolist() == [cell]


def test_a_hostile_name_is_one_harmless_cell(make, hostile):
    """Printable, the same but for escapes, and with an apostrophe where it were a formula."""
    tensor = make.violating(
        hostile, path=hostile, rule=hostile, reason=hostile, layer=hostile, dtype=hostile
    )
    table = load(render(make.report(make.file(tensor, path=hostile)), "csv"))
    shown = wproj.printable(hostile)
    guarded = f"'{shown}" if shown.startswith(FORMULA) else shown

    assert len(table) == 1
    for column in ("file", "name", "path", "rule", "reason", "layer", "dtype"):
        assert table[column].tolist() == [guarded]
    for cell in table.iloc[0]:
        assert not cell.startswith(FORMULA)
        assert cell.isprintable()
