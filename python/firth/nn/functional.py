"""The operations as functions, under the names of torch.nn.functional."""

from firth.nn.operations.activation import (
    elu,
    gelu,
    leaky_relu,
    log_softmax,
    relu,
    sigmoid,
    silu,
    softmax,
    step,
    tanh,
)
from firth.nn.operations.arithmetic import cosine_similarity, maxout, normalize
from firth.nn.operations.attention import rotary, rotary_angles, scaled_dot_product_attention
from firth.nn.operations.batch_norm import batch_norm
from firth.nn.operations.convolution import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from firth.nn.operations.cross_entropy import (
    cross_entropy,
    linear_cross_entropy,
    masked_lm_loss,
    next_token_loss,
    nll_loss,
)
from firth.nn.operations.dropout import dropout
from firth.nn.operations.embedding import embedding
from firth.nn.operations.embedding_bag import embedding_bag
from firth.nn.operations.info_nce import info_nce
from firth.nn.operations.interpolate import interpolate
from firth.nn.operations.linear import linear
from firth.nn.operations.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cosine_embedding_loss,
    huber_loss,
    kl_div,
    l1_loss,
    logsigmoid,
    mse_loss,
    pairwise_distance,
    smooth_l1_loss,
    softplus,
    triplet_margin_loss,
)
from firth.nn.operations.norm import group_norm, instance_norm, layer_norm, rms_norm
from firth.nn.operations.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    avg_pool1d,
    avg_pool2d,
    max_pool1d,
    max_pool2d,
)
from firth.nn.operations.shapes import pad
from firth.nn.operations.values import one_hot

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "embedding_bag",
    "gelu",
    "group_norm",
    "huber_loss",
    "info_nce",
    "instance_norm",
    "interpolate",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "linear_cross_entropy",
    "log_softmax",
    "logsigmoid",
    "masked_lm_loss",
    "max_pool1d",
    "max_pool2d",
    "maxout",
    "mse_loss",
    "next_token_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "pairwise_distance",
    "relu",
    "rms_norm",
    "rotary",
    "rotary_angles",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "step",
    "tanh",
    "triplet_margin_loss",
]
