"""Distances between distributions, and how large they are by chance."""

import numpy as np
import pandas as pd

from ..training.preprocessing import as_numbers, date_parts

BINS, DRAWS, FALSE_ALARMS = 10, 200, 0.01  # alarms as a share of all batches without drift
UNSEEN, MISSING = BINS + 1, BINS + 2  # cells after those of bins or categories, and of rarer ones


def count_values(pair: list[pd.Series], kind: str) -> np.ndarray:
    """Count a feature's values in the same cells, of a reference and of new rows.

    The cells are bins with as many values of the reference each, or for texts and few different
    numbers, its most frequent values. The shape is `(2, cells)`.
    """
    pair = [_comparable(values, kind) for values in pair]
    known = pair[0].value_counts().index
    if len(known) > BINS and kind != "categories":
        edges = np.unique(pair[0].quantile(np.arange(1, BINS) / BINS))
        cells = [np.searchsorted(edges, values, side="right") for values in pair]
    else:
        at = [known.get_indexer(values) for values in pair]
        cells = [np.where(each < 0, UNSEEN, each.clip(max=BINS)) for each in at]
    for each, values in zip(cells, pair, strict=True):
        each[values.isna()] = MISSING
    return np.array([np.bincount(each, minlength=MISSING + 1) for each in cells])


def _comparable(values: pd.Series, kind: str) -> pd.Series:
    """Convert values to numbers, to days, to how many words they have, or to texts."""
    if convert := {"numbers": as_numbers, "dates": date_parts}.get(kind):
        return pd.Series(convert(values.to_frame())[:, 0])
    text = values.astype(object).map(str, na_action="ignore")
    return text.str.split().str.len() if kind == "words" else text


def distances(counts: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the Hellinger and the total variation distance over the last axis."""
    t, u = (each / each.sum(axis=-1, keepdims=True) for each in (counts, others))
    hellinger = np.sqrt(np.maximum(1 - np.sqrt(t * u).sum(axis=-1), 0))
    return hellinger, np.abs(t - u).sum(axis=-1) / 2


def chance_thresholds(counts: np.ndarray) -> np.ndarray:
    """Find for each feature the Hellinger distance that chance seldom exceeds in any of them.

    Both samples are drawn from what they have together; the feature that is farthest beyond its
    usual distance decides.
    """
    random, sizes = np.random.default_rng(0), counts.sum(axis=2)
    pooled = counts.sum(axis=1) / sizes.sum(axis=1, keepdims=True)
    drawn = [random.multinomial(n, pooled, size=(DRAWS, len(counts))) for n in sizes.T]
    hellinger, _ = distances(drawn[0], drawn[1])
    usual, spread = hellinger.mean(axis=0), hellinger.std(axis=0)
    farthest = ((hellinger - usual) / spread.clip(min=1e-9)).max(axis=1)
    return usual + np.quantile(farthest, 1 - FALSE_ALARMS) * spread
