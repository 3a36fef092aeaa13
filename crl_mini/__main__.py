"""The command line: ``python -m crl_mini COMMAND``."""

import argparse
import signal
import sys
from pathlib import Path


class Parser(argparse.ArgumentParser):
    """Wrong arguments get one line: what was wrong, and what is allowed."""

    def error(self, message: str):
        usage = " ".join(self.format_usage().split())
        self.exit(2, f"{self.prog}: {message} ({usage})\n")


def doctor(args: argparse.Namespace) -> int:
    from crl_mini.doctor import report  # JAX takes seconds to start

    print(report())
    return 0


def train(args: argparse.Namespace) -> int:
    from crl_mini.train import Run

    # A kill ends like Ctrl-C: between two chunks, with a whole checkpoint.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        what = (args.task, args.preset, args.seed, args.out, args.agent, args.data)
        manifest = Run(*what)(resume=args.resume)
    except KeyboardInterrupt:
        print(f"stopped; go on with: --out {args.out} --resume", file=sys.stderr)
        return 130
    low, high = manifest["ever_interval"]
    print(
        f"{args.task}: {manifest['ever']:.0%} of {manifest['episodes']} goals reached "
        f"({low:.0%} to {high:.0%}), {manifest['at_end']:.0%} held at the end, "
        f"{manifest['minutes']} minutes; {args.out}/manifest.json"
    )
    return 0


def evaluate(args: argparse.Namespace) -> int:
    from crl_mini import checks, films, zoo
    from crl_mini.evaluate import wilson
    from crl_mini.train import restored

    checks.at_least("--episodes", args.episodes, 1)
    checks.at_least("--seed", args.seed, 0)
    place, _, name = args.agent.partition("zoo:")
    run, agent = zoo.load(name) if name and not place else restored(Path(args.agent))
    if args.video:
        films.check(run, args.video)
        films.save(args.video, run, agent, args.episodes, seed=args.seed)
    policy, length = run.policy(agent, run.judged), run.spec.max_episode_steps
    tried = run.episodes(policy, args.episodes, length, seed=args.seed)

    def said(worked):
        low, high = wilson(int(worked.sum()), len(worked))
        return f"{worked.mean():.1%} ({low:.0%} to {high:.0%})"

    print(
        f"{run.task}: of {args.episodes} goals reached {said(tried.ever)}, held at the "
        f"end {said(tried.at_end)}; actions: {run.judged}; seed {args.seed}"
    )
    return 0


def collect(args: argparse.Namespace) -> int:
    from crl_mini import collect as c

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
    from crl_mini.results import markdown, runs

    print(markdown(runs()))
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    parser = Parser(prog="python -m crl_mini", description=__doc__)
    commands = parser.add_subparsers(dest="command", parser_class=Parser)
    text = "print versions, the device, and what runs here in how long"
    command = commands.add_parser("doctor", help=text, description=text)
    command.set_defaults(run=doctor)

    text = "train an agent offline; keep curves, checkpoint and manifest"
    command = commands.add_parser("train", help=text, description=text)
    text = "PointMaze-U-v0, ..., or module:Name-v0 for any Gymnasium GoalEnv"
    command.add_argument("--task", required=True, help=text)
    command.add_argument("--agent", default="crl", help="crl, gcbc, td3_her, ...")
    command.add_argument("--data", default="random", help="random, play, noisy, FILE")
    command.add_argument("--preset", default="cpu", help="smoke (seconds) or cpu")
    command.add_argument("--seed", type=int, default=0, help="a number from 0 up")
    command.add_argument("--out", type=Path, required=True, help="folder of the run")
    command.add_argument("--resume", action="store_true", help="go on with a run")
    command.set_defaults(run=train)

    text = "let a trained agent act for fresh goals; say how often it reaches them"
    command = commands.add_parser("evaluate", help=text, description=text)
    command.add_argument("--agent", required=True, help="folder of a run, or zoo:NAME")
    command.add_argument("--episodes", type=int, default=100, help="how many")
    text = "a number from 0 up; training uses 10000 and 20000 + its own"
    command.add_argument("--seed", type=int, default=30_000, help=text)
    text = "film of up to 8 episodes, FILE.mp4 or FILE.gif, goals on the right"
    command.add_argument("--video", type=Path, help=text)
    command.set_defaults(run=evaluate)

    text = "let a scripted policy act on the tabletop; keep the episodes in a file"
    command = commands.add_parser("collect", help=text, description=text)
    command.add_argument("--task", required=True, help="Reach, Push, ...")
    command.add_argument("--obs", default="state", help="state or pixels")
    command.add_argument("--policy", default="play", help="play, random or expert")
    command.add_argument("--episodes", type=int, default=1000, help="how many")
    command.add_argument("--noise", type=float, help="on actions; play has 0.3")
    command.add_argument("--seed", type=int, default=0, help="a number from 0 up")
    command.add_argument("--out", type=Path, required=True, help="file, data/x.npz")
    command.set_defaults(run=collect)

    text = "print the table of recorded results, made from results/*"
    command = commands.add_parser("results", help=text, description=text)
    command.set_defaults(run=results)

    args, unknown = parser.parse_known_args(argv)
    if args.command is None:
        parser.error(f"a command is missing; choose from {', '.join(commands.choices)}")
    if unknown:
        commands.choices[args.command].error(f"unknown arguments {' '.join(unknown)}")
    try:
        return args.run(args)
    except (ValueError, OSError) as problem:
        return commands.choices[args.command].error(str(problem))


if __name__ == "__main__":
    sys.exit(main())
