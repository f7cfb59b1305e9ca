"""Choose the next tokens from scores, for many sequences at once. Knows torch; nothing of models and of requests."""

from __future__ import annotations

import torch

from pgml.runtime.generation.settings import Sampling

USUAL_CANDIDATES = 512
"""So many tokens hold nearly always what `top_p` keeps, and finding them is much faster than sorting a vocabulary."""


def penalise(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """The scores of one sequence with those tokens made less probable that it holds already."""
    scores = logits[seen]
    return logits.index_put((seen,), torch.where(scores > 0, scores / penalty, scores * penalty))


def choose(logits: torch.Tensor, sampling: Sampling, draws: list[float]) -> list[int]:
    """One token per row of `logits`; `draws` are random numbers in [0, 1), one per row.

    The same row, settings and draw give the same token, whatever other rows there are.
    """
    if sampling.temperature == 0:
        return _as_list(logits.argmax(-1))
    probabilities, candidates = _candidates(logits.float() / sampling.temperature, sampling)
    if sampling.min_p is not None:
        least = probabilities.amax(-1, keepdim=True) * sampling.min_p
        probabilities = probabilities.masked_fill(probabilities < least, 0)
    # In double precision: in single precision the sum over a large vocabulary drops the improbable tokens.
    cumulative = probabilities.double().cumsum(-1)
    targets = torch.tensor(draws, dtype=torch.float64, device=logits.device).unsqueeze(-1) * cumulative[:, -1:]
    picked = torch.searchsorted(cumulative, targets, right=True).clamp(max=cumulative.shape[-1] - 1)
    return _as_list((picked if candidates is None else candidates.gather(-1, picked)).squeeze(-1))


def _candidates(logits: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Probabilities, and the tokens that they are of where these are not all tokens in order."""
    if sampling.top_k is None and sampling.top_p is None:
        return logits.softmax(-1), None
    if sampling.top_k is not None:
        scores, tokens = logits.topk(min(sampling.top_k, logits.shape[-1]), dim=-1)
        probabilities = scores.softmax(-1)
    else:
        probabilities, tokens = _most_probable(logits.softmax(-1), sampling.top_p or 1.0)
    if sampling.top_p is not None:
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= sampling.top_p, 0)
    return probabilities, tokens


def _most_probable(probabilities: torch.Tensor, mass: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The most probable tokens in order, as many as surely have the wanted mass in every row."""
    if probabilities.shape[-1] > USUAL_CANDIDATES:
        found = probabilities.topk(USUAL_CANDIDATES, dim=-1)
        if bool((found.values.sum(-1) >= mass).all()):
            return found.values, found.indices
    ordered = probabilities.sort(dim=-1, descending=True)
    return ordered.values, ordered.indices


def _as_list(tokens: torch.Tensor) -> list[int]:
    return [int(token) for token in tokens.tolist()]
