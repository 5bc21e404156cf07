"""Two layers of a ViT by the matrix products that they are: open_clip's weights, names and functions, in another order of memory.

PyTorch's own attention turns a batch round first. With frozen weights in bfloat16 each of its products then copied its
weights for every token: a pass of a search through a ViT-B/32 took 8.5 processor seconds for 24 images, and takes 2.9.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.MultiheadAttention):
    """Self-attention of embeddings (B, L, W) as they lie, without dropout and without its weights."""

    def forward(  # type: ignore[override] # what open_clip's blocks ask for, and no more
        self, query: Tensor, _key: Tensor, _value: Tensor, *, need_weights: bool, attn_mask: Tensor | None
    ) -> tuple[Tensor, None]:
        """The attention (B, L, W) of ``query``, with ``attn_mask`` (L, L) added to its logits."""
        batch, length, width = query.shape
        projected = F.linear(query, self.in_proj_weight, self.in_proj_bias)  # (B, L, 3 * W)
        q, k, v = projected.view(batch, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)  # (B, heads, L, W / heads)
        return self.out_proj(seen.transpose(1, 2).reshape(batch, length, width)), None


class Patches(nn.Conv2d):
    """A convolution whose kernel is as wide as its stride, without padding: each patch by itself."""

    def forward(self, input: Tensor) -> Tensor:
        """Embeddings (B, W, S / P, S / P) of the patches of pixels (B, 3, S, S); a border narrower than a patch is left out."""
        (high, wide), weight = self.kernel_size, self.weight.flatten(1)
        rows, columns = input.shape[-2] // high, input.shape[-1] // wide
        whole = input[..., : rows * high, : columns * wide]
        patches = whole.reshape(*input.shape[:2], rows, high, columns, wide)
        flat = patches.permute(0, 2, 4, 1, 3, 5).flatten(3)  # (B, S / P, S / P, 3 * P * P)
        return F.linear(flat, weight, self.bias).permute(0, 3, 1, 2)


def as_products(net: nn.Module, /) -> None:
    """Let the blocks and the first layer of open_clip's network be computed so, in place; all other layers stay."""
    from open_clip.transformer import ResidualAttentionBlock

    for block in net.modules():
        # A block of another text asks two sequences; so does the pooling of some towers, which is in no block.
        if isinstance(block, ResidualAttentionBlock) and block.attn.batch_first and not hasattr(block, "ln_1_kv"):
            block.attn.__class__ = Attention
    first = getattr(net.visual, "conv1", None)
    if isinstance(first, nn.Conv2d) and first.kernel_size == first.stride and not any(map(bool, first.padding)):
        first.__class__ = Patches
