"""Runs kept in folders: what is printed, written and read back."""
