"""`korformer import`: a checkpoint of an older project on reformer-pytorch, as a model directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from korformer.errors import UsageError


def command(
    checkpoint: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="What torch.save wrote: .pth, .pt or .bin.", show_default=False),
    ],
    vocab: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder with the vocabulary that it was trained with; vocab.txt is enough."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="New folder for the model.")],
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="model.KEY=VALUE", help="What the weights do not tell, such as model.heads; repeat."
        ),
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option(help="Which model, where the file holds several: what stands before token_emb.weight."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings on stderr.")] = False,
) -> None:
    """Turn a checkpoint of an older project on reformer-pytorch (1.1.3 and later) into a model directory.

    Nothing but tensors is read from FILE. Their shapes tell most settings; heads, causal and sometimes others
    have to be said with --set, and the message names them.
    """
    from korformer.commands.console import reporting
    from korformer.config import parse_assignments
    from korformer.events import Notice
    from korformer.model.importer import ASSUMED, import_checkpoint, read_checkpoint, write_imported
    from korformer.storage import check_writable
    from korformer.text.vocabulary import Vocabulary

    given = parse_assignments(assignments or [])
    settings = given.pop("model", {})
    if given or not isinstance(settings, dict):
        raise UsageError("only keys of the section model can be set here", where="--set", hint="As in model.heads=12.")
    check_writable(output)
    with reporting(quiet=quiet) as listen:
        weights = read_checkpoint(checkpoint, prefix=prefix)
        vocabulary = Vocabulary.load(vocab)
        model = import_checkpoint(weights, settings)
        write_imported(output, model, vocabulary, source=checkpoint.name)
        if weights.left_out:
            listen(Notice(text=f"left out, not of the language model: {', '.join(weights.left_out)}"))
        assumed = ", ".join(f"{key} = {value}" for key, value in ASSUMED.items() if key not in settings)
        if assumed:
            listen(Notice(text=f"not to be seen in the weights, taken as reformer-pytorch's default: {assumed}"))
    typer.echo(output)
