"""Tokenizers: llama2.c's merges against its own slow method, streams against whole decodes."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, processors

from takt.errors import DataError, TaktError
from takt.models import TextStream
from takt.models.score_merge import ScoreMergeTokenizer, load_llama2c_tokenizer
from takt.models.tokenizer import LibraryTokenizer, load_tokenizer_json

SPECIAL = [(b"<unk>", 0.0), (b"\n<s>\n", 0.0), (b"\n</s>\n", 0.0)]
BYTES = [(b"<0x%02X>" % byte, 0.0) for byte in range(256)]
# Several ways to build the same words, with equal scores among them, so that order matters.
MERGES = [
    *((text, -float(rank)) for rank, text in enumerate([b"ab", b"bc", b"abc", b" a", b"ca"])),
    (b"aa", -2.0),
    (b"aaa", -2.0),
    (b" ab", -1.0),
    (b"cab", 0.0),
    (b"\xc3\xa9\xc3\xa9", -1.0),
]
LETTERS = [(text, -100.0) for text in (b" ", b"a", b"b", b"c", "é".encode())]
VOCABULARY = [*SPECIAL, *BYTES, *MERGES, *LETTERS]


def small() -> ScoreMergeTokenizer:
    return ScoreMergeTokenizer(
        pieces=[piece for piece, _ in VOCABULARY], scores=[score for _, score in VOCABULARY]
    )


def rescanning_encode(text: str) -> list[int]:
    """The method of llama2.c: find the best pair of the whole list, merge it, start again."""
    lookup = {piece: i for i, (piece, _) in reversed(list(enumerate(VOCABULARY)))}
    ids = [1]
    if not text:
        return ids
    ids.append(lookup[b" "])
    for character in text:
        raw = character.encode()
        ids.extend([lookup[raw]] if raw in lookup else [byte + 3 for byte in raw])
    while True:
        best, place, union = -1e10, -1, -1
        for i in range(len(ids) - 1):
            found = lookup.get(VOCABULARY[ids[i]][0] + VOCABULARY[ids[i + 1]][0])
            if found is not None and VOCABULARY[found][1] > best:
                best, place, union = VOCABULARY[found][1], i, found
        if place < 0:
            return ids
        ids[place : place + 2] = [union]


TEXTS = st.one_of(st.text("abc é", max_size=30), st.text(st.characters(codec="utf-8"), max_size=12))


@given(TEXTS)
def test_heap_merges_as_rescanning_does(text: str) -> None:
    assert small().encode(text) == rescanning_encode(text)


@given(TEXTS)
def test_decoding_gives_the_text_back(text: str) -> None:
    tokenizer = small()
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(TEXTS, st.data())
def test_stream_pieces_join_to_the_whole(text: str, data: st.DataObject) -> None:
    tokenizer = small()
    ids = tokenizer.encode(text)
    cut = data.draw(st.integers(0, len(ids)))
    prompt = tokenizer.decode(ids[:cut])
    if prompt.endswith("\ufffd"):
        return  # a prompt that ends inside a character is nothing a user can type
    stream = tokenizer.stream(ids[:cut])
    assert prompt + "".join(stream.push(i) for i in ids[cut:]) + stream.flush() == text


def test_text_without_bos_starts_without_it() -> None:
    assert small().encode("abc", bos=False) == small().encode("abc")[1:]


def test_unknown_characters_become_bytes() -> None:
    assert small().encode("z")[-1] == ord("z") + 3
    assert small().encode("€")[-3:] == [byte + 3 for byte in "€".encode()]


def test_special_ids_print_nothing() -> None:
    assert small().decode([1, 2, 0]) == "<unk>"


def test_stream_holds_back_half_a_character() -> None:
    stream = small().stream()
    pieces = [stream.push(byte + 3) for byte in "€".encode()]
    assert pieces == ["", "", "€"]


def test_stream_flushes_bytes_that_never_become_a_character() -> None:
    stream = small().stream()
    assert stream.push(0xE2 + 3) == ""
    assert stream.flush() == "\ufffd"
    assert stream.flush() == ""


def test_stream_does_not_wait_for_ever_on_bytes_that_are_no_text() -> None:
    stream = small().stream()
    pieces = [stream.push(0xFF + 3) for _ in range(40)]
    assert len("".join(pieces)) >= 32


def test_stream_work_does_not_grow_with_the_text() -> None:
    tokenizer = small()
    longest = 0

    class Counting:
        def decode(self, ids: list[int]) -> str:
            nonlocal longest
            longest = max(longest, len(ids))
            return tokenizer.decode(ids)

    stream = TextStream(Counting())  # type: ignore[arg-type]
    for token_id in tokenizer.encode("abc " * 500):
        stream.push(token_id)
    assert longest <= 16


def test_long_text_is_merged_quickly_enough_to_matter() -> None:
    assert len(small().encode("abc" * 20_000)) > 1000


def test_file_gives_the_same_tokenizer(tmp_path: Path, tok_bin_bytes: Callable[..., bytes]) -> None:
    path = tmp_path / "tok.bin"
    path.write_bytes(tok_bin_bytes(VOCABULARY))
    loaded = load_llama2c_tokenizer(path, len(VOCABULARY))
    assert loaded.pieces == small().pieces
    assert loaded.encode("abc éz") == small().encode("abc éz")


@pytest.mark.parametrize("off_by", [-1, 1])
def test_file_of_another_vocabulary_size_is_refused(
    off_by: int, tmp_path: Path, tok_bin_bytes: Callable[..., bytes]
) -> None:
    path = tmp_path / "tok.bin"
    path.write_bytes(tok_bin_bytes(VOCABULARY))
    with pytest.raises(DataError, match="pieces"):
        load_llama2c_tokenizer(path, len(VOCABULARY) + off_by)


def byte_level() -> tokenizers.Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(alphabet)}
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<s>"])
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 256)]
    )
    return inner


@given(st.text(st.characters(codec="utf-8", exclude_characters="\ufffd"), max_size=20))
def test_library_stream_joins_to_the_whole(text: str) -> None:
    tokenizer = LibraryTokenizer(byte_level())
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    stream = tokenizer.stream()
    assert "".join(stream.push(i) for i in ids) + stream.flush() == text


def test_padding_and_truncation_of_a_file_are_ignored(tmp_path: Path) -> None:
    inner = byte_level()
    inner.enable_padding(length=32)
    inner.enable_truncation(4)
    inner.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer_json(tmp_path / "tokenizer.json")
    assert len(tokenizer.encode("sixteen letters!", bos=False)) == 16
    assert tokenizer.vocab_size == 257


@given(st.binary(max_size=60))
def test_what_is_no_tokenizer_json_is_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_bytes(data)
        with pytest.raises(TaktError):
            load_tokenizer_json(path)
