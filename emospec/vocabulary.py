"""The one vocabulary of emotions across corpora, and the words of the field that mean the same."""

VOCABULARY: tuple[str, ...] = (
    "neutral", "angry", "happy", "sad", "fearful", "disgusted", "surprised", "calm", "bored", "frustrated", "other",
)  # fmt: skip
"""The common vocabulary. A reader maps its corpus's words to these and keeps the corpus's word in `label`."""

SYNONYMS: dict[str, str] = {
    "anger": "angry", "anxiety/fear": "fearful", "ang": "angry", "boredom": "bored", "disgust": "disgusted",
    "excited": "happy", "excitement": "happy", "exc": "happy", "fear": "fearful", "frustration": "frustrated",
    "fru": "frustrated", "hap": "happy", "happiness": "happy", "joy": "happy", "neu": "neutral",
    "sadness": "sad", "surprise": "surprised",
}  # fmt: skip
"""Words of the field for an emotion of the vocabulary; any other word stays a class of its own."""


def common_emotion(word: str) -> str:
    """Return the vocabulary's word for a corpus's word: `common_emotion("Joy") == "happy"`."""
    word = word.strip().lower()
    return SYNONYMS.get(word, word)
