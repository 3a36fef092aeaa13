"""Processes that start at once: forks of one that has imported the library.

They are what `kill -9`, several devices and several processes are tried on.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "import sys; from crl_mini.__main__ import main; sys.exit(main({}))"


class Forks:
    """The server's other side. The processes share the tests' compiled programs."""

    def __init__(self, folder: Path):
        self.log = folder / "log"
        self.server = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.forks"],
            cwd=ROOT,
            env={
                **{k: v for k, v in os.environ.items() if k != "XLA_FLAGS"},
                "JAX_PLATFORMS": "cpu",
                "OMP_NUM_THREADS": "1",  # a fork must not find other threads
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **what):
        self.server.stdin.write(json.dumps(what) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())

    def start(self, code: str, log: Path | None = None, **env: str) -> int:
        """The number of a new process that runs some code."""
        return self.ask(code=code, env=env, log=str(log or self.log))

    def wait(self, process: int, seconds: float = 600) -> int | None:
        """Its exit status (-9 after ``kill -9``); None while it still runs."""
        return self.ask(process=process, seconds=seconds)

    def run(self, code: str, **env: str) -> tuple[int | None, str]:
        """Exit status and all that a process wrote; it is killed if it takes long."""
        process = self.start(code, **env)
        status = self.wait(process)
        if status is None:
            os.kill(process, 9)
            self.wait(process)
        return status, self.log.read_text()

    def close(self):
        self.server.stdin.close()
        self.server.stdout.close()
        self.server.wait(10)


def command(*arguments) -> str:
    """Code that does what ``python -m crl_mini ...`` does."""
    return COMMAND.format([str(x) for x in arguments])


def start(code: str, env: dict[str, str], log: str) -> int:
    """Fork; the child runs the code."""
    child = os.fork()
    if child:
        return child
    os.environ.update(env)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    exec(code, {"__name__": "__main__"})
    sys.exit()


def wait(process: int, seconds: float) -> int | None:
    """The exit status of a child, if it ends in time."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.005)


def serve():
    sys.path.insert(0, str(ROOT / "tests"))
    import crl_mini.runs.run  # noqa: F401, what takes seconds

    for line in sys.stdin:
        what = json.loads(line)
        print(json.dumps((start if "code" in what else wait)(**what)), flush=True)


if __name__ == "__main__":
    serve()
