"""Chapter 9: sample n of the recorded seeds, and see which agent wins."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets
from jaxtyping import Shaped
from matplotlib.figure import Figure

from crl_mini import checks
from crl_mini.figures.plots import all_runs
from crl_mini.widgets.base import Name, Whole, Widget, within

Shares = Sequence | Shaped[np.ndarray, "..."]
MOST = 10  # seeds; with more, there are too many resamples to list


class SeedDraw(Widget, files=("common", "seeds/widget")):
    """Success of every recorded seed of each agent, one row an agent.

    ``scores[group][measure][agent]`` (N,) are shares in [0, 1] of 2 to 10 seeds, with
    the same agents everywhere. `group`, `measure`, `first` and `second` choose the
    comparison, `n` (1 to 10) the number of sampled seeds, at most all of an agent;
    `draws` (1 to 10,000) counts the samples, the last of which is shown.
    """

    scores = traitlets.Dict().tag(sync=True)
    group = Name("", lambda name, value: None)
    measure = Name("", lambda name, value: None)
    first = Name("", lambda name, value: None)
    second = Name("", lambda name, value: None)
    n = Whole(3, within(1, MOST))
    draws = Whole(1, within(1, 10_000))

    def __init__(
        self,
        scores: Mapping[str, Mapping[str, Mapping[str, Shares]]],
        **kwargs,
    ):
        plain = {
            group: {
                measure: {agent: _shares(agent, x) for agent, x in of.items()}
                for measure, of in measures.items()
            }
            for group, measures in scores.items()
        }
        group = next(iter(plain), "")
        measures = plain.get(group, {})
        measure = next(iter(measures), "")
        agents = list(measures.get(measure, {}))
        checks.at_least("the number of agents", len(agents), 2)
        for of in plain.values():
            if list(of) != list(measures) or any(
                list(x) != agents for x in of.values()
            ):
                raise ValueError(
                    "scores must hold the same measures and agents throughout"
                )
        kwargs.setdefault("group", group)
        kwargs.setdefault("measure", measure)
        kwargs.setdefault("first", agents[0])
        kwargs.setdefault("second", agents[1])
        super().__init__(scores=plain, **kwargs)

    @traitlets.validate("group", "measure", "first", "second")
    def _is_known(self, proposal) -> str:
        measures = next(iter(self.scores.values()))
        known = {"group": self.scores, "measure": measures}
        agents = next(iter(measures.values()))
        name = proposal.trait.name
        checks.one_of(name, proposal.value, known.get(name, agents))
        return proposal.value

    def fallback(self) -> Figure:
        """Every seed of the chosen group and measure."""
        rows = self.scores[self.group][self.measure]
        rows = {agent: {self.measure: x} for agent, x in rows.items()}
        return all_runs(rows, xlabel=f"success: {self.group}", ylabel="agent")


def _shares(agent: str, scores: Shares) -> list[float]:
    """The scores of one agent as a list; ``ValueError`` unless 2 to 10 shares."""
    scores = np.asarray(scores, float)
    checks.shaped(f"scores of {agent}", scores, (None,))
    within(2, MOST)(f"the number of scores of {agent}", len(scores))
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"scores of {agent} must lie in [0, 1]; got {scores}")
    return scores.tolist()
