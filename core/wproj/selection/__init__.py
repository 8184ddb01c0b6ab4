"""Which tensors a constraint holds for, and along which axes."""
