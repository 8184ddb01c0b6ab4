"""How exactly: vectors, norms, and the way from float64 into the set as stored."""
