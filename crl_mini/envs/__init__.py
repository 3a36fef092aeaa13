"""Environments; importing this package registers them with Gymnasium."""

from crl_mini.envs.maze import GridMaze, PointMaze, PointMazeVector, register

__all__ = ["GridMaze", "PointMaze", "PointMazeVector"]

register()
