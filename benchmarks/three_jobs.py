"""Measure the three jobs of the one objective on trained agents.

For each given agent, on episodes that it never saw:

* representation: R^2 of a linear map from representations, and from the tower's
  features of a picture, to the positions of hand and object;
* model: how often a row's true future is the first among 256 futures of play;
* future reward: rank correlation of f with the steps of a scripted expert to its goal;
* detour: largest rise of the distance to the goal along the expert's film, relative to
  the first distance, in pixels, in the hand's position and in the representation;
* acting without the actor: success of the best of some actions under f.

Controls are the same networks without training. For agents without a contrastive critic
only the tower is measured, from pixels. Whole episodes are held out.

    python benchmarks/three_jobs.py zoo:binpick-state-crl runs/other --out results
"""

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from crl_mini import checks
from crl_mini.__main__ import Parser
from crl_mini.critic import paired
from crl_mini.envs.play import Expert
from crl_mini.envs.tabletop import HAND, OBJECT
from crl_mini.envs.tasks import SEEN
from crl_mini.measure import planning
from crl_mini.measure.critics import linear_probe, rank_correlation, retrieval
from crl_mini.measure.statistics import wilson
from crl_mini.replay import Replay
from crl_mini.rollouts import rollout
from crl_mini.runs import zoo
from crl_mini.runs.data import collect
from crl_mini.runs.files import record
from crl_mini.runs.run import Run, restored

FILMS, PLAY, RIVALS, CANDIDATES = 60, 100, 256, 16
SEED = 40_000  # of episodes that no training and no test has used
CHUNK = 1000  # pictures in one call of a network


class Films:
    """Episodes of the scripted expert: observations, physical states and actions."""

    def __init__(self, run: Run, n: int):
        with closing(run.env.make(n)) as env:
            expert = Expert(env)
            states = []

            def watched(s, g, key):
                states.append(env.unwrapped.state)
                return expert(s, g, key)

            episodes = rollout(env, watched, run.env.length, seed=SEED)
            self.states = np.stack([*states, env.unwrapped.state], 1)  # (N, T + 1, S)
            self.goal_states = env.unwrapped.goal_state
        actions, success = episodes.actions, episodes.success
        self.actions = np.concatenate([actions, 0 * actions[:, :1]], 1)
        self.seen, self.goals = episodes.observations, episodes.goals
        self.scene = run.env.scene
        first = success.argmax(1) + 1  # steps until the goal is reached
        self.until = np.where(success.any(1), first, success.shape[1])

    def of(self, network: Callable, *arrays) -> np.ndarray:
        """Outputs of a network for all moments; renders pictures chunk by chunk."""
        flat = [np.asarray(x).reshape(-1, *x.shape[2:]) for x in arrays]
        parts = []
        for i in range(0, len(flat[0]), CHUNK):
            rows = [x[i : i + CHUNK] for x in flat]
            parts.append(np.asarray(network(*map(self.rendered, rows))))
        return np.concatenate(parts).reshape(*arrays[0].shape[:2], -1)

    def rendered(self, x):
        """Pictures of poses; other arrays unchanged."""
        return self.scene.draw(x) if self.scene is not None and x.ndim == 3 else x

    @property
    def goal_at_each_step(self) -> np.ndarray:
        """Goals (N, T + 1, ...), repeated for every moment."""
        return np.repeat(self.goals[:, None], self.seen.shape[1], 1)


def features(agent, films: Films) -> dict[str, np.ndarray]:
    """Representations (N, T + 1, F) of every moment."""
    network = getattr(agent, "critic", agent.actor)
    by_name = {}
    if hasattr(network, "psi"):
        phi = jax.jit(lambda s, a: network.phi(*network.see(s), a))
        psi = jax.jit(lambda s: network.psi(network.see_goal(s)))
        by_name["phi"] = films.of(phi, films.seen, films.actions)
        by_name["psi"] = films.of(psi, films.seen)
    if films.scene is not None:
        stacked = 2 if network is agent.actor else 1  # its input is state and goal
        tower = jax.jit(lambda s: network.eyes(jnp.concatenate([s] * stacked, -1)))
        by_name["tower"] = films.of(tower, films.seen)
    return by_name


def probed(agent, films: Films) -> Iterator[dict]:
    """R^2 of the hand's and the object's position, on held-out episodes."""
    n, length = films.seen.shape[:2]
    held_out = np.repeat(np.arange(n) % 2 == 0, length)
    for name, x in features(agent, films).items():
        for target, part in (("hand", HAND), ("object", OBJECT)):
            if not films.goal_states[:, part].size:
                continue  # Reach has no object
            x, y = (z.reshape(n * length, -1) for z in (x, films.states[..., part]))
            score = linear_probe(x, y, held_out, ridge=1e-3).mean()
            yield {"measure": f"probe of {target}", "of": name, "value": float(score)}


def retrieved(run: Run, agent, n: int) -> Iterator[dict]:
    """Share of true futures of new play ranked first among `RIVALS`; and of chance."""
    kind = "state" if run.obs == "state" else "poses"
    data = collect(run.env.name, kind, episodes=n, seed=SEED, progress=False)
    replay = Replay.from_trajectories(
        data.observations, data.actions, scene=run.env.scene
    )
    shares = []
    for k in range(8):
        s, a, g, *_ = replay.sample(jax.random.key(k), RIVALS, run.config.gamma)
        shares.append(retrieval(agent.critic(s, a, g)))
    yield {"measure": "retrieval", "of": f"1 of {RIVALS}", "value": np.mean(shares)}
    yield {"measure": "retrieval", "of": "chance", "value": 1 / RIVALS}


def followed(agent, films: Films) -> Iterator[dict]:
    """Rank correlation of f with the steps to go, until the goal is reached."""
    critic = agent.critic

    @jax.jit
    def value(s, a, g):
        return critic(s, a, g, pairs=paired)

    f = films.of(value, films.seen, films.actions, films.goal_at_each_step)[..., 0]
    ranks = [
        rank_correlation(f[i, :end], np.arange(end, 0, -1.0))
        for i, end in enumerate(films.until)
        if end > 1
    ]
    yield {"measure": "rank correlation", "of": "f", "value": float(np.mean(ranks))}


def detours(agent, films: Films) -> Iterator[dict]:
    """Median over the films of the largest rise of each distance to the goal."""
    spaces = {"hand": (films.states[..., HAND], films.goal_states[:, HAND])}
    if films.scene is not None:
        pixels = films.of(lambda x: x.reshape(len(x), -1), films.seen)
        goals = films.of(lambda x: x.reshape(len(x), -1), films.goals[:, None])
        spaces["pixels"] = (pixels, goals[:, 0])
    psi = jax.jit(lambda g: agent.critic.psi(agent.critic.see_goal(g)))
    goals = films.of(psi, films.goals[:, None])[:, 0]
    seen = features(agent, films)
    spaces |= {name: (seen[name], goals) for name in ("phi", "psi")}
    for name, (film, goal) in spaces.items():
        curves = planning.distances(film, goal)
        rises = [
            planning.largest_rise(curve[None, : end + 1])[0] / curve[0]
            for curve, end in zip(curves, films.until, strict=True)
        ]
        yield {"measure": "rise", "of": name, "value": float(np.median(rises))}


def acted(run: Run, agent, n: int) -> Iterator[dict]:
    """Success at the end: of the actor's mode, and of the best of some actions."""
    uniform = planning.uniform(4, CANDIDATES)
    ways = {"actor's mode": run.policy(agent, "mode")}
    ways[f"best of {CANDIDATES} uniform"] = planner(run, agent, uniform)

    def sampled(s, g, key):
        keys = jax.random.split(key, CANDIDATES)
        return jax.vmap(lambda k: agent.act(s, g, key=k), out_axes=1)(keys)

    ways[f"best of {CANDIDATES} of the actor"] = planner(run, agent, sampled)
    for name, policy in ways.items():
        worked = run.env.episodes(policy, n, seed=SEED).at_end
        low, high = wilson(int(worked.sum()), n)
        value = {"value": float(worked.mean()), "low": low, "high": high}
        yield {"measure": "success", "of": name} | value


def planner(run: Run, agent, propose: Callable) -> Callable:
    """The best of the proposed actions under f, for the environments of the run."""
    policy = planning.planner(agent.critic, propose)

    def act(s, g, key):
        if run.env.scene is not None:
            s, g = run.env.scene.draw(s), run.env.scene.draw(g)
        return policy(s, g, key)

    return act


def rows_of(name: str, args: Namespace) -> list[dict]:
    """All measurements of one agent, and of its networks without training."""
    place, _, kept = name.partition("zoo:")
    run, agent = zoo.load(kept) if kept and not place else restored(Path(name))
    checks.one_of("task", run.env.name, SEEN)
    films = Films(run, args.films)
    rows = []
    about = {"task": run.env.name, "obs": run.obs, "data": run.data, "agent": run.agent}
    for training, one in (("trained", agent), ("untrained", run.fresh())):
        measured = [*probed(one, films)]
        if hasattr(getattr(one, "critic", None), "psi"):
            measured += [*retrieved(run, one, args.play), *followed(one, films)]
            measured += [*detours(one, films)]
            if training == "trained":
                measured += [*acted(run, one, args.films)]
        extra = {"seed": run.seed, "training": training}
        rows += [about | extra | {"low": "", "high": ""} | row for row in measured]
    return rows


def main(argv: list[str] | None = None) -> int:
    """The command line; the exit status."""
    parser = Parser(prog="three_jobs.py", description=__doc__.splitlines()[0])
    known = [f"zoo:{name}" for name in zoo.names()]
    about = "folders of runs, or zoo:NAME; without, all of the zoo"
    parser.add_argument("agents", nargs="*", default=known, help=about)
    parser.add_argument("--films", type=int, default=FILMS, help="of the expert")
    parser.add_argument("--play", type=int, default=PLAY, help="episodes of play")
    parser.add_argument("--out", type=Path, help="folder for three-jobs.csv and .json")
    args = parser.parse_args(argv)
    begun, rows = time.perf_counter(), []
    try:
        checks.at_least("--films", args.films, 4)
        checks.at_least("--play", args.play, 1)
        for name in tqdm(args.agents, unit="agent", leave=False):
            rows += rows_of(name, args)
    except (ValueError, OSError) as problem:
        parser.error(str(problem))
    for row in rows:
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
    if args.out:
        names = " ".join(args.agents)
        known = {"command": f"python benchmarks/three_jobs.py {names} --out results"}
        minutes = round((time.perf_counter() - begun) / 60, 1)
        known |= {"films": args.films, "play": args.play, "minutes": minutes}
        record(args.out, "three-jobs", rows, known)
    return 0


if __name__ == "__main__":
    sys.exit(main())
