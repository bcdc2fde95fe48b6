import pytest
import torch
from model_variants import VARIANTS, VOCABULARY, make

from korformer.model.backbone import ReformerModel


@pytest.fixture(params=VARIANTS)
def model(request: pytest.FixtureRequest) -> ReformerModel:
    return make(request.param)


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(5, VOCABULARY, (1, 150), generator=torch.Generator().manual_seed(0))
