"""Classes that are not of Keras. Imported once Keras has its backend."""
# ruff: noqa: D102  # what build, call and get_config do is for Keras to say

import keras
from keras import layers
from keras.constraints import NonNeg

lab = keras.saving.register_keras_serializable("lab")


@lab
class Block(layers.Layer):
    """Layers in lists and dicts, and more than ten weights of its own."""

    def __init__(self, **options):
        super().__init__(**options)
        self.blocks = [layers.Dense(3, name="first"), layers.Dense(8, name="dense_9")]
        self.heads = {"a": layers.Dense(8, name="up"), "b": [layers.Dense(8, name="down")]}

    def build(self, shape):
        for layer in (*self.blocks, self.heads["a"], *self.heads["b"]):
            layer.build((*shape[:-1], 8 if layer.name != "dense_9" else 3))
        for number in range(13):
            self.add_weight(shape=(2, number + 1), name=f"w{number}")

    def call(self, x):
        return x


@lab
class Dense(layers.Layer):
    """Called like a layer of Keras, with its bias first and a constraint that is not applied."""

    def build(self, shape):
        self.add_weight(shape=shape[-1:], name="bias")
        self.add_weight(shape=(shape[-1], 8), name="kernel")

    def call(self, x):
        return x

    def get_config(self):
        return {**super().get_config(), "kernel_constraint": {"class_name": "NonNeg", "config": {}}}


@lab
class Wrapped(layers.Wrapper):
    """A wrapper like those of Keras: its layer is where its config says."""

    def call(self, x):
        return self.layer(x)


@lab
class Hidden(layers.Layer):
    """Has a layer in its config under a word that is not the attribute it is in."""

    def __init__(self, layer, **options):
        super().__init__(**options)
        self.inner = layer

    def call(self, x):
        return self.inner(x)

    def get_config(self):
        layer = keras.saving.serialize_keras_object(self.inner)
        return {**super().get_config(), "layer": layer}


@lab
class Swapped(layers.Layer):
    """Keeps its layers elsewhere than where its config has them."""

    def __init__(self, layers, **options):
        super().__init__(**options)
        self.config = layers
        self.layers = [keras.saving.deserialize_keras_object(one) for one in layers[::-1]]

    def build(self, shape):
        for layer in self.layers:
            layer.build(shape)

    def call(self, x):
        return x

    def get_config(self):
        return {**super().get_config(), "layers": self.config}


@lab
class Chain(keras.Sequential):
    """A Sequential model by another name."""


@lab
class Network(keras.Model):
    """A functional model by another name."""


@lab
class Subclassed(keras.Model):
    """A model whose config says nothing of its layers."""

    def __init__(self, **options):
        super().__init__(**options)
        self.encoder = layers.Dense(4, kernel_constraint=NonNeg(), name="enc")
        self.tail = [keras.Sequential([layers.Dense(3, name="a"), layers.Dense(2, name="b")])]

    def call(self, x):
        return self.tail[0](self.encoder(x))
