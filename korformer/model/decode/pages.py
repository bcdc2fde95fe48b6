"""Which tokens each hash bucket holds, in the order of time, kept while a text grows and shrinks at its end.

A bucket is a chain of pages of P entries. A page is filled from its start and never changes afterwards, so a bucket's
newest P entries always lie in its last two pages, its oldest in its first, and taking tokens off the end undoes
exactly what adding them did: the content is a function of the token sequence alone.

Entries are positions counted from 1; 0 says that there is no token. Page 0 of every row is full of zeros and stands
before the first page of each of its buckets.

Legend: N rows (layer x head x round), K buckets of a row, P entries of a page, G pages, n tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

FIRST_TOKENS = 1024
"""Tokens that a new table has room for; their number doubles when they are used up."""

_BEFORE, _LAST, _FIRST, _FILL, _COUNT = range(5)
_MANY = torch.iinfo(torch.int64).max


class BucketPages:
    """The buckets of all hashed heads of all layers of one kind.

    Args:
        layers: how many layers; their rows lie one layer after another.
        rows: rows of a layer, heads x rounds.
        buckets: K, of each row.
        page: P.
        device: where the pages live.
    """

    def __init__(self, layers: int, rows: int, buckets: int, page: int, device: torch.device) -> None:
        N = layers * rows
        self.page, self.buckets, self.rows, self.layers = page, buckets, rows, layers
        self._device = device
        self._small = torch.int16 if buckets < 2**15 else torch.int32
        self._row_N = torch.arange(N, device=device)
        self._cell_N = self._row_N * buckets
        self._reach = torch.arange(page, device=device)
        self.lengths = [0] * layers
        self.capacity = 0  # tokens
        self._history_TN = torch.empty(0, N, dtype=self._small, device=device)
        self._slot_TN = torch.empty(0, N, dtype=torch.int32, device=device)  # page x P + offset within the row
        self._entries_GNP = torch.zeros(1, N, page, dtype=torch.int32, device=device)
        self._before_GN = torch.zeros(1, N, dtype=torch.int32, device=device)  # the page before, in its bucket
        self._pages_N = torch.ones(N, dtype=torch.int64, device=device)  # pages in use
        # Of each bucket: row index (page x N + row) of its last page but one, its last and its first, entries of the
        # last page, and tokens.
        nowhere = self._row_N[:, None, None].expand(N, buckets, 3).reshape(-1, 3)
        self._cells = torch.cat([nowhere, torch.tensor([[page, 0]], device=device).expand(N * buckets, 2)], dim=1)
        self._cells_of_layer = self._cell_N.view(layers, rows).unbind()

    def reserve(self, tokens: int) -> None:
        """Make room for this many tokens."""
        if tokens <= self.capacity:
            return
        tokens = max(tokens, 2 * self.capacity, FIRST_TOKENS)
        pages = 1 + min(tokens, self.buckets + tokens // self.page)
        self._history_TN = _longer(self._history_TN, tokens)
        self._slot_TN = _longer(self._slot_TN, tokens)
        self._entries_GNP = _longer(self._entries_GNP, pages)
        self._before_GN = _longer(self._before_GN, pages)
        self.capacity = tokens

    def _layer_rows(self, layer: int) -> slice:
        return slice(layer * self.rows, (layer + 1) * self.rows)

    def newest(self, layer: int, buckets_R: Tensor, count: int) -> Tensor:
        """The newest `count` entries of one bucket of each row of a layer, (rows, count) int32, oldest first.

        Args:
            layer: which.
            buckets_R: int64, one of each row.
            count: at most P.
        """
        return self._newest(self._cells_of_layer[layer] + buckets_R, count)

    def newest_of(self, layer: int, row: int, buckets_U: Tensor, count: int) -> Tensor:
        """The newest `count` entries of several buckets of one row of a layer, (U, count) int32, oldest first."""
        return self._newest((layer * self.rows + row) * self.buckets + buckets_U, count)

    def _newest(self, cells: Tensor, count: int) -> Tensor:
        P = self.page
        known = self._cells.index_select(0, cells)
        both = self._entries_GNP.view(-1, P).index_select(0, known[:, _BEFORE : _LAST + 1].reshape(-1))
        at = known[:, _FILL : _FILL + 1] + self._reach[P - count :]
        return both.view(-1, 2 * P).gather(1, at)

    def add(self, buckets_N: Tensor) -> None:
        """Add one token to every row of every layer.

        Args:
            buckets_N: int64, its bucket in each row.
        """
        self.write(buckets_N, self.lengths[0])
        self.lengths = [self.lengths[0] + 1] * self.layers

    def write(self, buckets_N: Tensor, position: int | Tensor) -> None:
        """What `add` does on the device; the caller sets `lengths`.

        Args:
            buckets_N: int64, the token's bucket in each row.
            position: of the token; as a tensor (1,) int64 no operation hangs on its value.
        """
        P, N = self.page, len(self._row_N)
        cell = self._cell_N + buckets_N
        before, last, first, fill, count = self._cells.index_select(0, cell).unbind(1)
        opens = fill == P
        before = torch.where(opens, last, before)
        last = torch.where(opens, self._pages_N * N + self._row_N, last)
        first = torch.where(count == 0, last, first)
        fill = torch.where(opens, 1, fill + 1)
        self._cells[cell] = torch.stack([before, last, first, fill, count + 1], dim=1)
        offset = fill - 1
        entry = position + 1 if isinstance(position, int) else (position + 1).int()
        self._entries_GNP.view(-1)[torch.add(offset, last, alpha=P)] = entry
        self._before_GN.view(-1)[last] = (before // N).int()
        self._pages_N += opens
        self._history_TN[position] = buckets_N.to(self._small)
        self._slot_TN[position] = torch.add(offset, last // N, alpha=P).int()

    def bookkeeping(self) -> tuple[Tensor, Tensor]:
        """Copies of what `write` cannot undo by being called again with the same token."""
        return self._cells.clone(), self._pages_N.clone()

    def put_back(self, bookkeeping: tuple[Tensor, Tensor]) -> None:
        """Be as when `bookkeeping` was taken."""
        self._cells.copy_(bookkeeping[0])
        self._pages_N.copy_(bookkeeping[1])

    def extend(self, layer: int, buckets_Rn: Tensor) -> None:
        """Add tokens to the rows of one layer; they end where as many calls of `add` would.

        Args:
            layer: which.
            buckets_Rn: integer bucket of each token in each row.
        """
        rows, n = buckets_Rn.shape
        start, P, N = self.lengths[layer], self.page, len(self._row_N)
        chosen = self._layer_rows(layer)
        row = self._row_N[chosen, None]
        sorted_Rn, order_Rn = torch.sort(buckets_Rn.to(self._small), dim=1, stable=True)
        cell = self._cell_N[chosen, None] + sorted_Rn
        rank = torch.arange(n, device=self._device).expand(rows, n)
        begins = torch.ones_like(sorted_Rn, dtype=torch.bool)
        begins[:, 1:] = sorted_Rn[:, 1:] != sorted_Rn[:, :-1]
        group = torch.cummax(torch.where(begins, rank, 0), dim=1).values
        place = self._cells[cell, _FILL] + rank - group  # counted from the start of the bucket's last page
        page_number, offset = place // P, place % P
        leads = offset == 0
        leads_in_time = torch.zeros_like(leads).scatter_(1, order_Rn, leads)
        new_page = self._pages_N[chosen, None] - 1 + leads_in_time.cumsum(dim=1)
        old_last = self._cells[cell, _LAST] // N
        opened = new_page.gather(1, order_Rn)
        page = torch.where(page_number > 0, opened.gather(1, (rank - offset).clamp_min(0)), old_last)
        before = torch.where(page_number > 1, page.gather(1, (rank - offset - 1).clamp_min(0)), old_last)
        before = torch.where(page_number > 0, before, self._cells[cell, _BEFORE] // N)
        at_row = page * N + row
        self._entries_GNP.view(-1)[at_row * P + offset] = (start + 1 + order_Rn).int()
        self._before_GN.view(-1)[at_row[leads]] = before[leads].int()
        ends = torch.ones_like(begins)
        ends[:, :-1] = begins[:, 1:]
        touched, known = cell[ends], self._cells[cell[ends]]
        first = torch.where(known[:, _COUNT] == 0, at_row[begins], known[:, _FIRST])
        count = known[:, _COUNT] + (rank - group)[ends] + 1
        last, fill = at_row[ends], offset[ends] + 1
        self._cells[touched] = torch.stack([(before * N + row)[ends], last, first, fill, count], dim=1)
        self._pages_N[chosen] += leads.sum(dim=1)
        self._history_TN[start : start + n, chosen] = buckets_Rn.T.to(self._small)
        slots = torch.empty_like(order_Rn, dtype=torch.int32).scatter_(1, order_Rn, (page * P + offset).int())
        self._slot_TN[start : start + n, chosen] = slots.T
        self.lengths[layer] = start + n

    def shorten(self, length: int) -> None:
        """Take off the tokens from position `length` on, in every layer."""
        for layer in range(self.layers):
            if self.lengths[layer] > length:
                self._shorten_layer(layer, length)

    def _shorten_layer(self, layer: int, length: int) -> None:
        chosen, P, N = self._layer_rows(layer), self.page, len(self._row_N)
        gone = slice(length, self.lengths[layer])
        cells_nR = self._cell_N[chosen] + self._history_TN[gone, chosen]
        slots_nR = self._slot_TN[gone, chosen].long()
        leads = slots_nR % P == 0
        first_cell = self._cell_N[layer * self.rows]
        local = (cells_nR - first_cell).reshape(-1)
        size = self.rows * self.buckets
        lowest = torch.full((size,), _MANY, device=self._device)
        lowest.scatter_reduce_(0, local, slots_nR.reshape(-1), "amin")
        touched = (lowest != _MANY).nonzero().squeeze(-1)
        lost = torch.zeros(size, dtype=torch.int64, device=self._device).scatter_add_(0, local, torch.ones_like(local))
        cell, slot, row = touched + first_cell, lowest[touched], chosen.start + touched // self.buckets
        page, offset = slot // P, slot % P
        last = torch.where(offset > 0, page, self._before_GN.view(-1)[page * N + row].long())
        before = self._before_GN.view(-1)[last * N + row].long()
        count = self._cells[cell, _COUNT] - lost[touched]
        first = torch.where(count == 0, row, self._cells[cell, _FIRST])
        fill = torch.where(offset > 0, offset, P)
        self._cells[cell] = torch.stack([before * N + row, last * N + row, first, fill, count], dim=1)
        opened = torch.where(leads, slots_nR // P, _MANY).amin(dim=0)
        self._pages_N[chosen] = torch.minimum(self._pages_N[chosen], opened)
        self.lengths[layer] = length

    def counts(self, layer: int) -> Tensor:
        """Tokens of every bucket of a layer, a view, (rows, K) int64."""
        return self._cells[:, _COUNT].view(-1, self.buckets)[self._layer_rows(layer)]

    def history(self, layer: int, length: int) -> Tensor:
        """Bucket of each of the first `length` tokens in each row of a layer, a view, (length, rows)."""
        return self._history_TN[:length, self._layer_rows(layer)]

    def entry(self, layer: int, row: Tensor, bucket: Tensor, index: Tensor, *, hops: int | None = None) -> Tensor:
        """The entries at given indices of buckets, counted from the oldest, int32 of the arguments' shape.

        Args:
            layer: which.
            row, bucket, index: integers that broadcast; index is below the bucket's count.
            hops: pages before the last one that may be needed, beside the first; as many as it takes without it.
        """
        P, N = self.page, len(self._row_N)
        row = row + layer * self.rows
        cell = row * self.buckets + bucket
        wanted = index // P
        number = (self._cells[:, _COUNT][cell] - 1) // P
        page = torch.where(wanted == 0, self._cells[:, _FIRST][cell], self._cells[:, _LAST][cell])
        steps = torch.where(wanted == 0, 0, number - wanted)
        hop = 0
        while hop < hops if hops is not None else bool((steps > hop).any()):
            hop += 1
            page = torch.where(steps >= hop, self._before_GN.view(-1)[page].long() * N + row, page)
        return self._entries_GNP.view(-1)[page * P + index % P]

    def copy(self) -> BucketPages:
        """An independent table with the same content."""
        twin = object.__new__(BucketPages)
        twin.__dict__.update(self.__dict__)
        twin.lengths = list(self.lengths)
        tokens, pages = max(self.lengths, default=0), int(self._pages_N.max())
        for name, used in (
            ("_history_TN", tokens),
            ("_slot_TN", tokens),
            ("_entries_GNP", pages),
            ("_before_GN", pages),
        ):
            whole = getattr(self, name)
            copied = torch.empty_like(whole)
            copied[:used] = whole[:used]
            setattr(twin, name, copied)
        for name in ("_pages_N", "_cells"):
            setattr(twin, name, getattr(self, name).clone())
        return twin


def _longer(x: Tensor, length: int) -> Tensor:
    grown = x.new_empty(max(length, x.shape[0]), *x.shape[1:])
    grown[: x.shape[0]] = x
    return grown
