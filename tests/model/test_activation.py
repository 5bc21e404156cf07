import torch
import torch.nn.functional as F

from clipclean.model import measure


class Fixed:
    """An encoder whose image embeddings are its captions' plus noise."""

    def __init__(self, noise: float) -> None:
        draw = torch.Generator().manual_seed(3)
        self.texts = F.normalize(torch.randn(64, 16, generator=draw), dim=1)
        self.images = F.normalize(self.texts + noise * torch.randn(64, 16, generator=draw), dim=1)

    def embed_images(self, pixels: torch.Tensor, /) -> torch.Tensor:
        return self.images[pixels[:, 0, 0, 0].long()]

    def embed_texts(self, captions: list[str], /) -> torch.Tensor:
        return self.texts[[int(caption) for caption in captions]]

    def logit_scale(self) -> torch.Tensor:
        return torch.tensor(20.0)


PIXELS = torch.arange(64.0).view(64, 1, 1, 1)
CAPTIONS = [str(i) for i in range(64)]


def test_the_activation_with_the_lower_retrieval_loss_is_chosen_and_a_tie_is_told_as_a_guess():
    assert measure(Fixed(0.05), Fixed(0.6), PIXELS, CAPTIONS).quick_gelu is False
    choice = measure(Fixed(0.6), Fixed(0.05), PIXELS, CAPTIONS)
    assert choice.quick_gelu is True
    assert choice.loss < choice.other_loss
    assert "QuickGELU" in str(choice)
    choice = measure(Fixed(0.3), Fixed(0.3), PIXELS, CAPTIONS)
    assert (choice.quick_gelu, choice.is_guess) == (False, True)
    assert "undecided" in str(choice)
