"""What a config has for a constraint, as it may be passed on: anything can stand there."""

from collections.abc import Mapping
from typing import Any

from wproj.errors import brief, shown, storable

_DEEPEST, _MOST, _LONGEST = 8, 64, 1 << 12
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


def tidied(declared: Any) -> str | dict[str, Any] | None:  # noqa: ANN401 # anything that JSON holds
    """A declared constraint as a name or a dict; what is neither, as a text that names none.

    Texts are such as UTF-8 has, numbers such as any reader of JSON has; what is longer or deeper
    than a constraint is cut.

    >>> tidied({"class_name": "MaxNorm"}), tidied([2]), tidied({"a": [[[[[[[[[1]]]]]]]]]})["a"]
    ({'class_name': 'MaxNorm'}, '[2]', [[[[[[['...']]]]]]])
    """
    if declared is None:
        return None
    if isinstance(declared, str):
        return _text(declared)
    if isinstance(declared, Mapping):
        return {_text(key): _tidy(value, 1) for key, value in _few(declared.items())}
    return _text(shown(declared))


def _tidy(value: Any, depth: int) -> Any:  # noqa: ANN401 # anything that JSON holds
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int) and not _SMALLEST <= value <= _LARGEST:
        return shown(value)
    if isinstance(value, Mapping | list) and depth >= _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        return {_text(key): _tidy(inner, depth + 1) for key, inner in _few(value.items())}
    return [_tidy(inner, depth + 1) for inner in _few(value)] if isinstance(value, list) else value


def _few(items: Any) -> list[Any]:  # noqa: ANN401 # of a list or a dict
    return [item for _, item in zip(range(_MOST), items, strict=False)]


def _text(text: str) -> str:
    return storable(brief(text, _LONGEST))
