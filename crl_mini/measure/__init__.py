"""Exact answers, and measurements of trained agents."""
