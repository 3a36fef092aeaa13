"""Folders of runs, made without training."""

from crl_mini.runs.files import dump, text
from crl_mini.runs.run import Run


def begun(out, task, **settings):
    """The folder of a run that was stopped before its first update."""
    run = Run(task, "smoke", 0, out, **settings)
    out.mkdir()
    (out / "config.json").write_bytes(text(run.identity))
    (out / "checkpoint.safetensors").write_bytes(dump(run.fresh()))
    return out
