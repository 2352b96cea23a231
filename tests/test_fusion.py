"""The fusion net: two branches, any size of picture, any number of classes."""

import pytest
import torch

from models.fusion import FusionCNN2DLSTM


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("classes", [2, 7])
def test_every_class_gets_a_score(kernel_size, layers, classes):
    """From (batch, 5, 64, 64), whatever the hyperparameters."""
    model = FusionCNN2DLSTM(5, 64, classes, kernel_size=kernel_size, lstm_layers=layers)
    assert model(torch.randn(2, 5, 64, 64)).shape == (2, classes)


def test_other_pictures_fit_without_other_weights():
    """The pooling before the fusion makes its size that of the channels alone."""
    small = sum(w.numel() for w in FusionCNN2DLSTM(5, 64, 7).head.parameters())
    model = FusionCNN2DLSTM(3, 17, 7)
    assert sum(w.numel() for w in model.head.parameters()) == small < 1e6
    assert model(torch.randn(2, 3, 17, 69)).shape == (2, 7)


def test_both_branches_reach_the_output():
    """Neither is there for show."""
    torch.manual_seed(0)
    model = FusionCNN2DLSTM(5, 64, 7).eval()
    model(torch.randn(4, 5, 64, 64)).square().sum().backward()
    assert model.cnn[0].weight.grad.abs().sum() > 0
    assert model.lstm.weight_hh_l0.grad.abs().sum() > 0


def test_one_item_alone_is_scored_as_among_others():
    """In evaluation BatchNorm uses what it learned, not the batch."""
    torch.manual_seed(0)
    model, x = FusionCNN2DLSTM(5, 64, 7).eval(), torch.randn(5, 5, 64, 64)
    torch.testing.assert_close(model(x)[:1], model(x[:1]), atol=1e-5, rtol=1e-4)


def test_the_activation_is_the_one_asked_for():
    """Leaky units let some of the negative through."""
    names = [type(m).__name__ for m in FusionCNN2DLSTM(5, 64, 7, use_leaky_relu=True).modules()]
    assert (names.count("LeakyReLU"), names.count("ReLU")) == (3, 0)
