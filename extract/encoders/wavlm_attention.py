"""WavLM's attention through torch's fused kernel; transformers runs it through the slow general path.

The mathematics is WavLM's (Chen et al. 2022, section III-B): a bias by bucketed distance, shared by all layers, times a
gate computed from the hidden states.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class GatedAttention(nn.Module):
    """Stands in for transformers' `WavLMAttention`, with its parameters."""

    def __init__(self, reference: Any) -> None:
        super().__init__()
        self.reference = reference

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_bias: torch.Tensor | None = None,
        **_: object,
    ) -> tuple[torch.Tensor, None, torch.Tensor]:
        """Attend over [clip, frame, feature]; `attention_mask` [clip, frame] is True on a clip's own frames.

        Returns:
            Output, no weights, and the position bias [1, head, frame, frame] for the next layer.
        """
        own = self.reference
        n_clips, n_frames, _dim = hidden_states.shape
        if position_bias is None:
            position_bias = own.compute_bias(n_frames, n_frames)[None]
        heads = hidden_states.view(n_clips, n_frames, own.num_heads, -1).transpose(1, 2)  # [clip, head, frame, d]
        bias = self._gate(heads) * position_bias  # [clip, head, frame, frame]
        if attention_mask is not None:
            bias.masked_fill_(~attention_mask[:, None, None, :].bool(), float("-inf"))
        query, key, value = (
            project(hidden_states).view(n_clips, n_frames, own.num_heads, -1).transpose(1, 2)
            for project in (own.q_proj, own.k_proj, own.v_proj)
        )
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=own.scaling)
        return own.out_proj(attended.transpose(1, 2).reshape(n_clips, n_frames, -1)), None, position_bias

    def _gate(self, heads: torch.Tensor) -> torch.Tensor:
        """Return the gate [clip, head, frame, 1] of each query."""
        own = self.reference
        logits: torch.Tensor = own.gru_rel_pos_linear(heads).unflatten(-1, (2, 4)).sum(-1)  # [clip, head, frame, 2]
        gate_a, gate_b = torch.sigmoid(logits).chunk(2, dim=-1)
        const: torch.Tensor = own.gru_rel_pos_const
        return gate_a * (gate_b * const - 1.0) + 2.0


def fuse_attention(model: nn.Module) -> None:
    """Replace every attention module of a WavLM model."""
    layers: Any = model.get_submodule("encoder.layers")
    for layer in layers:
        layer.attention = GatedAttention(layer.attention)
