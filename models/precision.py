"""In what numbers a model computes: where bf16 pays is asked of the device, never assumed."""

import torch

_AMPERE = (8, 0)  # the first GPUs with units for bf16


def mixed(precision: str, device: torch.device) -> bool:
    """Whether to compute in bf16, weights and sums of gradients staying float32.

    "auto" does where the device has units for such products: a CPU with AMX, a GPU since Ampere.
    Without them bf16 is slower than float32 (tests/bench/NEGATIVE.md).
    """
    return precision == "bf16" or (precision == "auto" and has_units(device))


def has_units(device: torch.device) -> bool:
    """Whether a device multiplies matrices of bf16 in units of their own."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= _AMPERE
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16", False))
