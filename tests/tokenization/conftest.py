import random

import pytest

SENTENCES = (
    "Die größte Überraschung kam erst später.",
    "The window is open, isn't it?",
    "It's a (small) test: 3.5 % of 1,200 – that's \"all\"!",
    "Schalte bitte das Licht im Wohnzimmer aus.",
    "Turn on the light in the living room, please.",
    "Home-Assistant läuft; e-mail: a_b@example.org",
)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Real sentences and made-up words in which many pairs of characters are equally frequent."""
    rng = random.Random(0)
    syllables = [consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou"]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(300)]
    return [*SENTENCES * 20, *(" ".join(rng.choices(words, k=7)) + "." for _ in range(300))]
