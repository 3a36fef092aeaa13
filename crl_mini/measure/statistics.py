"""Success rates: intervals, variance between seeds, and comparisons of agents."""

from collections.abc import Callable
from itertools import combinations_with_replacement
from math import comb, factorial

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import binom, bootstrap, norm, trim_mean

from crl_mini import checks


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a success rate from n independent episodes.

    It stays inside [0, 1] and has a width at 0 and n successes too. It is about one
    trained policy: seeds, not episodes, are the replicates of a method.

    Source: :eq:`wilson`; Wilson (1927).
    """
    checks.at_least("n", n, 1)
    z = norm.ppf((1 + level) / 2)
    p = successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # Rounding must not leave p outside its own interval.
    return float(max(min(centre - half, p), 0)), float(min(max(centre + half, p), 1))


def furthest(milestones: Bool[np.ndarray, "N K"]) -> Int[np.ndarray, " N"]:
    """Number of the last of K ordered milestones that each of N episodes passed.

    It is K for all of them, 0 for none. An episode that passed a milestone counts as
    having passed those before it, even if their thresholds missed it.

    Source: :eq:`chain`.
    """
    return np.logical_or.accumulate(milestones[:, ::-1], 1).sum(1)


def funnel(milestones: Bool[np.ndarray, "N K"]) -> Int[np.ndarray, " K1"]:
    """Counts of the N episodes that passed each milestone: N, then K falling counts.

    The ratio of a count to the one before it is the conditional success rate of one
    step; the last count over the first is the product of these rates. Errors:
    ``ValueError`` without episodes.

    Source: :eq:`chain`.
    """
    checks.at_least("episodes", len(milestones), 1)
    steps = np.arange(milestones.shape[1] + 1)
    return (furthest(milestones)[:, None] >= steps).sum(0)


def iqm(scores: Float[np.ndarray, "R K"]) -> float:
    """Interquartile mean: the mean of the middle half of all R runs x K tasks.

    Of three scores or fewer it is the mean of all.

    Source: :eq:`iqm`; Agarwal et al. (2021), Sec. 4.3.
    """
    return float(trim_mean(scores, 0.25, axis=None))


def iqm_interval(
    scores: Float[np.ndarray, "R K"], level: float = 0.95, *, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the `iqm` over bootstrap resamples of each task's R runs.

    It estimates how much other seeds would change the number, for the same tasks. From
    few runs it is too narrow: with one task and three runs it spans all scores.
    Errors: ``ValueError`` for fewer than two runs: one says nothing about others.

    Source: :eq:`bootstrap`; Agarwal et al. (2021), Sec. 4.1, stratified bootstrap.
    """
    checks.at_least("runs", len(scores), 2)

    def middle(*tasks, axis):
        return trim_mean(np.concatenate(tasks, axis), 0.25, axis)

    low, high = bootstrap(
        scores.T,
        middle,
        confidence_level=level,
        method="percentile",
        n_resamples=20_000,
        rng=seed,
    ).confidence_interval
    return float(low), float(high)


def wald(successes: int, n: int) -> tuple[float, float]:
    """Naive 95 % interval of a rate, with the standard error at the measured rate.

    At 0 and at n successes it has no width. It is here as a warning: use `wilson`.

    Source: :eq:`wald`.
    """
    checks.at_least("n", n, 1)
    p = successes / n
    half = 1.959964 * np.sqrt(p * (1 - p) / n)
    return float(p - half), float(p + half)


def coverage(
    rates: Float[np.ndarray, " P"],
    n: int,
    interval: Callable[[int, int], tuple[float, float]] = wilson,
) -> Float[np.ndarray, " P"]:
    """Exact probability that ``interval(successes, n)`` contains each true rate.

    Source: :eq:`coverage`; Brown et al. (2001).
    """
    checks.at_least("n", n, 1)
    k = np.arange(n + 1)
    low, high = np.array([interval(i, n) for i in k.tolist()]).T
    p = np.asarray(rates, float)[:, None]
    return (binom.pmf(k, n, p) * ((low <= p) & (p <= high))).sum(1)


def seed_variance(rates: Float[np.ndarray, " R"], n: int) -> tuple[float, float]:
    """Variances of success rates between and within seeds, from n episodes each.

    Their sum is the sample variance of the R rates. Both are unbiased, so the first may
    be negative if seeds hardly differ. Errors: ``ValueError`` for fewer than two
    seeds or episodes.

    Source: :eq:`seed-variance`.
    """
    checks.at_least("seeds", len(rates), 2)
    checks.at_least("n", n, 2)
    within = float((rates * (1 - rates)).mean() / (n - 1))
    return float(rates.var(ddof=1)) - within, within


def better(
    a: Float[np.ndarray, "R K"], b: Float[np.ndarray, "Q K"]
) -> Float[np.ndarray, " K"]:
    """Probability that a run of a beats one of b, for each of K tasks.

    1 where every run of a is better, 0.5 where neither is; a tie counts half.

    Source: :eq:`better`; Mann and Whitney (1947); Agarwal et al. (2021), Sec. 4.3.
    """
    a, b = a[:, None], b[None]  # (R, 1, K) against (1, Q, K)
    return ((a > b) + (a == b) / 2).mean((0, 1))


def expected_best(scores: Float[np.ndarray, " N"], n: int) -> float:
    """Mean of the best of n different runs, over all ways to choose them from N.

    It is unbiased for the best of n fresh runs. Errors: ``ValueError`` for n above N.

    Source: :eq:`expected-best`; Dodge et al. (2019).
    """
    checks.at_least("n", n, 1)
    checks.at_least("the number of scores", len(scores), n)
    ways = [comb(i, n - 1) for i in range(len(scores))]  # in which the i-th is the best
    return float(np.sort(scores) @ ways / comb(len(scores), n))


def resamples(n: int) -> tuple[Int[np.ndarray, "W n"], Int[np.ndarray, " W"]]:
    """All bootstrap resamples of n runs up to order: indices, and numbers of orders.

    There are 10 for n = 3 and 92,378 for n = 10, the most allowed.

    Source: :eq:`bootstrap`.
    """
    checks.at_least("10 minus the number of runs", 10 - n, 0)
    checks.at_least("the number of runs", n, 1)
    indices = np.array(list(combinations_with_replacement(range(n), n)))
    counts = (indices[:, :, None] == np.arange(n)).sum(1)  # (W, n)
    factorials = np.array([factorial(k) for k in range(n + 1)])
    return indices, factorial(n) // factorials[counts].prod(1)


def exact_interval(
    scores: Float[np.ndarray, " n"], level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of the interquartile mean of n <= 10 runs, exactly.

    `iqm_interval` of one task approaches it with more resamples.

    Source: :eq:`bootstrap`; Efron (1979).
    """
    indices, orders = resamples(len(scores))
    values = trim_mean(np.asarray(scores, float)[indices], 0.25, axis=1)
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(values, ends, weights=orders, method="inverted_cdf")
    return float(low), float(high)
