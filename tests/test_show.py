"""show() displays the library's own source and nothing else."""

import inspect

import numpy as np
import pytest
from IPython.utils.capture import capture_output

import crl_mini
from crl_mini import losses
from crl_mini.agents.crl import CRL
from crl_mini.figures.show import EQUATIONS, Source, show

SHOWN = [losses.binary_nce, losses, CRL, CRL.update, CRL.create]


@pytest.mark.parametrize("obj", SHOWN, ids=lambda obj: obj.__name__)
def test_plain_text_is_the_source_itself(obj):
    assert repr(Source(obj)) == inspect.getsource(obj)


def test_html_holds_every_word_of_the_source_and_its_name():
    source = Source(losses.infonce)
    text = source._repr_html_()
    assert "<code>crl_mini.losses.infonce</code>" in text
    for word in ("infonce", "logsumexp", "axis", "diag"):
        assert f">{word}<" in text
    assert text.count("<span") == text.count("</span>")


def test_show_displays_instead_of_returning():
    with capture_output() as captured:
        assert show(losses.infonce) is None
    assert captured.stdout.rstrip() == inspect.getsource(losses.infonce).rstrip()


def test_show_is_public():
    assert crl_mini.show is show


def test_link_is_relative_in_the_book_and_absolute_elsewhere(monkeypatch):
    monkeypatch.setenv("CRL_MINI_BOOK", "1")
    page = f'href="../chapters/{EQUATIONS["nce"]}.html#equation-nce"'
    assert page in Source(losses.binary_nce)._repr_html_()
    monkeypatch.delenv("CRL_MINI_BOOK")
    path = f'/blob/main/book/chapters/{EQUATIONS["nce"]}.md"'
    text = Source(losses.binary_nce)._repr_html_()
    assert 'href="https://github.com/' in text
    assert path in text


@pytest.mark.parametrize(
    ("obj", "named"),
    [
        (np.linalg.norm, "norm"),
        (np, "numpy"),
        (int, "int"),
        (3, "an instance of int"),
        ("crl_mini", "an instance of str"),
        (losses.LOSSES, "an instance of dict"),
    ],
)
def test_what_is_not_the_librarys_is_refused(obj, named):
    with pytest.raises(TypeError, match=f"class or module of crl_mini; got .*{named}"):
        show(obj)
