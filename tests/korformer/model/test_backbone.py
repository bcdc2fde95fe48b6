import pytest
import torch
from model_variants import ALL, CHUNKED, ENCODERS, SMALL, VARIANTS, VOCABULARY, make
from reformer_pytorch import ReformerLM

from korformer.model.backbone import ReformerModel, TrainingDraw
from korformer.model.config import ModelConfig


def test_output_does_not_depend_on_the_future(model: ReformerModel, tokens: torch.Tensor) -> None:
    changed = tokens.clone()
    changed[:, 90:] = 7
    with torch.no_grad():
        whole, other, cut = (model.logits(model(x)) for x in (tokens, changed, tokens[:, :90]))
    assert whole.std() > 0.05
    assert torch.allclose(whole[:, :90], other[:, :90], atol=1e-5)
    assert torch.allclose(whole[:, :90], cut, atol=1e-5)
    assert not torch.allclose(whole[:, 90:], other[:, 90:], atol=1e-2)


@pytest.mark.parametrize("variant", ALL)
def test_documents_of_a_pack_do_not_see_each_other(variant: str, tokens: torch.Tensor) -> None:
    model = make(variant)
    documents = torch.tensor([[0] * 40 + [1] * 60 + [2] * 30 + [-1] * 20])
    positions = torch.tensor([[*range(40), *range(60), *range(30), *[0] * 20]])
    targets = torch.where(documents >= 0, tokens, -100)

    def losses(tokens: torch.Tensor) -> torch.Tensor:
        return model.token_losses(model(tokens, documents_BT=documents, positions_BT=positions), targets)

    before = losses(tokens)
    changed = tokens.clone()
    changed[:, 40:100] = torch.randint(5, VOCABULARY, (1, 60), generator=torch.Generator().manual_seed(9))
    after = losses(changed)
    assert torch.equal(before[:, :40], after[:, :40])
    assert torch.equal(before[:, 100:], after[:, 100:])
    assert not torch.allclose(before[:, 40:100], after[:, 40:100])
    if "lsh" not in model.config.layer_kinds:  # whose chunks hang on where a document stands in its pack
        alone = model.token_losses(model(tokens[:, 40:100]), tokens[:, 40:100])
        assert torch.allclose(before[:, 40:100], alone, atol=1e-5)
    assert before[:, 130:].eq(0).all()


def test_every_parameter_gets_a_gradient(model: ReformerModel, tokens: torch.Tensor) -> None:
    mean, _ = model.loss(model(tokens), tokens.roll(-1, 1))
    mean.backward()  # type: ignore[no-untyped-call]
    without = [name for name, p in model.lm.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # The rows of tokens that do not occur are untouched only where the output is not tied to them.
    assert without == []


def test_gradient_is_the_same_at_every_run(tokens: torch.Tensor) -> None:
    def gradient() -> list[torch.Tensor]:
        model = make("mixed heads, axial")
        model.loss(model(tokens), tokens.roll(-1, 1))[0].backward()  # type: ignore[no-untyped-call]
        return [p.grad for p in model.lm.parameters() if p.grad is not None]

    assert all(torch.equal(one, other) for one, other in zip(gradient(), gradient(), strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_go_into_reformer_pytorch(variant: str) -> None:
    """The parameter names are its own, whatever the configuration."""
    model = make(variant)
    config = model.config
    theirs = ReformerLM(
        num_tokens=VOCABULARY, dim=config.dim, depth=config.depth, max_seq_len=config.max_seq_len, heads=config.heads,
        dim_head=config.head_width, bucket_size=config.bucket_size, n_hashes=config.n_hashes, causal=True, ff_chunks=1,
        weight_tie=config.weight_tie, weight_tie_embedding=config.weight_tie_embedding, emb_dim=config.emb_dim,
        ff_glu=config.ff_glu, ff_mult=config.ff_mult, use_rezero=config.use_rezero,
        use_scale_norm=config.use_scale_norm, one_value_head=config.one_value_head,
        n_local_attn_heads=config.n_local_attn_heads, axial_position_emb=config.axial_position_emb,
        axial_position_shape=config.axial_shape, absolute_position_emb=config.absolute_position_emb,
        fixed_position_emb=config.fixed_position_emb,
    )  # fmt: skip
    if not config.final_norm:
        theirs.norm = torch.nn.Identity()
    assert {n: p.shape for n, p in model.lm.named_parameters()} == {n: p.shape for n, p in theirs.named_parameters()}


def test_training_rotations_are_keyed(tokens: torch.Tensor) -> None:
    model = make("hashed heads, rotary")
    batch = tokens.expand(3, -1)

    def run(samples: range, step: int = 4) -> torch.Tensor:
        draw = TrainingDraw(seed=1, step=step, samples=samples)
        with torch.no_grad():
            return model(batch[: len(samples)], draw=draw)

    whole = run(range(3))
    assert torch.allclose(whole[1:], run(range(1, 3)), atol=1e-5)
    assert not torch.allclose(whole[0], whole[1], atol=1e-3)
    assert not torch.allclose(whole, run(range(3), step=5), atol=1e-3)


def test_without_rehash_training_uses_the_rotations_of_evaluation(tokens: torch.Tensor) -> None:
    model = ReformerModel(ModelConfig(**SMALL, rehash=False), VOCABULARY)  # type: ignore[arg-type]
    model.initialise(0)
    with torch.no_grad():
        assert torch.equal(model(tokens), model(tokens, draw=TrainingDraw(seed=1, step=4, samples=range(1))))


def test_initial_weights_are_a_function_of_the_seed() -> None:
    one, same, other = (ReformerModel(ModelConfig(**SMALL), VOCABULARY) for _ in range(3))  # type: ignore[arg-type]
    for model, seed in ((one, 5), (same, 5), (other, 6)):
        model.initialise(seed)
    for (name, a), b, c in zip(one.lm.named_parameters(), same.lm.parameters(), other.lm.parameters(), strict=True):
        assert torch.equal(a, b), name
        assert a.dim() < 2 or not torch.equal(a, c), name


@pytest.mark.parametrize("variant", [*CHUNKED, *ENCODERS])
def test_padding_changes_nothing(variant: str, tokens: torch.Tensor) -> None:
    """Tokens after the end of a text are no text, whatever they are."""
    model = make(variant)
    documents = torch.tensor([[0] * 130 + [-1] * 20])
    changed = tokens.clone()
    changed[:, 130:] = 5
    with torch.no_grad():
        one, other = (model(x, documents_BT=documents)[:, :130] for x in (tokens, changed))
    assert torch.equal(one, other)


@pytest.mark.parametrize("variant", ENCODERS)
def test_an_encoder_sees_both_sides(variant: str, tokens: torch.Tensor) -> None:
    model = make(variant)
    changed = tokens.clone()
    changed[:, 100] = (changed[:, 100] + 1) % VOCABULARY
    with torch.no_grad():
        moved = (model(tokens) - model(changed)).abs().amax(dim=-1)[0]
    assert not model.strictly_causal
    assert moved[:100].max() > 1e-3
    assert moved[101:].max() > 1e-3


def test_chunked_hashing_is_not_called_strictly_causal() -> None:
    assert [make(variant).strictly_causal for variant in CHUNKED] == [False] * len(CHUNKED)
    assert all(make(variant).strictly_causal for variant in VARIANTS)
