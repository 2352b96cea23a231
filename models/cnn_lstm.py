"""CNN-LSTM for windows of a series: Conv1d → ReLU → pool → dropout → LSTM → linear."""

from typing import final

from torch import Tensor, nn
from torch.nn import functional


@final
class CNNLSTM(nn.Module):
    """Forecasts one number from a window (batch, time, feature); returns (batch,).

    With `residual` it forecasts the change against the newest value of feature 0, the target, so
    that an untrained model is near persistence. `pool` is 1 (none) or 2.
    """

    def __init__(
        self,
        features: int,
        *,
        cnn_filters: int = 32,
        kernel_size: int = 3,
        pool: int = 2,
        lstm_units: int = 64,
        lstm_layers: int = 1,
        dropout: float = 0.2,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.pool, self.residual = kernel_size, pool, residual
        self.convolution = nn.Conv1d(features, cnn_filters, kernel_size)
        self.dropout = nn.Dropout(dropout)
        self.lstm = lstm(cnn_filters, lstm_units, lstm_layers, dropout)
        self.head = nn.Linear(lstm_units, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Forecasts (batch,) for windows x (batch, time, feature)."""
        newest = x[:, -1, 0]
        x = x.transpose(1, 2)  # (batch, feature, time)
        # All padding is on the left, so that the newest step reaches the output: a valid
        # convolution and floor pooling drop it.
        ragged = -x.shape[2] % self.pool
        x = functional.relu(self.convolution(functional.pad(x, (self.kernel_size - 1 + ragged, 0))))
        x = self.dropout(functional.max_pool1d(x, self.pool))  # (batch, filter, time / pool)
        x, _ = self.lstm(x.transpose(1, 2))  # (batch, time / pool, unit)
        y: Tensor = self.head(self.dropout(x[:, -1])).squeeze(1)  # (batch,)
        return y + newest if self.residual else y


def lstm(inputs: int, units: int, layers: int, dropout: float) -> nn.LSTM:
    """An LSTM for (batch, time, input) that remembers from the start.

    Forget gates begin open (bias 1; torch adds two bias vectors, so only in one), recurrent
    weights orthogonal, gate by gate. Dropout acts between layers: one layer has none.
    """
    module = nn.LSTM(inputs, units, layers, batch_first=True, dropout=dropout if layers > 1 else 0)
    for name, weight in module.named_parameters():
        if name.startswith("weight_hh"):
            for gate in weight.data.chunk(4):
                nn.init.orthogonal_(gate)
        elif name.startswith("bias"):
            nn.init.zeros_(weight)
            if name.startswith("bias_hh"):
                nn.init.ones_(weight.data[units : 2 * units])  # gates: input, forget, cell, output
    return module
