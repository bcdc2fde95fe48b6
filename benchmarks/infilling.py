"""What does learning to fill in the middle cost, and what does it give?

    python benchmarks/infilling.py --corpus train.txt.xz --valid valid.txt.xz --vocab DIR --out DIR --preset cpu-small

The same model trains twice for the same number of steps on the same packs in the same order, with `ar.fim_rate` 0 and
0.5. The table shows bits per character left to right, by the strict definition of `korformer eval`, on all of the
validation text or its first `--documents`; and bits per character of middles of 1 to 16 words in it, known by the
prefix alone and with the suffix in either order. A model that never saw a gap has no figure there.

Both runs may be stopped and started again; what is trained is found.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import get_args

from measuring import RESULTS, Facts, environment

from korformer.data.store import build_store
from korformer.evaluation.infilling import Order, middle_bits, sample_gaps
from korformer.evaluation.language_model import LmSettings, evaluate_lm
from korformer.model.directory import load_model
from korformer.storage import write_json
from korformer.text.documents import Documents


def train(rate: float, arguments: argparse.Namespace) -> Path:
    """Train with this rate to the last step, or find it trained."""
    run: Path = arguments.out / f"fim-{rate:g}"
    command = [sys.executable, "-m", "korformer.commands.app", "pretrain", "--objective", "ar"]
    command += ["--vocab", str(arguments.vocab), "--corpus", *map(str, arguments.corpus), "-o", str(run)]
    if arguments.preset:
        command += ["--preset", arguments.preset]
    if arguments.steps:
        command += ["--steps", str(arguments.steps)]
    for assignment in [*arguments.set, "training.sample_every=0", f"ar.fim_rate={rate:g}"]:
        command += ["--set", assignment]
    subprocess.run(command, check=True)
    return run


def measured(run: Path, arguments: argparse.Namespace) -> Facts:
    """Bits per character left to right, and of middles in every order that the model knows."""
    loaded = load_model(run)
    documents = list(Documents([str(arguments.valid)]))[: arguments.documents]
    settings = LmSettings(by_context=False)
    result = evaluate_lm(loaded.model, loaded.vocabulary, documents, settings)
    store = build_store(documents, loaded.vocabulary, run / "valid-tokens", replace=True)
    window = loaded.model.config.max_seq_len
    gaps = sample_gaps(
        store,
        loaded.vocabulary,
        examples=arguments.examples,
        context_tokens=min(window, arguments.context_tokens),
        seed=arguments.seed,
    )
    facts: Facts = {"bits_per_character": result.bits_per_character, "gaps": len(gaps)}
    trained = loaded.config_json["training"]["objective"]["fim_rate"] > 0
    for order in get_args(Order):
        if trained or order == "left_to_right":
            bits, characters = middle_bits(loaded.model, loaded.vocabulary, gaps, order)
            facts[f"middle, {order.replace('_', ' ')}"] = float(bits.sum() / characters.sum())
    return facts


def main() -> None:
    """Train, measure, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, nargs="+", required=True)
    parser.add_argument("--valid", type=Path, required=True)
    parser.add_argument("--vocab", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--preset")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="for both runs")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.0, 0.5])
    parser.add_argument("--documents", type=int, help="of the validation text; all where not given")
    parser.add_argument("--examples", type=int, default=2000, help="middles to fill")
    parser.add_argument("--context-tokens", type=int, default=512, help="of prefix, middle and suffix together")
    parser.add_argument("--seed", type=int, default=0, help="of the middles")
    parser.add_argument("--output", type=Path, default=RESULTS / "infilling.json")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = {f"{rate:g}": measured(train(rate, arguments), arguments) for rate in arguments.rates}
    names = list(dict.fromkeys(name for facts in rows.values() for name in facts))
    print(f"{'ar.fim_rate':32}" + "".join(f"{rate:>10}" for rate in rows))
    for name in names:
        shown = [facts.get(name) for facts in rows.values()]
        print(f"{name:32}" + "".join(f"{'':>10}" if value is None else f"{value:10.4g}" for value in shown))
    first, *others = (facts["bits_per_character"] for facts in rows.values())
    for rate, bits in zip(list(rows)[1:], others, strict=True):
        print(f"left to right at rate {rate} against {next(iter(rows))}: {bits / first - 1:+.2%}")
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    write_json(arguments.output, {"command": command, "environment": environment(), "rows": rows})


if __name__ == "__main__":
    main()
