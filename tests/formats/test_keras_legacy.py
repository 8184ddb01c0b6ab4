"""Files of Keras 1, Keras 2 and tf.keras, written as those versions write them.

Groups, variables and attributes are those of `save_model` and `save_weights_to_hdf5_group` in Keras
0.3.3, 1.0.8, 1.2.2, 2.2.4 and 2.10; configs are what `get_config` of their layers returns, less
initializers, regularizers and activations.
"""

import json

import h5py
import numpy as np
import pytest

import wproj
from wproj.errors import FileError


def layer(kind, name, **config):
    """A layer in a config."""
    return {"class_name": kind, "config": {"name": name, **config}}


def sequential(*layers):
    """A Sequential of Keras 1 and of Keras 2 before 2.2.3, whose config is a bare list."""
    return {"class_name": "Sequential", "config": list(layers)}


def model(*layers, kind="Model", name="model_1"):
    """A model, whose config lists its layers with their names beside them."""
    listed = [{"name": one["config"]["name"], "inbound_nodes": [], **one} for one in layers]
    return {
        "class_name": kind,
        "config": {"name": name, "layers": listed, "input_layers": [], "output_layers": []},
    }


def save_group(group, layers):
    """What `save_weights_to_hdf5_group` writes: names as bytes, none of them as float64."""
    group.attrs["layer_names"] = [name.encode() for name in layers]
    for name, variables in layers.items():
        inside = group.create_group(name)
        inside.attrs["weight_names"] = [variable.encode() for variable in variables]
        for variable, shape in variables.items():
            size = int(np.prod(shape))
            values = np.random.default_rng(size).normal(size=shape)
            inside.create_dataset(variable, data=values.astype("f4"))


@pytest.fixture
def save(tmp_path):
    """Saves layers with their variables: with a config a whole model, without one weights."""

    def write(layers, config=None, version="1.2.2"):
        path = tmp_path / "legacy.h5"
        with h5py.File(path, "w") as file:
            if config is None:
                save_group(file, layers)
                return path
            file.attrs["keras_version"] = version.encode()
            file.attrs["model_config"] = json.dumps(config).encode()
            save_group(file.create_group("model_weights"), layers)
        return path

    return write


def told(checkpoint):
    """By path below the group of the weights: name, class of the layer, and incoming axes."""
    return {
        entry.path.removeprefix("model_weights/"): (entry.name, entry.layer, entry.incoming)
        for entry in checkpoint.entries
    }


def named(checkpoint):
    """The names of all tensors, and that each is by the config."""
    assert {entry.named_by for entry in checkpoint.entries} == {"config"}
    assert not any(entry.obstacle for entry in checkpoint.entries)
    return [entry.name for entry in checkpoint.entries]


def max_norm(bound, axis):
    """A constraint as Keras 1 has it in its configs."""
    return {"name": "MaxNorm", "m": bound, "axis": axis}


def convolution(name, ordering, **config):
    """A Convolution2D of Keras 1 with 5 filters of 3 by 2."""
    sizes = {"nb_filter": 5, "nb_row": 3, "nb_col": 2, "border_mode": "same", "bias": True}
    return layer("Convolution2D", name, **sizes, dim_ordering=ordering, **config)


def dense(name, units, **config):
    """A Dense of Keras 1."""
    return layer("Dense", name, output_dim=units, bias=True, **config)


def test_a_model_of_keras_1_with_theano(save):
    """Kernels are (out, in, height, width), LSTMs have a matrix for each gate; no `:0`."""
    config = sequential(
        convolution(
            "convolution2d_1",
            "th",
            batch_input_shape=[None, 4, 8, 8],
            W_constraint=max_norm(2, [1, 2, 3]),
            b_constraint={"name": "NonNeg"},
        ),
        layer("BatchNormalization", "batchnormalization_1", mode=0, axis=1),
        layer("Reshape", "reshape_1", target_shape=[5, 64]),
        layer("LSTM", "lstm_1", output_dim=3, consume_less="cpu"),
        layer(
            "Dense",
            "dense_1",
            output_dim=2,
            bias=False,
            W_constraint={"name": "MinMaxNorm", "low": 0.1, "high": 1.5, "rate": 1.0, "axis": 0},
        ),
    )
    gates = {f"lstm_1_W_{g}": (64, 3) for g in "icfo"}
    gates |= {f"lstm_1_U_{g}": (3, 3) for g in "icfo"} | {f"lstm_1_b_{g}": (3,) for g in "icfo"}
    statistics = ("gamma", "beta", "running_mean", "running_std")
    path = save(
        {
            "convolution2d_1": {
                "convolution2d_1_W": (5, 4, 3, 2),
                "convolution2d_1_b": (5,),
            },
            "batchnormalization_1": {f"batchnormalization_1_{n}": (5,) for n in statistics},
            "reshape_1": {},
            "lstm_1": gates,
            "dense_1": {"dense_1_W": (3, 2)},
        },
        config,
    )
    checkpoint = wproj.open_checkpoint(path)
    found = told(checkpoint)
    declared = {
        item.entry.name: (item.steps[0], item.axis)
        for item in wproj.plan_declared(checkpoint).assignments
    }

    assert len(named(checkpoint)) == 19
    assert found["convolution2d_1/convolution2d_1_W"] == (
        "convolution2d_1/kernel",
        "Conv2D",
        (1, 2, 3),
    )
    assert found["convolution2d_1/convolution2d_1_b"] == ("convolution2d_1/bias", "Conv2D", None)
    assert found["lstm_1/lstm_1_W_i"] == ("lstm_1/kernel_i", "LSTM", (0,))
    assert found["lstm_1/lstm_1_U_o"] == ("lstm_1/recurrent_kernel_o", "LSTM", (0,))
    assert found["lstm_1/lstm_1_b_c"] == ("lstm_1/bias_c", "LSTM", None)
    assert found["batchnormalization_1/batchnormalization_1_running_std"][0] == (
        "batchnormalization_1/moving_variance"
    )
    assert found["dense_1/dense_1_W"] == ("dense_1/kernel", "Dense", (0,))
    assert declared == {
        "convolution2d_1/kernel": (wproj.MaxNorm(2, axis=(1, 2, 3)), (1, 2, 3)),
        "convolution2d_1/bias": (wproj.NonNeg(), None),
        "dense_1/kernel": (wproj.MinMaxNorm(0.1, 1.5, 1.0, axis=(0,)), (0,)),
    }


def test_a_model_of_keras_1_with_tensorflow(save):
    """Kernels are (height, width, in, out), with `:0`, counted if another model has the name."""
    config = model(
        layer("InputLayer", "input_1", batch_input_shape=[None, 8], input_dtype="int32"),
        layer("Embedding", "embedding_1", input_dim=9, output_dim=8, W_constraint=max_norm(1, 1)),
        convolution("convolution2d_1", "tf", W_constraint=max_norm(2, [0, 1, 2])),
        layer(
            "TimeDistributed", "timedistributed_1", layer=layer("Dense", "dense_1", output_dim=4)
        ),
        layer("PReLU", "prelu_1"),
    )
    path = save(
        {
            "input_1": {},
            "embedding_1": {"embedding_1_W:0": (9, 8)},
            "convolution2d_1": {
                "convolution2d_1_W_1:0": (3, 2, 4, 5),
                "convolution2d_1_b_1:0": (5,),
            },
            "timedistributed_1": {"dense_1_W:0": (5, 4), "dense_1_b:0": (4,)},
            "prelu_1": {"prelu_1_alphas:0": (4,)},
        },
        config,
    )

    assert told(wproj.open_checkpoint(path)) == {
        "embedding_1/embedding_1_W:0": ("embedding_1/embeddings", "Embedding", (1,)),
        "convolution2d_1/convolution2d_1_W_1:0": ("convolution2d_1/kernel", "Conv2D", (0, 1, 2)),
        "convolution2d_1/convolution2d_1_b_1:0": ("convolution2d_1/bias", "Conv2D", None),
        "timedistributed_1/dense_1_W:0": ("timedistributed_1/dense_1/kernel", "Dense", (0,)),
        "timedistributed_1/dense_1_b:0": ("timedistributed_1/dense_1/bias", "Dense", None),
        "prelu_1/prelu_1_alphas:0": ("prelu_1/alpha", "PReLU", None),
    }


@pytest.mark.parametrize(
    ("kind", "ordering", "variable", "shape", "incoming"),
    [
        # Keras 1.2; before that the outputs came first.
        ("Convolution1D", None, "W", (3, 1, 4, 5), (0, 1, 2)),
        ("Convolution1D", None, "W", (5, 4, 3, 1), (1, 2, 3)),
        ("AtrousConvolution1D", None, "W", (3, 1, 4, 5), (0, 1, 2)),
        ("AtrousConvolution2D", "th", "W", (5, 4, 3, 2), (1, 2, 3)),
        # They were as those of other convolutions; Keras 2 swapped their channels.
        ("Deconvolution2D", "tf", "W", (3, 2, 4, 5), (0, 1, 2)),
        ("Deconvolution2D", "th", "W", (5, 4, 3, 2), (1, 2, 3)),
        ("SeparableConvolution2D", "tf", "depthwise_kernel", (3, 2, 4, 6), (0, 1)),
        ("SeparableConvolution2D", "th", "depthwise_kernel", (6, 4, 3, 2), (2, 3)),
        ("SeparableConvolution2D", "tf", "pointwise_kernel", (1, 1, 24, 5), (0, 1, 2)),
        ("SeparableConvolution2D", "th", "pointwise_kernel", (5, 24, 1, 1), (1, 2, 3)),
        ("Convolution3D", "th", "W", (5, 4, 3, 2, 1), (1, 2, 3, 4)),
        ("Convolution3D", "tf", "W", (3, 2, 1, 4, 5), (0, 1, 2, 3)),
        ("ConvLSTM2D", "th", "W_i", (5, 4, 3, 2), (1, 2, 3)),
        ("ConvLSTM2D", "tf", "U_o", (3, 2, 5, 5), (0, 1, 2)),
        # The shape tells the order where the config does not.
        ("Convolution2D", None, "W", (3, 2, 4, 5), (0, 1, 2)),
        ("Convolution2D", None, "W", (5, 4, 3, 2), (1, 2, 3)),
    ],
)
def test_every_convolution_of_keras_1(save, kind, ordering, variable, shape, incoming):
    """Wherever its outputs are, the incoming axes are all others, and of a depth, its window."""
    size = {"nb_row": 3, "nb_col": 2}
    if kind.endswith("1D"):
        size = {"filter_length": 3}
    elif kind.endswith("3D"):
        size = {f"kernel_dim{axis}": 4 - axis for axis in (1, 2, 3)}
    config = {"nb_filter": 5, "depth_multiplier": 6, "border_mode": "same", **size}
    if ordering is not None:
        config["dim_ordering"] = ordering
    path = save({"c": {f"c_{variable}": shape}}, sequential(layer(kind, "c", **config)))
    (entry,) = wproj.open_checkpoint(path).entries

    assert (entry.obstacle, entry.incoming) == (None, incoming)
    assert entry.named_by == "config"


def test_an_order_that_nothing_tells_is_not_guessed(save):
    """A kernel that may have its outputs first or last has no role."""
    sizes = {"nb_filter": 3, "nb_row": 3, "nb_col": 3, "border_mode": "same"}
    config = sequential(layer("Convolution2D", "c", **sizes))
    checkpoint = wproj.open_checkpoint(save({"c": {"c_W": (3, 3, 3, 3)}}, config))

    assert told(checkpoint) == {"c/c_W": ("c/W", None, None)}
    assert checkpoint.layout == "unknown"
    with pytest.raises(wproj.RequestError, match="needs the layout"):
        wproj.plan(checkpoint, "c/W max_norm=1 axis=in")


def test_a_shape_that_contradicts_a_config_of_keras_1_is_an_obstacle(save):
    """As with other versions."""
    path = save({"c": {"c_W": (7, 4, 3, 2)}}, sequential(convolution("c", "th")))
    (entry,) = wproj.open_checkpoint(path).entries

    assert entry.obstacle == "its shape contradicts the config, whose Conv2D has (5,?,3,2)"


def test_variables_without_names_are_known_by_their_numbers(save):
    """`param_0` and so on, of a layer that has as many variables."""
    config = sequential(layer("Dense", "d", output_dim=2), layer("GRU", "g", output_dim=2))
    layers = {
        "d": {"param_0": (3, 2), "param_1": (2,)},
        "g": {f"param_{number}": (2, 2) for number in range(9)},
    }
    found = told(wproj.open_checkpoint(save(layers, config)))

    assert found["d/param_0"] == ("d/kernel", "Dense", (0,))
    assert found["d/param_1"] == ("d/bias", "Dense", None)
    assert found["g/param_3"] == ("g/param_3", None, None)


def test_a_graph_and_a_merge_of_keras_1(save):
    """The layers of a Graph are its nodes; branches that a Sequential merges count as its own."""
    graph = {
        "class_name": "Graph",
        "config": {
            "input_config": [],
            "node_config": [],
            "output_config": [],
            "nodes": {"left": layer("Dense", "left", output_dim=2)},
        },
    }
    left = sequential(layer("Dense", "dense_1", output_dim=3))
    right = model(layer("Dense", "dense_2", output_dim=3))
    merged = sequential(
        {"class_name": "Merge", "config": {"name": "merge_1", "layers": [left, right]}},
        layer("Dense", "dense_3", output_dim=2),
    )
    names = ["dense_1", "dense_2", "dense_3"]
    nodes = wproj.open_checkpoint(save({"left": {"left_W": (4, 2), "left_b": (2,)}}, graph))
    sizes = dict(zip(names, (3, 3, 2), strict=True))
    layers = {name: {f"{name}_W": (4, size)} for name, size in sizes.items()}

    assert named(nodes) == ["left/kernel", "left/bias"]
    assert named(wproj.open_checkpoint(save(layers, merged))) == [f"{n}/kernel" for n in names]


@pytest.mark.parametrize("version", ["1.2.2", "2.2.4"])
def test_the_layers_of_a_bidirectional(save, version):
    """Configs have the name from before it was wrapped, files the names of both directions."""
    units = "output_dim" if version == "1.2.2" else "units"
    constraint = max_norm(2, 0)
    if version == "2.2.4":
        constraint = {"class_name": "MaxNorm", "config": {"max_value": 2, "axis": 0}}
    key = "W_constraint" if version == "1.2.2" else "kernel_constraint"
    inner = layer("SimpleRNN", "simple_rnn_1", **{units: 3, key: constraint})
    config = sequential(layer("Bidirectional", "bidirectional_1", merge_mode="concat", layer=inner))
    variables = ("W", "U", "b") if version == "1.2.2" else ("kernel", "recurrent_kernel", "bias")
    shapes = dict(zip(variables, [(4, 3), (3, 3), (3,)], strict=True))
    written = {
        f"{way}_simple_rnn_1_{word}:0"
        if version == "1.2.2"
        else f"bidirectional_1/{way}_simple_rnn_1/{word}:0": shape
        for way in ("forward", "backward")
        for word, shape in shapes.items()
    }
    checkpoint = wproj.open_checkpoint(save({"bidirectional_1": written}, config, version))

    assert sorted(named(checkpoint)) == [
        f"bidirectional_1/{way}_simple_rnn_1/{word}"
        for way in ("backward", "forward")
        for word in ("bias", "kernel", "recurrent_kernel")
    ]
    assert {item.entry.name for item in wproj.plan_declared(checkpoint).assignments} == {
        "bidirectional_1/forward_simple_rnn_1/kernel",
        "bidirectional_1/backward_simple_rnn_1/kernel",
    }


def test_a_model_of_keras_2(save):
    """Scopes below a layer are counted when a model is made again; the group is the layer."""
    norm = {"class_name": "MaxNorm", "config": {"max_value": 1.0, "axis": 0}}
    unit = {"class_name": "unit_norm", "config": {}}
    inner = model(
        layer("Dense", "first", units=3, use_bias=False),
        layer("Dense", "second", units=3, use_bias=False, kernel_constraint=norm),
        name="inner",
    )
    config = model(
        layer("DepthwiseConv2D", "dw", kernel_size=[3, 3], depth_multiplier=2, use_bias=False),
        layer("Conv2D", "conv1/conv", kernel_size=[3, 3], filters=4, data_format="channels_first"),
        layer("CuDNNGRU", "gru", units=2),
        layer("Dense", "dense", units=5, kernel_constraint=norm),
        layer("Dense", "dense_3", units=5, kernel_constraint=unit),
        inner,
    )
    path = save(
        {
            "dw": {"dw_2/depthwise_kernel:0": (3, 3, 4, 2)},
            "conv1/conv": {"conv1/conv/kernel:0": (3, 3, 8, 4), "conv1/conv/bias:0": (4,)},
            "gru": {
                "gru/kernel:0": (4, 6),
                "gru/recurrent_kernel:0": (2, 6),
                "gru/bias:0": (12,),
            },
            "dense": {"dense_3/kernel:0": (4, 5), "dense_3/bias:0": (5,)},
            "dense_3": {"dense_4/kernel:0": (4, 5), "dense_4/bias:0": (5,)},
            "inner": {"first_1/kernel:0": (4, 3), "second/kernel:0": (3, 3)},
        },
        config,
        "2.2.4",
    )
    checkpoint = wproj.open_checkpoint(path)
    found = told(checkpoint)
    declared = {e.path.removeprefix("model_weights/"): e.declared for e in checkpoint.entries}

    assert found["dw/dw_2/depthwise_kernel:0"] == ("dw/kernel", "DepthwiseConv2D", (0, 1))
    assert found["conv1/conv/conv1/conv/kernel:0"] == ("conv1/conv/kernel", "Conv2D", (0, 1, 2))
    assert found["gru/gru/recurrent_kernel:0"] == ("gru/recurrent_kernel", "GRU", (0,))
    assert found["dense/dense_3/kernel:0"] == ("dense/kernel", "Dense", (0,))
    assert found["dense_3/dense_4/kernel:0"] == ("dense_3/kernel", "Dense", (0,))
    assert found["inner/first_1/kernel:0"] == ("inner/first/kernel", "Dense", (0,))
    assert declared["dense/dense_3/kernel:0"]["class_name"] == "MaxNorm"
    assert declared["dense_3/dense_4/kernel:0"]["class_name"] == "unit_norm"
    assert declared["inner/first_1/kernel:0"] is None
    assert declared["inner/second/kernel:0"]["class_name"] == "MaxNorm"


def test_a_model_of_tf_keras(save):
    """Cells are counted through the session; an attention has four layers inside."""
    cell = {
        "class_name": "MaxNorm",
        "config": {"max_value": 2, "axis": {"class_name": "__tuple__", "items": [0]}},
    }
    inner = layer("LSTM", "lstm", units=2, kernel_constraint=cell)
    back = layer("LSTM", "back", units=2, go_backwards=True)
    config = model(
        layer("LSTM", "lstm", units=2, kernel_constraint=cell),
        layer("Bidirectional", "both", merge_mode="concat", layer=inner, backward_layer=back),
        layer("MultiHeadAttention", "mha", num_heads=2, key_dim=3, use_bias=False),
        layer("BatchNormalizationV1", "bn", scale=False, center=True),
        layer("TimeDistributed", "each", layer=layer("Dense", "dense_7", units=3)),
        kind="Functional",
    )
    lstm = {"kernel:0": (4, 8), "recurrent_kernel:0": (2, 8), "bias:0": (8,)}
    heads = dict.fromkeys(("query", "key", "value"), (4, 2, 3)) | {"attention_output": (2, 3, 4)}
    path = save(
        {
            "lstm": {f"lstm/lstm_cell_3/{word}": shape for word, shape in lstm.items()},
            "both": {
                f"both/{way}/{word}": shape
                for way in ("forward_lstm/lstm_cell_5", "backward_back/lstm_cell_4")
                for word, shape in lstm.items()
            },
            "mha": {f"mha/{head}/kernel:0": shape for head, shape in heads.items()},
            "bn": {f"bn/{word}:0": (4,) for word in ("beta", "moving_mean", "moving_variance")},
            "each": {"each/kernel:0": (4, 3), "each/bias:0": (3,)},
        },
        config,
        "2.10.0",
    )
    checkpoint = wproj.open_checkpoint(path)
    found = told(checkpoint)

    assert len(named(checkpoint)) == len(found) == 18
    assert found["lstm/lstm/lstm_cell_3/kernel:0"] == ("lstm/kernel", "LSTM", (0,))
    assert found["both/both/forward_lstm/lstm_cell_5/bias:0"][0] == "both/forward_lstm/bias"
    assert found["both/both/backward_back/lstm_cell_4/bias:0"][0] == "both/back/bias"
    assert found["mha/mha/query/kernel:0"] == ("mha/query/kernel", "MultiHeadAttention", (0,))
    assert found["mha/mha/attention_output/kernel:0"][2] == (0, 1)
    assert found["bn/bn/moving_variance:0"][:2] == ("bn/moving_variance", "BatchNormalization")
    assert found["each/each/kernel:0"] == ("each/dense_7/kernel", "Dense", (0,))
    assert {item.entry.name for item in wproj.plan_declared(checkpoint).assignments} == {
        "lstm/kernel",
        "both/forward_lstm/kernel",
    }


@pytest.mark.parametrize(
    ("layers", "scopes"),
    [
        # tensorflow#19836: the layers were counted on while the model was built, their scopes not.
        (["dense_1", "dense_2"], ["dense", "dense_1"]),
        (["dense", "dense_1"], ["dense_1", "dense_1_1"]),
        (["dense", "dense_1"], ["dense_2", "dense_3"]),
        (["enc/dense", "dec/dense"], ["dense", "dense_1"]),
    ],
)
def test_layers_whose_scopes_are_counted_otherwise_are_not_mixed_up(save, layers, scopes):
    """A number that happens to fit is not taken for the layer's; nothing is declared then."""
    norm = {"class_name": "MaxNorm", "config": {"max_value": 1.0, "axis": 0}}
    inside = []
    for name in layers:
        above, _, own = name.rpartition("/")
        one = layer("Dense", own, units=3, use_bias=False, kernel_constraint=norm)
        inside.append(model(one, name=above) if above else one)
    config = model(model(*inside, name="inner"), layer("Dense", "out", units=1, use_bias=False))
    written = {f"{scope}/kernel:0": (3, 3) for scope in scopes}
    path = save({"inner": written, "out": {"dense_9/kernel:0": (3, 1)}}, config, "2.2.0")

    assert told(wproj.open_checkpoint(path)) == {
        **{f"inner/{scope}/kernel:0": (f"inner/{scope}/kernel", None, None) for scope in scopes},
        "out/dense_9/kernel:0": ("out/kernel", "Dense", (0,)),
    }


def test_two_variables_that_may_be_one_are_neither(save):
    """Whatever wrote the second: the one that is told apart by its name is found."""
    inner = model(
        layer("Dense", "a", units=3, use_bias=False),
        layer("Dense", "c", units=3, use_bias=False),
        name="inner",
    )
    written = {f"{scope}/kernel:0": (3, 3) for scope in ("a", "x/a", "c")}

    assert told(wproj.open_checkpoint(save({"inner": written}, model(inner)))) == {
        "inner/a/kernel:0": ("inner/a/kernel", None, None),
        "inner/x/a/kernel:0": ("inner/x/a/kernel", None, None),
        "inner/c/kernel:0": ("inner/c/kernel", "Dense", (0,)),
    }


def test_layers_of_layers_that_are_not_of_keras_are_not_taken_for_theirs(save):
    """A wrapper's own kernel is not the one of the layer inside it."""
    inner = layer("Dense", "inside", units=3)
    wrapper = {**layer("Wrapper", "lab", layer=inner), "module": "lab", "registered_name": "lab>W"}
    config = model(wrapper)
    own = wproj.open_checkpoint(save({"lab": {"lab/kernel:0": (4, 3)}}, config))
    both = {"lab": {"lab/kernel:0": (4, 3), "lab/inside/kernel:0": (4, 3)}}
    found = told(wproj.open_checkpoint(save(both, config)))

    assert told(own) == {"lab/lab/kernel:0": ("lab/kernel", None, None)}
    assert found["lab/lab/kernel:0"] == ("lab/kernel", None, None)
    assert found["lab/lab/inside/kernel:0"] == ("lab/inside/kernel", "Dense", (0,))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("dense_1/dense_1_W", "dense_1/W"),
        ("convolution2d_1/convolution2d_1_b_2:0", "convolution2d_1/b"),
        ("bn_1/bn_1_running_std", "bn_1/running_std"),
        ("sequential_1/dense_1_W:0", "sequential_1/dense_1_W"),
        ("conv1/bn/conv1/bn/gamma:0", "conv1/bn/gamma"),
        ("dense/dense_3/kernel:0", "dense/kernel"),
        ("lstm/lstm/lstm_cell_3/kernel:0", "lstm/lstm_cell_3/kernel"),
        ("top_level_model_weights/token:0", "top_level_model_weights/token"),
    ],
)
def test_weights_without_a_config_are_named_by_their_paths(save, path, name):
    """In the words of their version: whether a W is a kernel or a table, the path does not say."""
    group, _, variable = path.partition("/")
    checkpoint = wproj.open_checkpoint(save({group: {variable: (3, 2)}}))

    assert told(checkpoint) == {path: (name, None, None)}
    assert checkpoint.layout == "keras"


@pytest.mark.parametrize(
    ("kernel", "bias", "layout"),
    [
        ((3, 3, 4, 5), (5,), "keras"),
        ((5, 4, 3, 3), (5,), "unknown"),
        ((5, 3, 3, 5), (5,), "unknown"),
        ((3, 3, 4, 5), None, "unknown"),
        ((4, 5), None, "keras"),
    ],
)
def test_the_layout_of_weights_of_keras_1_is_told_by_their_biases(save, kernel, bias, layout):
    """Nothing else in the file says whether the outputs of a convolution come first or last."""
    variables = {"c_W_1:0": kernel} | ({"c_b_1:0": bias} if bias else {})

    assert wproj.open_checkpoint(save({"c": variables})).layout == layout


def test_weights_of_keras_before_1_0(tmp_path):
    """Layers and parameters have numbers only, and convolutions their outputs first."""
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file.attrs["nb_layers"] = 2
        for number, shape in enumerate([(8, 3, 3, 3), (8,)]):
            group = file.create_group(f"layer_{number}")
            group.attrs["nb_params"] = 1
            group["param_0"] = np.zeros(shape, "f4")
    checkpoint = wproj.open_checkpoint(path)

    assert [entry.name for entry in checkpoint.entries] == ["layer_0/param_0", "layer_1/param_0"]
    assert {entry.named_by for entry in checkpoint.entries} == {"path"}
    assert checkpoint.layout == "unknown"


def test_weights_of_keras_1_with_the_config_beside_them(save, tmp_path):
    """A matrix for each gate is what the config's one kernel is made of."""
    config = tmp_path / "model.json"
    config.write_text(json.dumps(sequential(layer("GRU", "gru_1", output_dim=2))))
    written = {f"gru_1_{word}_{g}": (2, 2) for word in "WU" for g in "zrh"}
    written |= {f"gru_1_b_{g}": (2,) for g in "zrh"}
    checkpoint = wproj.open_checkpoint(save({"gru_1": written}), config)

    assert sorted(named(checkpoint)) == sorted(
        f"gru_1/{word}_{g}" for word in ("kernel", "recurrent_kernel", "bias") for g in "zrh"
    )


def test_convolutions_of_keras_1_with_the_config_beside_them(save, tmp_path):
    """Also where the weights alone do not tell where the outputs are."""
    config = tmp_path / "model.json"
    config.write_text(json.dumps(sequential(convolution("c", "th", W_constraint=max_norm(2, 1)))))
    weights = save({"c": {"c_W": (5, 4, 3, 2), "c_b": (5,)}})
    checkpoint = wproj.open_checkpoint(weights, config)

    assert wproj.open_checkpoint(weights).layout == "unknown"
    assert {e.name: e.incoming for e in checkpoint.entries}["c/kernel"] == (1, 2, 3)


def test_old_class_names_of_another_module_are_not_translated(save):
    """A class of one's own called Graph is not that of Keras 1."""
    inside = [layer("Dense", "d", units=2)]
    config = {**model(*inside, kind="Graph"), "module": "lab", "registered_name": "lab>Graph"}

    assert named(wproj.open_checkpoint(save({"d": {"d/kernel:0": (3, 2)}}, config, "2.10"))) == [
        "d/kernel"
    ]


@pytest.mark.parametrize(("shape", "axis"), [((4, 6, 3), (1,)), ((4, 2, 3, 5), None)])
def test_a_locally_connected_kernel_is_a_stack_of_matrices(save, shape, axis):
    """One for each place, in the first of its three implementations."""
    config = model(layer("LocallyConnected1D", "l", filters=3))
    (entry,) = wproj.open_checkpoint(save({"l": {"l/kernel:0": shape}}, config, "2.2.4")).entries

    assert (entry.layer, entry.incoming) == ("LocallyConnected1D", axis)


NAMES = [f"a_rather_long_name_of_a_layer_{number:05d}" for number in range(3000)]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("kind", ["fixed bytes", "text"])
def test_names_in_several_attributes_are_recognized(tmp_path, whole, kind):
    """Keras splits a list of names that no one attribute can hold: `layer_names0` and so on."""
    path = tmp_path / "many.h5"
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        for number, part in enumerate(np.array_split(NAMES, 4)):
            values = part.astype("S") if kind == "fixed bytes" else list(map(str, part))
            root.attrs[f"layer_names{number}"] = values
        group = root.create_group(NAMES[7])
        group.attrs["weight_names0"] = [f"{NAMES[7]}/kernel:0".encode()]
        group[f"{NAMES[7]}/kernel:0"] = np.ones((3, 2), "f4")
        root.create_group(NAMES[8]).attrs["weight_names"] = np.zeros(0)
    checkpoint = wproj.open_checkpoint(path)

    assert checkpoint.layout == "keras"
    assert [entry.name for entry in checkpoint.entries] == [f"{NAMES[7]}/kernel"]


@pytest.mark.parametrize(
    "value",
    [h5py.Empty("f"), h5py.Empty("S10"), 3, np.zeros((2, 2)), np.array([b"{}", b"{}"]), True],
    ids=repr,
)
def test_a_model_config_that_is_not_text_is_noted(tmp_path, value):
    """The tensors are there without it, by their paths."""
    path = tmp_path / "odd.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = value
        file["dense/dense/kernel:0"] = np.ones((3, 2), "f4")
    checkpoint = wproj.open_checkpoint(path)

    assert checkpoint.notes == ("the attribute model_config is not the text of a config",)
    assert [entry.name for entry in checkpoint.entries] == ["dense/kernel"]
    assert checkpoint.layout == "keras"


@pytest.mark.parametrize(
    "value", [h5py.Empty("f"), 3, np.zeros(0), np.zeros((2, 2)), b"dense", "dense", [b"\xff\xfe"]]
)
def test_layer_names_of_any_kind_make_a_file_one_of_keras(tmp_path, value):
    """They are not read: the tree has the same names."""
    path = tmp_path / "odd.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = value
        file["dense/dense/kernel:0"] = np.ones((3, 2), "f4")
    checkpoint = wproj.open_checkpoint(path)

    assert checkpoint.layout == "keras"
    assert [entry.name for entry in checkpoint.entries] == ["dense/kernel"]


def test_damaged_attributes_are_no_crash(save):
    """Wherever a bit of one is off, there is a checkpoint, or an error that names the file."""
    config = sequential(dense("dense_1", 2))
    path = save({"dense_1": {"dense_1_W": (3, 2)}}, config)
    whole = bytearray(path.read_bytes())
    start = whole.index(b"model_config") - 64
    opened, refused = [], []
    for position in range(start, start + 160):
        mask = 0xFF if position < start + 112 else 1
        whole[position] ^= mask
        path.write_bytes(whole)
        whole[position] ^= mask
        try:
            opened.append(wproj.open_checkpoint(path))
        except FileError as error:
            refused.append(str(error))

    assert {len(checkpoint.entries) for checkpoint in opened} == {1}
    assert any("is not the text" in note for checkpoint in opened for note in checkpoint.notes)
    assert len(refused) > 10
    assert all(str(path) in text for text in refused)


@pytest.mark.parametrize(
    "config",
    [
        sequential("dense", None, 3),
        sequential({"class_name": "Merge", "config": {"layers": ["a", None, 3]}}),
        sequential({"class_name": "Merge", "config": {"layers": {}}}),
        {"class_name": "Graph", "config": {"nodes": [1]}},
        {"class_name": "Graph", "config": {"nodes": {"a": 1, "b": None}}},
        {"class_name": "Sequential", "config": None},
        {"class_name": ["Sequential"], "config": {"layers": 3}},
        sequential(layer("Convolution2D", "c", nb_filter="x", nb_row=[], nb_col={}, border_mode=1)),
        sequential(layer("Dense", "dense_1", output_dim="many", W_constraint={"name": 3})),
        sequential(
            layer("Dense", "dense_1", W_constraint={"name": "MaxNorm", "m": [], "axis": {}})
        ),
        sequential(
            layer("Bidirectional", "b", layer={"class_name": "LSTM", "config": {"name": 4}})
        ),
        sequential(convolution("c", "th"), convolution("c", "tf")),
    ],
    ids=range(12),
)
def test_a_config_of_nonsense_leaves_the_paths(save, config):
    """With or without a note; nothing is raised."""
    checkpoint = wproj.open_checkpoint(save({"x": {"x_W": (3, 2)}}, config))

    assert [entry.name for entry in checkpoint.entries] == ["x/W"]


def test_a_deep_config_is_noted(save):
    """What Python cannot recurse into is not read."""
    deep = layer("TimeDistributed", "t")
    for _ in range(400):
        deep = layer("TimeDistributed", "t", layer=deep)
    checkpoint = wproj.open_checkpoint(save({"x": {"x_W": (3, 2)}}, sequential(deep)))

    assert [entry.name for entry in checkpoint.entries] == ["x/W"]


def test_statistics_of_keras_1_are_left_out_of_globs(save):
    """With a config or without."""
    words = ("gamma", "beta", "running_mean", "running_std")
    layers = {"bn_1": {f"bn_1_{word}": (4,) for word in words}}
    config = sequential(layer("BatchNormalization", "bn_1", mode=0))
    for path in (save(layers), save(layers, config)):
        plan = wproj.plan(path, "* non_neg")

        assert sorted(item.entry.name for item in plan.assignments) == ["bn_1/beta", "bn_1/gamma"]
