"""Runs kept in folders: what is told, what is written, what is read back."""
