"""Files that Keras writes or wrote in other ways: dtypes, quantized, encoded, older, foreign."""

import io
import zipfile

import h5py
import numpy as np
import pytest

import wproj
from wproj.errors import RequestError

# What Keras warns of is its own: its legacy format, and how it makes arrays of its variables.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore::UserWarning:keras.*"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:keras.*"),
]

SUFFIXES = [".keras", ".weights.h5", ".h5"]
POLICIES = ["float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"]
MEMBER = "model.weights.h5"


def small(dtype="float32", **options):
    """A model that declares a constraint of every sort."""
    import keras
    from keras import layers
    from keras.constraints import MaxNorm, NonNeg, UnitNorm

    x = keras.Input((6, 5))
    y = layers.Conv1D(4, 2, kernel_constraint=MaxNorm(1, [0, 1]), dtype=dtype, name="conv")(x)
    y = layers.BatchNormalization(gamma_constraint=NonNeg(), dtype=dtype, name="norm")(y)
    y = layers.Dense(3, kernel_constraint=UnitNorm(), dtype=dtype, name="dense_4")(y)
    declared = {"kernel_constraint": MaxNorm(1), "bias_constraint": NonNeg()}
    y = layers.Dense(70, **declared, dtype=dtype, name="classes", **options)(y)
    return keras.Model(x, y)


def array(variable):
    """The values of a variable."""
    from keras import ops

    return ops.convert_to_numpy(variable)


def write(model, path):
    """Saves the model; returns the path of its config, where the file has none."""
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
        config = path.with_suffix(".json")
        config.write_text(model.to_json())
        return config
    model.save(path)
    return None


def load(path, model=None):
    """The model as Keras loads it, weights into a model that was shaken before."""
    import keras

    if path.name.endswith(".weights.h5"):
        model.load_weights(path)
        return model
    return keras.models.load_model(path, compile=False)


def project(path, config=None):
    """The plan and the file that `project --declared` makes of another."""
    plan = wproj.plan_declared(path, config=config)
    target = path.with_name(f"projected-{path.name}")
    list(wproj.apply(plan, target, wproj.Numerics()))
    again = list(wproj.apply(wproj.plan_declared(target, config=config), None, wproj.Numerics()))

    assert {report.status for report in again} - {"skipped"} == {"unchanged"}
    return plan, target


def weights_of(path):
    """The HDF5 file at `path`, or the one in the archive there."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return h5py.File(io.BytesIO(archive.read(MEMBER)), "r")
    return h5py.File(path, "r")


def contents(path):
    """Each dataset with its bytes, its filters and its attributes, and those of each group."""
    found = {}

    def visit(name, item):
        attributes = {key: np.asarray(value).tolist() for key, value in item.attrs.items()}
        found[name] = (attributes,)
        if isinstance(item, h5py.Dataset):
            filters = (item.chunks, item.compression, item.shuffle, item.fletcher32)
            data = b"" if item.shape is None else np.asarray(item[()]).tobytes()
            found[name] = (attributes, item.dtype, item.shape, filters, data)

    with weights_of(path) as file:
        visit("/", file)
        file.visititems(visit)
    return found


def same_but(before, after, paths):
    """Whether the files have equal contents but for the values of the datasets at `paths`."""
    first, second = contents(before), contents(after)
    kept = {path for path in first if path not in paths}
    assert all(first[path][:-1] == second[path][:-1] for path in paths)
    assert first.keys() == second.keys()
    return all(first[path] == second[path] for path in kept)


def violations(model):
    """The names of the constrained variables that are outside, measured in float64."""
    outside = []
    for variable in model.variables:
        constraint, w = variable.constraint, array(variable).astype(np.float64)
        if type(constraint).__name__ == "NonNeg" and (w < 0).any():
            outside.append(variable.path)
        elif hasattr(constraint, "axis"):
            axis = tuple(np.atleast_1d(constraint.axis).tolist())
            norms = np.sqrt((w**2).sum(axis))
            precision = 2.0 ** {"float16": -9, "bfloat16": -6}.get(variable.dtype, -22)
            unit = type(constraint).__name__ == "UnitNorm"
            if (np.abs(norms - 1) > precision if unit else norms > 1 + 1e-12).any():
                outside.append(variable.path)
    return outside


DECLARED = {"conv/kernel", "norm/gamma", "dense_4/kernel", "classes/kernel"}
DECLARED |= {"classes/bias"}
ALL = DECLARED | {"conv/bias", "dense_4/bias", "norm/beta"}
ALL |= {"norm/moving_mean", "norm/moving_variance"}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("policy", POLICIES)
def test_every_dtype_is_named_and_projected(shaken, tmp_path, policy, suffix):
    """Keras loads what is written, where it loads what it wrote itself, and all holds there."""
    model, path = shaken(small(policy)), tmp_path / f"m{suffix}"
    config = write(model, path)
    checkpoint = wproj.open_checkpoint(path, config)

    assert {entry.name for entry in checkpoint.entries} == ALL
    if (policy, suffix) == ("bfloat16", ".h5"):  # Keras wrote two bytes that nobody can name
        items = wproj.plan_declared(checkpoint).items
        (reason,) = {item.reason for item in items}
        assert reason.startswith("opaque16: bytes, as legacy files have bfloat16")
        return
    assert {entry.dtype for entry in checkpoint.entries} == {model.layers[1].variable_dtype}

    plan, target = project(path, config)

    assert {item.entry.name for item in plan.assignments} == DECLARED
    assert same_but(path, target, {item.entry.path for item in plan.assignments})
    assert violations(model)
    assert violations(load(target, shaken(small(policy), seed=1))) == []


def test_lora_is_merged_but_in_legacy_files(shaken, tmp_path):
    """Kernels are what they are in use, and are projected as such; a legacy file says otherwise."""
    import keras
    from keras import layers

    x, t = inputs = [keras.Input((6, 5)), keras.Input((6,))]
    y = layers.Conv1D(4, 2, name="conv")(x)
    y = layers.EinsumDense("abc,cd->abd", (5, 3), bias_axes="d", name="einsum")(y)
    outputs = [layers.Dense(3, name="dense")(y), layers.Embedding(9, 4, name="words")(t)]
    model = keras.Model(inputs, outputs)
    for name in ("conv", "einsum", "dense", "words"):
        model.get_layer(name).enable_lora(2)
    shaken(model)
    weights = {"conv/kernel": [0, 1], "einsum/kernel": 0, "dense/kernel": 0, "words/embeddings": 1}
    for suffix in SUFFIXES:
        write(model, tmp_path / f"lora{suffix}")
    names = {entry.name for entry in wproj.open_checkpoint(tmp_path / "lora.keras").entries}
    legacy = {entry.name for entry in wproj.open_checkpoint(tmp_path / "lora.h5").entries}
    target = tmp_path / "projected.keras"
    rules = ["*/kernel max_norm=0.5", "*/embeddings max_norm=0.5"]
    list(wproj.apply(wproj.plan(tmp_path / "lora.keras", rules), target, wproj.Numerics()))
    after = keras.models.load_model(target)

    assert names == {*weights, "conv/bias", "einsum/bias", "dense/bias"}
    assert legacy == {
        *names,
        *(f"{name}/lora_kernel_{half}" for name in ("conv", "einsum", "dense") for half in "ab"),
        *(f"words/lora_embeddings_{half}" for half in "ab"),
    }
    with pytest.raises(RequestError, match="lora_kernel_a adds to it when it is used"):
        wproj.plan(tmp_path / "lora.h5", "dense/kernel max_norm=1")
    for name, axis in weights.items():
        layer, _, variable = name.partition("/")
        merged = array(getattr(model.get_layer(layer), variable)).astype(np.float64)
        norms = np.sqrt((merged**2).sum(tuple(np.atleast_1d(axis)), keepdims=True))
        expected = merged * np.minimum(1, 0.5 / norms)
        found = array(getattr(after.get_layer(layer), variable))
        np.testing.assert_allclose(found, expected, rtol=2e-6)


def quantizable():
    """A model of all layers that Keras quantizes, for whatever they declare."""
    import keras
    from keras import layers
    from keras.constraints import MaxNorm, NonNeg, UnitNorm

    x, t = inputs = [keras.Input((6, 5)), keras.Input((6,))]
    both = {"kernel_constraint": MaxNorm(1), "bias_constraint": NonNeg()}
    y = layers.EinsumDense("abc,cd->abd", (6, 4), bias_axes="d", name="einsum", **both)(x)
    y = layers.Dense(3, kernel_constraint=MaxNorm(1), use_bias=False, name="no_bias")(y)
    y = layers.TimeDistributed(layers.Dense(3, name="dense", **both), name="each")(y)
    t = layers.Embedding(9, 7, embeddings_constraint=UnitNorm(1), name="words")(t)
    untied = {"tie_weights": False, "embeddings_constraint": NonNeg(), "name": "tokens"}
    t = layers.ReversibleEmbedding(4, 8, **untied)(layers.Flatten()(t))
    return keras.Model(inputs, [y, t])


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".h5"])
@pytest.mark.parametrize("mode", ["int8", "int4", "int4/-1"])
def test_quantized_variables_have_their_names_and_none_is_projected(shaken, tmp_path, mode, suffix):
    """Packed kernels are refused with a reason, and what is declared for biases is done."""
    import keras

    model, (mode, _, block) = shaken(quantizable()), mode.partition("/")
    config = keras.quantizers.Int4QuantizationConfig(block_size=int(block)) if block else None
    model.quantize(mode, config=config)
    path = tmp_path / f"quantized{suffix}"
    given = write(model, path)
    known = {v.path: v for v in model.variables if "seed" not in v.path}
    checkpoint = wproj.open_checkpoint(path, given)
    with weights_of(path) as file:
        values = {entry.name: file[entry.path][()].tobytes() for entry in checkpoint.entries}

    assert values == {name: array(v).tobytes() for name, v in known.items()}

    items = {item.entry.name: item for item in wproj.plan_declared(checkpoint).items}
    refused = {name: item.reason for name, item in items.items() if hasattr(item, "reason")}
    weights = {"einsum/kernel", "no_bias/kernel", "each/dense/kernel"}
    weights |= {"words/embeddings", "tokens/embeddings"}

    assert set(items) - set(refused) == {"einsum/bias", "each/dense/bias"}
    assert refused == dict.fromkeys(weights, "int8: integer entries")
    with pytest.raises(RequestError, match="int8: integer entries"):
        wproj.plan(checkpoint, "*/kernel max_norm=1")
    taken = wproj.plan(checkpoint, "* max_norm=1", allow_unmatched=True).assignments
    assert not [a.entry.name for a in taken if "scale" in a.entry.name or "g_idx" in a.entry.name]

    _, target = project(path, given)

    assert same_but(path, target, {items[name].entry.path for name in set(items) - set(refused)})
    if suffix != ".weights.h5":
        after = keras.models.load_model(target, compile=False)
        assert min(array(v).min() for v in after.variables if v.name == "bias") >= 0


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_layer_quantized_without_its_config_saying_so_is_left_alone(shaken, tmp_path, suffix):
    """Keras quantizes the layers inside an attention layer, and loses that when it saves them."""
    import keras
    from keras import layers
    from keras.constraints import MaxNorm

    x = keras.Input((6, 8))
    model = keras.Model(x, layers.MultiHeadAttention(2, 4, kernel_constraint=MaxNorm(1))(x, x))
    shaken(model).quantize("int8")
    path = tmp_path / f"attention{suffix}"
    checkpoint = wproj.open_checkpoint(path, write(model, path))
    name = model.layers[1].name
    items = {item.entry.name: item for item in wproj.plan_declared(checkpoint).items}
    taken = wproj.plan(checkpoint, "* max_norm=1 axis=in", allow_unmatched=True).assignments

    assert {item.reason for item in items.values()} == {"int8: integer entries"}
    assert f"{name}/attention_output/kernel" in items
    assert f"{name}/query/2" in {entry.name for entry in checkpoint.entries}
    assert taken == ()


def test_what_spectral_normalization_kept_of_a_quantized_kernel_is_left_alone(shaken, tmp_path):
    """It is of no use any more; its layer has the kernel."""
    import keras
    from keras import layers
    from keras.constraints import MaxNorm

    inner = layers.Dense(3, kernel_constraint=MaxNorm(0.1), name="inner")
    norm = layers.SpectralNormalization(inner, name="norm")
    model = shaken(keras.Sequential([keras.Input((5,)), norm]))
    model.quantize("int8")
    write(model, tmp_path / "m.keras")
    items = wproj.plan_declared(tmp_path / "m.keras").items
    entries = wproj.open_checkpoint(tmp_path / "m.keras").entries

    assert {entry.name: entry.dtype for entry in entries} == {
        "norm/kernel": "float32",
        "norm/vector_u": "float32",
        "norm/inner/kernel": "int8",
        "norm/inner/bias": "float32",
        "norm/inner/kernel_scale": "float32",
    }
    assert [str(item) for item in items] == ["norm/inner/kernel skipped: int8: integer entries"]


def test_float8_training_keeps_its_kernels_and_its_history(shaken, tmp_path):
    """Kernels are float32 and projected; the scales beside them stay."""
    import keras

    model = shaken(quantizable())
    model.quantize("float8")
    path = tmp_path / "float8.keras"
    write(model, path)
    plan, target = project(path)
    known = {v.path: array(v).tobytes() for v in model.variables if "seed" not in v.path}
    with weights_of(path) as file:
        entries = plan.checkpoint.entries
        values = {entry.name: file[entry.path][()].tobytes() for entry in entries}

    assert values == known
    assert same_but(path, target, {item.entry.path for item in plan.assignments})
    assert violations(model)
    assert violations(keras.models.load_model(target)) == []


@pytest.mark.parametrize("kind", ["Dense", "EinsumDense", "Embedding", "ReversibleEmbedding"])
def test_the_order_of_quantized_variables_is_that_of_keras(kind):
    """Of every mode, those that need data for their calibration among them."""
    from keras import layers

    from wproj.formats.keras_parts import Part, parts_of

    made = {
        "Dense": lambda: layers.Dense(3),
        "EinsumDense": lambda: layers.EinsumDense("ab,bc->ac", 3, bias_axes="c"),
        "Embedding": lambda: layers.Embedding(9, 4),
        "ReversibleEmbedding": lambda: layers.ReversibleEmbedding(9, 4, tie_weights=False),
    }
    layer = made[kind]()
    plain = [*parts_of(kind, layer.get_config()), Part("")]
    grouping = {"int4": "int4/128", "gptq": "gptq/4/-1", "awq": "awq/4/-1"}
    for mode, names in layer.variable_serialization_spec.items():
        dtype = {"config": {"mode": grouping.get(mode, mode), "source_name": "float32"}}
        config = {**layer.get_config(), "dtype": dtype if mode else "float32"}

        parts = parts_of(kind, config)

        assert [part.variable for part in parts] == names
        if mode:
            assert {part.declared for part in parts} == {part.declared for part in plain}


def optimized(shaken):
    """A compiled model whose optimizer has moments and averages."""
    import keras

    model = shaken(small())
    optimizer = keras.optimizers.AdamW(use_ema=True, weight_decay=0.1)
    model.compile(optimizer, "mse")
    optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(2)
    for slot in optimizer.variables:
        if "float" in slot.dtype and slot.shape:
            slot.assign(rng.standard_normal(slot.shape).astype(np.float32))
    return model


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_state_of_the_optimizer_is_left_alone(shaken, tmp_path, suffix):
    """Moments and averages have the shapes of kernels, and are none."""
    import keras

    model, path = optimized(shaken), tmp_path / f"trained{suffix}"
    config = write(model, path)
    plan, target = project(path, config)
    state = [e for e in plan.checkpoint.entries if "optimizer" in e.path]
    globbed = wproj.plan(plan.checkpoint, "** non_neg", allow_unmatched=True).assignments

    assert len(state) >= 3 * len(model.trainable_variables)
    assert {item.entry.name for item in plan.items} == DECLARED
    assert not [item for item in globbed if "optimizer" in item.entry.path]
    assert same_but(path, target, {item.entry.path for item in plan.assignments})
    if suffix == ".keras":
        after = keras.models.load_model(target)
        before = {v.path: array(v) for v in model.optimizer.variables}
        assert violations(after) == []
        for variable in after.optimizer.variables:
            np.testing.assert_array_equal(array(variable), before[variable.path])


ENCODINGS = {
    "gzip": {"compression": "gzip", "compression_opts": 9},
    "lzf and shuffle": {"compression": "lzf", "shuffle": True},
    "checksums": {"fletcher32": True},
    "everything": {"compression": "gzip", "shuffle": True, "fletcher32": True},
}


def rewrite(source, target, rename=lambda path: path, *, named=True, userblock=0, **encoding):
    """The file with its paths renamed, with or without the names in it, encoded differently."""
    with h5py.File(source) as old, h5py.File(target, "w", userblock_size=userblock) as new:

        def put(path, item):
            if isinstance(item, h5py.Dataset):
                options = encoding if item.shape else {}
                copy = new.create_dataset(rename(path), data=item[()], dtype=item.dtype, **options)
            else:
                copy = new.require_group(rename(path)) if path else new
            for key, value in item.attrs.items():
                if named or key != "name":
                    copy.attrs[key] = value

        put("", old)
        old.visititems(put)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_weights_in_compressed_chunks_stay_in_them(shaken, tmp_path, encoding, suffix):
    """Names, constraints and all that is not projected, whatever the filters are."""
    model, plain = shaken(small()), tmp_path / f"plain{suffix}"
    config = write(model, plain)
    path = tmp_path / f"encoded{suffix}"
    rewrite(plain, path, **ENCODINGS[encoding], chunks=True)
    plan, target = project(path, config)
    filters = {contents(target)[item.entry.path][3] for item in plan.assignments}

    assert {item.entry.name for item in plan.assignments} == DECLARED
    assert None not in {chunks for chunks, *_ in filters}
    assert same_but(path, target, {item.entry.path for item in plan.assignments})
    assert violations(load(target, shaken(small(), seed=1))) == []


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_a_user_block_is_kept(shaken, tmp_path, suffix):
    """What is in front of the HDF5 file is none of it."""
    model, plain, path = shaken(small()), tmp_path / f"plain{suffix}", tmp_path / f"block{suffix}"
    config = write(model, plain)
    rewrite(plain, path, userblock=1024)
    with path.open("r+b") as file:
        file.write(b"#!/bin/sh\n")
    plan, target = project(path, config)

    assert {item.entry.name for item in plan.assignments} == DECLARED
    assert target.read_bytes()[:1024] == path.read_bytes()[:1024]
    assert violations(load(target, shaken(small(), seed=1))) == []


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("backwards", [False, True])
def test_archives_keep_their_members_as_they_are(shaken, tmp_path, method, backwards):
    """Deflated or not, in whatever order, with whatever else is in them."""
    plain, path = tmp_path / "plain.keras", tmp_path / "packed.keras"
    write(shaken(small()), plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w", method) as new:
        members = {**{name: old.read(name) for name in old.namelist()}, "assets/words.txt": b"a\n"}
        for name in sorted(members, reverse=backwards):
            new.writestr(name, members[name])
    plan, target = project(path)
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(target) as after:
        kept = [info for info in before.infolist() if info.filename != MEMBER]

        assert after.namelist() == before.namelist()
        assert all(after.read(info.filename) == before.read(info.filename) for info in kept)
        assert {info.compress_type for info in after.infolist()} == {method}
    assert same_but(path, target, {item.entry.path for item in plan.assignments})
    assert violations(load(target)) == []


RENAMED = {
    "2.13": lambda path: path.replace("layers", "_layer_checkpoint_dependencies"),
    "Windows": lambda path: path.replace("layers/", "layers\\"),
    "before 3.6": lambda path: path,
}


@pytest.mark.parametrize("version", RENAMED)
def test_files_of_older_versions_are_named_by_their_config(shaken, tmp_path, version):
    """Other paths and no layer names beside the variables."""
    model, plain = shaken(small()), tmp_path / "plain.weights.h5"
    config, path = write(model, plain), tmp_path / "old.weights.h5"
    rewrite(plain, path, RENAMED[version], named=False)
    plan, target = project(path, config)

    assert {entry.name for entry in plan.checkpoint.entries} == ALL
    assert {item.entry.name for item in plan.assignments} == DECLARED
    assert same_but(path, target, {item.entry.path for item in plan.assignments})
    if version == "before 3.6":
        assert violations(load(target, shaken(small(), seed=1))) == []
    bare = {entry.named_by for entry in wproj.open_checkpoint(path).entries}
    assert bare == {"path"}
