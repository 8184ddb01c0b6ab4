"""Models of every kind of layer that has variables. Imported once Keras has its backend."""

import keras
from keras import layers
from keras.constraints import MaxNorm, MinMaxNorm, NonNeg, UnitNorm


def zoo():
    """A model with most of the layers that declare constraints, and names that mislead."""
    shapes = [(16, 16, 3), (12, 8), (12,), (6, 6, 6, 2), (4, 8, 8, 2)]
    i, s, t, v, m = inputs = [keras.Input(shape) for shape in shapes]
    parts = [_images(i), _sequences(s), layers.Flatten()(_words(t)), *_volumes(v, m)]
    x = layers.Dense(8, name="dense_7")(layers.Concatenate()(parts))
    shared = layers.Dense(8, name="shared", kernel_constraint=MaxNorm(2))
    x = layers.Add()([shared(x), shared(layers.Activation("relu")(x))])
    x = layers.Dense(3, name="dense")(layers.Dense(3, name="dense_1")(x))
    return keras.Model(inputs, x)


def _images(x):
    x = layers.Conv2D(4, 3, name="c_in", kernel_constraint=MaxNorm(2, [0, 1, 2]))(x)
    x = layers.Conv2D(4, 3, use_bias=False, bias_constraint=NonNeg())(x)
    x = layers.BatchNormalization(gamma_constraint=NonNeg(), beta_constraint=MaxNorm(2))(x)
    x = layers.BatchNormalization(scale=False, name="no_scale")(x)
    x = layers.DepthwiseConv2D(3, depthwise_constraint=MaxNorm(2, [0, 1]), name="dw")(x)
    x = layers.SeparableConv2D(
        5, 3, depthwise_constraint=MaxNorm(2, [0, 1]), pointwise_constraint=UnitNorm([0, 1, 2])
    )(x)
    x = layers.Conv2DTranspose(4, 3, kernel_constraint=MaxNorm(2, [0, 1, 3]))(x)
    x = layers.GroupNormalization(2, gamma_constraint=NonNeg())(x)
    x = layers.PReLU(alpha_constraint=NonNeg())(x)
    inner = layers.Conv2D(4, 3, name="inside", kernel_constraint=MaxNorm(2, [0, 1, 2]))
    return layers.GlobalAveragePooling2D()(layers.SpectralNormalization(inner)(x))


def _sequences(y):
    y = layers.Conv1D(6, 3, kernel_constraint=MaxNorm(2, [0, 1]), bias_constraint=NonNeg())(y)
    y = layers.SeparableConv1D(6, 3, depthwise_constraint=UnitNorm([0]))(y)
    y = layers.DepthwiseConv1D(3, depth_multiplier=2, depthwise_constraint=MaxNorm(1, 0))(y)
    y = layers.Conv1DTranspose(4, 3, kernel_constraint=MaxNorm(2, [0, 2]))(y)
    y = layers.LSTM(
        5,
        return_sequences=True,
        name="my_lstm",
        kernel_constraint=MaxNorm(2),
        recurrent_constraint=UnitNorm(),
        bias_constraint=NonNeg(),
    )(y)
    y = layers.TimeDistributed(layers.Dense(6, name="each", kernel_constraint=UnitNorm()))(y)
    y = layers.MultiHeadAttention(
        2, 4, kernel_constraint=MaxNorm(2), bias_constraint=NonNeg(), name="mha"
    )(y, y)
    equation = {"equation": "abc,cd->abd", "output_shape": (None, 7), "bias_axes": "d"}
    y = layers.EinsumDense(**equation, kernel_constraint=MaxNorm(2))(y)
    return layers.GlobalAveragePooling1D()(y)


def _words(e):
    e = layers.Embedding(20, 6, embeddings_constraint=UnitNorm(1), name="words")(e)
    first = layers.Dense(5, name="first", kernel_constraint=MaxNorm(2))
    stack = [keras.Input((12, 6)), first, layers.Dense(4, name="second")]
    e = keras.Sequential(stack, name="nested")(e)
    inside = keras.Input((12, 4))
    return keras.Model(inside, layers.Dense(3, name="first")(inside), name="functional")(e)


def _volumes(v, m):
    v = layers.Conv3D(2, 3, kernel_constraint=MaxNorm(2, [0, 1, 2, 3]))(v)
    v = layers.Conv3DTranspose(2, 2, kernel_constraint=MaxNorm(2, [0, 1, 2, 4]))(v)
    m = layers.ConvLSTM2D(2, 3, kernel_constraint=MaxNorm(2, [0, 1, 2]))(m)
    return [layers.Flatten()(v), layers.Flatten()(m)]


def recurrent():
    """Loops, cells, stacks of cells, and wrappers around them."""
    s, m, v = inputs = [keras.Input(shape) for shape in [(6, 8), (3, 8, 2), (3, 4, 4, 4, 1)]]
    y = layers.SimpleRNN(4, return_sequences=True, recurrent_constraint=NonNeg())(s)
    y = layers.GRU(4, return_sequences=True, reset_after=False, bias_constraint=MaxNorm(1, -1))(y)
    y = layers.GRU(4, return_sequences=True, use_bias=False, dropout=0.1)(y)
    y = layers.LSTM(4, return_sequences=True, unit_forget_bias=False, name="lstm_2")(y)
    lstm = layers.LSTM(3, return_sequences=True, kernel_constraint=MinMaxNorm(0.5, 1))
    y = layers.Bidirectional(lstm, name="both", merge_mode="sum")(y)
    back = layers.GRU(
        3, return_sequences=True, go_backwards=True, kernel_constraint=NonNeg(), name="back"
    )
    y = layers.Bidirectional(layers.GRU(3, return_sequences=True), backward_layer=back)(y)
    y = layers.RNN(layers.LSTMCell(3, kernel_constraint=MaxNorm(2)), return_sequences=True)(y)
    simple = layers.SimpleRNNCell(3, name="my_cell", bias_constraint=NonNeg())
    y = layers.Bidirectional(layers.RNN(simple, return_sequences=True), name="two_loops")(y)
    cells = [layers.GRUCell(3), layers.LSTMCell(4, recurrent_constraint=MaxNorm(2))]
    y = layers.RNN([*cells, layers.GRUCell(3, name="last")], return_sequences=True)(y)
    m = layers.Bidirectional(layers.ConvLSTM1D(2, 3, recurrent_constraint=UnitNorm([0, 1])))(m)
    v = layers.ConvLSTM3D(1, 2, use_bias=False, kernel_constraint=MaxNorm(1, [0, 1, 2, 3]))(v)
    return keras.Model(inputs, [y, m, v])


def attention():
    """Attention, and layers that an equation describes."""
    x = keras.Input((5, 8))
    y = layers.MultiHeadAttention(
        2, 4, value_dim=3, output_shape=(2, 4), use_gate=True, kernel_constraint=MaxNorm(1)
    )(x, x)
    y = layers.Reshape((5, 8))(y)
    y = layers.MultiHeadAttention(2, 4, use_bias=False, dropout=0.1, flash_attention=False)(y, y)
    gated = {"use_gate": True, "kernel_constraint": MaxNorm(2), "bias_constraint": NonNeg()}
    y = layers.GroupQueryAttention(4, 4, 2, **gated)(y, y)
    y = layers.GroupQueryAttention(4, 2, 2, use_bias=False, name="gqa")(y, y)
    y = layers.AdditiveAttention()([y, layers.AdditiveAttention(use_scale=False)([y, y])])
    y = layers.EinsumDense("...x,xy->...y", 6, kernel_constraint=MaxNorm(1))(y)
    y = layers.EinsumDense("abc,bcd->abd", (5, 4), bias_axes="bd", bias_constraint=NonNeg())(y)
    return keras.Model(x, y)


def states():
    """Normalizations, statistics, and layers that are frozen or have nothing to store."""
    x, t = inputs = [keras.Input((6, 8)), keras.Input((6,))]
    y = layers.Normalization()(layers.Normalization(mean=0.5, variance=2.0)(x))
    y = layers.Pipeline([layers.Rescaling(0.5), layers.Normalization(name="piped")])(y)
    y = layers.BatchNormalization(renorm=True, center=False, gamma_constraint=NonNeg())(y)
    y = layers.BatchNormalization(scale=False, center=False)(layers.Dropout(0.1)(y))
    y = layers.BatchNormalization(trainable=False, beta_constraint=NonNeg(), name="frozen")(y)
    y = layers.LayerNormalization(gamma_constraint=NonNeg(), beta_constraint=MaxNorm(2))(y)
    y = layers.LayerNormalization(rms_scaling=True, name="rms")(layers.GaussianNoise(0.1)(y))
    y = layers.LayerNormalization(scale=False, name="shifted")(layers.UnitNormalization()(y))
    y = layers.GroupNormalization(2, center=False, gamma_constraint=MinMaxNorm(0.5, 1.5))(y)
    y = layers.RMSNormalization()(y)
    y = layers.PReLU(shared_axes=[1], alpha_constraint=NonNeg())(y)
    still = layers.Dense(8, trainable=False, kernel_constraint=MaxNorm(1), name="still")
    y = layers.SpectralNormalization(still, name="spectral")(y)
    t = layers.SpectralNormalization(layers.Embedding(9, 4, embeddings_constraint=UnitNorm(1)))(t)
    t = layers.ReversibleEmbedding(4, 8, embeddings_constraint=NonNeg())(layers.Flatten()(t))
    untied = layers.ReversibleEmbedding(4, 8, tie_weights=False, embeddings_constraint=UnitNorm(1))
    return keras.Model(inputs, [y, untied(layers.Reshape((-1,))(t))])


def nesting():
    """Models in models, shared ones, containers, and names that exist on several floors."""
    x = keras.Input((8, 8))
    block = keras.Sequential(
        [
            keras.Input((8, 8)),
            layers.Dense(8, name="dense_1", kernel_constraint=MaxNorm(1)),
            keras.Sequential(
                [layers.Dense(4, name="dense"), layers.Dense(8, name="last")], name="dense_2"
            ),
            layers.Dense(8, name="dense", bias_constraint=NonNeg()),
        ],
        name="encoder",
    )
    inside = keras.Input((8, 8))
    deep = keras.Model(inside, layers.Conv1D(8, 3, name="dense")(block(inside)), name="deep")
    y = deep(x)
    y = layers.TimeDistributed(keras.Sequential([layers.Dense(8, name="dense")], name="s"))(y)
    return keras.Model(x, layers.Dense(8, name="layers")(y))


def operations():
    """A layer in two places, and what Keras does not load from its legacy format."""
    x = keras.Input((8, 8))
    each = layers.Dense(8, name="each", kernel_constraint=UnitNorm())
    y = layers.TimeDistributed(each, name="again")(each(x) * 2.0)
    y = layers.Add(name="sum")([y + 1.0, layers.Dense(8, name="dense_3")(y)])
    y = layers.Attention(use_scale=True, score_mode="concat")([y, y])
    y = layers.Attention(use_scale=True, dropout=0.1, name="scaled")([y, y])
    y = layers.STFTSpectrogram("log", 4, 2, 4)(y)
    y = layers.STFTSpectrogram("real", 1, 1, 1)(layers.STFTSpectrogram("imag", 1, 1, 2)(y))
    return keras.Model(x, y)


MODELS = {
    build.__name__: build for build in (zoo, recurrent, attention, states, nesting, operations)
}
