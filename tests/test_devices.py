"""Where compiled programs are kept, and that the next process finds them there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from crl_mini import devices
from crl_mini.devices import CACHE, peak_memory_gib, use_compilation_cache

# Four processes that make the same program, two of them without optimizing.
FOUR = """
import json, os
import jax
from crl_mini.devices import use_compilation_cache
use_compilation_cache()
for quick in (False, False, True, True):
    if not (child := os.fork()):
        seen = []
        jax.monitoring.register_event_listener(lambda what, **_: seen.append(what))
        jax.config.update("jax_disable_most_optimizations", quick)
        jax.block_until_ready(jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((9, 9))))
        hits, misses = (seen.count(f"/jax/compilation_cache/cache_{x}")
                        for x in ("hits", "misses"))
        print(json.dumps([hits, misses]), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_a_second_process_compiles_nothing_again(tmp_path):
    keep = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    env = keep | {"XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    run = [sys.executable, "-W", "ignore", "-c", FOUR]
    done = subprocess.run(run, env=env, capture_output=True, text=True, check=True)
    first, again, quick, quick_again = map(json.loads, done.stdout.splitlines())
    programs = first[1]
    assert programs > 0
    assert first == quick == [0, programs]  # neither finds what the other made
    assert again == quick_again == [programs, 0]
    kept = [*(tmp_path / "crl_mini" / "jax").iterdir()]
    assert len(kept) == 2 * programs


def test_the_tests_keep_programs_outside_the_users_folders():
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == use_compilation_cache()
    assert not Path(use_compilation_cache()).is_relative_to(Path.home() / ".cache")


SETTINGS = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """As if nobody had said anything, with a home of its own."""
    old = {name: getattr(jax.config, name) for name in SETTINGS}
    for name, default in zip(SETTINGS, (None, 1.0), strict=True):
        jax.config.update(name, default)
    for name in (CACHE, "XDG_CACHE_HOME", SETTINGS[1].upper()):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield monkeypatch
    for name, value in old.items():
        jax.config.update(name, value)


def test_programs_are_kept_in_the_users_cache_folder(fresh, tmp_path):
    found = use_compilation_cache()
    assert found == str(tmp_path / ".cache" / "crl_mini" / "jax")
    assert jax.config.jax_compilation_cache_dir == found
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 0
    assert Path(found).stat().st_mode & 0o077 == 0  # nobody else reads or writes it
    assert use_compilation_cache() == found


def test_the_user_chooses_the_folder(fresh, tmp_path):
    fresh.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    fresh.setenv(CACHE, str(tmp_path / "named"))
    assert use_compilation_cache() == str(tmp_path / "named")
    assert [path.name for path in tmp_path.iterdir()] == ["named"]


def test_what_jax_was_told_stays(fresh, tmp_path):
    fresh.setenv(SETTINGS[1].upper(), "3")
    fresh.setenv(CACHE, str(tmp_path / "named"))
    use_compilation_cache()
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 1  # JAX read the 3
    jax.config.update("jax_compilation_cache_dir", "of/jax")
    for told in ("off", str(tmp_path / "other")):
        fresh.setenv(CACHE, told)
        assert use_compilation_cache() == "of/jax"
    assert [path.name for path in tmp_path.iterdir()] == ["named"]


@pytest.mark.parametrize("told", ["0", "off", "OFF", "/dev/null/below"])
def test_nothing_is_kept_where_it_is_turned_off_or_cannot_be(told, fresh, capfd):
    fresh.setenv(CACHE, told)
    assert use_compilation_cache() is None
    assert jax.config.jax_compilation_cache_dir is None
    assert capfd.readouterr() == ("", "")


def test_a_home_that_cannot_be_written_does_no_harm(fresh, capfd):
    fresh.setenv("HOME", "/proc")  # takes no new folders, from root either
    assert use_compilation_cache() is None
    assert jax.config.jax_compilation_cache_dir is None
    assert capfd.readouterr() == ("", "")


def test_peak_memory_is_the_devices_own_number(monkeypatch):
    assert peak_memory_gib() is None  # a CPU does not say it

    class Device:
        def memory_stats(self):
            return {"peak_bytes_in_use": 3 * 2**29}

    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    assert peak_memory_gib() == 1.5


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="looks at CPUs")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "2 CPU cores"),
        ({"PJRT_NPROC": "1"}, "2 CPU cores (1 thread)"),
        ({"NPROC": "4"}, "2 CPU cores (4 threads)"),
        ({"PJRT_NPROC": "1", "NPROC": "4"}, "2 CPU cores (1 thread)"),
        ({"PJRT_NPROC": "many", "NPROC": "4"}, "2 CPU cores (4 threads)"),
        ({"PJRT_NPROC": ""}, "2 CPU cores"),
    ],
)
def test_the_device_says_how_many_threads_were_asked_for(given, said, monkeypatch):
    monkeypatch.setattr(devices, "usable_cores", lambda: 2)
    for name in devices.THREADS:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert devices.device() == said
