"""ARPA files round-trip, and errors name file and line."""

import gzip

import numpy as np
import pytest

from asr.errors import UserError
from asr.lm.arpa import MISSING_UNKNOWN, read_arpa, write_arpa
from asr.lm.ngram import NGram

ARPA = """written by hand

\\data\\
ngram 1=5
ngram 2=3
ngram 3=1

\\1-grams:
-1.5\t<unk>
-99\t<s>\t-0.25
-0.75\t</s>
-0.5\tsea\t-0.125
-1\tñandú

\\2-grams:
-0.25\t<s> sea\t-0.5
-0.5\tsea </s>
-2 sea ñandú

\\3-grams:
-0.125\t<s> sea </s>

\\end\\
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "lm.arpa").write_text(ARPA, encoding="utf-8")
    return tmp_path / "lm.arpa"


def test_every_entry_is_read(path):
    words, orders = read_arpa(path)
    assert words == ["<unk>", "<s>", "</s>", "sea", "ñandú"]
    assert [ngrams.words.tolist() for ngrams in orders] == [
        [[0], [1], [2], [3], [4]],
        [[1, 3], [3, 2], [3, 4]],
        [[1, 3, 2]],
    ]
    log10 = np.log(10)
    np.testing.assert_allclose(orders[1].score / log10, [-0.25, -0.5, -2], rtol=1e-6)
    np.testing.assert_allclose(orders[0].backoff / log10, [0, -0.25, 0, -0.125, 0], rtol=1e-6)


def test_scores_by_hand(path):
    model = NGram.load(path)
    assert model.score("sea") / np.log(10) == pytest.approx(-0.25 - 0.125)
    # <s> sea, then back off from "<s> sea" to "sea ñandú", then from nothing to </s>.
    assert model.score("sea ñandú") / np.log(10) == pytest.approx(-0.25 - 0.5 - 2 - 0.75)
    assert model.score("what") / np.log(10) == pytest.approx(-0.25 - 1.5 - 0.75)
    assert model.order == 3 and model.unit == "words"


@pytest.mark.parametrize("name", ["copy.arpa", "copy.arpa.gz"])
def test_a_written_file_is_read_back(path, name):
    words, orders = read_arpa(path)
    write_arpa(path.with_name(name), words, orders)
    again, same = read_arpa(path.with_name(name))
    assert again == words
    for ngrams, copy in zip(orders, same, strict=True):
        np.testing.assert_array_equal(ngrams.words, copy.words)
        np.testing.assert_allclose(ngrams.score, copy.score, rtol=1e-6)
        np.testing.assert_allclose(ngrams.backoff, copy.backoff, rtol=1e-6)
    assert sorted(file.name for file in path.parent.iterdir()) == [name, "lm.arpa"]


def test_gzip_is_detected_by_content(path):
    path.write_bytes(gzip.compress(ARPA.encode()))
    assert read_arpa(path)[0][3] == "sea"


def test_windows_line_ends(path):
    path.write_bytes(ARPA.replace("\n", "\r\n").encode())
    assert read_arpa(path)[0][4] == "ñandú"


def test_upper_case_and_missing_unknown_words(path):
    path.write_text(ARPA.replace("<unk>", "<UNK>"), encoding="utf-8")
    assert read_arpa(path)[0][0] == "<unk>"
    path.write_text(ARPA.replace("1=5", "1=4").replace("-1.5\t<unk>\n", ""), encoding="utf-8")
    words, orders = read_arpa(path)
    assert words[-1] == "<unk>" and orders[0].score[-1] == np.float32(MISSING_UNKNOWN)


def test_only_ascii_white_space_separates_words(path):
    path.write_text(ARPA.replace("ñandú", "a\u00a0b\u2028c"), encoding="utf-8")
    assert read_arpa(path)[0][4] == "a\u00a0b\u2028c"


@pytest.mark.parametrize(
    "old, new, problem",
    [
        ("\\data\\", "data", "lm.arpa: not an ARPA file: it has no line"),
        ("ngram 2=3", "ngram 4=3", "lm.arpa:5: expected ngram 2=COUNT, found 'ngram 4=3'"),
        ("ngram 2=3", "ngram 2=x", "lm.arpa:5: expected ngram 2=COUNT"),
        ("ngram 2=3", "", r"lm.arpa:6: expected ngram 2=COUNT, found 'ngram 3=1'"),
        ("\\1-grams:", "\\2-grams:", "lm.arpa:8: expected .*1-grams:"),
        ("ngram 2=3", "ngram 2=2", "lm.arpa:18: expected .*3-grams:, found '-2 sea"),
        ("ngram 2=3", "ngram 2=4", "lm.arpa:19: expected a score and 2 words, found ''"),
        ("ngram 3=1", "ngram 3=4", "lm.arpa:22: expected a score and 3 words"),
        ("-1.5\t<unk>", "x\t<unk>", "lm.arpa:9: .*'x.*found 'x"),
        ("-1.5\t<unk>", "nan\t<unk>", "lm.arpa:9: a score is above 0 or not a number"),
        ("-1.5\t<unk>", "0.5\t<unk>", "lm.arpa:9: a score is above 0 or not a number"),
        ("-1.5\t<unk>", "-1.5\t<unk>\t-1\t2", "lm.arpa:9: expected a score and 1 words"),
        ("sea </s>\n", "lake </s>\n", "lm.arpa:17: the word 'lake' is not among the 1-grams"),
        ("sea ñandú", "sea </s>", "lm.arpa:18: the 2-gram 'sea </s>' occurs here again"),
        ("-1\tñandú", "-1\tsea", "lm.arpa:13: the 1-gram 'sea' occurs here again"),
        ("\\end\\", "", "lm.arpa:23: the file ends before .*; it is cut off"),
        ("\\end\\", "-1\tsea", "lm.arpa:23: expected .*end"),
        ("-99\t<s>\t-0.25", "-9\t<b>", "lm.arpa:16: the word '<s>' is not among the 1-grams"),
        ("<s> sea </s>", "ñandú sea </s>", "lm.arpa: the n-gram 'ñandú sea </s>' has no context"),
    ],
)
def test_mistakes_are_named_by_file_and_line(path, old, new, problem):
    assert old in ARPA
    path.write_text(ARPA.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError, match=problem) as caught:
        NGram.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_no_sentence_marks(path):
    path.write_text("\\data\\\nngram 1=1\n\n\\1-grams:\n-1\tsea\n\n\\end\\\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"lm\.arpa: the model has no <s>"):
        read_arpa(path)


def test_damaged_files(path):
    path.write_bytes(ARPA.encode("latin-1"))
    with pytest.raises(UserError, match=r"lm.arpa:13: .*utf-8.* found '-1"):
        read_arpa(path)
    path.write_bytes(gzip.compress(ARPA.encode())[:-20])
    with pytest.raises(UserError, match="damaged gzip file"):
        read_arpa(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="not an ARPA file"):
        read_arpa(path)


def test_an_order_without_ngrams(path):
    path.write_text(
        ARPA.replace("3=1", "3=0").replace("-0.125\t<s> sea </s>\n", ""), encoding="utf-8"
    )
    assert NGram.load(path).score("sea") / np.log(10) == pytest.approx(-0.25 - 0.5 - 0.5)
