"""The book's interactive figures, for pages without a kernel, JupyterLab and Colab.

A cell whose last line is a widget shows it.
"""

from crl_mini.widgets.action_plane.widget import ActionPlane
from crl_mini.widgets.density_ratio.widget import DensityRatio
from crl_mini.widgets.detour.widget import Detour
from crl_mini.widgets.free_offsets.widget import FreeOffsets
from crl_mini.widgets.logits_scrubber.widget import LogitsScrubber
from crl_mini.widgets.maze_lab.widget import MazeLab
from crl_mini.widgets.neighbours.widget import Neighbours
from crl_mini.widgets.occupancy_maze.widget import OccupancyMaze
from crl_mini.widgets.planner.widget import Planner
from crl_mini.widgets.representation_explorer.widget import RepresentationExplorer
from crl_mini.widgets.robot_lab.widget import RobotLab
from crl_mini.widgets.rollout_player.widget import RolloutPlayer
from crl_mini.widgets.sampler_explorer.widget import SamplerExplorer
from crl_mini.widgets.seeds.widget import SeedDraw
from crl_mini.widgets.stitching.widget import Stitching
from crl_mini.widgets.which_later.widget import WhichLater

__all__ = [
    "ActionPlane",
    "DensityRatio",
    "Detour",
    "FreeOffsets",
    "LogitsScrubber",
    "MazeLab",
    "Neighbours",
    "OccupancyMaze",
    "Planner",
    "RepresentationExplorer",
    "RobotLab",
    "RolloutPlayer",
    "SamplerExplorer",
    "SeedDraw",
    "Stitching",
    "WhichLater",
]
