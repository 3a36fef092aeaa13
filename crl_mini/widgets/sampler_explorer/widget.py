"""Chapter 4: three ways to draw a future goal from an episode that ends."""

import numpy as np
import traitlets
from matplotlib.figure import Figure

from crl_mini.replay import SAMPLERS, offset_pmf
from crl_mini.widgets.base import BLUE, Whole, Widget, discount, seed_trait, within


class SamplerExplorer(Widget, files=("common", "sampler_explorer/widget")):
    """Probability of each future step as the goal, under three samplers.

    An episode has `length` steps (2 to 200); `t` is the current one (0 to length - 1),
    `gamma` the discount in (0, 1).
    """

    gamma = discount()
    length = Whole(50, within(2, 200))
    t = traitlets.Int(0).tag(sync=True)
    draws = Whole(0, within(0, 20_000))
    seed = seed_trait()

    def __init__(
        self, gamma: float = 0.9, length: int = 50, t: int | None = None, **kw
    ):
        t = 3 * length // 5 if t is None else t
        super().__init__(gamma=gamma, length=length, t=t, **kw)

    @traitlets.validate("t")
    def _is_a_step(self, proposal) -> int:
        within(0, self.length - 1)("t", proposal.value)
        return proposal.value

    def fallback(self) -> Figure:
        """The three distributions as bars."""
        remaining, figure = self.length - self.t, Figure(figsize=(5, 4.5))
        panels = figure.subplots(len(SAMPLERS), sharex=True, sharey=True)
        for ax, name in zip(panels, SAMPLERS, strict=True):
            steps = self.t + 1 + np.arange(remaining)
            ax.bar(steps, offset_pmf(name, self.gamma, remaining), color=BLUE)
            ax.set_title(name, loc="left", fontsize="medium")
        panels[-1].set(xlabel="step of the goal", xlim=(-1, self.length + 1))
        figure.tight_layout()
        return figure
