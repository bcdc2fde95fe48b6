"""What gets installed: one name, everything in it once, working away from the repository; and what is pinned."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[1]
PARTS = ("korformer", "commands", "tui", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")


def project() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def run(*command: str | Path, **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build needs, with weights that ship and a run that must not."""
    copy = tmp_path_factory.mktemp("tree")
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in PARTS:
        place = REPOSITORY / part
        if place.is_dir():
            shutil.copytree(place, copy / part, symlinks=True, ignore=skipped)
        else:
            shutil.copy(place, copy / part)
    for name in ("ko-mini", "a-run"):
        (copy / "checkpoints" / name).mkdir(parents=True)
        (copy / "checkpoints" / name / "config.json").write_text("{}", encoding="utf-8")
    return copy


@pytest.fixture(scope="module")
def built(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel made from it, by a front end without network."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, tree)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def modules(names: list[str]) -> list[str]:
    """The files of the package among `names`."""
    return sorted(name for name in names if name.startswith("korformer/") and not name.endswith("/"))


def expected(tree: Path) -> list[str]:
    kept = (".py", ".toml", ".tcss", ".typed")
    package = tree / "korformer"
    found = []
    for folder, folders, files in os.walk(package, followlinks=True):
        folders.sort()
        found += [Path(folder, file) for file in files if file.endswith(kept) or Path(folder).name == "ko-mini"]
    return sorted(file.relative_to(tree).as_posix() for file in found)


def test_a_wheel_installs_the_one_name_korformer(built: tuple[Path, Path], tree: Path) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        names = wheel.namelist()
    assert {name.split("/")[0].removesuffix(".dist-info").split("-")[0] for name in names} == {"korformer"}
    assert modules(names) == expected(tree)
    assert "korformer/commands/app.py" in names
    assert "korformer/tui/__init__.py" in names
    assert "korformer/checkpoints/ko-mini/config.json" in names
    assert any(name.startswith("korformer/training/presets/") for name in names)
    assert not [name for name in names if "a-run" in name or "__pycache__" in name]


def test_an_sdist_has_every_file_once(built: tuple[Path, Path], tree: Path) -> None:
    with tarfile.open(built[0]) as sdist:
        members = [member.name.split("/", 1)[1] for member in sdist if "/" in member.name]
        assert not [member.name for member in sdist if member.issym() or member.islnk()]
    assert modules([name for name in members if Path(name).suffix]) == expected(tree)
    assert {"LICENSE", "README.md", "pyproject.toml"} <= set(members)
    assert not [name for name in members if name.startswith(("commands/", "tui/", "checkpoints/", "tests/"))]


@pytest.mark.parametrize("archive", [0, 1], ids=["sdist", "wheel"])
def test_it_works_in_an_environment_of_its_own(archive: int, built: tuple[Path, Path], tmp_path: Path) -> None:
    place = tmp_path / "environment"
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet"]
    libraries = sysconfig.get_path("purelib")
    # Building the sdist takes setuptools, and running it the dependencies: both are lent by this environment.
    lent = {**os.environ, "PYTHONPATH": libraries, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    run(*pip, "--no-build-isolation", built[archive], env=lent)
    code = "import korformer.commands.app, korformer.tui; print(korformer.__file__)"
    assert run(python, "-c", code, cwd=tmp_path, env=lent).startswith(str(place))
    assert "pretrain" in run(place / "bin" / "korformer", "--help", cwd=tmp_path, env=lent)
    assert run(place / "bin" / "korformer", "--version", cwd=tmp_path, env=lent).startswith("korformer ")


def pins() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line) for line in pinned), pinned
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in pinned)}


def test_every_requirement_is_pinned_within_its_range() -> None:
    groups = project()["project"]
    wanted = [*groups["dependencies"], *(each for extra in groups["optional-dependencies"].values() for each in extra)]
    pinned = pins()
    for requirement in map(Requirement, wanted):
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is pinned to {version}"


def test_textual_is_exact_and_torch_is_the_tested_one() -> None:
    assert "textual==8.2.8" in project()["project"]["dependencies"]
    assert pins()["torch"] == "2.13.0"


def test_the_version_is_told_once() -> None:
    from korformer import __version__

    assert "version" in project()["project"]["dynamic"]
    changes = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {__version__}" in changes
