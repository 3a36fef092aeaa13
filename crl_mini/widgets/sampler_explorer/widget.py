"""Chapter 4: three ways to sample a future goal from an episode that ends."""

import traitlets
from matplotlib.figure import Figure

from crl_mini.figures.plots import offset_pmfs
from crl_mini.replay import SAMPLERS, offset_pmf
from crl_mini.widgets.base import Whole, Widget, discount, seed_trait, within


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
        """The three distributions."""
        remaining = self.length - self.t
        pmfs = {name: offset_pmf(name, self.gamma, remaining) for name in SAMPLERS}
        return offset_pmfs({f"{remaining} steps remain": pmfs})
