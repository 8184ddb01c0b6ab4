"""Weights that Keras may have written, with or without the config of their model."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from wproj.formats.base import Checkpoint
from wproj.formats.keras_names import ConfigError, name_entries, parse_config


@dataclass(frozen=True, slots=True, kw_only=True)
class KerasWeights(Checkpoint):
    """Base of the checkpoints whose tensors a Keras config can name.

    Attributes:
        labels: The layer names that Keras notes beside variables, by the path of the layer.
    """

    labels: Mapping[str, str] = field(default_factory=dict)

    def with_config(self, config: Mapping[str, Any] | None) -> Self:
        """The same weights with the names that people use, and what the model's config says.

        Raises:
            ConfigError: The config is not one of Keras.
        """
        entries = name_entries(self.entries, self.labels, config)
        return replace(self, entries=entries, config=config)

    def named_by(self, text: str | bytes | None, where: str) -> Self:
        """The same with a config given as JSON; without one, and a note, if that is damaged."""
        if text is None:
            return self.with_config(None)
        try:
            return self.with_config(parse_config(text))
        except ConfigError as error:
            return replace(self.with_config(None), notes=(*self.notes, f"{where} {error}"))
