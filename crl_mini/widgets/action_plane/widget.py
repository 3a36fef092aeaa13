"""Chapter 8: drag a hand and its goal, and watch critic and actor respond."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import traitlets
from matplotlib.figure import Figure

from crl_mini import checks
from crl_mini.actor import LOG_STD, Actor
from crl_mini.critic import Critic
from crl_mini.envs.tabletop import TASKS
from crl_mini.figures.plots import action_planes
from crl_mini.measure.critics import action_plane
from crl_mini.widgets.base import Name, Widget, layers_of, named

LARGEST = 300_000  # weights, at two bytes each


def rounded(network):
    """The network with the shipped weights, which have half precision."""
    return jax.tree.map(lambda x: x.astype(jnp.float16).astype(x.dtype), network)


class ActionPlane(Widget, files=("common", "networks", "action_plane/widget")):
    """Plane of actions (dx, dy), coloured by a critic, with an actor's Gaussian on it.

    `critic` takes states of the tabletop task `task`; `actors` maps names to actors of
    the same task, all of one architecture; a name that is a whole number would lose its
    place in the row of buttons. `state` and `goal` are states of that task, in metres;
    `actor` is one of the names (the first unless given); the arrow keys move `moved`,
    "goal" or "state". The networks have at most 300,000 weights and are shipped in half
    precision: the attributes `critic` and `actors` hold the rounded networks. Raises
    ``ValueError`` for anything else.
    """

    weights = traitlets.Bytes().tag(sync=True)  # float16: phi, psi, then the actors
    sizes = traitlets.List().tag(sync=True)  # [hidden..., D]
    actor_sizes = traitlets.List().tag(sync=True)  # [hidden..., 2 A]
    action_size = traitlets.Int().tag(sync=True)  # A
    layer_norm = traitlets.Bool().tag(sync=True)
    energy = traitlets.Unicode().tag(sync=True)
    scale, bias = (traitlets.Float().tag(sync=True) for _ in range(2))
    log_std = traitlets.List(list(LOG_STD)).tag(sync=True)  # its bounds
    low, high = (traitlets.List().tag(sync=True) for _ in range(2))  # of a state
    block = traitlets.Int(0).tag(sync=True)  # where the block's place begins, or 0
    names = traitlets.List().tag(sync=True)
    state = traitlets.List().tag(sync=True)
    goal = traitlets.List().tag(sync=True)
    actor = traitlets.Unicode().tag(sync=True)
    moved = Name("goal", named("goal", "state"))

    def __init__(
        self,
        critic: Critic,
        actors: Mapping[str, Actor],
        task: str,
        state: np.ndarray | list[float],
        goal: np.ndarray | list[float],
        actor: str | None = None,
        **kwargs,
    ):
        checks.one_of("task", task, TASKS)
        self.critic = rounded(critic)
        self.actors = {name: rounded(one) for name, one in actors.items()}
        entries = TASKS[task].entries
        first = next(iter(self.actors.values()))
        self._check_networks(task)
        towers = [self.critic.phi_tower, self.critic.psi_tower]
        towers += [one.tower for one in self.actors.values()]
        parts = [np.ravel(x[...]) for tower in towers for x in layers_of(tower)]
        weights = np.concatenate(parts)
        checks.at_least("the number of weights allowed", LARGEST, weights.size)
        log_scale = self.critic.log_scale
        super().__init__(
            weights=weights.astype("<f2").tobytes(),
            sizes=_sizes(towers[0]),
            actor_sizes=_sizes(first.tower),
            action_size=first.action.size,
            layer_norm=bool(towers[0].norms),
            energy=self.critic.energy,
            scale=1.0 if log_scale is None else float(jnp.exp(log_scale[...])),
            bias=float(self.critic.bias[...]),
            low=list(self.critic.observation.low),
            high=list(self.critic.observation.high),
            block=entries.index("block_x") if "block_x" in entries else 0,
            names=list(self.actors),
            state=np.asarray(state, float).tolist(),
            goal=np.asarray(goal, float).tolist(),
            actor=next(iter(self.actors)) if actor is None else actor,
            **kwargs,
        )

    def _check_networks(self, task: str) -> None:
        """Raise ``ValueError`` for networks that the script would misread."""
        networks = [self.critic, *self.actors.values()]
        bounds = tuple(tuple(b.tolist()) for b in TASKS[task].bounds)
        first = self.actors and networks[1].tower
        for name, one in zip(["critic", *self.actors], networks, strict=True):
            spaces = {(one.observation.low, one.observation.high)}
            spaces.add((one.goal.low, one.goal.high))
            fits = spaces == {bounds} and set(one.action.low) == {-1.0}
            norms = bool((one.phi_tower if one is self.critic else one.tower).norms)
            fits = fits and norms == bool(self.critic.phi_tower.norms)
            if one is not self.critic:
                fits = fits and _sizes(one.tower) == _sizes(first)
            if not fits:
                raise ValueError(
                    f"{name!r} must be a network for states of {task} with actions in "
                    "[-1, 1], of the same sizes as the others"
                )

    @traitlets.validate("state", "goal")
    def _is_a_state(self, proposal) -> list[float]:
        name, value = proposal.trait.name, proposal.value
        checks.shaped(name, value, (len(self.low),))
        low, high = np.array(self.low), np.array(self.high)
        if ((value < low - 1e-6) | (value > high + 1e-6)).any():
            raise ValueError(f"{name} must lie within the task's bounds; got {value}")
        return value

    @traitlets.validate("actor")
    def _is_shipped(self, proposal) -> str:
        checks.one_of("actor", proposal.value, self.names)
        return proposal.value

    def slice(self):
        """The numbers on display: f (N, N), mean and deviation (A,) before tanh."""
        s, g = (jnp.array(x, jnp.float32) for x in (self.state, self.goal))
        mean, log_std = (x[0] for x in self.actors[self.actor](s[None], g[None]))
        values = action_plane(self.critic, s, g, jnp.tanh(mean))
        return np.asarray(values), np.asarray(mean), np.exp(log_std)

    def fallback(self) -> Figure:
        """The plane of the first state, goal and actor."""
        return action_planes({self.actor: self.slice()})


def _sizes(tower) -> list[int]:
    """[hidden..., out] of an MLP."""
    return [*(dense.out_features for dense in tower.dense), tower.out.out_features]
