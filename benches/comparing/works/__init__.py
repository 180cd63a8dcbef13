"""All works, in the order in which they are done."""

from ..work import Work
from .again import Again
from .link import Link
from .memory import Memory
from .one_table import Accounts, Lineitem
from .shop import Shop, ShopRestore
from .small import Small, SmallRestore
from .toast import Toast
from .tpch import Tpch, TpchRestore
from .verify import Verify

WORKS: dict[str, type[Work]] = {
    work.name: work
    for work in (Lineitem, Accounts, Tpch, TpchRestore, Small, SmallRestore, Toast, Link, Verify, Again, Memory, Shop, ShopRestore)
}
