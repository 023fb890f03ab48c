"""Where an interpreter comes from: the order, and environments that are made or broken."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import pytest

from bakeoff import backends
from bakeoff.bench.commands import doctor, listing
from bakeoff.bench.environments import builds, install, machine, memory, requirements
from bakeoff.bench.environments import find as environments
from bakeoff.bench.environments.find import Backend
from bakeoff.bench.environments.requirements import Size
from bakeoff.models import InputError

_PIN = requirements.read("numpy").pins[0]


def _link_python(folder: Path) -> Path:
    """Put an interpreter that has NumPy and msgspec at folder/bin/python."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return python


def _install_numpy() -> Path:
    python = _link_python(install.environment("numpy"))
    stamp = install.environment("numpy") / "bakeoff-requirements.txt"
    stamp.write_text(install.requirements("numpy"), encoding="utf-8")
    return python


def test_the_first_hit_wins(home: Path) -> None:
    assert environments.find("numpy", {}).source == "current"
    (home / "backends").mkdir()
    (home / "backends" / "contract.py").touch()
    in_tox = _link_python(home / ".tox" / "numpy")
    assert environments.find("numpy", {}).python == str(in_tox)
    installed = _install_numpy()
    assert environments.find("numpy", {}).python == str(installed)
    given = _link_python(home / "given")
    found = environments.find("numpy", {"numpy": given})
    assert (found.python, found.source) == (str(given), "--python")


def test_a_tox_folder_of_another_project_is_not_ours(home: Path) -> None:
    _link_python(home / ".tox" / "numpy")
    assert environments.find("numpy", {}).source == "current"


def test_an_environment_of_other_pins_is_not_complete(home: Path) -> None:
    _install_numpy()
    assert install.is_complete("numpy")
    (install.environment("numpy") / "bakeoff-requirements.txt").write_text("numpy==1.0\n")
    assert not install.is_complete("numpy")
    assert environments.find("numpy", {}).source == "current"


def test_a_backend_without_an_interpreter_says_how_to_get_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(backends.FRAMEWORKS, "torch", ("a_framework_that_is_not_there",))
    found = environments.find("torch", {})
    assert found.python is None
    assert "a_framework_that_is_not_there" in str(found.reason)
    assert found.fix == "bakeoff install torch"


def test_install_leaves_a_complete_environment_alone_and_makes_a_broken_one_anew(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def pretend(command: list[str], log: Path, progress: object) -> None:
        commands.append(command)
        if "venv" in command:
            _link_python(Path(command[-1]))

    monkeypatch.setattr(install, "_run", pretend)
    broken = install.environment("numpy") / "half-made"
    broken.mkdir(parents=True)
    python = install.install("numpy", lambda line: None)
    assert python == install.interpreter("numpy")
    assert not broken.exists()
    assert install.is_complete("numpy")
    assert [c[2] for c in commands] == ["venv", "pip"]
    install.install("numpy", lambda line: None)
    assert len(commands) == 2


def test_the_peers_have_an_environment_with_the_numpy_of_the_backend() -> None:
    assert set(install.requirements("numpy").splitlines()) < set(
        install.requirements("peers").splitlines()
    )


def test_an_install_that_fails_says_why_and_is_not_complete(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        install, "requirements", lambda name: "/no/such/wheel-1.0-py3-none-any.whl\n"
    )
    with pytest.raises(install.InstallError, match=r"no/such/wheel.*log is") as failed:
        install.install("numpy", lambda line: None)
    assert "\n" not in str(failed.value)
    assert not install.is_complete("numpy")


def test_describe_says_what_broke(home: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "broken.py"
    adapter.write_text("raise ImportError('libcudart.so.99 is not there')\n", encoding="utf-8")
    answer = environments.describe(
        Backend(name="broken", adapter=str(adapter), python=sys.executable)
    )
    assert answer == "ImportError: libcudart.so.99 is not there"


def test_describe_asks_the_adapter() -> None:
    described = environments.describe(environments.find("numpy", {}))
    assert not isinstance(described, str)
    assert (described.devices, described.modes) == (["cpu"], ["eager"])


def test_an_old_python_is_refused(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\necho '[[3, 9], []]'\n", encoding="utf-8")
    old.chmod(0o755)
    with pytest.raises(InputError, match=r"is Python 3\.9, expected 3\.11"):
        environments.lacking_modules(old, ("numpy",))


def test_an_adapter_that_is_a_package_has_the_name_of_its_folder(home: Path) -> None:
    folder = home / "mine"
    folder.mkdir()
    (folder / "tables.py").write_text("MODES = ('eager',)\n")
    (folder / "__init__.py").write_text("from .tables import MODES\n")
    adapter = str(folder / "__init__.py")
    assert environments.find(adapter, {}).name == "mine"
    assert backends.load(adapter).MODES == ("eager",)


def test_an_environment_says_in_what_state_it_is(home: Path) -> None:
    assert install.look("numpy").state == "absent"
    python = _install_numpy()
    assert install.look("numpy").state == "ready"
    stamp = install.environment("numpy") / "bakeoff-requirements.txt"
    pins = install.requirements("numpy")
    stamp.write_text(f"# a comment\n{pins}", encoding="utf-8")
    assert install.look("numpy").state == "ready"
    stamp.write_text(f"numpy==1.0\n{pins.partition(chr(10))[2]}", encoding="utf-8")
    stale = install.look("numpy")
    assert (stale.state, stale.why) == ("stale", f"made for numpy==1.0, now it is {_PIN}")
    python.unlink()
    assert install.look("numpy").state == "broken"


def test_a_stale_environment_is_named_as_such(
    bakeoff: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _install_numpy()
    (install.environment("numpy") / "bakeoff-requirements.txt").write_text("numpy==1.0\n")
    install.environment("caffe").mkdir()
    monkeypatch.setitem(backends.FRAMEWORKS, "numpy", ("a_framework_that_is_not_there",))
    reason = f"stale, made for numpy==1.0, now it is {_PIN}"
    assert reason in str(environments.find("numpy", {}).reason)
    monkeypatch.setattr(listing, "NAMES", ("numpy",))
    listed = bakeoff("list").out
    assert "numpy: its environment is stale: made for numpy==1.0" in listed
    assert "run: bakeoff install numpy\n" in listed
    assert "caffe: its environment is broken; run: bakeoff uninstall caffe\n" in listed


def test_install_lists_what_there_is_and_what_the_rest_would_take(
    bakeoff: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    _install_numpy()
    lines = bakeoff("install", "--list").out.splitlines()
    by_name = {line.split()[0]: line for line in lines if line.strip()}
    assert f"ready, {install.interpreter('numpy')}" in by_name["numpy"]
    assert "not made: 142 MB to download, 659 MB on disk" in by_name["jax"]
    assert "bakeoff install jax" in by_name["jax"]


def test_uninstall_removes_what_is_named_and_says_what_that_frees(
    bakeoff: Callable[..., Any],
) -> None:
    assert "was made" in bakeoff("uninstall", "numpy").err
    _install_numpy()
    (install.environment("jax")).mkdir()
    (install.environment("jax") / "large").write_bytes(b"x" * 3_000_000)
    assert "did you mean numpy?" in bakeoff("uninstall", "nunpy").err
    for wrong in ((), ("numpy", "--all")):
        outcome = bakeoff("uninstall", *wrong)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert install.there() == ["numpy", "jax"]
    outcome = bakeoff("uninstall", "jax")
    assert outcome.code == 0
    assert outcome.out.splitlines()[0] == "jax: removed, 3 MB"
    assert install.there() == ["numpy"]
    assert bakeoff("uninstall", "--all").code == 0
    assert list(install.folder_of_all().iterdir()) == []


def test_what_is_being_made_is_not_removed(bakeoff: Callable[..., Any]) -> None:
    _install_numpy()
    with filelock.FileLock(install.folder_of_all() / "numpy.lock"):
        outcome = bakeoff("uninstall", "numpy")
    assert (outcome.code, install.look("numpy").state) == (2, "ready")
    assert "is being made now" in outcome.err


_TWO_BUILDS = requirements.Requirements(
    ("torch==9",), 11, 14, Size(1, 2), cpu_index="https://cpu.example", gpu_size=Size(3, 4)
)


@pytest.mark.parametrize(
    ("cuda", "gpu", "reachable", "options", "size", "words"),
    [
        (False, False, True, ("--extra-index-url", "https://cpu.example"), 1, "for CPUs, from"),
        (False, False, False, (), 1, "cannot be reached"),
        (True, False, True, (), 3, "for GPUs"),
        (False, True, True, (), 3, "for GPUs"),
    ],
    ids=["no gpu", "index out of reach", "asked for", "a gpu"],
)
def test_the_build_is_for_what_is_here(
    cuda: bool,
    gpu: bool,
    reachable: bool,
    options: tuple[str, ...],
    size: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(builds, "has_gpu", lambda: gpu)
    monkeypatch.setattr(builds, "is_reachable", lambda index: reachable)
    build = builds.choose(_TWO_BUILDS, cuda=cuda)
    assert (build.options, build.size and build.size.download) == (options, size)
    assert words in build.words


def test_a_build_for_cpus_is_made_anew_when_one_for_gpus_is_asked_for(home: Path) -> None:
    _install_numpy()
    site = install.environment("numpy") / "lib" / "python3.11" / "site-packages"
    (site / "torch-9+cpu.dist-info").mkdir(parents=True)
    assert install.is_complete("numpy")
    assert not install.is_complete("numpy", cuda=True)


def test_doctor_says_what_lies_on_the_disk_and_how_to_clear_it(
    bakeoff: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(doctor, "NAMES", ())
    _install_numpy()
    run = home / "bakeoff-runs" / "of mine"
    run.mkdir(parents=True)
    (run / "summary.json").write_bytes(b"x" * 3_000_000)
    out = bakeoff("doctor").out
    assert "bakeoff uninstall --all" in out
    (line,) = (line for line in map(str.strip, out.splitlines()) if line.startswith("a run"))
    assert line.split()[2:4] == ["3", "MB"]
    assert line.endswith("rm -r 'bakeoff-runs/of mine'")


def test_what_an_install_takes_is_told_before(
    bakeoff: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "install", lambda name, progress, cuda: Path(name))
    lines = bakeoff("install", "numpy", "torch").out.splitlines()
    sizes = [requirements.read(name).size for name in ("numpy", "torch")]
    assert lines[0].endswith(f"; {sizes[0]}")
    assert f"; {sizes[1]}; https://download.pytorch.org/whl/cpu cannot be reached" in lines[1]
    assert lines[2].startswith("in all 236 MB to download, 1,118 MB on disk, in ")
    lines = bakeoff("install", "numpy", "torch", "--device", "cuda").out.splitlines()
    assert lines[1].endswith("; 2,758 MB to download; the build for GPUs")
    assert lines[2].startswith("in all at least 2,775 MB to download")
    assert bakeoff("install", "--device", "tpu").code == 2


def _tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("files", "quotas"),
    [
        ({}, []),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, []),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, [1.5]),
        (
            {
                "proc/self/cgroup": "0::/user.slice/run\n",
                "sys/fs/cgroup/user.slice/cpu.max": "300000 100000",
                "sys/fs/cgroup/user.slice/run/cpu.max": "max 100000",
            },
            [3.0],
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/m\n4:cpu,cpuacct:/docker/f00\n1:name=systemd:/\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/cpu,cpuacct/docker/f00/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu,cpuacct/docker/f00/cpu.cfs_period_us": "100000",
            },
            [0.5],
        ),
    ],
    ids=["none", "no limit", "one and a half", "of a slice", "version 1"],
)
def test_quotas_of_cgroups(tmp_path: Path, files: dict[str, str], quotas: list[float]) -> None:
    assert list(machine.quotas(_tree(tmp_path, files))) == quotas


@pytest.mark.parametrize(("quota", "cores"), [([], 4), ([9.0], 4), ([2.9, 3.0], 2), ([0.1], 1)])
def test_a_part_of_a_core_is_none(
    monkeypatch: pytest.MonkeyPatch, quota: list[float], cores: int
) -> None:
    monkeypatch.setattr(machine, "quotas", lambda root: quota)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(4))
    monkeypatch.setattr("os.process_cpu_count", lambda: 6, raising=False)
    assert machine.usable_cores() == cores
    monkeypatch.setattr("os.process_cpu_count", lambda: 1)
    assert machine.usable_cores() == 1


def test_what_an_interpreter_says_is_asked_once_until_something_changes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAKEOFF_CACHE", str(home / "cache"))
    python = _link_python(home / "given")
    backend = Backend(name="numpy", adapter="numpy", python=str(python))
    asked = []

    def describe(backend: Backend) -> environments.Description | str:
        asked.append(backend.name)
        return answer

    answer: environments.Description | str = "broken"
    monkeypatch.setattr(memory, "describe", describe)
    assert (memory.recall(backend), memory.recall(backend)) == ("broken", "broken")
    answer = environments.Description("2.0", ["cpu"], ["eager"], {}, {})
    assert [memory.recall(backend) for _ in range(3)] == [answer] * 3
    assert len(asked) == 3  # what is broken was not kept
    (kept,) = (home / "cache" / "backends").iterdir()
    kept.write_bytes(kept.read_bytes()[:9])  # damaged
    assert memory.recall(backend) == answer
    python.write_text(python.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    monkeypatch.setattr(memory, "packages", lambda python: "torch 9")
    memory.recall(backend)
    assert len(asked) == 5
