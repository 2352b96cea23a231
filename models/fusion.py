"""Fusion net for spectrograms: a CNN branch and an LSTM branch over the same input."""

from typing import final

import torch
from torch import Tensor, nn

from models.cnn_lstm import lstm


@final
class FusionCNN2DLSTM(nn.Module):
    """Class scores (batch, class) for spectrograms (batch, channel, frequency, frame).

    The CNN sees an image, the LSTM a sequence of frames; fully connected layers fuse both. The
    CNN's output is averaged to 4 × 4, whatever the input's size: flattening 128 × 16 × 16 into 512
    units would be 16.8 million weights for a thousand windows.
    """

    def __init__(
        self,
        channels: int,
        frequencies: int,
        classes: int,
        *,
        conv1_channels: int = 32,
        conv2_channels: int = 64,
        kernel_size: int = 3,
        use_leaky_relu: bool = False,
        dropout_rate: float = 0.4,
        lstm_hidden: int = 128,
        lstm_layers: int = 1,
        fc1_units: int = 256,
    ) -> None:
        super().__init__()

        def activation() -> nn.Module:
            return nn.LeakyReLU(0.1) if use_leaky_relu else nn.ReLU()

        def block(inputs: int, outputs: int) -> list[nn.Module]:
            convolution = nn.Conv2d(inputs, outputs, kernel_size, padding="same", bias=False)
            return [convolution, nn.BatchNorm2d(outputs), activation(), nn.MaxPool2d(2)]

        self.cnn = nn.Sequential(
            *block(channels, conv1_channels),
            *block(conv1_channels, conv2_channels),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
        )
        self.lstm = lstm(channels * frequencies, lstm_hidden, lstm_layers, dropout_rate)
        self.head = nn.Sequential(
            nn.Linear(conv2_channels * 16 + lstm_hidden, fc1_units),
            activation(),
            nn.Dropout(dropout_rate),
            nn.Linear(fc1_units, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (batch, class) for x (batch, channel, frequency, frame)."""
        image = self.cnn(x)  # (batch, 16 × conv2_channels)
        frames = x.flatten(1, 2).transpose(1, 2)  # (batch, frame, channel × frequency)
        sequence, _ = self.lstm(frames)  # (batch, frame, unit)
        y: Tensor = self.head(torch.cat([image, sequence[:, -1]], dim=1))  # (batch, class)
        return y
