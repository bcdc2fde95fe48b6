"""The whole path as a newcomer walks it, from raw text to a measured model, watched for sockets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from korformer.commands import registry

WATCHED = """
import json, sys

NETWORK = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")

def watch(event, arguments):
    if event in NETWORK:
        print("NETWORK", event, file=sys.stderr, flush=True)

sys.addaudithook(watch)

from korformer.commands.app import main

for line in json.loads(sys.argv[1]):
    print("CALL", json.dumps(line), flush=True)
    try:
        main(line)
    except SystemExit as leaving:
        print("\\nLEFT", leaving.code, flush=True)
"""

TEXT = """봄이 오면 할머니는 마루 끝에 앉아 씨앗을 고르신다.
콩은 콩대로, 팥은 팥대로, 깨는 깨대로 종지에 담긴다.

강 건너 학교에서 종소리가 들리면 아이들은 징검다리를 건넌다.
물이 불어난 날에는 먼 다리로 돌아가야 했다.

"""
TINY_MODEL = [
    "model.dim=32",
    "model.depth=1",
    "model.heads=2",
    "model.max_seq_len=64",
    "model.bucket_size=8",
    "model.n_local_attn_heads=1",
    "model.axial_position_shape=[8,8]",
    "training.batch_size=2",
    "training.warmup_steps=1",
    "training.sample_tokens=5",
]

OLD_MODEL = ["--set", "model.heads=2", "--set", "model.causal=true"]


def walk(lines: list[list[str]], folder: Path) -> tuple[list[tuple[str, int]], str]:
    """What each command printed on stdout and left with, and all of stderr."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, json.dumps(lines)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    results = []
    for part in done.stdout.split("CALL ")[1:]:
        out, left = part.split("\n", 1)[1].rsplit("\nLEFT ", 1)
        results.append((out, int(left)))
    return results, done.stderr


def save_old_checkpoint(folder: Path) -> None:
    """What a project on reformer-pytorch 1.1.3 saved: old.pth, and its vocabulary in old/vocab.txt."""
    import torch
    from reformer_pytorch import ReformerLM

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "봄", "##이"]
    (folder / "old").mkdir()
    (folder / "old" / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    tokens = len(words)
    model = ReformerLM(
        num_tokens=tokens, dim=32, depth=1, max_seq_len=128, heads=2, dim_head=16, causal=True, axial_position_emb=True
    )
    weights = {name.replace(".weights.", ".weights_"): tensor for name, tensor in model.state_dict().items()}
    old = {name: tensor for name, tensor in weights.items() if not name.startswith("norm.")}
    torch.save(old, folder / "old.pth")


def test_every_command_on_the_way_works_and_none_opens_a_socket(tmp_path: Path) -> None:
    (tmp_path / "raw.txt").write_text(TEXT * 20, encoding="utf-8")
    settings = [word for each in TINY_MODEL for word in ("--set", each)]
    common = ["--steps", "3", "--cache", "cache", "-o", "run", *settings]
    examples = ["--train", "labels.tsv", "--valid", "labels.tsv"]
    lines = [
        ["corpus", "raw.txt", "-o", "corpus.jsonl"],
        ["vocab", "corpus.jsonl", "--size", "700", "-o", "vocab"],
        ["pretrain", "--vocab", "vocab", "--corpus", "corpus.jsonl", "--valid", "corpus.jsonl", *common],
        ["generate", "봄이 오면", "-m", "run", "--max-new-tokens", "8", "--seed", "1"],
        ["generate", "봄이 오면", "-m", "run", "--max-new-tokens", "8", "--seed", "1", "--json"],
        ["eval", "--task", "lm", "-m", "run", "--data", "corpus.jsonl", "--max-documents", "4", "--json"],
        ["import", "old.pth", "--vocab", "old", "-o", "imported", *OLD_MODEL],
        ["runs", "run", "--json"],
        ["doctor", "--json"],
        ["finetune", "-m", "run", "--task", "classify", *examples, "--epochs", "1", "-o", "tuned", "--quiet"],
        ["predict", "-m", "tuned", "own.txt"],
        ["models", "verify", "run", "tuned"],
    ]
    save_old_checkpoint(tmp_path)
    (tmp_path / "labels.tsv").write_text("산이 높다\t높음\n물이 깊다\t깊음\n" * 4, encoding="utf-8")
    (tmp_path / "own.txt").write_text("산이 높다\n", encoding="utf-8")
    assert {line[0] for line in lines} == set(registry.COMMANDS) - {"tui"}  # which needs a screen
    results, error = walk(lines, tmp_path)
    assert [left for _, left in results] == [0] * len(lines), error
    assert "NETWORK" not in error
    generated = results[3][0].rstrip("\n")
    told = [json.loads(line) for line in results[4][0].splitlines()]
    assert "".join(token["text"] for token in told[:-1]) == told[-1]["text"]
    assert told[-1]["text"]
    assert told[-1]["text"] in generated
    measured = json.loads(results[5][0])
    assert measured["bits_per_character"] > 0
    assert measured["examples"] == 4
    assert results[6][0] == "imported\n"
    assert json.loads(results[7][0])["step"] == 3
    assert json.loads(results[8][0])["ok"] is True
    assert json.loads(results[10][0])["label"] in {"높음", "깊음"}
    assert results[11][0] == "run: whole\ntuned: whole\n"


def test_the_watch_sees_a_socket() -> None:
    planted = WATCHED.partition("from korformer")[0] + (
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))"
    )
    done = subprocess.run([sys.executable, "-c", planted], capture_output=True, text=True, check=True)
    assert "NETWORK socket.connect" in done.stderr


@pytest.mark.parametrize("name", [name for name in registry.COMMANDS if name not in {"doctor", "tui"}])
def test_a_missing_input_is_one_message_and_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    lines = {
        "corpus": ["corpus", "missing.txt", "-o", "out.jsonl"],
        "vocab": ["vocab", "missing.txt", "-o", "out"],
        "pretrain": ["pretrain", "--vocab", "missing", "--corpus", "missing.txt", "-o", "out"],
        "generate": ["generate", "봄", "-m", "missing"],
        "eval": ["eval", "-m", "missing", "--data", "missing.txt"],
        "import": ["import", "missing.pth", "--vocab", "missing", "-o", "out"],
        "runs": ["runs", "missing"],
        "finetune": ["finetune", "-m", "missing", "--task", "ner", "--train", "missing.txt", "--valid", "missing.txt"],
        "predict": ["predict", "-m", "missing"],
        "models": ["models", "info", "missing"],
    }
    results, error = walk([lines[name]], tmp_path)
    assert results == [("", 1)]
    assert error.startswith("korformer: missing")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
