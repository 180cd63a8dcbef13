"""How large each database is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Sizes of the works' databases, and of the server's shared buffers, which hold the largest of them."""

    scale: float
    accounts_scale: int
    n_small: int
    toast_mb: int
    link_mb: int
    wide_mb: int
    shop_mb: int
    shared_buffers_mb: int


def sizes(scale: float, is_quick: bool) -> Sizes:
    """The sizes of a measurement, or of a try of a few seconds."""
    if is_quick:
        return Sizes(scale, accounts_scale=1, n_small=100, toast_mb=64, link_mb=4, wide_mb=16, shop_mb=1, shared_buffers_mb=128)
    return Sizes(scale, accounts_scale=80, n_small=20_000, toast_mb=2048, link_mb=500, wide_mb=100, shop_mb=500, shared_buffers_mb=4096)
