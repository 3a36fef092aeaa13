"""Updates a second of CRL: our form of the update, beside the original's.

Both are the same algorithm on the same networks and batches. The original's form is
that of the code released with Eysenbach et al. (2022): the actor's loss calls the
critic again with all states, goals and pictures of its doubled batch, and keeps the
diagonal of the 2B x 2B logits. Ours encodes each goal and each picture once a batch and
computes the logits of pairs only. Before the timing, the program makes a few updates of
both forms and prints the largest differences of losses and of parameters.

W1 and W2 have states of 25 numbers and 4 actions. W3 has pictures, 64 x 64 x 3 bytes;
one tower of the critic encodes states and goals. The original's actor has a tower of
its own on the two stacked pictures ("own tower"); ours is an MLP on the critic's
features, to which its loss sends no gradient: another network, with less to compute.
Towers: the paper's convolutions, the same as products of matrices (im2col), patches,
and patches with half of the channels (narrow).
The presets of the trainings use patches, and an actor with a tower of its own. "Drawn"
is the same form with a batch sampled from the replay and rendered from poses inside the
step. The speed that it loses is the share of a step that goes into data.

"In a scan" is several updates in one call, as `crl_mini.train.updates` does (and the
released code); otherwise each update is a call. Inside loops on a CPU, XLA runs the
gradients of convolutions many times slower, so convolutions are measured in calls only.

All forms take turns, round after round. The program prints medians over the rounds, of
speeds and of their ratios. Float operations are those of our form; a multiply-add
counts as two.

    python benchmarks/learner.py                  # 2 to 5 minutes on two cores
    python benchmarks/learner.py --out results    # and write files
    python benchmarks/learner.py --json --workloads W1
"""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
from _contenders import Contender, medians, per_second, ratio, take_turns
from flax import nnx
from gymnasium import spaces
from jaxtyping import Array, Float, PRNGKeyArray
from tqdm import tqdm

from crl_mini import CRL, CRLConfig, checks
from crl_mini.__main__ import Parser
from crl_mini.agents.crl import critic_loss, doubled, logit_metrics
from crl_mini.devices import device
from crl_mini.encoders import TOWERS, Conv
from crl_mini.envs.pixels import Scene
from crl_mini.envs.tabletop import TabletopVector
from crl_mini.replay import Batch, Replay
from crl_mini.runs.data import collect
from crl_mini.runs.files import csv_text, text, versions, write

ROUNDS, SECONDS = 5, 0.5  # measurements of a form, and the length of each
ORIGINAL, OURS = "original's form", "ours"
FROM_POSES = ", drawn"  # ends the name of the form that samples its batches
CUBE = 2048  # side of the largest matrices of which the peak is measured


@dataclass(frozen=True)
class Workload:
    """Sizes of networks and batches. The networks are the paper's: no layer norm."""

    batch: int
    hidden: tuple[int, ...]
    many: int
    """Updates in a scan; without one, calls between two readings of the clock."""
    state: int = 25
    actions: int = 4
    repr_dim: int = 64
    pixels: int = 0
    """Side of a picture; 0 for states."""

    @property
    def config(self) -> CRLConfig:
        """The agent's settings."""
        return CRLConfig(
            batch_size=self.batch,
            repr_dim=self.repr_dim,
            hidden=self.hidden,
            layer_norm=False,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a state and of a goal."""
        return (self.pixels, self.pixels, 3) if self.pixels else (self.state,)

    def batches(self, n: int) -> Batch:
        """`n` random batches (n, B, ...)."""
        rng = np.random.default_rng(0)
        shape = (n, self.batch, *self.shape)
        a = rng.uniform(-1, 1, (n, self.batch, self.actions))
        if self.pixels:
            s, g = (rng.integers(0, 256, shape, np.uint8) for _ in "sg")
        else:
            s, g = (rng.normal(size=shape).astype(np.float32) for _ in "sg")
        return Batch(*map(jnp.asarray, (s, a.astype(np.float32), g)))


WORKLOADS = {
    "W1": Workload(256, (256, 256), many=16),
    "W2": Workload(1024, (1024, 1024), many=4),
    "W3": Workload(256, (256, 256), many=2, pixels=64),
}


class Convolution(Conv):
    """The paper's tower by XLA's own convolution: the same numbers as `Conv`."""

    def convolved(self, conv: nnx.Conv, x: Float[Array, "B H W C"]):
        return conv(x)


# --- Agents


def agent_of(workload: Workload, **settings) -> CRL:
    """The library's agent."""
    free = spaces.Box(-np.inf, np.inf, workload.shape)
    if workload.pixels:
        free = spaces.Box(0, 255, workload.shape, np.uint8)
    bounded = spaces.Box(-1, 1, (workload.actions,))
    with patch.dict(TOWERS, convolution=Convolution):
        config = replace(workload.config, **settings)
        return CRL.create(config, free, bounded, key=jax.random.key(0))


# --- Updates: functions of agent and batch, which return agent and metrics


def actor_gradient(agent: CRL, s, g, score: Callable):
    """Gradient of the actor's loss, and metrics; `score` maps actions to f (2B,)."""
    _, sample = jax.random.split(jax.random.fold_in(agent.key, agent.step))

    def loss(actor):
        a, log_prob = actor.sample(*actor(s, g), key=sample)
        f = score(a)
        metrics = {"actor_f": f.mean(), "log_prob": log_prob.mean()}
        return (agent.config.entropy * log_prob - f).mean(), metrics

    return jax.grad(loss, has_aux=True)(agent.actor)


def moved(agent: CRL, grads, metrics: dict) -> tuple[CRL, dict]:
    """One step of Adam."""
    networks = agent.critic, agent.actor
    networks, optimizer = agent.config.descend(networks, grads, agent.optimizer)
    critic, actor = networks
    step = agent.step + 1
    new = replace(agent, critic=critic, actor=actor, optimizer=optimizer, step=step)
    return new, metrics


def original(agent: CRL, batch: Batch):
    """The original's form: the actor's loss encodes everything again."""

    def loss_of(critic):
        s, g = critic.see(batch.s, batch.g)
        return critic_loss(critic, batch._replace(s=s, g=g), agent.config)

    fit = jax.value_and_grad(loss_of, has_aux=True)
    (loss, (logits, _)), down = fit(agent.critic)
    s, g = doubled(batch.s, batch.g)
    up, more = actor_gradient(agent, s, g, lambda a: jnp.diag(agent.critic(s, a, g)))
    return moved(agent, (down, up), {"loss": loss} | logit_metrics(logits) | more)


def poses(workload: Workload) -> Replay:
    """A replay of some episodes of a tabletop task, which keeps poses for pictures."""
    data = collect("BinPick", "poses", episodes=16, progress=False)
    model = TabletopVector(1, "BinPick").model
    scene = Scene.of(model, size=workload.pixels, shadows=True)
    return Replay.from_trajectories(data.observations, data.actions, scene=scene)


def sampling(replay: Replay, rows: int, agent: CRL, key: PRNGKeyArray):
    """Our update as in a training: the step also samples and renders its batch."""
    return agent.update(replay.sample(key, rows, gamma=0.97))


def differences(agent: CRL, batches: Batch, one: Callable, other: Callable) -> dict:
    """Largest differences of metrics and of parameters after a few updates of each.

    One update is not enough: Adam's first step is the learning rate times the
    gradient's sign.
    """
    outcomes = []
    for update in (one, other):
        end, metrics = jax.jit(partial(jax.lax.scan, update))(agent, batches)
        outcomes.append({"losses": metrics, "parameters": (end.critic, end.actor)})
    gaps = jax.tree.map(lambda x, y: float(abs(x - y).max()), *outcomes)
    return {name: max(jax.tree.leaves(gap)) for name, gap in gaps.items()}


def compared(name: str) -> dict:
    """`differences` of our form and the original's, on the same networks."""
    workload = WORKLOADS[name]
    batches = workload.batches(workload.many)
    own = {"tower": "conv", "actor_tower": True} if workload.pixels else {}
    return differences(agent_of(workload, **own), batches, CRL.update, original)


# --- Measuring


@dataclass(eq=False, kw_only=True)
class Form(Contender):
    """A form of the update, measured in updates; or a product, in float operations."""

    workload: str
    scanned: bool = False

    @property
    def label(self) -> str:
        """Its name and the way it is called."""
        return self.name + ", in a scan" * self.scanned


def acting(update: Callable, agent: CRL, workload: Workload, scanned: bool):
    """A function that makes `workload.many` updates; it is compiled on return."""
    n = workload.many
    batches = workload.batches(n)
    if update is sampling:
        batches = jax.random.split(jax.random.key(0), n)
        update = partial(sampling, poses(workload), workload.batch)
    singly = [jax.tree.map(lambda x, i=i: x[i], batches) for i in range(n)]
    one = jax.jit(update)
    many = jax.jit(lambda agent, batches: jax.lax.scan(update, agent, batches))

    def act() -> int:
        nonlocal agent
        if scanned:
            agent, _ = many(agent, batches)
        else:
            for batch in singly:
                agent, _ = one(agent, batch)
        jax.block_until_ready(agent)
        return n

    act()
    return act


def multiplying(rows: int, inner: int, columns: int) -> Callable[[], int]:
    """A function that multiplies two matrices and returns its float operations."""
    rng = np.random.default_rng(0)
    a, b = (
        jnp.asarray(rng.normal(size=size), jnp.float32)
        for size in ((rows, inner), (inner, columns))
    )
    multiply = jax.jit(jnp.matmul)

    def act() -> int:
        multiply(a, b).block_until_ready()
        return 2 * rows * inner * columns

    act()
    return act


XLA, OWN = {"tower": "convolution"}, {"actor_tower": True}
NARROW = {"tower": "narrow"}
BOTH = (False, True)  # in calls, and in a scan
FORMS = ((ORIGINAL, original, {}, BOTH), (OURS, CRL.update, {}, BOTH))
PIXEL_FORMS = (
    (ORIGINAL, original, XLA | OWN, BOTH[:1]),
    (f"{OURS}, conv, own tower", CRL.update, XLA | OWN, BOTH[:1]),
    (f"{OURS}, im2col, own tower", CRL.update, {"tower": "conv"} | OWN, BOTH[:1]),
    (f"{OURS}, conv", CRL.update, XLA, BOTH[:1]),
    (f"{OURS}, im2col", CRL.update, {"tower": "conv"}, BOTH),
    (f"{OURS}, patch, own tower", CRL.update, OWN, BOTH),
    (f"{OURS}, patch, own tower{FROM_POSES}", sampling, OWN, BOTH),
    (f"{OURS}, narrow, own tower", CRL.update, NARROW | OWN, BOTH[1:]),
    (f"{OURS}, narrow, own tower{FROM_POSES}", sampling, NARROW | OWN, BOTH[1:]),
    (f"{OURS}, patch", CRL.update, {}, BOTH),
)


def forms(workload_name: str) -> Iterator[Form]:
    """All forms of the update on a workload, the original's form first."""
    workload = WORKLOADS[workload_name]
    for name, update, settings, scans in PIXEL_FORMS if workload.pixels else FORMS:
        agent = agent_of(workload, **settings)
        for scanned in scans:
            act = acting(update, agent, workload, scanned)
            yield Form(
                name=name,
                workload=workload_name,
                scanned=scanned,
                measure=partial(per_second, act),
            )


def peaks(names: list[str]) -> Iterator[Form]:
    """Products of matrices: with the shapes of the hidden layers, and large ones."""
    chosen = (WORKLOADS[name] for name in names)
    shapes = {(2 * w.batch, w.hidden[0], w.hidden[-1]) for w in chosen if not w.pixels}
    for shape in sorted({*shapes, (CUBE,) * 3}):
        name = " x ".join(map(str, shape))
        measure = partial(per_second, multiplying(*shape))
        yield Form(name=name, workload="peak", measure=measure)


# --- Counting


def multiply_adds(widths: tuple[int, ...]) -> tuple[int, int]:
    """Multiply-adds of one row through an MLP: all layers, and all but the first."""
    layers = [i * o for i, o in pairwise(widths)]
    return sum(layers), sum(layers[1:])


def needed(workload: Workload) -> int:
    """Float operations of one update on states in our form: products of matrices only.

    Gradients of weights cost as much as the layers. So do gradients of inputs, except
    in the first layer, whose input is data. The actor's loss needs no gradient of the
    critic's weights, and in the critic's first layer only the gradient of the actions.
    """
    w = workload
    B = w.batch
    phi, phi_inner = multiply_adds((w.state + w.actions, *w.hidden, w.repr_dim))
    psi, psi_inner = multiply_adds((w.state, *w.hidden, w.repr_dim))
    pi, pi_inner = multiply_adds((2 * w.state, *w.hidden, 2 * w.actions))
    critic = B * (2 * phi + phi_inner + 2 * psi + psi_inner) + 3 * B * B * w.repr_dim
    through = phi + phi_inner + w.actions * w.hidden[0] + 2 * w.repr_dim
    actor = 2 * B * (2 * pi + pi_inner + through)
    return 2 * (critic + actor)


# --- Showing


def comparison(ours: Form, other: Form) -> dict:
    """The `ratio` of two forms, with their names."""
    middle, low, high = ratio(ours, other)
    return {
        "workload": ours.workload,
        "of": ours.label,
        "to": other.label,
        "times_as_fast": round(middle, 2),
        "lowest": round(low, 2),
        "highest": round(high, 2),
    }


def comparisons(forms: list[Form]) -> list[dict]:
    """Our forms against the original's, sampled batches against given ones, and towers.

    The original's form in calls is compared with ours in calls and in a scan, the
    original's in a scan only with ours in a scan.
    """
    pairs = [
        (ours, other)
        for other in forms
        if other.name == ORIGINAL
        for ours in forms
        if ours.workload == other.workload
        and ours.name.startswith(OURS)
        and ours.scanned >= other.scanned
    ]
    by_label = {form.label: form for form in forms}
    for this, that in ((FROM_POSES, ""), ("narrow", "patch")):
        pairs += [
            (form, by_label[form.label.replace(this, that)])
            for form in forms
            if this in form.name
        ]
    return [comparison(*pair) for pair in pairs]


def highest(peak: list[Form]) -> Form:
    """The fastest product of matrices."""
    return max(peak, key=lambda product: np.median(product.rates))


def row(form: Form, peak: list[Form]) -> dict:
    """Median, slowest and fastest round; for our form also its share of the peak."""
    middle, low, high = medians(form.rates)
    gflops = share = ""
    if form.name == OURS:
        flops = needed(WORKLOADS[form.workload])
        gflops = round(flops * middle / 1e9, 1)
        shares = flops * np.divide(form.rates, highest(peak).rates)
        share = round(float(np.median(shares)), 3)
    return {
        "workload": form.workload,
        "form": form.name,
        "scanned": form.scanned,
        "updates_per_second": round(middle, 2),
        "slowest": round(low, 2),
        "fastest": round(high, 2),
        "gflops": gflops,
        "share_of_peak": share,
    }


def facts(args: Namespace, forms: list[Form], peak: list[Form], **more) -> dict:
    """Settings, ratios, peak, device and versions: the manifest beside the speeds."""
    products = {c.name: [round(x / 1e9, 1) for x in medians(c.rates)] for c in peak}
    chosen = {name: WORKLOADS[name] for name in args.workloads}
    states = [name for name, workload in chosen.items() if not workload.pixels]
    return {
        "command": "python benchmarks/learner.py",
        "rounds": args.rounds,
        "seconds": args.seconds,
        "workloads": {name: asdict(workload) for name, workload in chosen.items()},
        "ratios": comparisons(forms),
        "gflop_of_an_update": {n: needed(WORKLOADS[n]) / 1e9 for n in states},
        "peak_gflops_median_lowest_highest": products,
        "peak_used": highest(peak).name,
        **more,
        "device": device(),
        "versions": versions(),
    }


def report(rows: list[dict], known: dict) -> str:
    """Text: a table of the speeds; below it ratios, differences and the peak."""
    lines = [
        "On {device}, load average {load_average[0]} to {load_average[1]}: medians of "
        "{rounds} rounds of {seconds} s or more, and their range\n".format(**known),
        f"{'':44}{'updates/s':>10}{'range':>18}{'GFLOP/s':>9}{'of peak':>9}",
    ]
    for row in rows:
        name, form, scanned, middle, low, high, gflops, share = row.values()
        name = f"{name} {form}" + ", in a scan" * scanned
        span = f"{low:.2f} to {high:.2f}"
        part = f"{share:.0%}" if share else ""
        lines.append(f"{name:44}{middle:>10.2f}{span:>18}{gflops:>9}{part:>9}")
    lines.append("")
    for speeds in known["ratios"]:
        name, ours, other, *times = speeds.values()
        times = "{:.2f} times ({:.2f} to {:.2f})".format(*times)
        lines.append(f"{name} {ours}: {times} as fast as {other}")
    for name, gaps in known["differences"].items():
        words = " and ".join(f"{gap:.1e} in {kind}" for kind, gap in gaps.items())
        lines.append(f"{name} ours and {ORIGINAL} differ by {words}")
    for shape, speeds in known["peak_gflops_median_lowest_highest"].items():
        used = ": the peak" if shape == known["peak_used"] else ""
        speeds = "{:.0f} GFLOP/s ({:.0f} to {:.0f})".format(*speeds)
        lines.append(f"Matrices {shape}: {speeds}{used}")
    return "\n".join(lines)


def speed(args: Namespace) -> None:
    """Measure all forms; print a table or JSON; with ``--out`` write files."""
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
    before = os.getloadavg()[0]
    gaps = {name: compared(name) for name in args.workloads}
    all_forms = chain.from_iterable(map(forms, args.workloads))
    all_forms = list(tqdm(all_forms, desc="compiling", leave=False))
    peak = list(peaks(args.workloads))
    take_turns([*all_forms, *peak], args.rounds, args.seconds)
    load = [round(x, 1) for x in (before, os.getloadavg()[0])]
    known = facts(args, all_forms, peak, differences=gaps, load_average=load)
    rows = [row(form, peak) for form in all_forms]
    if args.json:
        print(json.dumps(known | {"rows": rows}))
    else:
        print(report(rows, known))
    if args.out:
        write(args.out / "learner.json", text(known))
        write(args.out / "learner.csv", csv_text(rows))


def parse(argv: list[str] | None) -> tuple[Parser, Namespace]:
    """The command line's arguments, checked."""
    parser = Parser(prog="learner.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--workloads", nargs="+", default=list(WORKLOADS), help=", ".join(WORKLOADS)
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a turn")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help="folder for learner.csv and .json")
    args = parser.parse_args(argv)
    try:
        for name in args.workloads:
            checks.one_of("--workloads", name, WORKLOADS)
        checks.at_least("--rounds", args.rounds, 1)
        checks.inside("--seconds", args.seconds, 0, 60)
    except ValueError as problem:
        parser.error(str(problem))
    return parser, args


def main(argv: list[str] | None = None) -> int:
    """The command line; the exit status."""
    parser, args = parse(argv)
    try:
        speed(args)
    except OSError as problem:
        parser.error(str(problem))
    return 0


if __name__ == "__main__":
    sys.exit(main())
