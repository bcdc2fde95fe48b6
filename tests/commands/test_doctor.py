"""The report on this machine, and that each kind of fault is found and told with a remedy."""

from __future__ import annotations

import importlib.metadata
import json
import locale
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from korformer import __version__
from korformer.commands import checkpoint, machine
from korformer.commands.app import main
from korformer.commands.machine import Finding
from korformer.errors import PathError
from korformer.storage import write_manifest, write_text
from korformer.training import precision  # before torch is replaced by a fake


def left_with(*arguments: str) -> object:
    with pytest.raises(SystemExit) as leaving:
        main(list(arguments))
    return leaving.value.code


def report_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    report = json.loads(capsys.readouterr().out)
    assert isinstance(report, dict)
    return report


def test_the_report_has_what_a_bug_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    left_with("doctor", "--json")
    report = report_of(capsys)
    assert report["korformer"] == __version__
    assert report["python"]["version"] == sys.version.split()[0]
    assert report["system"]["cpu"]
    assert report["system"]["memory_bytes"] > 0
    assert report["torch"]["version"] == importlib.metadata.version("torch")
    assert report["dependencies"]["textual"] == "8.2.8"
    assert {"encoding", "utf8", "columns"} <= report["terminal"].keys()
    assert set(report["folders"]) == {"cache", "runs"}
    assert set(report) == {"korformer", *machine.PROBES, "findings", "ok"}


def test_the_text_says_the_same_as_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    left_with("doctor")
    text = capsys.readouterr().out
    assert text.startswith(f"korformer: {__version__}\n")
    for probe in machine.PROBES:
        assert f"\n{probe}:\n" in text


@pytest.fixture
def one_probe(monkeypatch: pytest.MonkeyPatch) -> Callable[[machine.Probe], None]:
    """Leaves a single probe in the report."""

    def leave(probe: machine.Probe) -> None:
        monkeypatch.setattr(machine, "PROBES", {"only": probe})

    return leave


def test_a_healthy_machine_leaves_with_0(
    one_probe: Callable[[machine.Probe], None], capsys: pytest.CaptureFixture[str]
) -> None:
    one_probe(lambda findings: {"memory_bytes": 12_000_000_000, "names": ["a", "b"], "none": [], "yes": True})
    assert left_with("doctor") == 0
    assert capsys.readouterr().out == (
        f"korformer: {__version__}\nonly:\n  memory: 12 GB\n  names: a, b\n  none: none\n  yes: yes\n\n"
        "Nothing is wrong.\n"
    )


def test_a_broken_one_leaves_with_1_and_tells_the_worst_first(
    one_probe: Callable[[machine.Probe], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def probe(findings: list[Finding]) -> dict[str, Any]:
        findings += [
            Finding(what="small \x1b[31mdisk", remedy="Free some.", level="advice"),
            Finding(what="no torch", remedy="Install it."),
        ]
        return {}

    one_probe(probe)
    assert left_with("doctor") == 1
    told = "BROKEN: no torch\n  Install it.\nadvice: small \\x1b[31mdisk\n  Free some.\n"
    assert capsys.readouterr().out.endswith(told)
    assert left_with("doctor", "--json") == 1
    report = report_of(capsys)
    assert report["ok"] is False
    assert {"level": "broken", "what": "no torch", "remedy": "Install it."} in report["findings"]


def test_advice_alone_leaves_with_0(
    one_probe: Callable[[machine.Probe], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def probe(findings: list[Finding]) -> dict[str, Any]:
        findings.append(Finding(what="x", remedy="Y.", level="advice"))
        return {}

    one_probe(probe)
    assert left_with("doctor", "--json") == 0
    assert report_of(capsys)["ok"] is True


def test_a_probe_that_fails_is_told_and_the_others_still_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(findings: list[Finding]) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr(machine, "PROBES", {"first": fail, "python": machine.python})
    assert left_with("doctor", "--json") == 1
    report = report_of(capsys)
    assert report["python"]["version"]
    assert report["findings"][0]["what"] == "first could not be examined: RuntimeError: odd"


@pytest.mark.parametrize(
    ("capability", "chosen"),
    [
        (None, "fp32"),
        ((7, 0), "fp16 with loss scaling"),
        ((7, 5), "fp16 with loss scaling"),
        ((8, 0), "bf16"),
        ((8, 9), "bf16"),
        ((9, 0), "bf16"),
        ((10, 0), "bf16"),
    ],
)
def test_precision_is_chosen_by_capability(capability: tuple[int, int] | None, chosen: str) -> None:
    assert machine.precision_for(capability) == chosen


class FakeCuda:
    """As much of torch.cuda as the probe asks for."""

    def __init__(self, gpus: int, capability: tuple[int, int]) -> None:
        self.gpus, self.capability = gpus, capability

    def is_available(self) -> bool:
        return self.gpus > 0

    def device_count(self) -> int:
        return self.gpus

    def get_device_capability(self, index: int) -> tuple[int, int]:
        return self.capability

    def get_device_properties(self, index: int) -> types.SimpleNamespace:
        major, minor = self.capability
        return types.SimpleNamespace(name=f"card {index}", major=major, minor=minor, total_memory=24 * 10**9)


def fake_torch(*, build: str | None, gpus: int = 0, capability: tuple[int, int] = (7, 5), fault: str = "") -> Any:
    import torch

    def ones(*shape: int, device: str) -> torch.Tensor:
        if fault:
            raise RuntimeError(fault)
        return torch.ones(*shape)

    return types.SimpleNamespace(
        __version__="2.13.0",
        version=types.SimpleNamespace(cuda=build),
        get_num_threads=lambda: 2,
        backends=torch.backends,
        cuda=FakeCuda(gpus, capability),
        ones=ones,
    )


def probe_torch(
    monkeypatch: pytest.MonkeyPatch, library: Any, driver: str | None, triton: str | None = "3.7.1"
) -> tuple[Any, list[Finding]]:
    monkeypatch.setitem(sys.modules, "torch", library)
    monkeypatch.setattr(machine, "_nvidia_driver", lambda: driver)
    monkeypatch.setattr(machine, "_triton", lambda: triton)
    findings: list[Finding] = []
    return machine.torch(findings), findings


def test_a_turing_card_trains_in_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    report, findings = probe_torch(monkeypatch, fake_torch(build="13.0", gpus=2), "580.1")
    assert findings == []
    assert report["precision"] == f"{precision.precision_for((7, 5))} with loss scaling"
    assert report["gpus"][1]["name"] == "card 1"
    assert report["gpus"][0]["capability"] == "7.5"


@pytest.mark.parametrize(("capability", "told"), [((7, 5), []), ((9, 0), ["advice"])])
def test_a_gpu_without_triton_is_advice_where_triton_would_serve(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], told: list[str]
) -> None:
    library = fake_torch(build="13.0", gpus=1, capability=capability)
    report, findings = probe_torch(monkeypatch, library, "580.1", triton=None)
    assert report["triton"] is None
    assert [finding.level for finding in findings] == told
    report, findings = probe_torch(monkeypatch, library, "580.1")
    assert report["triton"] == "3.7.1"
    assert findings == []


def test_a_triton_that_cannot_be_imported_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    assert machine._triton() is None
    monkeypatch.setitem(sys.modules, "triton", types.SimpleNamespace(__version__="3.7.1"))
    assert machine._triton() == "3.7.1"


def test_a_cpu_build_beside_a_gpu_is_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    report, findings = probe_torch(monkeypatch, fake_torch(build=None), "580.1")
    assert [finding.level for finding in findings] == ["advice"]
    assert "CPU build" in findings[0].what
    assert report["precision"] == "fp32"


def test_a_driver_that_is_too_old_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    _, findings = probe_torch(monkeypatch, fake_torch(build="13.0"), "470.2")
    assert findings[0].level == "broken"
    assert "470.2" in findings[0].what
    assert "13.0" in findings[0].remedy


def test_a_gpu_that_cannot_compute_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    library = fake_torch(build="13.0", gpus=1, capability=(6, 1), fault="no kernel image is available\nmore")
    report, findings = probe_torch(monkeypatch, library, "580.1")
    assert findings[0].what == "GPU 0 (card 0) cannot compute: no kernel image is available"
    assert report["gpus"][0]["works"] is False


def test_a_machine_without_gpu_and_a_cuda_build_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    report, findings = probe_torch(monkeypatch, fake_torch(build="13.0"), None)
    assert findings == []
    assert report["gpus"] == []


def test_a_torch_that_cannot_be_imported_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    findings: list[Finding] = []
    assert "error" in machine.torch(findings)
    assert findings[0].level == "broken"


def test_a_missing_and_a_wrong_dependency_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["tomlkit>=0.13", "textual==8.2.8", 'extra-thing>=1; extra == "dev"']

    def version(name: str) -> str:
        if name == "tomlkit":
            raise importlib.metadata.PackageNotFoundError(name)
        return "7.0"

    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    monkeypatch.setattr(importlib.metadata, "version", version)
    findings: list[Finding] = []
    assert machine.dependencies(findings) == {"tomlkit": None, "textual": "7.0"}
    assert [finding.what for finding in findings] == [
        "tomlkit is missing",
        "textual 7.0 is not a version that korformer works with",
    ]
    assert findings[1].remedy == 'Install another: pip install "textual==8.2.8"'


def test_a_locale_that_is_not_utf8_is_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    findings: list[Finding] = []
    monkeypatch.setattr(locale, "getencoding", lambda: "EUC-KR")
    assert machine.terminal(findings)["utf8"] is False
    assert [finding.level for finding in findings] == ["advice"]
    monkeypatch.setattr(locale, "getencoding", lambda: "UTF-8")
    assert machine.terminal(findings)["utf8"] is True
    assert len(findings) == 1


def test_a_cache_that_cannot_be_written_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PathError("no files can be made", where=str(folder))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("korformer.storage.check_writable", refuse)
    findings: list[Finding] = []
    report = machine.folders(findings)
    assert report["cache"]["writable"] is report["runs"]["writable"] is False
    assert [finding.level for finding in findings if "no files" in finding.what] == ["broken", "advice"]
    assert list(tmp_path.iterdir()) == []


def test_shipped_weights_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "shipped", lambda: tmp_path)
    write_text(tmp_path / "config.json", "{}")
    write_manifest(tmp_path)
    findings: list[Finding] = []
    assert machine.weights(findings) == {"path": str(tmp_path), "verified": True}
    assert findings == []
    (tmp_path / "config.json").write_text("{ }")
    assert machine.weights(findings)["verified"] is False
    assert "config.json" in findings[0].what


def test_no_shipped_weights_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "shipped", lambda: None)
    findings: list[Finding] = []
    assert machine.weights(findings) == {"path": None, "verified": None}
    assert findings == []
