"""Several processes: one prepares the data, the others receive it.

Only arrays of numbers travel, as plain tensors over the process group that torchrun set up: no
pickle, and no folder that all machines must share.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from collections.abc import Mapping

# Sent in pieces of this many bytes, so that a GPU never holds a whole data set.
_CHUNK_BYTES = 64 * 1024 * 1024


def is_main() -> bool:
    """Whether this process is the first of its group, or alone."""
    return not _is_grouped() or dist.get_rank() == 0


def broadcast_json(value: Any, device: torch.device) -> Any:
    """Gives every process what the first one has.

    Args:
        value: Anything that JSON holds; looked at in the first process only.
        device: The device of this process: NCCL sends from a GPU only.
    """
    if not _is_grouped():
        return value
    text = json.dumps(value).encode() if is_main() else b""
    array = broadcast_array(np.frombuffer(text, dtype=np.uint8), device)
    return json.loads(array.tobytes())


def broadcast_arrays(
    arrays: Mapping[str, np.ndarray] | None, device: torch.device
) -> dict[str, np.ndarray]:
    """Gives every process the arrays of the first one; the others pass None."""
    if not _is_grouped():
        return dict(arrays or {})
    names = broadcast_json(list(arrays or {}), device)
    return {
        name: broadcast_array(None if arrays is None else arrays[name], device) for name in names
    }


def broadcast_array(array: np.ndarray | None, device: torch.device) -> np.ndarray:
    """Gives every process one array of the first one, of any dtype and shape."""
    header = np.zeros(64, dtype=np.int64)
    if array is not None and is_main():
        kind = np.frombuffer(array.dtype.str.encode().ljust(8, b"\0"), dtype=np.int64)
        header[: 2 + array.ndim] = [kind[0], array.ndim, *array.shape]
    header = _broadcast_bytes(header.view(np.uint8), device).view(np.int64)
    dtype = np.dtype(header[:1].tobytes().rstrip(b"\0").decode())
    shape = tuple(int(size) for size in header[2 : 2 + int(header[1])])
    data = (
        np.ascontiguousarray(array) if array is not None and is_main() else np.empty(shape, dtype)
    )
    flat = _broadcast_bytes(data.reshape(-1).view(np.uint8), device)
    return flat.view(dtype).reshape(shape)


def _broadcast_bytes(data: np.ndarray, device: torch.device) -> np.ndarray:
    out = np.array(data, dtype=np.uint8, copy=True)
    for start in range(0, out.size, _CHUNK_BYTES):
        piece = torch.from_numpy(out[start : start + _CHUNK_BYTES])
        on_device = piece.to(device)
        dist.broadcast(on_device, src=0)
        piece.copy_(on_device)
    return out


def _is_grouped() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
