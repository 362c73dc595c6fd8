"""The registry and the errors: lazy entries, entry points, did-you-mean, errors that cross a process border."""

from __future__ import annotations

import pickle

import pytest

from bob.core.errors import BobError, ConfigError, UnknownNameError, WeightsMissingError
from bob.core.registry import Registry, load_reference


def make(**kwargs) -> Registry:
    return Registry("gadget", list_command="bob list gadgets", **kwargs)


def test_an_unknown_name_offers_the_closest_and_the_listing_command():
    registry = make()
    registry.add("linear", object())
    with pytest.raises(UnknownNameError, match=r"gadget 'liner' is not known. Did you mean 'linear'\?") as caught:
        registry.get("liner")
    assert "bob list gadgets" in str(caught.value)


def test_a_reference_is_imported_at_its_first_use_only():
    registry = make()
    registry.add("lazy", "json:dumps")
    registry.add("broken", "no_such_module_at_all:thing")
    assert registry.get("lazy")({"a": 1}) == '{"a": 1}'
    with pytest.raises(BobError, match="no_such_module_at_all"):
        registry.get("broken")


@pytest.mark.parametrize("reference", ["json", "json:", ":dumps", "json:no_such_attribute"])
def test_a_reference_that_leads_nowhere_says_so(reference):
    with pytest.raises(BobError, match="reference"):
        load_reference(reference)


def test_a_name_is_given_once():
    registry = make()
    registry.add("one", object())
    with pytest.raises(BobError, match="registered already"):
        registry.add("one", object())


def test_an_error_keeps_its_kind_and_hint_when_it_crosses_a_process_border():
    error = pickle.loads(pickle.dumps(WeightsMissingError("no weights", hint="bob fetch smoke")))
    assert type(error) is WeightsMissingError
    assert error.hint == "bob fetch smoke"
    assert str(error) == "no weights\n       bob fetch smoke"


@pytest.mark.parametrize(
    ("composed", "told"),
    [
        ("the file fails: it has no class..", "the file fails: it has no class."),
        ("it has no class.. Next: bob doctor", "it has no class. Next: bob doctor"),
        ("line 1..\n       line 2..", "line 1.\n       line 2."),
        ("'x' is not known. Did you mean 'y'?.", "'x' is not known. Did you mean 'y'?"),
        ("and so on...", "and so on..."),
        ("'../x' and x/.. lead out of the folder, and so does '..'.", None),
        ("k=0.5: expected 1..5.", None),
    ],
)
def test_a_message_put_into_a_sentence_ends_in_one_period(composed, told):
    error = ConfigError(composed, hint=composed)
    assert (error.message, error.hint) == (told or composed, told or composed)
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == f"{told or composed}\n       {told or composed}"
    around = BobError(f"the plug-in fails: {ConfigError('there is no class.')}.")
    assert str(around) == around.args[0] == "the plug-in fails: there is no class."
