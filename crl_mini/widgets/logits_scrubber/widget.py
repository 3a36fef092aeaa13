"""Chapter 5: play the B x B logits of one batch through training."""

from collections.abc import Sequence

import numpy as np
import traitlets
from jax.typing import ArrayLike
from jaxtyping import Shaped
from matplotlib.figure import Figure

from crl_mini import checks
from crl_mini.envs.maze import GridMaze
from crl_mini.losses import LOSSES
from crl_mini.widgets.base import Name, Whole, Widget, named, within

LARGEST = 100_000  # logits, at two bytes each


class LogitsScrubber(Widget, files=("common", "maze", "logits_scrubber/widget")):
    """Heat map of the logits at the end of training, positives on the diagonal.

    `logits` (K, B, B) hold K checkpoints of one batch, ``logits[k, i, j]`` =
    f(s_i, a_i, g_j), in nats, finite, at most 100,000 in all; `steps` (K,) their
    training steps; `loss` one of `crl_mini.losses.LOSSES`; `k` the checkpoint shown
    first (the last unless given). The logits are shipped as 16-bit integers, exact to
    1/131,000 of their range. With `maze` and the batch's `pairs` (B, 3), numbers of
    s, a and g, a maze shows what a row and a column are about.
    """

    stored = traitlets.Bytes().tag(sync=True)  # uint16 (K, B, B)
    low, scale = (traitlets.Float().tag(sync=True) for _ in range(2))
    size = traitlets.Int().tag(sync=True)
    steps = traitlets.List().tag(sync=True)
    shape, cells, pairs = (traitlets.List().tag(sync=True) for _ in range(3))
    k = Whole(0, lambda name, value: None)
    loss = Name("nce", named(*LOSSES))

    def __init__(
        self,
        logits: Shaped[ArrayLike, "..."],
        steps: Sequence[int] | Shaped[ArrayLike, "..."],
        loss: str = "nce",
        k: int | None = None,
        maze: GridMaze | None = None,
        pairs: Sequence | Shaped[ArrayLike, "..."] = (),
        **kwargs,
    ):
        logits, steps = np.asarray(logits, float), np.asarray(steps)
        checks.shaped("logits", logits, (None, None, None))
        K, B, _ = logits.shape
        checks.square("logits[0]", logits[0] if K else logits)
        checks.finite("logits", logits)
        checks.shaped("steps", steps, (K,))
        if logits.size > LARGEST:
            raise ValueError(
                f"logits must hold at most {LARGEST} values; got {logits.size}: "
                "keep fewer checkpoints or a smaller batch"
            )
        pairs = np.asarray(() if maze is None else pairs, int)
        if maze is not None:
            checks.shaped("pairs", pairs, (B, 3))
            within(0, maze.n_states - 1)("a state of a pair", int(pairs[:, ::2].max()))
        low = logits.min()
        scale = max(np.ptp(logits), 1e-6) / 65535
        self.logits = logits
        super().__init__(
            stored=np.round((logits - low) / scale).astype("<u2").tobytes(),
            low=float(low),
            scale=float(scale),
            size=B,
            steps=steps.astype(int).tolist(),
            loss=loss,
            k=K - 1 if k is None else k,
            shape=[0, 0] if maze is None else list(maze.walls.shape),
            cells=[] if maze is None else maze.cells.tolist(),
            pairs=pairs.tolist(),
            **kwargs,
        )

    @traitlets.validate("k")
    def _is_a_checkpoint(self, proposal) -> int:
        if not 0 <= proposal.value < len(self.steps):
            raise ValueError(
                f"k must lie in [0, {len(self.steps) - 1}]; got {proposal.value}"
            )
        return proposal.value

    def fallback(self) -> Figure:
        """The last checkpoint as a heat map."""
        figure = Figure(figsize=(5, 4))
        ax = figure.add_subplot()
        figure.colorbar(ax.imshow(self.logits[-1], cmap="viridis"), label="logit")
        ax.set(xlabel="goal j", ylabel="pair i", title=f"step {self.steps[-1]}")
        return figure
