"""The command line: ``python -m crl_mini COMMAND``."""

import argparse
import sys


class Parser(argparse.ArgumentParser):
    """Wrong arguments get one line: what was wrong, and what is allowed."""

    def error(self, message: str):
        usage = " ".join(self.format_usage().split())
        self.exit(2, f"{self.prog}: {message} ({usage})\n")


def doctor(args: argparse.Namespace) -> int:
    from crl_mini.doctor import report  # JAX takes seconds to start

    print(report())
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    parser = Parser(prog="python -m crl_mini", description=__doc__)
    commands = parser.add_subparsers(dest="command", parser_class=Parser)
    text = "print versions, the device, and what runs here in how long"
    command = commands.add_parser("doctor", help=text, description=text)
    command.set_defaults(run=doctor)

    args, unknown = parser.parse_known_args(argv)
    if args.command is None:
        parser.error(f"a command is missing; choose from {', '.join(commands.choices)}")
    if unknown:
        commands.choices[args.command].error(f"unknown arguments {' '.join(unknown)}")
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
