"""What is written to standard output piece by piece gets there in large parts, whole."""

import io
from contextlib import redirect_stdout

import pytest

from wproj_cli.output import _PART, emit


class Unbuffered(io.StringIO):
    """An output that notes what each call wrote."""

    encoding = "utf-8"

    def __init__(self):
        super().__init__()
        self.calls = []

    def write(self, text):
        """Notes it."""
        self.calls.append(text)
        return len(text)


def written(pieces):
    """What each call writes, if nothing is buffered, as with PYTHONUNBUFFERED."""
    output = Unbuffered()
    with redirect_stdout(output):
        emit(pieces)
    return output.calls


def test_a_short_text_is_written_at_once():
    """So that a reader who leaves early cannot break it."""
    calls = written(f"line {at}\n" for at in range(100))

    assert calls == ["".join(f"line {at}\n" for at in range(100))]


@pytest.mark.parametrize("length", [1, 7, 1000, _PART, 3 * _PART])
def test_a_long_text_takes_few_calls_and_is_whole(length):
    """None of which is much longer than a part."""
    pieces = [f"{at % 10}" * length for at in range(1 + 5 * _PART // length)]
    calls = written(pieces)

    assert "".join(calls) == "".join(pieces)
    assert len(calls) <= 7
    assert max(map(len, calls)) < _PART + length
