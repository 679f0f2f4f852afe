"""Texts: where they are looked for, how they are split, and what becomes of them as tokens."""

import gzip
import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qnn_ref.datasets import DataError, TextData, Vocabulary, load, load_text, tokenize, verify
from qnn_ref.datasets.known import TEXTS
from qnn_ref.datasets.tokens import lanes, symbols_of, vocabulary_of, window_starts

PARTS = {"train": " to be or \n not to be \n", "valid": " that is \n", "test": " the question \n"}
TEXT = "to be, or not to be, that is the question:\n" * 10


def write_parts(folder, name="mine", **changes):
    folder.mkdir(parents=True, exist_ok=True)
    for part, text in (PARTS | changes).items():
        (folder / f"{name}.{part}.txt").write_text(text, encoding="utf-8", newline="")
    return folder


def test_the_text_that_comes_with_the_package():
    text = load("shakespeare")
    assert {name: len(part) for name, part in text.parts.items()} == {
        "train": 239_894,
        "validation": 29_987,
        "test": 29_987,
    }
    assert text.train.startswith("First Citizen:\nBefore we proceed any further")
    (check,) = verify("shakespeare")
    assert check.ok
    tokens = tokenize(text, "characters")
    assert len(tokens.vocabulary) == 62 + 1
    assert tokens.vocabulary.decode(tokens.test) == text.test
    assert not tokens.strangers["test"]


@pytest.mark.parametrize("where", ["", "mine", "mine/simple-examples/data"])
def test_three_files_of_ones_own(tmp_path, where):
    write_parts(tmp_path / where)
    text = load_text("mine", tmp_path)
    assert list(text.parts.values()) == list(PARTS.values())
    assert load("mine", tmp_path).test == PARTS["test"]


@pytest.mark.parametrize("packed", [False, True])
def test_one_file_is_split_in_order(tmp_path, packed):
    encoded = TEXT.encode()
    (tmp_path / "mine.txt").write_bytes(gzip.compress(encoded) if packed else encoded)
    text = load_text("mine", tmp_path)
    assert text.train + text.validation + text.test == TEXT
    assert (len(text.train), len(text.validation)) == (344, 43)  # 0.8 and 0.1 of 430


def test_an_archive_of_bytes(tmp_path):
    arrays = {part: np.frombuffer(text.encode(), np.uint8) for part, text in PARTS.items()}
    np.savez(tmp_path / "mine.npz", **arrays)
    assert list(load_text("mine", tmp_path).parts.values()) == list(PARTS.values())
    np.savez(tmp_path / "mine.npz", **(arrays | {"test": np.zeros(3)}))
    with pytest.raises(DataError, match=r"mine\.npz: test: expected a row of bytes"):
        load_text("mine", tmp_path)


def test_lines_of_penn_treebank_lose_their_outer_spaces(tmp_path):
    write_parts(tmp_path, "ptb")
    text = load("ptb", tmp_path)
    assert text.train == "to be or\nnot to be\n"
    tokens = tokenize(text, "words")
    assert tokens.vocabulary.symbols == ("<eos>", "be", "to", "not", "or", "<unk>")
    assert tokens.test.tolist() == [5, 5, 0]
    assert tokens.strangers["test"] == Counter({"the": 1, "question": 1})
    assert tokens.strangers_said().endswith(
        "test: 2 of 3 words unknown to training ('the', 'question')"
    )
    assert [check.ok for check in verify("ptb", tmp_path)] == [False] * 3


def test_penn_treebank_is_known_by_its_checksums(tmp_path, monkeypatch):
    write_parts(tmp_path, "ptb")
    sha256 = {
        f"ptb.{part}.txt": hashlib.sha256(text.encode()).hexdigest() for part, text in PARTS.items()
    }
    known = dict(TEXTS) | {"ptb": type(TEXTS["ptb"])(sha256)}
    monkeypatch.setattr("qnn_ref.datasets.text.TEXTS", known)
    assert [check.ok for check in verify("ptb", tmp_path)] == [True] * 3
    (tmp_path / "ptb.valid.txt").unlink()
    assert [check.ok for check in verify("ptb", tmp_path)] == [True, False, True]
    (tmp_path / "ptb.train.txt").unlink()
    (tmp_path / "ptb.test.txt").unlink()
    arrays = {part: np.frombuffer(text.encode(), np.uint8) for part, text in PARTS.items()}
    np.savez(tmp_path / "ptb.npz", **arrays)
    assert [check.ok for check in verify("ptb", tmp_path)] == [True] * 3
    (tmp_path / "ptb.npz").unlink()
    (tmp_path / "ptb.txt").write_text(TEXT)
    assert [check.ok for check in verify("ptb", tmp_path)] == [None]


def test_ends_of_lines_and_the_mark_at_the_start(tmp_path):
    (tmp_path / "mine.txt").write_bytes(b"\xef\xbb\xbfabc\r\nde\rfgh\n\xc3\xa9\xc3\xa9")
    text = load_text("mine", tmp_path)
    assert text.train + text.validation + text.test == "abc\nde\nfgh\néé"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"too short", "expected at least 10 characters, found 9"),
        (b"not \xff UTF-8 at all", "is no UTF-8: invalid start byte at byte 4"),
        (gzip.compress(TEXT.encode())[:-9], "compressed stream ends early"),
    ],
)
def test_a_damaged_text_is_named(tmp_path, content, words):
    (tmp_path / "mine.txt").write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        load_text("mine", tmp_path)
    assert caught.value.path == str(tmp_path / "mine.txt")


def test_a_part_that_is_missing_or_empty(tmp_path):
    write_parts(tmp_path, test="\ufeff")
    with pytest.raises(DataError, match=r"mine\.test\.txt: holds no text"):
        load_text("mine", tmp_path)
    (tmp_path / "mine.valid.txt").unlink()
    with pytest.raises(DataError, match=r"mine\.valid\.txt: "):
        load_text("mine", tmp_path)
    with pytest.raises(DataError, match=r"no other\.txt in "):
        load_text("other", tmp_path)
    with pytest.raises(ValueError, match=r"name: expected a text, 'shakespeare' or 'ptb', got 'mn"):
        load_text("mnist")


@given(st.text(min_size=1))
@example("\N{REPLACEMENT CHARACTER}")
@example("a\N{REPLACEMENT CHARACTER}a")
def test_characters_come_back(text):
    vocabulary = vocabulary_of(text, "characters")
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert vocabulary.unknown == len(vocabulary) - 1
    assert vocabulary.encode("\n\t~é").tolist() == [
        vocabulary.symbols.index(c) if c in text else vocabulary.unknown for c in "\n\t~é"
    ]


@given(st.lists(st.sampled_from(["to", "be", "or", "\n", "<unk>"]), min_size=1))
def test_words_come_back(words):
    text = " ".join(words).replace(" \n", "\n").replace("\n ", "\n")
    vocabulary = vocabulary_of(text, "words")
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_the_most_frequent_symbols_are_kept():
    vocabulary = vocabulary_of("b b a a c", "words", most=3)
    assert vocabulary.symbols == ("a", "b", "<unk>")
    assert vocabulary_of("bbaac", "characters", most=2).symbols == (
        "a",
        "\N{REPLACEMENT CHARACTER}",
    )
    assert vocabulary.strangers("a c c d") == Counter({"c": 2, "d": 1})


@pytest.mark.parametrize(
    ("symbols", "level", "words"),
    [
        (("a", "b"), "characters", "symbols: expected .* for what is unknown"),
        (("a", "a", "<unk>"), "words", "symbols: 'a' stands there twice"),
        (("a b", "<unk>"), "words", "symbols: expected words without spaces, got 'a b'"),
        (("ab", "\ufffd"), "characters", "symbols: expected single characters, got 'ab'"),
        (("a",), "letters", "level: expected 'characters' or 'words'"),
    ],
)
def test_what_is_no_vocabulary(symbols, level, words):
    with pytest.raises(ValueError, match=words):
        Vocabulary(symbols, level)


def test_a_token_that_is_none():
    vocabulary = vocabulary_of("abc", "characters")
    with pytest.raises(ValueError, match="tokens: expected a whole number from 0 to 3, got 4"):
        vocabulary.decode([4])
    with pytest.raises(ValueError, match="text: expected some words, got none"):
        vocabulary_of(" ", "words")
    with pytest.raises(ValueError, match="test: expected some words, got none"):
        tokenize(TextData("mine", "a b", "b", " ", "here"), "words")


@given(st.integers(2, 60), st.integers(1, 9), st.booleans())
def test_lanes_are_the_text_in_order(size, count, from_before):
    tokens = np.arange(1, size + 1)
    before = 0 if from_before else None
    pairs = size - (not from_before)
    if count > pairs:
        with pytest.raises(ValueError, match="count: expected a whole number from 1 to"):
            lanes(tokens, count, before)
        return
    x, y = lanes(tokens, count, before)
    assert x.shape == y.shape == (count, pairs // count)
    assert (y == x + 1).all()
    assert x.ravel().tolist() == list(range(not from_before, x.size + (not from_before)))


@given(st.integers(0, 40), st.integers(1, 12))
def test_windows_follow_each_other_to_the_end(length, steps):
    windows = list(window_starts(length, steps))
    assert [i for start, end in windows for i in range(start, end)] == list(range(length))
    assert all(end - start == steps for start, end in windows[:-1])


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (np.arange(3.0), "tokens: expected tokens of shape"),
        (np.zeros((2, 2), np.int64), "tokens: expected tokens of shape"),
        (np.array([], np.int64), "tokens: expected tokens of shape"),
        (np.array([1, -1]), "tokens: expected 0, got -1 to 1"),
        (np.array([1]), "tokens: expected at least two, got one"),
    ],
)
def test_what_are_no_tokens(tokens, words):
    with pytest.raises(ValueError, match=words):
        lanes(tokens, 1)
    with pytest.raises(TypeError, match="text: expected an object of str"):
        symbols_of(b"text", "characters")


def test_tokens_show_how_many_there_are():
    tokens = tokenize(load_text("shakespeare"), "characters")
    assert repr(tokens).startswith(f"<TokenData: train {len(tokens.train):,}, validation ")
