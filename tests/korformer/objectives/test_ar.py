import math

import numpy as np
import torch

from korformer.data.packing import Packs
from korformer.model.backbone import ReformerModel, TrainingDraw
from korformer.model.config import ModelConfig
from korformer.objectives.ar import OBJECTIVE, ArSettings


def test_loss_is_the_mean_over_tokens_with_a_next_one() -> None:
    model = ReformerModel(ModelConfig(dim=16, depth=1, heads=2, max_seq_len=32, bucket_size=4), 20)
    model.initialise(0)
    tokens = np.array([[2, 7, 8, 3, 2, 9, 3, 0]])
    targets = np.array([[7, 8, 3, -100, 9, 3, -100, -100]])
    packs = Packs(
        tokens=tokens,
        targets=targets,
        documents=np.array([[0, 0, 0, 0, 1, 1, 1, -1]], dtype=np.int32),
        positions=np.array([[0, 1, 2, 3, 0, 1, 2, 0]], dtype=np.int32),
    )
    draw = TrainingDraw(seed=0, step=1, samples=range(1))
    batch = OBJECTIVE.loss(model, packs, ArSettings(), draw)
    assert batch.predicted == OBJECTIVE.predicted(packs) == 5
    with torch.no_grad():
        hidden = model(
            torch.from_numpy(tokens),
            documents_BT=torch.from_numpy(packs.documents),
            positions_BT=torch.from_numpy(packs.positions).long(),
            draw=draw,
        )
        each = -torch.log_softmax(model.logits(hidden), dim=-1)[0]
    expected = sum(float(each[t, target]) for t, target in enumerate(targets[0]) if target >= 0) / 5
    assert math.isclose(float(batch.mean.detach()), expected, rel_tol=1e-5)
