"""Plots, and library code shown in the chapters."""
