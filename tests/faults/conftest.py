"""`kills.py` is a program of its own: `make faults`."""

collect_ignore = ["kills.py"]
