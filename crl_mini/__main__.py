"""The command line: ``python -m crl_mini COMMAND``."""

import argparse
import contextlib
import json
import signal
import sys
from pathlib import Path

from tqdm import tqdm

#: What says by itself what is wrong: a value, a file, a training that is not finite.
SPEAKING = (ValueError, OSError, FloatingPointError)


class Parser(argparse.ArgumentParser):
    """Arguments that cannot be read get one line: what was wrong, and the usage."""

    def error(self, message: str):
        usage = " ".join(self.format_usage().split())
        self.exit(2, f"{self.prog}: {message} ({usage})\n")


def _line(problem: Exception) -> str | None:
    """What to say about a problem in one line; None if the program itself is wrong."""
    import jax

    said = " ".join(str(problem).split())
    if isinstance(problem, SPEAKING):
        return said
    if isinstance(problem, MemoryError | OverflowError) or _no_memory(said):
        sizes = "batch_size, hidden, repr_dim, episodes, copies and tests"
        return f"too large for this machine ({said}); sizes that count: {sizes}"
    try:
        jax.devices()
    except (AssertionError, RuntimeError):
        told = jax.config.jax_platforms
        return f"JAX has none of the devices that JAX_PLATFORMS asks for; got {told!r}"
    return None


def _no_memory(said: str) -> bool:
    """Does an error of JAX say that the memory of a device is used up?"""
    return "RESOURCE_EXHAUSTED" in said or "out of memory" in said.lower()


def doctor(args: argparse.Namespace) -> int:
    from crl_mini.runs.doctor import places, report  # JAX takes seconds to start

    print(places())
    print(report())
    return 0


def train(args: argparse.Namespace) -> int:
    from crl_mini.devices import start_processes, use_compilation_cache
    from crl_mini.runs.run import Run

    use_compilation_cache()
    if args.seeds:
        return _train_seeds(args)
    if args.at_once is not None:
        raise ValueError("--at-once is for several seeds: add --seeds 0,1,2")
    if args.distributed:
        start_processes()
    run = Run(**_settings(args), seed=args.seed, out=args.out)
    # A kill ends like Ctrl-C: between two chunks, with a whole checkpoint.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        print(_summary(run, run(resume=args.resume)))
    except KeyboardInterrupt:
        begun = (args.out / "config.json").exists()
        more = f"go on with: --out {args.out} --resume" if begun else "nothing written"
        print(f"stopped; {more}", file=sys.stderr)
        return 130
    return 0


def _train_seeds(args: argparse.Namespace) -> int:
    """Train each of --seeds, in a folder of its own below --out."""
    from crl_mini.runs.seeds import groups
    from crl_mini.runs.sweep import of_seeds

    if args.distributed:
        raise ValueError("--distributed trains one seed: give --seed")
    how = {"out": args.out, "resume": args.resume}
    runs = of_seeds(args.seeds, **how, **_settings(args))
    if finished := len(args.seeds) - len(runs):
        print(f"finished before: {finished} of {len(args.seeds)} seeds")
    more = f"go on with: --out {args.out} --resume"
    return _train_all(groups(runs, args.at_once), more)


def _train_all(groups: list[list], more: str) -> int:
    """Train groups of runs, a line a run; `more` says how to go on. The exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    failed = 0
    try:
        for group in tqdm(groups, "runs", unit="run", disable=len(groups) < 2):
            for run, outcome in _outcomes(group):
                if isinstance(outcome, dict):
                    tqdm.write(_summary(run, outcome))
                else:
                    tqdm.write(f"{run.out}: {outcome}", file=sys.stderr)
                    failed += 1
    except KeyboardInterrupt:
        print(f"stopped; {more}", file=sys.stderr)
        return 130
    return 1 if failed else 0


def _outcomes(group: list) -> list[tuple]:
    """Runs that are trained at once, or one alone: manifests, or what went wrong."""
    from crl_mini.runs.run import begun
    from crl_mini.runs.seeds import train_at_once

    try:
        if len(group) > 1:
            outcomes = train_at_once(group)
        else:
            outcomes = [run(resume=begun(run)) for run in group]
    except Exception as problem:
        if not (said := _line(problem)):
            raise
        outcomes = [said] * len(group)
    return [*zip(group, outcomes, strict=True)]


def _settings(args: argparse.Namespace) -> dict:
    """What `train` and `sweep` are told alike."""
    names = ("task", "agent", "obs", "data", "preset", "length")
    return {k: getattr(args, k) for k in names} | {"changes": dict(args.set)}


def _change(text: str) -> tuple[str, object]:
    """A setting, name=value, with a value as in JSON or else a word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value")
    with contextlib.suppress(ValueError):
        value = json.loads(value)
    return name, tuple(value) if isinstance(value, list) else value


def seeds_of(text: str) -> list[int]:
    """Numbers from 0 up, each once."""
    try:
        seeds = [int(word) for word in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0 or len({*seeds}) < len(seeds):
        allowed = "different whole numbers from 0 up, with commas: 0,1,2"
        raise argparse.ArgumentTypeError(f"must be {allowed}; got {text!r}")
    return seeds


def _summary(run, manifest: dict) -> str:
    """One line about a finished run."""
    low, high = manifest["ever_interval"]
    memory = manifest.get("memory_gib")
    memory = f"{memory} GiB on the device, " if memory else ""
    return (
        f"{run.task}: {manifest['ever']:.0%} of {manifest['episodes']} goals reached "
        f"({low:.0%} to {high:.0%}), {manifest['at_end']:.0%} held at the end, "
        f"{manifest['minutes']} minutes, {memory}{run.out}/manifest.json"
    )


def sweep(args: argparse.Namespace) -> int:
    from crl_mini.devices import use_compilation_cache
    from crl_mini.runs.seeds import groups
    from crl_mini.runs.sweep import command, unfinished

    use_compilation_cache()
    what = _settings(args)
    axes = [what.pop(k).split(",") for k in ("task", "agent")]
    runs = unfinished(*axes, args.seeds, out=args.out, **what)
    jobs = groups(runs, args.at_once)
    if args.dry_run:
        for job in jobs:
            print(command(*job))
        return 0
    return _train_all(jobs, "go on with the same command")


def evaluate(args: argparse.Namespace) -> int:
    from crl_mini import checks
    from crl_mini.devices import use_compilation_cache
    from crl_mini.measure.statistics import wilson
    from crl_mini.runs import films, zoo
    from crl_mini.runs.run import restored

    checks.at_least("--episodes", args.episodes, 1)
    checks.at_least("--seed", args.seed, 0)
    use_compilation_cache()
    place, _, name = args.agent.partition("zoo:")
    run, agent = zoo.load(name) if name and not place else restored(Path(args.agent))
    status = 0
    if args.video:
        films.check(run, args.video)
        try:
            films.save(args.video, run, agent, args.episodes, seed=args.seed)
        except Exception as problem:  # whatever somebody else's renderer raises
            said = " ".join(f"no film: {type(problem).__name__} {problem}".split())
            hint = "" if isinstance(problem, OSError) else f"; {films.HELP}"
            print(said + hint, file=sys.stderr)
            status = 1
    policy = run.policy(agent, run.env.judged)
    how = {"n": args.episodes, "seed": args.seed}
    tested = run.env.episodes(policy, **how)
    shares = {"reached": tested.ever, "held at the end": tested.at_end}
    if paper := run.env.paper:
        shares["by the paper's protocol"] = paper.episodes(policy, **how).ever

    def said(worked):
        low, high = wilson(int(worked.sum()), len(worked))
        return f"{worked.mean():.1%} ({low:.0%} to {high:.0%})"

    goals = ", ".join(f"{name} {said(worked)}" for name, worked in shares.items())
    print(
        f"{run.task}: of {args.episodes} goals {goals}; "
        f"actions: {run.env.judged}; seed {args.seed}"
    )
    return status


def collect(args: argparse.Namespace) -> int:
    from crl_mini.devices import use_compilation_cache
    from crl_mini.runs import data as c

    use_compilation_cache()
    need = c.n_bytes(args.task, args.obs, args.episodes)
    c.check_room(args.out, need)
    memory = f"{need / 1e9:,.3f} GB of memory"
    print(f"{args.episodes:,} episodes: {memory}", file=sys.stderr)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = {"noise": args.noise, "seed": args.seed}
    try:
        data = c.collect(args.task, args.obs, args.policy, args.episodes, **settings)
        c.save(args.out, data)
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    print(
        f"{args.out}: {data.observations.shape} {data.observations.dtype}, "
        f"{args.out.stat().st_size / 1e6:,.1f} MB; the task's own goal was reached in "
        f"{data.success.any(1).mean():.0%} of the episodes"
    )
    return 0


def results(args: argparse.Namespace) -> int:
    from crl_mini.runs.results import markdown, runs

    print(markdown(runs()))
    return 0


def _of_training(command: Parser, several: str) -> None:
    """Arguments of every training; `several` where lists are allowed."""
    text = "PointMaze-U-v0, ..., or module:Name-v0 for any Gymnasium GoalEnv"
    command.add_argument("--task", required=True, help=text + several)
    text = "steps of an episode, where the task has no length or another is wanted"
    command.add_argument("--length", type=int, help=text)
    text = "a name in AGENTS, such as crl or gcbc"
    command.add_argument("--agent", default="crl", help=text + several)
    text = "what the agent sees: state or pixels (of the tabletop)"
    command.add_argument("--obs", default="state", help=text)
    text = "to begin with: random, play, noisy or FILE; without, the agent's own"
    command.add_argument("--data", default="own", help=text)
    text = "smoke (seconds), cpu (minutes), t4 or full (a GPU)"
    command.add_argument("--preset", default="cpu", help=text)
    text = "other sizes and settings: episodes=64 collect=200000 bc=0.1"
    kind = {"type": _change, "default": [], "metavar": "NAME=VALUE"}
    command.add_argument("--set", nargs="+", action="extend", help=text, **kind)
    text = "seeds that train at once, as one program; a GPU takes all, a CPU one"
    command.add_argument("--at-once", type=int, metavar="N", help=text)


def _train_arguments(command: Parser) -> None:
    _of_training(command, "")
    one = command.add_mutually_exclusive_group()
    one.add_argument("--seed", type=int, default=0, help="a number from 0 up")
    text = "several seeds, with commas: folders OUT/0, OUT/1, ..."
    one.add_argument("--seeds", type=seeds_of, help=text)
    command.add_argument("--out", type=Path, required=True, help="folder of the run")
    command.add_argument("--resume", action="store_true", help="go on with a run")
    text = "one of several processes: see start_processes in devices.py"
    command.add_argument("--distributed", action="store_true", help=text)


def _sweep_arguments(command: Parser) -> None:
    _of_training(command, ", ...: several with commas")
    text = "numbers from 0 up, with commas"
    command.add_argument("--seeds", type=seeds_of, default=[0, 1, 2], help=text)
    command.add_argument("--out", type=Path, required=True, help="folder of the runs")
    text = "print the commands that are left, one a line, and do nothing"
    command.add_argument("--dry-run", action="store_true", help=text)


def _evaluate_arguments(command: Parser) -> None:
    command.add_argument("--agent", required=True, help="folder of a run, or zoo:NAME")
    command.add_argument("--episodes", type=int, default=100, help="how many")
    text = "a number from 0 up; training uses 10000 and 20000 + its own"
    command.add_argument("--seed", type=int, default=30_000, help=text)
    text = "film of up to 8 episodes, FILE.mp4 or FILE.gif, goals on the right"
    command.add_argument("--video", type=Path, help=text)


def _collect_arguments(command: Parser) -> None:
    command.add_argument("--task", required=True, help="Reach, Push, ...")
    command.add_argument("--obs", default="state", help="state, pixels or poses")
    command.add_argument("--policy", default="play", help="play, random or expert")
    command.add_argument("--episodes", type=int, default=1000, help="how many")
    command.add_argument("--noise", type=float, help="on actions; play has 0.3")
    command.add_argument("--seed", type=int, default=0, help="a number from 0 up")
    command.add_argument("--out", type=Path, required=True, help="file, data/x.npz")


#: Each command, what it does, and what adds its arguments.
COMMANDS = (
    (doctor, "print versions, the device, and what runs here in how long", None),
    (train, "train an agent; keep curves, checkpoint and manifest", _train_arguments),
    (
        sweep,
        "train all tasks x agents x seeds, one folder each; skip what is finished",
        _sweep_arguments,
    ),
    (
        evaluate,
        "let a trained agent act for fresh goals; say how often it reaches them",
        _evaluate_arguments,
    ),
    (
        collect,
        "let a scripted policy act on the tabletop; keep the episodes in a file",
        _collect_arguments,
    ),
    (results, "print the table of recorded results, made from results/*", None),
)


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    parser = Parser(prog="python -m crl_mini", description=__doc__)
    commands = parser.add_subparsers(dest="command", parser_class=Parser)
    for run, text, add_arguments in COMMANDS:
        command = commands.add_parser(run.__name__, help=text, description=text)
        command.set_defaults(run=run)
        if add_arguments:
            add_arguments(command)

    args, unknown = parser.parse_known_args(argv)
    if args.command is None:
        parser.error(f"a command is missing; choose from {', '.join(commands.choices)}")
    if unknown:
        commands.choices[args.command].error(f"unknown arguments {' '.join(unknown)}")
    try:
        return args.run(args)
    except Exception as problem:  # the usage was not the fault
        if not (said := _line(problem)):
            raise
        return parser.exit(2, f"{parser.prog} {args.command}: {said}\n")


if __name__ == "__main__":
    sys.exit(main())
