"""Bodies of requests: names, types and ranges. What a route does not know is ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
_Penalty = Annotated[float, Field(ge=-2, le=2)]
_Stop = Annotated[str, Field(min_length=1, max_length=1000)]
_Bias = Annotated[float, Field(ge=-100, le=100)]
_Id = Annotated[int, Field(ge=0, le=2**31 - 1)]
_Name = Annotated[str, Field(max_length=300)]
MOST_TEXTS = 2048  # of a request for embeddings; OpenAI's limit
MOST_CHOICES = 16
# OpenAI's limits
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]
_Ids = Annotated[list[_Id], Field(min_length=1, max_length=1 << 20)]
Texts = (  # a text, several, the tokens of one, those of several
    str
    | Annotated[list[str], Field(min_length=1, max_length=MOST_TEXTS)]
    | _Ids
    | Annotated[list[_Ids], Field(min_length=1, max_length=MOST_TEXTS)]
)


class Body(BaseModel):
    """What all requests have."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)
    model: _Name | None = None


class StreamOptions(BaseModel):
    """What a stream has besides the text."""

    include_usage: bool | None = None


class Sampled(Body):
    """How a text is written; what is left out is as in OpenAI's API."""

    max_tokens: _Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**64 - 1)] | None = None
    stop: _Stop | Annotated[list[_Stop], Field(max_length=16)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    logit_bias: Annotated[dict[str, _Bias], Field(max_length=1024)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class TextSource(BaseModel):
    """A document's text."""

    type: Literal["text"]
    text: str


class JSONSource(BaseModel):
    """A document that is an object."""

    type: Literal["json"]
    data: dict[str, Any]


class Document(BaseModel):
    """What an answer may rest on, as Groq's API has it."""

    id: _Name | None = None
    source: Annotated[TextSource | JSONSource, Field(discriminator="type")]


class Chat(Sampled):
    """``POST /chat/completions``."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=4096)]
    max_completion_tokens: _Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: dict[str, Any] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=128)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[dict[str, Any]], Field(max_length=128)] | None = None
    function_call: str | dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    documents: Annotated[list[Document], Field(max_length=128)] | None = None
    citation_options: Literal["enabled", "disabled"] | None = None
    store: bool | None = None
    metadata: Metadata | None = None


class Update(BaseModel):
    """``POST /chat/completions/{id}``."""

    metadata: Metadata | None


class Completion(Sampled):
    """``POST /completions``."""

    prompt: Texts
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    best_of: Annotated[int, Field(ge=0, le=MOST_CHOICES)] | None = None
    suffix: str | None = None


class Embeddings(Body):
    """``POST /embeddings``."""

    input: Texts
    encoding_format: Annotated[str, Field(pattern="^(float|base64)$")] | None = None
    dimensions: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None


class Rerank(Body):
    """``POST /rerank``."""

    query: str
    documents: Annotated[list[str | dict[str, Any]], Field(min_length=1, max_length=MOST_TEXTS)]
    top_n: Annotated[int, Field(ge=1, le=MOST_TEXTS)] | None = None
    return_documents: bool | None = None


class Tokenize(Body):
    """``POST /tokenize``."""

    content: str
    add_special: bool | None = None
    parse_special: bool | None = None
    with_pieces: bool | None = None


class Next(Body):
    """``POST /next``."""

    input: str
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top: Annotated[int, Field(ge=1, le=100)] = 20


class Search(Body):
    """``POST /kb/search``."""

    query: str
    k: Annotated[int, Field(ge=1, le=50)] = 5
    mode: Literal["hybrid", "dense", "keyword"] = "hybrid"
    where: dict[str, Any] | None = None
    rerank: bool | None = None


class Ask(Body):
    """``POST /kb/ask``."""

    question: str
    k: Annotated[int, Field(ge=1, le=50)] = 5
    where: dict[str, Any] | None = None
    stream: bool | None = None


class AttentionOf(Body):
    """``POST /attention``."""

    input: str
    layer: Annotated[int, Field(ge=0, le=1000)] = 0


class Detokenize(Body):
    """``POST /detokenize``."""

    tokens: Annotated[list[_Id], Field(max_length=1 << 20)]


class Template(Body):
    """``POST /apply-template``."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=4096)]
    tools: Annotated[list[dict[str, Any]], Field(max_length=128)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
