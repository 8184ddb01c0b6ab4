"""JSON that strangers wrote: one sentence for whatever is wrong with it."""

import json
from typing import Any, NoReturn

from wproj.errors import shown


class JsonError(ValueError):
    """What is to be said of a text: `is not JSON: ...`, `has 'a' twice`."""


def parse_json(data: str | bytes, *, unique: bool = False, constants: bool = True) -> Any:  # noqa: ANN401 # anything that JSON holds
    """The value that a text is; bytes are UTF-8.

    Args:
        data: The text.
        unique: Whether a name may be in an object once only; else the last one counts.
        constants: Whether NaN and Infinity are taken, which Python writes and JSON does not have.

    Raises:
        JsonError: It is not JSON, nested too deeply, has too long a number, or a name twice.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        return json.loads(
            text,
            object_pairs_hook=_unique if unique else None,
            parse_constant=None if constants else _no_constant,
        )
    except JsonError:
        raise
    except UnicodeDecodeError as error:
        raise JsonError(f"is not JSON: it is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise JsonError(f"is not JSON: {error}") from error
    except RecursionError as error:
        raise JsonError("is not JSON that can be read: it is nested too deeply") from error
    except ValueError as error:  # What int() says of thousands of digits.
        raise JsonError("is not JSON that can be read: a number has too many digits") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value] # set.add returns None
        raise JsonError(f"has {shown(twice)} twice")
    return result


def _no_constant(text: str) -> NoReturn:
    raise JsonError(f"holds {text}, which JSON does not have")
