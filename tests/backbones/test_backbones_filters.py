"""Filters choose what they say, and a condition that means nothing is an error with the valid choices."""

from __future__ import annotations

import pytest

from bob.backbones.catalogue import catalogue, match, select
from bob.core.errors import ConfigError, UnknownNameError


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({"params_m": "< 30"}, lambda b: b.params_m < 30),
        ({"params_m": "<30"}, lambda b: b.params_m < 30),
        ({"params_m": ">= 85.8"}, lambda b: b.params_m >= 85.8),
        ({"params_m": "10..30"}, lambda b: 10 <= b.params_m <= 30),
        ({"params_m": "> 5, < 10"}, lambda b: 5 < b.params_m < 10),
        ({"params_m": ["< 3", "> 85"]}, lambda b: b.params_m < 3 or b.params_m > 85),
        ({"image_size": 256}, lambda b: b.input.image_size == 256),
        ({"image_size": "!= 224"}, lambda b: b.input.image_size != 224),
        ({"family": "ViT"}, lambda b: b.family == "vit"),
        ({"family": "!= vit"}, lambda b: b.family != "vit"),
        ({"pretrain_method": ["DINO", "DINOv2"]}, lambda b: b.pretrain_method in ("DINO", "DINOv2")),
        ({"name": "convnext_tiny.*"}, lambda b: b.arch == "convnext_tiny"),
        ({"package": "efficientnet*"}, lambda b: b.package is not None),
        ({"family": "vit", "params_m": "< 30"}, lambda b: b.family == "vit" and b.params_m < 30),
        ({}, lambda b: True),
    ],
)
def test_a_filter_matches_exactly_what_it_says_in_the_catalogues_order(where, holds):
    wanted = tuple(b for b in catalogue() if holds(b))
    assert wanted
    assert match(where) == wanted


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"famly": "vit"}, "filter field 'famly' is not known.*expected one of name, arch.*Did you mean 'family'"),
        ({"family": "vitt"}, "no backbone has 'vitt': expected one of convnext.*Did you mean 'vit'"),
        ({"pretrain_method": ["DINO", "DNIOv2"]}, "Did you mean 'DINOv2'"),
    ],
)
def test_an_unknown_field_or_value_offers_the_closest_and_the_choices(where, message):
    with pytest.raises(UnknownNameError, match=message):
        match(where)


@pytest.mark.parametrize(
    "where", [{"params_m": "~ 3"}, {"params_m": "< thirty"}, {"params_m": None}, {"family": 3}, {"family": "< vit"}]
)
def test_a_condition_that_cannot_be_read_says_what_can(where):
    with pytest.raises(ConfigError, match=r"expected"):
        match(where)


def test_among_narrows_the_choice():
    some = catalogue()[:5]
    assert match({"params_m": "> 0"}, some) == some
    assert match({"family": "hiera"}, some) == ()


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("params_m < 30", lambda b: b.params_m < 30),
        ("params_m<10, family=mobilenet", lambda b: b.params_m < 10 and b.family == "mobilenet"),
        ("dinov2", lambda b: "dinov2" in b.name or b.pretrain_method == "DINOv2"),
        ("DINOv2, params_m < 30", lambda b: b.pretrain_method == "DINOv2" and b.params_m < 30),
        ("", lambda b: True),
    ],
)
def test_a_filter_text_means_a_clause_or_a_word_in_any_field(text, holds):
    wanted = tuple(b for b in catalogue() if holds(b))
    assert wanted
    assert select(text) == wanted


def test_a_filter_text_with_an_unknown_field_is_an_error_not_an_empty_answer():
    with pytest.raises(UnknownNameError, match="Did you mean 'params_m'"):
        select("param_m < 30")
