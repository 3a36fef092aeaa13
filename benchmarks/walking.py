"""What keeps a critic from walking: updates, walks, discount, width, or no chance.

It trains critics on random walks in NineRooms, changes one setting at a time, lets each
act by the best of 16 directions and by a softmax over them, and writes
``results/ninerooms-walking.csv``, one row a measurement, and its manifest.

    python benchmarks/walking.py
"""

import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from crl_mini import CRL, CRLConfig, Replay, critic, rollouts, train_offline
from crl_mini.envs.maze import PointMazeVector
from crl_mini.envs.play import Wander
from crl_mini.runs.files import csv_text, record, write

RESULTS = Path(__file__).resolve().parents[1] / "results"
MAZE, WALK, TRY, GOALS = "NineRooms", 200, 100, 300  # steps of a walk, of a try
BASE = {"updates": 2000, "walks": 1500, "gamma": 0.97, "width": 64}
CHANGES = [{}, {"updates": 8000}, {"walks": 6000}, {"gamma": 0.9}, {"width": 256}]
CHANGES += [{"updates": 8000, "gamma": 0.9}]
TEMPERATURES = (0.0, 0.1, 0.2, 0.4, 0.8)  # 0: the best direction
TURNS = np.arange(16) * np.pi / 8
COMPASS = np.stack([np.cos(TURNS), np.sin(TURNS)], axis=1).astype(np.float32)


def trained(updates: int, walks: int, gamma: float, width: int, seed: int):
    """A critic without an actor, trained on random walks."""
    env = PointMazeVector(walks, MAZE, WALK)
    wander = Wander(env.single_action_space, seed=0)
    seen = rollouts.rollout(env, wander, WALK, seed=0)
    config = CRLConfig(
        energy="l2",
        loss="symmetric_infonce",
        logsumexp=0.1,
        gamma=gamma,
        hidden=(width, width),
        repr_dim=width // 4,
        learning_rate=3e-3,
        decay_steps=updates,
    )
    place = env.single_observation_space["observation"]
    agent = CRL.create(config, place, env.single_action_space, key=jax.random.key(seed))
    start = config.adam().init((agent.critic, None))
    agent = replace(agent, actor=None, optimizer=start)
    replay = Replay.from_trajectories(seen.observations, seen.actions)
    options = {"key": jax.random.key(100 + seed), "every": updates, "progress": False}
    return train_offline(agent, replay, updates, **options)[0].critic


@jax.jit
def values(net, s, g):
    """f of each direction (16, B) at states and goals."""
    s, g = net.see(s, g)
    psi = net.psi(g)

    def along(direction):
        phi = net.phi(s, jnp.tile(direction, (len(s), 1)))
        return net.logits(phi, psi, pairs=critic.paired)

    return jax.vmap(along)(jnp.asarray(COMPASS))


def success(net, temperature: float) -> float:
    """Share of fresh goals reached; above temperature 0 by a softmax of f."""
    rng = np.random.default_rng(0)

    def policy(s, g, _):
        f = np.asarray(values(net, s, g))
        return COMPASS[(f + temperature * rng.gumbel(size=f.shape)).argmax(0)]

    env = PointMazeVector(GOALS, MAZE, TRY)
    return float(rollouts.rollout(env, policy, TRY, seed=7).ever.mean())


def main() -> None:
    rows, begun = [], time.perf_counter()
    for change in tqdm(CHANGES):
        for seed in (0, 1, 2):
            net = trained(**BASE | change, seed=seed)
            for temperature in TEMPERATURES:
                found = {"seed": seed, "temperature": temperature}
                found["success"] = success(net, temperature)
                rows.append(BASE | change | found)
        write(RESULTS / "ninerooms-walking.csv", csv_text(rows))
    manifest = {"command": "python benchmarks/walking.py", "maze": MAZE}
    manifest |= {"steps_of_a_walk": WALK, "steps_of_a_try": TRY, "goals": GOALS}
    manifest |= {"minutes": round((time.perf_counter() - begun) / 60, 1)}
    record(RESULTS, "ninerooms-walking", rows, manifest)


if __name__ == "__main__":
    main()
