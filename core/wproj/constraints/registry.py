"""The constraints by name; JSON to and from, as `keras.constraints` has it.

A new constraint is one frozen dataclass and one line in `ALL`.
"""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wproj.constraints.base import Constraint
from wproj.constraints.keras import MaxNorm, MinMaxNorm, NonNeg, UnitNorm
from wproj.errors import ConstraintLoadError, RequestError, UnknownConstraintError, shown

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

ALL: dict[str, type[Constraint]] = {
    "max_norm": MaxNorm,
    "min_max_norm": MinMaxNorm,
    "non_neg": NonNeg,
    "unit_norm": UnitNorm,
}

# What Keras 3, Keras 2 and tf.keras accept besides.
_ALIASES: dict[str, type[Constraint]] = {
    **{cls.__name__: cls for cls in (*ALL.values(), Constraint)},
    "constraint": Constraint,
    "maxnorm": MaxNorm,
    "nonneg": NonNeg,
    "unitnorm": UnitNorm,
}

# For `keras.models.load_model`: the classes by the names that Keras writes for them, where they are
# registered with it in the package `wproj`, and where they are not.
CUSTOM_OBJECTS: dict[str, type[Constraint]] = {
    name: cls for cls in ALL.values() for name in (cls.__name__, f"wproj>{cls.__name__}")
}

Identifier = None | str | Mapping[str, Any] | type[Constraint] | Callable[[Any], Any]


def known_name(name: str) -> bool:
    """Whether a built-in constraint has this name or alias."""
    return name in ALL or name in _ALIASES


def find(name: str, custom_objects: Mapping[str, Any] | None = None) -> type[Constraint]:
    """The class of this name or alias, or what `custom_objects` has under it.

    Raises:
        UnknownConstraintError: There is none.
    """
    found = (custom_objects or {}).get(name) or ALL.get(name) or _ALIASES.get(name)
    if found is None:
        raise UnknownConstraintError(name, sorted(ALL))
    return found


def get(identifier: Identifier) -> Callable[[Any], Any] | None:
    """The constraint that `identifier` stands for, as `keras.constraints.get` has it.

    None stays None; a name or a class is made with its defaults; a dict is deserialized; any
    other callable, a constraint among them, is returned as it is.

    >>> get("max_norm")
    MaxNorm(max_value=2, axis=0)

    Raises:
        RequestError: It stands for nothing.
    """
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    if isinstance(identifier, str):
        return find(identifier)()
    if isinstance(identifier, type):
        made: Constraint = identifier()
        return made
    if identifier is None or callable(identifier):
        return identifier
    raise RequestError(f"could not interpret the constraint identifier {identifier!r}")


def serialize(constraint: Callable[[Any], Any] | None) -> dict[str, Any] | None:
    """The constraint as the dict that Keras 3 writes into its configs; None stays None.

    >>> serialize(MaxNorm(3, axis=[0, 1]))["config"]
    {'max_value': 3, 'axis': [0, 1]}
    """
    if constraint is None:
        return None
    own = type(constraint) in _ALIASES.values()
    name = getattr(constraint, "__name__", type(constraint).__name__)
    function = not isinstance(constraint, Constraint)
    return {
        "module": "keras.constraints" if own else constraint.__module__,
        "class_name": "function" if function else name,
        "config": constraint.get_config() if isinstance(constraint, Constraint) else name,
        "registered_name": None if own else name,
    }


def deserialize(
    config: Mapping[str, Any] | str | None, custom_objects: Mapping[str, Any] | None = None
) -> Callable[[Any], Any] | None:
    """The constraint that a dict of Keras 3 or Keras 2 form describes; None stays None.

    Names that are not built in are looked up in `custom_objects`; nothing is imported.

    >>> deserialize({"class_name": "UnitNorm", "config": {"axis": 1}})
    UnitNorm(axis=1)

    Raises:
        UnknownConstraintError: The name is not built in, and not in `custom_objects`.
        RequestError: The dict has another form, or the config does not fit the constraint.
    """
    if config is None:
        return None
    if isinstance(config, str):
        return find(config, custom_objects)()
    if not isinstance(config, Mapping):
        raise RequestError(f"a constraint is a name or a dict, not {shown(config)}")
    name, parameters = config.get("class_name"), config.get("config") or {}
    if not isinstance(name, str):
        raise RequestError(f"a constraint's config has a class_name; this has {sorted(config)}")
    if name == "function":
        return find(str(config.get("config")), custom_objects)
    if not isinstance(parameters, Mapping):
        raise RequestError(f"the parameters of a constraint are a dict, not {shown(parameters)}")
    return build(find(name, custom_objects), parameters)


def build(cls: type[Constraint], config: Mapping[str, Any]) -> Constraint:
    """The constraint of this class with these parameters.

    Raises:
        RequestError: The class does not take them.
    """
    try:
        return _built(cls, config)
    except RecursionError as error:  # What is wrong in it cannot even be shown.
        problem = "has a config that is nested too deeply"
        raise RequestError(f"{cls.__name__} {problem}") from error


def _built(cls: type[Constraint], config: Mapping[str, Any]) -> Constraint:
    try:
        return cls.from_config(dict(config))
    except (TypeError, OverflowError) as error:
        takes = ", ".join(inspect.signature(cls).parameters) or "no parameters"
        raise RequestError(f"{cls.__name__} takes {takes}, not {dict(config)}: {error}") from error


def load_constraint(reference: str) -> type[Constraint]:
    """The user-defined constraint class that `path/to/file.py:Class` or `module:Class` names.

    Its module is run: the caller has typed its name.

    Raises:
        ConstraintLoadError: The module cannot be run, or has no such subclass of Constraint.
    """
    module_name, _, class_name = reference.rpartition(":")
    try:
        module = _run(module_name)
    except Exception as error:  # whatever the user's module raises
        problem = f"cannot be imported: {type(error).__name__}: {error}"
        raise ConstraintLoadError(reference, problem) from error
    found = getattr(module, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, Constraint)):
        problem = f"{module_name} has no subclass of wproj.Constraint named {class_name!r}"
        raise ConstraintLoadError(reference, problem)
    return found


class _Uncached(SourceFileLoader):
    """Leaves no compiled file beside the user's."""

    def set_data(self, path: str, data: "ReadableBuffer", *, _mode: int = 0o666) -> None:
        """Writes nothing."""


def _run(module_name: str) -> Any:  # noqa: ANN401 # a module
    if not module_name.endswith(".py"):
        return importlib.import_module(module_name)
    path = Path(module_name)
    if not path.is_file():
        raise FileNotFoundError(f"no file {module_name}")
    name = f"wproj_user_{path.stem}"
    loader = _Uncached(name, str(path))
    spec = ModuleSpec(name, loader, origin=str(path))
    spec.has_location = True  # So that the module has its __file__.
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Where dataclasses and pickle look it up.
    loader.exec_module(module)
    return module
