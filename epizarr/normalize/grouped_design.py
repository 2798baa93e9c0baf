"""A regression's design matrix for rows in groups, never built: sums over rows become sums over groups."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

#: Rows per block of the sums over rows: a few arrays of this length stay in the processor's cache.
_BLOCK_ROWS = 2**16


@dataclass(frozen=True)
class GroupedDesign:
    """The design matrix of rows that come in groups with common columns, without building it.

    Row r of group g is ``[table[g], columns[:, r]]``. Contacts have a column or more for distance, equal for all pairs of a
    diagonal, and few columns that differ from pair to pair: sums over rows become sums over groups.

    Parameters
    ----------
    table
        Columns common to each group (group, column).
    sizes
        Number of rows of each group, in the order of the rows; positive.
    columns
        Further columns (column, row); rows of a group are neighbours.
    names
        Names of all columns, for messages.
    """

    table: np.ndarray
    sizes: np.ndarray
    columns: np.ndarray
    names: tuple[str, ...]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.columns.shape[1])

    @cached_property
    def blocks(self) -> list[tuple[slice, slice]]:
        """Groups and rows in blocks that end at group ends, about 65,000 rows each or one group."""
        ends = np.concatenate([[0], np.cumsum(self.sizes)])
        blocks, first = [], 0
        while first < len(self.sizes):
            last = max(first + 1, int(np.searchsorted(ends, ends[first] + _BLOCK_ROWS, side="right")) - 1)
            blocks.append((slice(first, last), slice(int(ends[first]), int(ends[last]))))
            first = last
        return blocks

    def predictors(self, beta: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Groups, rows and linear predictor ``X beta`` of one block after another."""
        n_table = self.table.shape[1]
        by_group = self.table @ beta[:n_table]
        for groups, rows in self.blocks:
            eta = np.repeat(by_group[groups], self.sizes[groups])
            for b, column in zip(beta[n_table:], self.columns, strict=True):
                eta += b * column[rows]
            yield groups, rows, eta

    def add_gradient(self, out: np.ndarray, groups: slice, rows: slice, weight: np.ndarray) -> None:
        """Add ``X' weight`` of a block to ``out``."""
        n_table = self.table.shape[1]
        out[:n_table] += self.table[groups].T @ self.group_sums(groups, weight)
        for c, column in enumerate(self.columns):
            out[n_table + c] += weight @ column[rows]

    def add_gram(self, out: np.ndarray, groups: slice, rows: slice, weight: np.ndarray) -> None:
        """Add ``X' diag(weight) X`` of a block to ``out``."""
        n_table = self.table.shape[1]
        table = self.table[groups]
        out[:n_table, :n_table] += table.T @ (self.group_sums(groups, weight)[:, None] * table)
        for c, column in enumerate(self.columns):
            weighted = weight * column[rows]
            cross = table.T @ self.group_sums(groups, weighted)
            out[n_table + c, :n_table] += cross
            out[:n_table, n_table + c] += cross
            for d in range(c + 1):
                product = weighted @ self.columns[d][rows]
                out[n_table + c, n_table + d] += product
                if d < c:
                    out[n_table + d, n_table + c] += product

    def group_sums(self, groups: slice, values: np.ndarray) -> np.ndarray:
        """Sum of a block's row values over each of its groups."""
        starts = np.concatenate([[0], np.cumsum(self.sizes[groups])[:-1]])
        return np.add.reduceat(values, starts)
