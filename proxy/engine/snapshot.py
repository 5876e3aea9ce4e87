"""Everything the engine is configured with, immutable, swapped whole by SnapshotChanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config.schema import Config
    from policies.catalog import Catalog


class Snapshot:
    """Settings and catalog that were loaded together."""

    __slots__ = ("catalog", "config")

    def __init__(self, config: Config, catalog: Catalog) -> None:
        self.config = config
        self.catalog = catalog
