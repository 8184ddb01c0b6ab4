"""What one writes with NumPy: load a safetensors file, MaxNorm(2) on every tensor, save it.

python numpy_max_norm.py SOURCE TARGET AXIS
"""

import sys

import numpy as np
from safetensors.numpy import load_file, save_file

source, target, axis = sys.argv[1], sys.argv[2], int(sys.argv[3])
weights = load_file(source)
for w in weights.values():
    norms = np.linalg.norm(w, axis=axis, keepdims=True)
    np.multiply(w, np.minimum(norms, 2) / (norms + np.float32(1e-7)), out=w)
save_file(weights, target)
