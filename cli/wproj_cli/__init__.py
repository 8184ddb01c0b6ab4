"""The command line of wproj: parse, call the library, render."""
