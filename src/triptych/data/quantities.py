"""Numbers with what they count, in the words of a sentence."""


def counted(number: float | str, units: str, form: str = ",", one: str = "") -> str:
    """Returns a number with its unit, which is singular for one: "1 update", "1,002 updates", "1 pair of texts".

    Args:
        number: a number, or how it is written.
        units: the unit of several, whose first word ends in s where `one` is not given.
        form: how a number is written, as for `format`.
        one: the unit of one, where it is more than the first word without its s: "process", "row has".
    """
    text = number if isinstance(number, str) else format(number, form)
    if text == "1":
        first, *others = units.split(" ")
        units = one or " ".join([first.removesuffix("s"), *others])
    return f"{text} {units}"
