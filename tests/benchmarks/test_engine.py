"""The benchmarks of training and generation at small sizes: what they measure, what they refuse, what they write."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = ["--dim", "32", "--heads", "2", "--vocabulary", "100"]
NAMES = ["measuring", "peers", "matrix_vector", "training", "masked", "memory", "half_million", "decode", "duplication"]


@pytest.fixture(scope="module", autouse=True)
def scripts() -> Iterator[dict[str, ModuleType]]:
    """The scripts as modules."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield {name: importlib.import_module(name) for name in [*NAMES, "tables"]}
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def in_process(scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """Measurements happen here and not in processes of their own, which take seconds to start."""
    measuring = scripts["measuring"]

    def measure(script: str | Path, specification: Mapping[str, Any]) -> Any:
        given = json.loads(json.dumps(specification))
        try:
            return json.loads(json.dumps(scripts[Path(script).stem].measurement(given)))
        except ValueError as error:
            raise RuntimeError(str(error)) from error

    monkeypatch.setattr(measuring, "measure", measure)
    monkeypatch.setattr(scripts["decode"], "measure", measure)
    monkeypatch.setattr(scripts["training"], "keep_freed_memory", lambda: None)
    monkeypatch.setattr(scripts["matrix_vector"], "COPIES_BYTES", 2**16)
    return scripts


def figures(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_training_measures_every_system(in_process: dict[str, ModuleType], tmp_path: Path) -> None:
    output = tmp_path / "training.json"
    arguments = ["--length", "128", "--depth", "5", "--bucket-size", "16", "--rounds", "1", "--output", str(output)]
    assert in_process["training"].main([*SMALL, *arguments]) == 0
    found = figures(output)
    assert list(found["systems"]) == list(in_process["peers"].SETUPS)
    for name, row in found["systems"].items():
        assert row["tokens_per_second"] == pytest.approx(128 / row["seconds"])
        assert row["extrapolated"] == (name in in_process["training"].SLOW)
    assert found["ratios"]["korformer fast"].keys() == {
        name for name in in_process["peers"].SETUPS if not name.startswith("korformer")
    }
    for key in ("command", "environment", "shape", "korformer_config", "runs"):
        assert found[key]
    assert in_process["tables"].training(found).count("\n| ") == len(found["systems"])


def test_nothing_is_written_without_a_peer(
    in_process: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    def broken(shape: object) -> None:
        raise ValueError("does not run here")

    monkeypatch.setitem(in_process["peers"].SYSTEMS, "transformers", broken)
    output = tmp_path / "training.json"
    arguments = ["--length", "64", "--depth", "1", "--bucket-size", "16", "--rounds", "1", "--output", str(output)]
    assert in_process["training"].main([*SMALL, *arguments]) == 1
    said = capsys.readouterr()
    assert "does not run here" in said.err
    assert "skipped: transformers, transformers, tuned" in said.err
    assert "korformer fast" in said.out
    assert not output.exists()


def test_masked_encoders(in_process: dict[str, ModuleType], tmp_path: Path) -> None:
    output = tmp_path / "masked.json"
    arguments = ["--length", "128", "--batch", "2", "--depth", "1", "--rounds", "1", "--output", str(output)]
    assert in_process["masked"].main([*SMALL, *arguments]) == 0
    found = figures(output)
    assert found["korformer_config"]["attention"] == "lsh"
    assert not found["korformer_config"]["causal"]
    row = found["systems"]["korformer fast"]
    assert row["tokens_per_second"] == pytest.approx(2 * 128 / row["seconds"])


def test_memory_at_two_depths(in_process: dict[str, ModuleType], tmp_path: Path) -> None:
    output = tmp_path / "memory.json"
    assert in_process["memory"].main([*SMALL, "--length", "128", "--depths", "1", "2", "--output", str(output)]) == 0
    found = figures(output)
    assert set(found["rows"]) == {f"korformer {mode} @{depth}" for mode in ("small-memory", "fast") for depth in (1, 2)}
    assert found["growth"] is not None


def test_half_a_million_tokens_at_fewer(in_process: dict[str, ModuleType], tmp_path: Path) -> None:
    output = tmp_path / "half.json"
    arguments = ["--length", "1024", "--rows", "16", "--factors", "4", "4", "--output", str(output)]
    assert in_process["half_million"].main(arguments) == 0
    found = figures(output)
    assert found["korformer_config"]["attention_layers"] == ["local", "causal_lsh"] * 3
    assert len(found["rows"]) == 3
    shape = in_process["half_million"].shape_of(2**19, 512, (64, 128))
    assert shape.config.buckets == 64 * 128


def test_generation(in_process: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = in_process["decode"]
    monkeypatch.setattr(decode, "first_character_seconds", lambda directory, runs: [1.0] * runs)
    output = tmp_path / "decode.json"
    sizes = ["--contexts", "128", "256", "--window", "256", "--depth", "1", "--rounds", "1", "--prefill-tokens", "64"]
    assert decode.main([*SMALL, *sizes, "--write-tokens", "3", "--output", str(output)]) == 0
    found = figures(output)
    peers = {"dense, key-value cache", "transformers, bucket cache", "reformer-pytorch"}
    assert set(found["short"]["milliseconds"]) == {"korformer fp32", "korformer bf16", "korformer int8"} | peers
    assert set(found["short"]["floor"]) == {"fp32", "bf16", "int8"}
    assert found["writing"]["parameters"] == pytest.approx(20e6, rel=0.1)
    assert found["writing"]["dense_parameters"] == pytest.approx(20e6, rel=0.2)
    assert "ms at 65,536" in in_process["tables"].decode(found)


def test_floor_counts_what_a_token_reads(scripts: dict[str, ModuleType]) -> None:
    peers, decode = scripts["peers"], scripts["decode"]
    shape = peers.Shape(length=512, dim=32, depth=2, heads=2, vocabulary=100, more={"n_local_attn_heads": 1})
    model = peers.korformer_model(shape)
    matrices = 100 * 32 + 2 * (3 * 32 * 32 + 2 * 4 * 32 * 32)
    vectors = sum(p.numel() for n, p in model.lm.named_parameters() if p.dim() == 1)
    assert decode.weight_bytes(model, "fp32") == 4 * (matrices + vectors)
    assert decode.weight_bytes(model, "int8") == matrices + 4 * vectors
    # 8 buckets hold 50 tokens each at 400: 4 rounds of them for the hashed head, 128 near ones for the local head.
    assert decode.context_bytes(model.config, 400) == 2 * (4 * 50 + 128) * 16 * 2 * 4


def test_every_stock_product_is_one(scripts: dict[str, ModuleType]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix, vector = torch.randn(64, 48, generator=generator), torch.randn(48, generator=generator)
    expected = matrix @ vector
    for weights, allowed in (("fp32", 1e-4), ("bf16", 0.2), ("int8", 0.5)):
        products = scripts["matrix_vector"]._products(weights, matrix, vector)
        assert len(products) >= 3
        for name, make in products.items():
            found = make()().flatten().float()
            if name == "_int_mm":  # of rounded numbers, their scales left out
                found = found * (matrix.abs().amax(dim=1) / 127) * (vector.abs().max() / 127)
            assert (found - expected).abs().max() < allowed, name


def test_duplication(in_process: dict[str, ModuleType], tmp_path: Path) -> None:
    output = tmp_path / "duplication.json"
    arguments = ["--length", "32", "--symbols", "8", "--bucket-size", "8", "--steps", "4", "--look-every", "2"]
    assert (
        in_process["duplication"].main([*arguments, "--trained", "1", "--held-out", "4", "--output", str(output)]) == 0
    )
    found = figures(output)
    assert set(found["rows"]) == {"full", "causal_lsh-1", "lsh-1"}
    assert set(found["rows"]["full"]["accuracy"]) == set(found["evaluate"])


def test_duplicated_words(scripts: dict[str, ModuleType]) -> None:
    tokens, targets = scripts["duplication"].words(3, 16, 10, torch.Generator().manual_seed(0))
    assert torch.equal(tokens[:, :8], tokens[:, 8:])
    assert (tokens[:, 0] == 0).all()
    assert (tokens[:, 1:8] > 0).all()
    assert torch.equal(targets[:, 8:15], tokens[:, 9:])
    assert (targets[:, :8] == -100).all()
    assert (targets[:, 15] == -100).all()


def test_a_line_goes_on_to_the_whole_depth(scripts: dict[str, ModuleType]) -> None:
    assert scripts["measuring"].line_through([1, 2], [5.0, 7.0], 12) == pytest.approx(27.0)


def test_a_measurement_is_a_process_of_its_own(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import json, sys\n"
        "given = json.loads(sys.argv[sys.argv.index('--measure') + 1])\n"
        "print('something else')\n"
        "if given['fail']:\n    sys.exit('no luck')\n"
        "print(json.dumps({'seconds': given['value']}))\n",
        encoding="utf-8",
    )
    measuring = scripts["measuring"]
    assert measuring.measure(script, {"value": 2.0, "fail": False}) == {"seconds": 2.0}
    with pytest.raises(RuntimeError, match="no luck"):
        measuring.measure(script, {"value": 2.0, "fail": True})
    given = {"good": {"value": 2.0, "fail": False}, "bad": {"value": 2.0, "fail": True}}
    measured = measuring.interleave(script, given, 2, quiet=True)
    assert measured.median("good", "seconds") == 2.0
    assert len(measured.runs["good"]) == 2
    assert measured.failures == {"bad": "no luck"}


def test_a_stopped_benchmark_goes_on(
    scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring = scripts["measuring"]
    made: list[int] = []

    def measured(script: str, specification: Mapping[str, Any]) -> dict[str, float]:
        made.append(specification["value"])
        if len(made) == 4:
            raise KeyboardInterrupt
        return {"seconds": float(len(made))}

    def benchmark(options: object) -> tuple[dict[str, Any], str, list[str]]:
        found = measuring.interleave("script.py", {"a": {"value": 1}, "b": {"value": 2}}, 3, quiet=True)
        return {"runs": found.runs}, "", []

    def run() -> int:
        parser = measuring.arguments_parser("")
        code: int = measuring.run_benchmark(parser, ["--output", str(tmp_path / "out.json")], dict, benchmark)
        return code

    monkeypatch.setattr(measuring, "_measure", measured)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert not (tmp_path / "out.json").exists()
    assert run() == 0
    assert made == [1, 2, 1, 2, 2, 1, 2]  # the fourth was lost, the three before it were not made again
    runs = figures(tmp_path / "out.json")["runs"]
    assert [run["seconds"] for run in runs["a"]] == [1.0, 3.0, 6.0]
    assert [run["seconds"] for run in runs["b"]] == [2.0, 5.0, 7.0]
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]

    made.extend([0, 0])
    (tmp_path / "out.partial.jsonl").write_text('{"sources": "others"}\n{"key": "x"}\n', encoding="utf-8")
    assert run() == 0  # of other code: nothing of it counts
    assert len(made) == 9 + 6


def test_the_page_is_what_the_figures_give(scripts: dict[str, ModuleType]) -> None:
    assert scripts["tables"].main(["--check"]) == 0
