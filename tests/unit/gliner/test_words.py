"""Words are those of GLiNER's regular expression."""

import re

import pytest
from onnx_ml_bridge.artifacts.errors import ArtifactError
from onnx_ml_bridge.export.gliner.pipeline import word_characters
from onnx_ml_bridge.parity.adversarial import adversarial_texts
from onnx_ml_bridge.parity.texts import parity_texts
from onnx_ml_bridge.runtime.gliner.words import WordSplitter

pytestmark = pytest.mark.families("gliner")
ORIGINAL = re.compile(r"\w+(?:[-_]\w+)*|\S")


@pytest.fixture(scope="module")
def splitter() -> WordSplitter:
    ranges = word_characters()
    return WordSplitter(ranges["word"], ranges["space"])


def test_every_character_has_the_kind_of_the_original(splitter):
    for start in range(0, 0x110000, 0x8000):
        characters = [chr(code) for code in range(start, start + 0x8000) if not 0xD800 <= code < 0xE000]
        text = "\u3000".join(character + character for character in characters)
        assert splitter.split(text).tolist() == [list(match.span()) for match in ORIGINAL.finditer(text)]


def test_words_of_texts_are_those_of_the_original(splitter):
    for text in [*parity_texts(), *adversarial_texts("en", 200, 5), "x-y--z _q-_ w", "a-b-c- -d", "", " \n"]:
        assert splitter.split(text).tolist() == [list(match.span()) for match in ORIGINAL.finditer(text)], text


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"space":[1,2]}',
        '{"space":[],"word":[1,2]}',
        '{"space":[1],"word":[1,2]}',
        '{"space":[2,1],"word":[1,2]}',
        '{"space":[1,2],"word":[1,1114113]}',
        '{"space":[1,2],"word":[-1,2]}',
        '{"space":[1,2],"word":[1,true]}',
        '{"space":[1,2],"word":[1,2],"x":0}',
    ],
)
def test_an_invalid_file_is_refused(tmp_path, content):
    (tmp_path / "words.json").write_text(content)
    with pytest.raises(ArtifactError) as refused:
        WordSplitter.read(tmp_path / "words.json")
    assert refused.value.code == "tokenizer"
