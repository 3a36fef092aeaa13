"""Comparison: against simulation, brute-force loops, and what is known exactly."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import binom, mannwhitneyu, trim_mean

from crl_mini.measure.statistics import (
    better,
    coverage,
    exact_interval,
    expected_best,
    funnel,
    furthest,
    iqm,
    iqm_interval,
    resamples,
    seed_variance,
    wald,
    wilson,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (170, 200)])
def test_wilson_interval_inverts_the_score_test(k, n):
    low, high = wilson(k, n)
    for end in (low, high):
        if 1e-9 < end < 1 - 1e-9:
            z = abs(k / n - end) / np.sqrt(end * (1 - end) / n)
            assert z == pytest.approx(1.959964, rel=1e-5)
    assert 0 <= low <= k / n <= high <= 1
    assert (low > 0) == (k > 0)


def test_wilson_interval_covers_as_often_as_it_says():
    rng, n = np.random.default_rng(0), 50
    covered = []
    for p in rng.uniform(0.05, 0.95, 2000):
        low, high = wilson(rng.binomial(n, p), n)
        covered.append(low <= p <= high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


def middle_by_hand(scores):
    """Sort, cut a quarter off each end, average."""
    ordered = sorted(scores)
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) / len(kept)


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (4, 1), (3, 5), (10, 2)])
def test_interquartile_mean_by_hand(shape):
    scores = np.random.default_rng(0).uniform(size=shape)
    assert iqm(scores) == pytest.approx(middle_by_hand(scores.ravel().tolist()))


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_interval_is_that_of_all_ways_to_draw_the_runs_again(level):
    scores = np.random.default_rng(0).uniform(size=(4, 2))
    ways = list(product(range(4), repeat=4))  # for one task
    drawn = [[scores[i, k] for i in way] for k in (0, 1) for way in ways]
    first, second = drawn[: len(ways)], drawn[len(ways) :]
    every = [middle_by_hand(a + b) for a in first for b in second]
    ends = np.quantile(every, [(1 - level) / 2, (1 + level) / 2])
    np.testing.assert_allclose(iqm_interval(scores, level), ends, atol=0.01)


def test_runs_are_drawn_within_their_task():
    easy_and_hard = np.array([[0.0, 1.0, 0.4]] * 3)
    assert iqm_interval(easy_and_hard) == (iqm(easy_and_hard),) * 2


def test_three_runs_of_one_task_give_their_range_and_one_run_nothing():
    scores = np.array([[0.2], [0.7], [0.9]])
    assert iqm_interval(scores) == pytest.approx((0.2, 0.9))
    with pytest.raises(ValueError, match="runs must be at least 2; got 1"):
        iqm_interval(scores[:1])


def test_funnel_counts_episode_by_episode():
    milestones = np.random.default_rng(0).random((40, 4)) < 0.4
    last = [max([k + 1 for k in range(4) if row[k]], default=0) for row in milestones]
    assert furthest(milestones).tolist() == last
    counts = funnel(milestones)
    assert counts.tolist() == [sum(k <= n for n in last) for k in range(5)]
    assert counts[0] == 40
    assert counts[-1] == milestones[:, -1].sum()  # nothing is lost on the way
    with pytest.raises(ValueError, match="episodes must be at least 1"):
        funnel(milestones[:0])


@pytest.mark.parametrize("interval", [wald, wilson])
@pytest.mark.parametrize(("p", "n"), [(0.95, 20), (0.5, 7), (0.01, 30)])
def test_coverage_is_what_a_simulation_finds(interval, p, n):
    drawn = RNG.binomial(n, p, 4000)
    held = np.mean(
        [lo <= p <= hi for lo, hi in (interval(k, n) for k in drawn.tolist())]
    )
    assert coverage(np.array([p]), n, interval)[0] == pytest.approx(held, abs=0.03)


def test_coverage_is_a_sum_over_all_outcomes():
    n, p = 6, 0.8
    ends = [wald(k, n) for k in range(n + 1)]
    by_hand = sum(
        binom.pmf(k, n, p) for k, (lo, hi) in enumerate(ends) if lo <= p <= hi
    )
    assert coverage(np.array([p]), n, wald)[0] == pytest.approx(by_hand)


def test_wald_is_symmetric_and_has_no_width_at_the_ends():
    assert wald(0, 9) == (0, 0)
    assert wald(9, 9) == (1, 1)
    assert wald(50, 100) == pytest.approx((0.5 - 0.098, 0.5 + 0.098), abs=1e-4)


def test_seed_variance_is_without_bias():
    """Mean over all outcomes of two seeds with known rates, weighted exactly."""
    n, rates = 4, (0.3, 0.9)
    outcomes = np.arange(n + 1)
    found = np.zeros(2)
    for pair in product(rates, repeat=2):  # which rate each seed has
        for k in product(outcomes, repeat=2):
            weight = np.prod([binom.pmf(k[i], n, pair[i]) for i in (0, 1)]) / 4
            found += weight * np.array(seed_variance(np.array(k) / n, n))
    within = np.mean([p * (1 - p) / n for p in rates])
    np.testing.assert_allclose(found, [np.var(rates), within])


def test_parts_of_the_variance_add_up():
    rates = RNG.uniform(size=5)
    assert sum(seed_variance(rates, 50)) == pytest.approx(rates.var(ddof=1))
    assert seed_variance(np.full(3, 0.5), 10)[0] < 0  # seeds that do not differ at all


def test_better_counts_pairs_and_halves_ties():
    a, b = RNG.integers(0, 4, (4, 3)) / 4, RNG.integers(0, 4, (5, 3)) / 4
    for k, share in enumerate(better(a, b)):
        pairs = [(x > y) + (x == y) / 2 for x in a[:, k] for y in b[:, k]]
        assert share == pytest.approx(np.mean(pairs))
        u = mannwhitneyu(a[:, k], b[:, k]).statistic
        assert share == pytest.approx(u / 20)
    np.testing.assert_allclose(better(a, b) + better(b, a), 1)


@pytest.mark.parametrize("n", [1, 3, 7])
def test_expected_best_is_the_mean_over_all_choices(n):
    scores = RNG.integers(0, 5, 7) / 5
    by_hand = np.mean([max(c) for c in combinations(scores, n)])
    assert expected_best(scores, n) == pytest.approx(by_hand)


def test_resamples_count_every_order_once():
    for n in (1, 2, 3, 5, 10):
        assert resamples(n)[1].sum() == n**n
    which, ways = resamples(3)
    orders = [tuple(sorted(w)) for w in product(range(3), repeat=3)]
    assert {tuple(w): k for w, k in zip(which.tolist(), ways, strict=True)} == {
        w: orders.count(w) for w in orders
    }
    assert len(resamples(10)[0]) == 92_378


@pytest.mark.parametrize("level", [0.95, 0.7])
def test_exact_interval_is_that_of_every_ordered_draw(level):
    scores = RNG.uniform(size=4)
    every = trim_mean(np.array(list(product(scores, repeat=4))), 0.25, axis=1)
    ends = [(1 - level) / 2, (1 + level) / 2]
    by_hand = np.quantile(every, ends, method="inverted_cdf")
    np.testing.assert_allclose(exact_interval(scores, level), by_hand)


def test_drawing_at_random_comes_near_the_exact_interval():
    scores = RNG.uniform(size=10)
    low, high = exact_interval(scores)
    assert low < iqm(scores[:, None]) < high
    assert iqm_interval(scores[:, None]) == pytest.approx((low, high), abs=0.01)
    three = np.array([0.2, 0.7, 0.9])
    assert exact_interval(three) == pytest.approx((0.2, 0.9))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wilson(0, 0), "n must be at least 1"),
        (lambda: wald(0, 0), "n must be at least 1"),
        (lambda: coverage(np.array([0.5]), 0), "n must be at least 1"),
        (lambda: seed_variance(np.array([0.5]), 9), "seeds must be at least 2"),
        (lambda: seed_variance(np.array([0.5, 0.6]), 1), "n must be at least 2"),
        (lambda: expected_best(np.ones(3), 4), "number of scores must be at least 4"),
        (lambda: expected_best(np.ones(3), 0), "n must be at least 1"),
        (lambda: resamples(11), "10 minus the number of runs"),
        (lambda: resamples(0), "number of runs must be at least 1"),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()
