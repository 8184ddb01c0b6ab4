"""How Keras 1 stored the kernels of convolutions, which its config and their shape tell.

From the `build` methods of the layers of Keras 1.0 to 1.2, and `preprocess_weights_for_loading` of
Keras 2. With `dim_ordering: th` the outputs come first: (out, in, height, width). Kernels of
Conv1D had four axes, (out, in, length, 1) before Keras 1.2 and (length, 1, in, out) since.
Transposed ones were (height, width, in, out). Since Keras 2 the outputs are last whatever the
order of the channels is.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from wproj.formats.keras_layers import Role
from wproj.formats.keras_parts import Config, Sizes

_KERNELS = ("kernel", "recurrent_kernel", "depthwise_kernel", "pointwise_kernel")


@dataclass(frozen=True, slots=True)
class OldKernel:
    """How the kernels of one convolution are stored.

    Attributes:
        window: The size of the kernel.
        outputs: The number of filters.
        multiplier: The number of filters for each channel of a separable convolution.
        orders: Whether the outputs come first; both where the shape has to tell.
    """

    window: Sizes
    outputs: int | None
    multiplier: int | None
    orders: tuple[bool, ...]

    def stored(self, role: Role, shape: tuple[int, ...]) -> Role | None:
        """The role with the axes of this shape as Keras 1 meant them; None where two fit."""
        if role.variable not in _KERNELS:
            return role
        depthwise = role.variable == "depthwise_kernel"
        window = (1,) * len(self.window) if role.variable == "pointwise_kernel" else self.window
        end = self.multiplier if depthwise else self.outputs
        roles = [
            replace(
                role,
                incoming=_but_outputs(first=first, depthwise=depthwise),
                shape=(end, None, *window) if first else (*window, None, end),
            )
            for first in self.orders
        ]
        fitting = [role for role in roles if role.fits(shape)]
        if len(fitting) > 1 and max(shape) > 1:
            return None
        return (fitting or roles)[0]


def _but_outputs(*, first: bool, depthwise: bool) -> Callable[[int], tuple[int, ...]]:
    """All axes but that of the outputs, and that of the inputs where each is for itself."""
    left_out = 2 if depthwise else 1
    if first:
        return lambda rank: tuple(range(left_out, rank))
    return lambda rank: tuple(range(rank - left_out))


def old_kernels(config: Config) -> dict[str, OldKernel]:
    """The convolutions of a Keras 1 model by the names of their layers.

    `config` is as Keras 3 would have it, but for the keys that only Keras 1 had.

    Raises:
        ValueError: Two convolutions share a name and are stored differently.
    """
    found: dict[str, OldKernel] = {}
    for name, kernel in _old_kernels(config):
        if found.setdefault(name, kernel) != kernel:
            raise ValueError(f"has two layers named {name}")
    return found


def _old_kernels(value: Any) -> Iterator[tuple[str, OldKernel]]:  # noqa: ANN401 # any JSON
    if isinstance(value, list):
        for item in value:
            yield from _old_kernels(item)
    elif isinstance(value, Mapping):
        config = value.get("config")
        if isinstance(config, Mapping) and "name" in config and _is_old(config):
            yield str(config["name"]), _old_kernel(config)
        for item in value.values():
            yield from _old_kernels(item)


def _is_old(config: Config) -> bool:
    """Whether this is of a convolution of Keras 1, all of which had a border mode."""
    return "border_mode" in config and isinstance(config.get("kernel_size"), list)


def _old_kernel(config: Config) -> OldKernel:
    orders = {"th": (True,), "tf": (False,)}.get(str(config.get("dim_ordering")), (False, True))
    sizes = [size if isinstance(size, int) else None for size in config["kernel_size"]]
    outputs, multiplier = config.get("filters"), config.get("depth_multiplier")
    return OldKernel(
        window=tuple(sizes),
        outputs=outputs if isinstance(outputs, int) else None,
        multiplier=multiplier if isinstance(multiplier, int) else None,
        orders=orders,
    )
