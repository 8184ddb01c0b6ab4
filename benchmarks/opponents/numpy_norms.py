"""What one writes with NumPy: load a safetensors file, and the norms of every tensor.

python numpy_norms.py SOURCE AXIS
"""

import sys

import numpy as np
from safetensors.numpy import load_file

source, axis = sys.argv[1], int(sys.argv[2])
for name, w in load_file(source).items():
    norms = np.linalg.norm(w, axis=axis)
    print(name, norms.min(), norms.mean(), norms.max())
