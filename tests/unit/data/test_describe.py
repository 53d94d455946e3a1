import hashlib

import torch

from ssr_hydra.data.describe import describe_tensors


def test_description_is_the_hash_of_types_shapes_and_bytes():
    x = torch.arange(4, dtype=torch.int64).reshape(2, 2)
    raw = b"torch.int64 (2, 2)\n" + b"".join(k.to_bytes(8, "little") for k in range(4))
    assert describe_tensors("x", [x]) == {"name": "x", "samples": 2, "sha256": hashlib.sha256(raw).hexdigest()}


def test_different_content_has_a_different_hash():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    contents = [x, x + torch.tensor([[0, 0], [0, 1]]), x.double(), x.flatten(), x.T]
    assert len({describe_tensors("x", [content])["sha256"] for content in contents}) == 5


def test_tensors_of_any_memory_format_and_dtype_can_be_described():
    x = torch.randn(3, 4, 5)
    turned = x.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert not turned.is_contiguous()
    assert describe_tensors("x", [x]) == describe_tensors("x", [turned])
    assert describe_tensors("x", [x.bfloat16()])["samples"] == 3
    assert describe_tensors("x", [torch.zeros(2, 0)])["samples"] == 2
