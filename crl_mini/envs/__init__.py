"""Environments; importing this package registers them with Gymnasium."""

from crl_mini.envs import maze, tabletop
from crl_mini.envs.maze import GridMaze, PointMaze, PointMazeVector
from crl_mini.envs.tabletop import Tabletop, TabletopVector

__all__ = ["GridMaze", "PointMaze", "PointMazeVector", "Tabletop", "TabletopVector"]

maze.register()
tabletop.register()
