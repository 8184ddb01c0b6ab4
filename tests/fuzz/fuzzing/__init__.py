"""Fuzzing of everything in wproj that reads what others have written."""
