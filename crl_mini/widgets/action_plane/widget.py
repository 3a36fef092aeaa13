"""Chapter 8: drag a hand and its goal, and watch critic and actor respond."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import traitlets
from jaxtyping import Float
from matplotlib.figure import Figure

from crl_mini import checks
from crl_mini.actor import LOG_STD, Actor, clipped_log_prob
from crl_mini.critic import Critic
from crl_mini.envs.tabletop import TASKS
from crl_mini.figures.plots import action_planes
from crl_mini.measure.critics import action_plane, actions_around
from crl_mini.widgets.base import Name, Real, Widget, layers_of, named, within

LARGEST = 300_000  # weights, at two bytes each


def rounded(network):
    """The network with the shipped weights, which have half precision."""
    return jax.tree.map(lambda x: x.astype(jnp.float16).astype(x.dtype), network)


class ActionPlane(Widget, files=("common", "networks", "action_plane/widget")):
    """Plane of actions (dx, dy), coloured by what an actor climbs, with its Gaussian.

    `critic` takes states of the tabletop task `task`; `actors` maps shares of cloning,
    from 0 to 1, to actors of the same task, all of one architecture. `share` is the one
    shown: between two trained ones lies a straight line between their Gaussians. The
    colours are (1 - share) f / `typical` + share log pi of the last actor, where
    `typical` is the mean of abs(f) in training. `state` and `goal` are states of that
    task, in metres; the arrow keys move `moved`, "goal" or "state". The networks have
    at most 300,000 weights and are shipped in half precision: the attributes `critic`
    and `actors` hold the rounded networks. Raises ``ValueError`` for anything else.
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
    shares = traitlets.List().tag(sync=True)  # of the actors, from 0 to 1
    typical = traitlets.Float().tag(sync=True)
    state = traitlets.List().tag(sync=True)
    goal = traitlets.List().tag(sync=True)
    share = Real(0.0, within(0, 1))
    moved = Name("goal", named("goal", "state"))

    def __init__(
        self,
        critic: Critic,
        actors: Mapping[float, Actor],
        task: str,
        state: np.ndarray | list[float],
        goal: np.ndarray | list[float],
        typical: float,
        **kwargs,
    ):
        checks.one_of("task", task, TASKS)
        self.critic = rounded(critic)
        self.actors = {float(x): rounded(actors[x]) for x in sorted(actors)}
        if not {0, 1} <= set(self.actors) <= {*np.clip(list(actors), 0, 1)}:
            raise ValueError(f"actors must have shares from 0 to 1; got {[*actors]}")
        checks.at_least("typical", typical, 1e-6)
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
            shares=list(self.actors),
            typical=float(typical),
            state=np.asarray(state, float).tolist(),
            goal=np.asarray(goal, float).tolist(),
            **kwargs,
        )

    def _check_networks(self, task: str) -> None:
        """Raise ``ValueError`` for networks that the script would misread."""
        networks = [self.critic, *self.actors.values()]
        bounds = tuple(tuple(b.tolist()) for b in TASKS[task].bounds)
        first = self.actors and networks[1].tower
        for name, one in zip(["critic", *map(str, self.actors)], networks, strict=True):
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

    def slice(self):
        """What is on display: colours (N, N), mean and deviation (A,) before tanh."""
        s, g = (jnp.array([x], jnp.float32) for x in (self.state, self.goal))
        each = [[x[0] for x in one(s, g)] for one in self.actors.values()]
        mean, std = (
            _between(self.share, self.shares, np.stack(x))
            for x in ([x for x, _ in each], [np.exp(x) for _, x in each])
        )
        mode = jnp.tanh(jnp.asarray(mean))
        f = action_plane(self.critic, s[0], g[0], mode)
        grid = actions_around(mode)
        clone = (jnp.broadcast_to(x, grid.shape) for x in each[-1])
        cloned = clipped_log_prob(grid, *clone).reshape(f.shape)
        climbed = (1 - self.share) * f / self.typical + self.share * cloned
        return np.asarray(climbed), mean, std

    def fallback(self) -> Figure:
        """The plane of the first state, goal and share."""
        return action_planes({f"share {self.share:g}": self.slice()})


def _between(x: float, xs: list[float], ys: Float[np.ndarray, "N A"]):
    """Each column at x, on the straight lines between the points of xs."""
    return np.array([np.interp(x, xs, column) for column in ys.T])


def _sizes(tower) -> list[int]:
    """[hidden..., out] of an MLP."""
    return [*(dense.out_features for dense in tower.dense), tower.out.out_features]
