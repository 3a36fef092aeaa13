r"""Exact answers for tabular problems, the reference for every learned critic.

Arrays are indexed ``[s, a, g]`` and kept in double precision. ``P[s, a, x]`` is the
probability of moving to state ``x``; a policy ``pi[s, a]`` is a row of probabilities.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int

from crl_mini import checks

Transitions = Float[np.ndarray, "S A S"]
Policy = Float[np.ndarray, "S A"]
States = Iterable[Int[np.ndarray, "_"]]  # of each trajectory; lengths may differ
Actions = Iterable[Int[np.ndarray, "_"]]


def policy_transitions(P: Transitions, pi: Policy) -> Float[np.ndarray, "S S"]:
    r"""State-to-state transitions under a policy, :math:`P_\pi = \sum_a \pi P`.

    Source: :eq:`policy-transitions`.
    """
    return np.einsum("sa,sax->sx", pi, P)


def goal_reward(P: Transitions, gamma: float) -> Float[np.ndarray, "S A S"]:
    """Reward for stepping onto each goal, (1 - gamma) p(s' = g | s, a).

    Source: :eq:`reward`; Eysenbach et al. (2022), Sec. 3.
    """
    checks.inside("gamma", gamma, 0, 1)
    return (1 - gamma) * P


def occupancy_series(
    P: Transitions, pi: Policy, gamma: float, n_terms: int
) -> Float[np.ndarray, "S A S"]:
    """Discounted occupancy by adding up `n_terms` steps, renormalised to sum to one.

    This naive form needs about 10 / (1 - gamma) terms to be accurate. With fewer terms
    it is the occupancy that an agent estimates if it samples futures inside an episode
    of `n_terms` steps.

    Source: :eq:`occupancy`; Eysenbach et al. (2022), Sec. 3.
    """
    checks.inside("gamma", gamma, 0, 1)
    checks.at_least("n_terms", n_terms, 1)
    P_pi = policy_transitions(P, pi)
    k_step = P
    total = np.zeros_like(P)
    for k in range(n_terms):
        total = total + gamma**k * k_step
        k_step = k_step @ P_pi
    return total * (1 - gamma) / (1 - gamma**n_terms)


def discounted_occupancy(
    P: Transitions, pi: Policy, gamma: float
) -> Float[np.ndarray, "S A S"]:
    """Discounted occupancy of every goal after every (s, a), by a linear solve.

    ``M[s, a, g]`` is both a probability, p_gamma(g | s, a), and the Q-value of the
    policy for the reward of :func:`goal_reward`. Rows ``M[s, a]`` sum to one.

    Source: :eq:`occupancy-matrix`; Dayan (1993); Eysenbach et al. (2022), Sec. 3.
    """
    checks.inside("gamma", gamma, 0, 1)
    n_states, n_actions, _ = P.shape
    A = np.eye(n_states) - gamma * policy_transitions(P, pi)
    rows = P.reshape(-1, n_states)  # (S A, S)
    M = (1 - gamma) * np.linalg.solve(A.T, rows.T).T  # rows @ inv(A)
    return M.reshape(n_states, n_actions, n_states)


def goal_marginal(
    M: Float[np.ndarray, "S A G"], weights: Float[np.ndarray, "S A"]
) -> Float[np.ndarray, " G"]:
    """Distribution of goals p(g) for (s, a) sampled with the weights p(s, a).

    Source: :eq:`goal-marginal`.
    """
    return np.einsum("sa,sag->g", weights / weights.sum(), M)


def density_ratio(
    M: Float[np.ndarray, "S A G"], p_g: Float[np.ndarray, " G"]
) -> Float[np.ndarray, "S A G"]:
    """How much more likely g is after (s, a) than on average, p_gamma(g | s, a) / p(g).

    Source: :eq:`density-ratio`.
    """
    return M / p_g


def picture_ratio(
    ratio: Float[np.ndarray, "S A G"],
    p_g: Float[np.ndarray, " G"],
    picture: Int[np.ndarray, " G"],
) -> Float[np.ndarray, "S A O"]:
    """Density ratio of pictures of goals, where ``picture[g]`` is the picture of g.

    It is the mean ratio of all goals with the same picture, weighted by p(g). Pictures
    are numbered from 0, and each of them must occur: p(o) > 0.

    Source: :eq:`picture-ratio`.
    """
    one_hot = np.eye(picture.max() + 1)[picture]  # (G, O)
    return (ratio * p_g) @ one_hot / (p_g @ one_hot)


def optimal_logits(
    M: Float[np.ndarray, "S A G"], p_g: Float[np.ndarray, " G"], batch_size: int
) -> Float[np.ndarray, "S A G"]:
    """Logits that minimise binary NCE with in-batch negatives (-inf where M is 0).

    Source: :eq:`nce-optimum`; Gutmann and Hyvarinen (2010); Eysenbach et al. (2022).
    """
    checks.at_least("batch_size", batch_size, 2)
    with np.errstate(divide="ignore"):
        return np.log(density_ratio(M, p_g)) - np.log(batch_size - 1)


def greedy_policy(q: Float[np.ndarray, "S A G"]) -> Float[np.ndarray, "S G A"]:
    """Goal-conditioned policy that takes the best action, uniform over ties.

    Source: :eq:`greedy`.
    """
    best = q.max(1, keepdims=True)
    ties = (q >= best - 1e-9 * np.abs(best)).transpose(0, 2, 1)  # (S, G, A)
    return ties / ties.sum(-1, keepdims=True)


def reach_probability(
    P: Transitions, pi_g: Float[np.ndarray, "S G A"], horizon: int
) -> Float[np.ndarray, "S G"]:
    """Probability of reaching g from s within `horizon` steps.

    No rollouts: the chain with an absorbing goal is advanced `horizon` times.

    Source: :eq:`reach`.
    """
    at_goal = np.eye(P.shape[0])
    reached = at_goal
    for _ in range(horizon):
        after = np.einsum("sga,sag->sg", pi_g, P @ reached)
        reached = np.maximum(at_goal, after)
    return reached


def goal_conditioned_q(
    P: Transitions, pi_g: Float[np.ndarray, "S G A"], gamma: float
) -> Float[np.ndarray, "S A G"]:
    """Q-values of a goal-conditioned policy, for each goal's `goal_reward`.

    Source: :eq:`goal-conditioned-q`.
    """
    reward = goal_reward(P, gamma)
    P_g = np.einsum("sga,sax->gsx", pi_g, P)
    r_g = np.einsum("sga,sag->gs", pi_g, reward)
    V = np.linalg.solve(np.eye(len(P)) - gamma * P_g, r_g[..., None])[..., 0].T
    return reward + gamma * P @ V


def optimal_q(P: Transitions, gamma: float) -> Float[np.ndarray, "S A S"]:
    """Q-values of each goal's best policy, by policy iteration on all goals at once.

    Source: :eq:`optimal-q`; Howard's policy iteration.
    """
    n_states, n_actions, _ = P.shape
    reward = goal_reward(P, gamma)
    uniform = np.full((n_states, n_actions), 1 / n_actions)
    action = discounted_occupancy(P, uniform, gamma).argmax(1)  # (S, G), a good start
    while True:
        P_g = P[np.arange(n_states)[:, None], action].swapaxes(0, 1)  # (G, S, S)
        r_g = np.take_along_axis(reward, action[:, None], 1)[:, 0].T
        V = np.linalg.solve(np.eye(n_states) - gamma * P_g, r_g[..., None])[..., 0].T
        q = reward + gamma * P @ V  # (S, A, G)
        kept = np.take_along_axis(q, action[:, None], 1)[:, 0]
        if (q.max(1) <= kept * (1 + 1e-9)).all():
            return q
        action = q.argmax(1)


def backup(
    P: Transitions, pi: Policy, M: Float[np.ndarray, "S A S"], gamma: float
) -> Float[np.ndarray, "S A S"]:
    """One temporal-difference update of M, from one step and M at the next state.

    Repeated from any start it converges to :func:`discounted_occupancy`; each sweep
    divides the largest error by 1 / gamma or more.

    Source: :eq:`td-recursion`; Blier et al. (2021).
    """
    return goal_reward(P, gamma) + gamma * P @ np.einsum("sa,sag->sg", pi, M)


def monte_carlo_occupancy(
    states: States, actions: Actions, n_states: int, n_actions: int, gamma: float
) -> Float[np.ndarray, "S A S"]:
    """Occupancy estimated by counting the futures inside each trajectory.

    A trajectory is T + 1 states and T actions. The weights are those of
    `Replay.sample`: offsets are geometric, truncated at the trajectory's end and
    renormalised. Rows ``M[s, a]`` sum to one, or are zero if (s, a) was never recorded.

    Source: :eq:`monte-carlo`.
    """
    checks.inside("gamma", gamma, 0, 1)
    M = np.zeros((n_states, n_actions, n_states))
    for s, a in zip(states, actions, strict=True):
        checks.shaped("actions", a, (len(s) - 1,))
        t = np.arange(len(a))
        weight = np.tril(gamma ** np.abs(t[:, None] - t)).T  # gamma^(k - 1), else 0
        weight /= weight.sum(1, keepdims=True)
        np.add.at(M, (s[:-1, None], a[:, None], s[1:]), weight)
    return _shares(M, M.sum(-1, keepdims=True))


def empirical_transitions(
    states: States, actions: Actions, n_states: int, n_actions: int
) -> tuple[Transitions, Policy]:
    """Recorded transitions and behaviour policy: shares of next states and of actions.

    Rows that were never recorded are zero: the model ends there, and so do the futures
    that :func:`discounted_occupancy` computes from it.

    Source: :eq:`empirical`.
    """
    N = np.zeros((n_states, n_actions, n_states))
    for s, a in zip(states, actions, strict=True):
        checks.shaped("actions", a, (len(s) - 1,))
        np.add.at(N, (s[:-1], a, s[1:]), 1)
    taken = N.sum(-1)
    return _shares(N, taken[..., None]), _shares(taken, taken.sum(1, keepdims=True))


def _shares(
    count: Float[np.ndarray, "..."], total: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """Counts divided by totals; zero where the total is zero."""
    return np.divide(count, total, out=np.zeros_like(count), where=total > 0)
