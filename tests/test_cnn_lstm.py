"""The CNN-LSTM: every step counts, the newest most of all."""

import pytest
import torch

from models.cnn_lstm import CNNLSTM, lstm


@pytest.mark.parametrize("kernel_size", [2, 3, 4, 5])
@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("time", [20, 21])
def test_the_newest_step_reaches_the_output(kernel_size, pool, time):
    """A valid convolution and floor pooling drop it for kernels 2 and 4."""
    torch.manual_seed(0)
    x = torch.randn(64, time, 3, requires_grad=True)
    CNNLSTM(3, kernel_size=kernel_size, pool=pool, dropout=0.0)(x).sum().backward()
    assert x.grad[:, -1].abs().sum() > 0
    assert x.grad[:, 0].abs().sum() > 0


@pytest.mark.parametrize("kernel_size", [2, 5])
@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("time", [1, 2, 7, 24])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_window_of_any_length_gives_one_forecast(kernel_size, pool, time, layers):
    """Even one shorter than the kernel."""
    model = CNNLSTM(4, kernel_size=kernel_size, pool=pool, lstm_layers=layers)
    assert model(torch.randn(3, time, 4)).shape == (3,)


def test_without_an_opinion_it_forecasts_persistence():
    """With `residual`, a head of zeros leaves the newest value of the target."""
    model, x = CNNLSTM(2, residual=True), torch.randn(5, 6, 2)
    torch.nn.init.zeros_(model.head.weight)
    torch.nn.init.zeros_(model.head.bias)
    assert torch.equal(model(x), x[:, -1, 0])


def test_the_lstm_remembers_from_the_start():
    """Forget biases sum to 1 over torch's two vectors, all others to 0."""
    first, second = lstm(3, 8, 2, 0.0).bias_ih_l1, lstm(3, 8, 2, 0.0).bias_hh_l1
    total = (first + second).view(4, 8)  # gates: input, forget, cell, output
    assert torch.equal(total.sum(1), torch.tensor([0.0, 8.0, 0.0, 0.0]))


def test_recurrent_weights_are_orthogonal():
    """Each gate's on its own: a step neither shrinks nor grows the state."""
    for gate in lstm(3, 8, 1, 0.0).weight_hh_l0.chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(8), atol=1e-5, rtol=0)


def test_dropout_between_layers_needs_two():
    """With one layer torch would only warn."""
    assert lstm(3, 8, 1, 0.5).dropout == 0
    assert lstm(3, 8, 2, 0.5).dropout == 0.5
