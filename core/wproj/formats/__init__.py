"""Where the bytes are: what is common to all formats is in `base`, a format is one file."""
