from collections.abc import Callable

import numpy as np
import pytest
import torch

from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.supervised.batches import collate
from korformer.supervised.task import Reader
from korformer.tasks.classify.solver import ClassifyExample, ClassifySettings, ClassifySolver
from korformer.text.records import Place
from korformer.text.vocabulary import Vocabulary


@pytest.mark.parametrize("causal", [False, True], ids=["encoder", "decoder"])
def test_the_head_reads_the_mean_of_a_windows_tokens(
    vocabulary: Vocabulary, shaped: Callable[..., ModelConfig], causal: bool
) -> None:
    reader = Reader(vocabulary=vocabulary, max_tokens=64)
    solver = ClassifySolver(ClassifySettings(), ["가", "나", "다"], reader)
    model = ReformerModel(shaped(causal=causal, segments=0), vocabulary.size, solver.heads)
    model.initialise(1)
    texts = ["바람이 센 날", "종을 울렸고 사람들은 천천히 걸었다."]
    place = Place(file="f", line=1)
    windows = solver.windows([ClassifyExample(place=place, text=text, labels=None) for text in texts])
    batch = collate(windows, share_rows=False)
    hidden_WLD = torch.randn(2, int(batch.lengths.max()), 16) * batch.mask_WL[..., None]
    with torch.no_grad():
        outputs = solver.outputs(model, hidden_WLD, batch)
        for number, window in enumerate(windows):
            expected = model.heads["classify"](hidden_WLD[number, : len(window)].mean(dim=0))
            np.testing.assert_allclose(outputs[number], expected.double().numpy(), rtol=1e-5, atol=1e-8)
    assert [output.shape for output in outputs] == [(3,), (3,)]
