"""The registry of rules: what goes before what, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import dkl
from dkl import rules
from dkl.divergences import Divergence
from dkl.estimate import Estimate
from dkl.representations import FiniteOutcomes, Probs, Representation
from dkl.rules import rule


@dataclass(frozen=True, eq=False)
class Animal(Representation):
    """A kind of distribution that no rule of the library knows."""

    number: int


class Dog(Animal):
    """A narrower kind."""


class Puppy(Dog):
    """Narrower still."""


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    dkl.kl([1.0], [1.0])  # load the library's own rules first
    before = list(rules._rules)
    yield
    rules._rules[:] = before
    rules._found.clear()


def _says(value: float) -> Any:
    def measured(divergence: Any, p: Any, q: Any, **options: Any) -> Estimate:
        return Estimate(np.float64(value), np.float64(0), "closed_form", divergence.name, "", divergence.unit)

    return measured


ONE = Animal(1), Animal(1)


def test_the_narrower_type_goes_first() -> None:
    rule(Divergence, Animal, Animal, "closed_form")(_says(1))
    rule(Divergence, Dog, Dog, "closed_form")(_says(2))
    assert dkl.kl(Animal(0), Animal(0)) == 1
    assert dkl.kl(Dog(0), Dog(0)) == 2
    assert dkl.kl(Puppy(0), Dog(0)) == 2
    assert dkl.kl(Puppy(0), Animal(0)) == 1


def test_a_rule_may_decline() -> None:
    rule(Divergence, Dog, Dog, "closed_form")(lambda *pair, **options: None)
    with pytest.raises(TypeError, match=r"nothing measures kl between a Dog and a Dog; tried closed_form"):
        dkl.kl(Dog(0), Dog(0))
    rule(Divergence, Animal, Animal, "closed_form")(_says(1))
    rule(Divergence, Dog, Dog, "quadrature")(_says(2))
    assert dkl.kl(Dog(0), Dog(0)) == 1
    assert dkl.kl(Dog(0), Dog(0), method="quadrature") == 2


def test_a_name_goes_before_a_class() -> None:
    rule(Divergence, Animal, Animal, "closed_form")(_says(1))
    rule("kl", Animal, Animal, "closed_form")(_says(2))
    assert dkl.kl(*ONE) == 2
    assert dkl.tv(*ONE) == 1


def test_the_formula_of_one_member_does_not_answer_for_another() -> None:
    rule("kl", Animal, Animal, "closed_form")(_says(2))
    with pytest.raises(TypeError, match="nothing measures tv between a Animal and a Animal"):
        dkl.tv(*ONE)


def test_methods_are_tried_in_their_order_and_can_be_forced() -> None:
    rule(Divergence, Animal, Animal, "estimator")(_says(5))
    assert dkl.kl(*ONE) == 5
    rule(Divergence, Animal, Animal, "quadrature")(_says(3))
    assert dkl.kl(*ONE) == 3
    rule(Divergence, Animal, Animal, "closed_form")(_says(1))
    assert dkl.kl(*ONE) == 1
    assert dkl.kl(*ONE, method="estimator") == 5
    assert dkl.measure(*ONE, method="quadrature").value == 3


def test_keys_may_be_strings() -> None:
    rule(Divergence, f"{Dog.__module__}.Dog", f"{Dog.__module__}.Dog", "closed_form")(_says(7))
    assert dkl.kl(Dog(0), Puppy(0)) == 7


def test_a_duplicate_is_refused() -> None:
    rule(Divergence, Animal, Animal, "closed_form")(_says(1))
    with pytest.raises(ValueError, match="is registered already"):
        rule(Divergence, Animal, Animal, "closed_form")(_says(2))
    rule(Divergence, Animal, Animal, "exact")(_says(2))  # another method is another rule


def test_a_duplicate_by_name_is_refused() -> None:
    rule(Divergence, Animal, Animal, "closed_form")(_says(1))
    name = f"{Animal.__module__}.Animal"
    with pytest.raises(ValueError, match="is registered already"):
        rule(Divergence, name, name, "closed_form")(_says(2))


def test_an_ambiguous_pair_of_rules_is_refused() -> None:
    rule(Divergence, Animal, Dog, "closed_form")(_says(1))
    with pytest.raises(ValueError, match="both match some pairs and neither is the more specific"):
        rule(Divergence, Dog, Animal, "closed_form")(_says(2))
    rule(Divergence, Dog, Dog, "closed_form")(_says(3))
    rule(Divergence, Dog, Animal, "closed_form")(_says(2))
    assert dkl.kl(Dog(0), Dog(0)) == 3
    assert dkl.kl(Dog(0), Animal(0)) == 2
    assert dkl.kl(Animal(0), Dog(0)) == 1


def test_a_new_rule_is_seen_after_a_pair_was_measured() -> None:
    rule(Divergence, Animal, Animal, "closed_form")(_says(1))
    assert dkl.kl(Dog(0), Dog(0)) == 1
    rule("kl", Dog, Dog, "closed_form")(_says(2))
    assert dkl.kl(Dog(0), Dog(0)) == 2


def test_no_rule_says_what_was_tried() -> None:
    with pytest.raises(
        TypeError, match=r"nothing measures kl between a Animal and a Probs; tried .*FiniteOutcomes"
    ) as caught:
        dkl.kl(Animal(0), [1.0])
    assert "exact: Divergence(FiniteOutcomes, FiniteOutcomes)" in str(caught.value)
    with pytest.raises(TypeError, match=r"samples would be dkl\.Samples\(x\)$"):
        dkl.kl([0.5, 0.5], dkl.families.Normal(0, 1))
    with pytest.raises(TypeError, match="nothing measures kl between a Samples and a Samples"):
        dkl.kl(dkl.Samples([1.0]), dkl.Samples([2.0]))
    rules._rules[:] = [known for known in rules._rules if known.method != "estimator"]
    with pytest.raises(TypeError, match="by method 'estimator'; tried nothing: no rule is registered for it"):
        dkl.kl([1.0], [1.0], method="estimator")


def test_an_unknown_method_is_named_with_the_known_ones() -> None:
    for call in (lambda: dkl.kl([1.0], [1.0], method="magic"), lambda: rule(Divergence, Probs, Probs, "magic")):
        with pytest.raises(ValueError, match="method = 'magic' is not one of closed_form, exact, quadrature"):
            call()


def test_the_library_registers_one_exact_rule_for_outcomes() -> None:
    exact = [r for r in rules._rules if r.p is FiniteOutcomes and r.method == "exact"]
    assert len(exact) == 1
    assert str(exact[0]) == "exact: Divergence(FiniteOutcomes, FiniteOutcomes)"
