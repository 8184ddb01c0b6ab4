"""A zoo of Keras layers, written by Keras itself."""

import os

os.environ.setdefault("KERAS_BACKEND", "numpy")

import warnings

import numpy as np
import pytest


def build():
    """A model with every layer that can declare a constraint, and names that mislead."""
    import keras
    from keras import layers
    from keras.constraints import MaxNorm, MinMaxNorm, NonNeg, UnitNorm

    def images(x):
        x = layers.Conv2D(4, 3, name="c_in", kernel_constraint=MaxNorm(2, [0, 1, 2]))(x)
        x = layers.Conv2D(4, 3, use_bias=False, bias_constraint=NonNeg())(x)
        x = layers.BatchNormalization(gamma_constraint=NonNeg(), beta_constraint=MaxNorm(2))(x)
        x = layers.BatchNormalization(scale=False, name="no_scale")(x)
        x = layers.DepthwiseConv2D(3, depthwise_constraint=MaxNorm(2, [0, 1]), name="dw")(x)
        x = layers.SeparableConv2D(
            5,
            3,
            depthwise_constraint=MaxNorm(2, [0, 1]),
            pointwise_constraint=UnitNorm([0, 1, 2]),
        )(x)
        x = layers.Conv2DTranspose(4, 3, kernel_constraint=MaxNorm(2, [0, 1, 3]))(x)
        x = layers.GroupNormalization(2, gamma_constraint=NonNeg())(x)
        x = layers.PReLU(alpha_constraint=NonNeg())(x)
        inner = layers.Conv2D(4, 3, name="inside", kernel_constraint=MaxNorm(2, [0, 1, 2]))
        return layers.GlobalAveragePooling2D()(layers.SpectralNormalization(inner)(x))

    def sequences(y):
        y = layers.Conv1D(6, 3, kernel_constraint=MaxNorm(2, [0, 1]), bias_constraint=NonNeg())(y)
        y = layers.SeparableConv1D(6, 3)(y)
        y = layers.Conv1DTranspose(4, 3)(layers.DepthwiseConv1D(3)(y))
        y = layers.LSTM(
            5,
            return_sequences=True,
            name="my_lstm",
            kernel_constraint=MaxNorm(2),
            recurrent_constraint=UnitNorm(),
            bias_constraint=NonNeg(),
        )(y)
        y = layers.SimpleRNN(4, return_sequences=True)(layers.GRU(4, return_sequences=True)(y))
        lstm = layers.LSTM(3, return_sequences=True, kernel_constraint=MinMaxNorm(0.5, 1))
        y = layers.Bidirectional(lstm, name="both")(y)
        back = layers.GRU(
            3, return_sequences=True, go_backwards=True, kernel_constraint=NonNeg(), name="back"
        )
        forth = layers.GRU(3, return_sequences=True)
        y = layers.Bidirectional(forth, backward_layer=back)(y)
        y = layers.RNN(layers.LSTMCell(3, kernel_constraint=MaxNorm(2)), return_sequences=True)(y)
        cells = [layers.GRUCell(3), layers.LSTMCell(4, recurrent_constraint=MaxNorm(2))]
        y = layers.RNN(cells, return_sequences=True)(y)
        y = layers.TimeDistributed(layers.Dense(6, name="each", kernel_constraint=UnitNorm()))(y)
        y = layers.MultiHeadAttention(
            2, 4, kernel_constraint=MaxNorm(2), bias_constraint=NonNeg(), name="mha"
        )(y, y)
        y = layers.GroupQueryAttention(4, 4, 2, kernel_constraint=MaxNorm(2))(y, y)
        y = layers.RMSNormalization()(layers.LayerNormalization(gamma_constraint=NonNeg())(y))
        equation = {"equation": "abc,cd->abd", "output_shape": (None, 7), "bias_axes": "d"}
        y = layers.EinsumDense(**equation, kernel_constraint=MaxNorm(2))(y)
        return layers.GlobalAveragePooling1D()(y)

    def words(e):
        e = layers.Embedding(20, 6, embeddings_constraint=UnitNorm(1), name="words")(e)
        first = layers.Dense(5, name="first", kernel_constraint=MaxNorm(2))
        stack = [keras.Input((12, 6)), first, layers.Dense(4, name="second")]
        e = keras.Sequential(stack, name="nested")(e)
        inside = keras.Input((12, 4))
        return keras.Model(inside, layers.Dense(3, name="first")(inside), name="functional")(e)

    def volumes(v, m):
        v = layers.Conv3D(2, 3, kernel_constraint=MaxNorm(2, [0, 1, 2, 3]))(v)
        m = layers.ConvLSTM2D(2, 3, kernel_constraint=MaxNorm(2, [0, 1, 2]))(m)
        return [layers.Flatten()(layers.Conv3DTranspose(2, 2)(v)), layers.Flatten()(m)]

    shapes = [(16, 16, 3), (12, 8), (12,), (6, 6, 6, 2), (4, 8, 8, 2)]
    i, s, t, v, m = inputs = [keras.Input(shape) for shape in shapes]
    parts = [images(i), sequences(s), layers.Flatten()(words(t)), *volumes(v, m)]
    x = layers.Dense(8, name="dense_7")(layers.Concatenate()(parts))
    shared = layers.Dense(8, name="shared", kernel_constraint=MaxNorm(2))
    x = layers.Add()([shared(x), shared(layers.Activation("relu")(x))])
    x = layers.Dense(3, name="dense")(layers.Dense(3, name="dense_1")(x))
    return keras.Model(inputs, x)


@pytest.fixture(scope="session")
def zoo(tmp_path_factory):
    """The model with random weights, and the folder that Keras saved it in."""
    folder = tmp_path_factory.mktemp("zoo")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras on its own legacy format
        model = build()
        rng = np.random.default_rng(0)
        for variable in model.variables:
            if "float" in variable.dtype:
                variable.assign(rng.standard_normal(variable.shape).astype(np.float32))
        model.save(folder / "zoo.keras")
        model.save(folder / "zoo.h5")
        model.save_weights(folder / "zoo.weights.h5")
        (folder / "zoo.json").write_text(model.to_json(), encoding="utf-8")
    return model, folder
