"""gensim's path to `firth.words.phrases`."""

from firth.words.phrases import ENGLISH_CONNECTOR_WORDS as ENGLISH_CONNECTOR_WORDS
from firth.words.phrases import FrozenPhrases as FrozenPhrases
from firth.words.phrases import Phraser as Phraser
from firth.words.phrases import Phrases as Phrases
from firth.words.phrases import npmi_scorer as npmi_scorer
from firth.words.phrases import original_scorer as original_scorer
