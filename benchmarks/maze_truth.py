"""Correlation of learned with exact critics, for more time, data and dimensions.

It trains on uniform random walks in FourRooms (gamma 0.9) and writes
``results/fourrooms-critic.csv``, one row a measurement, and its manifest.

    python benchmarks/maze_truth.py
"""

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from tqdm import tqdm

from crl_mini import CRL, CRLConfig, GridMaze, Replay, train_offline
from crl_mini.measure import occupancy
from crl_mini.measure.critics import critic_table, weighted_correlation
from crl_mini.runs.files import csv_text, record, write

RESULTS = Path(__file__).resolve().parents[1] / "results"
GAMMA, LENGTH, HORIZON = 0.9, 100, 50
MAZE = GridMaze("FourRooms")

# study, seed, episodes, repr_dim, updates
RUNS = [("time", seed, 50_000, 64, 40_000) for seed in (0, 1, 2)]
RUNS += [("data", 0, episodes, 64, 5_000) for episodes in (20, 200, 2000, 20_000)]
RUNS += [("rank", 0, 20_000, repr_dim, 5_000) for repr_dim in (2, 4, 16, 64)]


def measure(agent: CRL, M: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Correlations with the exact logits, and success of acting greedily."""
    learned = np.asarray(critic_table(agent.critic, jnp.arange(MAZE.n_states)), float)
    reach = occupancy.reach_probability(
        MAZE.P, occupancy.greedy_policy(learned), HORIZON
    )
    learned_gap, true_gap = (f - f.mean(1, keepdims=True) for f in (learned, truth))
    return {
        "correlation": weighted_correlation(learned, truth),
        "centred": weighted_correlation(learned_gap, true_gap, M),
        "reach": float(reach.mean()),
    }


def run(study: str, seed: int, episodes: int, repr_dim: int, steps: int) -> list[dict]:
    """Train one critic, with decay; a row at each tenth of the updates."""
    config = CRLConfig(
        energy="l2",
        gamma=GAMMA,
        repr_dim=repr_dim,
        hidden=(256,),
        learning_rate=3e-3,
        decay_steps=steps,
    )
    M = occupancy.discounted_occupancy(MAZE.P, MAZE.uniform_policy, GAMMA)
    p_g = occupancy.goal_marginal(M, MAZE.uniform_policy)
    truth = occupancy.optimal_logits(M, p_g, config.batch_size)
    walks = MAZE.random_walk(np.random.default_rng(seed), episodes, LENGTH)
    replay = Replay.from_trajectories(*walks)
    rooms, moves = spaces.Discrete(MAZE.n_states), spaces.Discrete(MAZE.n_actions)
    networks, batches = jax.random.split(jax.random.key(seed))
    agent = CRL.create(config, rooms, moves, key=networks)
    name = {"study": study, "seed": seed, "episodes": episodes, "repr_dim": repr_dim}
    rows = []
    begun = time.perf_counter()

    def log(agent, row):
        seconds = round(time.perf_counter() - begun, 1)
        now = {"step": row["step"], "loss": row["loss"], "seconds": seconds}
        rows.append(name | now | measure(agent, M, truth))

    train_offline(
        agent,
        replay,
        steps,
        key=batches,
        every=steps // 10,
        log=log,
        progress=False,
    )
    return rows


def main() -> None:
    rows = []
    for settings in tqdm(RUNS):
        rows += run(*settings)
        write(RESULTS / "fourrooms-critic.csv", csv_text(rows))
    last = [row for row in rows if row["study"] == "time" and row["step"] == 40_000]
    manifest = {"command": "python benchmarks/maze_truth.py", "gamma": GAMMA}
    manifest |= {"maze": MAZE.name, "length": LENGTH, "horizon": HORIZON}
    manifest |= {"minutes": round(sum(row["seconds"] for row in last) / 60, 1)}
    record(RESULTS, "fourrooms-critic", rows, manifest)
    for row in last:
        print({k: round(row[k], 4) for k in ("correlation", "centred", "reach")})


if __name__ == "__main__":
    main()
