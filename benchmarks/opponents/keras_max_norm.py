"""What one writes with Keras on torch: load a safetensors file, MaxNorm(2) on each, save it.

python keras_max_norm.py SOURCE TARGET AXIS
"""

import os
import sys

os.environ["KERAS_BACKEND"] = "torch"

from keras.constraints import MaxNorm  # type: ignore[import-untyped] # Keras ships no types
from safetensors.torch import load_file, save_file

source, target, axis = sys.argv[1], sys.argv[2], int(sys.argv[3])
constraint = MaxNorm(2, axis=axis)
save_file({name: constraint(w) for name, w in load_file(source).items()}, target)
