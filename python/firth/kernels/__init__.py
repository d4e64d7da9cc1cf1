"""The kernels: one file each, with contract, NumPy reference, Numba version and native call."""

from firth.kernels._dispatch import active, backends, use
from firth.kernels.byte_codes import ByteCodes, byte_codes, may_reach
from firth.kernels.cbow_negative_sampling import cbow_negative_sampling
from firth.kernels.cosine_topk import TopK, cosine_scores, cosine_topk, row_norms
from firth.kernels.dot import dot
from firth.kernels.embedding_bag import embedding_bag
from firth.kernels.gated import gated
from firth.kernels.glove_adagrad import glove_adagrad
from firth.kernels.hierarchical_softmax import hierarchical_softmax
from firth.kernels.matmul import PackedMatrix, matmul, pack
from firth.kernels.norm import layer_norm, rms_norm
from firth.kernels.quantize import ByteRows, ByteWeights, quantize_rows, quantize_weights
from firth.kernels.rotary import rotary, rotary_table
from firth.kernels.scaled_dot_product_attention import (
    PackedKeysValues,
    scaled_dot_product_attention,
)
from firth.kernels.skipgram_negative_sampling import skipgram_negative_sampling
from firth.kernels.softmax import log_softmax, softmax
from firth.kernels.to_bfloat16 import to_bfloat16

__all__ = [
    "ByteCodes",
    "ByteRows",
    "ByteWeights",
    "PackedKeysValues",
    "PackedMatrix",
    "TopK",
    "active",
    "backends",
    "byte_codes",
    "cbow_negative_sampling",
    "cosine_scores",
    "cosine_topk",
    "dot",
    "embedding_bag",
    "gated",
    "glove_adagrad",
    "hierarchical_softmax",
    "layer_norm",
    "log_softmax",
    "matmul",
    "may_reach",
    "pack",
    "quantize_rows",
    "quantize_weights",
    "rms_norm",
    "rotary",
    "rotary_table",
    "row_norms",
    "scaled_dot_product_attention",
    "skipgram_negative_sampling",
    "softmax",
    "to_bfloat16",
    "use",
]
