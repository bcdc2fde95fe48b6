"""How long does one generated token take, however long the context?

    python benchmarks/decode.py [--output benchmarks/results/decode.json]

At a context of 4,096 tokens, 12 layers of 768 with 22,000 tokens of vocabulary: korformer's decode state with weights
in float32, bfloat16 and int8, transformers' Reformer with its cache of buckets, a plain decoder with a key-value
cache, and reformer-pytorch, which computes the whole context again for every token. All live in one process and take
turns; a time is the median of single tokens. Contexts are random tokens, which cost what others do; the plain
decoder's cache is filled with random keys and values.

The floor of a token is (bytes of weights + bytes of keys and values read) / bandwidth, the bandwidth being that of the
fastest stock matrix-vector product of that type over the output layer's matrix in the same run (see
`matrix_vector.py`).

At 65,536 tokens another process measures the same with a window of that length, at 4,096 and at 65,536 tokens of
context. A third times the reading of 5,000 tokens beside a training step, and writing with a model of 20 million
parameters, the sampling included; then whole `korformer generate` processes are timed from their start to the first
character.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from matrix_vector import BYTES, bandwidths
from measuring import Facts, arguments_parser, measure, run_benchmark, settings_from
from peers import DenseDecode, DenseModel, Shape, korformer_model, reformer_pytorch_model, transformers_model
from torch import Tensor
from training import OURS, specifications

from korformer.generation.settings import SamplingSettings
from korformer.generation.stream import generate
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.decode import DecodeState
from korformer.model.directory import load_model, parameters_to_save, publish, write_description
from korformer.text.vocabulary import Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

SAMPLE = Path(__file__).parents[1] / "docs" / "sample"
PROMPT = "봄이 오면 할머니는"

Step = Callable[[], object]


def _random_tokens(count: int, vocabulary: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    tokens: list[int] = torch.randint(5, vocabulary, (count,), generator=generator).tolist()
    return tokens


def weight_bytes(model: ReformerModel, weights: str) -> int:
    """Bytes of the weights that one token needs: every matrix in the given type, vectors in float32."""
    total = 0
    for name, parameter in model.lm.named_parameters():
        if not name.startswith(("pos_emb", "layer_pos_emb")):  # of those, one row is read
            total += parameter.numel() * (BYTES[weights] if parameter.dim() > 1 else 4)
    return total


def context_bytes(config: ModelConfig, context: int) -> int:
    """Bytes of float32 keys and values that one token reads, with the buckets filled evenly.

    A hashed head reads its bucket's newest tokens in every round, a local one its window, a full one everything.
    """
    total = 0
    for kind in config.layer_kinds:
        local = config.heads if kind == "local" else config.n_local_attn_heads
        bucket = min(config.bucket_window, context // config.buckets)
        far = context if kind == "full" else config.n_hashes * bucket
        tokens = local * min(config.near_window, context) + (config.heads - local) * far
        total += tokens * config.head_width * 2 * 4
    return total


def floor_milliseconds(model: ReformerModel, weights: str, context: int, bandwidth: float) -> float:
    """The least time of a token."""
    return (weight_bytes(model, weights) + context_bytes(model.config, context)) / bandwidth * 1e3


def take_turns(steps: Mapping[str, tuple[Step, int]], rounds: int) -> dict[str, float]:
    """Median milliseconds of a call of each; in a round each is called its number of times, once more unmeasured."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, (step, calls) in steps.items():
            if calls > 1:
                step()
            for _ in range(calls):
                began = time.perf_counter()
                step()
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(taken) * 1e3 for name, taken in times.items()}


def _our_step(model: ReformerModel, weights: str, context: Sequence[int]) -> Step:
    state = model.new_state(weights=weights)
    state.append(context)
    token = context[-1]
    return lambda: state.append([token])


def _transformers_step(shape: Shape, context: Sequence[int]) -> Step:
    model = transformers_model(shape).eval()
    token = torch.tensor([[context[-1]]])
    with torch.inference_mode():
        cache = model(torch.tensor([context]), use_cache=True).past_buckets_states

    @torch.inference_mode()
    def step() -> Tensor:
        logits: Tensor = model(token, past_buckets_states=cache, use_cache=True).logits
        return logits

    return step


def _reformer_pytorch_step(shape: Shape, context: Sequence[int]) -> Step:
    model = reformer_pytorch_model(shape, tuned=True).eval()
    tokens = torch.tensor([context])

    @torch.inference_mode()
    def step() -> Tensor:
        logits: Tensor = model(tokens)
        return logits

    return step


def short_context(specification: Facts) -> Facts:
    """Everybody at one context, with the floors."""
    shape, context = Shape(**specification["shape"]), specification["context"]
    tokens = _random_tokens(context, shape.vocabulary)
    model = korformer_model(shape).eval()
    plain = Shape(**{**specification["shape"], "more": {}})
    steps: dict[str, tuple[Step, int]] = {
        f"korformer {weights}": (_our_step(model, weights, tokens), 20) for weights in specification["weights"]
    }
    dense = DenseDecode(DenseModel(plain), shape.length, context)
    steps["dense, key-value cache"] = (lambda: dense.step(7), 10)
    steps["transformers, bucket cache"] = (_transformers_step(plain, tokens), 5)
    rounds = specification["rounds"]
    products = {weights: bandwidths(weights, shape.vocabulary, shape.dim) for weights in specification["weights"]}
    milliseconds = take_turns(steps, rounds)
    again = {weights: bandwidths(weights, shape.vocabulary, shape.dim) for weights in specification["weights"]}
    fastest = {weights: max(*products[weights].values(), *again[weights].values()) for weights in products}
    milliseconds |= take_turns({"reformer-pytorch": (_reformer_pytorch_step(plain, tokens), 1)}, 2)
    return {
        "milliseconds": milliseconds,
        "bandwidths": products,
        "floor": {w: floor_milliseconds(model, w, context, fastest[w]) for w in fastest},
        "weight_bytes": {weights: weight_bytes(model, weights) for weights in fastest},
        "context_bytes": context_bytes(model.config, context),
    }


def long_context(specification: Facts) -> Facts:
    """One window, at a short and a long context; the long one is read once, and restored for every type of weights."""
    shape, (short, long) = Shape(**specification["shape"]), specification["contexts"]
    tokens = _random_tokens(long, shape.vocabulary)
    model = korformer_model(shape).eval()
    began = time.perf_counter()
    state = model.new_state()
    state.append(tokens)
    result: Facts = {"milliseconds": {}, "prefill_seconds": time.perf_counter() - began}
    read = state.snapshot()
    del state
    for weights in specification["weights"]:
        state = DecodeState.restore(model, read, weights)
        steps = {
            str(short): (_our_step(model, weights, tokens[:short]), 20),
            str(long): (lambda s=state: s.append([7]), 20),  # type: ignore[misc]
        }
        result["milliseconds"][weights] = take_turns(steps, specification["rounds"])
        del state, steps
    del read
    dense = DenseDecode(DenseModel(Shape(**{**specification["shape"], "more": {}})), shape.length, long)
    result["milliseconds"]["dense"] = take_turns({str(long): (lambda: dense.step(7), 4)}, 2)
    return result


def prefill(specification: Facts) -> Facts:
    """Tokens per second of reading a context."""
    shape, count = Shape(**specification["shape"]), specification["count"]
    tokens = _random_tokens(count, shape.vocabulary)
    model = korformer_model(shape).eval()

    def read() -> None:
        model.new_state().append(tokens)

    return {"tokens_per_second": count / (take_turns({"": (read, 1)}, specification["rounds"])[""] / 1e3)}


# A model of 20 million parameters


def small_model(vocabulary_size: int) -> ModelConfig:
    """6 layers of 512 with the vocabulary of the sample texts: 22.7 million parameters."""
    return ModelConfig(dim=512, depth=6, heads=8, max_seq_len=2048, bucket_size=64, axial_position_emb=False)


def sample_vocabulary() -> tuple[Vocabulary, list[str]]:
    """As many tokens as the sample texts give, and the texts."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(SAMPLE.glob("[0-9]*.txt"))]
    return train_vocabulary(texts, VocabularySettings()), texts


def write_model(directory: Path) -> None:
    """An untrained model of 20 million parameters."""
    vocabulary, _ = sample_vocabulary()
    model = ReformerModel(small_model(vocabulary.size), vocabulary.size)
    model.initialise(0)
    write_description(directory, model, vocabulary, objective="ar", training={})
    publish(directory, parameters_to_save(model), "An untrained model to measure times with.\n")


@torch.inference_mode()
def _dense_writes(decode: DenseDecode, tokens: int, top_p: float = 0.9, temperature: float = 0.9) -> None:
    """An eager loop with nucleus sampling, as most programs have it."""
    token = 7
    for _ in range(tokens):
        probabilities, ids = torch.sort(torch.softmax(decode.step(token) / temperature, dim=-1), descending=True)
        probabilities[probabilities.cumsum(dim=-1) - probabilities > top_p] = 0.0
        token = int(ids[torch.multinomial(probabilities, 1)])


def writing(specification: Facts) -> Facts:
    """Tokens per second of a whole continuation at 20 million parameters, ours and a plain decoder's."""
    loaded = load_model(Path(specification["directory"]))
    context, count = specification["context"], specification["count"]
    _, texts = sample_vocabulary()
    prompt = loaded.vocabulary.encode("\n".join(texts), add_special_tokens=False)[:context]
    config = loaded.model.config
    dense_shape = Shape(
        length=config.max_seq_len,
        dim=config.dim,
        depth=config.depth,
        heads=config.heads,
        vocabulary=loaded.vocabulary.size,
    )
    dense_model = DenseModel(dense_shape)
    rates: dict[str, list[float]] = {}

    def ours(weights: str) -> float:
        model = loaded.model
        state = model.new_state

        class WithWeights:  # the sampler asks a model for a state
            def new_state(self) -> object:
                return state(weights=weights)

            def __getattr__(self, name: str) -> object:
                return getattr(model, name)

        banned = (3,)  # [SEP]: the text is not to end
        settings = SamplingSettings(seed=1, max_new_tokens=count + 1, banned_tokens=banned)
        stream = generate(WithWeights(), loaded.vocabulary, prompt, settings)  # type: ignore[arg-type]
        next(stream)  # the reading of the prompt
        began = time.perf_counter()
        written = sum(1 for _ in stream)
        return written / (time.perf_counter() - began)

    def dense() -> float:
        decode = DenseDecode(dense_model, config.max_seq_len, context)
        decode.step(7)
        began = time.perf_counter()
        _dense_writes(decode, count)
        return count / (time.perf_counter() - began)

    for _ in range(specification["rounds"]):
        for weights in specification["weights"]:
            rates.setdefault(f"korformer {weights}", []).append(ours(weights))
        rates.setdefault("dense, key-value cache", []).append(dense())
    return {
        "tokens_per_second": {name: statistics.median(values) for name, values in rates.items()},
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "dense_parameters": sum(parameter.numel() for parameter in dense_model.parameters()),
        "vocabulary": loaded.vocabulary.size,
    }


def first_character_seconds(directory: Path, runs: int) -> list[float]:
    """From the start of a `korformer generate` process to the first byte of its output."""
    program = shutil.which("korformer", path=str(Path(sys.executable).parent)) or shutil.which("korformer")
    if program is None:
        raise SystemExit("the program korformer is not installed beside this Python")
    taken = []
    for run in range(runs):
        command = [program, "generate", PROMPT, "-m", str(directory), "--max-new-tokens", "32", "--seed", str(run)]
        began = time.perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            first = process.stdout.read(1)
            taken.append(time.perf_counter() - began)
            process.stdout.read()
        if process.returncode or not first:
            raise SystemExit(f"{' '.join(command)} failed with exit code {process.returncode}")
    return taken


MEASUREMENTS = {"short": short_context, "long": long_context, "prefill": prefill, "writing": writing}


def measurement(specification: Facts) -> Facts:
    """The measurement that the specification names."""
    return MEASUREMENTS[specification["what"]](specification)


def benchmark(options: argparse.Namespace) -> tuple[Facts, str, list[str]]:
    """Measure everything."""
    common = {
        "dim": options.dim,
        "depth": options.depth,
        "heads": options.heads,
        "vocabulary": options.vocabulary,
        "more": settings_from(options.set),
    }
    shape = Shape(length=options.window, **common)
    base = {"shape": asdict(shape), "weights": options.weights, "rounds": options.rounds}
    short, long = options.contexts
    figures: Facts = {"shape": asdict(shape), "weights": options.weights, "rounds": options.rounds}
    skipped: list[str] = []
    script = Path(__file__)
    lines: list[str] = []
    if "short" in options.parts:
        figures["short"] = measure(script, {**base, "what": "short", "context": short})
        lines += _short_lines(figures["short"], options.weights, short)
    if "long" in options.parts:
        window = long + max(512, long // 16)
        long_shape = Shape(length=window, **{**common, "more": {**common["more"], **settings_from(options.set_long)}})
        specification = {**base, "shape": asdict(long_shape), "what": "long", "contexts": [short, long]}
        figures["long"] = {"shape": asdict(long_shape), **measure(script, specification)}
        lines += ["", f"{'window of ' + str(window):30} {f'at {short}':>12} {f'at {long}':>12} {'ratio':>8}"]
        for name, row in figures["long"]["milliseconds"].items():
            at_short, at_long = row.get(str(short)), row[str(long)]
            lines.append(
                f"{name:30} {f'{at_short:.2f} ms' if at_short else '':>12} {at_long:9.2f} ms "
                f"{f'{at_long / at_short:.3f}' if at_short else '':>8}"
            )
    if "prefill" in options.parts:
        reading = measure(script, {**base, "what": "prefill", "count": options.prefill_tokens})
        (step,) = specifications([OURS], shape, extrapolated=()).values()
        trained = measure(script.with_name("training.py"), step)
        reading["training_tokens_per_second"] = shape.length / trained["seconds"]
        figures["prefill"] = reading
        ratio = reading["tokens_per_second"] / reading["training_tokens_per_second"]
        lines += [
            "",
            f"prefill of {options.prefill_tokens} tokens: {reading['tokens_per_second']:.0f} tokens/s, {ratio:.2f} x "
            f"the {reading['training_tokens_per_second']:.0f} tokens/s of training",
        ]
    if "writing" in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            write_model(Path(folder))
            figures["writing"] = measure(
                script, {**base, "what": "writing", "directory": folder, "context": 500, "count": options.write_tokens}
            )
            figures["first_character_seconds"] = first_character_seconds(Path(folder), options.processes)
        lines += ["", f"{figures['writing']['parameters']:,} parameters, after 500 tokens, sampling included"]
        lines += [f"{name:30} {rate:9.1f} tokens/s" for name, rate in figures["writing"]["tokens_per_second"].items()]
        taken = figures["first_character_seconds"]
        lines.append(
            f"korformer generate, start to first character: {statistics.median(taken):.2f} s "
            f"(median of {len(taken)}; the first {taken[0]:.2f} s)"
        )
    if set(options.parts) != {"short", "long", "prefill", "writing"} or len(options.weights) < len(BYTES):
        skipped.append("parts or weights that were not asked for")
    return figures, "\n".join(lines), skipped


def _short_lines(facts: Facts, weights: Sequence[str], context: int) -> list[str]:
    milliseconds = facts["milliseconds"]
    lines = [f"{f'context {context}':30} {'per token':>12} {'floor':>9} {'goal':>9}"]
    for name, value in milliseconds.items():
        kind = name.removeprefix("korformer ")
        bounds = ""
        if kind in facts["floor"]:
            floor = facts["floor"][kind]
            bounds = f"{floor:6.2f} ms {1.4 * floor + 3:6.2f} ms"
        lines.append(f"{name:30} {value:9.2f} ms {bounds}")
    for kind in weights:
        best = next(iter(facts["bandwidths"][kind].items()))
        lines.append(f"  {kind}: {best[0]} reads {best[1] / 1e9:.1f} GB/s")
    ours = milliseconds[f"korformer {weights[0]}"]
    return lines + [
        f"  {peer} takes {value / ours:.1f} x as long as korformer {weights[0]}"
        for peer, value in milliseconds.items()
        if not peer.startswith("korformer")
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, and write them where asked."""
    parser = arguments_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each system (default 5)")
    parser.add_argument("--weights", nargs="+", choices=list(BYTES), default=list(BYTES))
    parser.add_argument(
        "--parts", nargs="+", default=["short", "long", "prefill", "writing"], choices=list(MEASUREMENTS)
    )
    parser.add_argument("--contexts", type=int, nargs=2, default=[4096, 65536], help="short and long context")
    parser.add_argument("--window", type=int, default=5120, help="window of the model at the short context")
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--vocabulary", type=int, default=22000)
    parser.add_argument("--prefill-tokens", type=int, default=5000)
    parser.add_argument("--write-tokens", type=int, default=200, help="tokens that the small models write")
    parser.add_argument("--processes", type=int, default=5, help="processes of korformer generate")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of korformer's ModelConfig")
    parser.add_argument(
        "--set-long", action="append", default=[], metavar="NAME=VALUE", help="for the long window only"
    )
    return run_benchmark(parser, arguments, measurement, benchmark)


if __name__ == "__main__":
    sys.exit(main())
