"""All that is fuzzed, by name."""

from fuzzing import (
    archives,
    hdf5_files,
    keras_configs,
    recipes,
    records,
    rules,
    safetensors_files,
    weight_maps,
)
from fuzzing.target import Target

TARGETS: dict[str, Target] = {
    "safetensors": safetensors_files.SAFETENSORS,
    "content": safetensors_files.CONTENT,
    "hdf5": hdf5_files.HDF5,
    "archive": archives.ARCHIVE,
    "weight-map": weight_maps.WEIGHT_MAP,
    "keras-names": keras_configs.NAMES,
    "keras-config": keras_configs.CONFIG,
    "constraint-json": keras_configs.CONSTRAINT_JSON,
    "recipe": recipes.RECIPE,
    "setting": recipes.SETTING,
    "rule": rules.RULE,
    "constraint": rules.CONSTRAINT,
    "glob": rules.GLOB,
    "axes": rules.AXES,
    "size": rules.SIZE,
    "baseline": records.BASELINE,
    "report": records.REPORT,
    "journal": records.JOURNAL,
    "names": records.NAMES,
}
