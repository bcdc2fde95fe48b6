"""Compiles the Triton kernels for GPUs that need not be there and prints the matrix instructions used, as JSON."""

from __future__ import annotations

import json
import sys

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from korformer.model.attention import triton_kernels
from korformer.model.attention.triton_banded import tiles_for

KERNELS = ("forward_kernel", "query_kernel", "key_kernel", "correction_kernel")
TARGETS = {"8.0": 80, "9.0": 90}
INDICES, WIDE = ("order", "lower"), ("lse", "delta", "out_so_far", "dq_so_far", "dk_so_far", "dv_so_far")
ROWS = ("q", "k", "v", "grad", "out", "dq", "dk", "dv")


def compiled(name: str, capability: int, d: int) -> str:
    """PTX of a kernel for bfloat16 rows of width `d`."""
    kernel = getattr(triton_kernels, name)
    tiles = tiles_for(torch.bfloat16)
    keys_held = name == "key_kernel"
    constants = {
        "d": d,
        "width": d,
        "BLOCK_Q": tiles.walked if keys_held else tiles.held,
        "BLOCK_K": tiles.held if keys_held else tiles.walked,
        "MOST_TILES": 4,
        "ordered": True,
        "first": False,
        "precision": "ieee",
    }
    kinds = dict.fromkeys(INDICES, "*i32") | dict.fromkeys(WIDE, "*fp32") | dict.fromkeys(ROWS, "*bf16")
    kinds |= dict.fromkeys(constants, "constexpr") | {"scale": "fp32"}
    source = ASTSource(
        fn=kernel,
        signature={parameter: kinds.get(parameter, "i32") for parameter in kernel.arg_names},
        constexprs={key: value for key, value in constants.items() if key in kernel.arg_names},
    )
    options = {"num_warps": tiles.warps, "num_stages": tiles.stages}
    ptx: str = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm["ptx"]
    return ptx


def main() -> None:
    found = {
        f"{name} {target}": [word for word in ("wgmma", "mma.sync") if word in compiled(name, capability, 64)]
        for name in KERNELS
        for target, capability in TARGETS.items()
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
