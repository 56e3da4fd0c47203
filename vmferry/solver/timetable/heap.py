"""A binary heap in arrays, for kernels: smallest key first, equal keys by number."""

from __future__ import annotations

from vmferry.solver.timetable.problem import Ints, Number


def push(keys: Ints, items: Ints, size: Number, key: Number, item: Number) -> Number:
    """Add one; return the new size."""
    i = size
    while i > 0:
        up = (i - 1) // 2
        if keys[up] < key or (keys[up] == key and items[up] <= item):
            break
        keys[i] = keys[up]
        items[i] = items[up]
        i = up
    keys[i] = key
    items[i] = item
    return size + 1


def pop(keys: Ints, items: Ints, size: Number) -> Number:
    """Remove the first, which is at index 0 until now; return the new size."""
    size -= 1
    key, item = keys[size], items[size]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        other = child + 1
        if other < size and (keys[other] < keys[child] or (keys[other] == keys[child] and items[other] < items[child])):
            child = other
        if key < keys[child] or (key == keys[child] and item <= items[child]):
            break
        keys[i] = keys[child]
        items[i] = items[child]
        i = child
    keys[i] = key
    items[i] = item
    return size


def meld(a: Number, b: Number, left: Ints, right: Ints, rank: Ints) -> Number:
    """Join two skew heaps (Sleator and Tarjan 1986) of nodes, smallest rank first; return the root, -1 of none."""
    root, parent = -1, -1
    while a >= 0 and b >= 0:
        if rank[b] < rank[a]:
            a, b = b, a
        if parent < 0:
            root = a
        else:
            left[parent] = a
        rest = right[a]
        right[a] = left[a]
        parent = a
        a = rest
    if parent < 0:
        return max(a, b)
    left[parent] = max(a, b)
    return root
