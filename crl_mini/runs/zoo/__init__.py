"""Trained agents that ship with the package: NAME.safetensors, NAME.json beside it."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from crl_mini import checks
from crl_mini.runs import files
from crl_mini.runs.run import Run, of_config, restored

FOLDER = Path(__file__).parent
NETWORKS = ("critic", "actor")  # all that acting and measuring need


def names() -> list[str]:
    """Names of the shipped agents."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load(name: str) -> tuple[Run, Any]:
    """The run that trained an agent, and the agent with a fresh optimizer.

    Errors: ``ValueError`` for an unknown name, for a file with another hash than
    recorded, and for networks of another configuration.
    """
    checks.one_of("zoo:NAME", name, names())
    manifest = json.loads((FOLDER / f"{name}.json").read_text())
    path = FOLDER / f"{name}.safetensors"
    digest = sha256(path.read_bytes()).hexdigest()
    if digest != manifest["sha256"]:
        raise ValueError(f"{path} has the SHA-256 {digest}, not that of its manifest")
    run = of_config(manifest["config"], path)

    @jax.jit  # which leaves out how the networks are made, because zeros replace them
    def fresh():
        agent = run.fresh()
        return replace(agent, **jax.tree.map(jnp.zeros_like, _networks(agent)))

    agent = fresh()
    return run, replace(agent, **files.load(_networks(agent), path))


def keep(folder: Path, name: str) -> Path:
    """Write the two files of an agent from a finished run; returns the manifest's path.

    Weights are stored as float16; `load` turns them into float32 again. Errors:
    ``ValueError`` if the folder holds no finished run.
    """
    if not (folder / "manifest.json").exists():
        raise ValueError(f"{folder} holds no finished run: it has no manifest.json")
    networks = _networks(restored(folder)[1])
    networks = jax.tree.map(lambda x: x.astype(jnp.float16), networks)
    content = files.dump(networks)
    path = FOLDER / f"{name}.json"
    manifest = json.loads((folder / "manifest.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    manifest |= {"config": config, "sha256": sha256(content).hexdigest()}
    files.write(path.with_suffix(".safetensors"), content)
    files.write(path, files.text(manifest | {"bytes": len(content)}))
    return path


def _networks(agent) -> dict:
    """Networks by name; a behavioural clone has no critic."""
    return {name: getattr(agent, name) for name in NETWORKS if hasattr(agent, name)}
