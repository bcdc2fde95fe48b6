"""What `korformer doctor` finds out about this machine.

A probe returns plain JSON values for its part of the report and adds what is wrong to a list of findings. Nothing here
opens a network socket or leaves a file behind.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import locale
import os
import platform
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from korformer.errors import KorformerError

CPU_FEATURES = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_bf16", "amx_int8")
ARM_FEATURES = ("asimd", "asimddp", "bf16", "i8mm", "sve")
"""Instruction sets that matrix products profit from, by the kernel's names."""

LITTLE_DISK_BYTES = 2_000_000_000


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something to tell.

    Attributes:
        what: what is the matter, without a full stop.
        remedy: what to do about it, as a sentence.
        level: "broken" where korformer cannot work properly, "advice" where it can.
    """

    what: str
    remedy: str
    level: Literal["broken", "advice"] = "broken"


Findings = list[Finding]
Probe = Callable[[Findings], Any]


def precision_for(capability: tuple[int, int] | None) -> str:
    """The fastest arithmetic that a GPU of this compute capability trains well in, or the CPU for None."""
    from korformer.training import precision

    chosen = precision.precision_for(capability)
    return "fp16 with loss scaling" if chosen == "fp16" else chosen


def python(findings: Findings) -> dict[str, Any]:
    """The interpreter."""
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "executable": sys.executable,
    }


def system(findings: Findings) -> dict[str, Any]:
    """Operating system, processor and memory."""
    name, features = _processor()
    report: dict[str, Any] = {
        "platform": platform.platform(),
        "cpu": name,
        "cpu_features": features,
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }
    with suppress(ImportError):  # told by `dependencies`
        import psutil

        memory = psutil.virtual_memory()
        report |= {"memory_bytes": memory.total, "memory_free_bytes": memory.available}
    return report


def _processor() -> tuple[str, list[str]]:
    """Name and notable features of the CPU, as far as the system tells them."""
    fields: dict[str, str] = {}
    with suppress(OSError, UnicodeDecodeError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip().lower(), value.strip())
    name = fields.get("model name") or platform.processor() or platform.machine()
    known = set((fields.get("flags") or fields.get("features") or "").split())
    return name, [feature for feature in (*CPU_FEATURES, *ARM_FEATURES) if feature in known]


def torch(findings: Findings) -> dict[str, Any]:
    """torch, its build, and the GPUs that it can really compute on."""
    try:
        import torch as library
    except Exception as error:  # a broken install raises OSError, ImportError, RuntimeError, …
        findings.append(Finding(what=f"torch cannot be imported: {error}", remedy="Install korformer again."))
        return {"error": str(error)}
    built_with = library.version.cuda
    report = {
        "version": library.__version__,
        "threads": library.get_num_threads(),
        "cpu_capability": library.backends.cpu.get_cpu_capability(),
        "cuda_build": built_with,
        "cuda_available": library.cuda.is_available(),
    }
    gpus = [_gpu(library, index, findings) for index in range(library.cuda.device_count())] if built_with else []
    driver = _nvidia_driver()
    if driver and not built_with:
        remedy = "Install a CUDA build: uv tool install --reinstall --torch-backend=auto ."
        findings.append(Finding(what="there is an NVIDIA GPU, but torch is a CPU build", remedy=remedy, level="advice"))
    if driver and built_with and not gpus:
        what = f"torch {library.__version__} finds no GPU although the NVIDIA driver {driver} is loaded"
        remedy = (
            f"Update the driver to one for CUDA {built_with}, or install a torch build for the CUDA of this driver."
        )
        findings.append(Finding(what=what, remedy=remedy))
    first = library.cuda.get_device_capability(0) if gpus else None
    triton = _triton()
    if first is not None and first >= (8, 0) and triton is None:
        what = "Triton cannot be imported: hashed attention on the GPU runs in plain torch operations, which is slower"
        findings.append(Finding(what=what, remedy="Install it: pip install triton", level="advice"))
    return {**report, "nvidia_driver": driver, "gpus": gpus, "precision": precision_for(first), "triton": triton}


def _triton() -> str | None:
    """Version of Triton, in which the attention kernels for GPUs are written, or None where it cannot be imported."""
    try:
        version: str = importlib.import_module("triton").__version__
    except Exception:  # as with torch, a broken install raises anything
        return None
    return version


def _gpu(library: Any, index: int, findings: Findings) -> dict[str, Any]:
    properties = library.cuda.get_device_properties(index)
    capability = (properties.major, properties.minor)
    works = True
    try:
        ones = library.ones(64, 64, device=f"cuda:{index}")
        works = bool((ones @ ones == 64).all())
    except RuntimeError as error:
        works = False
        first_line = str(error).splitlines()[0]
        what = f"GPU {index} ({properties.name}) cannot compute: {first_line}"
        remedy = (
            f"Install a torch build for compute capability {capability[0]}.{capability[1]}, or end what fills the GPU."
        )
        findings.append(Finding(what=what, remedy=remedy))
    return {
        "name": properties.name,
        "capability": f"{capability[0]}.{capability[1]}",
        "memory_bytes": properties.total_memory,
        "precision": precision_for(capability),
        "works": works,
    }


def _nvidia_driver() -> str | None:
    """The version of the NVIDIA kernel driver, or None where none is loaded."""
    with suppress(OSError, UnicodeDecodeError):
        words = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8").split()
        return next((word for word in words if word[0].isdigit() and "." in word), "unknown")
    return None


def dependencies(findings: Findings) -> dict[str, str | None]:
    """Installed version of each library that korformer needs; None where it is missing."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(text) for text in importlib.metadata.requires("korformer") or []]
    except importlib.metadata.PackageNotFoundError:
        remedy = "Install it: pip install ."
        findings.append(
            Finding(what="korformer runs from a folder and is not installed", remedy=remedy, level="advice")
        )
        return {}
    versions: dict[str, str | None] = {}
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            versions[requirement.name] = None
            remedy = f'Install it: pip install "{requirement.name}{requirement.specifier}"'
            findings.append(Finding(what=f"{requirement.name} is missing", remedy=remedy))
            continue
        versions[requirement.name] = version
        if not requirement.specifier.contains(version, prereleases=True):
            what = f"{requirement.name} {version} is not a version that korformer works with"
            remedy = f'Install another: pip install "{requirement.name}{requirement.specifier}"'
            findings.append(Finding(what=what, remedy=remedy))
    return versions


def terminal(findings: Findings) -> dict[str, Any]:
    """Locale and terminal: whether Korean gets through."""
    encoding = locale.getencoding()
    columns, lines = shutil.get_terminal_size()
    utf8 = encoding.lower().replace("-", "").replace("_", "") == "utf8"
    if not utf8:
        findings.append(
            Finding(
                what=f"the locale says {encoding}, korformer writes UTF-8: Korean may come out garbled",
                remedy="Set a UTF-8 locale, for example: export LANG=ko_KR.UTF-8",
                level="advice",
            )
        )
    names = ("TERM", "LANG", "LC_ALL", "LC_CTYPE", "NO_COLOR")
    return {
        "encoding": encoding,
        "utf8": utf8,
        "columns": columns,
        "lines": lines,
        "stdin_is_terminal": _isatty(sys.stdin),
        "stdout_is_terminal": _isatty(sys.stdout),
        "stderr_is_terminal": _isatty(sys.stderr),
        "environment": {name: os.environ[name] for name in names if name in os.environ},
    }


def _isatty(stream: Any) -> bool:
    return stream is not None and not stream.closed and bool(stream.isatty())


def folders(findings: Findings) -> dict[str, Any]:
    """The folders that korformer writes to unless told otherwise."""
    from korformer.data.store import default_cache
    from korformer.storage import check_writable

    report = {}
    for name, folder in (("cache", default_cache()), ("runs", Path.cwd() / "checkpoints")):
        writable = True
        try:
            check_writable(folder)
        except KorformerError as error:
            writable = False
            move = "Set XDG_CACHE_HOME to a folder of yours." if name == "cache" else "Name another folder with -o."
            findings.append(Finding(what=str(error), remedy=move, level="broken" if name == "cache" else "advice"))
        free = shutil.disk_usage(_existing(folder)).free
        if writable and free < LITTLE_DISK_BYTES:
            what = f"{free / 1e9:.1f} GB are free where {folder} is"
            findings.append(Finding(what=what, remedy="A token store or a checkpoint may not fit.", level="advice"))
        report[name] = {"path": str(folder), "writable": writable, "free_bytes": free}
    return report


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def weights(findings: Findings) -> dict[str, Any]:
    """The weights that ship: whether they are there and are what was published."""
    from korformer.commands.checkpoint import shipped
    from korformer.storage import verify_manifest

    directory = shipped()
    if directory is None:
        return {"path": None, "verified": None}
    try:
        verify_manifest(directory)
    except KorformerError as error:
        findings.append(Finding(what=f"the weights that ship are damaged: {error}", remedy="Install korformer again."))
        return {"path": str(directory), "verified": False}
    return {"path": str(directory), "verified": True}


PROBES: dict[str, Probe] = {
    "python": python,
    "system": system,
    "torch": torch,
    "dependencies": dependencies,
    "terminal": terminal,
    "folders": folders,
    "weights": weights,
}
"""Every part of the report, in its order."""
