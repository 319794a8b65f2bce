"""A record whose fields are flags: what each is called, takes, recommends and refuses, and the line that asks again."""

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import AfterValidator, Field, model_validator

from infra import asked, command_line
from infra.asked import Asked, Flag
from infra.errors import UsageError


def even(number: int) -> int:
    if number % 2:
        raise ValueError("It is odd")
    return number


class Wish(Asked):
    """Of each kind one."""

    not_asked: ClassVar[tuple[str, ...]] = ()

    model: str
    """Which one."""
    requests: int = Field(default=1, ge=1, le=1_000_000)
    """How many
    in all."""
    ttft_s: float | None = Field(default=None, gt=0)
    share: Annotated[float, Field(ge=0, le=1), Flag(shows_limits=True)] = 0.5
    """A part."""
    usd: Decimal | None = Field(default=None, ge=0, le=Decimal(1000), examples=[Decimal("12.5")])
    machines: tuple[str, ...] = ()
    counts: tuple[Annotated[int, Field(lt=9)], ...] = Field(default=())
    output: Annotated[str | None, Flag("--output -o")] = None
    colour: Annotated[bool, Flag("--colour/--no-colour")] = True
    quiet: bool = False
    loud: bool = True
    name: str = Field(default="", pattern="^[a-z]*$", examples=["scout"])
    form: Literal["a", "b"] | None = None
    pair: Annotated[int, AfterValidator(even)] = 2
    rate: float = Field(default=0.5, ge=0.25, lt=2)
    limit: Annotated[int, Field(ge=1_000), Flag(shows_limits=True)] = 1_000

    @model_validator(mode="after")
    def _together(self) -> "Wish":
        if self.quiet and self.model == "loud":
            raise ValueError("both cannot be")
        return self


def of(**given: Any) -> Wish:
    return Wish.of({"model": "scout"} | given)


@pytest.mark.parametrize(
    ("given", "said", "hint"),
    [
        ({"model": " "}, "--model is empty.", "Give it a value, or leave it out."),
        ({"output": ""}, "--output is empty.", "Give it a value, or leave it out."),
        ({"machines": ["x", ""]}, "--machines is empty.", "Give it a value, or leave it out."),
        ({"model": None}, "--model None: input should be a valid string.", ""),
        ({"requests": "0"}, "--requests 0 is not between 1 and 1,000,000.", "For example: --requests 1"),
        ({"requests": "1.5"}, "--requests 1.5 is no whole number.", "For example: --requests 1"),
        ({"requests": 1.5}, "--requests 1.5 is no whole number.", "For example: --requests 1"),
        ({"ttft_s": "0"}, "--ttft-s 0 is not above 0.", ""),
        ({"ttft_s": "x"}, "--ttft-s x is no number.", "For example: 1.5, 500ms or 2min"),
        ({"ttft_s": "inf"}, "--ttft-s inf is no finite number.", ""),
        ({"ttft_s": " -Infinity "}, "--ttft-s -inf is no finite number.", ""),
        ({"ttft_s": []}, "--ttft-s [] is no number.", ""),
        ({"share": "1.5"}, "--share 1.5 is not between 0 and 1.", "For example: --share 0.5"),
        ({"share": "25"}, "--share 25 is not between 0 and 1.", "Did you mean --share 25%?"),
        ({"share": "100.0"}, "--share 100 is not between 0 and 1.", "Did you mean --share 100%?"),
        ({"share": "101"}, "--share 101 is not between 0 and 1.", "For example: --share 0.5"),
        ({"usd": "2k"}, "--usd 2000 is not between 0 and 1,000.", "For example: --usd 12.5"),
        ({"usd": "1_001.0"}, "--usd 1_001.0 is not between 0 and 1,000.", "For example: --usd 12.5"),
        ({"usd": object}, f"--usd {object} is no number.", "For example: --usd 12.5"),
        ({"counts": ["3", "9"]}, "--counts 9 is above 9.", ""),
        ({"name": "B"}, "--name 'B' cannot be right.", "It looks like scout"),
        ({"form": "c"}, "--form 'c' is unknown.", "One of: a, b"),
        ({"pair": "3"}, "--pair 3: value error, It is odd.", "For example: --pair 2"),
        ({"rate": "2"}, "--rate 2 is not at least 0.25 and below 2.", "For example: --rate 0.5"),
        ({"limit": "999"}, "--limit 999 is below 1,000.", "For example: --limit 1000"),
        ({"model": "loud", "quiet": True}, "Value error, both cannot be.", ""),
    ],
)  # fmt: skip
def test_what_does_not_hold_is_said_under_the_flags_name(given: dict[str, Any], said: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        of(**given)
    assert (error.value.message, error.value.hint) == (said, hint)


def test_what_is_missing_is_said() -> None:
    with pytest.raises(UsageError) as error:
        Wish.of({})
    assert (error.value.message, error.value.hint) == ("--model is missing.", "")


def test_what_holds_is_the_record() -> None:
    made = of(
        requests="2k",
        ttft_s="200ms",
        share="70%",
        usd="$1.50",
        counts=["3", 4],
        machines=["a"],
        output=None,
        name="",
    )
    assert made == Wish(
        model="scout", requests=2000, ttft_s=0.2, share=0.7, usd=Decimal("1.50"), counts=(3, 4), machines=("a",)
    )  # fmt: skip
    assert isinstance(made.ttft_s, float)


def test_the_line_that_asks_again_says_what_is_not_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked.again() == ""
    made = of(
        model="a model", requests=1, ttft_s=2.0, share=0.25, machines=["x", "-y"], output="-", colour=False,
        quiet=True, loud=False, name="",
    )  # fmt: skip
    words = " --ttft-s 2 --share 0.25 --machines x --machines=-y --output=- --no-colour --quiet --no-loud"
    assert asked.again(made) == f" --model 'a model'{words}"
    monkeypatch.setattr(command_line, "before_the_verb", ["--offline"])
    monkeypatch.setattr(asked, "before_the_verb", ["--offline"])
    assert asked.again(made, without=("model",)) == f"{words} --offline"
    assert asked.again(of(rate=1.5, limit=1_000_000), of(pair=4)) == (
        " --model scout --rate 1.5 --limit 1000000 --model scout --pair 4 --offline"
    )


@pytest.mark.parametrize(
    ("field", "names", "spoken"),
    [
        ("ttft_s", ("--ttft-s",), "--ttft-s"),
        ("output", ("--output", "-o"), "--output"),
        ("colour", ("--colour/--no-colour",), "--colour"),
        ("quiet", ("--quiet",), "--quiet"),
        ("loud", ("--loud/--no-loud",), "--loud"),
    ],
)
def test_how_a_field_is_typed(field: str, names: tuple[str, ...], spoken: str) -> None:
    assert (asked.flag_names(Wish, field), asked.spoken(Wish, field)) == (names, spoken)


def test_a_fields_docstring_is_its_help_with_the_limits_where_it_shows_them() -> None:
    fields = Wish.model_fields
    assert {name: asked.described(info) for name, info in fields.items() if asked.described(info)} == {
        "model": "Which one.",
        "requests": "How many\nin all.",
        "share": "A part. [0 to 1]",
        "limit": " [1,000 or more]",
    }


def test_docstrings_are_found_by_the_name_of_the_class_wherever_it_stands() -> None:
    class Inner(Asked):
        one: int = 1
        """Of a class in a function."""

        class Within(Asked):
            one: int = 1
            """Of a class in that."""

    assert asked.docstrings(Inner) == {"one": "Of a class in a function."}
    assert asked.docstrings(Inner.Within) == {"one": "Of a class in that."}
    assert asked.docstrings(type("Nowhere", (), {"__module__": "no.such"})) == {}


def test_limits_and_choices_as_a_person_writes_them() -> None:
    assert [asked.number(bound) for bound in (999, 1000, 999.5, 1000.0, 0.25, Decimal("1234.5"))] == [
        "999", "1,000", "999.5", "1,000", "0.25", "1,234.5",
    ]  # fmt: skip
    assert [asked.either(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == [
        "a",
        "a or b",
        "a, b or c",
    ]
    bounded: list[Any] = [Field(gt=0, le=9), Field(gt=1), Field(le=2), Field(lt=3)]
    assert [asked.outside(field) for field in bounded] == [
        "not above 0 and at most 9", "not above 1", "above 2", "above 3",
    ]  # fmt: skip


def test_what_a_field_is_made_of() -> None:
    fields = Wish.model_fields
    assert {name: kind for name, info in fields.items() if (kind := asked.number_kind(info))} == {
        "requests": int, "ttft_s": float, "share": float, "usd": Decimal, "counts": int, "pair": int,
        "rate": float, "limit": int,
    }  # fmt: skip
    assert [name for name, info in fields.items() if asked.is_share(info)] == ["share"]
    assert [name for name, info in fields.items() if asked.is_switch(info)] == ["colour", "quiet", "loud"]
    assert list(asked.literals(fields["form"].annotation)) == ["a", "b"]
    assert {name: said for name in fields if (said := asked.recommended(Wish, name))} == {
        "requests": "For example: --requests 1",
        "share": "For example: --share 0.5",
        "usd": "For example: --usd 12.5",
        "colour": "For example: --colour True",
        "quiet": "For example: --quiet False",
        "loud": "For example: --loud True",
        "name": "For example: --name scout",
        "pair": "For example: --pair 2",
        "rate": "For example: --rate 0.5",
        "limit": "For example: --limit 1000",
    }
