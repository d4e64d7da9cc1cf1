"""Networks that train: PyTorch's names over fat operations in native code."""

from firth.nn import functional, init, utils
from firth.nn.fit import History, fit
from firth.nn.inspection import (
    activations,
    gradients,
    gradients_by_step,
    plot_activations,
    plot_filters,
    plot_gradients,
    plot_gradients_by_step,
    plot_history,
    summary,
)
from firth.nn.module import Module, Parameter
from firth.nn.modules.activation import (
    ELU,
    GELU,
    LeakyReLU,
    LogSoftmax,
    Maxout,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Step,
    Tanh,
)
from firth.nn.modules.attention import LearnedPositions, MultiheadAttention, SinusoidalPositions
from firth.nn.modules.batch_norm import BatchNorm1d, BatchNorm2d
from firth.nn.modules.containers import (
    Identity,
    ModuleDict,
    ModuleList,
    ParameterDict,
    ParameterList,
    Sequential,
)
from firth.nn.modules.convolution import Conv1d, Conv2d
from firth.nn.modules.dropout import Dropout
from firth.nn.modules.embedding import Embedding
from firth.nn.modules.linear import Linear
from firth.nn.modules.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from firth.nn.modules.norm import LayerNorm, RMSNorm
from firth.nn.modules.pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AvgPool1d,
    AvgPool2d,
    MaxPool1d,
    MaxPool2d,
)
from firth.nn.modules.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from firth.nn.modules.shapes import Flatten
from firth.nn.modules.transformer import (
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from firth.nn.program import TrainingStep
from firth.nn.tape import Tensor, bfloat16_products, manual_seed, no_grad

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "GRUCell",
    "History",
    "HuberLoss",
    "Identity",
    "L1Loss",
    "LSTMCell",
    "LayerNorm",
    "LeakyReLU",
    "LearnedPositions",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "Maxout",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiheadAttention",
    "NLLLoss",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "RMSNorm",
    "RNNCell",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SinusoidalPositions",
    "SmoothL1Loss",
    "Softmax",
    "Step",
    "Tanh",
    "Tensor",
    "TrainingStep",
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "activations",
    "bfloat16_products",
    "fit",
    "functional",
    "gradients",
    "gradients_by_step",
    "init",
    "manual_seed",
    "no_grad",
    "plot_activations",
    "plot_filters",
    "plot_gradients",
    "plot_gradients_by_step",
    "plot_history",
    "summary",
    "utils",
]
