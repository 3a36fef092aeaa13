"""Chapter 2: balls from two bags, a guessing reader, and a classifier that learns."""

import numpy as np
import traitlets
from matplotlib.figure import Figure

from crl_mini.figures.plots import two_densities
from crl_mini.widgets.base import Name, Real, Whole, Widget, named, seed_trait, within

MEAN, WIDTH = within(-4, 4), within(0.5, 2.5)


class DensityRatio(Widget, files=("common", "density_ratio/widget")):
    """Two Gaussian densities and the best logit for telling them apart.

    Positives come from p, negatives from q: means in [-4, 4], widths (standard
    deviations) in [0.5, 2.5]. `negatives` is B - 1, the negatives for each positive (1
    to 31), `n` the number of positives (5 to 1000) that the classifier learns from.
    `guesses` are the reader's, "p" or "q", for the first balls of `seed`; the arrow
    keys move bag `moved`.
    """

    p_mean, p_width = Real(1.0, MEAN), Real(0.7, WIDTH)
    q_mean, q_width = Real(-1.0, MEAN), Real(1.5, WIDTH)
    negatives, n = Whole(3, within(1, 31)), Whole(200, within(5, 1000))
    seed = seed_trait()
    guesses = traitlets.List(traitlets.Enum("pq")).tag(sync=True)
    moved = Name("p", named("p", "q"))

    def optimum(self, x: np.ndarray) -> np.ndarray:
        """The best logit log p(x)/q(x) - log(B - 1)."""
        p, q = self._log(x, "p"), self._log(x, "q")
        return p - q - np.log(self.negatives)

    def _log(self, x: np.ndarray, name: str) -> np.ndarray:
        mean, width = getattr(self, f"{name}_mean"), getattr(self, f"{name}_width")
        return -(((x - mean) / width) ** 2) / 2 - np.log(width * np.sqrt(2 * np.pi))

    def fallback(self) -> Figure:
        """Both densities and the optimal logit."""
        x = np.linspace(-6, 6, 200)
        p, q = (np.exp(self._log(x, name)) for name in "pq")
        return two_densities(x, p, q, {"log p/q - log(B-1)": self.optimum(x)})
