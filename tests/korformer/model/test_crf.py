"""The conditional random field against its definition: every sequence of tags written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from korformer.model.crf import FORBIDDEN, TagTransitions, best_tags
from korformer.model.heads import HeadSpec, make_head

TAGS = 3


@pytest.fixture
def crf() -> TagTransitions:
    made = make_head(HeadSpec(reads="tags", outputs=TAGS), 8)
    assert isinstance(made, TagTransitions)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(parameter.numel()))
    return made.double()


def score(crf: TagTransitions, emissions_TK: torch.Tensor, tags: tuple[int, ...]) -> torch.Tensor:
    """The definition."""
    total = crf.start_K[tags[0]] + crf.end_K[tags[-1]]
    total = total + sum(emissions_TK[place, tag] for place, tag in enumerate(tags))
    return total + sum(crf.transitions_KK[one, other] for one, other in itertools.pairwise(tags))


@pytest.mark.parametrize("length", [1, 2, 5])
def test_probabilities_are_those_of_all_sequences_written_out(crf: TagTransitions, length: int) -> None:
    emissions = torch.randn(length, TAGS, generator=torch.Generator().manual_seed(length)).float()
    every = list(itertools.product(range(TAGS), repeat=length))
    log_sum = torch.logsumexp(torch.stack([score(crf, emissions, tags) for tags in every]), dim=0)
    expected = [float((score(crf, emissions, tags) - log_sum).detach()) for tags in every]
    found = crf.log_likelihood(
        emissions.expand(len(every), -1, -1), torch.tensor(every), torch.full((len(every),), length)
    )
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    assert float(found.exp().sum().detach()) == pytest.approx(1.0, abs=1e-6)
    best = best_tags(
        emissions.numpy(), *(parameter.detach().numpy() for parameter in (crf.transitions_KK, crf.start_K, crf.end_K))
    )
    assert tuple(best) == every[int(np.argmax(expected))]


def test_what_lies_beyond_a_sequences_end_does_not_matter(crf: TagTransitions) -> None:
    emissions = torch.randn(2, 6, TAGS, generator=torch.Generator().manual_seed(0))
    tags = torch.tensor([[0, 1, 2, 1, 0, 2], [2, 2, 0, 0, 0, 0]])
    lengths = torch.tensor([6, 3])
    together = crf.log_likelihood(emissions, tags, lengths)
    other_end = emissions.clone()
    other_end[1, 3:] = 1e3
    other_tags = tags.clone()
    other_tags[1, 3:] = -100
    assert torch.equal(crf.log_likelihood(other_end, other_tags, lengths), together)
    alone = crf.log_likelihood(emissions[1:, :3], tags[1:, :3], lengths[1:])
    assert float(alone[0].detach()) == pytest.approx(float(together[1].detach()), abs=1e-6)


def test_gradients_are_those_of_differences(crf: TagTransitions) -> None:
    emissions = torch.randn(2, 4, TAGS, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    tags, lengths = torch.tensor([[0, 1, 2, 1], [2, 2, 0, 0]]), torch.tensor([4, 2])
    # In float64 throughout, past the conversion that training wants.
    emissions.requires_grad_()
    whole = lambda *_: (crf._score(emissions, tags, lengths) - crf._log_sum(emissions, lengths)).sum()  # noqa: E731
    parameters = (emissions, crf.transitions_KK, crf.start_K, crf.end_K)
    assert torch.autograd.gradcheck(whole, parameters)


def test_a_new_one_prefers_nothing() -> None:
    crf = TagTransitions(HeadSpec(reads="tags", outputs=TAGS), 8)
    with torch.no_grad():
        crf.start_K.fill_(3.0)
    crf.reset()
    emissions = torch.randn(1, 3, TAGS, generator=torch.Generator().manual_seed(1))
    by_itself = emissions.log_softmax(dim=-1)[0, range(3), [2, 0, 1]].sum()
    found = crf.log_likelihood(emissions, torch.tensor([[2, 0, 1]]), torch.tensor([3]))
    assert float(found[0].detach()) == pytest.approx(float(by_itself), abs=1e-6)


def test_what_is_forbidden_does_not_come() -> None:
    emissions = np.array([[0.0, 5.0, 9.0], [0.0, 1.0, 9.0], [0.0, 0.0, 9.0]], dtype=np.float32)
    transitions = np.zeros((3, 3), dtype=np.float32)
    transitions[0, 2] = FORBIDDEN
    start = np.array([0.0, 0.0, FORBIDDEN], dtype=np.float32)
    tags = best_tags(emissions, transitions, start, np.zeros(3, dtype=np.float32))
    assert tags == [1, 2, 2]


def test_a_sequence_without_places_is_certain_and_changes_nothing(crf: TagTransitions) -> None:
    emissions = torch.randn(2, 4, TAGS, generator=torch.Generator().manual_seed(0)).requires_grad_()
    tags = torch.tensor([[0, 1, 2, 1], [-100] * 4])
    found = crf.log_likelihood(emissions, tags, torch.tensor([4, 0]))
    assert found[1].item() == 0.0
    alone = crf.log_likelihood(emissions[:1], tags[:1], torch.tensor([4]))
    assert torch.equal(found[:1], alone)
    found.sum().backward()
    assert emissions.grad is not None
    assert not emissions.grad[1].any()
    assert crf.end_K.grad is not None
    assert crf.end_K.grad.isfinite().all()
