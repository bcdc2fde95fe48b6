import torch
from reformer_pytorch.reformer_pytorch import ReformerLM, apply_rotary_pos_emb

from korformer.model.positions import look_up, position_table, rotate


def test_tables_hold_what_reformer_pytorch_adds() -> None:
    for kind in ("axial", "absolute", "fixed"):
        lm = ReformerLM(
            num_tokens=9, dim=8, depth=1, heads=1, dim_head=8, max_seq_len=32, bucket_size=4,
            **{f"{kind}_position_emb": True},
        )  # fmt: skip
        x = torch.zeros(1, 21, 8)
        table = position_table(lm.pos_emb, 21)
        assert table is not None
        assert torch.allclose(table, lm.pos_emb(x).reshape(21, 8), atol=1e-6)
        assert position_table(lm.layer_pos_emb, 21) is None


def test_rotation_is_that_of_reformer_pytorch() -> None:
    lm = ReformerLM(num_tokens=9, dim=8, depth=1, heads=1, dim_head=6, max_seq_len=32, bucket_size=4)
    qk = torch.randn(2, 10, 6)
    table = position_table(lm.layer_pos_emb, 32)
    assert table is not None
    angles = look_up(table, torch.arange(10)[None])
    theirs = apply_rotary_pos_emb(qk, lm.layer_pos_emb(torch.zeros(1, 10, 8)))
    assert torch.allclose(rotate(qk[:, None], angles)[:, 0], theirs, atol=1e-6)
    assert position_table(lm.pos_emb, 32) is None
