"""What one writes with h5py: read every dataset, MaxNorm(2), write it chunked and filtered alike.

python h5py_max_norm.py SOURCE TARGET AXIS
"""

import sys

import h5py
import numpy as np

source, target, axis = sys.argv[1], sys.argv[2], int(sys.argv[3])
with h5py.File(source) as old, h5py.File(target, "w") as new:
    for name, dataset in old.items():
        w = dataset[()]
        norms = np.linalg.norm(w, axis=axis, keepdims=True)
        w *= np.minimum(norms, 2) / (norms + np.float32(1e-7))
        new.create_dataset(
            name,
            data=w,
            chunks=dataset.chunks,
            compression=dataset.compression,
            compression_opts=dataset.compression_opts,
            shuffle=dataset.shuffle,
        )
