"""`python -m crl_mini doctor`, and one line for wrong arguments."""

import os
import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from crl_mini.__main__ import main
from crl_mini.runs import doctor


@pytest.fixture(scope="module")
def report():
    return doctor.report()


def test_report_names_versions_and_machine(report):
    for package in ("jax", "flax", "numpy", "crl_mini"):
        assert f"{package} {version(package)}" in " ".join(report.split())
    assert max(map(len, report.splitlines())) < 80
    assert f"{doctor.usable_cores()} usable" in report
    assert re.search(r"device +\d+ x \S+", report)


def test_report_predicts_from_what_it_measured(report):
    rate = float(re.search(r"([\d,]+) updates/s", report)[1].replace(",", ""))
    assert rate > 1
    for job, updates in doctor.JOBS.items():
        line = next(line for line in report.splitlines() if job in line)
        number, unit = re.search(r"(\d+) (s|min)$", line).groups()
        seconds = float(number) * {"s": 1, "min": 60}[unit]
        assert seconds == pytest.approx(updates / rate, rel=0.35, abs=31)


def test_median_ignores_the_compilation(monkeypatch):
    clock = iter(
        [0.0, 0.0, 0.1, *[x for k in range(9) for x in (k, k + 0.25, k + 0.5)]]
    )
    monkeypatch.setattr(doctor.time, "perf_counter", lambda: next(clock))
    calls = []
    doctor._median_seconds(lambda: calls.append(1), seconds=-1.0)
    assert len(calls) == 4  # one to compile, three to measure


def test_places_are_said_apart_from_the_report(report, monkeypatch, tmp_path):
    folder, places = os.environ["JAX_COMPILATION_CACHE_DIR"], doctor.places()
    assert re.search(rf"cache +{folder}: [\d,]+ files, [\d,.]+ MB", places)
    assert f"{sys.executable}\n" in places
    assert folder not in report
    assert os.sep not in report.partition("system")[0]
    for name, size in (("a", 1_200_000), ("b", 300_000)):
        (tmp_path / name).write_bytes(bytes(size))
    monkeypatch.setattr(doctor, "use_compilation_cache", lambda: str(tmp_path))
    assert doctor._cache() == f"{tmp_path}: 2 files, 1.5 MB"
    monkeypatch.setattr(doctor, "use_compilation_cache", lambda: None)
    assert "not kept (CRL_MINI_COMPILATION_CACHE=FOLDER" in doctor._cache()


def test_missing_package_is_said(monkeypatch):
    assert doctor._installed("no-such-package") == "no-such-package (missing)"


def test_durations_read_well():
    assert doctor._duration(12.3) == "12 s"
    assert doctor._duration(600.0) == "10 min"


def test_doctor_runs_as_a_command(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "places", lambda: "here")
    monkeypatch.setattr(doctor, "report", lambda: "all is well")
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out == "here\nall is well\n"


@pytest.mark.parametrize(
    ("argv", "wrong", "allowed"),
    [
        ([], "a command is missing", "doctor"),
        (["dotcor"], "dotcor", "doctor"),
        (["doctor", "--fast"], "--fast", "[-h]"),
        (["doctor", "now"], "now", "[-h]"),
    ],
)
def test_wrong_arguments_get_one_clear_line(argv, wrong, allowed, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert wrong in line
    assert allowed in line


def test_module_is_runnable():
    command = [sys.executable, "-m", "crl_mini", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "doctor" in done.stdout
