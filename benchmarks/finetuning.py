"""What do the tasks reach on little data, with a pretrained encoder and without?

    python benchmarks/finetuning.py --data TASKS --model ENCODER --decoder DECODER --out RUNS [ROW…] [--seeds 3]
        [--examples 2000] [--budget-tokens N] [--output benchmarks/results/finetuning.json]

A row is a task and a system, `nsmc/pretrained`; without ROW all of them. A task alone (`nsmc`) is its rows. Every run
is kept under --out: what was stopped goes on, what is finished is not run again, and rows can be run one by one. The
table has what is there; figures are written with --output once every row is there.

    pretrained   the encoder
    scratch      its shape and vocabulary, new weights
    decoder      nsmc and korsts only, where a whole text has one answer: the pretrained decoder, of any shape
    dense        transformers' BERT of the same width, depth and heads, new weights, windows of 512 tokens
    svm          nsmc only: linear SVM on TF-IDF of characters 1-4-grams, on the same examples
    svm-all      the same on all training data
    windows      longqa only: the models of `pretrained` reading windows of 512 tokens instead of the whole document

Questions about long articles are learnt by models that have learnt korquad, pretrained and scratch alike; dense, whose
windows are as long as korquad's, is not: it begins with new weights.

All neural rows of a task have the same training examples (a fixed random choice of at most --examples), budget of
tokens, batch and validation examples, for each seed, and train in bf16. The Reformers have the learning rate that
korformer gives their weights, dense the one that suits it. The model of the last step is measured: nothing is chosen on
the validation data. The data are KorQuAD 1.0, questions of KorQuAD 2.1 on long articles (longqa), NSMC, KLUE-NER,
KMOU-NER and KorSTS, in files named as in `DATA`; splits other than the test side of NSMC are not the official ones, and
figures are not comparable with published ones.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dense_bert import DenseBert
from measuring import Facts, environment

from korformer import tasks
from korformer.config import build, merge
from korformer.errors import InterruptedRun
from korformer.evaluation.report import EvalRequest
from korformer.events import Event, Notice, Step, Validation
from korformer.finetuning.results import Results
from korformer.finetuning.runs import finetune_course
from korformer.finetuning.settings import FinetuneSettings, finetune_settings
from korformer.model.directory import LoadedModel, load_model
from korformer.storage import write_json
from korformer.supervised.course import CourseRequest, SupervisedCourse
from korformer.supervised.selection import chosen_examples

DENSE_TOKENS = 512
DENSE_RATE = 2e-4
"""Of 2e-4, 5e-4 and 1e-3 the one at which it learns most of kmou-ner without pretraining."""
SHORT_WINDOW = 512
NEURAL = ("pretrained", "scratch", "dense")
OTHER = ("decoder", "svm", "svm-all")
EPOCHS = 10.0
NEVER = 10**9


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """A task of the table.

    Attributes:
        task: korformer's name.
        train, valid: files.
        figures: names of what the table has, in their order.
        budget: tokens of a run, padding apart.
        batch: examples of a step.
        section: settings of the task.
        after: the task that the Reformers learn first; they begin with the best of its seeds.
        more: rows beside the neural ones.
        hundred: the figures are percentages already, as KorQuAD's official script gives them.
    """

    task: str
    train: str
    valid: str
    figures: tuple[str, ...]
    budget: int = 300_000
    batch: int = 16
    section: Mapping[str, Any] = field(default_factory=dict)
    after: str | None = None
    more: tuple[str, ...] = ()
    hundred: bool = False


DATA = {
    "korquad": TaskData(
        task="korquad",
        train="korquad-v1-train.json.xz",
        valid="korquad-v1-valid.json.xz",
        figures=("f1", "exact_match"),
        budget=1_000_000,
        batch=4,
        hundred=True,
    ),
    "longqa": TaskData(
        task="korquad",
        train="longqa-train.json.xz",
        valid="longqa-valid.json.xz",
        figures=("f1", "exact_match"),
        budget=1_000_000,
        batch=1,
        after="korquad",
        more=("windows",),
        hundred=True,
    ),
    "nsmc": TaskData(
        task="classify",
        train="nsmc-train.tsv.xz",
        valid="nsmc-test.tsv.xz",
        figures=("accuracy",),
        section={"empty": "keep"},
        more=("decoder", "svm", "svm-all"),
    ),
    "klue-ner": TaskData(
        task="ner", train="klue-ner-train.tsv.xz", valid="klue-ner-valid.tsv.xz", figures=("entity_f1", "character_f1")
    ),
    "kmou-ner": TaskData(
        task="ner",
        train="kmou-ner-train.jsonl.xz",
        valid="kmou-ner-valid.jsonl.xz",
        figures=("entity_f1", "character_f1"),
    ),
    "korsts": TaskData(
        task="pair",
        train="korsts-train.tsv.xz",
        valid="korsts-dev.tsv.xz",
        figures=("spearman", "pearson"),
        more=("decoder",),
    ),
}


def all_rows() -> list[str]:
    """Every row of the table."""
    return [f"{name}/{system}" for name, data in DATA.items() for system in (*NEURAL, *data.more)]


def chosen_rows(wanted: Sequence[str]) -> list[str]:
    """The rows that are asked for, in the order of the table; a task stands for its rows.

    Raises:
        SystemExit: there is no such row.
    """
    rows = all_rows()
    unknown = [name for name in wanted if name not in rows and name not in DATA]
    if unknown:
        raise SystemExit(f"no such row: {', '.join(unknown)}; there are: {', '.join(rows)}")
    return [row for row in rows if not wanted or row in wanted or row.split("/")[0] in wanted]


def is_trained(system: str) -> bool:
    """Whether a row has runs of fine-tuning of its own."""
    return system in (*NEURAL, "decoder")


def begun_with(options: argparse.Namespace, row: str) -> Path | None:
    """The checkpoint that a neural row begins with; None for new weights."""
    name, system = row.split("/")
    first: str | None = DATA[name].after
    if first is not None and system in ("pretrained", "scratch"):
        return Path(options.out, first, system)
    checkpoint: Path | None = {"pretrained": options.model, "decoder": options.decoder}.get(system)
    return checkpoint


def settings_of(options: argparse.Namespace, row: str, base: LoadedModel) -> FinetuneSettings:
    """The settings of a neural row."""
    name, system = row.split("/")
    data = DATA[name]
    shape = base.model.config
    window = min(DENSE_TOKENS, shape.max_seq_len) if system == "dense" else None
    values = {
        "data": {"max_train": options.examples, "max_valid": options.valid_examples},
        "training": {
            "epochs": EPOCHS,
            "budget_tokens": options.budget_tokens or data.budget,
            "batch_size": data.batch,
            "learning_rate": options.learning_rate or (DENSE_RATE if system == "dense" else None),
            "eval_every": NEVER,
            "precision": "bf16",
        },
        data.task: dict(data.section),
    }
    if window is not None:
        values = merge(values, {"data": {"max_tokens": window}, "training": {"reversible": "never"}})
    return finetune_settings(data.task, values, base=str(begun_with(options, row) or ""), shape=shape)


def run_neural(options: argparse.Namespace, row: str, base: LoadedModel) -> Results:
    """All seeds of a row; finished ones are taken as they are."""
    name, system = row.split("/")
    data = DATA[name]
    settings = settings_of(options, row, base)
    files = {"training": [str(options.data / data.train)], "validation": [str(options.data / data.valid)]}
    course = tasks.trainable(data.task).course(
        CourseRequest(
            model=settings.model,
            vocabulary=base.vocabulary,
            base=base if begun_with(options, row) else None,
            train=files["training"],
            valid=files["validation"],
            task=settings.task_settings,
            data=settings.data,
            training=settings.training,
        ),
        heard,
    )
    assert isinstance(course, SupervisedCourse)
    if system == "dense":
        model: Any = DenseBert(settings.model, base.vocabulary.size, course.solver.heads)
        course.model = course.module = model
    return finetune_course(
        course, settings, base.vocabulary, files, options.out / name / system, seeds=options.seeds, listen=heard
    )


def heard(event: Event) -> None:
    """What a person watches, now and then."""
    if isinstance(event, Step) and (event.step % 50 == 0 or event.step in (1, event.steps)):
        left = f"{event.tokens_per_second:,.0f} tokens/s, {event.seconds_left:,.0f} s left"
        print(f"  step {event.step}/{event.steps}: loss {event.average_loss:.3f}, {left}", file=sys.stderr)
    elif isinstance(event, Validation):
        shown = ", ".join(f"{name} {value:.4g}" for name, value in event.metrics.items())
        print(f"  step {event.step}: {shown}", file=sys.stderr)
    elif isinstance(event, Notice):
        print(f"  {event.text}", file=sys.stderr)


def run_svm(options: argparse.Namespace, row: str, base: LoadedModel) -> None:
    """A linear SVM on characters, on the examples of the other rows or on all; its figures go into its folder."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    name, system = row.split("/")
    place = options.out / name / f"{system}.json"
    if place.exists():
        return
    data = DATA[name]
    trainable = tasks.trainable("classify")
    settings = build(trainable.settings, dict(data.section))
    read: Any = trainable
    train = read.read([str(options.data / data.train)], settings)
    valid = chosen_examples(read.read([str(options.data / data.valid)], settings), options.valid_examples)
    if system == "svm":
        train = chosen_examples(train, options.examples)
    began = time.monotonic()
    machine = make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(1, 4), sublinear_tf=True), LinearSVC(C=0.5, random_state=0)
    )
    machine.fit([example.text for example in train], [example.labels[0] for example in train])
    given = machine.predict([example.text for example in valid])
    gold = [example.labels[0] for example in valid]
    right = sum(one == other for one, other in zip(gold, given, strict=True))
    facts = {
        "accuracy": right / len(gold),
        "majority": max(gold.count(label) for label in set(gold)) / len(gold),
        "training_examples": len(train),
        "seconds": round(time.monotonic() - began, 1),
    }
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(place, facts)


def run_windows(options: argparse.Namespace, row: str, base: LoadedModel) -> None:
    """The models of `pretrained` on whole documents and on windows of 512 tokens: F1 and questions per second."""
    name, system = row.split("/")
    place = options.out / name / f"{system}.json"
    if place.exists():
        return
    runs = sorted((options.out / name / "pretrained").glob("seed-*")) or [options.out / name / "pretrained"]
    if not all((run / "results.json").exists() for run in runs):
        print(f"{row}: needs {name}/pretrained first", file=sys.stderr)
        return
    data = DATA[name]
    facts: Facts = {"window": min(SHORT_WINDOW, base.model.config.max_seq_len), "whole": [], "windows": []}
    for run in runs:
        for kind, window in (("whole", None), ("windows", facts["window"])):
            request = EvalRequest(
                checkpoint=run, data=[str(options.data / data.valid)], window=window, resamples=0, worst=0
            )
            metrics = tasks.load(data.task).evaluate(request, lambda _: None).metrics
            kept = (*data.figures, "examples", "examples_per_second")
            facts[kind].append({figure: metrics[figure] for figure in kept if figure in metrics})
    write_json(place, facts)


def run_rows(options: argparse.Namespace, rows: Sequence[str]) -> None:
    """Run what is not there yet.

    Raises:
        InterruptedRun: a signal came; what was running is saved.
    """
    encoder = load_model(options.model)
    runners = {"svm": run_svm, "svm-all": run_svm, "windows": run_windows}
    for row in rows:
        print(row, file=sys.stderr, flush=True)
        checkpoint = begun_with(options, row)
        base = encoder if checkpoint in (None, options.model) else load_model(checkpoint)
        runners.get(row.split("/")[1], run_neural)(options, row, base)


def measured(options: argparse.Namespace, row: str) -> Facts | None:
    """What a row came to; None where it is not there."""
    name, system = row.split("/")
    place = options.out / name / (f"{system}/results.json" if is_trained(system) else f"{system}.json")
    if not place.exists():
        return None
    facts: Facts = json.loads(place.read_text(encoding="utf-8"))
    if is_trained(system) and "seeds" not in facts:  # of one seed
        facts = {"seeds": [facts], "mean": facts["metrics"], "deviation": {}}
    return facts


def cell(facts: Facts | None, data: TaskData) -> str:
    """Means and deviations of a row as percentages."""
    if facts is None:
        return "-"

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{value * (1 if data.hundred else 100):.1f}"

    shown = []
    for figure in data.figures:
        deviation = facts.get("deviation", {}).get(figure)
        mean = percent(facts.get("mean", facts).get(figure))
        shown.append(mean if deviation is None else f"{mean} ± {percent(deviation)}")
    return " / ".join(shown)


def table(rows: Mapping[str, Facts | None]) -> str:
    """Every task with every system, as Markdown.

    Args:
        rows: what each of `all_rows` came to; None where it is not there.
    """
    head = ("task", "figures, %", *NEURAL, "decoder", "linear SVM", "linear SVM, all data")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, data in DATA.items():
        cells = [cell(rows[f"{name}/{system}"], data) for system in NEURAL]
        cells += [cell(rows[f"{name}/{system}"], data) if system in data.more else "" for system in OTHER]
        lines.append("| " + " | ".join([name, " / ".join(data.figures), *cells]) + " |")
    windows = rows["longqa/windows"]
    if windows is not None:
        figures = ("f1", "exact_match", "examples_per_second")
        lines += ["", "| longqa | F1 | exact match | questions/s |\n|---|---:|---:|---:|"]
        for kind, shown in (("whole", "whole documents"), ("windows", f"windows of {windows['window']} tokens")):
            f1, exact, pace = (statistics.fmean(one[name] for one in windows[kind]) for name in figures)
            lines.append(f"| {shown} | {f1:.1f} | {exact:.1f} | {pace:.2f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows that are asked for, and print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="task or task/system; all without one")
    folder = os.environ.get("KORFORMER_DATA")
    parser.add_argument("--data", type=Path, default=Path(folder) / "tasks" if folder else None, required=not folder)
    parser.add_argument("--model", type=Path, required=True, help="the pretrained encoder")
    parser.add_argument("--decoder", type=Path, required=True, help="the pretrained decoder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=2000, help="most training examples of a task")
    parser.add_argument("--valid-examples", type=int, default=1000, help="most examples that are measured")
    parser.add_argument("--budget-tokens", type=int, help="tokens of every run instead of each task's own number")
    parser.add_argument("--learning-rate", type=float, help="of every run instead of the one that suits its weights")
    parser.add_argument("--only-table", action="store_true", help="run nothing")
    parser.add_argument("--output", type=Path, help="write the figures here as JSON")
    options = parser.parse_args(arguments)
    rows = chosen_rows(options.rows)
    if not options.only_table:
        try:
            run_rows(options, rows)
        except InterruptedRun as error:
            print(error, file=sys.stderr)
            return error.exit_code
    figures = {row: measured(options, row) for row in all_rows()}
    print(table(figures))
    missing = [row for row, facts in figures.items() if facts is None]
    if missing:
        print(f"not there yet: {', '.join(missing)}", file=sys.stderr)
    if options.output is not None:
        if missing:
            print("nothing is written", file=sys.stderr)
            return 1
        asked = {
            key: str(value)
            for key, value in vars(options).items()
            if key not in ("rows", "data", "model", "decoder", "out", "only_table", "output")
        }
        models = {"pretrained": options.model.name, "decoder": options.decoder.name}
        facts = {"models": models, "options": asked, "environment": environment(), "rows": figures}
        options.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.output, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
