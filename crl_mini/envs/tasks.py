"""Tasks: what a training must know of an environment, ours or anybody's."""

import gymnasium

OURS = "crl_mini/"  # namespace of this package's environments
TASKS = [
    name.removeprefix(OURS) for name in gymnasium.registry if name.startswith(OURS)
]
