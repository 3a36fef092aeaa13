"""Chapter 11: play a rollout, with its critic, representation and actions."""

import jax
import jax.numpy as jnp
import numpy as np
import traitlets
from jaxtyping import Bool, Float, Shaped, UInt8
from matplotlib.figure import Figure

from crl_mini import checks
from crl_mini.critic import ENERGIES, Critic
from crl_mini.figures.plots import pictures
from crl_mini.measure.critics import pca
from crl_mini.widgets.base import Name, Widget, named, sheet_of

LARGEST = 1_000_000  # bytes of all pictures together
SHOWN = 6  # frames in the picture for readers without JavaScript
AXES = ("dx", "dy", "dz", "gripper")


class RolloutPlayer(Widget, files=("common", "networks", "rollout_player/widget")):
    """A film strip of one rollout, with the picture of its goal at the end.

    `critic` takes R rollouts of T steps in pictures: `films` (R, T + 1, H, W, 3),
    `goals` (R, H, W, 3), the taken `actions` (R, T, 4), the `best` actions (R, T, 4)
    by the critic, all in [-1, 1], and the `success` (R, T) after each step. The widget
    ships lossless pictures, phi and psi; the page computes f for the goal of any
    rollout. `rollout` and `goal` are numbers of rollouts. The film plays while it is
    seen, unless the reader asked for no motion. Errors: ``ValueError`` for
    other shapes, and for more than 1 MB of pictures.
    """

    sheet = traitlets.Bytes().tag(sync=True)  # WebP, a row a rollout, its goal last
    shape = traitlets.List().tag(sync=True)  # [R, T, H, W, D]
    phi = traitlets.Bytes().tag(sync=True)  # float32 (R, T, D)
    psi = traitlets.Bytes().tag(sync=True)  # float32 (R, D)
    projection = traitlets.Bytes().tag(sync=True)  # float32 mean (D,), axes (D, 2)
    moves = traitlets.Bytes().tag(sync=True)  # float32 (2, R, T, 4): taken, best
    reached = traitlets.Bytes().tag(sync=True)  # uint8 (R, T)
    scale, bias = (traitlets.Float().tag(sync=True) for _ in range(2))
    energy = Name("l2", named(*ENERGIES))
    rollout, goal, t = (traitlets.Int(0).tag(sync=True) for _ in range(3))

    def __init__(
        self,
        critic: Critic,
        films: UInt8[np.ndarray, "R T1 H W 3"],
        goals: UInt8[np.ndarray, "R H W 3"],
        actions: Float[np.ndarray, "R T 4"],
        best: Float[np.ndarray, "R T 4"],
        success: Bool[np.ndarray, "R T"],
        rollout: int = 0,
        **kwargs,
    ):
        R, T = success.shape
        checks.shaped("films", films, (R, T + 1, *goals.shape[1:]))
        checks.shaped("goals", goals, (R, None, None, 3))
        for name, x in (("actions", actions), ("best", best)):
            checks.shaped(name, x, (R, T, len(AXES)))
            if not abs(x).max() <= 1:
                raise ValueError(f"{name} must lie in [-1, 1]; got {abs(x).max()}")
        self.films = films
        self.goals = goals
        sheet = sheet_of(films, goals)
        checks.at_least("the number of bytes allowed", LARGEST, len(sheet))
        encode = jax.jit(lambda s, a: critic.phi(*critic.see(s), a))
        pairs = zip(films, actions, strict=True)
        phi = np.stack([encode(s[:-1], a) for s, a in pairs])  # (R, T, D)
        psi = np.asarray(critic.psi(critic.see_goal(jnp.asarray(goals))))
        plane = pca(np.concatenate([phi.reshape(R * T, -1), psi]))
        scale = (
            1.0 if critic.log_scale is None else float(np.exp(critic.log_scale[...]))
        )
        super().__init__(
            sheet=sheet,
            shape=[R, T, *goals.shape[1:3], phi.shape[-1]],
            phi=_bytes(phi),
            psi=_bytes(psi),
            projection=_bytes(np.concatenate([plane.mean, plane.axes.ravel()])),
            moves=_bytes(np.stack([actions, best])),
            reached=success.astype(np.uint8).tobytes(),
            scale=scale,
            bias=float(critic.bias[...]),
            energy=critic.energy,
            rollout=rollout,
            **kwargs,
        )
        if "goal" not in kwargs:
            self.goal = rollout

    @traitlets.validate("rollout", "goal", "t")
    def _is_in_range(self, proposal) -> int:
        name, value = proposal.trait.name, proposal.value
        last = self.shape[1 if name == "t" else 0] - (name != "t")
        if not 0 <= value <= last:
            raise ValueError(f"{name} must lie in [0, {last}]; got {value}")
        return value

    def fallback(self) -> Figure:
        """A few frames of the rollout, and its goal."""
        moments = np.linspace(0, self.shape[1], SHOWN).astype(int)
        strip = [*self.films[self.rollout, moments], self.goals[self.rollout]]
        names = [*(f"step {t}" for t in moments), "goal"]
        return pictures({f"rollout {self.rollout + 1}": strip}, names)


def _bytes(x: Shaped[np.ndarray, "..."]) -> bytes:
    return np.asarray(x, "<f4").tobytes()
